"""Message-passing networks: graphs of nodes and edges of several kinds, padded to arrays."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxresearch.models.model import Model, require_rate, require_sizes

_ROOT = 8.0  # sums over nodes are divided by it, so that they have the size of means


def message_passing(
    levels: tuple[int, ...], n_kinds: int, *, width: int, n_layers: int, dropout_rate: float = 0.0
) -> Model:
    r"""Returns a network that reads a graph: nodes exchange messages along edges, and are pooled into one vector.

    With the vector :math:`h_v` of node v, its neighbours :math:`N_k(v)` by edges of kind k, and the mean :math:`\bar h` over the
    graph, through which distant nodes exchange messages as well, a layer is

    .. math:: h_v \leftarrow h_v + \text{ReLU}\Big(\text{norm}\Big(
        U h_v + \sum_k \sum_{w \in N_k(v)} (M h_w + e_k) + G \bar h + b\Big)\Big)

    and the graph's vector is the mean of the nodes' vectors beside their sum divided by 8. It depends neither on the order of the
    nodes nor on the padding.

    Args:
        levels: Number of categories of each column that describes a node.
        n_kinds: Number of kinds of edges.
        width: Entries of a node's vector.
        n_layers: Number of rounds of messages.
        dropout_rate: Fraction of the entries of each layer dropped in training, 0 to less than 1.

    Returns:
        The model; inputs ``{"nodes": (batch, nodes, columns), "edges": (batch, nodes, nodes)}``, both integers: categories, -1
        for padding; kinds from 1, 0 for no edge, equal in both directions. Further inputs are ignored. Outputs
        ``(batch, 2 * width)``. The square of the largest graph decides the cost.

    Raises:
        ValueError: If a size is not positive, there is no column, the rate is outside 0 to 1, or (when called) the inputs have
            other shapes.

    Example:
        >>> model = message_passing((3, 2), 1, width=4, n_layers=2)
        >>> graph = {"nodes": jnp.array([[[0, 1], [2, 0], [-1, -1]]]), "edges": jnp.zeros((1, 3, 3), int).at[0, 0, 1].set(1)}
        >>> params, model_state = model.init(jax.random.key(0))
        >>> model.apply(params, model_state, graph)[0].shape
        (1, 8)

    References:
        Gilmer, Schoenholz, Riley, Vinyals and Dahl (2017), Neural message passing for quantum chemistry, ICML, equations 1 to
        3, and section 5.2 (a node for the whole graph). https://arxiv.org/abs/1704.01212
    """
    require_sizes(n_kinds=n_kinds, width=width, n_layers=n_layers, **{f"levels[{i}]": n for i, n in enumerate(levels)})
    if not levels:
        raise ValueError("levels must have a number for each column of the nodes, got none. Pass (n_elements,).")
    require_rate(dropout_rate, of="entries")
    module = MessagePassing(tuple(levels), n_kinds, width, n_layers, dropout_rate)

    def init(key):
        nodes, edges = jnp.zeros((1, 1, len(levels)), jnp.int32), jnp.zeros((1, 1, 1), jnp.int32)
        return module.init(key, nodes, edges, train=False)["params"], {}

    def apply(params, model_state, inputs, key=None):
        nodes, edges = jnp.asarray(inputs["nodes"]), jnp.asarray(inputs["edges"])
        n = nodes.shape[1] if nodes.ndim == 3 else 0
        if not n or nodes.shape[2] != len(levels) or edges.shape != (len(nodes), n, n):
            raise ValueError(
                f"nodes must be (batch, nodes, {len(levels)}) and edges (batch, nodes, nodes); got {nodes.shape} and "
                f"{edges.shape}. Pad both to the same number of nodes."
            )
        rngs = None if key is None else {"dropout": key}
        outputs: Any = module.apply({"params": params}, nodes, edges, train=key is not None, rngs=rngs)
        return outputs, model_state

    return Model(init, apply)


class MessagePassing(nn.Module):
    """Embedded nodes, layers of messages, and pooling."""

    levels: tuple[int, ...]
    n_kinds: int
    width: int
    n_layers: int
    dropout_rate: float

    @nn.compact
    def __call__(self, nodes, edges, *, train: bool):
        """Returns a vector for each graph, ``(batch, 2 * width)``."""
        is_node = (nodes[..., :1] >= 0).astype(jnp.float32)
        columns = [jax.nn.one_hot(nodes[..., column], n) for column, n in enumerate(self.levels)]
        x = nn.relu(nn.Dense(self.width, name="embedding")(jnp.concatenate(columns, axis=-1))) * is_node
        counts = jnp.stack([(edges == kind).sum(axis=-1) for kind in range(1, self.n_kinds + 1)], axis=-1)
        adjacency, counts = ((edges > 0).astype(jnp.float32), counts.astype(jnp.float32))
        for place in range(self.n_layers):
            new = Layer(self.width, name=f"layer_{place}")(x, adjacency, counts, _mean(x, is_node))
            x = x + is_node * nn.Dropout(self.dropout_rate, deterministic=not train)(new)
        return jnp.concatenate([_mean(x, is_node), x.sum(axis=1) / _ROOT], axis=-1)


class Layer(nn.Module):
    """One round of messages, before the residual connection."""

    width: int

    @nn.compact
    def __call__(self, x, adjacency, counts, mean):
        """Returns what is added to each node's vector, ``(batch, nodes, width)``; counts are of its edges of each kind."""
        received = adjacency @ nn.Dense(self.width, use_bias=False, name="message")(x)
        received += nn.Dense(self.width, use_bias=False, name="edge")(counts)
        about = nn.Dense(self.width, use_bias=False, name="graph")(mean)[:, None]
        return nn.relu(nn.LayerNorm(name="norm")(nn.Dense(self.width, name="own")(x) + received + about))


def _mean(x: Float[Array, "batch nodes width"], is_node: Float[Array, "batch nodes 1"]) -> Float[Array, "batch width"]:
    """Returns the mean over nodes, 0 for a graph without nodes; padded nodes are zero."""
    return x.sum(axis=1) / jnp.maximum(is_node.sum(axis=1), 1)

"""Fully connected networks."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxresearch.models.adapters.linen import linen
from jaxresearch.models.model import Model, require_rate, require_sizes

Activation = Literal["relu", "gelu", "tanh"]


class Mlp(nn.Module):
    """Dense layers with an activation between them; inputs are flattened to ``(batch, features)``."""

    hidden: tuple[int, ...]
    n_outputs: int
    dropout_rate: float = 0.0
    batch_norm: bool = False
    activation: Activation = "relu"

    @nn.compact
    def __call__(self, inputs, *, train: bool):
        """Returns outputs ``(batch, n_outputs)``."""
        # Glorot's uniform initialisation, as in Keras, which the original network was written in.
        init = nn.initializers.glorot_uniform()
        x = inputs.reshape(inputs.shape[0], -1)
        for width in self.hidden:
            x = nn.Dense(width, kernel_init=init)(x)
            if self.batch_norm:
                x = nn.BatchNorm(use_running_average=not train)(x)
            x = getattr(nn, self.activation)(x)
            if self.dropout_rate:
                x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(self.n_outputs, kernel_init=init)(x)


def mlp(
    n_features: int,
    hidden: tuple[int, ...],
    n_outputs: int,
    *,
    dropout_rate: float = 0.0,
    batch_norm: bool = False,
    activation: Activation = "relu",
) -> Model:
    r"""Returns a network of dense layers with an activation between them.

    .. math:: h_{l+1} = a(W_l h_l + b_l), \quad \text{outputs} = W_L h_L + b_L

    Args:
        n_features: Entries of one example, over all its axes; images need not be flattened.
        hidden: Width of each hidden layer; empty for a linear model.
        n_outputs: Number of outputs: classes, or values.
        dropout_rate: Fraction of hidden units dropped in training, 0 to less than 1.
        batch_norm: Whether to apply batch normalisation before each activation.
        activation: The function a; ``"relu"`` is max(0, x). The others are smooth, which derivatives through a run need.

    Returns:
        The model; with ``batch_norm`` its state holds the running mean and variance of each layer.

    Raises:
        ValueError: If a size is not positive, the rate is outside 0 to 1 or the activation is unknown.

    Example:
        >>> import jax
        >>> params, _ = mlp(784, (128,), 10).init(jax.random.key(0))
        >>> sum(leaf.size for leaf in jax.tree.leaves(params))
        101770
    """
    require_sizes(n_features=n_features, n_outputs=n_outputs, **{f"hidden[{i}]": w for i, w in enumerate(hidden)})
    require_rate(dropout_rate, of="units")
    if activation not in get_args(Activation):
        raise ValueError(
            f"activation must be {', '.join(get_args(Activation))}, got {activation!r}. Choose one of them."
        )
    module = Mlp(tuple(hidden), n_outputs, dropout_rate, batch_norm, activation)
    return linen(module, jax.ShapeDtypeStruct((1, n_features), jnp.float32))


def linear(n_features: int, n_outputs: int) -> Model:
    r"""Returns a linear model.

    .. math:: \\text{outputs} = W x + b

    Args:
        n_features: Entries of one example, over all its axes.
        n_outputs: Number of outputs.

    Returns:
        The model.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = linear(3, 2)
        >>> outputs, _ = model.apply(*model.init(jax.random.key(0)), jnp.ones((5, 3)))
        >>> outputs.shape
        (5, 2)
    """
    return mlp(n_features, (), n_outputs)

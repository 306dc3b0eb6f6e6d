"""Models made from models: started from other parameters, with tokens hidden, or as an ensemble."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxresearch.models.model import Model, require_sizes


def warm_started(model: Model, pretrained: Any, model_state: Any = None) -> Model:
    """Returns the model with its initial parameters and batch statistics taken from another where these have the same name.

    Other parameters of that model (its head) are left out, and those it lacks are drawn as usual. All members of an `ensemble` of
    such models start alike: then each shared array lacks the axis of members. Random keys in the state stay the model's own.

    Args:
        model: The model to start.
        pretrained: Parameters of the other model, as its state holds them.
        model_state: Its state; ``{}`` to start with fresh batch statistics. May be left out where the model has none.

    Returns:
        The model with a different ``init``.

    Raises:
        ValueError: When drawn: if an array of the same name has another shape (a vocabulary of another size, other classes,
            a wider model), none has the same name, or the model has batch statistics and ``model_state`` is left out.

    Example:
        >>> from jaxresearch import models
        >>> sizes = models.TransformerSizes(context=8, width=16, n_layers=1, n_heads=2)
        >>> other, _ = models.encoder(6, sizes).init(jax.random.key(7))
        >>> params, _ = warm_started(models.classifier(6, 3, sizes), other).init(jax.random.key(0))
        >>> bool((params["embedding"] == other["embedding"]).all()), params["head"]["kernel"].shape
        (True, (16, 3))
    """
    named = dict(jax.tree_util.tree_leaves_with_path(pretrained))
    statistics = {path: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(model_state) if not _is_key(leaf)}

    def init(key):
        params, own_state = model.init(key)
        shared = {path: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if path in named}
        if not shared:
            names = ", ".join(jax.tree_util.keystr(path) for path in list(named)[:3])
            raise ValueError(f"pre-trained parameters must share a name with the model's; got {names}. Pass its own.")
        if model_state is None and any(jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(own_state)):
            raise ValueError(
                "pre-trained parameters of a model with batch statistics must come with these; got parameters alone. "
                "Pass its whole state, or {} as model_state to start with fresh ones."
            )
        members = _members([(leaf.shape, named[path].shape) for path, leaf in shared.items()])

        def begun(arrays: dict[Any, Any], fresh: Any) -> Any:
            return jax.tree_util.tree_map_with_path(
                lambda path, leaf: _begun(path, leaf, arrays[path], len(members)) if path in arrays else leaf, fresh
            )

        return begun(named, params), begun(statistics, own_state)

    return Model(init, model.apply)


def _is_key(leaf: Any) -> bool:
    """Returns whether an array holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _members(shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> tuple[int, ...]:
    """Returns the leading axis of an ensemble if all arrays of the other model lack the same one."""
    lacking = {fresh[: max(len(fresh) - len(own), 0)] for fresh, own in shapes}
    axes = lacking.pop()
    return axes if not lacking and len(axes) == 1 else ()


def _begun(path: Any, fresh: Array, own: Array | np.ndarray, n_leading: int) -> Array:
    """Returns an array of the other model in place of a drawn one, repeated for each member."""
    expected = fresh.shape[n_leading:]
    if own.shape != expected:
        raise ValueError(
            f"pre-trained parameters must fit the model; {jax.tree_util.keystr(path)} is {own.shape}, and must be {expected}. "
            "Use the same vocabulary and sizes in both, or leave that array out of `pretrained`."
        )
    return jnp.broadcast_to(jnp.asarray(own, fresh.dtype), fresh.shape)


def word_dropout(
    model: Model, *, rate: ArrayLike, token: int, maskable: Callable[[Array], Array] | None = None
) -> Model:
    """Returns a model of tokens from which a fraction of them is hidden in training.

    Each token is hidden independently with probability ``rate``, so that the model learns not to rely on any one of them.

    Args:
        model: Reads tokens ``(batch, length)``, integers.
        rate: Probability of hiding a token, 0 to 1; may be traced.
        token: The id that stands for a hidden token.
        maskable: ``tokens -> truth values``: False where a token must stay, such as padding; all may be hidden unless given.

    Returns:
        The model; without a key, in evaluation, it sees all tokens.

    Raises:
        ValueError: If ``rate`` is not from 0 to 1, or ``token`` is negative.

    Example:
        >>> from jaxresearch import models
        >>> counts = models.function(lambda key: {}, lambda params, tokens: (tokens == 9).sum(axis=-1))
        >>> model = word_dropout(counts, rate=0.25, token=9)
        >>> hidden, _ = model.apply({}, {}, jnp.zeros((2, 1000), int), jax.random.key(0))
        >>> bool((abs(hidden - 250) < 60).all()), model.apply({}, {}, jnp.zeros((2, 1000), int))[0].tolist()
        (True, [0, 0])

    References:
        Iyyer, Manjunatha, Boyd-Graber and Daume (2015), Deep unordered composition rivals syntactic methods for text
        classification, ACL, section 3.1. https://aclanthology.org/P15-1162
    """
    if isinstance(rate, int | float) and not 0 <= rate <= 1:
        raise ValueError(f"rate must be from 0 to 1; got {rate}. Pass 0.15 for 15 %.")
    if token < 0:
        raise ValueError(f"token must be 0 or more; got {token}. Pass the id that stands for what is hidden.")

    def apply(params, model_state, inputs, key=None):
        if key is None:
            return model.apply(params, model_state, inputs)
        of_tokens, of_model = jax.random.split(key)
        hidden = jax.random.bernoulli(of_tokens, rate, inputs.shape)
        hidden = hidden if maskable is None else hidden & maskable(inputs)
        tokens = inputs.astype(jnp.int32)  # which hold any token, as 8 bits do not
        return model.apply(params, model_state, jnp.where(hidden, token, tokens), of_model)

    return Model(model.init, apply)


def ensemble(model: Model, *, n_members: int) -> Model:
    r"""Returns an ensemble of classifiers of one kind, which averages their probabilities in evaluation.

    .. math:: \log \frac{1}{n} \sum_m \text{softmax}(z_m(x))

    In training the members share a batch: member :math:`m` of n sees examples m, m + n, ... and gives their logits. So they learn
    independently, with any loss that is a mean over examples; a step costs as much as a step of one member, and n times as many
    epochs are needed. A member's gradient is its own divided by n, which scale-free optimizers (Adam) do not notice; others
    need n times the rate.

    Args:
        model: Gives logits.
        n_members: Number of classifiers, 1 or more; it must divide the batch size.

    Returns:
        The model; parameters and state have a leading axis of members, and its evaluation gives log probabilities.

    Raises:
        ValueError: If ``n_members`` is not positive, or (when trained) does not divide the batch.

    Example:
        >>> from jaxresearch import models
        >>> model = ensemble(models.mlp(4, (8,), 3), n_members=5)
        >>> params, model_state = model.init(jax.random.key(0))
        >>> params["Dense_0"]["kernel"].shape, model.apply(params, model_state, jnp.ones((2, 4)))[0].shape
        ((5, 4, 8), (2, 3))

    References:
        Lakshminarayanan, Pritzel and Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
        ensembles, NeurIPS, section 2.4. https://arxiv.org/abs/1612.01474
    """
    require_sizes(n_members=n_members)

    def init(key):
        return jax.vmap(model.init)(jax.random.split(key, n_members))

    def apply(params, model_state, inputs, key=None):
        if key is None:
            logits, _ = jax.vmap(model.apply, (0, 0, None))(params, model_state, inputs)
            total = jax.nn.logsumexp(jax.nn.log_softmax(logits), axis=0)
            return total - jnp.log(n_members).astype(total.dtype), model_state
        if len(inputs) % n_members:
            raise ValueError(
                f"n_members must divide the batch of {len(inputs)} examples; got {n_members}. Pass a multiple as batch_size."
            )
        dealt = inputs.reshape(-1, n_members, *inputs.shape[1:]).swapaxes(0, 1)
        logits, model_state = jax.vmap(model.apply)(params, model_state, dealt, jax.random.split(key, n_members))
        return logits.swapaxes(0, 1).reshape(len(inputs), *logits.shape[2:]), model_state

    return Model(init, apply)

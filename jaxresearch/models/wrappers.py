"""Transformations of models: warm starts, word dropout, ensembles, models side by side."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxresearch.models.model import Model, require_choice, require_sizes


def warm_started(model: Model, pretrained: Any, model_state: Any = None) -> Model:
    """Returns the model with initial parameters and batch statistics from another model, wherever the names match.

    Other pre-trained parameters (a head) are ignored, and parameters without a match are drawn as usual. For an `ensemble`,
    every member starts from the same arrays, which then lack the axis of members. Random keys in the state are not replaced.

    Args:
        model: The model to start.
        pretrained: Parameters of the other model.
        model_state: State of the other model; ``{}`` for fresh batch statistics. Optional if the model has none.

    Returns:
        The model with a different ``init``.

    Raises:
        ValueError: At initialisation: if arrays of the same name differ in shape (another vocabulary, other classes, a
            wider model), no name matches, or the model has batch statistics and ``model_state`` is missing.

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

        def replace(fresh: Any, arrays: dict[Any, Any]) -> Any:
            return jax.tree_util.tree_map_with_path(
                lambda path, leaf: _fitted(path, leaf, arrays[path], len(members)) if path in arrays else leaf, fresh
            )

        return replace(params, named), replace(own_state, statistics)

    return Model(init, model.apply)


def _is_key(leaf: Any) -> bool:
    """Returns whether an array holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _members(shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> tuple[int, ...]:
    """Returns the axis of ensemble members, if all arrays of the other model lack the same leading axis."""
    lacking = {fresh[: max(len(fresh) - len(own), 0)] for fresh, own in shapes}
    axes = lacking.pop()
    return axes if not lacking and len(axes) == 1 else ()


def _fitted(path: Any, fresh: Array, own: Array | np.ndarray, n_leading: int) -> Array:
    """Returns an array of the other model in the shape and type of a drawn one, repeated for each member."""
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
    """Returns a token model that in training hides each token with probability ``rate``, independently of the others.

    The model learns not to rely on any single token.

    Args:
        model: Reads tokens ``(batch, length)``, integers.
        rate: Probability of hiding a token, 0 to 1; may be traced.
        token: The id that replaces hidden tokens.
        maskable: ``tokens -> booleans``: False for tokens that are never hidden, such as padding; by default all may be.

    Returns:
        The model; in evaluation, without a key, it sees all tokens.

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
        Iyyer, Manjunatha, Boyd-Graber and Daumé (2015), Deep unordered composition rivals syntactic methods for text
        classification, ACL, section 3.1. https://aclanthology.org/P15-1162
    """
    if isinstance(rate, int | float) and not 0 <= rate <= 1:
        raise ValueError(f"rate must be from 0 to 1; got {rate}. Pass 0.15 for 15 %.")
    if token < 0:
        raise ValueError(f"token must be 0 or more; got {token}. Pass the id that replaces hidden tokens.")

    def apply(params, model_state, inputs, key=None):
        if key is None:
            return model.apply(params, model_state, inputs)
        hiding_key, model_key = jax.random.split(key)
        hidden = jax.random.bernoulli(hiding_key, rate, inputs.shape)
        hidden = hidden if maskable is None else hidden & maskable(inputs)
        tokens = inputs.astype(jnp.int32)  # `token` may exceed 8 bits
        return model.apply(params, model_state, jnp.where(hidden, token, tokens), model_key)

    return Model(model.init, apply)


def ensemble(model: Model, *, n_members: int, average: Literal["probabilities", "outputs"] = "probabilities") -> Model:
    r"""Returns an ensemble of identical models, which averages their probabilities, or their outputs, in evaluation.

    .. math:: \log \frac{1}{n} \sum_m \text{softmax}(z_m(x)) \quad \text{or} \quad \frac{1}{n} \sum_m z_m(x)

    In training the members share a batch: member :math:`m` of n computes the logits of examples m, m + n, ... They train
    independently, with any loss that is a mean over examples. A step costs as much as for one member, and n times as many
    epochs are needed. Gradients are divided by n, which does not affect scale-free optimizers (Adam); others need n times the
    learning rate.

    Args:
        model: Outputs logits, or values to average.
        n_members: Number of models, 1 or more; it must divide the batch size.
        average: ``"probabilities"`` of classifiers, or ``"outputs"`` as they are.

    Returns:
        The model; parameters and state have a leading axis of members, and evaluation outputs log probabilities, or mean outputs.

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
    require_choice("average", average, Literal["probabilities", "outputs"])

    def init(key):
        return jax.vmap(model.init)(jax.random.split(key, n_members))

    def apply(params, model_state, inputs, key=None):
        if key is None:
            outputs, _ = jax.vmap(model.apply, (0, 0, None))(params, model_state, inputs)
            if average == "outputs":
                return outputs.mean(axis=0), model_state
            total = jax.nn.logsumexp(jax.nn.log_softmax(outputs), axis=0)
            return total - jnp.log(n_members).astype(total.dtype), model_state
        n = len(jax.tree.leaves(inputs)[0])
        if n % n_members:
            raise ValueError(
                f"n_members must divide the batch of {n} examples; got {n_members}. Pass a multiple as batch_size."
            )
        parts = jax.tree.map(lambda leaf: leaf.reshape(-1, n_members, *leaf.shape[1:]).swapaxes(0, 1), inputs)
        outputs, model_state = jax.vmap(model.apply)(params, model_state, parts, jax.random.split(key, n_members))
        return outputs.swapaxes(0, 1).reshape(n, *outputs.shape[2:]), model_state

    return Model(init, apply)


def side_by_side(named: dict[str, Model]) -> Model:
    """Returns several models as one, so that one run trains all of them: no parameter is in two.

    Args:
        named: By name; their outputs have the same shape.

    Returns:
        The model; parameters by name, outputs stacked on a last axis, in the order of the names.

    Example:
        >>> from jaxresearch import models
        >>> both = side_by_side({"line": models.linear(4, 1), "network": models.mlp(4, (8,), 1)})
        >>> params, model_state = both.init(jax.random.key(0))
        >>> sorted(params), both.apply(params, model_state, jnp.ones((3, 4)))[0].shape
        (['line', 'network'], (3, 1, 2))
    """

    def init(key):
        keys = jax.random.split(key, len(named))
        made = {name: model.init(own) for (name, model), own in zip(named.items(), keys, strict=True)}
        return {name: params for name, (params, _) in made.items()}, {name: state for name, (_, state) in made.items()}

    def apply(params, model_state, inputs, key=None):
        keys = [None] * len(named) if key is None else [*jax.random.split(key, len(named))]
        made = {
            name: model.apply(params[name], model_state[name], inputs, own)
            for (name, model), own in zip(named.items(), keys, strict=True)
        }
        outputs = jnp.stack([outputs for outputs, _ in made.values()], axis=-1)
        return outputs, {name: state for name, (_, state) in made.items()}

    return Model(init, apply)


def monte_carlo(model: Model, *, n_samples: int) -> Model:
    r"""Returns a classifier that, applied with a key, averages the probabilities of several draws of its dropout.

    .. math:: \log \frac{1}{n} \sum_s \text{softmax}(z_s(x))

    It is for evaluation: a network with dropout in each layer stands for a distribution over networks, whose mean prediction this
    estimates. Without a key it is the model itself, with the mean weights. Draws are added up one after another, so memory does
    not grow with their number.

    Args:
        model: Outputs logits, and drops out when it is applied with a key.
        n_samples: Number of draws, 1 or more.

    Returns:
        The model; with a key it outputs log probabilities, and leaves its state unchanged.

    Raises:
        ValueError: If ``n_samples`` is not positive.

    Example:
        >>> from jaxresearch import models
        >>> model = models.mlp(4, (8,), 3, dropout_rate=0.5)
        >>> params, _ = model.init(jax.random.key(0))
        >>> averaged = monte_carlo(model, n_samples=20)
        >>> outputs, _ = averaged.apply(params, {}, jnp.ones((2, 4)), jax.random.key(1))
        >>> bool(jnp.allclose(jnp.exp(outputs).sum(axis=-1), 1, atol=1e-5))
        True

    References:
        Gal and Ghahramani (2016), Dropout as a Bayesian approximation: representing model uncertainty in deep learning, ICML,
        equation 6. https://arxiv.org/abs/1506.02142
    """
    require_sizes(n_samples=n_samples)

    def apply(params, model_state, inputs, key=None):
        if key is None:
            return model.apply(params, model_state, inputs)

        def drawn(key: Array) -> Array:
            return jax.nn.log_softmax(model.apply(params, model_state, inputs, key)[0])

        keys = jax.random.split(key, n_samples)
        total, _ = jax.lax.scan(lambda sum, key: (jnp.logaddexp(sum, drawn(key)), None), drawn(keys[0]), keys[1:])
        return total - jnp.log(n_samples).astype(total.dtype), model_state

    return Model(model.init, apply)

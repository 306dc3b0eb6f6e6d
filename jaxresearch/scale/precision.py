"""Mixed precision: models that compute in 16 bits with float32 parameters, and the loss scale that float16 needs.

::

    model = precision.mixed(model, "bfloat16")

    model = precision.mixed(model, "float16")                        # its state holds a loss scale
    algorithm = precision.rescaling(training.supervised(model, ...))   # which this adjusts
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxresearch.models import Model
from jaxresearch.models.model import Precision, from_pixels, require_choice
from jaxresearch.training import Algorithm

_START, _LARGEST = 15, 24  # exponents


class LossScale(NamedTuple):
    """The factor of the gradients inside a float16 model, ``2 ** exponent``, and the steps since it last changed.

    It is part of the model's state, which the backward pass reads, and which is saved, resumed and vmapped with the run.
    """

    exponent: Int[Array, ""]
    n_steps: Int[Array, ""]


def mixed(model: Model, precision: Precision) -> Model:
    """Returns the model that computes in the given type, with parameters, their gradients, state and outputs in float32.

    Parameters and inputs are rounded on the way in, and uint8 inputs are pixels. The loss and the metrics are computed from
    float32 outputs. Sums inside the model are in the given type, except the statistics of Linen's normalisations. float16 adds
    a loss scale to the state: see `loss_scaled`.

    Args:
        model: A model that computes in the type of its parameters and inputs. For a transformer, pass ``precision`` to
            `jaxresearch.models.TransformerSizes` instead, which keeps normalisations and logits in float32.
        precision: The type.

    Returns:
        The model; unchanged for ``"float32"``.

    Raises:
        ValueError: If ``precision`` is none of these; when called, if the model computes in float32 all the same.

    Example:
        >>> from jaxresearch import models
        >>> model = mixed(models.mlp(3, (8,), 2), "bfloat16")
        >>> params, model_state = model.init(jax.random.key(0))
        >>> outputs, _ = model.apply(params, model_state, jnp.ones((5, 3)))
        >>> params["Dense_0"]["kernel"].dtype.name, outputs.dtype.name, bool((outputs == outputs.astype("bfloat16")).all())
        ('float32', 'float32', True)

    References:
        Micikevicius et al. (2018), Mixed precision training, ICLR, section 3.1. https://arxiv.org/abs/1710.03740
    """
    require_choice("precision", precision, Precision)
    if precision == "float32":
        return model

    def apply(params, model_state, inputs, key=None):
        narrow_inputs = _cast(jax.tree.map(from_pixels, inputs), precision)
        outputs, updated = model.apply(_cast(params, precision), model_state, narrow_inputs, key)
        if wide := [
            leaf.dtype.name for leaf in jax.tree.leaves(outputs) if _is_float(leaf) and leaf.dtype != precision
        ]:
            raise ValueError(
                f"model must compute in the type of its parameters and inputs, {precision}; got outputs of {wide[0]}. Pass "
                "precision to the model itself, as models.TransformerSizes takes it, or leave out what it casts."
            )
        kept = jax.tree.map(lambda new, old: new.astype(old.dtype) if _is_float(old) else new, updated, model_state)
        return _cast(outputs, "float32"), kept

    narrow = Model(model.init, apply)
    return _scaled(narrow) if precision == "float16" else narrow


def loss_scaled(model: Model) -> Model:
    r"""Returns a float16 model whose backward pass is scaled by :math:`S`, so that small gradients do not vanish.

    The gradient of the outputs is multiplied by S and that of the parameters and inputs divided by it, in float32: all that is
    outside the model (loss, clipping, accumulation, optimizer) sees unscaled gradients. S is a power of two in the model's
    state, 2^15 at first; `rescaling` adjusts it. `mixed` with ``"float16"`` does this itself. There is no forward-mode
    derivative.

    Args:
        model: Computes in float16, such as a transformer with ``precision="float16"``.

    Returns:
        The model, with state ``{"model": its state, "loss_scale": LossScale}``.

    Raises:
        ValueError: When called, if the model computes nothing in float16, which alone needs a loss scale.

    Example:
        >>> from jaxresearch import models
        >>> sizes = models.TransformerSizes(context=8, width=16, n_layers=1, n_heads=2, precision="float16")
        >>> _, model_state = loss_scaled(models.decoder(65, sizes)).init(jax.random.key(0))
        >>> int(model_state["loss_scale"].exponent)
        15

    References:
        Micikevicius et al. (2018), Mixed precision training, ICLR, section 3.2. https://arxiv.org/abs/1710.03740
    """

    def apply(params, model_state, inputs, key=None):
        traced = jax.make_jaxpr(model.apply)(params, model_state, inputs, key)
        if not re.search(r"\bf16\[", str(traced)):
            raise ValueError(
                "model must compute in float16 to need a loss scale; got one that does not. Leave the loss scale out: bfloat16 "
                "has the range of float32."
            )
        return model.apply(params, model_state, inputs, key)

    return _scaled(Model(model.init, apply))


def _scaled(model: Model) -> Model:
    """Returns the model with a loss scale in its state."""

    def init(key):
        params, model_state = model.init(key)
        scale = LossScale(jnp.full((), _START, jnp.int32), jnp.zeros((), jnp.int32))
        return params, {"model": model_state, "loss_scale": scale}

    def apply(params, model_state, inputs, key=None):
        scale = jnp.ldexp(jnp.float32(1), model_state["loss_scale"].exponent)
        inside = _backward_times((params, model_state["model"], inputs), 1 / scale)
        outputs, updated = _backward_times(model.apply(*inside, key), scale)
        return outputs, {**model_state, "model": updated}

    return Model(init, apply)


def rescaling(algorithm: Algorithm, *, period: int = 2000) -> Algorithm:
    """Returns the algorithm that adjusts the loss scale of its float16 models, and skips the steps in which gradients overflow.

    A step with a finite loss that makes a finite part of the state non-finite is skipped, and the scale halved. After
    ``period`` steps without, it is doubled, up to 2^24. At a scale of 1 nothing is skipped: the run has diverged, and shows it.

    Args:
        algorithm: With one or more models from `mixed` or `loss_scaled`. Apply `jaxresearch.algorithms.averaged` and
            ``stopped`` to the result, not the other way round.
        period: Steps without overflow after which the scale is doubled, 1 or more.

    Returns:
        The algorithm; its steps report ``loss_scale`` (the smallest, if there are several) and ``overflowed``, 1 for a skipped
        step, in which other metrics that are not finite are reported as 0.

    Raises:
        ValueError: If ``period`` is below 1; at initialisation, if no model has a loss scale.

    Example:
        >>> from jaxresearch import losses, models, training
        >>> model = mixed(models.linear(1, 1), "float16")
        >>> sgd = training.supervised(model, losses.half_squared_error, optimizer=training.gradient_descent(0.5), metrics={})
        >>> batch = {"inputs": jnp.ones((1, 1)), "targets": jnp.full((1, 1), 100.0)}  # 100 * 2 ** 15 overflows
        >>> algorithm = rescaling(sgd)
        >>> _, metrics = algorithm.step(algorithm.init(jax.random.key(0)), batch, jax.random.key(1))
        >>> float(metrics["overflowed"]), float(metrics["loss_scale"]) / 2**14
        (1.0, 1.0)

    References:
        Micikevicius et al. (2018), Mixed precision training, ICLR, section 3.2 (skipped updates).
        https://arxiv.org/abs/1710.03740
    """
    if period < 1:
        raise ValueError(f"period must be 1 or more; got {period}. Pass the steps after which the scale is doubled.")

    def init(key):
        state = algorithm.init(key)
        if not _scales(state):
            raise ValueError(
                "algorithm must have a model with a loss scale, which only float16 needs; got one without. Leave rescaling out, "
                "or pass 'float16' to precision.mixed."
            )
        return state

    def step(state, batch, key):
        new, metrics = algorithm.step(state, batch, key)
        smallest = jnp.stack([scale.exponent for scale in _scales(state)]).min()
        overflowed = ~_stays_finite(state, new) & _is_finite(metrics.get("loss", jnp.zeros(()))) & (smallest > 0)
        kept = jax.tree.map(lambda after, before: jnp.where(overflowed, before, after), new, state)
        next_state = jax.tree.map(
            lambda node: _adjusted(node, overflowed, period) if _is_scale(node) else node, kept, is_leaf=_is_scale
        )
        reported = {name: jnp.where(overflowed & ~jnp.isfinite(value), 0, value) for name, value in metrics.items()}
        exponent = jnp.stack([scale.exponent for scale in _scales(next_state)]).min()
        scale = jnp.ldexp(jnp.float32(1), exponent)
        return next_state, {**reported, "loss_scale": scale, "overflowed": overflowed.astype(jnp.float32)}

    return algorithm._replace(init=init, step=step)


def _adjusted(scale: LossScale, overflowed: Bool[Array, ""], period: int) -> LossScale:
    """Returns the scale after a step: halved if it overflowed, doubled after a period without."""
    n_steps = scale.n_steps + 1
    is_due = n_steps >= period
    change = jnp.where(overflowed, -1, jnp.where(is_due, 1, 0))
    exponent = jnp.clip(scale.exponent + change, 0, _LARGEST)
    return LossScale(exponent.astype(jnp.int32), jnp.where(overflowed | is_due, 0, n_steps).astype(jnp.int32))


def _scales(state: PyTree) -> list[LossScale]:
    """Returns the loss scales in a state."""
    return [node for node in jax.tree.leaves(state, is_leaf=_is_scale) if _is_scale(node)]


def _is_scale(node: Any) -> bool:
    """Returns whether a node of a state is a loss scale."""
    return isinstance(node, LossScale)


def _stays_finite(before: PyTree, after: PyTree) -> Bool[Array, ""]:
    """Returns whether all that was finite is finite."""
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return jnp.stack([_is_finite(new) | ~_is_finite(old) for old, new in pairs if _is_float(new)]).all()


def _is_finite(leaf: Array) -> Bool[Array, ""]:
    """Returns whether every entry is finite."""
    return jnp.isfinite(leaf).all()


def _is_float(leaf: Any) -> bool:
    """Returns whether an array holds floats."""
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _cast(tree: PyTree, precision: str) -> PyTree:
    """Returns the tree with its floats in the given type."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, precision) if _is_float(leaf) else leaf, tree)


def _backward_times(tree: PyTree, factor: Float[Array, ""]) -> PyTree:
    """Returns the tree; gradients of its floats are multiplied by a factor on their way back."""
    return jax.tree.map(lambda leaf: _times_backward(jnp.asarray(leaf), factor) if _is_float(leaf) else leaf, tree)


@jax.custom_vjp
def _times_backward(leaf: Array, factor: Float[Array, ""]) -> Array:
    """Returns the array."""
    del factor
    return leaf


def _forward(leaf, factor):
    """Returns the array, and the factor for the backward pass."""
    return leaf, factor


def _backward(factor, gradient):
    """Returns the scaled gradient of the array, and none of the factor."""
    return (gradient * factor).astype(gradient.dtype), jnp.zeros_like(factor)  # the product is float32 or wider


_times_backward.defvjp(_forward, _backward)

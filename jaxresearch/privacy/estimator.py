"""The private gradient: clipped per example, summed, with noise added once."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxresearch import devices, sampling
from jaxresearch.gradients import Batch, GradientEstimator, LossFn, ModelState, Params
from jaxresearch.privacy import outer_products
from jaxresearch.privacy.mechanism import Clipping, Mechanism
from jaxresearch.privacy.outer_products import Outer
from jaxresearch.privacy.units import of_unit, require_units

_MARGIN = 1 + 2**-14  # norms are rounded to float32


def private(loss_fn: LossFn, mechanism: Mechanism, *, n_micro_batches: int = 4) -> GradientEstimator:
    r"""Returns the estimator of the gradient with differential privacy.

    .. math:: \tilde g = \frac{1}{b} \Big( \sum_i g_i \min(1, c / \lVert g_i \rVert_2) + \sigma c \, z \Big), \quad
        z \sim \mathcal N(0, I)

    where :math:`g_i` is the gradient of ``loss_fn`` on a batch of example i alone, and :math:`b` the expected batch size, which
    does not depend on the data. An example whose gradient, or the norm of it in float32, is not finite counts as zero.

    ``loss_fn`` must be a mean over examples. Any other is still private, but a loss over pairs becomes that of each example
    with itself. `jaxresearch.execution.require_mean` refuses such losses.

    Args:
        loss_fn: ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``. It must not change the model state.
        mechanism: The mechanism that is accounted for.
        n_micro_batches: Parts into which the places of a batch are split, one after another, to save memory. Parts behind the
            last example are skipped, about a third of a batch; they cost nothing.

    Returns:
        A gradient estimator for batches that were drawn with ``mechanism.sampling``; others raise an error. It reports
        ``"gradient_norm"``, the norm of the private gradient, and no other metric: those of ``loss_fn`` are not private.

    Raises:
        ValueError: If ``n_micro_batches`` is not positive. When called, if the batch was drawn in another way or changed
            (augmentations may mix examples), if the model state changes, or if the loss is not a scalar.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss_fn(params, model_state, batch, key):
        ...     return jnp.mean(params * batch["inputs"]), ({}, model_state)
        >>> mechanism = Mechanism(noise_multiplier=0.0, clip=1.0, n_examples=4, batch_size=4, n_steps=1, delta=1e-5)
        >>> data, key = {"inputs": jnp.array([0.5, 1.0, 2.0, jnp.nan])}, jax.random.key(0)
        >>> batch = sampling.batch_of(key, data, jnp.int32(0), batch_size=mechanism.sampling)
        >>> gradient, metrics, _ = private(loss_fn, mechanism)(jnp.array(1.0), {}, batch, key)
        >>> round(float(gradient), 3), sorted(metrics)  # (0.5 + 1 + 1 + 0) / 4
        (0.625, ['gradient_norm'])

    References:
        Abadi et al. (2016), Deep learning with differential privacy, CCS, algorithm 1. https://arxiv.org/abs/1607.00133
    """
    if n_micro_batches < 1:
        raise ValueError(
            f"n_micro_batches must be at least 1; got {n_micro_batches}. Pass 1 for the whole batch at once."
        )

    of_entry = loss_fn if mechanism.unit is None else of_unit(loss_fn)

    def estimator(params, model_state, batch, key):
        _require_sampled(batch, mechanism)
        require_units(batch, mechanism.unit)
        # Keys of the examples are secret too: they depend on the places in the batch, so on which examples were drawn.
        example_key, noise_key = jax.random.split(sampling.keyed(key, secret=mechanism.secret))
        total = clipped_sum(
            _loss_of(of_entry, model_state),
            params,
            batch,
            key=example_key,
            clip=mechanism.clip,
            clipping=mechanism.clipping,
            n_micro_batches=n_micro_batches,
        )
        noise = _noise(noise_key, total)
        # The sum is in units of the clipping norm: it changes by at most 1 with one example.
        unit = mechanism.clip / mechanism.batch_size
        noisy = jax.tree.map(lambda s, z: (s + mechanism.noise_multiplier * z) * unit, total, noise)
        gradient = jax.tree.map(lambda g, leaf: g.astype(leaf.dtype), noisy, params)
        return gradient, {"gradient_norm": optax.tree.norm(noisy)}, model_state

    return estimator


def clipped_sum(
    loss_of: Callable[..., Float[Array, ""]],
    params: Params,
    batch: Batch,
    *,
    key: Key[Array, ""],
    clip: int | float,
    clipping: Clipping = "flat",
    n_micro_batches: int = 1,
) -> PyTree[Float[Array, "..."]]:
    r"""Returns the sum of the gradients of the examples, each clipped, in units of the clipping norm.

    .. math:: \sum_i w_i \, u_i \min(1, 1 / \lVert u_i \rVert_2), \quad u_i = g_i / c

    Adding, removing or zeroing one example changes it by a norm of at most 1; replacing one, by at most 2. So that this holds for
    rounded norms as well, factors are smaller by :math:`2^{-14}`. With ``clipping="per-array"``, each of k arrays is clipped to
    a norm of :math:`1 / \sqrt k`, which has the same bound.

    Matrices that multiply one vector per example need no gradient of each example (``privacy.outer_products``); others,
    of which ``n_micro_batches`` bounds the memory, have one.

    It has derivatives in forward mode (`jax.jvp`). In reverse mode (`jax.grad`), JAX refuses a compiled sum of a batch with
    weights: its loop over micro-batches ends with the last one that holds an example, which saves up to half the time.
    The derivative is nan where the gradient of an example is zero, as that of its norm is.

    Args:
        loss_of: ``(params, batch, key) -> loss``, called with batches of one example.
        params: Floating-point arrays.
        batch: Arrays with equal leading axes; an example counts if its ``weights`` are above 0, or missing.
        key: Example i has the key ``fold_in(key, i)``.
        clip: The norm :math:`c`, positive.
        clipping: As in `Mechanism`.
        n_micro_batches: As in `private`; the result agrees up to the order of sums.

    Returns:
        Sums in float32 or wider; an example with a gradient that is not finite adds zero.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> batch = {"inputs": jnp.array([[3.0, 4.0], [jnp.inf, 0.0], [0.0, 0.5]])}
        >>> total = clipped_sum(lambda w, batch, key: batch["inputs"][0] @ w, jnp.ones(2), batch, key=jax.random.key(0), clip=1.0)
        >>> [round(float(value), 3) for value in total]
        [0.6, 1.3]
    """
    examples = {name: entry for name, entry in batch.items() if name != "weights"}
    n = jax.tree.leaves(examples)[0].shape[0]
    counts = jnp.ones(n, bool) if "weights" not in batch else batch["weights"] > 0
    of_part = devices.padded_size(-(-n // n_micro_batches))
    padding = of_part * n_micro_batches - n
    words, impl = jax.random.key_data(key), jax.random.key_impl(key)  # no key may enter a loop

    def in_parts(leaf: Any) -> Array:
        padded = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], padding, axis=0)]) if padding else jnp.asarray(leaf)
        return padded.reshape(n_micro_batches, -1, *leaf.shape[1:])

    def of_example(example: Batch, place: Array) -> tuple[list[Array | Outer], Array]:
        alone = jax.tree.map(lambda leaf: leaf[None], example)
        own_key = jax.random.fold_in(jax.random.wrap_key_data(words, impl=impl), place)
        gradients = outer_products.gradient(loss_of, params, alone, own_key)
        units = [_in_units(gradient, clip) for gradient in gradients]
        return units, _scales(units, clipping=clipping)

    def added(i: Int[Array, ""], total: Params) -> Params:
        part = jax.tree.map(lambda leaf: leaf[i], parts)
        examples, places, counts = devices.spread(part, where_possible=True)
        units, scales = jax.vmap(of_example)(examples, places)
        counts = counts & (scales[:, 0] > 0)
        sums = [_weighted_sum(unit, jnp.where(counts, scales[:, i], 0)) for i, unit in enumerate(units)]
        return jax.tree.map(jnp.add, total, jax.tree.unflatten(jax.tree.structure(total), sums))

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32)), params)
    places = in_parts(jnp.arange(n))
    is_example = jnp.arange(n + padding).reshape(n_micro_batches, -1) < n
    parts = jax.tree.map(in_parts, examples), places, in_parts(counts) & is_example
    # Empty places are the last of a batch: a third of them for 256 expected examples, half for 64.
    n_used = jnp.max(jnp.where(parts[2].any(axis=1), jnp.arange(n_micro_batches) + 1, 0))
    return jax.lax.fori_loop(0, n_used if "weights" in batch else -(-n // of_part), added, zeros)


def _in_units(gradient: Array | Outer, clip: int | float) -> Array | Outer:
    """Returns the gradient of one array for one example in units of the clipping norm, in float32 or wider."""
    if isinstance(gradient, Outer):
        return outer_products.scaled(gradient, 1 / clip)
    return gradient.astype(jnp.promote_types(gradient.dtype, jnp.float32)) / clip


def _square(unit: Array | Outer) -> Float[Array, ""]:
    """Returns the square of the norm of the gradient of one array for one example."""
    if isinstance(unit, Outer):
        return outer_products.square_norm(unit).astype(jnp.float32)
    return jnp.sum(jnp.square(unit), dtype=jnp.float32)


def _scales(units: list[Array | Outer], *, clipping: Clipping) -> Float[Array, " arrays"]:
    """Returns the factors that bring the arrays of one gradient to a norm of at most 1; all 0 if the norm is not finite."""
    squares = jnp.stack([_square(unit) for unit in units])
    is_flat = clipping == "flat"
    norms = jnp.sqrt(jnp.broadcast_to(squares.sum(), squares.shape) if is_flat else squares * len(units))
    return jnp.where(jnp.isfinite(norms).all(), 1 / (jnp.maximum(norms, 1) * _MARGIN), 0)


def _weighted_sum(unit: Array | Outer, scales: Float[Array, " examples"]) -> Float[Array, "..."]:
    """Returns the sum over examples, each times its scale; those with a scale of 0 may hold anything."""
    if isinstance(unit, Outer):
        return outer_products.weighted_sum(unit, scales)
    # One pass over memory, unlike scaling first.
    flat = jnp.where(scales[:, None] > 0, unit.reshape(len(scales), -1), 0)
    return jnp.matmul(scales, flat, precision="highest").reshape(unit.shape[1:])


def _loss_of(loss_fn: LossFn, model_state: ModelState) -> Callable[..., Float[Array, ""]]:
    """Returns the loss alone; when called, it raises if it is not a scalar or the model state changes."""

    def loss_of(params, batch, key):
        loss, (_, updated) = loss_fn(params, model_state, batch, key)
        if jnp.shape(loss):
            raise ValueError(f"loss must be a scalar, got shape {jnp.shape(loss)}. Return the mean over examples.")
        before, after = jax.tree.leaves(model_state), jax.tree.leaves(updated)
        if len(before) != len(after) or any(old is not new for old, new in zip(before, after, strict=True)):
            raise ValueError(
                "model_state must not change in a private step, got a loss_fn that changes it (batch normalisation mixes "
                "examples). Normalise each example alone, by layer or by group."
            )
        return loss

    return loss_of


def _noise(key: Key[Array, ""], like: Params) -> Params:
    """Returns standard normal noise, independent for each entry."""
    leaves, structure = jax.tree.flatten(like)
    drawn = [jax.random.normal(jax.random.fold_in(key, i), leaf.shape, leaf.dtype) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, drawn)


def _require_sampled(batch: Any, mechanism: Mechanism) -> None:
    """Raises unless the batch was drawn as the mechanism accounts for."""
    drawn = getattr(batch, "sampling", None)
    if drawn is None:
        raise ValueError(
            "batch must come from the mechanism's Poisson sampling, unchanged, got another (shuffled, or augmented, which "
            "may mix examples). Set Plan.poisson to mechanism.sampling."
        )
    own = mechanism.sampling  # more places are safe, and what the devices of a mesh may need
    is_own = dataclasses.replace(drawn, capacity=own.capacity) == own and drawn.capacity >= own.capacity
    if not is_own or len(batch["weights"]) != drawn.capacity:
        n = len(batch["weights"])
        raise ValueError(
            f"batch must be drawn with {own}, which is accounted for, got {n} places of {drawn}. Pass the "
            "whole batch of one mechanism."
        )

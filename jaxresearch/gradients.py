"""Gradient estimators: each is ``(params, model_state, batch, key) -> (gradient, metrics, model_state)``.

An estimator is built from a loss_fn, ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``, or from
another estimator. All have the same signature, so they are interchangeable and compose::

    clipped(accumulated(plain(loss_fn), n_micro_batches=4), max_norm=1.0)
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import AbstractMesh, Mesh, PartitionSpec, get_abstract_mesh
from jaxtyping import Array, Float, PyTree

from jaxresearch import devices

Params = PyTree[Array]
ModelState = PyTree[Array]
Batch = dict[str, Any]
Metrics = dict[str, Any]  # arrays
LossFn = Callable[..., tuple[Float[Array, ""], tuple[Metrics, ModelState]]]
GradientEstimator = Callable[..., tuple[Params, Metrics, ModelState]]


def plain(loss_fn: LossFn) -> GradientEstimator:
    r"""Returns the estimator of the gradient of the loss itself, :math:`\nabla_\theta L`.

    Args:
        loss_fn: ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``; the loss is a scalar.

    Returns:
        A gradient estimator. It reports the metrics of ``loss_fn``, and the loss as ``"loss"``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss_fn(params, model_state, batch, key):
        ...     return jnp.mean((params * batch["inputs"] - batch["targets"]) ** 2) / 2, ({}, model_state)
        >>> batch = {"inputs": jnp.array([1.0, 2.0]), "targets": jnp.array([2.0, 4.0])}
        >>> gradient, metrics, _ = plain(loss_fn)(jnp.array(0.0), {}, batch, jax.random.key(0))
        >>> float(gradient), float(metrics["loss"])
        (-5.0, 5.0)
    """
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def estimator(params, model_state, batch, key):
        (loss, (metrics, model_state)), gradient = value_and_grad(params, model_state, batch, key)
        return gradient, {"loss": loss, **metrics}, model_state

    return estimator


def accumulated(estimator: GradientEstimator, *, n_micro_batches: int) -> GradientEstimator:
    r"""Returns the estimator that processes a batch in equal parts, one after another, to save memory.

    The parts are averaged by weight, :math:`g = \sum_i w_i g_i / \sum_i w_i`, where :math:`w_i` is the sum of the part's
    ``weights`` if the batch has them, else 1. The result is the gradient of the whole batch for any loss that is a
    (weighted) mean over examples. Metrics are averaged the same way. The model state passes through the parts in order, so
    batch statistics are those of the smaller parts. Each part has its own key.

    Args:
        estimator: The estimator for one part.
        n_micro_batches: Number of parts, at least 1; must divide the batch.

    Returns:
        A gradient estimator. Its metrics, averaged over the parts, are float32 or wider: counts of 3 and 4 give 3.5.

    Raises:
        ValueError: If ``n_micro_batches`` is not positive, or (when called) does not divide the batch.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss_fn(params, model_state, batch, key):
        ...     return jnp.mean(params * batch["inputs"]), ({}, model_state)
        >>> half = accumulated(plain(loss_fn), n_micro_batches=2)
        >>> gradient, _, _ = half(jnp.array(1.0), {}, {"inputs": jnp.arange(4.0)}, jax.random.key(0))
        >>> float(gradient)
        1.5
    """
    if n_micro_batches < 1:
        raise ValueError(
            f"n_micro_batches must be at least 1; got {n_micro_batches}. Pass 1 for the whole batch at once."
        )

    def accumulating(params, model_state, batch, key):
        parts = jax.tree.map(lambda leaf: _cut(leaf, n_micro_batches), batch)
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        shapes = jax.eval_shape(estimator, params, model_state, first, key)[:2]
        # A running sum, to save the memory of a stack of parts; in float32 or wider.
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32)), shapes)

        def visit(carry, numbered_part):
            model_state, total, sums = carry
            i, part = numbered_part
            part, weight = _weighed(part)
            gradient, metrics, model_state = estimator(params, model_state, part, jax.random.fold_in(key, i))
            weighted = jax.tree.map(lambda x: _weighted(x, weight), (gradient, metrics))
            sums = jax.tree.map(lambda s, x: s + x.astype(s.dtype), sums, weighted)
            return (model_state, total + weight.astype(total.dtype), sums), None

        start = (model_state, jnp.zeros(()), zeros)
        (model_state, total, sums), _ = jax.lax.scan(visit, start, (jnp.arange(n_micro_batches), parts))
        means = jax.tree.map(lambda s: s / total, sums)
        gradient = jax.tree.map(lambda mean, leaf: mean.astype(leaf.dtype), means[0], shapes[0])
        return gradient, means[1], model_state

    return accumulating


def sharded(estimator: GradientEstimator, *, n_devices: int | None = None) -> GradientEstimator:
    r"""Returns the estimator that processes a batch in equal parts, one per device, in parallel.

    The parts are averaged by weight as in `accumulated`, and each has its own key: the gradient is that of `accumulated` with
    the same number of parts, up to the order of sums. Parameters are replicated. All parts start from the same model state,
    and their new states are combined by type:

    =================  =======================================================
    leaf               combined by
    =================  =======================================================
    floats             mean
    integers, bools    maximum (call counters agree on all devices)
    typed random keys  the key of the first part
    =================  =======================================================

    With a current mesh (`jaxresearch.devices.mesh`), there is one part for each device along its axis ``data``, also inside a
    sweep that splits its runs over the axis ``runs``. A sweep over devices without such a mesh already uses all devices, so an
    estimator inside it cannot be sharded. A CPU counts as one device, unless `jaxresearch.devices.split_cpu` was called first.

    Args:
        estimator: The estimator for one part.
        n_devices: Number of devices, which must divide the batch; all devices of the backend, or along the axis ``data`` of the
            current mesh, by default.

    Returns:
        A gradient estimator. Its metrics, averaged over the parts, are float32 or wider: counts of 3 and 4 give 3.5.

    Raises:
        ValueError: If there are fewer devices or, when called, if their number does not divide the batch, is not that of the
            current mesh, or a sweep over all devices surrounds the call.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss_fn(params, model_state, batch, key):
        ...     return jnp.mean(params * batch["inputs"]), ({}, model_state)
        >>> both = sharded(plain(loss_fn), n_devices=1)
        >>> gradient, _, _ = jax.jit(both)(jnp.array(1.0), {}, {"inputs": jnp.arange(4.0)}, jax.random.key(0))
        >>> float(gradient)
        1.5
    """
    n_all = len(jax.devices())
    n = n_all if n_devices is None else n_devices
    if not 1 <= n <= n_all:
        raise ValueError(
            f"n_devices must be between 1 and the number of devices, {n_all}; got {n}. Leave it out to use all."
        )

    def of_part(axis, params, model_state, part, key):
        part, weight = _weighed(part)
        own_key = jax.random.fold_in(key, jax.lax.axis_index(axis))
        gradient, metrics, model_state = estimator(params, model_state, part, own_key)

        def weighted(leaf):
            return _weighted(leaf, weight).astype(jnp.promote_types(leaf.dtype, jnp.float32))

        # One vector, summed once: each sum over devices is a synchronisation.
        vector, unravel = ravel_pytree((jax.tree.map(weighted, (gradient, metrics)), weight))
        sums, total = unravel(jax.lax.psum(vector, axis))
        means = jax.tree.map(lambda s: s / total, sums)
        mean_gradient = jax.tree.map(lambda mean, leaf: mean.astype(leaf.dtype), means[0], gradient)
        return mean_gradient, means[1], jax.tree.map(functools.partial(_combine, axis), model_state)

    def over_devices(params, model_state, batch, key):
        axis, mesh = _axis_of_batch(n_devices, n)
        for leaf in jax.tree.leaves(batch):
            _require_divides(leaf, mesh.shape[axis], "n_devices" if axis == devices.AXIS else "the mesh axis data")
        specs = (PartitionSpec(), PartitionSpec(), PartitionSpec(axis), PartitionSpec())
        split = jax.shard_map(
            functools.partial(of_part, axis),
            mesh=mesh,
            axis_names={axis},  # the other axes of a mesh are left to the partitioner
            in_specs=specs,
            out_specs=PartitionSpec(),
            check_vma=False,  # all outputs are replicated, but JAX cannot infer that through the carry of a scan
        )
        return split(params, model_state, batch, key)

    return over_devices


def clipped(estimator: GradientEstimator, *, max_norm: float | Float[Array, ""]) -> GradientEstimator:
    r"""Returns the estimator that scales a gradient whose global norm exceeds ``max_norm`` down to that norm.

    .. math:: g \leftarrow g \min(1, c / \lVert g \rVert_2)

    Where this is not differentiable, a derivative is chosen: at a norm of exactly ``max_norm`` that of the unclipped
    gradient; at a gradient of zero, 0 for the norm.

    Args:
        estimator: The estimator to clip.
        max_norm: Largest Euclidean norm over all parameters, positive; may be swept.

    Returns:
        A gradient estimator that also reports ``"gradient_norm"``, the norm before clipping.

    Raises:
        ValueError: If ``max_norm`` is a Python number and not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss_fn(params, model_state, batch, key):
        ...     return jnp.sum(params * batch["inputs"]), ({}, model_state)
        >>> batch = {"inputs": jnp.array([3.0, 4.0])}
        >>> gradient, metrics, _ = clipped(plain(loss_fn), max_norm=1.0)(jnp.ones(2), {}, batch, jax.random.key(0))
        >>> [round(float(g), 3) for g in gradient], float(metrics["gradient_norm"])
        ([0.6, 0.8], 5.0)

    References:
        Pascanu, Mikolov and Bengio (2013), On the difficulty of training recurrent neural networks, ICML, algorithm 1.
        https://arxiv.org/abs/1211.5063
    """
    if isinstance(max_norm, int | float) and not max_norm > 0:
        raise ValueError(f"max_norm must be positive; got {max_norm}. Leave the estimator unclipped for no limit.")

    def clipping(params, model_state, batch, key):
        gradient, metrics, model_state = estimator(params, model_state, batch, key)
        # In float32 or wider: float16 overflows for squares from 256 on, and an infinite norm would scale everything to 0.
        wide = jax.tree.map(lambda g: g.astype(jnp.promote_types(g.dtype, jnp.float32)), gradient)
        squared = optax.tree.norm(wide, squared=True)
        # `where` differentiates both branches, so the unused one gets a harmless value.
        norm = jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)
        scale = jnp.where(norm > max_norm, max_norm / jnp.where(norm > max_norm, norm, 1.0), 1.0)
        gradient = jax.tree.map(lambda g: g * scale.astype(g.dtype), gradient)
        return gradient, {**metrics, "gradient_norm": norm}, model_state

    return clipping


def _axis_of_batch(n_devices: int | None, n: int) -> tuple[str, Mesh | AbstractMesh]:
    """Returns the axis over which a batch is split into n parts, and its mesh: the current one if that has a free axis "data"."""
    current = get_abstract_mesh()
    if "data" in current.axis_names and "data" not in current.manual_axes:
        size = current.shape["data"]
        if n_devices not in (None, size):
            raise ValueError(
                f"n_devices must be {size}, the size of data in the current mesh; got {n_devices}. Leave it out."
            )
        return "data", current
    if devices.available() < len(jax.devices()):
        raise ValueError(
            "sharded must not be inside a sweep over devices or another shard_map, which already use the devices. "
            "Use accumulated instead, sweep with layout='vmap', or leave devices for it by a mesh with the axis data."
        )
    return devices.AXIS, devices.mesh_of(n)  # the mesh of `devices.place`


def _weighed(part: Batch) -> tuple[Batch, Array]:
    """Returns a part and its total weight; if that is 0, the part gets weights of 1.

    The loss of padding alone is 0 / 0: multiplied by a weight of 0, its derivative would still be nan.
    """
    if "weights" not in part:
        return part, jnp.ones(())
    weight = jnp.sum(part["weights"])
    return {**part, "weights": jnp.where(weight > 0, part["weights"], 1)}, weight


def _weighted(leaf: Array, weight: Array) -> Array:
    """Returns a part's value times its weight: 0 for a weight of 0, whatever the value."""
    return jnp.where(weight > 0, weight * jnp.where(weight > 0, leaf, 0), 0.0)


def _combine(axis: str, leaf: Array) -> Array:
    """Returns a leaf of the model states of all parts, combined by its type."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = jnp.where(jax.lax.axis_index(axis) == 0, jax.random.key_data(leaf), 0)
        return jax.random.wrap_key_data(jax.lax.psum(words, axis), impl=jax.random.key_impl(leaf))
    return jax.lax.pmean(leaf, axis) if jnp.issubdtype(leaf.dtype, jnp.inexact) else jax.lax.pmax(leaf, axis)


def _cut(leaf: Array, n_parts: int) -> Array:
    """Returns the array with its leading axis split into ``n_parts`` equal parts."""
    _require_divides(leaf, n_parts, "n_micro_batches")
    return leaf.reshape(n_parts, leaf.shape[0] // n_parts, *leaf.shape[1:])


def _require_divides(leaf: Array, n_parts: int, name: str) -> None:
    """Raises if a batch cannot be split into ``n_parts`` equal parts."""
    if leaf.shape[0] % n_parts:
        raise ValueError(
            f"{name} must divide the batch of {leaf.shape[0]} examples; got {n_parts}. Pass a divisor of the batch size."
        )

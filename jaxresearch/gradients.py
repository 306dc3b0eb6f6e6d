"""Gradient estimators: each is ``(params, model_state, batch, key) -> (gradient, metrics, model_state)``.

An estimator is made from a loss_fn, ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``, or from
another estimator. All have the one signature, so they exchange and compose::

    clipped(accumulated(plain(loss_fn), n_micro_batches=4), max_norm=1.0)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Float, PyTree

Params = PyTree[Array]
ModelState = PyTree[Array]
Batch = dict[str, Any]
Metrics = dict[str, Array]
LossFn = Callable[..., tuple[Float[Array, ""], tuple[Metrics, ModelState]]]
_PARTS = "parts"
GradientEstimator = Callable[..., tuple[Params, Metrics, ModelState]]


def plain(loss_fn: LossFn) -> GradientEstimator:
    r"""Returns the estimator of the gradient of the loss itself, :math:`\nabla_\theta L`.

    Args:
        loss_fn: ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``; the loss is a scalar.

    Returns:
        A gradient estimator. Its metrics are those of ``loss_fn`` and the loss, as ``"loss"``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss_fn(params, model_state, batch, key):
        ...     return jnp.mean((params * batch["inputs"] - batch["targets"]) ** 2) / 2, ({}, model_state)
        >>> batch = {"inputs": jnp.array([1.0, 2.0]), "targets": jnp.array([2.0, 4.0])}
        >>> gradient, metrics, _ = plain(loss_fn)(jnp.array(0.0), {}, batch, jax.random.key(0))
        >>> float(gradient), float(metrics["loss"])
        (-5.0, 5.0)

    References:
        Rumelhart, Hinton and Williams (1986), Learning representations by back-propagating errors, Nature 323,
        equation 3. https://doi.org/10.1038/323533a0
    """
    value_and_grad = jax.value_and_grad(loss_fn, has_aux=True)

    def estimator(params, model_state, batch, key):
        (loss, (metrics, model_state)), gradient = value_and_grad(params, model_state, batch, key)
        return gradient, {"loss": loss, **metrics}, model_state

    return estimator


def accumulated(estimator: GradientEstimator, *, n_micro_batches: int) -> GradientEstimator:
    r"""Returns the estimator that sees a batch in equal parts, one after another, to save memory.

    The parts are joined by their weights, :math:`g = \sum_i w_i g_i / \sum_i w_i`, where :math:`w_i` is the sum of
    the part's ``weights`` where the batch carries them, else 1. So the joined gradient is that of the whole batch
    for any loss that is a (weighted) mean over examples. Metrics are joined the same way. The model state goes through
    the parts in order (batch statistics therefore see the smaller parts), and each part has a key of its own.

    Args:
        estimator: The estimator for one part.
        n_micro_batches: Number of parts, 1 or more; it has to divide the batch.

    Returns:
        A gradient estimator with the metrics of ``estimator``, float32 also where these count: the mean of 3 and 4 is 3.5.

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

    References:
        Ott, Edunov, Grangier and Auli (2018), Scaling neural machine translation, WMT, section 3.3.
        https://arxiv.org/abs/1806.00187
    """
    if n_micro_batches < 1:
        raise ValueError(
            f"n_micro_batches must be 1 or more; got {n_micro_batches}. Pass 1 for the whole batch at once."
        )

    def accumulating(params, model_state, batch, key):
        parts = jax.tree.map(lambda leaf: _cut(leaf, n_micro_batches), batch)
        first = jax.tree.map(lambda leaf: leaf[0], parts)
        made = jax.eval_shape(estimator, params, model_state, first, key)[:2]
        # One sum for all parts, not a stack of them: parts are made to save memory. At least in float32.
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32)), made)

        def visit(carry, numbered_part):
            model_state, total, sums = carry
            i, part = numbered_part
            gradient, metrics, model_state = estimator(params, model_state, part, jax.random.fold_in(key, i))
            weight = jnp.sum(part["weights"]) if "weights" in part else jnp.ones(())
            # A part of padding alone has no loss (0 / 0): it must count nothing, not nan.
            weighted = jax.tree.map(lambda x: jnp.where(weight > 0, weight * x, 0.0), (gradient, metrics))
            sums = jax.tree.map(lambda s, x: s + x.astype(s.dtype), sums, weighted)
            return (model_state, total + weight.astype(total.dtype), sums), None

        start = (model_state, jnp.zeros(()), zeros)
        (model_state, total, sums), _ = jax.lax.scan(visit, start, (jnp.arange(n_micro_batches), parts))
        means = jax.tree.map(lambda s: s / total, sums)
        gradient = jax.tree.map(lambda mean, leaf: mean.astype(leaf.dtype), means[0], made[0])
        return gradient, means[1], model_state

    return accumulating


def sharded(estimator: GradientEstimator, *, n_devices: int | None = None) -> GradientEstimator:
    r"""Returns the estimator that sees a batch in equal parts, one a device, at the same time.

    The parts are joined as those of `accumulated` are, by their weights, and each has a key of its own; the gradient is that of
    `accumulated` with as many parts, up to the order of sums. Parameters are on all devices. The model state is the mean over
    the parts, and whole numbers in it (counts of calls) the greatest of them. A CPU counts as one device, unless
    `jaxresearch.devices.split_cpu` was called first. It is for runs of one's own: a sweep, as the command line makes it, has
    spread its runs over the devices already.

    Args:
        estimator: The estimator for one part.
        n_devices: How many devices, 1 or more; all of the backend unless given. It has to divide the batch.

    Returns:
        A gradient estimator with the metrics of ``estimator``, float32 also where these count: the mean of 3 and 4 is 3.5.

    Raises:
        ValueError: If there are fewer devices, or (when called) their number does not divide the batch.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def loss_fn(params, model_state, batch, key):
        ...     return jnp.mean(params * batch["inputs"]), ({}, model_state)
        >>> both = sharded(plain(loss_fn), n_devices=1)
        >>> gradient, _, _ = jax.jit(both)(jnp.array(1.0), {}, {"inputs": jnp.arange(4.0)}, jax.random.key(0))
        >>> float(gradient)
        1.5

    References:
        Dean et al. (2012), Large scale distributed deep networks, NeurIPS (data parallelism). Goyal et al. (2017), Accurate,
        large minibatch SGD, section 3. https://arxiv.org/abs/1706.02677
    """
    n_all = len(jax.devices())
    n = n_all if n_devices is None else n_devices
    if not 1 <= n <= n_all:
        raise ValueError(
            f"n_devices must be from 1 to the {n_all} devices that there are; got {n}. Leave it out for all."
        )
    mesh = jax.make_mesh((n,), (_PARTS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:n])

    def of_part(params, model_state, part, key):
        own_key = jax.random.fold_in(key, jax.lax.axis_index(_PARTS))
        gradient, metrics, model_state = estimator(params, model_state, part, own_key)
        weight = jnp.sum(part["weights"]) if "weights" in part else jnp.ones(())

        def weighed(leaf):
            # A part of padding alone has no loss (0 / 0): it must count nothing, not nan.
            return jnp.where(weight > 0, weight * leaf, 0.0).astype(jnp.promote_types(leaf.dtype, jnp.float32))

        # One vector, for each array that is summed over devices by itself makes them wait for each other once.
        vector, unravel = ravel_pytree((jax.tree.map(weighed, (gradient, metrics)), weight))
        sums, total = unravel(jax.lax.psum(vector, _PARTS))
        means = jax.tree.map(lambda s: s / total, sums)
        mean_gradient = jax.tree.map(lambda mean, leaf: mean.astype(leaf.dtype), means[0], gradient)

        def agreed(leaf):
            is_float = jnp.issubdtype(leaf.dtype, jnp.inexact)
            return jax.lax.pmean(leaf, _PARTS) if is_float else jax.lax.pmax(leaf, _PARTS)

        return mean_gradient, means[1], jax.tree.map(agreed, model_state)

    def over_devices(params, model_state, batch, key):
        for leaf in jax.tree.leaves(batch):
            _require_divides(leaf, n, "n_devices")
        specs = (PartitionSpec(), PartitionSpec(), PartitionSpec(_PARTS), PartitionSpec())
        # What each part gives is the same on all devices after psum, which is not followed through a scan's carry.
        split = jax.shard_map(of_part, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)
        return split(params, model_state, batch, key)

    return over_devices


def clipped(estimator: GradientEstimator, *, max_norm: float | Float[Array, ""]) -> GradientEstimator:
    r"""Returns the estimator whose gradient is scaled down to a global norm of ``max_norm`` where it is longer.

    .. math:: g \leftarrow g \min(1, c / \lVert g \rVert_2)

    Args:
        estimator: The estimator to be clipped.
        max_norm: Largest Euclidean norm over all parameters, positive; may be swept.

    Returns:
        A gradient estimator whose metrics hold the norm before clipping, as ``"gradient_norm"``, besides.

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
        norm = optax.tree.norm(gradient)
        scale = jnp.where(norm > max_norm, max_norm / jnp.where(norm > max_norm, norm, 1.0), 1.0)
        gradient = jax.tree.map(lambda g: g * scale.astype(g.dtype), gradient)
        return gradient, {**metrics, "gradient_norm": norm}, model_state

    return clipping


def _cut(leaf: Array, n_parts: int) -> Array:
    """Cuts the leading axis into ``n_parts`` equal parts."""
    _require_divides(leaf, n_parts, "n_micro_batches")
    return leaf.reshape(n_parts, leaf.shape[0] // n_parts, *leaf.shape[1:])


def _require_divides(leaf: Array, n_parts: int, name: str) -> None:
    """Raises where a batch cannot be cut into so many equal parts."""
    if leaf.shape[0] % n_parts:
        raise ValueError(
            f"{name} must divide the batch of {leaf.shape[0]} examples; got {n_parts}. Pass a divisor of the batch size."
        )

"""The influence of each example on each metric: the derivative of the metric with respect to the example's weight."""

import contextlib
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval
from jaxtyping import Array, Float

from jaxresearch.data import Streams, n_examples
from jaxresearch.gradients import Batch, Metrics

_MOST_ENTRIES = 2**21  # of all influences of vectors in a run; those of scalars are always computed
_NO_DERIVATIVE = (
    TypeError,
    ValueError,
    NotImplementedError,
)  # raised by JAX, for instance for a loop of unknown length

Influences = dict[str, Float[Array, "examples *entries"]]


def examined(evaluate: Callable[[Batch], Metrics], data: Batch) -> tuple[Metrics, Influences]:
    r"""Returns metrics, and the influence of each example on those that depend on the weights of examples.

    .. math:: \text{influence}_j = m \, w_j \, \partial \text{metric} / \partial w_j

    with the weights :math:`w` of the examples, of which :math:`m` are not zero. The influence on a mean is the example's value
    minus the mean. A metric that does not depend on the weights, is not a float or has no reverse-mode derivative has none.

    Args:
        evaluate: ``(data) -> metrics``; uses ``data["weights"]``.
        data: A part to evaluate on; weights are 1 by default.

    Returns:
        Metrics, and arrays ``(examples,)`` or ``(examples, entries)`` by name of the metric. Matrices are left out, and so are
        vectors if their influences have more than two million entries in all.

    Example:
        >>> data = {"targets": jnp.array([1.0, 2.0, 6.0])}
        >>> mean = lambda data: {"mean": jnp.average(data["targets"], weights=data["weights"])}
        >>> metrics, influences = examined(mean, data)
        >>> float(metrics["mean"]), [round(value, 3) for value in influences["mean"].tolist()]
        (3.0, [-2.0, -1.0, 3.0])

    References:
        Efron (1982), The jackknife, the bootstrap and other resampling plans, section 6.3 (the infinitesimal jackknife).
    """
    if not data or isinstance(data, Streams):
        return evaluate(data), {}
    weights = jnp.asarray(data.get("weights", jnp.ones(n_examples(data))), jnp.float32)

    def weighed(weights: Array) -> Metrics:
        return evaluate({**data, "weights": weights})

    names = _dependent(weighed, weights)

    def chosen(names: list[str], weights: Array) -> tuple[Metrics, Metrics]:
        metrics = weighed(weights)
        return {name: metrics[name] for name in names}, metrics

    def slopes(pull: Callable[[Metrics], tuple[Array]], values: Metrics, name: str) -> Array:
        value, zeros = values[name], jax.tree.map(jnp.zeros_like, values)
        units = jnp.eye(value.size, dtype=value.dtype).reshape(value.size, *value.shape)
        (slope,) = jax.vmap(lambda unit: pull({**zeros, name: unit}))(units)
        return slope.T.reshape(len(weights), *value.shape)

    def found_for(names: list[str]) -> tuple[Metrics, Metrics]:
        values, pull, metrics = jax.vjp(functools.partial(chosen, names), weights, has_aux=True)
        return metrics, {name: slopes(pull, values, name) for name in names}

    try:
        metrics, found = found_for(names)
    except _NO_DERIVATIVE:  # one metric has none; the others keep theirs
        metrics, found = weighed(weights), {}
        for name in names:
            with contextlib.suppress(*_NO_DERIVATIVE):
                found |= found_for([name])[1]
    scale = weights * (weights != 0).sum()
    return metrics, {name: jax.vmap(jnp.multiply)(scale, slope) for name, slope in found.items()}


def _dependent(evaluate: Callable[[Array], Metrics], weights: Array) -> list[str]:
    """Returns the names of the scalars and small vectors that depend on the weights."""
    closed, shapes = jax.make_jaxpr(evaluate, return_shape=True)(weights)
    leaves, treedef = jax.tree.flatten(shapes)
    used = []
    for place in range(len(leaves)):
        _, inputs = partial_eval.dce_jaxpr(closed.jaxpr, [place == other for other in range(len(leaves))])
        used.append(bool(inputs[-1]))
    is_used = jax.tree.unflatten(treedef, used)
    floats = [name for name, shape in shapes.items() if jnp.issubdtype(shape.dtype, jnp.floating) and is_used[name]]
    n_entries = sum(shapes[name].size for name in floats if len(shapes[name].shape) == 1)
    is_few = n_entries * len(weights) <= _MOST_ENTRIES
    return [name for name in floats if not shapes[name].shape or (len(shapes[name].shape) == 1 and is_few)]

"""A metric as three pure functions, and functions that metrics share."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer, PyTree


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric in three pure functions, so that it can be computed over batches and merged.

    ``summarise(predictions, targets, weights=None) -> summary`` (arrays), ``merge(summaries) -> summary`` (of several
    batches, stacked on a leading axis), ``compute(summary) -> value``. Calling a metric summarises and computes.

    A metric is differentiable in the weights: weight times derivative is the influence of an example on the value. Standard
    errors are computed from influences, so custom metrics must be differentiable too. The derivative is 0 where the weight
    is 0, as for padding.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, targets = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]]), jnp.array([0, 1, 1])
        >>> from jaxresearch.metrics import accuracy
        >>> round(float(accuracy()(logits, targets)), 4)
        0.6667
        >>> influences = jax.grad(lambda weights: accuracy()(logits, targets, weights))(jnp.ones(3))
        >>> [round(float(influence), 3) for influence in influences]
        [0.111, 0.111, -0.222]
    """

    summarise: Callable[..., PyTree[Array]]
    merge: Callable[[PyTree[Array]], PyTree[Array]]
    compute: Callable[[PyTree[Array]], Array]

    def __call__(self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> Array:
        """Returns the value for whole data."""
        weights = None if weights is None else jnp.asarray(weights)
        return self.compute(self.summarise(jnp.asarray(predictions), jnp.asarray(targets), weights))


def error(metric: Metric, *, class_index: int | None = None) -> Metric:
    """Returns one minus a metric, such as the fraction of errors from the accuracy.

    Args:
        metric: Its values are fractions, 0 to 1.
        class_index: The class to report, for a metric with one value per class. None reports all values.

    Returns:
        A metric of the same predictions and targets; its value is a scalar where ``class_index`` is given.

    Raises:
        ValueError: When computed, if ``class_index`` is given and the metric is not a vector or has no such class.

    Example:
        >>> from jaxresearch.metrics import recall
        >>> logits, targets = jnp.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), jnp.array([0, 1, 0])
        >>> float(error(recall(average=None), class_index=0)(logits, targets))
        0.5
    """

    def compute(summary):
        value = metric.compute(summary)
        if class_index is None:
            return 1 - value
        if value.ndim != 1:
            raise ValueError(
                f"class_index must come with one value per class; got values of shape {value.shape}. Pass average=None."
            )
        if not 0 <= class_index < len(value):
            raise ValueError(f"class_index must be between 0 and {len(value) - 1}; got {class_index}.")
        return 1 - value[class_index]

    return dataclasses.replace(metric, compute=compute)


def mean_of(fun: Callable[[Array, Array], Array]) -> Metric:
    r"""Returns the mean of a function of each example's prediction and target, such as a log-likelihood.

    .. math:: \sum_i w_i f(\hat y_i, y_i) / \sum_i w_i

    Args:
        fun: ``(predictions, targets) -> values`` ``(batch, ...)``; trailing axes are averaged.

    Returns:
        A metric of the predictions and targets that ``fun`` takes; its value is a scalar.

    Raises:
        ValueError: When called, if there is not one value, or array of values, for each target.

    Example:
        >>> is_above = mean_of(lambda predictions, targets: predictions > targets)
        >>> float(is_above(jnp.array([1.0, 2.0]), jnp.array([0.0, 5.0])))
        0.5
    """

    def summarise(predictions, targets, weights=None):
        values, n = fun(predictions, targets), len(targets)
        if jnp.shape(values)[:1] != (n,):
            raise ValueError(
                f"fun must return one value, or array of values, for each of {n} targets; got {jnp.shape(values)}. Leave the "
                "mean to the metric."
            )
        values = values.astype(jnp.promote_types(values.dtype, jnp.float32)).reshape(n, -1)
        weights = checked_weights(values, targets, weights, expected=targets.shape)
        return jnp.sum(masked(weights[:, None], values)), jnp.sum(weights) * values.shape[1]

    return Metric(summarise, summed, lambda summary: summary[0] / summary[1])


def summed(summaries: PyTree[Array]) -> PyTree[Array]:
    """Merges summaries that add up.

    Args:
        summaries: Stacked on a leading axis.

    Returns:
        Their sum.

    Example:
        >>> summed(jnp.array([1.0, 2.0])).item()
        3.0
    """
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), summaries)


def masked(weights: Array, values: Array) -> Array:
    """Returns the product of weights and values, 0 where the weight is 0 even if the value is not finite.

    Args:
        weights: At least 0, or nan.
        values: Any values, such as nan for padding.

    Returns:
        Weighted values, broadcast.

    Example:
        >>> masked(jnp.array([0.0, 2.0]), jnp.array([jnp.nan, 3.0])).tolist()
        [0.0, 6.0]
    """
    # The inner `where` is needed for the derivative: in a weight of 0 it would be 0 * nan.
    counts = weights != 0  # a weight of nan gives nan
    return jnp.where(counts, weights * jnp.where(counts, values, 0), 0.0)


def mean_of_defined(values: Float[Array, " classes"], is_defined: Array) -> Float[Array, ""]:
    """Returns the mean over the classes for which a value is defined, nan if there is none.

    Args:
        values: One per class; undefined ones are ignored, derivatives included.
        is_defined: Booleans ``(classes,)``.

    Returns:
        The mean, with equal weights.

    Example:
        >>> float(mean_of_defined(jnp.array([1.0, jnp.nan, 0.5]), jnp.array([True, False, True])))
        0.75
    """
    # The nan is 0 / 0, not a `where`, so that derivatives stay finite if a class is defined.
    return jnp.sum(jnp.where(is_defined, values, 0.0)) / jnp.sum(is_defined)


def has_probabilities(logits: Float[Array, "*batch classes"]) -> Array:
    """Returns whether logits have a softmax: none is nan or plus infinity, and not all are minus infinity.

    Args:
        logits: Of classes, on the last axis.

    Returns:
        Booleans ``(*batch,)``.

    Example:
        >>> has_probabilities(jnp.array([[0.0, -jnp.inf], [0.0, jnp.nan], [0.0, jnp.inf], [-jnp.inf, -jnp.inf]])).tolist()
        [True, False, False, False]
    """
    return jnp.isfinite(jnp.max(logits, axis=-1))


def negative_log_likelihood(
    logits: Float[Array, "*batch classes"], targets: Integer[Array, "*batch"]
) -> Float[Array, "*batch"]:
    r"""Returns the cross entropy of each target in nats, at full precision for any margin.

    .. math:: \log(1 + e^{-m}), \quad m = z_y - \log \sum_{k \ne y} e^{z_k}

    `jaxresearch.losses.softmax_cross_entropy_with_integer_labels` is faster and serves training, but is only as precise as
    the last digit of the largest logit.

    Args:
        logits: Of classes, on the last axis.
        targets: Classes.

    Returns:
        One value per target, at least 0; nan for a target outside the classes, and for logits without a softmax.

    Example:
        >>> print(negative_log_likelihood(jnp.array([[1000.0, 1025.0]]), jnp.array([1])))
        [1.3887944e-11]
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # Classes are counted in int32, not in the dtype of the targets: a byte wraps around at 256.
    is_target = targets[..., None] == jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    own = jnp.sum(jnp.where(is_target, logits, 0), axis=-1)
    others = jax.nn.logsumexp(jnp.where(is_target, -jnp.inf, logits), axis=-1)
    return jnp.where(jnp.any(is_target, axis=-1), jax.nn.softplus(others - own), jnp.nan)


def checked_weights(
    predictions: Array, targets: Array, weights: Any, *, expected: tuple[int, ...]
) -> Float[Array, " batch"]:
    """Returns the weights, 1 by default, after checking the shapes.

    Args:
        predictions: Logits ``(batch, ..., classes)``, or values ``(batch, ...)``.
        targets: Classes ``(batch, ...)``, or values of the shape of the predictions.
        weights: One per example, at least 0 (negative ones become nan), or None.
        expected: The shape that the targets must have.

    Returns:
        Weights ``(batch,)``, float32 or wider.

    Raises:
        ValueError: If a shape does not match.

    Example:
        >>> checked_weights(jnp.zeros((2, 3)), jnp.array([0, 1]), None, expected=(2,)).tolist()
        [1.0, 1.0]
    """
    if targets.shape != expected or targets.ndim < 1:
        remedy = "Pass integer classes for logits (batch, classes), or values shaped as the predictions."
        if targets.ndim == predictions.ndim == 2 and len(targets) == len(predictions):
            remedy = (
                f"The model has {predictions.shape[1]} outputs, the target has {targets.shape[1]}: make them equal."
            )
        raise ValueError(
            f"targets must have shape {expected} for predictions of shape {predictions.shape}; got {targets.shape}. {remedy}"
        )
    if weights is None:
        return jnp.ones(targets.shape[:1])
    if weights.shape != targets.shape[:1]:
        raise ValueError(
            f"weights must have shape {targets.shape[:1]}; got {weights.shape}. Pass one weight per example."
        )
    # A constant 0 where the weight is 0: padding has no influence, so its derivative must vanish.
    weights = weights.astype(jnp.promote_types(weights.dtype, jnp.float32))
    return jnp.where(weights == 0, 0.0, jnp.where(weights < 0, jnp.nan, weights))

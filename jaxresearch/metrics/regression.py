"""Regression metrics: predictions against targets of the same shape, any real numbers.

A nan among predictions or targets gives nan (unless its weight is 0), as do weights that sum to 0. Values are computed in
float32 or wider.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from jaxresearch.metrics.metric import Metric, checked_weights, masked, summed


def mean_squared_error() -> Metric:
    r"""Returns the mean squared error, in the unit of the targets squared.

    .. math:: \sum_i w_i (y_i - \hat y_i)^2 / \sum_i w_i

    Returns:
        A metric of predictions and targets of equal shape ``(batch, ...)``; its value is a scalar.

    Example:
        >>> float(mean_squared_error()(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        2.0
    """
    return _mean_over_entries(lambda error: error**2)


def root_mean_squared_error() -> Metric:
    """Returns the square root of the mean squared error, in the unit of the targets.

    Returns:
        A metric of predictions and targets of equal shape ``(batch, ...)``; its value is a scalar.

    Example:
        >>> float(root_mean_squared_error()(jnp.array([1.0, 2.0]), jnp.array([4.0, 5.0])))
        3.0
    """
    squared = mean_squared_error()

    def compute(summary):
        value = squared.compute(summary)
        # At 0 the derivative of the root is infinite; define it as 0. A nan stays nan.
        return jnp.where(value > 0, jnp.sqrt(jnp.where(value > 0, value, 1)), value)

    return dataclasses.replace(squared, compute=compute)


def mean_absolute_error() -> Metric:
    r"""Returns the mean absolute error, in the unit of the targets.

    .. math:: \sum_i w_i |y_i - \hat y_i| / \sum_i w_i

    Returns:
        A metric of predictions and targets of equal shape ``(batch, ...)``; its value is a scalar.

    Example:
        >>> float(mean_absolute_error()(jnp.array([1.0, 2.0]), jnp.array([1.0, 5.0])))
        1.5
    """
    return _mean_over_entries(jnp.abs)


def r2() -> Metric:
    r"""Returns the coefficient of determination: the fraction of the variance of the targets that is explained, up to 1.

    .. math:: R^2 = 1 - \sum_i w_i (y_i - \hat y_i)^2 / \sum_i w_i (y_i - \bar y)^2

    Constant targets give 1 if every prediction equals them, else 0, as in scikit-learn. Several outputs are averaged with
    equal weights.

    Returns:
        A metric of predictions and targets of equal shape ``(batch, ...)``; its value is a scalar.

    Example:
        >>> round(float(r2()(jnp.array([1.0, 2.0, 3.5]), jnp.array([1.0, 2.0, 3.0]))), 4)
        0.875

    References:
        Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm for computing sample variances,
        Stanford STAN-CS-79-773, equation 2.1 (merging batches; plain sums of squares cancel in float32).
        http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf
    """

    def summarise(predictions, targets, weights=None):
        weights = checked_weights(predictions, targets, weights, expected=predictions.shape)[:, None]
        predictions, targets = (_as_floats(values).reshape(values.shape[0], -1) for values in (predictions, targets))
        total = jnp.sum(weights)
        mean = jnp.sum(masked(weights, targets), axis=0) / jnp.where(total > 0, total, 1)
        spread = jnp.sum(masked(weights, (targets - mean[None]) ** 2), axis=0)
        residual = jnp.sum(masked(weights, (targets - predictions) ** 2), axis=0)
        # Extremes reveal constant targets; their spread around a rounded mean need not be 0.
        low = jnp.min(jnp.where(weights > 0, targets, jnp.inf), axis=0)
        high = jnp.max(jnp.where(weights > 0, targets, -jnp.inf), axis=0)
        return total, mean, spread, residual, low, high

    def merge(summaries):
        totals, means, spreads, residuals, lows, highs = summaries
        total = jnp.sum(totals)
        mean = jnp.sum(totals[:, None] * means, axis=0) / jnp.where(total > 0, total, 1)
        between = jnp.sum(totals[:, None] * (means - mean[None]) ** 2, axis=0)
        spread, residual = jnp.sum(spreads, axis=0) + between, jnp.sum(residuals, axis=0)
        return total, mean, spread, residual, jnp.min(lows, axis=0), jnp.max(highs, axis=0)

    def compute(summary):
        total, _, spread, residual, low, high = summary
        varies = high > low
        explained = 1 - residual / jnp.where(varies, spread, 1)
        constant = jnp.where(residual == 0, 1.0, jnp.where(jnp.isfinite(residual), 0.0, jnp.nan))
        each = jnp.where(varies, explained, constant)
        return jnp.where(total > 0, jnp.mean(each), jnp.nan)

    return Metric(summarise, merge, compute)


def _mean_over_entries(of_error: Callable[[Array], Array]) -> Metric:
    """Returns the weighted mean of a function of each error."""

    def summarise(predictions, targets, weights=None):
        weights = checked_weights(predictions, targets, weights, expected=predictions.shape)
        values = of_error(_as_floats(predictions) - _as_floats(targets)).reshape(weights.shape[0], -1)
        return jnp.sum(masked(weights[:, None], values)), jnp.sum(weights) * values.shape[1]

    return Metric(summarise, summed, lambda summary: summary[0] / summary[1])


def _as_floats(values: Array) -> Array:
    """Returns values in float32 or wider: integer differences wrap around, and 16-bit squares overflow."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))

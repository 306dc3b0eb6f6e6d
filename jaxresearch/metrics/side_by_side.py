"""What is measured of several models whose outputs are side by side."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from jaxresearch.metrics.metric import Metric


def of_model(metric: Metric, place: int, *, axis: int = -1) -> Metric:
    """Returns the metric of one of several models side by side.

    Args:
        metric: Of the outputs of one model.
        place: Index of the model.
        axis: The axis of outputs along which the models are.

    Returns:
        A metric of outputs with that axis, such as those of `jaxresearch.models.side_by_side`.

    Example:
        >>> from jaxresearch.metrics import mean_absolute_error
        >>> error = of_model(mean_absolute_error(), 1)
        >>> float(error(jnp.array([[[5.0, 1.0]]]), jnp.array([[3.0]])))
        2.0
    """

    def summarise(outputs, targets, weights=None):
        return metric.summarise(jnp.take(outputs, place, axis=axis), targets, weights)

    return dataclasses.replace(metric, summarise=summarise)


def gain(metric: Metric, ours: int, other: int, *, higher: bool = True, axis: int = -1) -> Metric:
    """Returns by how much one of several models side by side is better than another, paired by example.

    Args:
        metric: Of the outputs of one model; its value is a scalar.
        ours: Index of the model that is to be better.
        other: Index of the model that it is compared with.
        higher: Whether higher values are better.
        axis: As in `of_model`.

    Returns:
        A metric of the same outputs as `of_model`: above 0 if ours is better.

    Example:
        >>> from jaxresearch.metrics import mean_absolute_error
        >>> smaller_error = gain(mean_absolute_error(), 0, 1, higher=False)
        >>> float(smaller_error(jnp.array([[[5.0, 1.0]]]), jnp.array([[4.0]])))
        2.0
    """
    one, two = of_model(metric, ours, axis=axis), of_model(metric, other, axis=axis)

    def summarise(outputs, targets, weights=None):
        return one.summarise(outputs, targets, weights), two.summarise(outputs, targets, weights)

    def merge(summaries):
        return tuple(metric.merge(each) for each in summaries)

    def compute(summary: tuple[Any, Any]) -> Array:
        better, worse = (metric.compute(each) for each in summary)
        return better - worse if higher else worse - better

    return Metric(summarise, merge, compute)

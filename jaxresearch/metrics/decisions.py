"""Metrics of decisions: for the class that costs least in expectation, in place of the likeliest."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch.metrics.classes import confusion_matrix
from jaxresearch.metrics.metric import Metric

Costs = Sequence[Sequence[int | float]] | np.ndarray


def cost(costs: Costs) -> Metric:
    r"""Returns the mean cost of deciding for the class of least expected cost, by the model's probabilities.

    .. math:: \sum_i w_i C_{y_i d_i} / \sum_i w_i, \quad d_i = \arg\min_k \sum_j p_{ij} C_{jk}

    In a tie, the first class is decided for.

    Args:
        costs: The cost :math:`C_{jk}` of deciding for class k where class j is true, ``(classes, classes)``: true classes in
            rows. Gains are negative.

    Returns:
        A metric of logits and integer targets; its value is a scalar in the unit of the costs.

    Raises:
        ValueError: If the costs are not a square matrix of finite numbers; when called, if there is not one row for each
            class.

    Example:
        A bad credit (class 0) that is granted (class 1) costs five times as much as a good one that is refused.

        >>> logits = jnp.log(jnp.array([[0.1, 0.9], [0.3, 0.7], [0.6, 0.4]]))
        >>> float(cost([[0, 5], [1, 0]])(logits, jnp.array([1, 1, 0])))
        0.3333333432674408

    References:
        Elkan (2001), The foundations of cost-sensitive learning, IJCAI, equation 1.
        https://cseweb.ucsd.edu/~elkan/rescale.pdf
    """
    matrix = _checked_costs(costs)
    counts = decided(confusion_matrix(), matrix)

    def compute(summary):
        decisions = counts.compute(summary)
        return jnp.sum(decisions * matrix) / jnp.sum(decisions)

    return dataclasses.replace(counts, compute=compute)


def decided(metric: Metric, costs: Costs) -> Metric:
    """Returns a metric of classes with the class of least expected cost in place of the likeliest, such as the recall.

    Args:
        metric: Of logits and integer targets, of which it uses the likeliest class alone: accuracy, recall, confusion matrix.
        costs: As in `cost`.

    Returns:
        A metric of logits and integer targets, with the values of ``metric``.

    Raises:
        ValueError: As for `cost`.

    Example:
        >>> from jaxresearch.metrics import accuracy
        >>> logits, targets = jnp.log(jnp.array([[0.1, 0.9], [0.3, 0.7]])), jnp.array([1, 1])
        >>> float(accuracy()(logits, targets)), float(decided(accuracy(), [[0, 5], [1, 0]])(logits, targets))
        (1.0, 0.5)
    """
    matrix = _checked_costs(costs)

    def summarise(logits, targets, weights=None):
        if jnp.ndim(logits) < 2:
            return metric.summarise(logits, targets, weights)  # which raises: there is no axis of classes
        if logits.shape[-1] != len(matrix):
            raise ValueError(
                f"costs must have a row and a column for each of {logits.shape[-1]} classes; got shape {matrix.shape}. Pass the "
                "cost of each decision for each true class."
            )
        probabilities = jax.nn.softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
        # Not a matrix product, whose factors some accelerators round.
        expected = jnp.sum(probabilities[..., None] * matrix[(None,) * (jnp.ndim(logits) - 1)], axis=-2)
        return metric.summarise(-expected, targets, weights)

    return dataclasses.replace(metric, summarise=summarise)


def _checked_costs(costs: Costs) -> np.ndarray:
    """Returns the costs as float32; raises unless they are a square matrix of finite numbers."""
    matrix = np.asarray(costs, np.float32)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(
            f"costs must be a matrix of true classes (rows) by decisions (columns), two or more of each; got shape "
            f"{matrix.shape}. Write: costs=[[0, 5], [1, 0]]"
        )
    if not np.isfinite(matrix).all():
        raise ValueError(f"costs must be finite; got {matrix.tolist()}. Pass a large number for what must not happen.")
    return matrix

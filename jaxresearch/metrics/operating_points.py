"""Operating points: what a classifier of two classes achieves at a chosen threshold."""

import jax
import jax.numpy as jnp

from jaxresearch.metrics.classes import roc_auc
from jaxresearch.metrics.metric import Metric


def sensitivity_at_specificity(*, specificity: float = 0.95) -> Metric:
    r"""Returns the fraction of the positive examples above the lowest threshold that keeps a given specificity, 0 to 1.

    .. math:: \max_c P(s_+ \ge c) \quad \text{where} \quad P(s_- < c) \ge \text{specificity}

    Class 1 of two is positive; scores are differences of logits. The threshold is chosen on the examples that are evaluated, as
    for an ROC curve. The value jumps where the threshold moves to another example, so its derivative in the weights is that of
    the curve smoothed over half of the allowed false positives on either side: what standard errors need.

    Args:
        specificity: Fraction of the negative examples below the threshold, at least; above 0, below 1.

    Returns:
        A metric of logits ``(batch, 2)`` and integer targets; its value is a scalar, nan without examples of both classes. The
        summary holds every score, since ranks do not add.

    Raises:
        ValueError: If ``specificity`` is not between 0 and 1; when called, if there are not two classes.

    Example:
        >>> logits = jnp.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0], [0.0, 5.0]])
        >>> float(sensitivity_at_specificity(specificity=0.5)(logits, jnp.array([0, 1, 0, 1, 1])))
        1.0
        >>> round(float(sensitivity_at_specificity(specificity=0.95)(logits, jnp.array([0, 1, 0, 1, 1]))), 4)
        0.6667
    """
    if not 0 < specificity < 1:
        raise ValueError(f"specificity must be above 0 and below 1; got {specificity}. Pass 0.95 for 95 %.")
    curve, allowed = roc_auc(), 1 - specificity

    def summarise(logits, targets, weights=None):
        if logits.shape[1:] != (2,):
            raise ValueError(
                f"predictions must be of two classes, (batch, 2), for a specificity; got shape {logits.shape}. Use roc_auc."
            )
        return curve.summarise(logits, targets, weights)

    def compute(summary):
        scores, is_positive, weights = summary[0][:, 0], summary[1][:, 0], summary[2]
        order = jnp.argsort(-scores)
        last = jnp.searchsorted(-scores[order], -scores[order], side="right") - 1  # of the examples with the same score
        positive, negative = (jnp.where(is_counted, weights, 0)[order] for is_counted in (is_positive, ~is_positive))
        has_both = (jnp.sum(positive) > 0) & (jnp.sum(negative) > 0)  # false for nan
        found, alarms = (
            jnp.cumsum(of_class)[last] / jnp.where(has_both, jnp.sum(of_class), 1) for of_class in (positive, negative)
        )

        def up_to(values, limit):  # the margin is for rounding: 1 of 20 is 0.05
            return jnp.max(jnp.where(alarms <= limit + 1e-6, values, 0))

        reach = min(allowed, specificity) / 2
        slope = (up_to(found, allowed + reach) - up_to(found, allowed - reach)) / (2 * reach)
        used = up_to(alarms, allowed)
        # More weight on false alarms raises the threshold, and the value falls along the curve.
        moved = jax.lax.stop_gradient(slope) * (used - jax.lax.stop_gradient(used))
        return jnp.where(has_both, up_to(found, allowed) - moved, jnp.nan)

    return Metric(summarise, curve.merge, compute)

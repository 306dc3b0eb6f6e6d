"""Segmentation metrics: logits ``(batch, height, width, classes)`` against classes ``(batch, height, width)``.

A target below 0 marks a pixel that is not scored (void, or a border). Weights are per image.
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxresearch.metrics.metric import Metric, checked_weights, has_probabilities, masked, mean_of_defined, summed


def intersection_over_union(*, average: Literal["macro"] | None = "macro") -> Metric:
    r"""Returns the intersection of predicted and true regions over their union (the Jaccard index), 0 to 1.

    .. math:: IoU_k = TP_k / (TP_k + FP_k + FN_k)

    Pixels are counted over all images before dividing, so large regions weigh more than small ones.

    ==========================================  ===================================================================
    case                                        value
    ==========================================  ===================================================================
    a class neither predicted nor present       nan, left out of the macro average, as in scikit-learn
    a target below 0                            the pixel is not scored, and its logits are ignored
    a target above the classes, a logit that    nan, unless the weight of the image is 0
    is nan or plus infinity
    no scored pixel, or all weights 0           nan
    ==========================================  ===================================================================

    Args:
        average: ``"macro"`` for the mean over the classes that are predicted or present, None for one value per class.

    Returns:
        A metric of logits and integer targets; a scalar, or ``(classes,)`` for None.

    Raises:
        ValueError: If ``average`` is neither; when called, if the shapes do not match or the targets are not integers.

    Example:
        >>> logits = jnp.array([[[[2.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]]]])  # predicts 0 0 / 1 0
        >>> print(intersection_over_union(average=None)(logits, jnp.array([[[0, 0], [1, 1]]])))
        [0.6666667 0.5      ]

    References:
        Everingham, Van Gool, Williams, Winn and Zisserman (2010), The PASCAL visual object classes (VOC) challenge, IJCV
        88, section 4.3. https://doi.org/10.1007/s11263-009-0275-4
    """
    return _overlap(average, lambda hits, predicted, present: (hits, predicted + present - hits))


def dice(*, average: Literal["macro"] | None = "macro") -> Metric:
    r"""Returns the Dice coefficient of predicted and true regions, the F1 score of their pixels, 0 to 1.

    .. math:: D_k = 2 TP_k / (2 TP_k + FP_k + FN_k) = 2 IoU_k / (1 + IoU_k)

    Args:
        average: As in `intersection_over_union`, whose edge cases apply here too.

    Returns:
        A metric of logits and integer targets; a scalar, or ``(classes,)`` for None.

    Raises:
        ValueError: As for `intersection_over_union`.

    Example:
        >>> logits = jnp.array([[[[2.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]]]])  # predicts 0 0 / 1 0
        >>> print(dice(average=None)(logits, jnp.array([[[0, 0], [1, 1]]])))
        [0.8       0.6666667]

    References:
        Dice (1945), Measures of the amount of ecologic association between species, Ecology 26(3).
        https://doi.org/10.2307/1932409
    """
    return _overlap(average, lambda hits, predicted, present: (2 * hits, predicted + present))


def _overlap(average: str | None, fraction: Callable[[Array, Array, Array], tuple[Array, Array]]) -> Metric:
    """Returns a fraction of the numbers of pixels hit, predicted and present, per class or averaged."""
    if average not in ("macro", None):
        raise ValueError(f"average must be 'macro' or None; got {average!r}. Use None for one value per class.")

    def summarise(logits, targets, weights=None):
        weights = _checked_weights(logits, targets, weights)
        classes = jnp.arange(logits.shape[-1])[None, None, None]
        is_scored = targets >= 0
        present = targets[..., None] == classes
        predicted = (jnp.argmax(logits, -1)[..., None] == classes) & is_scored[..., None]
        # Per image first: float32 is exact up to 2**24 pixels, which an image has and a data set exceeds.
        counts = (
            jnp.sum(pixels, axis=(1, 2), dtype=jnp.float32) for pixels in (present & predicted, predicted, present)
        )
        is_unknown = is_scored & ~(has_probabilities(logits) & jnp.any(present, -1))
        n_unknown = jnp.sum(jnp.any(is_unknown, axis=(1, 2)) & (weights > 0))
        return *(jnp.sum(masked(weights[:, None], count), axis=0) for count in counts), n_unknown

    def compute(summary):
        hits, predicted, present, n_unknown = summary
        above, below = fraction(hits, predicted, present)
        each = jnp.where(below > 0, above / jnp.where(below > 0, below, 1), jnp.nan)
        value = each if average is None else mean_of_defined(each, below > 0)
        return jnp.where((n_unknown == 0) & (jnp.sum(present) > 0), value, jnp.nan)

    return Metric(summarise, summed, compute)


def _checked_weights(logits: Array, targets: Array, weights: Array | None) -> Float[Array, " batch"]:
    """Returns the weight of each image, after checking the logits and targets."""
    if logits.ndim != 4:
        raise ValueError(
            f"predictions must have shape (batch, height, width, classes); got {logits.shape}. "
            "Pass a logit per class for each pixel."
        )
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise ValueError(f"targets must be integers; got {targets.dtype}. Pass the class of each pixel, not one-hot.")
    return checked_weights(logits, targets, weights, expected=logits.shape[:3])

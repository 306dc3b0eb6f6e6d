"""Metrics of classes: logits ``(batch, classes)`` against integer targets ``(batch,)``."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxresearch.metrics.metric import (
    Metric,
    checked_weights,
    has_probabilities,
    masked,
    mean_of_defined,
    negative_log_likelihood,
    summed,
)

Average = Literal["binary", "micro", "macro", "weighted"]


def accuracy() -> Metric:
    r"""Returns the fraction of examples whose likeliest class is their target, 0 to 1.

    .. math:: \sum_i w_i [\arg\max_k z_{ik} = y_i] / \sum_i w_i

    In a tie, the first class counts as the likeliest.

    Returns:
        A metric of logits and integer targets; its value is a scalar.

    Example:
        >>> float(accuracy()(jnp.array([[2.0, 0.0], [3.0, 1.0]]), jnp.array([0, 1])))
        0.5
    """
    return _mean_over_examples(lambda logits, targets: (jnp.argmax(logits, -1) == targets).astype(jnp.float32))


def top_k_accuracy(*, k: int) -> Metric:
    """Returns the fraction of examples whose target is among the ``k`` likeliest classes, 0 to 1.

    In a tie, the higher class counts as the likelier, as in scikit-learn.

    Args:
        k: Number of classes, 1 or more.

    Returns:
        A metric of logits and integer targets; its value is a scalar.

    Raises:
        ValueError: If ``k`` is below 1.

    Example:
        >>> float(top_k_accuracy(k=2)(jnp.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), jnp.array([1, 2])))
        0.5
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more; got {k}. Pass 1 for plain accuracy.")

    def is_among(logits, targets):
        classes = jnp.arange(logits.shape[-1])
        own = jnp.take_along_axis(logits, jnp.clip(targets.astype(jnp.int32), 0, logits.shape[-1] - 1)[:, None], axis=1)
        ahead = (logits > own) | ((logits == own) & (classes[None] > targets[:, None]))
        return (jnp.sum(ahead, axis=1) < k).astype(jnp.float32)

    return _mean_over_examples(is_among)


def confusion_matrix() -> Metric:
    """Returns the (weighted) counts of examples by target, in rows, and likeliest class, in columns.

    Returns:
        A metric of logits and integer targets; its value is ``(classes, classes)``.

    Example:
        >>> confusion_matrix()(jnp.array([[2.0, 0.0], [3.0, 1.0], [0.0, 1.0]]), jnp.array([0, 1, 1])).tolist()
        [[1.0, 0.0], [1.0, 1.0]]
    """
    return _from_confusion(lambda matrix: matrix)


def precision(*, average: Average | None = "macro") -> Metric:
    r"""Returns the fraction of the examples predicted as a class that belong to it, 0 to 1.

    .. math:: P_k = TP_k / (TP_k + FP_k)

    Args:
        average: ``"binary"`` for class 1 of two, ``"micro"`` over all examples, ``"macro"`` for the mean over the classes that
            are targets or predicted, ``"weighted"`` for the mean weighted by the number of examples of each class, None for
            one value per class.

    Returns:
        A metric of logits and integer targets; a scalar, or ``(classes,)`` for None.

    Raises:
        ValueError: If ``average`` is none of these, or is binary without exactly two classes (when called).

    Example:
        >>> logits, targets = jnp.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), jnp.array([0, 1, 0])
        >>> float(precision(average="binary")(logits, targets))
        0.5
    """
    return _averaged(average, lambda hits, predicted, present: (hits, predicted))


def recall(*, average: Average | None = "macro") -> Metric:
    r"""Returns the fraction of the examples of a class that are predicted as it, 0 to 1.

    .. math:: R_k = TP_k / (TP_k + FN_k)

    Args:
        average: As for `precision`.

    Returns:
        A metric of logits and integer targets; a scalar, or ``(classes,)`` for None.

    Raises:
        ValueError: As for `precision`.

    Example:
        >>> logits, targets = jnp.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), jnp.array([0, 1, 0])
        >>> float(recall(average="binary")(logits, targets))
        1.0
    """
    return _averaged(average, lambda hits, predicted, present: (hits, present))


def f1(*, average: Average | None = "macro") -> Metric:
    r"""Returns the harmonic mean of precision and recall, 0 to 1.

    .. math:: F_k = 2 TP_k / (2 TP_k + FP_k + FN_k)

    Args:
        average: As for `precision`.

    Returns:
        A metric of logits and integer targets; a scalar, or ``(classes,)`` for None.

    Raises:
        ValueError: As for `precision`.

    Example:
        >>> logits, targets = jnp.array([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), jnp.array([0, 1, 0])
        >>> round(float(f1(average="binary")(logits, targets)), 4)
        0.6667
    """
    return _averaged(average, lambda hits, predicted, present: (2 * hits, predicted + present))


def roc_auc() -> Metric:
    r"""Returns the area under the ROC curve: how often a positive example outranks a negative one, 0 to 1.

    .. math:: P(s_+ > s_-) + P(s_+ = s_-) / 2

    Two classes are ranked by the difference of their logits. With three or more, each class is compared with the rest by its
    log odds :math:`z_k - \log \sum_{j \ne k} e^{z_j}`, which have the order of the probabilities but do not round to 1 beyond
    17. The areas are averaged with equal weights, without classes that have no examples or all of them. The summary holds
    every score, since ranks do not add.

    Returns:
        A metric of logits and integer targets; its value is a scalar, nan if no class has an area.

    Example:
        >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]))
        >>> float(roc_auc()(logits, jnp.array([0, 0, 1, 1])))
        0.75

    References:
        Hanley and McNeil (1982), The meaning and use of the area under a receiver operating characteristic (ROC) curve,
        Radiology 143(1). https://doi.org/10.1148/radiology.143.1.7063747
    """

    def summarise(logits, targets, weights=None):
        logits, weights = _checked(logits, targets, weights)
        if logits.shape[-1] == 2:
            return (logits[:, 1] - logits[:, 0])[:, None], (targets == 1)[:, None], weights
        return _log_odds(logits), targets[:, None] == jnp.arange(logits.shape[-1])[None], weights

    def merge(summaries):
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), summaries)

    def compute(summary):
        areas, has_area = jax.vmap(_area, in_axes=(1, 1, None))(*summary)
        return mean_of_defined(areas, has_area)

    return Metric(summarise, merge, compute)


def log_loss() -> Metric:
    r"""Returns the mean cross entropy of the targets, in nats.

    .. math:: -\sum_i w_i \log p_{i y_i} / \sum_i w_i

    Precise even where all targets are nearly certain; infinite if a target has a probability of 0.

    Returns:
        A metric of logits and integer targets; its value is a scalar, at least 0.

    Example:
        >>> round(float(log_loss()(jnp.zeros((2, 10)), jnp.array([3, 4]))), 4)
        2.3026
    """
    return _mean_over_examples(negative_log_likelihood)


def brier_score() -> Metric:
    r"""Returns the mean squared error of the predicted probabilities.

    .. math:: \sum_i w_i \sum_k (p_{ik} - [y_i = k])^2 / \sum_i w_i

    With two classes it is half of that, the squared error of one probability, as in scikit-learn.

    Returns:
        A metric of logits and integer targets; its value is a scalar, 0 to 2 (0 to 1 with two classes).

    Example:
        >>> round(float(brier_score()(jnp.log(jnp.array([[0.9, 0.1]])), jnp.array([0]))), 4)
        0.01

    References:
        Brier (1950), Verification of forecasts expressed in terms of probability, Mon. Weather Rev. 78(1).
        https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2
    """

    def scores(logits, targets):
        is_target = targets[:, None] == jnp.arange(logits.shape[-1])[None]
        others = jnp.where(is_target, 0, jax.nn.softmax(logits))
        # Not 1 - p of the target: in float32 that is 0 for a target at log odds above 17.
        total = jnp.sum(others**2, axis=-1) + jnp.sum(others, axis=-1) ** 2
        return total / 2 if logits.shape[-1] == 2 else total

    return _mean_over_examples(scores)


def expected_calibration_error(*, n_bins: int = 15) -> Metric:
    r"""Returns the gap between confidence and accuracy, averaged over bins of confidence, 0 to 1.

    .. math:: \sum_b \frac{W_b}{W} | \text{accuracy}_b - \text{confidence}_b |

    Args:
        n_bins: Number of bins of equal width, open below and closed above; 1 or more.

    Returns:
        A metric of logits and integer targets; its value is a scalar.

    Raises:
        ValueError: If ``n_bins`` is below 1.

    Example:
        >>> logits = jnp.log(jnp.array([[0.8, 0.2], [0.8, 0.2]]))
        >>> round(float(expected_calibration_error()(logits, jnp.array([0, 1]))), 4)
        0.3

    References:
        Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks, ICML, equation 3.
        https://arxiv.org/abs/1706.04599
    """
    if n_bins < 1:
        raise ValueError(f"n_bins must be 1 or more; got {n_bins}. The usual number is 15.")

    def summarise(logits, targets, weights=None):
        logits, weights = _checked(logits, targets, weights)
        confidence, hit = jnp.max(jax.nn.softmax(logits), axis=-1), jnp.argmax(logits, -1) == targets
        place = jnp.clip(jnp.ceil(confidence * n_bins).astype(jnp.int32) - 1, 0, n_bins - 1)
        in_bin = (place[:, None] == jnp.arange(n_bins)[None]) * weights[:, None]
        return jnp.sum(in_bin, axis=0), jnp.sum(masked(in_bin, (hit - confidence)[:, None]), axis=0)

    def compute(summary):
        weight, gap = summary
        return jnp.sum(jnp.abs(gap)) / jnp.sum(weight)

    return Metric(summarise, summed, compute)


def _mean_over_examples(per_example: Callable[[Array, Array], Array]) -> Metric:
    """Returns the weighted mean of a value of each example."""

    def summarise(logits, targets, weights=None):
        logits, weights = _checked(logits, targets, weights)
        return jnp.sum(masked(weights, per_example(logits, targets))), jnp.sum(weights)

    return Metric(summarise, summed, lambda summary: summary[0] / summary[1])


def _from_confusion(of_matrix: Callable[[Array], Array]) -> Metric:
    """Returns a value computed from the confusion matrix."""

    def summarise(logits, targets, weights=None):
        logits, weights = _checked(logits, targets, weights)
        classes = jnp.arange(logits.shape[-1])[None]
        rows = masked(weights[:, None], (targets[:, None] == classes).astype(weights.dtype))
        columns = (jnp.argmax(logits, -1)[:, None] == classes).astype(weights.dtype)
        # Highest precision: counts must be exact on accelerators that round the factors of a product.
        return jnp.matmul(rows.T, columns, precision=jax.lax.Precision.HIGHEST)

    def compute(matrix):
        return jnp.where(jnp.sum(matrix) > 0, of_matrix(matrix), jnp.nan)

    return Metric(summarise, summed, compute)


def _averaged(average: str | None, fraction: Callable[[Array, Array, Array], tuple[Array, Array]]) -> Metric:
    """Returns the average of a fraction of the numbers of hits, predicted and present examples of each class."""
    if average is not None and average not in get_args(Average):
        options = ", ".join(get_args(Average))
        raise ValueError(
            f"average must be one of {options} or None; got {average!r}. Use 'macro' to weight classes evenly."
        )

    def of_matrix(matrix):
        if average == "binary" and matrix.shape[0] != 2:
            raise ValueError(f"average='binary' must come with two classes; got {matrix.shape[0]}. Use 'macro'.")
        counts = jnp.diagonal(matrix), jnp.sum(matrix, axis=0), jnp.sum(matrix, axis=1)
        if average == "micro":
            counts = tuple(jnp.sum(count) for count in counts)
        above, below = fraction(*counts)
        each = jnp.where(below > 0, above / jnp.where(below > 0, below, 1), 0.0)
        occurs = counts[1] + counts[2] > 0
        if average == "weighted":
            return jnp.sum(each * counts[2]) / jnp.sum(counts[2])
        if average == "macro":
            return mean_of_defined(each, occurs)
        each = jnp.where(occurs, each, jnp.nan)
        return each[1] if average == "binary" else each

    return _from_confusion(of_matrix)


def _area(scores: Float[Array, " n"], positive: Array, weights: Float[Array, " n"]) -> tuple[Array, Array]:
    """Returns the weighted fraction of pairs with the positive ranked higher (ties count half), and if there are pairs."""
    order = jnp.argsort(scores)
    scores, wins = scores[order], jnp.where(positive, weights, 0.0)[order]
    losses = jnp.where(positive, 0.0, weights)[order]
    below = jnp.concatenate([jnp.zeros(1), jnp.cumsum(losses)])
    first, last = (jnp.searchsorted(scores, scores, side=side) for side in ("left", "right"))
    n_pairs = jnp.sum(wins) * jnp.sum(losses)
    has_pairs = n_pairs != 0  # true for nan, which has to propagate
    return jnp.sum(wins * (below[first] + below[last]) / 2) / jnp.where(has_pairs, n_pairs, 1), has_pairs


def _log_odds(logits: Float[Array, "n classes"]) -> Float[Array, "n classes"]:
    """Returns the log odds of each class against the rest, precise at any margin, whatever the order of the classes."""
    logits = logits - jnp.max(logits, axis=-1, keepdims=True)
    odds_against = jnp.sort(logits, axis=-1)[:, :-1]  # of the likeliest class
    second = jnp.max(odds_against, axis=-1, keepdims=True, initial=-jnp.inf)
    second = jnp.where(jnp.isfinite(second), second, 0)
    against = second + jnp.log(jnp.sum(jnp.exp(odds_against - second), axis=-1, keepdims=True))
    log_total = jnp.logaddexp(0, against)
    # The other classes have a probability of at most a half, for which 1 - p is precise.
    probability = jnp.minimum(jnp.exp(logits - log_total), 0.5)
    return jnp.where(logits == 0, -against, logits - log_total - jnp.log1p(-probability))


def _checked(logits: Array, targets: Array, weights: Array | None) -> tuple[Array, Float[Array, " batch"]]:
    """Returns logits and weights, after checking for logits (not predicted classes) and integer targets (not one-hot).

    Logits are float32 or wider. The weight is nan if the target is not a class or the logits give no probabilities.
    """
    if logits.ndim != 2:
        raise ValueError(
            f"predictions must have shape (batch, classes); got {logits.shape}. "
            "Pass a logit per class, not the likeliest class; for a probability p of two classes, log of (1 - p, p)."
        )
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        is_one_hot = targets.shape == logits.shape and targets.shape[-1] > 1
        remedy = (
            "Pass integer classes, not one-hot."
            if is_one_hot
            else "The targets are values: use metrics.r2, or pass classes."
        )
        raise ValueError(f"targets must be integers; got {targets.dtype}. {remedy}")
    weights = checked_weights(logits, targets, weights, expected=logits.shape[:1])
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # Compare with each class: the number of classes may not fit into the dtype of the targets.
    is_class = jnp.any(targets[:, None] == jnp.arange(logits.shape[-1])[None], axis=-1)
    is_known = is_class & has_probabilities(logits)
    return logits, jnp.where(is_known | (weights == 0), weights, jnp.nan)

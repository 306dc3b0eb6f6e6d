"""Standard errors and intervals, from seeds and the influences of examples."""

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxresearch.statistics.averages import require_confidence

Over = Literal["seeds", "examples", "seeds and examples", "folds", "splits"]
Runs = Literal["seeds", "folds", "splits"]

_TOLERANCE = 1e-3  # distance of a hit or a miss from 1 or 0, since influences are float32


class Error(NamedTuple):
    """The standard error of a mean in the unit of the metric, and its degrees of freedom, for each entry of an array."""

    standard: Any
    freedom: Any


def error(values: Any, influences: Any = None, *, over: Over, groups: Any = None, ratio: float | None = None) -> Error:
    r"""Returns the standard error of a metric's mean over runs, and its degrees of freedom.

    With :math:`X_{ij}` the value of run i plus the influence of example j on it, for n seeds and m examples:

    .. math::
        A = s^2(\bar X_{i\cdot}) / n, \quad B = s^2(\bar X_{\cdot j}) / m, \quad
        E = \frac{\sum_{ij} (X_{ij} - \bar X_{i\cdot} - \bar X_{\cdot j} + \bar X)^2}{(n - 1)(m - 1) n m}

    ====================  ==========================================================  =======================================
    over                  squared error                                               degrees of freedom
    ====================  ==========================================================  =======================================
    seeds                 A                                                           n - 1
    examples              B                                                           m - 1
    seeds and examples    A + B - E if both exceed E (A + B counts the interaction    Satterthwaite's, or those of
                          twice), else the larger of A and B                          the larger
    folds                 :math:`s^2 (1 / k + 1 / (k - 1))`                           k - 1
    splits                :math:`s^2 (1 / k + r)`, r the ratio of test to training    k - 1
    ====================  ==========================================================  =======================================

    If examples come in groups, the sums of influences within groups replace the examples, and the number of groups replaces m.

    Args:
        values: One per run: ``(runs,)``, or ``(runs, ...)`` for a metric of any shape.
        influences: ``(runs, examples)`` or ``(runs, examples, ...)``; not needed over seeds, folds or splits.
        over: The sources of variation.
        groups: ``(examples,)``: the group of each example, such as a patient; None if examples are independent.
        ratio: Test examples per training example, over splits.

    Returns:
        Both with the shape of one value; nan with too few runs or examples, or if a number is not finite.

    Raises:
        ValueError: If influences are missing, or do not match the values.

    Example:
        >>> found = error([0.5, 0.75], [[-0.5, 0.5, -0.5, 0.5], [0.25, 0.25, -0.75, 0.25]], over="seeds and examples")
        >>> round(float(found.standard), 3)
        0.239

    References:
        Efron (1982), The jackknife, the bootstrap and other resampling plans, chapter 6 (influences). Searle, Casella and
        McCulloch (1992), Variance components, chapter 4. Satterthwaite (1946), Biometrics Bulletin 2(6). Nadeau and Bengio
        (2003), Inference for the generalization error, Machine Learning 52. https://doi.org/10.1023/A:1024068626366
    """
    held = _runs(values)
    n, of_runs = len(held), _variance(held)
    with np.errstate(invalid="ignore", divide="ignore"):
        if over == "seeds":
            return Error(np.sqrt(of_runs / n), _freedom(n - 1, of_runs))
        if over == "folds":
            return Error(np.sqrt(of_runs * (1 / n + 1 / max(n - 1, 1))), _freedom(n - 1, of_runs))
        if over == "splits":
            if ratio is None:
                raise ValueError("ratio must be given over splits, got none. Pass test examples per training example.")
            return Error(np.sqrt(of_runs * (1 / n + ratio)), _freedom(n - 1, of_runs))
        sums, n_groups = _sums(held, influences, groups)
        of_examples = sums.mean(axis=0)  # over runs: (groups, ...)
        correction = n_groups / (n_groups - 1) if n_groups > 1 else math.nan
        b = correction * (of_examples**2).sum(axis=0)
        if over == "examples":
            return Error(np.sqrt(b), _freedom(n_groups - 1, b))
        if n == 1:
            return Error(of_runs, of_runs)  # undefined
        a = of_runs / n
        e = correction * ((sums - of_examples) ** 2).sum(axis=(0, 1)) / ((n - 1) * n)
        adds = np.minimum(a, b) > e
        squared = np.where(adds, a + b - e, np.maximum(a, b))
        n_a, n_b = n - 1, n_groups - 1
        satterthwaite = squared**2 / (a**2 / n_a + b**2 / n_b + e**2 / (n_a * n_b))
        freedom = np.where(adds, satterthwaite, np.where(a > b, n_a, n_b))
        return Error(np.sqrt(squared), np.where(np.isfinite(squared), freedom, math.nan))


def interval(
    values: Any,
    influences: Any = None,
    *,
    over: Over,
    groups: Any = None,
    ratio: float | None = None,
    confidence: float = 0.95,
) -> tuple[Any, Any]:
    r"""Returns the confidence interval of a metric's mean over runs.

    It is Student's t interval with the standard error of `error`. A proportion (each example is a hit or a miss) gets
    Wilson's interval if examples vary, with the effective number of examples :math:`p (1 - p) / SE^2`; this interval
    stays within 0 and 1 and is valid near them.

    Args:
        values: As in `error`.
        influences: As in `error`.
        over: The sources of variation.
        groups: As in `error`.
        ratio: As in `error`.
        confidence: Nominal coverage, above 0 and below 1.

    Returns:
        Its low and high end, with the shape of one value; nan if undefined.

    Raises:
        ValueError: If the confidence is not between 0 and 1, or as in `error`.

    Example:
        >>> hits = np.array([[1.0] * 97 + [0.0] * 3, [1.0] * 96 + [0.0] * 4])
        >>> low, high = interval(hits.mean(1), hits - hits.mean(1, keepdims=True), over="seeds and examples")
        >>> round(float(low), 3), round(float(high), 3)
        (0.91, 0.987)

    References:
        Student (1908), The probable error of a mean, Biometrika 6(1). Wilson (1927), Probable inference, the law of
        succession, and statistical inference, JASA 22. https://doi.org/10.1080/01621459.1927.10502953
    """
    require_confidence(confidence)
    import scipy.stats  # takes half a second

    held = _runs(values)
    standard, freedom = error(held, influences, over=over, groups=groups, ratio=ratio)
    centre, upper = held.mean(axis=0), (1 + confidence) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.where(standard == 0, 0.0, scipy.stats.t.ppf(upper, freedom) * standard)
        half = np.where(np.isfinite(centre), half, math.nan)
        low, high = centre - half, centre + half
        if over in ("examples", "seeds and examples"):
            n_all, varies = _number(influences, groups), standard > 0
            n = np.where(varies, centre * (1 - centre) / standard**2, n_all)
            n = np.where(np.isfinite(standard), n, math.nan)
            t = scipy.stats.t.ppf(upper, np.where(varies, freedom, n_all - 1))
            middle, width = centre + t**2 / (2 * n), t * np.sqrt(centre * (1 - centre) / n + t**2 / (4 * n**2))
            ends = ((middle - width) / (1 + t**2 / n), (middle + width) / (1 + t**2 / n))
            is_hit = _are_hits(held, influences)
            low, high = (np.where(is_hit, wilson, end) for wilson, end in zip(ends, (low, high), strict=True))
    return (low, high) if held.ndim > 1 else (float(low), float(high))


def _runs(values: Any) -> np.ndarray:
    """Returns the values of the runs as float64, ``(runs, ...)``."""
    held = np.asarray(values, np.float64)
    if not held.ndim or not len(held):
        raise ValueError(f"values must hold one entry per seed, at least one; got shape {held.shape}.")
    return held


def _variance(held: np.ndarray) -> Any:
    """Returns the variance over runs, entry by entry; nan for a single run."""
    if len(held) == 1:
        return np.full(held.shape[1:], math.nan)
    with np.errstate(invalid="ignore"):  # exactly 0 for equal values, whose mean may be rounded
        return np.where(np.ptp(held, axis=0) == 0, 0.0, np.var(held, axis=0, ddof=1))


def _freedom(n: int, like: Any) -> Any:
    """Returns degrees of freedom for each entry, nan if its error is undefined."""
    return np.where(np.isfinite(like) & (n > 0), float(n), math.nan)


def _sums(held: np.ndarray, influences: Any, groups: Any) -> tuple[np.ndarray, int]:
    """Returns the contribution of each group to the mean, ``(runs, groups, ...)``, and the number of groups."""
    if influences is None:
        raise ValueError(
            "influences must be given if examples vary, got none. Evaluate with them, or use over='seeds'."
        )
    of_examples = np.asarray(influences, np.float64)
    if of_examples.shape[:1] + of_examples.shape[2:] != held.shape:
        raise ValueError(
            f"influences must be (runs, examples, ...) for values {held.shape}; got {of_examples.shape}. Pass one per example."
        )
    n = of_examples.shape[1]
    if groups is None:
        return of_examples / n, n
    if len(groups) != n:
        raise ValueError(f"groups must be as many as the examples, {n}; got {len(groups)}. Pass one per example.")
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(group_of.max()) + 1
    sums = np.zeros((n_groups, len(held), *held.shape[1:]))
    np.add.at(sums, group_of.reshape(-1), np.moveaxis(of_examples / n, 1, 0))
    return np.moveaxis(sums, 0, 1), n_groups


def _number(influences: Any, groups: Any) -> int:
    """Returns the number of examples, or of groups."""
    return np.shape(influences)[1] if groups is None else len(np.unique(groups))


def _are_hits(held: np.ndarray, influences: Any) -> Any:
    """Returns whether a metric is a proportion: value plus influence is a hit (1) or a miss (0) for each example.

    All hits are a proportion; all misses are not, since they may also be a small error.
    """
    hits = held[:, None] + np.asarray(influences, np.float64)
    with np.errstate(invalid="ignore"):
        is_whole = (np.minimum(np.abs(hits), np.abs(hits - 1)) < _TOLERANCE).all(axis=(0, 1))
    return np.asarray(is_whole & (held.max(axis=0) > _TOLERANCE))

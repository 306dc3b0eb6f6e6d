"""Paired differences between two runs, and corrections for many comparisons."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxresearch.statistics.averages import checked, mean
from jaxresearch.statistics.intervals import Over, error


class Difference(NamedTuple):
    """The mean of paired differences, its 95 % interval and the interval's name, and the two-sided p-value."""

    mean: float
    low: float
    high: float
    over: Over = "seeds"
    p: float = math.nan


def difference(
    values: Any,
    others: Any,
    influences: Any = None,
    other_influences: Any = None,
    *,
    over: Over = "seeds",
    groups: Any = None,
    ratio: float | None = None,
) -> Difference:
    """Returns the mean difference of values and others, paired by seed and by example.

    Args:
        values: One per run, at least one.
        others: One for each value, from the same seed (or fold).
        influences: ``(runs, examples)`` of the values, if examples vary.
        other_influences: Influences of the others, on the same examples.
        over: The sources of variation.
        groups: As in `error`.
        ratio: As in `error`.

    Returns:
        The mean difference in the unit of the values, its interval, and the p-value of the hypothesis of no difference.

    Raises:
        ValueError: If the numbers of values differ, or there are none.

    Example:
        >>> found = difference([2.0, 3.5, 4.0], [1.0, 2.0, 3.0])
        >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3), round(found.p, 3)
        (1.167, 0.45, 1.884, 0.02)
    """
    import scipy.stats

    a, b = checked(values), checked(others)
    if a.shape != b.shape:
        raise ValueError(f"others must hold one value for each of the {len(a)} seeds; got {len(b)}. Pair them by seed.")
    apart = (
        None if influences is None else np.asarray(influences, np.float64) - np.asarray(other_influences, np.float64)
    )
    standard, freedom = error(a - b, apart, over=over, groups=groups, ratio=ratio)
    middle = mean(a - b)
    if standard > 0:
        half = float(scipy.stats.t.ppf(0.975, freedom) * standard)
        p = float(2 * scipy.stats.t.sf(abs(middle) / standard, freedom))
    else:  # no spread at all, or undefined
        half = float(standard)
        p = 1.0 if half == middle == 0 else math.nan
    return Difference(middle, middle - half, middle + half, over, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values adjusted for multiple comparisons by Holm's method, which bounds the family-wise error rate.

    Args:
        p_values: One per comparison; nan if undefined, which is not counted.

    Returns:
        Adjusted p-values in the same order, at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2).
    """
    p = np.asarray(p_values, np.float64)
    adjusted, known = np.full(len(p), math.nan), np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted.tolist()


def noise_floor(values: Any, others: Any, *, n_differences: int, n_seeds: int | None = None) -> float:
    r"""Returns the difference of means that seeds alone rarely cause, estimated from two sets of seeds of one setting.

    The largest of :math:`K` differences between settings that are in truth equal exceeds it in at most one of twenty cases
    (Bonferroni), if they all vary over seeds as these do, with :math:`s^2` pooled over both sets of :math:`n_1` and
    :math:`n_2` values:

    .. math:: t_{1 - 0.05 / (2 K)}(n_1 + n_2 - 2) \, s \, \sqrt{2 / n}

    Args:
        values: One per seed.
        others: Of the same setting with other seeds.
        n_differences: Number of differences compared, :math:`K`.
        n_seeds: Seeds of each mean, :math:`n`; by default the number of values.

    Returns:
        A size in the unit of the values; nan with fewer than three values, or if one is not finite.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> round(noise_floor([0.5, 0.7, 0.6], [0.6, 0.5, 0.7], n_differences=1), 3)
        0.227
        >>> round(noise_floor([0.5, 0.7, 0.6], [0.6, 0.5, 0.7], n_differences=20), 3)
        0.552

    References:
        Dunn (1961), Multiple comparisons among means, JASA 56(293). https://doi.org/10.1080/01621459.1961.10482090
    """
    import scipy.stats

    a, b = checked(values), checked(others)
    freedom = len(a) + len(b) - 2
    if freedom < 1 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.nan
    squares = ((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()
    t = scipy.stats.t.ppf(1 - 0.025 / max(n_differences, 1), freedom)
    return float(t * math.sqrt(squares / freedom * 2 / (n_seeds or len(a))))

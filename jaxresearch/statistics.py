"""Numbers about seeds and examples: a metric is reported with its intervals, and one of them decides a claim.

A metric of a trained model varies with the seed, and with the examples it is measured on. Which of the two an interval speaks
of is part of its name:

=====================  =====================================================================  ==========================
over                   what would be drawn anew                                               by
=====================  =====================================================================  ==========================
seeds                  seeds; the test examples stay these                                    Student's t
examples               examples; there is a single seed                                       influences
seeds and examples     both                                                                   two-way analysis of variance
folds, splits          training and test examples, and seeds                                  Nadeau and Bengio
=====================  =====================================================================  ==========================

The *influence* of example j on a metric is how fast the metric changes with the weight of the example, times the number of
examples: of a mean, the example's value less the mean. Value plus influence makes any smooth metric a mean over examples.

All functions compute on the host in float64, for scalars and, entry by entry, for metrics of any shape. A value that is not
finite (a run that diverged) is never dropped: it makes means, intervals and differences nan, and leaves a claim undecided.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Verdict = Literal["supported", "refuted", "undecided"]
Over = Literal["seeds", "examples", "seeds and examples", "folds", "splits"]
Runs = Literal["seeds", "folds", "splits"]
About = Literal["these examples", "new examples", "seeds"]

FEWEST_SEEDS = 5  # with fewer, an interval is so wide that a claim it decides was decided by luck

_SURE = 6  # decimals that a mean of float32 near 1 has in common with that of their recorded digits
_WHOLE = 1e-3  # influences are float32: how far a hit or a miss may be from 1 or 0


class Error(NamedTuple):
    """The standard error of a mean, in the unit of the metric, and its degrees of freedom; of arrays, of each entry."""

    standard: Any
    freedom: Any


class Difference(NamedTuple):
    """The mean of paired differences, its 95 % interval, what that is over, and the p-value of no difference (two-sided)."""

    mean: float
    low: float
    high: float
    over: Over = "seeds"
    p: float = math.nan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement about a metric that an interval can decide: the mean is at least, or at most, a bound.

    Attributes:
        text: The claim in words.
        metric: The name of the metric, as ``"test/accuracy"``.
        about: What it holds for: ``"these examples"`` (a figure on a public test part: seeds vary), ``"new examples"`` (seeds
            and examples vary; folds too), or ``"seeds"`` (there are no examples).
        at_least: The bound from below, or None.
        at_most: The bound from above, or None.
        n_folds: Number of folds of the cross-validation that it is about; 0 for a claim about the test part.

    Raises:
        ValueError: If not exactly one bound is given, or ``about`` is none of the three.

    Example:
        >>> claim = Claim(text="98.04 %", metric="test/accuracy", about="these examples", at_least=0.9804)
        >>> claim.at_least
        0.9804
    """

    text: str
    metric: str
    about: About
    at_least: float | None = None
    at_most: float | None = None
    n_folds: int = 0

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(
                f"claim must have exactly one of at_least and at_most; got {self.at_least} and {self.at_most}. "
                "For a range, make two claims."
            )
        if self.about not in ("these examples", "new examples", "seeds"):
            raise ValueError(
                f"about must be 'these examples', 'new examples' or 'seeds', got {self.about!r}. Say what the claim holds for."
            )

    @property
    def evaluated(self) -> str:
        """The metric's name in an evaluation of any part: without ``test/``."""
        return self.metric.removeprefix("test/")

    def check(self, metrics: Mapping[str, Any]) -> None:
        """Raises unless the claim is about a scalar among these metrics.

        Args:
            metrics: What evaluating one run gives, by name without ``test/``; shapes (`jax.ShapeDtypeStruct`) will do.

        Raises:
            ValueError: If the metric does not exist or is not a scalar.

        Example:
            >>> claim = Claim(text="", metric="test/recall", about="new examples", at_least=0.9)
            >>> claim.check({"recall": np.zeros(10)})
            Traceback (most recent call last):
            ...
            ValueError: claim must be about a scalar metric; test/recall has shape (10,). Pass an average of it, or one entry.
        """
        if self.evaluated not in metrics:
            names = ", ".join(f"test/{name}" for name in metrics)
            raise ValueError(f"claim must be about one of {names}; got {self.metric!r}. Correct its metric.")
        _require_scalar(self.metric, np.shape(metrics[self.evaluated]))


def mean(values: Sequence[int | float] | np.ndarray) -> float:
    r"""Returns the mean, in the unit of the values.

    Args:
        values: One per seed, at least one.

    Returns:
        The mean; nan if a value is not finite.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> mean([1.0, 2.0, 6.0])
        3.0
    """
    checked = _checked(values)
    return float(np.mean(checked)) if np.isfinite(checked).all() else math.nan


def standard_deviation(values: Sequence[int | float] | np.ndarray) -> float:
    r"""Returns the standard deviation of the population the values were drawn from, in their unit.

    .. math:: s = \sqrt{\sum_i (x_i - \bar x)^2 / (n - 1)}

    Args:
        values: One per seed, at least one.

    Returns:
        The deviation; nan for a single value, or if a value is not finite.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> standard_deviation([1.0, 2.0, 3.0])
        1.0
    """
    checked = _checked(values)
    return float(np.std(checked, ddof=1)) if len(checked) > 1 and np.isfinite(checked).all() else math.nan


def interquartile_mean(values: Sequence[int | float] | np.ndarray) -> float:
    """Returns the mean of the middle half of the values, in their unit: an average robust to outliers.

    Args:
        values: One per seed, at least one. A quarter of them, rounded down, is left out at each end.

    Returns:
        The mean of the rest; nan if a value is not finite.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> interquartile_mean([0.0, 1.0, 2.0, 99.0])
        1.5

    References:
        Agarwal, Schwarzer, Castro, Courville and Bellemare (2021), Deep reinforcement learning at the edge of the
        statistical precipice, NeurIPS. https://arxiv.org/abs/2108.13264
    """
    import scipy.stats  # imported late: it takes half a second

    checked = _checked(values)
    return float(scipy.stats.trim_mean(checked, 0.25)) if np.isfinite(checked).all() else math.nan


def bootstrap_interval(
    values: Sequence[int | float] | np.ndarray,
    *,
    statistic: Callable[..., Any] = np.mean,
    confidence: float = 0.95,
    n_resamples: int = 9_999,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the confidence interval of a statistic by the bias-corrected and accelerated (BCa) bootstrap.

    It decides no claim: with few values a bootstrap interval is too narrow, since it never reaches beyond those it saw.
    Over 2,000 draws from a normal distribution, the 95 % interval of the mean covered the truth in 84 % of the cases with 5
    values, 89 % with 10 and 94 % with 30 (tests/test_statistics.py repeats a part of this). It serves statistics that have
    no formula.

    ==========================  ==============================================
    values                      interval
    ==========================  ==============================================
    a single one                (nan, nan): one seed says nothing about others
    all equal                   (v, v)
    any that is not finite      (nan, nan)
    ==========================  ==============================================

    Args:
        values: One per seed, at least one.
        statistic: Reduces an array along ``axis``.
        confidence: Fraction of such intervals that cover the truth, above 0 and below 1.
        n_resamples: Number of resamples, 1 or more.
        seed: Seed of the resampling, so that equal values give equal intervals.

    Returns:
        Its low and high end, in the unit of the statistic.

    Raises:
        ValueError: If there are no values, or the confidence is not between 0 and 1.

    Example:
        >>> low, high = bootstrap_interval([0.97, 0.98, 0.975, 0.972, 0.978])
        >>> 0.97 < low < 0.975 < high < 0.98
        True

    References:
        Efron (1987), Better bootstrap confidence intervals, JASA 82. https://doi.org/10.1080/01621459.1987.10478410
    """
    _require_confidence(confidence)
    checked = _checked(values)
    if len(checked) < 2 or not np.isfinite(checked).all():
        return math.nan, math.nan
    if np.ptp(checked) == 0:
        point = float(statistic(checked, axis=0))
        return point, point
    import scipy.stats

    interval = scipy.stats.bootstrap(
        (checked,),
        statistic,
        n_resamples=n_resamples,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def t_interval(values: Sequence[int | float] | np.ndarray, *, confidence: int | float = 0.95) -> tuple[float, float]:
    r"""Returns the confidence interval of the mean of normally distributed values, by Student's t.

    .. math:: \bar x \pm t_{n-1, (1 + c) / 2} \; s / \sqrt n

    Unlike the bootstrap, it has the coverage it states from two values on, at the price of its width.

    Args:
        values: One per seed, at least one.
        confidence: Fraction :math:`c` of such intervals that cover the truth, above 0 and below 1.

    Returns:
        Its low and high end, in the unit of the values; (nan, nan) for a single one, or where one is not finite.

    Raises:
        ValueError: If there are no values, or the confidence is not between 0 and 1.

    Example:
        >>> low, high = t_interval([0.97, 0.98, 0.975, 0.972, 0.978])
        >>> round(low, 4), round(high, 4)
        (0.9699, 0.9801)

    References:
        Student (1908), The probable error of a mean, Biometrika 6(1). https://doi.org/10.1093/biomet/6.1.1
    """
    _require_confidence(confidence)
    checked = _checked(values)
    if len(checked) < 2 or not np.isfinite(checked).all():
        return math.nan, math.nan
    import scipy.stats

    quantile = scipy.stats.t.ppf((1 + confidence) / 2, len(checked) - 1)
    width = float(quantile * np.std(checked, ddof=1) / math.sqrt(len(checked)))
    return float(np.mean(checked)) - width, float(np.mean(checked)) + width


def error(values: Any, influences: Any = None, *, over: Over, groups: Any = None, ratio: float | None = None) -> Error:
    r"""Returns the standard error of the mean over runs of a metric, and its degrees of freedom.

    With :math:`X_{ij}` the value of run i plus the influence of example j on it, for n seeds and m examples:

    .. math::
        A = s^2(\bar X_{i\cdot}) / n, \quad B = s^2(\bar X_{\cdot j}) / m, \quad
        E = \frac{\sum_{ij} (X_{ij} - \bar X_{i\cdot} - \bar X_{\cdot j} + \bar X)^2}{(n - 1)(m - 1) n m}

    ====================  ==========================================================  =======================================
    over                  squared error                                               degrees of freedom
    ====================  ==========================================================  =======================================
    seeds                 A                                                           n - 1
    examples              B                                                           m - 1
    seeds and examples    A + B - E where both exceed E (the sum counts the           Satterthwaite's, or those of
                          interaction twice), else the larger                         the larger
    folds                 :math:`s^2 (1 / k + 1 / (k - 1))`                           k - 1
    splits                :math:`s^2 (1 / k + r)`, with r test per training example   k - 1
    ====================  ==========================================================  =======================================

    Where examples come in groups, sums of influences by group take the place of examples, and G groups that of m.

    Args:
        values: One per run: ``(runs,)``, or ``(runs, ...)`` for a metric of any shape.
        influences: ``(runs, examples)`` or ``(runs, examples, ...)``; not needed over seeds, folds or splits.
        over: What varies.
        groups: ``(examples,)``: examples of one group (a patient) are drawn together; each is alone unless given.
        ratio: Test examples per training example, over splits.

    Returns:
        Both with the shape of one value; nan where there are too few runs or examples, or a number is not finite.

    Raises:
        ValueError: If influences are missing, or do not fit the values.

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
    r"""Returns the confidence interval of the mean over runs of a metric.

    It is Student's t with the `error`. A proportion (every example is a hit or a miss) gets Wilson's interval where examples
    vary, at the number of examples :math:`p (1 - p) / SE^2` that this error would have come from, so that it stays within 0 and
    1 and holds near them.

    Args:
        values: As for `error`.
        influences: As for `error`.
        over: What varies.
        groups: As for `error`.
        ratio: As for `error`.
        confidence: Fraction of such intervals that cover the truth, above 0 and below 1.

    Returns:
        Its low and high end, with the shape of one value; nan where they are undefined.

    Raises:
        ValueError: If the confidence is not between 0 and 1, or as `error`.

    Example:
        >>> hits = np.array([[1.0] * 97 + [0.0] * 3, [1.0] * 96 + [0.0] * 4])
        >>> low, high = interval(hits.mean(1), hits - hits.mean(1, keepdims=True), over="seeds and examples")
        >>> round(float(low), 3), round(float(high), 3)
        (0.91, 0.987)

    References:
        Student (1908), The probable error of a mean, Biometrika 6(1). Wilson (1927), Probable inference, the law of
        succession, and statistical inference, JASA 22. https://doi.org/10.1080/01621459.1927.10502953
    """
    _require_confidence(confidence)
    import scipy.stats  # imported late: it takes half a second

    held = _runs(values)
    standard, freedom = error(held, influences, over=over, groups=groups, ratio=ratio)
    centre, upper = held.mean(axis=0), (1 + confidence) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.where(standard == 0, 0.0, scipy.stats.t.ppf(upper, freedom) * standard)
        half = np.where(np.isfinite(centre), half, math.nan)
        low, high = centre - half, centre + half
        if over in ("examples", "seeds and examples"):
            n_all, varies = _sums(held, influences, groups)[1], standard > 0
            n = np.where(varies, centre * (1 - centre) / standard**2, n_all)
            n = np.where(np.isfinite(standard), n, math.nan)
            t = scipy.stats.t.ppf(upper, np.where(varies, freedom, n_all - 1))
            middle, width = centre + t**2 / (2 * n), t * np.sqrt(centre * (1 - centre) / n + t**2 / (4 * n**2))
            ends = ((middle - width) / (1 + t**2 / n), (middle + width) / (1 + t**2 / n))
            is_hit = _are_hits(held, influences)
            low, high = (np.where(is_hit, wilson, end) for wilson, end in zip(ends, (low, high), strict=True))
    return (low, high) if held.ndim > 1 else (float(low), float(high))


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
    """Returns the mean difference of values and others, paired: run i of both has the same seed, example j is the same.

    Args:
        values: One per run, at least one.
        others: One for each value, from the same seed (or fold).
        influences: ``(runs, examples)`` of the values, where examples vary.
        other_influences: Those of the others, on the same examples.
        over: What varies.
        groups: As for `error`.
        ratio: As for `error`.

    Returns:
        The mean difference in the unit of the values, its interval, and the p-value of no difference.

    Raises:
        ValueError: If the numbers of values differ, or there are none.

    Example:
        >>> found = difference([2.0, 3.5, 4.0], [1.0, 2.0, 3.0])
        >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3), round(found.p, 3)
        (1.167, 0.45, 1.884, 0.02)

    References:
        Student (1908), as for `interval`.
    """
    import scipy.stats

    a, b = _checked(values), _checked(others)
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
    """Returns p-values adjusted for all comparisons of a table: the chance that any of them errs is at most their bound.

    Args:
        p_values: Of the comparisons; nan for one that is undefined, which does not count.

    Returns:
        Adjusted p-values in the same order, at most 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2).
    """
    given = np.asarray(p_values, np.float64)
    adjusted, known = np.full(len(given), math.nan), np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1)
    return adjusted.tolist()


def kinds(n_runs: int, *, has_influences: bool, runs: Runs = "seeds") -> tuple[Over, ...]:
    """Returns what the intervals of a metric are over, the one that is reported without a claim last.

    Args:
        n_runs: Number of runs.
        has_influences: Whether the influences of examples are known.
        runs: What differs between runs.

    Returns:
        Names of intervals.

    Example:
        >>> kinds(10, has_influences=True), kinds(1, has_influences=True), kinds(10, has_influences=True, runs="folds")
        (('seeds', 'seeds and examples'), ('examples',), ('folds',))
    """
    if runs != "seeds":
        return (runs,)
    if n_runs == 1:
        return ("examples",) if has_influences else ("seeds",)
    return ("seeds", "seeds and examples") if has_influences else ("seeds",)


def decided_by(about: About, given: Sequence[str]) -> Over | None:
    """Returns the interval that decides a claim, of those that a metric has; None where it has none of that kind.

    Args:
        about: What the claim holds for.
        given: The intervals of its metric.

    Returns:
        A name.

    Example:
        >>> decided_by("new examples", ("seeds", "seeds and examples")), decided_by("new examples", ("seeds",))
        ('seeds and examples', None)
    """
    wanted: tuple[Over, ...] = ("folds", "splits", "seeds and examples" if about == "new examples" else "seeds")
    return next((over for over in wanted if over in given), None)


def summary(
    values: Sequence[Any] | np.ndarray,
    influences: Any = None,
    *,
    groups: Any = None,
    runs: Runs = "seeds",
    ratio: float | None = None,
    about: About | None = None,
) -> dict[str, Any]:
    """Returns what is reported of a metric: all values, the mean, and its 95 % intervals by name, ready for JSON.

    Args:
        values: One per run, at least one: ``(runs,)``, or ``(runs, ...)`` for a vector or matrix metric.
        influences: ``(runs, examples, ...)``, where they are known.
        groups: As for `error`.
        runs: What differs between runs.
        ratio: As for `error`.
        about: What a claim about the metric holds for.

    Returns:
        ``{"values", "mean", "standard_deviation", "ci95": [low, high], "over", "intervals": {over: [low, high]}}``. ``ci95``
        is the interval that decides the claim, and without one the widest: ``over`` names it. The mean, the deviation, low
        and high have the shape of one metric, as nested lists; None stands for a number that is undefined.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> found = summary([0.5, 0.75])
        >>> found["over"], [round(end, 2) for end in found["ci95"]]
        ('seeds', [-0.96, 2.21])
        >>> summary([0.5])["ci95"], summary([[0.5, 0.25], [0.5, 0.75]])["mean"]
        ([None, None], [0.5, 0.5])
    """
    checked = _runs(values)
    is_finite = np.isfinite(checked).all(axis=0)
    means = np.where(is_finite, np.where(np.isfinite(checked), checked, 0).mean(axis=0), math.nan)
    deviations = np.where(is_finite, np.sqrt(_variance(checked)), math.nan)
    names = kinds(len(checked), has_influences=influences is not None, runs=runs)
    ends = {over: interval(checked, influences, over=over, groups=groups, ratio=ratio) for over in names}
    made = {over: [_or_none(np.asarray(end)) for end in pair] for over, pair in ends.items()}
    chosen = (decided_by(about, names) if about is not None else None) or names[-1]
    return {
        "values": _or_none(checked),
        "mean": _or_none(means),
        "standard_deviation": _or_none(deviations),
        "ci95": made[chosen],
        "over": chosen,
        "intervals": made,
    }


def number_text(value: float) -> str:
    """Returns a number to four decimals, or to four significant digits where it is large.

    A float32 and the digits that it is recorded with give the same text, also where the fifth decimal is a 5.

    Args:
        value: Any.

    Returns:
        A text.

    Example:
        >>> number_text(0.97614), number_text(12_345_678.0)
        ('0.9761', '1.235e+07')
    """
    return f"{round(shortest(value), _SURE):.4f}" if abs(value) < 1e6 else f"{value:.3e}"


def shortest(value: float) -> float:
    """Returns a number in full, or, if float32 holds it exactly, with the digits that distinguish it among float32.

    Args:
        value: Any.

    Returns:
        The same number, up to the precision of float32.

    Example:
        >>> shortest(float(np.float32(0.1))), shortest(0.1 + 1e-12)
        (0.1, 0.100000000001)
    """
    with np.errstate(over="ignore"):
        single = np.float32(value)
    return float(str(single)) if float(single) == value else value


def over_text(over: str, n_runs: int, *, n_examples: int = 0, n_groups: int | None = None) -> str:
    """Returns in words what an interval is over.

    Args:
        over: Its name.
        n_runs: Number of seeds, folds or splits.
        n_examples: Number of test examples.
        n_groups: Number of groups that they come in, if they do.

    Returns:
        A phrase.

    Example:
        >>> over_text("seeds", 10, n_examples=10_000), over_text("seeds and examples", 5, n_examples=900, n_groups=12)
        ('over 10 seeds, these 10,000 test examples', 'over 5 seeds and 12 groups of examples')
    """
    examples = f"{n_examples:,} examples" if n_groups is None else f"{n_groups:,} groups of examples"
    if over == "examples":
        return f"over {examples}, one seed"
    if over == "seeds and examples":
        return f"over {n_runs} seeds and {examples}"
    return f"over {n_runs} {over}" + (f", these {n_examples:,} test examples" if over == "seeds" and n_examples else "")


def verdict(interval: tuple[float, float], claim: Claim) -> Verdict:
    """Returns whether an interval supports or refutes a claim.

    =========================================  =========
    interval                                   verdict
    =========================================  =========
    entirely on the claimed side of the bound  supported
    entirely on the other side                 refuted
    contains the bound, or is undefined (nan)  undecided
    =========================================  =========

    Args:
        interval: Low and high end of the interval of the metric, which is a scalar.
        claim: Bounds the metric from one side.

    Returns:
        The verdict.

    Raises:
        ValueError: If the interval is that of a vector or matrix.

    Example:
        >>> claim = Claim(text="98.04 %", metric="test/accuracy", about="these examples", at_least=0.9804)
        >>> verdict((0.974, 0.977), claim)
        'refuted'
    """
    low, high = interval
    _require_scalar(claim.metric, np.shape(low))
    if claim.at_least is not None:
        supported, refuted = low >= claim.at_least, high < claim.at_least
    else:
        assert claim.at_most is not None  # a claim has exactly one bound
        supported, refuted = high <= claim.at_most, low > claim.at_most
    return "supported" if supported else "refuted" if refuted else "undecided"


def _checked(values: Sequence[int | float] | np.ndarray) -> np.ndarray:
    """Returns the values as a vector of float64."""
    checked = np.asarray(values, np.float64)
    if checked.ndim != 1 or not len(checked):
        raise ValueError(f"values must be a list of at least one number; got shape {checked.shape}. Pass one per seed.")
    return checked


def _runs(values: Any) -> np.ndarray:
    """Returns the values of runs as float64, ``(runs, ...)``."""
    held = np.asarray(values, np.float64)
    if not held.ndim or not len(held):
        raise ValueError(f"values must hold one entry per seed, at least one; got shape {held.shape}.")
    return held


def _variance(held: np.ndarray) -> np.ndarray:
    """Returns the variance over runs, each entry by itself; nan for a single run."""
    if len(held) == 1:
        return np.full(held.shape[1:], math.nan)
    with np.errstate(invalid="ignore"):  # equal values have none; their mean may be off by a rounding
        return np.where(np.ptp(held, axis=0) == 0, 0.0, np.var(held, axis=0, ddof=1))


def _freedom(n: int, like: np.ndarray) -> np.ndarray:
    """Returns degrees of freedom for each entry; nan where its error is undefined."""
    return np.where(np.isfinite(like) & (n > 0), float(n), math.nan)


def _sums(held: np.ndarray, influences: Any, groups: Any) -> tuple[np.ndarray, int]:
    """Returns the influences of each group as its share of the mean, ``(runs, groups, ...)``, and the number of groups."""
    if influences is None:
        raise ValueError(
            "influences must be given where examples vary, got none. Evaluate with them, or ask over seeds."
        )
    of_examples = np.asarray(influences, np.float64)
    if of_examples.shape[:1] + of_examples.shape[2:] != held.shape:
        raise ValueError(
            f"influences must be (runs, examples, ...) for values {held.shape}; got {of_examples.shape}. Pass one per example."
        )
    shares, n = of_examples / of_examples.shape[1], of_examples.shape[1]
    if groups is None:
        return shares, n
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(group_of.max()) + 1
    sums = np.zeros((len(held), n_groups, *held.shape[1:]))
    for place, group in enumerate(group_of.reshape(-1)):
        sums[:, group] += shares[:, place]
    return sums, n_groups


def _are_hits(held: np.ndarray, influences: Any) -> np.ndarray:
    """Returns whether a metric is a proportion: with its influence, every example is a hit (1) or a miss (0)."""
    hits = held[:, None] + np.asarray(influences, np.float64)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.minimum(np.abs(hits), np.abs(hits - 1)) < _WHOLE).all(axis=(0, 1)))


def _require_confidence(confidence: int | float) -> None:
    """Raises where a confidence is not between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1; got {confidence}. Pass 0.95 for 95 %.")


def _require_scalar(name: str, shape: tuple[int, ...]) -> None:
    """Raises where a claim is about a vector or a matrix."""
    if shape:
        raise ValueError(
            f"claim must be about a scalar metric; {name} has shape {shape}. Pass an average of it, or one entry."
        )


def _or_none(values: Any) -> Any:
    """Returns values as a number or nested lists, with None where they are not finite: JSON has no nan."""
    if not values.ndim:
        return float(values) if np.isfinite(values) else None
    return [_or_none(np.asarray(value)) for value in values]

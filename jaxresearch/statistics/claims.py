"""The summary of a metric over runs, and claims that its intervals decide."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxresearch.statistics.intervals import Over, Runs, error, interval

Verdict = Literal["supported", "refuted", "undecided"]
About = Literal["these examples", "new examples", "seeds"]

FEWEST_SEEDS = 5  # with fewer, intervals are so wide that only luck decides a claim


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement about a metric that an interval can decide: the mean is at least, or at most, a bound.

    Attributes:
        text: The claim in words.
        metric: The name of the metric, such as ``"test/accuracy"``.
        about: Its scope: ``"these examples"`` (a fixed, public test part; only seeds vary), ``"new examples"`` (seeds and
            examples vary, as do folds), or ``"seeds"`` (there are no examples).
        at_least: The lower bound, or None.
        at_most: The upper bound, or None.
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
    at_least: int | float | None = None
    at_most: int | float | None = None
    n_folds: int = 0

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(
                f"claim must have exactly one of at_least and at_most; got {self.at_least} and {self.at_most}. "
                "For a range, make two claims."
            )
        if self.about not in ("these examples", "new examples", "seeds"):
            raise ValueError(
                f"about must be 'these examples', 'new examples' or 'seeds', got {self.about!r}. Pass the scope of the claim."
            )

    @property
    def evaluated(self) -> str:
        """The metric's name in an evaluation of any part: without ``test/``."""
        return self.metric.removeprefix("test/")

    def check(self, metrics: Mapping[str, Any]) -> None:
        """Raises unless the claim is about a scalar among these metrics.

        Args:
            metrics: Metrics of one run, by name without ``test/``; shapes (`jax.ShapeDtypeStruct`) suffice.

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


def kinds(n_runs: int, *, has_influences: bool, runs: Runs = "seeds") -> tuple[Over, ...]:
    """Returns the names of the intervals that a metric has; the last is the one reported without a claim.

    Args:
        n_runs: Number of runs.
        has_influences: Whether the influences of examples are known.
        runs: What differs between runs.

    Returns:
        Names from `Over`.

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
    """Returns the name of the interval that decides a claim, or None if its metric does not have that interval.

    Args:
        about: The scope of the claim.
        given: Names of the metric's intervals.

    Returns:
        A name from ``given``.

    Example:
        >>> decided_by("new examples", ("seeds", "seeds and examples")), decided_by("new examples", ("seeds",))
        ('seeds and examples', None)
    """
    suitable: tuple[Over, ...] = ("folds", "splits", "seeds and examples" if about == "new examples" else "seeds")
    return next((over for over in suitable if over in given), None)


def summary(
    values: Sequence[Any] | np.ndarray,
    influences: Any = None,
    *,
    groups: Any = None,
    runs: Runs = "seeds",
    ratio: float | None = None,
    about: About | None = None,
) -> dict[str, Any]:
    """Returns a summary of a metric, ready for JSON: all values, the mean, and the 95 % intervals by name.

    Args:
        values: One per run, at least one: ``(runs,)``, or ``(runs, ...)`` for a vector or matrix metric.
        influences: ``(runs, examples, ...)``, or None if they are unknown.
        groups: As in `error`.
        runs: What differs between runs.
        ratio: As in `error`.
        about: The scope of a claim about the metric.

    Returns:
        ``{"values", "mean", "standard_deviation", "ci95": [low, high], "over", "intervals": {over: [low, high]}}``. ``ci95``
        is the interval that decides the claim, or the most general one without a claim; ``over`` is its name. The mean, the
        deviation, low and high have the shape of the metric, as nested lists, with None for undefined numbers.

    Raises:
        ValueError: If there are no values.

    Example:
        >>> found = summary([0.5, 0.75])
        >>> found["over"], [round(end, 2) for end in found["ci95"]]
        ('seeds', [-0.96, 2.21])
        >>> summary([0.5])["ci95"], summary([[0.5, 0.25], [0.5, 0.75]])["mean"]
        ([None, None], [0.5, 0.5])
    """
    given, spread = np.asarray(values, np.float64), error(values, over="seeds")
    is_finite = np.isfinite(given).all(axis=0)
    means = np.where(is_finite, np.where(np.isfinite(given), given, 0).mean(axis=0), math.nan)
    deviations = np.where(is_finite, spread.standard * math.sqrt(len(given)), math.nan)
    names = kinds(len(given), has_influences=influences is not None, runs=runs)
    ends = {over: interval(given, influences, over=over, groups=groups, ratio=ratio) for over in names}
    intervals = {over: [_or_none(np.asarray(end)) for end in pair] for over, pair in ends.items()}
    chosen = (decided_by(about, names) if about is not None else None) or names[-1]
    return {
        "values": _or_none(given),
        "mean": _or_none(means),
        "standard_deviation": _or_none(deviations),
        "ci95": intervals[chosen],
        "over": chosen,
        "intervals": intervals,
    }


def over_text(over: str, n_runs: int, *, n_examples: int = 0, n_groups: int | None = None) -> str:
    """Returns a phrase for the seeds, examples, folds or splits that an interval is over.

    Args:
        over: The name of the interval.
        n_runs: Number of seeds, folds or splits.
        n_examples: Number of test examples.
        n_groups: Number of groups of test examples, or None.

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
        interval: Low and high end of the interval of a scalar metric.
        claim: The claim about it.

    Returns:
        The verdict.

    Raises:
        ValueError: If the metric is not a scalar.

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


def _require_scalar(name: str, shape: tuple[int, ...]) -> None:
    """Raises if a claim is about a vector or a matrix."""
    if shape:
        raise ValueError(
            f"claim must be about a scalar metric; {name} has shape {shape}. Pass an average of it, or one entry."
        )


def _or_none(values: Any) -> Any:
    """Returns values as a number or nested lists, with None for non-finite ones, which JSON lacks."""
    if not values.ndim:
        return float(values) if np.isfinite(values) else None
    return [_or_none(np.asarray(value)) for value in values]

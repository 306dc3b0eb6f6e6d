"""Figures in a few words: as the command line, the pages and a notebook tell them."""

from typing import Any


def number(value: int | float) -> str:
    """Returns a number to four digits after the point, or to four in all where it is large, as what diverges is."""
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.3e}"


def mean_text(mean: float | None, *, missing: str = "not finite") -> str:
    """Returns a mean to four digits."""
    return missing if mean is None else number(mean)


def interval_text(low: float | None, high: float | None, *, missing: str = "") -> str:
    """Returns an interval to four digits."""
    return missing if low is None or high is None else f"{number(low)} to {number(high)}"


def metric_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns name, mean, 95 % interval and number of seeds of each metric of a result."""
    return [(name, *summary_row(summary)) for name, summary in result["metrics"].items()]


def summary_row(summary: dict[str, Any]) -> tuple[str, str, str]:
    """Returns mean, 95 % interval and number of seeds."""
    missing = "single seed" if len(summary["values"]) == 1 else "a seed diverged"
    interval = interval_text(*summary["ci95"], missing=missing)
    return mean_text(summary["mean"]), interval, str(len(summary["values"]))


def verdict_line(result: dict[str, Any]) -> str:
    """Returns the verdict on the claim in a sentence, and why."""
    claim = result["claim"]
    return f'Claim "{claim["text"]}": {claim["verdict"]} ({claim["because"]}).'


def gain_line(gain: dict[str, Any]) -> str:
    """Returns the gain in a few words."""
    mean, low, high = (f"{value:+.4f}" for value in (gain["mean"], *gain["ci95"]))
    return f"{gain['metric']} {mean} against the plain settings (95 % interval {low} to {high}, paired by seed)"


def seconds_line(result: dict[str, Any]) -> str:
    """Returns where the time went, in a line."""
    parts = [f"{stage} {seconds:.2f} s" for stage, seconds in result["seconds"].items()]
    return f"{' · '.join(parts)} · {result['examples_per_second']:,.0f} examples/s in training"

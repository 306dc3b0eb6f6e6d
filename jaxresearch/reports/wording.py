"""Figures and settings in a few words: as the command line, the pages and a notebook tell them."""

import shlex
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import statistics


def resume_command(path: Path) -> str:
    """Returns what to type to go on with a directory."""
    return f"jaxresearch resume {shlex.quote(str(path))}"


def printable(text: str) -> str:
    """Returns a text without control characters, but for line ends and tabs: a terminal would obey what a model writes."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c
        for c in text.replace("\r\n", "\n")
    )


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
    if result["examples_per_second"]:  # none where all steps had been made before
        parts.append(f"{result['examples_per_second']:,.0f} examples/s in training")
    return " · ".join(parts)


def round_headings(metric: str) -> tuple[str, ...]:
    """Returns what stands above `round_rows`."""
    return "round", "tried", "best", f"validation {metric}", "95 % interval", ""


def round_rows(
    rounds: list[dict[str, Any]], metric: str, *, plain: dict[str, Any], chosen: dict[str, Any]
) -> list[tuple[str, ...]]:
    """Returns one line a round of ``study.json``: what was tried, the best of it, its figures on validation data.

    Args:
        rounds: As they are recorded.
        metric: That of the claim.
        plain: The settings that the others are told against.
        chosen: The settings of the conclusion; the rounds that tried them are marked.
    """
    rows = []
    for number, made in enumerate(rounds, start=1):
        settings = [trial["hyperparameters"] for trial in made["trials"]]
        best = int(np.argmax([-np.inf if score is None else score for score in made["scores"]]))
        summary = statistics.summary(np.array(made["trials"][best]["metrics"][metric], np.float64))
        changes = as_words({name: value for name, value in settings[best].items() if value != plain.get(name)})
        n_diverged = sum(trial["diverged"] for trial in made["trials"])
        tried = f"{made['why']}: {len(settings)}" + (f", {n_diverged} diverged" if n_diverged else "")
        figures = mean_text(summary["mean"], missing="diverged"), interval_text(*summary["ci95"])
        rows.append((str(number), tried, changes or "plain", *figures, "chosen" if chosen in settings else ""))
    return rows


def flag(name: str) -> str:
    """Returns a field as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def as_words(values: dict[str, Any]) -> str:
    """Returns fields and their values as one would write them on the command line."""
    return " ".join(words_of(values))


def words_of(values: dict[str, Any]) -> list[str]:
    """Returns fields and their values as the words of a command line; the entries of a tuple are words of their own."""
    words = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(flag(name if value else f"no_{name}"))
        elif value is not None:
            words += [flag(name), *map(str, value if isinstance(value, tuple | list) else (value,))]
    return words

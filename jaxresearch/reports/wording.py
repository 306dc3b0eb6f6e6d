"""Metrics and settings as text: what the command line, the pages and a notebook show."""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import statistics
from jaxresearch.records.commands import flag as flag  # re-exported until the command line imports it from there
from jaxresearch.records.commands import resume_command as resume_command
from jaxresearch.records.commands import words_of as words_of
from jaxresearch.records.files import number as number

_MOST_COLUMNS = 20  # a wider matrix does not fit a screen


class MatrixTable(NamedTuple):
    """A matrix metric as a table of text: the mean of each entry over seeds."""

    name: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Entry(NamedTuple):
    """A number of a result by its name: a scalar metric, or one entry of a vector metric, ``test/recall[cat]``."""

    name: str
    metric: str
    place: tuple[int, ...]
    summary: dict[str, Any]


def printable(text: str) -> str:
    """Returns a text without control characters except line ends and tabs, since a terminal would obey them."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c
        for c in text.replace("\r\n", "\n")
    )


def mean_text(mean: float | None, *, missing: str = "undefined") -> str:
    """Returns a mean to four decimals."""
    return missing if mean is None else number(mean)


def interval_text(low: float | None, high: float | None, *, missing: str = "") -> str:
    """Returns an interval to four decimals."""
    return missing if low is None or high is None else f"{number(low)} to {number(high)}"


def shape_of(summary: dict[str, Any]) -> tuple[int, ...]:
    """Returns the shape of a metric from its summary: ``()`` for a scalar."""
    return np.shape(summary["mean"])


def entries(result: dict[str, Any], class_names: Sequence[str] = ()) -> Iterator[Entry]:
    """Yields the scalar metrics of a result and each entry of its vector metrics; matrices are left to `matrix_tables`.

    Args:
        result: As in result.json.
        class_names: Name the entries of vectors that have one per class; other entries are named by their index.
    """
    for metric, summary in result["metrics"].items():
        shape = shape_of(summary)
        if not shape:
            yield Entry(metric, metric, (), summary)
        elif len(shape) == 1:
            for i, name in enumerate(_names(shape[0], class_names)):
                low, high = summary["ci95"]
                values = [value[i] for value in summary["values"]]
                of_entry = {"values": values, "mean": summary["mean"][i], "ci95": [low[i], high[i]]}
                yield Entry(f"{metric}[{name}]", metric, (i,), of_entry)


def metric_rows(result: dict[str, Any], class_names: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Returns name, mean, 95 % interval and number of seeds of each of the `entries` of a result."""
    return [(entry.name, *summary_row(entry.summary)) for entry in entries(result, class_names)]


def matrix_tables(result: dict[str, Any], class_names: Sequence[str] = ()) -> list[MatrixTable]:
    """Returns each matrix metric of a result as a table of means; one too large for a screen as its shape alone.

    Args:
        result: As in result.json.
        class_names: Name rows and columns where there is one per class; others are named by their index.
    """
    tables = []
    for metric, summary in result["metrics"].items():
        shape = shape_of(summary)
        if len(shape) == 2 and max(shape) <= _MOST_COLUMNS:
            rows, columns = (_names(length, class_names) for length in shape)
            lines = [(name, *map(_cell, line)) for name, line in zip(rows, summary["mean"], strict=True)]
            tables.append(MatrixTable(metric, ("", *columns), lines))
        elif len(shape) >= 2:
            tables.append(MatrixTable(metric, ("shape", "recorded in"), [(shape_text(shape), "result.json")]))
    return tables


def shape_text(shape: tuple[int, ...]) -> str:
    """Returns the shape of a matrix, as ``10 x 10``."""
    return " x ".join(map(str, shape))


def summary_row(summary: dict[str, Any]) -> tuple[str, str, str]:
    """Returns the mean, the 95 % interval and the number of seeds of a scalar."""
    missing = "single seed" if len(summary["values"]) == 1 else "undefined"
    interval = interval_text(*summary["ci95"], missing=missing)
    return mean_text(summary["mean"]), interval, str(len(summary["values"]))


def verdict_line(result: dict[str, Any]) -> str:
    """Returns the verdict on the claim and its reason in a sentence."""
    claim = result["claim"]
    return f'Claim "{claim["text"]}": {claim["verdict"]} ({claim["because"]}).'


def gain_line(gain: dict[str, Any]) -> str:
    """Returns the gain over the plain settings with its interval."""
    mean, low, high = (f"{value:+.4f}" for value in (gain["mean"], *gain["ci95"]))
    return f"{gain['metric']} {mean} over the plain settings (95 % interval {low} to {high}, paired by seed)"


def seconds_line(result: dict[str, Any]) -> str:
    """Returns the seconds of each stage and the speed of training in a line."""
    parts = [f"{stage} {seconds:.2f} s" for stage, seconds in result["seconds"].items()]
    if result["examples_per_second"]:  # 0 if a resumed run had made all steps before
        parts.append(f"{result['examples_per_second']:,.0f} examples/s in training")
    return " · ".join(parts)


def best_line(result: dict[str, Any]) -> str | None:
    """Returns the best epoch of each seed, or the best step if the length of an epoch is not recorded.

    Args:
        result: As in result.json, with ``best_step`` and, if known, ``steps_per_epoch``.

    Returns:
        A line, or None without early stopping.
    """
    steps, length = result.get("best_step"), result.get("steps_per_epoch")
    if steps is None:
        return None
    texts = ["none" if step is None else f"{step / length:.4g}" if length else f"{step:,}" for step in steps]
    of_seeds = ", ".join(f"{text} (seed {seed})" for text, seed in zip(texts, result["seeds"], strict=True))
    return f"best {'epoch' if length else 'step'} on validation data: {of_seeds}"


def round_headings(metric: str) -> tuple[str, ...]:
    """Returns the headings of `round_rows`."""
    return "round", "tried", "best", f"validation {metric}", "95 % interval", ""


def round_rows(
    rounds: list[dict[str, Any]], metric: str, *, plain: dict[str, Any], chosen: dict[str, Any]
) -> list[tuple[str, ...]]:
    """Returns a row for each round of ``study.json``: what was tried, the best settings, their validation metric.

    Args:
        rounds: As recorded.
        metric: That of the claim.
        plain: The settings from which differences are shown.
        chosen: The settings of the conclusion; rounds that tried them are marked.
    """
    rows = []
    for place, one in enumerate(rounds, start=1):
        settings = [trial["hyperparameters"] for trial in one["trials"]]
        best = int(np.argmax([-np.inf if score is None else score for score in one["scores"]]))
        summary = statistics.summary(np.array(one["trials"][best]["metrics"][metric], np.float64))
        changes = as_words({name: value for name, value in settings[best].items() if value != plain.get(name)})
        n_diverged = sum(trial["diverged"] for trial in one["trials"])
        tried = f"{one['why']}: {len(settings)}" + (f", {n_diverged} diverged" if n_diverged else "")
        missing = "diverged" if one["trials"][best]["diverged"] else "undefined"
        texts = mean_text(summary["mean"], missing=missing), interval_text(*summary["ci95"])
        rows.append((str(place), tried, changes or "plain", *texts, "chosen" if chosen in settings else ""))
    return rows


def as_words(values: dict[str, Any]) -> str:
    """Returns fields and their values as typed on the command line."""
    return " ".join(words_of(values))


def _names(length: int, class_names: Sequence[str]) -> Sequence[str]:
    """Returns a name for each entry of an axis: the class if there is one for each, else the index."""
    return class_names if len(class_names) == length else [str(i) for i in range(length)]


def _cell(value: float | None) -> str:
    """Returns an entry of a matrix to four significant digits, or to ones where it is larger."""
    return mean_text(value) if value is None else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"

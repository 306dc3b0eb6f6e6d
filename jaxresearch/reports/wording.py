"""Metrics and settings as text for the command line, pages and notebooks."""

import collections
import math
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import statistics
from jaxresearch.records.commands import flag as flag  # re-exported until the command line imports it from there
from jaxresearch.records.commands import resume_command as resume_command
from jaxresearch.records.commands import words_of as words_of

FEWEST_SECONDS = 1.0  # of training, to report a speed
SMOKE = "Smoke run: a few steps on a few examples, to check that everything works. It decides nothing."
NO_CLAIM = "No claim is declared, so nothing is decided."
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
    """Returns a text without control characters except line ends and tabs, since a terminal would interpret them."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c
        for c in text.replace("\r\n", "\n")
    )


def mean_text(mean: float | None, *intervals: Sequence[float | None], missing: str = "undefined") -> str:
    """Returns a mean, rounded as the ends of the narrowest of its intervals.

    Example:
        >>> mean_text(23456.7, (23056.2, 23857.2), (21411.2, 25502.2)), mean_text(23456.7), mean_text(None)
        ('23460', '23460', 'undefined')
    """
    if mean is None:
        return missing
    known = [(low, high) for low, high in intervals if low is not None and high is not None and low < high]
    low, high = min(known, key=lambda ends: ends[1] - ends[0], default=(math.nan, math.nan))
    return statistics.estimate_texts(mean, low, high)[0]


def interval_text(low: float | None, high: float | None, *, missing: str = "", is_signed: bool = False) -> str:
    """Returns an interval, rounded by its width, or that the values have no spread."""
    if low is None or high is None:
        return missing
    if low == high:
        return "no spread"
    return " to ".join(statistics.estimate_texts((low + high) / 2, low, high, is_signed=is_signed)[1:])


def confidence_text(low: float | None, high: float | None) -> str:
    """Returns the 95 % interval of a difference, or why it has none."""
    if low is None or high is None or not np.isfinite([low, high]).all():
        return "no interval is known"
    text = interval_text(low, high, is_signed=True)
    return text if low == high else f"95 % interval {text}"


def selection_text(n_examples: int, *, is_own: bool) -> str:
    """Returns the selection data, on which settings are compared, as a phrase.

    Args:
        n_examples: Their number; 0 if the experiment has no data.
        is_own: Whether they are the data's own validation part.
    """
    if not n_examples:
        return "the experiment's own evaluation, which has no data"
    origin = "the data's own validation part" if is_own else "held out of the training part"
    return f"{n_examples:,} selection examples ({origin})"


def devices_text(devices: Sequence[str]) -> str:
    """Returns recorded devices, ``platform: kind``, with the number of each kind.

    Example:
        >>> devices_text(["cpu: cpu", "cpu: cpu"]), devices_text(["gpu: NVIDIA H100"])
        ('2 x cpu', 'gpu: NVIDIA H100')
    """
    counts = collections.Counter(devices)
    names = {one: one.partition(": ")[0] if len({*one.split(": ")}) == 1 else one for one in counts}
    return ", ".join(f"{n} x {names[one]}" if n > 1 else names[one] for one, n in counts.items())


def seeds_text(seeds: Sequence[int]) -> str:
    """Returns seeds as a range or a list.

    Example:
        >>> seeds_text([3, 4, 5]), seeds_text([3, 7])
        ('3 to 5', '3, 7')
    """
    is_range = len(seeds) > 2 and [*seeds] == [*range(seeds[0], seeds[0] + len(seeds))]
    return f"{seeds[0]} to {seeds[-1]}" if is_range else ", ".join(map(str, seeds))


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
                ends = {over: [end[i] for end in pair] for over, pair in intervals_of(summary).items()}
                values = [value[i] for value in summary["values"]]
                of_entry = {"values": values, "mean": summary["mean"][i], "intervals": ends}
                yield Entry(f"{metric}[{name}]", metric, (i,), of_entry)


def intervals_of(summary: dict[str, Any]) -> dict[str, list[Any]]:
    """Returns the intervals of a metric by what they are over; version 0.1 has only one, over seeds or folds."""
    return summary.get("intervals") or {"seeds": summary["ci95"]}


def metric_headings(result: dict[str, Any]) -> tuple[str, ...]:
    """Returns the headings of `metric_rows`, which state what each interval is over; a smoke run has means alone."""
    n_runs, counts = len(result["seeds"]), {name: result.get(name) for name in ("n_groups",)}
    runs = "folds" if result.get("n_folds") else "seeds"
    texts = [
        statistics.over_text(
            runs if over == "seeds" else over, n_runs, n_examples=result.get("n_examples", 0), **counts
        )
        for over in _overs(result)
    ]
    return "metric", "mean", *(f"95 % interval {text}" for text in texts)


def metric_rows(result: dict[str, Any], class_names: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Returns the name, the mean and the 95 % intervals of each of the `entries` of a result."""
    overs = _overs(result)
    return [
        (entry.name, _mean_of(entry.summary, overs), *(_interval_of(entry.summary, over) for over in overs))
        for entry in entries(result, class_names)
    ]


def _overs(result: dict[str, Any]) -> list[str]:
    """Returns what the shown intervals of a result are over; those of a smoke run mean nothing."""
    if result.get("smoke"):
        return []
    return list(dict.fromkeys(over for summary in result["metrics"].values() for over in intervals_of(summary)))


def _mean_of(summary: dict[str, Any], overs: Sequence[str]) -> str:
    """Returns the mean of a scalar, rounded by the intervals that are shown."""
    intervals = intervals_of(summary)
    return mean_text(summary["mean"], *(intervals[over] for over in overs if over in intervals))


def _interval_of(summary: dict[str, Any], over: str) -> str:
    """Returns one interval of a scalar, or why there is none."""
    if len(summary["values"]) == 1 and over == "seeds":
        return "single seed"
    if summary["mean"] is None:
        return "undefined"
    low, high = intervals_of(summary).get(over, (None, None))
    return interval_text(low, high)


def matrix_tables(result: dict[str, Any], class_names: Sequence[str] = ()) -> list[MatrixTable]:
    """Returns each matrix metric of a result as a table of means, or only its shape if it is too large for a screen.

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
    """Returns the shape of a matrix, such as ``10 x 10``."""
    return " x ".join(map(str, shape))


def summary_row(summary: dict[str, Any], over: str) -> tuple[str, str, str]:
    """Returns the mean, one 95 % interval and the number of runs of a scalar."""
    return _mean_of(summary, [over]), _interval_of(summary, over), str(len(summary["values"]))


def verdict_line(result: dict[str, Any]) -> str:
    """Returns the verdict on the claim with its reason; without a claim, why there is none."""
    claim = result["claim"]
    if result.get("smoke"):
        return SMOKE
    if claim is None:
        return result.get("unclaimed") or NO_CLAIM
    return f'Claim "{claim["text"]}": {claim["verdict"]} ({verdict_reason(claim)}).'


def verdict_reason(claim: dict[str, Any]) -> str:
    """Returns the bound that a claim needs, and what was found.

    Args:
        claim: As in result.json.

    Example:
        >>> verdict_reason({"metric": "test/r2", "at_least": 0.95, "at_most": None, "because": "a seed diverged"})
        'test/r2 needs at least 0.95; a seed diverged'
    """
    bounds = {"at least": claim.get("at_least"), "at most": claim.get("at_most")}
    needs = [f"{claim['metric']} needs {side} {bound:.10g}" for side, bound in bounds.items() if bound is not None]
    return "; ".join([*needs, claim["because"]])


def spread_lines(result: dict[str, Any]) -> list[str]:
    """Returns what the intervals of a result cannot show with few seeds, why one may be narrower, and what a group is.

    Args:
        result: As in result.json.

    Returns:
        At most three lines; none for a smoke run or a single seed.
    """
    n, kind = len(result["seeds"]), "folds" if result.get("n_folds") else "seeds"
    overs, lines = _overs(result), []
    if result.get("n_groups") and {"examples", "seeds and examples"} & {*overs}:
        lines.append(
            "A group is all test examples that belong together, such as those of one patient or of one stretch of time: they "
            "vary together, so the intervals count groups."
        )
    if n == 1 or not overs:
        return lines
    if n < statistics.FEWEST_SEEDS:
        amount = "almost nothing" if n == 2 else "little"
        lines.append(
            f"{n} {kind} show {amount} of the spread over {kind}: an interval over them is so wide that it may extend "
            f"beyond the possible values of its metric. Pass --{kind} {statistics.FEWEST_SEEDS} or more."
        )
    pairs = [intervals_of(entry.summary) for entry in entries(result)]
    widths = [[_width(pair.get(over)) for over in ("seeds and examples", "seeds")] for pair in pairs]
    if any(both < alone for both, alone in widths):
        lines.append(
            f"An interval over seeds and examples can be narrower than over seeds alone: the examples add to the {n - 1} "
            f"degree{'s' if n > 2 else ''} of freedom that {n} seeds leave Student's t."
        )
    return lines


def _width(ends: Sequence[float | None] | None) -> float:
    """Returns the width of an interval; nan without one."""
    low, high = ends or (None, None)
    return math.nan if low is None or high is None else high - low


def compared_line(result: dict[str, Any]) -> str:
    """Returns what the tables of compared runs mean, from the result of one of them."""
    if result.get("smoke"):
        return SMOKE
    return (
        "p: p-value of no difference, paired as its column says, adjusted by Holm's method for all differences of its "
        f"table; undecided with fewer than {statistics.FEWEST_SEEDS} pairs of seeds or folds, blank where no seed varies"
    )


def reads_line(n_reads: int | None, folders: Sequence[str], *, part: str = "this test part") -> str | None:
    """Returns how many runs have read a test part, and what that means; None if one run, or if unknown.

    Args:
        n_reads: The number of runs.
        folders: The folders of the runs.
        part: The name of the test part.
    """
    if (n_reads or 0) < 2:
        return None
    where = " and ".join(f"{folder.rstrip('/')}/" for folder in folders)
    what = "choosing the best of them by these results overestimates it"
    return f"{part} has been read by {n_reads} runs in {where}: {what}"


def gain_line(gain: dict[str, Any]) -> str:
    """Returns the gain over the baseline with its interval."""
    low, high = (math.nan if end is None else end for end in gain["ci95"])
    mean, *_ = statistics.estimate_texts(gain["mean"], low, high, is_signed=True)
    paired = "paired by seed and example" if gain.get("over") == "seeds and examples" else "paired by seed"
    return f"{gain['metric']} {mean} over the baseline ({confidence_text(*gain['ci95'])}, {paired})"


def majority_line(result: dict[str, Any]) -> str | None:
    """Returns the accuracy of always predicting the most frequent class, or why a private run has none.

    It is None without an accuracy to compare it with.

    Example:
        >>> majority_line({"metrics": {"test/accuracy": {}}, "majority": {"class": "yes", "accuracy": 0.6123}})
        'always the most frequent class (yes): accuracy 0.6123'
    """
    majority = result.get("majority")
    if "test/accuracy" not in result["metrics"]:
        return None
    if majority is None and "privacy" in result:
        return "always the most frequent class: no accuracy, since which class that is would reveal private training examples"
    if majority is None:
        return None
    named = "" if majority["class"] is None else f" ({printable(majority['class'])})"
    return f"always the most frequent class{named}: accuracy {majority['accuracy']:.4g}"


def seconds_line(result: dict[str, Any]) -> str:
    """Returns a line with the seconds of each stage and the speed of training."""
    parts = [f"{stage} {seconds:.2f} s" for stage, seconds in result["seconds"].items()]
    is_measured = result["seconds"].get("train", 0) >= FEWEST_SECONDS
    if is_measured and result["examples_per_second"]:  # 0 if a resumed run had no steps left
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
    return "round", "tried", "best of the round", f"selection {metric}", "95 % interval"


def round_rows(
    rounds: list[dict[str, Any]], metric: str, *, baseline: dict[str, Any], chosen: dict[str, Any]
) -> list[tuple[str, ...]]:
    """Returns a row for each round of ``study.json``: what was tried, the best settings, their metric on selection data.

    Args:
        rounds: As recorded.
        metric: The metric by which settings were compared.
        baseline: The settings from which differences are shown.
        chosen: The settings of the conclusion, marked in the first round that they were the best of.
    """
    rows = []
    for place, one in enumerate(rounds, start=1):
        settings = [trial["hyperparameters"] for trial in one["trials"]]
        best = int(np.argmax([-np.inf if score is None else score for score in one["scores"]]))
        summary = statistics.summary(np.array(one["trials"][best]["metrics"][metric], np.float64))
        changes = as_words({name: value for name, value in settings[best].items() if value != baseline.get(name)})
        n_diverged = sum(trial["diverged"] for trial in one["trials"])
        counts = [f"{len(settings)} settings"] * (len(settings) > 1) + [f"{n_diverged} diverged"] * (n_diverged > 0)
        tried = f"{one['why']} ({', '.join(counts)})" if counts else one["why"]
        missing = "diverged" if one["trials"][best]["diverged"] else "undefined"
        texts = mean_text(summary["mean"], summary["ci95"], missing=missing), interval_text(*summary["ci95"])
        is_chosen = settings[best] == chosen and not any(" (chosen)" in row[2] for row in rows)
        rows.append((str(place), tried, (changes or "baseline") + " (chosen)" * is_chosen, *texts))
    return rows


def as_words(values: dict[str, Any]) -> str:
    """Returns fields and their values as typed on the command line."""
    return " ".join(words_of(values))


def _names(length: int, class_names: Sequence[str]) -> Sequence[str]:
    """Returns a name for each entry of an axis: the class if there is one for each, else the index."""
    return class_names if len(class_names) == length else [str(i) for i in range(length)]


def _cell(value: float | None) -> str:
    """Returns an entry of a matrix with four significant digits, or as an integer if it is larger."""
    return mean_text(value) if value is None else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"

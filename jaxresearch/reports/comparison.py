"""Several runs side by side: the settings that differ, each metric, and differences paired by seed or fold."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import statistics
from jaxresearch.records.commands import value_text
from jaxresearch.records.reads import recorded_test_part
from jaxresearch.records.recorded import Recorded
from jaxresearch.reports import wording
from jaxresearch.reports.groups import Group, grouped
from jaxresearch.reports.schema import epsilon_texts
from jaxresearch.reports.wording import Entry


class Figure(NamedTuple):
    """A scalar metric, one entry of a vector metric or the privacy of the runs, as a table of text with a row per run."""

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]


class Comparison(NamedTuple):
    """Tables of text with a row per run: the settings that differ, and each scalar metric or entry of a vector metric.

    ``runs`` are all runs; those that differ only in their seeds share a row, whose name joins theirs with a plus.

    ``notes`` has a line for every metric that is not compared, with the reason. ``privacy`` has the epsilon of each run; None
    if no run is private.
    """

    runs: tuple[Recorded, ...]
    different: tuple[str, ...]
    settings: list[tuple[str, ...]]
    figures: dict[str, Figure]
    notes: tuple[str, ...]
    privacy: Figure | None


# Entries of config.json that change no number, are compared elsewhere, or say where the data, which is compared, came from.
_NOT_COMPARED = (
    *("save_every", "encrypt_with", "track", "fail_fast", "seeds", "study", "seal", "folder", "claim"),
    *("experiment", "hyperparameters", "data_card", "parts", "source", "folds", "evaluate_every"),
    *("data", "test", "privacy"),
)
_OFF_BY_NONE = ("private", "mesh", "init_from", "types")  # options that a run without them has none of


def compare(runs: tuple[Recorded, ...], *, margin: float | None = None) -> Comparison:
    """Returns the comparison of two or more runs; those that differ only in their seeds are pooled into one row.

    Differences are paired by seed, and by example if both runs recorded the influences of examples. They are undefined for a
    run with a seed that diverged. There is no p-value with fewer than five pairs of seeds or folds: over seeds and examples, many
    examples would make it tiny where two seeds happen to agree.

    Args:
        runs: The runs; all others are compared with the first.
        margin: The largest negligible difference: one whose interval lies within it counts as equivalent.

    Raises:
        ValueError: If the runs differ in data or folds, some are smoke runs, or they have no metric in common.
    """
    _require_comparable(runs)
    chosen = [{"experiment": run.result["experiment"], **_asked(run), **run.hyperparameters} for run in runs]
    names = dict.fromkeys(name for one in chosen for name in one)
    different = tuple(name for name in names if any(one.get(name) != chosen[0].get(name) for one in chosen))
    groups = grouped(runs, chosen)
    missing = {name: "none" if name in _OFF_BY_NONE else "not given" for run in runs for name in _asked(run)}
    settings = [
        (str(group.run.path), *(value_text(one.get(name, missing.get(name, ""))) for name in different))
        for group, one in groups
    ]
    figures = _figures([group for group, _ in groups], margin)
    return Comparison(runs, different, settings, figures, tuple(_notes(runs)), _privacy(runs))


def _privacy(runs: tuple[Recorded, ...]) -> Figure | None:
    """Returns the epsilon of each run alone and of all its seeds and settings together; None if no run is private."""
    # A study adds up its runs at its end, in its result.
    stated = [run.result.get("privacy") or run.config.get("privacy") for run in runs]
    if not any(stated):
        return None
    rows = [
        (str(run.path), *(epsilon_texts(one) if one else ("not private", "", "")))
        for run, one in zip(runs, stated, strict=True)
    ]
    return Figure(("run", "epsilon of one run, at delta", "epsilon of all its runs, at delta", "for"), rows)


def _require_comparable(runs: tuple[Recorded, ...]) -> None:
    """Raises if metrics of the same name do not measure the same thing."""
    first = runs[0]
    for run in runs[1:]:
        if run.result["smoke"] != first.result["smoke"]:
            raise ValueError(f"runs must be all full or all --smoke runs, got {first.path} and {run.path}. Rerun one.")
        folds = [one.result.get("n_folds", 0) for one in (first, run)]
        if folds[0] != folds[1]:  # otherwise fold i would be paired with seed i, which has other test examples
            raise ValueError(
                f"runs must have the same number of folds, got {folds[0]} in {first.path} and {folds[1]} in {run.path}. "
                "Rerun one with the same --folds."
            )
        other = [what for what, value in _data(run).items() if value != _data(first)[what]]
        if other:
            names = [one.config["data_card"]["name"] for one in (first, run)]
            raise ValueError(
                f"runs must be of the same data, got {names[0]} in {first.path} and {names[1]} in {run.path}, which differ in "
                f"{', '.join(other)}. {_same_data(first, run)}"
            )
    if not _shared(runs):
        raise ValueError(
            f"runs must have a metric in common, got none of {', '.join(first.result['metrics'])} of {first.path} in all. "
            "Leave the others out."
        )


def _same_data(first: Recorded, run: Recorded) -> str:
    """Returns the remedy for runs of different data: if one alone is split by group, the other can be as well."""
    split = {one.path: one.config["data_card"].get("split", {}) for one in (first, run)}
    columns = {path: rule.get("column") for path, rule in split.items() if rule.get("by") == "group"}
    names = {one.config["data_card"]["name"] for one in (first, run)}
    if len(columns) != 1 or len(names) != 1:
        return "Runs of different data cannot be compared."
    ((path, column),) = columns.items()
    other = first.path if path == run.path else run.path
    return f"{path} keeps whole groups of {column} in one part: rerun {other} with --group {column}."


def _asked(run: Recorded) -> dict[str, Any]:
    """Returns what else changes the numbers of a run: options that were given, and the devices and settings of JAX."""
    config = {"on_nonfinite": "stop", **run.config}  # a study and earlier versions do not record it
    asked = {name: value for name, value in config.items() if name not in _NOT_COMPARED and value}
    if config.get("validation", "") is not None:
        asked["evaluate_every"] = config.get("evaluate_every")  # 0 is once per epoch
    asked |= {"devices": len(run.environment.get("devices", ())) or None, **run.environment.get("jax", {})}
    return {name: value for name, value in asked.items() if value is not None}


def _data(run: Recorded) -> dict[str, Any]:
    """Returns the identity of the data; custom data may have no digest."""
    card = run.config["data_card"]
    named = {name: card[name] for name in ("sha256", "name", "class_names", "feature_shape")}
    named |= {"target": run.config.get("target"), "resplit": run.config.get("resplit", False)}
    if named["resplit"]:
        named |= {name: run.result.get(name) for name in ("n_train", "n_test")}
    return {**named, "test part": recorded_test_part(run.result, run.config)}


def _shared(runs: tuple[Recorded, ...]) -> list[str]:
    """Returns the metrics that all runs report, of the same shape."""
    return [name for name in runs[0].result["metrics"] if len(set(_shapes(name, runs))) == 1]


def _shapes(metric: str, runs: tuple[Recorded, ...]) -> list[tuple[int, ...] | None]:
    """Returns the shape of a metric in each run, None if it is not reported."""
    summaries = [run.result["metrics"].get(metric) for run in runs]
    return [None if summary is None else wording.shape_of(summary) for summary in summaries]


def _notes(runs: tuple[Recorded, ...]) -> Iterator[str]:
    """Yields a line for each metric that is not compared."""
    for metric in dict.fromkeys(name for run in runs for name in run.result["metrics"]):
        shapes = _shapes(metric, runs)
        if None in shapes:
            having = [str(run.path) for run, shape in zip(runs, shapes, strict=True) if shape is not None]
            yield f"{metric} is not compared: reported by {', '.join(having)} only"
        elif len(set(shapes)) > 1:
            yield f"{metric} is not compared: its shapes are {', '.join(map(str, shapes))}"
        elif len(shapes[0] or ()) > 1:
            yield f"{metric} is not compared: a matrix of {wording.shape_text(shapes[0] or ())}, recorded in result.json"


def _figures(groups: list[Group], margin: float | None) -> dict[str, Figure]:
    """Returns the table of each scalar and each entry of a vector that all runs report, by name."""
    runs = tuple(group.run for group in groups)
    shared = _shared(runs)
    of_runs = [{entry.name: entry for entry in wording.entries(run.result, run.class_names)} for run in runs]
    examples = {group.run.path: group.examples for group in groups}
    return {
        name: _figure(
            entry, [(run, of_run[name].summary) for run, of_run in zip(runs, of_runs, strict=True)], examples, margin
        )
        for name, entry in of_runs[0].items()
        if entry.metric in shared
    }


def _figure(
    entry: Entry, runs: list[tuple[Recorded, dict[str, Any]]], examples: dict[Path, Any], margin: float | None
) -> Figure:
    """Returns the table of one scalar: each run with its summary, and its difference from the first."""
    differences = [_difference(entry, runs[0][0], run, examples) for run, _ in runs[1:]]
    decided = [found.p if n >= statistics.FEWEST_SEEDS else math.nan for found, n in differences if found is not None]
    adjusted = statistics.holm(decided)
    overs = [[*wording.intervals_of(summary)][-1] for _, summary in runs]
    is_one = len(set(overs)) == 1
    interval = f"95 % interval over {_over(overs[0], runs[0][0])}" if is_one else "95 % interval"
    named = {found.over for found, _ in differences if found is not None}
    by = f" by {_PAIRED[one]}" if len(named) == 1 and (one := next(iter(named))) else ""
    if runs[0][0].result.get("smoke"):
        rows = [(str(run.path), wording.mean_text(summary["mean"])) for run, summary in runs]
        return Figure(("run", "mean"), rows)
    headings = (
        "run",
        "mean",
        interval,
        "n",
        "difference from the first",
        f"95 % interval, paired{by}",
        f"p (Holm), paired{by}",
    )
    rows, p_values = [], iter(adjusted)
    for place, ((run, summary), over) in enumerate(zip(runs, overs, strict=True)):
        mean, ends, n = wording.summary_row(summary, over)
        shown = ends if is_one or not ends else f"{ends} (over {_over(over, run)})"
        found, n_pairs = differences[place - 1] if place else (None, 0)
        of_difference = _texts(found, n_pairs, (n, rows[0][3]), p_values) if place else ("",) * 3
        rows.append((str(run.path), mean, shown, n, *of_difference))
    if margin is None:
        return Figure(headings, rows)
    within = ["", *(_within(found, n_pairs, margin) for found, n_pairs in differences)]
    return Figure((*headings, f"within {margin:g}"), [(*row, word) for row, word in zip(rows, within, strict=True)])


_PAIRED = {"seeds": "seed", "seeds and examples": "seed and example", "folds": "fold", "splits": "split"}


def _over(over: str, run: Recorded) -> str:
    """Returns what an interval is over: seeds, folds ..."""
    return "folds" if run.result.get("n_folds") else over


def _texts(
    found: statistics.Difference | None, n_pairs: int, of: tuple[str, str], adjusted: Iterator[float]
) -> tuple[str, str, str]:
    """Returns a difference, its interval and adjusted p-value, and the number of pairs if one of the runs has more seeds."""
    if found is None:
        return "no seed in common", "", ""
    p = next(adjusted)
    if math.isnan(found.mean):
        return "undefined", "undefined", ""
    mean, *_ = statistics.estimate_texts(*found[:3], is_signed=True)
    ends = "single seed" if n_pairs == 1 else wording.interval_text(found.low, found.high, is_signed=True)
    more = [n for n in of if n != str(n_pairs)]
    few = f" ({n_pairs} of {more[0]} seeds)" if more else ""
    too_few = n_pairs < statistics.FEWEST_SEEDS and not math.isnan(found.p)
    return f"{mean}{few}", ends, "undecided" if too_few else statistics.p_text(p)


def _within(found: statistics.Difference | None, n_pairs: int, margin: float) -> str:
    """Returns whether a difference is negligible; undecided with too few pairs."""
    if found is None or math.isnan(found.low):
        return ""
    if n_pairs < statistics.FEWEST_SEEDS:
        return "undecided"
    if -margin <= found.low and found.high <= margin:
        return "equivalent"
    return "different" if found.low > margin or found.high < -margin else "undecided"


def _difference(
    entry: Entry, first: Recorded, run: Recorded, examples: dict[Path, Any]
) -> tuple[statistics.Difference | None, int]:
    """Returns the mean difference of a run from the first and the number of pairs; None without a seed in common.

    It is over seeds and examples if both runs recorded influences and have enough seeds, else over seeds.
    """
    of_first, of_run = (one.values(entry.metric, *entry.place) for one in (first, run))
    common = [seed for seed in of_first if seed in of_run]
    if not common:
        return None, 0
    values = [[one[seed] for seed in common] for one in (of_run, of_first)]
    if first.result.get("n_folds"):
        return statistics.difference(*values, over="folds"), len(common)
    if first.result.get("resplit"):
        ratio = sum(first.result["n_test"]) / sum(first.result["n_train"])
        return statistics.difference(*values, over="splits", ratio=ratio), len(common)
    held = [] if entry.place else [_influences(examples[one.path], entry.metric, common) for one in (run, first)]
    rows = [examples[one.path].get("rows") for one in (run, first)]
    if len(common) < 2 or len(held) < 2 or any(one is None for one in held) or not np.array_equal(*rows):
        return statistics.difference(*values), len(common)
    groups = examples[first.path].get("groups")
    return statistics.difference(*values, *held, over="seeds and examples", groups=groups), len(common)


def _influences(held: dict[str, Any], metric: str, seeds: list[int]) -> Any:
    """Returns the influences of examples on a metric for these seeds, ``(seeds, examples)``; None if not recorded."""
    if metric not in held or not {*seeds} <= {*held["seeds"].tolist()}:
        return None
    places = {seed: place for place, seed in enumerate(held["seeds"].tolist())}
    return held[metric][[places[seed] for seed in seeds]]

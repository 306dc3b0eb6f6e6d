"""Several runs side by side: the settings that differ, each metric, and differences paired by seed or fold."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from jaxresearch import statistics
from jaxresearch.records.recorded import Recorded
from jaxresearch.reports import wording
from jaxresearch.reports.wording import Entry

FIGURE_HEADINGS = ("run", "mean", "95 % interval", "n", "difference from the first", "95 % interval", "pairs")


class Comparison(NamedTuple):
    """Tables of text with a row per run: the settings that differ, and each scalar metric or entry of a vector metric.

    ``notes`` names every metric that is not compared, and why.
    """

    runs: tuple[Recorded, ...]
    different: tuple[str, ...]
    settings: list[tuple[str, ...]]
    figures: dict[str, list[tuple[str, ...]]]
    notes: tuple[str, ...]


def compare(runs: tuple[Recorded, ...]) -> Comparison:
    """Returns the comparison of two or more runs.

    Args:
        runs: The others are compared with the first.

    Raises:
        ValueError: If the runs differ in data or folds, some are smoke runs, or they have no metric in common.
    """
    _require_comparable(runs)
    chosen = [{"experiment": run.result["experiment"], **_asked(run), **run.hyperparameters} for run in runs]
    names = dict.fromkeys(name for one in chosen for name in one)
    different = tuple(name for name in names if any(one.get(name) != chosen[0].get(name) for one in chosen))
    settings = [
        (str(run.path), *(str(one.get(name, "")) for name in different)) for run, one in zip(runs, chosen, strict=True)
    ]
    return Comparison(runs, different, settings, _figures(runs), tuple(_notes(runs)))


def _require_comparable(runs: tuple[Recorded, ...]) -> None:
    """Raises where metrics of the same name do not measure the same thing."""
    first = runs[0]
    for run in runs[1:]:
        other = [what for what, value in _data(run).items() if value != _data(first)[what]]
        if other:
            names = [one.config["data_card"]["name"] for one in (first, run)]
            raise ValueError(
                f"runs must be of the same data to be compared; {first.path} is of {names[0]}, {run.path} of {names[1]}: "
                f"they differ in {', '.join(other)}."
            )
        if run.result["smoke"] != first.result["smoke"]:
            raise ValueError(f"runs must all be complete, or all --smoke; {first.path} and {run.path} differ.")
        folds = [one.result.get("n_folds", 0) for one in (first, run)]
        if folds[0] != folds[1]:  # fold i would be paired with seed i, which is tested on other examples
            raise ValueError(
                f"runs must have the same number of folds; {first.path} has n_folds {folds[0]}, {run.path} {folds[1]}. "
                "Rerun one with the same --folds."
            )
    if not _shared(runs):
        raise ValueError(
            f"runs must have a metric in common; those of {first.path} are {', '.join(first.result['metrics'])}."
        )


def _asked(run: Recorded) -> dict[str, Any]:
    """Returns the options of a run that change what is trained, besides its hyperparameters."""
    asked = {name: run.config.get(name) for name in ("train_examples", "init_from", "validation")}
    return {name: value for name, value in asked.items() if value is not None}


def _data(run: Recorded) -> dict[str, Any]:
    """Returns what identifies the data; custom data may have no digest."""
    card = run.config["data_card"]
    named = {name: card[name] for name in ("sha256", "name", "class_names", "feature_shape")}
    return {**named, "target": run.config.get("target"), "resplit": run.config.get("resplit", False)}


def _shared(runs: tuple[Recorded, ...]) -> list[str]:
    """Returns the metrics that all runs report, of the same shape."""
    return [name for name in runs[0].result["metrics"] if len(set(_shapes(name, runs))) == 1]


def _shapes(metric: str, runs: tuple[Recorded, ...]) -> list[tuple[int, ...] | None]:
    """Returns the shape of a metric in each run, None where it is not reported."""
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


def _figures(runs: tuple[Recorded, ...]) -> dict[str, list[tuple[str, ...]]]:
    """Returns the rows of each scalar that all runs report, entries of vectors among them, by name."""
    shared = _shared(runs)
    of_runs = [{entry.name: entry for entry in wording.entries(run.result, run.class_names)} for run in runs]
    return {
        name: _rows(entry, [(run, of_run[name].summary) for run, of_run in zip(runs, of_runs, strict=True)])
        for name, entry in of_runs[0].items()
        if entry.metric in shared
    }


def _rows(entry: Entry, runs: list[tuple[Recorded, dict[str, Any]]]) -> list[tuple[str, ...]]:
    """Returns the rows of one scalar: each run with its summary, and its difference from the first."""
    rows, first = [], runs[0][0].values(entry.metric, *entry.place)
    for place, (run, summary) in enumerate(runs):
        of_run = run.values(entry.metric, *entry.place)
        difference = _difference(of_run, first) if place else ("", "", "")
        rows.append((str(run.path), *wording.summary_row(summary), *difference))
    return rows


def _difference(values: dict[int, Any], first: dict[int, Any]) -> tuple[str, str, str]:
    """Returns the mean difference paired by seed, its interval and the number of pairs."""
    common = [seed for seed in first if seed in values]
    if not common:
        return "no seed in common", "", ""
    difference = statistics.paired_difference([values[seed] for seed in common], [first[seed] for seed in common])
    ends = f"{difference.low:+.4f} to {difference.high:+.4f}" if len(common) > 1 else "single seed"
    return f"{difference.mean:+.4f}", ends, str(len(common))

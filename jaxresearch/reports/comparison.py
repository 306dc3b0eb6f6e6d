"""Several runs side by side: the settings that differ, each metric, and the differences in pairs of the same seed or fold."""

from typing import Any, NamedTuple

from jaxresearch import statistics
from jaxresearch.records.recorded import Recorded
from jaxresearch.reports import wording

FIGURE_HEADINGS = ("run", "mean", "95 % interval", "n", "minus the first, in pairs", "95 % interval", "pairs")


class Comparison(NamedTuple):
    """Tables of text, a row a run: names of the settings that differ with their rows, and the rows of each metric."""

    runs: tuple[Recorded, ...]
    different: tuple[str, ...]
    settings: list[tuple[str, ...]]
    figures: dict[str, list[tuple[str, ...]]]


def compare(runs: tuple[Recorded, ...]) -> Comparison:
    """Returns the comparison of two runs or more.

    Args:
        runs: The first is the one that the others are compared with.

    Raises:
        ValueError: If the runs are of other data or folds, are not all whole, or have no metric in common.
    """
    _require_comparable(runs)
    chosen = [{"experiment": run.result["experiment"], **_asked(run), **run.hyperparameters} for run in runs]
    names = dict.fromkeys(name for one in chosen for name in one)
    different = tuple(name for name in names if any(one.get(name) != chosen[0].get(name) for one in chosen))
    settings = [
        (str(run.path), *(str(one.get(name, "")) for name in different)) for run, one in zip(runs, chosen, strict=True)
    ]
    return Comparison(runs, different, settings, {name: _figures(name, runs) for name in _shared(runs)})


def _require_comparable(runs: tuple[Recorded, ...]) -> None:
    """Raises where figures of one name are not of one thing."""
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
            raise ValueError(f"runs must all be whole, or all --smoke; {first.path} and {run.path} are not alike.")
        folds = [one.result.get("n_folds", 0) for one in (first, run)]
        if folds[0] != folds[1]:  # else fold i would be paired with seed i, which is tested on other examples
            raise ValueError(
                f"runs must all be of seeds, or of as many folds; {first.path} has n_folds {folds[0]}, {run.path} {folds[1]}. "
                "Run it again with the same --folds."
            )
    if not _shared(runs):
        raise ValueError(
            f"runs must report a metric in common; those of {first.path} are {', '.join(first.result['metrics'])}."
        )


def _asked(run: Recorded) -> dict[str, Any]:
    """Returns what a run was asked for besides its hyperparameters, where it was."""
    asked = {name: run.config.get(name) for name in ("train_examples", "init_from")}
    return {name: value for name, value in asked.items() if value is not None}


def _data(run: Recorded) -> dict[str, Any]:
    """Returns what tells data of one kind from another; data of one's own may have no digest."""
    card = run.config["data_card"]
    named = {name: card[name] for name in ("sha256", "name", "class_names", "feature_shape")}
    return {**named, "target": run.config.get("target")}


def _shared(runs: tuple[Recorded, ...]) -> list[str]:
    """Returns the metrics that all runs report."""
    return [name for name in runs[0].result["metrics"] if all(name in run.result["metrics"] for run in runs)]


def _figures(name: str, runs: tuple[Recorded, ...]) -> list[tuple[str, ...]]:
    """Returns the rows of one metric: each run, and how far it lies above the first one."""
    first, rows = runs[0].values(name), []
    for run in runs:
        row = (str(run.path), *wording.summary_row(run.result["metrics"][name]))
        rows.append((*row, *(_difference(run.values(name), first) if run is not runs[0] else ("", "", ""))))
    return rows


def _difference(values: dict[int, Any], first: dict[int, Any]) -> tuple[str, str, str]:
    """Returns the mean difference in pairs of the same seed, its interval and the number of pairs."""
    common = [seed for seed in first if seed in values]
    if not common:
        return "no seed in common", "", ""
    difference = statistics.paired_difference([values[seed] for seed in common], [first[seed] for seed in common])
    ends = f"{difference.low:+.4f} to {difference.high:+.4f}" if len(common) > 1 else "single seed"
    return f"{difference.mean:+.4f}", ends, str(len(common))

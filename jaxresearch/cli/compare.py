"""``jaxresearch compare DIR DIR...``: figures of several runs side by side, and their differences in pairs of the same seed."""

from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from jaxresearch import statistics
from jaxresearch.cli import display
from jaxresearch.cli.options import UsageError
from jaxresearch.cli.resume import result_in
from jaxresearch.cli.run import told

_FEWEST = 2


class _Run(NamedTuple):
    """A run that has ended: where it lies, what it was asked, what came out, with which seeds."""

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    seeds: list[int]


def compare(paths: list[Path]) -> int:
    """Carries out ``jaxresearch compare DIR DIR...``; returns the exit code."""
    try:
        if len(set(paths)) < max(_FEWEST, len(paths)):
            raise UsageError(f"directories must be two or more, each named once; got {' '.join(map(str, paths))}.")
        runs = [_read(path) for path in paths]
        _require_comparable(runs)
        tables = [_settings(runs), *(_figures(name, runs) for name in _shared(runs))]
    except Exception as error:
        return told(error, str(paths[0]), code=2)
    console = display.console()
    for table in filter(None, tables):
        console.print(table)
    return 0


def _read(path: Path) -> _Run:
    """Returns a run or study that has ended."""
    config, result = result_in(path)
    return _Run(path, config, result, result.get("seeds") or list(range(result["n_seeds"])))


def _require_comparable(runs: list[_Run]) -> None:
    """Raises where figures of one name are not of one thing."""
    first = runs[0]
    for run in runs[1:]:
        if run.config["data_card"]["sha256"] != first.config["data_card"]["sha256"]:
            raise UsageError(
                f"runs must be of the same data to be compared; {first.path} is of {first.config['data_card']['name']}, "
                f"{run.path} of {run.config['data_card']['name']}, with other digests."
            )
        if run.result["smoke"] != first.result["smoke"]:
            raise UsageError(f"runs must all be whole, or all --smoke; {first.path} and {run.path} are not alike.")
    if not _shared(runs):
        raise UsageError(
            f"runs must report a metric in common; those of {first.path} are {', '.join(first.result['metrics'])}."
        )


def _shared(runs: list[_Run]) -> list[str]:
    """Returns the metrics that all runs report."""
    return [name for name in runs[0].result["metrics"] if all(name in run.result["metrics"] for run in runs)]


def _settings(runs: list[_Run]) -> Table | None:
    """Returns the settings in which the runs differ, or None."""
    chosen = [
        {"experiment": run.result["experiment"], **(run.result.get("hyperparameters") or run.config["hyperparameters"])}
        for run in runs
    ]
    names = dict.fromkeys(name for one in chosen for name in one)
    different = [name for name in names if any(one.get(name) != chosen[0].get(name) for one in chosen)]
    if not different:
        return None
    table = Table("run", *different, title="settings that differ", title_justify="left", title_style="bold")
    for run, one in zip(runs, chosen, strict=True):
        table.add_row(str(run.path), *(str(one.get(name, "")) for name in different))
    return table


def _figures(name: str, runs: list[_Run]) -> Table:
    """Returns the table of one metric: each run, and how far it lies above the first one."""
    columns = ("run", "mean", "95 % interval", "n", "minus the first, by seed", "95 % interval", "pairs")
    table = Table(*columns, title=name, title_justify="left", title_style="bold")
    first = _values(name, runs[0])
    for run in runs:
        row = (str(run.path), *display.summary_row(run.result["metrics"][name]))
        values = _values(name, run)
        common = [seed for seed in first if seed in values]
        if run is runs[0] or not common:
            table.add_row(*row, "" if run is runs[0] else "no seed in common", "", "")
            continue
        difference = statistics.paired_difference([values[seed] for seed in common], [first[seed] for seed in common])
        ends = f"{difference.low:+.4f} to {difference.high:+.4f}" if len(common) > 1 else "single seed"
        table.add_row(*row, f"{difference.mean:+.4f}", ends, str(len(common)))
    return table


def _values(name: str, run: _Run) -> dict[int, float]:
    """Returns a metric by seed; a seed that diverged has none."""
    values = run.result["metrics"][name]["values"]
    return {seed: value for seed, value in zip(run.seeds, values, strict=True) if value is not None}

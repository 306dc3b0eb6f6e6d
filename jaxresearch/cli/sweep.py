"""``jaxresearch sweep``: one experiment at many settings, compared on validation data."""

import warnings
from typing import Any

import numpy as np
from rich.table import Table

from jaxresearch import adjust, execution, records, statistics, studies
from jaxresearch import experiment as experiments
from jaxresearch.adjust import Trial
from jaxresearch.cli import display
from jaxresearch.cli.axes import parse_sweep
from jaxresearch.cli.options import as_words
from jaxresearch.cli.run import (
    collected_and_preprocessed,
    configure,
    held_out,
    named_directory,
    new_directory,
    shortened,
    told,
)


def sweep(name: str, words: list[str]) -> int:
    """Carries out ``jaxresearch sweep NAME WORDS...``; returns the exit code."""
    configure()
    try:
        experiment = experiments.load(name)
        options, axes = parse_sweep(experiment, words, prog=f"jaxresearch sweep {name}")
        options = shortened(options) if options.smoke else options
        settings = adjust.combinations(options.hyperparameters, axes)
        for setting in settings:
            experiments.check(setting)
        _, dataset = collected_and_preprocessed(experiment, options)
        dataset = held_out(dataset, settings)
        path = named_directory(options, name, kind="-sweep")
        directory = new_directory(path, {"experiment": name, "axes": axes}, options, dataset)
    except Exception as error:
        return told(error, name, code=2)
    try:
        with display.Display(display.console()) as shown:
            trials = execution.execute_all(
                experiment, settings, dataset, seeds=range(options.seeds), observe=shown.show
            )
    except BaseException as error:  # an interrupt too: a sweep that is not whole leaves nothing behind
        directory.discard()
        if not isinstance(error, Exception):
            raise
        return told(error, name, code=1)
    try:
        rows = [_row(trial, axes) for trial in trials]
        metric = experiment.claim.evaluated
        scores = [studies.score(experiment, trial) for trial in trials]
        best = int(np.argmax(scores)) if max(scores) > -np.inf else None
        directory.write("sweep.json", {"metric": f"validation/{metric}", "rows": rows, "best": best})
        directory.write_table("sweep.csv", rows)
    except Exception as error:
        return told(error, name, code=1)
    try:
        records.plot_sweep(directory.path / "sweep.png", rows, axes=axes, metric=metric)
    except Exception as error:  # the figures are on record: they are worth more than their picture
        warnings.warn(f"the picture of the sweep could not be made: {error}", stacklevel=2)
    console = display.console()
    console.print(_table(rows, axes, metric, best))
    for line in (
        f"validation data: {len(dataset.test['targets']):,} examples that no setting was trained on; the test part was not read",
        f"best: {as_words({name: rows[best][name] for name in axes})}"
        if best is not None
        else "best: none, every setting diverged",
        f"sweep directory: {directory.path}",
    ):
        console.print(line, soft_wrap=True, markup=False)
    return 0


def _row(trial: Trial, axes: dict[str, list[Any]]) -> dict[str, Any]:
    """Returns one line of the table: the swept fields, each metric with its interval over seeds."""
    row: dict[str, Any] = {name: getattr(trial.hyperparameters, name) for name in axes}
    for name, values in trial.metrics.items():
        summary = statistics.summary(values)
        row |= {name: summary["mean"], f"{name}_low": summary["ci95"][0], f"{name}_high": summary["ci95"][1]}
    return {**row, "n": len(next(iter(trial.metrics.values()))), "diverged": trial.diverged}


def _table(rows: list[dict[str, Any]], axes: dict[str, list[Any]], metric: str, best: int | None) -> Table:
    """Returns the settings with the metric of the claim."""
    table = Table(*axes, f"validation/{metric}", "95 % interval", "n", "")
    for place, row in enumerate(rows):
        missing = "single seed" if row["n"] == 1 else ""
        interval = display.interval_text(row[f"{metric}_low"], row[f"{metric}_high"], missing=missing)
        mark = "diverged" if row["diverged"] else "best" if place == best else ""
        table.add_row(
            *(_text(row[name]) for name in axes), display.mean_text(row[metric]), interval, str(row["n"]), mark
        )
    return table


def _text(value: Any) -> str:
    """Returns a value as it is written in a list."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)

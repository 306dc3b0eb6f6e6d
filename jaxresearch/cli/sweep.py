"""``jaxresearch sweep``: one experiment at many settings, compared on validation data."""

import dataclasses
from typing import Any

import numpy as np
from rich.table import Table

from jaxresearch import data, execution, records, statistics
from jaxresearch import experiment as experiments
from jaxresearch.adjust import Trial
from jaxresearch.cli import display
from jaxresearch.cli.axes import parse_sweep, settings_of
from jaxresearch.cli.run import collected_and_preprocessed, configure, named_directory, shortened, told
from jaxresearch.experiment import Experiment


def sweep(name: str, words: list[str]) -> int:
    """Carries out ``jaxresearch sweep NAME WORDS...``; returns the exit code."""
    configure()
    try:
        experiment = experiments.load(name)
        options, axes = parse_sweep(experiment, words, prog=f"jaxresearch sweep {name}")
        options = shortened(options) if options.smoke else options
        settings = settings_of(options.hyperparameters, axes)
        for setting in settings:
            experiments.check(setting)
        _, dataset = collected_and_preprocessed(experiment, options)
        dataset = data.development(dataset)
        for setting in settings:
            experiments.n_steps(setting, len(dataset.train["targets"]))
        directory = records.RunDirectory(named_directory(options, f"{name}-sweep"))
        config = {"experiment": name, **dataclasses.asdict(options), "axes": axes}
        directory.write("config.json", {**config, "data_card": dataclasses.asdict(dataset.card)})
        directory.write("environment.json", records.environment(seeds=list(range(options.seeds))))
    except Exception as error:
        return told(error, name, code=2)
    try:
        with display.Display(display.console()) as shown:
            trials = execution.execute_all(
                experiment, settings, dataset, seeds=range(options.seeds), observe=shown.show
            )
        rows = [_row(trial, axes) for trial in trials]
        metric = experiment.claim.metric.removeprefix("test/")
        best = _best(experiment, trials, metric)
        directory.write("sweep.json", {"metric": f"validation/{metric}", "rows": rows, "best": best})
        directory.write_table("sweep.csv", rows)
        records.plot_sweep(directory.path / "sweep.png", rows, axes=axes, metric=metric)
    except BaseException as error:  # an interrupt too: a sweep that is not whole leaves nothing behind
        directory.discard()
        if not isinstance(error, Exception):
            raise
        return told(error, name, code=1)
    console = display.console()
    console.print(_table(rows, axes, metric, best))
    for line in (
        f"validation data: {len(dataset.test['targets']):,} examples that no setting was trained on; the test part was not read",
        f"best: {_words(rows[best], axes)}" if best is not None else "best: none, every setting diverged",
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


def _best(experiment: Experiment, trials: list[Trial], metric: str) -> int | None:
    """Returns the place of the setting whose mean is best, in the sense of the claim; those that diverged come last."""
    sign = 1 if experiment.claim.at_least is not None else -1
    scores = [-np.inf if trial.diverged else sign * float(np.mean(trial.metrics[metric])) for trial in trials]
    scores = [score if np.isfinite(score) else -np.inf for score in scores]
    return int(np.argmax(scores)) if max(scores) > -np.inf else None


def _table(rows: list[dict[str, Any]], axes: dict[str, list[Any]], metric: str, best: int | None) -> Table:
    """Returns the settings with the metric of the claim."""
    table = Table(*axes, f"validation/{metric}", "95 % interval", "n", "")
    for place, row in enumerate(rows):
        low, high = row[f"{metric}_low"], row[f"{metric}_high"]
        interval = "single seed" if row["n"] == 1 else "" if low is None else f"{low:.4f} to {high:.4f}"
        mean = "not finite" if row[metric] is None else f"{row[metric]:.4f}"
        mark = "diverged" if row["diverged"] else "best" if place == best else ""
        table.add_row(*(_text(row[name]) for name in axes), mean, interval, str(row["n"]), mark)
    return table


def _words(row: dict[str, Any], axes: dict[str, list[Any]]) -> str:
    """Returns the swept fields as one would write them on the command line."""
    return " ".join(f"--{name.replace('_', '-')} {_text(row[name]).replace('x', ' ')}" for name in axes)


def _text(value: Any) -> str:
    """Returns a value as it is written in a list."""
    return (
        "x".join(map(str, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )

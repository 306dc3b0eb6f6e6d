"""``jaxresearch sweep``: one experiment with many settings, compared on data held out of the training part."""

import warnings
from typing import Any

import numpy as np

from jaxresearch import data, recording, records, statistics, studies
from jaxresearch.adjust import Trial
from jaxresearch.cli import display
from jaxresearch.cli.session import Session, carry_out
from jaxresearch.reports import plots, wording


def sweep(name: str, words: list[str], *, file: str | None = None) -> int:
    """Carries out ``jaxresearch sweep NAME WORDS...``, its experiment loaded from a file, if given; returns the exit code."""
    return carry_out("sweep", name, words, _work, file=file)


def _work(session: Session) -> None:
    """Trains all settings, writes the table and prints it."""
    job, axes = session.job, session.options.axes
    with display.Display(display.console()) as shown:
        trials = recording.train_all(
            session.directory,
            job.experiment,
            session.settings,
            job.dataset,
            session.recorder(shown.show),
            seeds=job.seeds,
            evaluate_every=job.evaluate_every,
        )
    rows = [_row(trial, axes) for trial in trials]
    objective = job.experiment.objective
    metric = _first_scalar(trials[0]) if objective is None else objective.metric
    scores = [-np.inf if objective is None else studies.score(job.experiment, trial) for trial in trials]
    best = int(np.argmax(scores)) if max(scores) > -np.inf else None
    unwritten = _write(session, rows, metric, best)
    console = display.console()
    headings = (*axes, f"validation/{metric}", "95 % interval", "n", "")
    display.print_table(console, headings, _cells(rows, axes, metric, best))
    n_examples = data.n_examples(job.dataset.test)
    chosen = (
        "not chosen, since the experiment declares neither a claim nor maximise or minimise"
        if objective is None
        else _why_none(rows, metric)
        if best is None
        else _words({name: rows[best][name] for name in axes})
    )
    for line in (
        f"compared on {n_examples:,} examples held out of the training part; the test part was not read",
        f"best: {chosen}",
        f"sweep directory: {session.path}",
    ):
        console.print(line, soft_wrap=True)
    if unwritten is not None:
        raise unwritten


def _write(session: Session, rows: list[dict[str, Any]], metric: str, best: int | None) -> OSError | None:
    """Writes the table and its plot; returns why the disk did not take them, if it did not."""
    try:
        session.directory.write("sweep.json", {"metric": f"validation/{metric}", "rows": rows, "best": best})
        try:
            plots.plot_sweep(session.path / "sweep.png", rows, axes=session.options.axes, metric=metric)
        except Exception as error:  # the numbers are worth more than their plot
            warnings.warn(f"the plot of the sweep failed: {error}", stacklevel=2)
        session.directory.write_table(records.SWEEP_TABLE, rows)  # last: the sweep has ended
    except OSError as error:
        return OSError(f"{error}; the table was printed only")
    return None


def _row(trial: Trial, axes: dict[str, list[Any]]) -> dict[str, Any]:
    """Returns one line of the table: the swept fields, and each scalar metric with its interval over seeds."""
    row: dict[str, Any] = {name: getattr(trial.hyperparameters, name) for name in axes}
    scalars = {name: values for name, values in trial.metrics.items() if np.ndim(values) == 1}
    for name, values in scalars.items():
        summary = statistics.summary(values)
        row |= {name: summary["mean"], f"{name}_low": summary["ci95"][0], f"{name}_high": summary["ci95"][1]}
    return {**row, "n": len(next(iter(scalars.values()))), "diverged": trial.diverged}


def _first_scalar(trial: Trial) -> str:
    """Returns the metric that is shown where the experiment does not say what settings are compared by."""
    return next(name for name, values in trial.metrics.items() if np.ndim(values) == 1)


def _cells(
    rows: list[dict[str, Any]], axes: dict[str, list[Any]], metric: str, best: int | None
) -> list[tuple[str, ...]]:
    """Returns the settings with the metric that they are compared by, as text."""
    lines = []
    for place, row in enumerate(rows):
        missing = "single seed" if row["n"] == 1 else ""
        interval = wording.interval_text(row[f"{metric}_low"], row[f"{metric}_high"], missing=missing)
        is_missing = row[metric] is None
        mark = "diverged" if row["diverged"] else "undefined" if is_missing else "best" if place == best else ""
        settings = [_text(row[name]) for name in axes]
        lines.append((*settings, wording.mean_text(row[metric], missing=""), interval, str(row["n"]), mark))
    return lines


def _why_none(rows: list[dict[str, Any]], metric: str) -> str:
    """Returns why no setting is the best."""
    if all(row["diverged"] for row in rows):
        return "none, since every setting diverged"
    others = " that did not diverge" if any(row["diverged"] for row in rows) else ""
    return f"none, since validation/{metric} is undefined for every setting{others}"


def _text(value: Any) -> str:
    """Returns a value as it is written in a list."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _words(values: dict[str, Any]) -> str:
    """Returns the settings as words of a command line."""
    return " ".join(records.words_of(values))

"""``jaxresearch sweep``: one experiment with many settings, compared on data held out of the training part."""

import dataclasses
import math
import warnings
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxresearch import data, recording, records, statistics, studies
from jaxresearch.adjust import Trial
from jaxresearch.cli import display
from jaxresearch.cli.session import Session, carry_out
from jaxresearch.experiment import Objective
from jaxresearch.reports import plots, wording
from jaxresearch.studies.comparison import Comparison, other_seeds

Row = dict[str, Any]


class Swept(NamedTuple):
    """The rows of a sweep, and of the plain settings with the same seeds and with others.

    ``best`` is the index of the best row, or None; ``comparison`` is None if the plain settings cannot be trained.
    """

    rows: list[Row]
    best: int | None
    references: dict[str, Row]
    comparison: Comparison | None


def sweep(name: str, words: list[str], *, file: str | None = None) -> int:
    """Carries out ``jaxresearch sweep NAME WORDS...``, its experiment loaded from a file, if given; returns the exit code."""
    return carry_out("sweep", name, words, _work, file=file)


def _work(session: Session) -> None:
    """Trains all settings, writes the table and prints it."""
    job, axes = session.job, session.options.axes
    trained, others, missing = [*session.settings], other_seeds(job.seeds), _why_no_plain(session)
    if missing is None:
        trained += [job.hyperparameters] * (2 - (job.hyperparameters in trained))  # with our seeds, then with others
    each = [job.seeds] * len(trained) if missing is not None else [*[job.seeds] * (len(trained) - 1), others]
    with display.Display(display.console()) as shown:
        made = recording.train_all(
            session.directory,
            job.experiment,
            trained,
            job.dataset,
            session.recorder(shown.show),
            seeds=each,
            evaluate_every=job.evaluate_every,
        )
    objective = job.experiment.objective
    metric = _first_scalar(made[0]) if objective is None else objective.metric
    swept = _swept(session, made, metric, has_plain=missing is None)
    unwritten = _write(session, swept, metric, others)
    console = display.console()
    headings = (*axes, f"validation/{metric}", "95 % interval", "over plain", "p (Holm)", "n", "")
    display.print_table(console, headings, _lines(swept, axes, metric))
    n_examples = data.n_examples(job.dataset.test)
    for line in (
        f"compared on {n_examples:,} examples held out of the training part; the test part was not read",
        f"noise floor: {_noise_text(swept, metric, others, missing)}",
        f"best: {_best_text(swept, axes, metric, objective)}",
        f"sweep directory: {session.path}",
    ):
        console.print(line, soft_wrap=True)
    if unwritten is not None:
        raise unwritten


def _write(session: Session, swept: Swept, metric: str, others: tuple[int, ...]) -> OSError | None:
    """Writes the table and its plot; returns the error of a failed write, or None."""
    axes = session.options.axes
    try:
        session.directory.write("sweep.json", _record(swept, metric, others))
        try:
            marks = _marks(swept, metric)
            plots.plot_sweep(session.path / "sweep.png", swept.rows, axes=axes, metric=metric, best=swept.best, **marks)
        except Exception as error:  # a failed plot must not lose the numbers
            warnings.warn(f"the plot of the sweep failed: {error}", stacklevel=2)
        session.directory.write_table(records.SWEEP_TABLE, swept.rows)  # last: the sweep has ended
    except OSError as error:
        return OSError(f"{error}; the table was printed only")
    return None


def _why_no_plain(session: Session) -> str | None:
    """Returns why the plain settings cannot be trained; None if they can."""
    plain = session.job.hyperparameters
    if jax.tree.structure(plain) == jax.tree.structure(session.settings[0]):  # these were checked before
        return None
    try:
        dataclasses.replace(session.job, hyperparameters=plain, collected=None).preflight()
    except ValueError as error:
        return str(error)
    return None


def _swept(session: Session, made: list[Trial], metric: str, *, has_plain: bool) -> Swept:
    """Returns the rows of all settings, with differences from the plain ones; the last trial has other seeds."""
    experiment, axes = session.job.experiment, session.options.axes
    trials, comparison = made[: len(session.settings)], None
    is_plain = [trial.hyperparameters == session.job.hyperparameters for trial in made]
    references = [made[is_plain.index(True)], made[-1]] if has_plain else []
    rows = [_row(trial, axes) for trial in trials]
    if references:
        comparison = studies.against_plain(trials, references[0], references[1], metric)
        for row, found, p in zip(rows, comparison.differences, comparison.p_values, strict=True):
            ends = {"difference": found.mean, "difference_low": found.low, "difference_high": found.high, "p": p}
            row |= {f"{metric}_{name}": None if math.isnan(value) else value for name, value in ends.items()}
    scores = [-np.inf if experiment.objective is None else studies.score(experiment, trial) for trial in trials]
    best = int(np.argmax(scores)) if max(scores) > -np.inf else None
    named: dict[str, Row] = dict(
        zip(("plain", "plain, other seeds"), (_row(trial, axes) for trial in references), strict=False)
    )
    return Swept(rows, best, named, comparison)


def _record(swept: Swept, metric: str, others: tuple[int, ...]) -> dict[str, Any]:
    """Returns ``sweep.json``."""
    plain, again = (swept.references.get(name) for name in ("plain", "plain, other seeds"))
    noise = None
    if swept.comparison is not None:
        found = swept.comparison
        noise = {"seeds": others, "difference": found.noise, "floor": found.floor, "n_differences": found.n_differences}
    record = {"metric": f"validation/{metric}", "rows": swept.rows, "best": swept.best}
    return {**record, "plain": plain, "plain_with_other_seeds": again, "noise": noise}


def _row(trial: Trial, axes: dict[str, list[Any]]) -> Row:
    """Returns one line of the table: the swept fields, and each scalar metric with its interval over seeds."""
    row: Row = {name: getattr(trial.hyperparameters, name) for name in axes}
    scalars = {name: values for name, values in trial.metrics.items() if np.ndim(values) == 1}
    for name, values in scalars.items():
        summary = statistics.summary(values)
        row |= {name: summary["mean"], f"{name}_low": summary["ci95"][0], f"{name}_high": summary["ci95"][1]}
    return {**row, "n": len(next(iter(scalars.values()))), "diverged": trial.diverged}


def _first_scalar(trial: Trial) -> str:
    """Returns the metric to show if the experiment declares none to compare settings by."""
    return next(name for name, values in trial.metrics.items() if np.ndim(values) == 1)


def _lines(swept: Swept, axes: dict[str, list[Any]], metric: str) -> list[tuple[str, ...]]:
    """Returns the settings and the plain ones, each with the metric of the comparison, as text."""
    plain = swept.references.get("plain", {})
    are_plain = [all(row[name] == plain.get(name) for name in axes) for row in swept.rows]
    lines = []
    for place, (row, is_plain) in enumerate(zip(swept.rows, are_plain, strict=True)):
        lines.append(_cells(row, axes, metric, ", ".join(["best"] * (place == swept.best) + ["plain"] * is_plain)))
    for name, row in swept.references.items():
        if name != "plain" or not any(are_plain):
            lines.append(_cells(row, axes, metric, name))
    return lines


def _cells(row: Row, axes: dict[str, list[Any]], metric: str, mark: str) -> tuple[str, ...]:
    """Returns one row of the table as strings."""
    interval = wording.interval_text(
        row[f"{metric}_low"], row[f"{metric}_high"], missing="single seed" if row["n"] == 1 else ""
    )
    difference, p = (row.get(f"{metric}_{name}") for name in ("difference", "p"))
    why = ["diverged"] if row["diverged"] else ["undefined"] if row[metric] is None else []
    return (
        *(_text(row[name]) for name in axes),
        wording.mean_text(row[metric], missing=""),
        interval,
        "" if difference is None else statistics.number_text(difference, is_signed=True),
        "" if p is None else statistics.p_text(p),
        str(row["n"]),
        ", ".join([*([mark] if mark else []), *why]),
    )


def _noise_text(swept: Swept, metric: str, others: tuple[int, ...], missing: str | None) -> str:
    """Returns a line on the differences due to seeds alone."""
    found = swept.comparison
    if found is None:
        return f"unknown, since the plain settings cannot be trained: {missing}"
    if math.isnan(found.noise):
        return f"unknown, since {metric} of the plain settings is undefined"
    noise = statistics.number_text(found.noise, is_signed=True)
    seeds = f"seed{'s' if len(others) > 1 else ''} {', '.join(map(str, others))}"
    with_others = f"with {seeds} the plain settings differ from themselves by {noise} {metric}"
    if math.isnan(found.floor):
        return f"unknown from a single seed; {with_others}"
    floor = statistics.number_text(found.floor)
    return (
        f"{floor} {metric}, which the largest of {found.n_differences} differences exceeds by seeds alone in at most 1 of 20 "
        f"sweeps if all settings vary over seeds as the plain ones do; {with_others}"
    )


def _best_text(swept: Swept, axes: dict[str, list[Any]], metric: str, objective: Objective | None) -> str:
    """Returns the best settings, their gain, and whether it is more than noise."""
    found = swept.comparison
    if objective is None:
        return "not chosen, since the experiment declares no claim, maximise or minimise"
    if swept.best is None:
        return _why_none(swept.rows, metric)
    row = swept.rows[swept.best]
    words, n = " ".join(records.words_of({name: row[name] for name in axes})), row["n"]
    if found is None or math.isnan(found.noise):
        return words
    difference = found.differences[swept.best]
    if math.isnan(difference.mean):
        return f"{words}, the plain settings themselves"
    mean, low, high = (statistics.number_text(value, is_signed=True) for value in difference[:3])
    gain = f"{words}, {mean} {metric} over the plain settings"
    if math.isnan(difference.low) or math.isnan(found.p_values[swept.best]):
        return f"{gain}: undecided, no interval is known"
    gain = f"{gain} (95 % interval {low} to {high}, paired by seed)"
    if n < statistics.FEWEST_SEEDS:
        return f"{gain}: undecided, fewer than {statistics.FEWEST_SEEDS} seeds decide nothing"
    p = f"p {statistics.p_text(found.p_values[swept.best])}, adjusted for {found.n_differences} settings"
    is_more = studies.is_more_than_noise(found, swept.best, higher=objective.higher)
    return f"{gain}: {'more than' if is_more else 'not distinguishable from'} noise ({p})"


def _marks(swept: Swept, metric: str) -> dict[str, Any]:
    """Returns the mean of the plain settings and the noise floor, where they are known."""
    plain = swept.references.get("plain", {}).get(metric)
    floor = None if swept.comparison is None or math.isnan(swept.comparison.floor) else swept.comparison.floor
    return {"plain": plain, "floor": floor}


def _why_none(rows: list[Row], metric: str) -> str:
    """Returns why there is no best setting."""
    if all(row["diverged"] for row in rows):
        return "none, since every setting diverged"
    others = " that did not diverge" if any(row["diverged"] for row in rows) else ""
    return f"none, since validation/{metric} is undefined for every setting{others}"


def _text(value: Any) -> str:
    """Returns a value as written in a list."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)

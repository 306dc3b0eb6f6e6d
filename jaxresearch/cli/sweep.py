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
from jaxresearch.cli.places import from_start
from jaxresearch.cli.session import Session, carry_out
from jaxresearch.cli.story import run_command
from jaxresearch.experiment import Objective
from jaxresearch.reports import plots, wording
from jaxresearch.studies.comparison import Comparison, other_seeds

Row = dict[str, Any]
# Summed in another order, equal float32 metrics differ by this fraction or less.
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


class Swept(NamedTuple):
    """The rows of a sweep, and of the baseline with the same seeds and with others.

    ``best`` is the index of the best row, or None. The rest is None if the baseline cannot be trained.
    """

    rows: list[Row]
    best: int | None
    baseline: Row | None
    again: Row | None
    comparison: Comparison | None


def sweep(name: str, words: list[str], *, file: str | None = None) -> int:
    """Carries out ``jaxresearch sweep NAME WORDS...``, its experiment loaded from a file, if given; returns the exit code."""
    return carry_out("sweep", name, words, _work, file=file)


def _work(session: Session) -> None:
    """Trains all settings, writes the table and prints it."""
    job, axes = session.job, session.options.axes
    trained, others, missing = [*session.settings], other_seeds(job.seeds), _why_no_baseline(session)
    if missing is None:
        trained += [job.hyperparameters] * (2 - (job.hyperparameters in trained))  # with our seeds, then with others
    each = [job.seeds] * len(trained) if missing is not None else [*[job.seeds] * (len(trained) - 1), others]
    with display.Display(display.console()) as shown:
        made = recording.train_all(
            session.directory,
            job.experiment,
            trained,
            job.dataset,
            session.recorder(shown.show, resuming=shown.resuming),
            seeds=each,
            evaluate_every=job.evaluate_every,
        )
    objective = job.experiment.objective
    metric = _first_scalar(made[0]) if objective is None else objective.metric
    swept = _swept(session, made, metric, has_baseline=missing is None)
    unwritten = _write(session, swept, metric, others)
    console = display.console()
    is_smoke = session.options.smoke
    display.print_table(console, *_table(console, swept, axes, metric, objective, is_smoke=is_smoke))
    is_own = session.loaded.collected.validation is not None
    n_examples = data.n_examples(job.dataset.test)
    selection = wording.selection_text(n_examples, is_own=is_own)
    unread = "; the test part was not read" if n_examples else ""
    n_seeds = f"{len(job.seeds)} seeds" if len(job.seeds) > 1 else "one seed"
    decided = (
        *_noise_lines(swept, metric, others, missing),
        f"best: {_best_text(swept, axes, metric, objective)}",
        *_next_lines(session, swept, metric, objective),
    )
    for line in (
        f"compared with {n_seeds} on {selection}{unread}",
        *((f"{wording.SMOKE} It uses at most 2 of the seeds.",) if is_smoke else decided),
        f"sweep directory: {from_start(session.path)}",
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
            objective = None if session.options.smoke else session.job.experiment.objective
            marks = _marks(swept, metric, objective)
            plots.plot_sweep(session.path / "sweep.png", swept.rows, axes=axes, metric=metric, **marks)
        except Exception as error:  # a failed plot must not lose the numbers
            warnings.warn(f"the plot of the sweep failed: {error}", stacklevel=2)
        session.directory.write_table(records.SWEEP_TABLE, _with_baseline(swept, axes))  # last: the sweep has ended
    except OSError as error:
        return OSError(f"{error}; the table was printed only")
    return None


def _with_baseline(swept: Swept, axes: dict[str, list[Any]]) -> list[Row]:
    """Returns the rows of all settings and of the baseline, which is marked, with the same keys."""
    baseline = swept.baseline
    is_baseline = [baseline is not None and all(row[name] == baseline[name] for name in axes) for row in swept.rows]
    rows, blank = list(swept.rows), dict.fromkeys(swept.rows[0])
    if baseline is not None and not any(is_baseline):
        rows, is_baseline = [*rows, {**blank, **baseline}], [*is_baseline, True]
    return [{**row, "baseline": of} for row, of in zip(rows, is_baseline, strict=True)]


def _why_no_baseline(session: Session) -> str | None:
    """Returns why the baseline cannot be trained; None if they can."""
    baseline = session.job.hyperparameters
    if jax.tree.structure(baseline) == jax.tree.structure(session.settings[0]):  # these were checked before
        return None
    try:
        dataclasses.replace(session.job, hyperparameters=baseline, collected=None).preflight()
    except ValueError as error:
        return str(error)
    return None


def _swept(session: Session, made: list[Trial], metric: str, *, has_baseline: bool) -> Swept:
    """Returns the rows of all settings, with differences from the baseline; the last trial has other seeds."""
    experiment, axes = session.job.experiment, session.options.axes
    trials, comparison = made[: len(session.settings)], None
    is_baseline = [trial.hyperparameters == session.job.hyperparameters for trial in made]
    references = [made[is_baseline.index(True)], made[-1]] if has_baseline else []
    rows = [_row(trial, axes) for trial in trials]
    if references:
        comparison = studies.against_baseline(trials, references[0], references[1], metric)
        for row, found, p in zip(rows, comparison.differences, comparison.p_values, strict=True):
            ends = {"difference": found.mean, "difference_low": found.low, "difference_high": found.high, "p": p}
            row |= {f"{metric}_{name}": None if math.isnan(value) else value for name, value in ends.items()}
    scores = [-np.inf if experiment.objective is None else studies.score(experiment, trial) for trial in trials]
    best = int(np.argmax(scores)) if max(scores) > -np.inf else None
    baseline, again = (_row(trial, axes) for trial in references) if references else (None, None)
    return Swept(rows, best, baseline, again, comparison)


def _record(swept: Swept, metric: str, others: tuple[int, ...]) -> dict[str, Any]:
    """Returns ``sweep.json``."""
    noise = None
    if swept.comparison is not None:
        found = swept.comparison
        noise = {"seeds": others, "difference": found.noise, "floor": found.floor, "n_differences": found.n_differences}
    record = {"metric": f"validation/{metric}", "rows": swept.rows, "best": swept.best}
    return {**record, "plain": swept.baseline, "plain_with_other_seeds": swept.again, "noise": noise}


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


def _gaining(swept: Swept, metric: str, objective: Objective | None) -> int | None:
    """Returns the index of the best row if it is better than the baseline, where that is known; else None."""
    if objective is None or swept.best is None:
        return None
    if swept.comparison is None or swept.baseline is None or swept.baseline[metric] is None:
        return swept.best
    mean = swept.comparison.differences[swept.best].mean  # nan for the baseline itself
    gain, rounding = mean if objective.higher else -mean, _ROUNDING * abs(swept.baseline[metric])
    return swept.best if gain > rounding else None


def _table(
    console: Any,
    swept: Swept,
    axes: dict[str, list[Any]],
    metric: str,
    objective: Objective | None,
    *,
    is_smoke: bool = False,
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the headings and rows of the settings and the baseline; a narrow screen has fewer columns.

    The intervals, then the p-values, are left out if a cell would break otherwise; ``sweep.csv`` has them. A smoke run has
    means alone.
    """
    objective = None if is_smoke else objective
    best, rows = _gaining(swept, metric, objective), _with_baseline(swept, axes)
    marks = ["best" if place == best else "baseline" if row["baseline"] else "" for place, row in enumerate(rows)]
    lines = [_cells(row, axes, metric, mark) for row, mark in zip(rows, marks, strict=True)]
    headings = (*axes, f"selection {metric}", "95 % over seeds", "over baseline", "p (Holm)", "")
    least = ("95 % over seeds", "p (Holm)")
    choices = ((*least, "over baseline"),) if is_smoke else ((), least[:1], least)
    tables = [_without(left_out, headings, lines) for left_out in choices]
    return next((table for table in tables if display.fits(console, *table)), tables[0])


def _without(
    left_out: tuple[str, ...], headings: tuple[str, ...], lines: list[tuple[str, ...]]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns a table without the columns of some headings."""
    shown = [place for place, heading in enumerate(headings) if heading not in left_out]
    return tuple(headings[i] for i in shown), [tuple(line[i] for i in shown) for line in lines]


def _cells(row: Row, axes: dict[str, list[Any]], metric: str, mark: str) -> tuple[str, ...]:
    """Returns one row of the table as strings."""
    missing = "single seed" if row["n"] == 1 else ""
    ends, p = (row[f"{metric}_low"], row[f"{metric}_high"]), row.get(f"{metric}_p")
    return (
        *(records.value_text(row[name]) for name in axes),
        wording.mean_text(row[metric], ends, missing="diverged" if row["diverged"] else "undefined"),
        wording.interval_text(*ends, missing=missing),
        _difference_text(row, metric),
        "" if p is None else statistics.p_text(p),
        mark,
    )


def _difference_text(row: Row, metric: str) -> str:
    """Returns the difference of a row from the baseline, rounded by its interval; empty if undefined."""
    difference, low, high = (row.get(f"{metric}_difference{end}") for end in ("", "_low", "_high"))
    if difference is None:
        return ""
    low, high = (math.nan if end is None else end for end in (low, high))
    return statistics.estimate_texts(difference, low, high, is_signed=True)[0]


def _noise_lines(swept: Swept, metric: str, others: tuple[int, ...], missing: str | None) -> list[str]:
    """Returns the differences due to seeds alone: the noise floor, and the baseline with other seeds."""
    found, again = swept.comparison, swept.again
    if found is None or again is None:
        return [f"noise floor: unknown, since the baseline cannot be trained: {missing}"]
    if math.isnan(found.noise):
        return [f"noise floor: unknown, since {metric} of the baseline is undefined"]
    noise, seeds = statistics.number_text(found.noise, is_signed=True), wording.seeds_text(others)
    mean = statistics.number_text(again[metric])
    of_others = f"baseline with seed{'s' if len(others) > 1 else ''} {seeds}: {mean} {metric}, a difference of {noise}"
    if math.isnan(found.floor):
        return ["noise floor: unknown from a single seed", of_others]
    n = found.n_differences
    largest = f"the largest of {n} differences" if n > 1 else "the difference"
    floor = (
        f"noise floor: {statistics.number_text(found.floor)} {metric}; if the settings were equal and varied over seeds as the "
        f"baseline does, {largest} would exceed it in at most 1 of 20 sweeps"
    )
    return [floor, of_others]


def _best_text(swept: Swept, axes: dict[str, list[Any]], metric: str, objective: Objective | None) -> str:
    """Returns the best settings, their gain over the baseline, and whether it is more than noise."""
    found = swept.comparison
    if objective is None:
        return "not chosen, since the experiment declares no claim, maximise or minimise"
    if swept.best is None:
        return _why_none(swept.rows, metric)
    if _gaining(swept, metric, objective) is None:
        return "no setting is better than the baseline"
    row = swept.rows[swept.best]
    words = " ".join(records.words_of({name: row[name] for name in axes}))
    if found is None or math.isnan(found.differences[swept.best].mean):
        return words
    difference, p = found.differences[swept.best], found.p_values[swept.best]
    mean, *_ = statistics.estimate_texts(*difference[:3], is_signed=True)
    gain = f"{words}, {mean} {metric} over the baseline"
    gain = f"{gain} ({wording.confidence_text(difference.low, difference.high)}, paired by seed)"
    if row["n"] < statistics.FEWEST_SEEDS:
        return f"{gain}: undecided, at least {statistics.FEWEST_SEEDS} seeds are needed to tell it from noise"
    if math.isnan(p):
        return f"{gain}: undecided, no p-value is known"
    many = f", adjusted for {found.n_differences} settings" if found.n_differences > 1 else ""
    p_value = f"(p {statistics.p_text(p)}{many})"
    if not studies.is_more_than_noise(found, swept.best, higher=objective.higher):
        return f"{gain}: not distinguishable from noise {p_value}"
    if abs(difference.mean) < found.floor:
        return f"{gain}: more than noise by the paired test {p_value}, though below the noise floor, which does not pair seeds"
    return f"{gain}: more than noise {p_value}"


def _next_lines(session: Session, swept: Swept, metric: str, objective: Objective | None) -> list[str]:
    """Returns the command that trains the best settings and reads the test part, and what it spends; none without them."""
    place = _gaining(swept, metric, objective)
    if place is None:
        return []
    line = f"next, on the test part: {run_command(session, session.settings[place])}"
    spends = "privacy: that run spends more epsilon and delta, on top of the total of this sweep"
    return [line, spends] if session.options.private else [line]


def _marks(swept: Swept, metric: str, objective: Objective | None) -> dict[str, Any]:
    """Returns the best row, the mean of the baseline and the noise floor, where they are known."""
    baseline = None if swept.baseline is None else swept.baseline[metric]
    floor = None if swept.comparison is None or math.isnan(swept.comparison.floor) else swept.comparison.floor
    return {"best": _gaining(swept, metric, objective), "baseline": baseline, "floor": floor}


def _why_none(rows: list[Row], metric: str) -> str:
    """Returns why there is no best setting."""
    if all(row["diverged"] for row in rows):
        return "none, since every setting diverged"
    others = " that did not diverge" if any(row["diverged"] for row in rows) else ""
    return f"none, since {metric} is undefined for every setting{others}"

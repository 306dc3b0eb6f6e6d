"""``jaxresearch sweep``: one experiment at many settings, compared on validation data."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from jaxresearch import adjust, execution, loading, records, statistics, studies
from jaxresearch.adjust import Trial
from jaxresearch.cli import display
from jaxresearch.cli.axes import parse_sweep
from jaxresearch.cli.interrupts import EXIT_CODE, Interrupted, interruptible
from jaxresearch.cli.options import Options
from jaxresearch.cli.run import (
    SWEEP_TABLE,
    collected_and_preprocessed,
    configure,
    held_out,
    named_directory,
    opened_directory,
    shortened,
    told,
)
from jaxresearch.cli.saving import cipher_of, going_on
from jaxresearch.cli.trials import as_record, from_record
from jaxresearch.data import Dataset
from jaxresearch.execution import provenance
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check
from jaxresearch.reports import plots, wording

_TRIALS = "trials.json"  # what is done of a sweep, to go on from


def sweep(name: str, words: list[str]) -> int:
    """Carries out ``jaxresearch sweep NAME WORDS...``; returns the exit code."""
    configure()
    try:
        experiment = loading.load(name)
        options, axes = parse_sweep(experiment, words, prog=f"jaxresearch sweep {name}")
        options = shortened(options) if options.smoke else options
        settings = adjust.combinations(options.hyperparameters, axes)
        for setting in settings:
            check(setting)
        cipher = cipher_of(options)
        _, dataset = collected_and_preprocessed(experiment, options, cipher)
        dataset = held_out(dataset, settings)
        path = named_directory(options, name, kind="-sweep")
        directory = opened_directory(path, {"experiment": name, "axes": axes}, options, dataset)
    except Exception as error:
        return told(error, name, code=2)
    try:
        with interruptible(grace=True) as came:
            trials = _train(experiment, settings, options, dataset, directory, came, cipher)
            rows = [_row(trial, axes) for trial in trials]
            metric = experiment.claim.evaluated
            scores = [studies.score(experiment, trial) for trial in trials]
            best = int(np.argmax(scores)) if max(scores) > -np.inf else None
            directory.write("sweep.json", {"metric": f"validation/{metric}", "rows": rows, "best": best})
            try:
                plots.plot_sweep(path / "sweep.png", rows, axes=axes, metric=metric)
            except Exception as error:  # the figures are worth more than their picture
                warnings.warn(f"the picture of the sweep could not be made: {error}", stacklevel=2)
            directory.write_table(SWEEP_TABLE, rows)
    except Interrupted:
        if directory.is_new and _is_empty(path):
            directory.discard()
            raise
        print(f"jaxresearch: interrupted; go on with: {wording.resume_command(path)}", file=sys.stderr)
        return EXIT_CODE
    except Exception as error:
        if directory.is_new and _is_empty(path):
            directory.discard()
        return told(error, name, code=1)
    console = display.console()
    console.print(_table(rows, axes, metric, best))
    for line in (
        f"validation data: {len(dataset.test['targets']):,} examples that no setting was trained on; the test part was not read",
        f"best: {wording.as_words({name: rows[best][name] for name in axes})}"
        if best is not None
        else "best: none, every setting diverged",
        f"sweep directory: {directory.path}",
    ):
        console.print(line, soft_wrap=True, markup=False)
    return 0


def _is_empty(path: Path) -> bool:
    """Returns whether nothing of a sweep can be gone on with."""
    return not (path / _TRIALS).exists() and not list(path.glob("group-*/checkpoints/[0-9]*"))


def _train(
    experiment: Experiment,
    settings: Sequence[Any],
    options: Options,
    dataset: Dataset,
    directory: records.RunDirectory,
    came: list[int],
    cipher: Any,
) -> list[Trial]:
    """Returns the trials of all settings; what is on record of them, or saved on the way, is not trained again."""
    seeds = range(options.seeds)
    digests = provenance.digests(experiment, settings, dataset, seeds=seeds)
    recorded = records.read_sealed(directory.path / _TRIALS)["trials"] if (directory.path / _TRIALS).is_file() else []
    known = {record["digest"]: from_record(record, experiment) for record in recorded}
    with display.Display(display.console()) as shown:
        for number, places in enumerate(provenance.groups(settings)):
            if all(digests[place] in known for place in places):
                continue
            chosen, program = [settings[place] for place in places], "".join(digests[place] for place in places)
            like = execution.blank_state(experiment, chosen[0], dataset, n_runs=len(chosen) * len(seeds))
            saved = records.Checkpoints(directory.folder(f"group-{number}"), cipher=cipher)
            with going_on(saved, like, program=lambda p=program: p, every=options.save_every, came=came) as (
                found,
                keeping,
            ):
                start = (found.step, found.state) if found else None
                trials = execution.execute_all(
                    experiment, chosen, dataset, seeds=seeds, observe=shown.show, start=start, keeping=keeping
                )
            known |= {digests[p]: trial._replace(digest=digests[p]) for p, trial in zip(places, trials, strict=True)}
            directory.write_sealed(_TRIALS, {"trials": [as_record(trial) for trial in known.values()]})
            directory.remove(f"group-{number}")
            if came:
                raise Interrupted
    # Settings that differ in fields that their program does not read have one digest.
    return [known[d]._replace(hyperparameters=setting) for d, setting in zip(digests, settings, strict=True)]


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
        interval = wording.interval_text(row[f"{metric}_low"], row[f"{metric}_high"], missing=missing)
        mark = "diverged" if row["diverged"] else "best" if place == best else ""
        table.add_row(
            *(_text(row[name]) for name in axes), wording.mean_text(row[metric]), interval, str(row["n"]), mark
        )
    return table


def _text(value: Any) -> str:
    """Returns a value as it is written in a list."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)

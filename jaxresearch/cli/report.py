"""``jaxresearch report DIR``: a self-contained page of a finished run or study."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import execution, loading, records
from jaxresearch.cli import display
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.interrupts import saving
from jaxresearch.cli.loaded import cipher_of, load_data, shortened
from jaxresearch.cli.options import Options
from jaxresearch.cli.parsing import parse
from jaxresearch.cli.resume import config_in, words_in
from jaxresearch.cli.session import configure, one_line
from jaxresearch.data import DataCard
from jaxresearch.reports.page import of_predictions, page

_NAME = "report.html"


def report(path: Path, experiment: str | None = None) -> int:
    """Carries out ``jaxresearch report DIR [--experiment FILE]``; returns the exit code."""
    configure()
    with one_line(str(path), code=2):
        config_in(path)  # raises unless the configuration is complete
        run = records.read_run(path)
        predicted = _predicted_there(run, experiment and os.path.abspath(experiment))
        text = page(run, predicted=predicted)
        with saving(), records.RunDirectory.again(path) as directory:
            directory.write_text_file(_NAME, text)
    for line in (*predicted["missing"], f"report: {path / _NAME}"):
        display.console().print(line, soft_wrap=True)
    return 0


def _predicted_there(run: records.Recorded, file: str | None) -> dict[str, Any]:
    """Returns `_predicted`, computed in the folder of the run, from which its experiment may read data."""
    absolute = dataclasses.replace(run, path=run.path.absolute())
    with contextlib.chdir(records.folder_of(run.config)):
        return _predicted(absolute, file)


def _predicted(run: records.Recorded, named: str | None) -> dict[str, Any]:
    """Returns the predictions of the final state for the test part, or why they cannot be recomputed."""
    try:
        if diverged := run.result.get("diverged"):
            raise UsageError(f"seed {', '.join(map(str, diverged))} diverged")
        file, line = records.experiment_of(run.path, run.config, named=named)
        experiment = loading.load(file)
        words, command = words_in(run.config, run.path), records.command_of(run.config)
        options = _as_chosen(parse(experiment, words, command=command), run.result)
        cipher = cipher_of(options)
        collected, dataset, *_ = load_data(experiment, options, cipher)
        if not dataset.card.class_names or dataset.of_run(0).test["targets"].ndim > 1:
            return {"missing": []}
        models = records.read_ensemble(run.path, cipher=cipher, experiment=experiment)
        if _identity(dataset.card) != _identity(models.dataset.card):
            raise UsageError("the data has changed since")
        every = models.evaluate_every
        logits = execution.predict(experiment, models.hyperparameters, dataset, models.state, evaluate_every=every)
        targets = np.broadcast_to(dataset.test["targets"], logits.shape[:2])
        counted = np.broadcast_to(dataset.test.get("weights", np.ones(())), logits.shape[:2]) > 0
        inputs = collected.test["inputs"]
        is_one = not dataset.n_folds and not dataset.is_resplit  # one test part for all runs
        images = inputs[: logits.shape[1]] if isinstance(inputs, np.ndarray) and is_one else None
        shown = of_predictions(logits, targets, counted, dataset.card, images=images)
        return shown if line is None else {**shown, "missing": [f"{line}."]}
    except Exception as error:  # the rest of the page does not need it
        return {"missing": [f"Predictions for the test part are not shown: {' '.join(str(error).split())}"]}


def _identity(card: DataCard) -> DataCard:
    """Returns a card without the type of the features, which an earlier version lacked, and notes, which it worded otherwise."""
    columns = tuple(dataclasses.replace(column, note="") for column in card.columns)
    target = card.target and dataclasses.replace(card.target, note="")
    return dataclasses.replace(card, feature_dtype="", notes=(), columns=columns, target=target)


def _as_chosen(options: Options, result: dict[str, Any]) -> Options:
    """Returns the options with the settings and the seeds of the result."""
    options = shortened(options) if options.smoke else options
    settings = records.settings_from_record(result.get("hyperparameters", {}), options.hyperparameters)
    seeds = tuple(result.get("seeds") or range(result["n_seeds"]))  # version 0.1 recorded their number
    return dataclasses.replace(options, seeds=seeds, hyperparameters=settings)

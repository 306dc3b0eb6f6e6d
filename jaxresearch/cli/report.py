"""``jaxresearch report DIR``: a self-contained page of a finished run or study."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import execution, records
from jaxresearch.cli import display
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.interrupts import saving
from jaxresearch.cli.reopened import Reopened, reopened, there
from jaxresearch.cli.resume import config_in
from jaxresearch.cli.session import configure, one_line
from jaxresearch.reports.page import of_predictions, page

NAME = "report.html"


def report(path: Path, experiment: str | None = None) -> int:
    """Carries out ``jaxresearch report DIR [--experiment FILE]``; returns the exit code."""
    configure()
    with one_line(str(path), code=2):
        config_in(path)  # raises unless the configuration is complete
        run = records.read_run(path)
        file = experiment and os.path.abspath(experiment)
        with there(run) as absolute:
            predicted = _predicted(absolute, file)
        text = page(run, predicted=predicted)
        with saving(), records.RunDirectory.again(path) as directory:
            directory.write_text_file(NAME, text)
    for line in (*predicted["missing"], f"report: {path / NAME}"):
        display.console().print(line, soft_wrap=True)
    return 0


def _predicted(run: records.Recorded, named: str | None) -> dict[str, Any]:
    """Returns the predictions of the final state for the test part, or why they cannot be recomputed."""
    try:
        if diverged := run.result.get("diverged"):
            raise UsageError(f"seed {', '.join(map(str, diverged))} diverged")
        opened = reopened(run, named)
        shown = predicted_of(opened, logits_of(opened, None))
        return shown if opened.line is None else {**shown, "missing": [*shown["missing"], f"{opened.line}."]}
    except Exception as error:  # the rest of the page does not need it
        return {"missing": [f"Predictions for the test part are not shown: {' '.join(str(error).split())}"]}


def logits_of(opened: Reopened, models: records.Ensemble | None) -> np.ndarray | None:
    """Returns what each model predicts for its test part, ``(models, n, classes)``; None unless each example has one class.

    Args:
        opened: The run with its data.
        models: Its models; None to read them.
    """
    dataset = opened.loaded.dataset
    if not dataset.card.class_names or dataset.of_run(0).test["targets"].ndim > 1:
        return None
    models = opened.models() if models is None else models
    every = models.evaluate_every
    return execution.predict(opened.experiment, models.hyperparameters, dataset, models.state, evaluate_every=every)


def predicted_of(opened: Reopened, logits: np.ndarray | None) -> dict[str, Any]:
    """Returns the predictions of a run for its test part, as the page takes them.

    Args:
        opened: The run with its data.
        logits: From `logits_of`.
    """
    if logits is None:
        return {"missing": []}
    dataset = opened.loaded.dataset
    targets = np.broadcast_to(dataset.test["targets"], logits.shape[:2])
    counted = np.broadcast_to(dataset.test.get("weights", np.ones(())), logits.shape[:2]) > 0
    inputs = opened.collected.test["inputs"]
    is_one = not dataset.n_folds and not dataset.is_resplit  # one test part for all runs
    images = inputs[: logits.shape[1]] if isinstance(inputs, np.ndarray) and is_one else None
    return of_predictions(
        logits, targets, counted, dataset.card, images=images, named=functools.partial(opened.name, "test")
    )

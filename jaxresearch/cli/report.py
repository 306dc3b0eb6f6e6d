"""``jaxresearch report DIR``: one self-contained page of a run or study that has ended."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import execution, loading, records
from jaxresearch.cli import display
from jaxresearch.cli.options import Options, UsageError, parse
from jaxresearch.cli.resume import config_in, words_in
from jaxresearch.cli.run import collected_and_preprocessed, configure, shortened, told
from jaxresearch.cli.saving import cipher_of
from jaxresearch.cli.trials import setting_of
from jaxresearch.reports.page import of_predictions, page

_NAME = "report.html"


def report(path: Path) -> int:
    """Carries out ``jaxresearch report DIR``; returns the exit code."""
    configure()
    try:
        config_in(path)  # refuses an experiment that came with the directory
        run = records.read_run(path)
        predicted = _predicted(run)
        text = page(run, predicted=predicted)
        records.RunDirectory.again(path).write_text_file(_NAME, text)
    except Exception as error:
        return told(error, str(path), code=2)
    for line in (*predicted["missing"], f"report: {path / _NAME}"):
        display.console().print(line, soft_wrap=True, markup=False)
    return 0


def _predicted(run: records.Recorded) -> dict[str, Any]:
    """Returns what the last state gives for the test part; where it cannot be made again, why."""
    try:
        experiment = loading.load(run.config["experiment"])
        options = parse(experiment, words_in(run.config, run.path), prog="jaxresearch report")
        options = _as_chosen(options, run.result)
        cipher = cipher_of(options)
        collected, dataset = collected_and_preprocessed(experiment, options, cipher)
        if not dataset.card.class_names or dataset.of_run(0).test["targets"].ndim > 1:
            return {"missing": []}
        if json.loads(json.dumps(dataclasses.asdict(dataset.card))) != run.config["data_card"]:
            raise UsageError("the data is another by now")
        like = execution.blank_state(experiment, options.hyperparameters, dataset, n_runs=options.seeds)
        found = records.Checkpoints(run.path, cipher=cipher).restore(like)
        if found is None:
            raise UsageError("no state of it was saved")
        logits = execution.predict(experiment, options.hyperparameters, dataset, found.state)
        targets = np.broadcast_to(dataset.test["targets"], logits.shape[:2])
        asked = np.broadcast_to(dataset.test.get("weights", np.ones(())), logits.shape[:2]) > 0
        inputs = collected.test["inputs"]
        images = inputs[: logits.shape[1]] if isinstance(inputs, np.ndarray) and not dataset.n_folds else None
        return of_predictions(logits, targets, asked, dataset.card, images=images)
    except Exception as error:  # the rest of the page stands without it
        return {"missing": [f"What the model says of the test part is not shown: {' '.join(str(error).split())}"]}


def _as_chosen(options: Options, result: dict[str, Any]) -> Options:
    """Returns the options with the settings and the number of seeds that the result is of."""
    options = shortened(options) if options.smoke else options
    settings = setting_of(result.get("hyperparameters", {}), options.hyperparameters)
    return dataclasses.replace(options, seeds=result["n_seeds"], hyperparameters=settings)

"""``jaxresearch report DIR``: one self-contained page of a run or study that has ended."""

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

from jaxresearch import execution, records
from jaxresearch import experiment as experiments
from jaxresearch.cli import display
from jaxresearch.cli.options import Options, UsageError, parse
from jaxresearch.cli.resume import result_in, words_in
from jaxresearch.cli.run import collected_and_preprocessed, configure, shortened, told
from jaxresearch.cli.saving import cipher_of
from jaxresearch.cli.trials import setting_of
from jaxresearch.records.report import of_predictions, page

_NAME = "report.html"


def report(path: Path) -> int:
    """Carries out ``jaxresearch report DIR``; returns the exit code."""
    configure()
    try:
        config, result = result_in(path)
        directory = records.RunDirectory.again(path)
        environment = directory.read("environment.json")
        text = page(
            result,
            config,
            environment,
            metrics=display.metric_rows(result),
            lines=[line for line in directory.metrics() if "nonfinite" not in line],
            predicted=_predicted(config, result, path),
            gain=display.gain_line(result["gain"]) if result.get("gain") else None,
            again=shlex.join(environment["command"]),
        )
        directory.write_text_file(_NAME, text)
    except Exception as error:
        return told(error, str(path), code=2)
    display.console().print(f"report: {path / _NAME}", soft_wrap=True, markup=False)
    return 0


def _predicted(config: dict[str, Any], result: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns what the last state gives for the test part; where it cannot be made again, why."""
    try:
        experiment = experiments.load(config["experiment"])
        options = parse(experiment, words_in(config, path), prog="jaxresearch report")
        options = _as_chosen(options, result)
        collected, dataset = collected_and_preprocessed(experiment, options)
        if not dataset.card.class_names:
            return {"missing": []}
        if json.loads(json.dumps(dataclasses.asdict(dataset.card))) != config["data_card"]:
            raise UsageError("the data is another by now")
        like = execution.blank_state(experiment, options.hyperparameters, dataset, n_runs=options.seeds)
        found = records.Checkpoints(path, cipher=cipher_of(options)).restore(like)
        if found is None:
            raise UsageError("no state of it was saved")
        logits = execution.predict(experiment, options.hyperparameters, dataset, found.state)
        n_test = len(dataset.test["targets"])
        return of_predictions(logits, collected.test["inputs"][:n_test], dataset.test["targets"], dataset.card)
    except Exception as error:  # the rest of the page stands without it
        return {"missing": [f"What the model says of the test part is not shown: {' '.join(str(error).split())}"]}


def _as_chosen(options: Options, result: dict[str, Any]) -> Options:
    """Returns the options with the settings and the number of seeds that the result is of."""
    options = shortened(options) if options.smoke else options
    settings = setting_of(result.get("hyperparameters", {}), options.hyperparameters)
    return dataclasses.replace(options, seeds=result["n_seeds"], hyperparameters=settings)

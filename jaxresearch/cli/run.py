"""``jaxresearch run``: collect, preprocess, train, evaluate, report."""

import dataclasses
import math
import os
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxresearch import data, devices, loading, records, statistics
from jaxresearch import experiment as experiments
from jaxresearch.cli import display
from jaxresearch.cli.beginning import begun
from jaxresearch.cli.interrupts import EXIT_CODE, Interrupted, interruptible
from jaxresearch.cli.options import Options, UsageError, parse
from jaxresearch.cli.saving import cipher_of
from jaxresearch.cli.training import NonFiniteError, train
from jaxresearch.data import Dataset
from jaxresearch.execution import Outcome
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check
from jaxresearch.reports import wording

_SMOKE_STEPS = 20
_MOST_DIFFERENCES = 6  # in one line
_SMOKE_TEST_EXAMPLES = 500
SWEEP_TABLE = "sweep.csv"  # written last: it says that a sweep has ended
_CHANGEABLE = (
    "directory",
    "save_every",
    "encrypt_with",
    "track",
    "study.rounds",
    "study.seconds",
)  # on going on; the rest makes it another run


def run(name: str, words: list[str]) -> int:
    """Carries out ``jaxresearch run NAME WORDS...``; returns the exit code."""
    configure()
    try:
        experiment = loading.load(name)
        options = parse(experiment, words, prog=f"jaxresearch run {name}")
        options = shortened(options) if options.smoke else options
        cipher, start = cipher_of(options), time.perf_counter()
        collected, dataset = collected_and_preprocessed(experiment, options, cipher)
        load_seconds = time.perf_counter() - start
        path = named_directory(options, name)
        tracked = records.tracking(options.track, path, experiment=_stem(name))
        directory = opened_directory(path, {"experiment": name}, options, dataset)
        checkpoints = records.Checkpoints(path, cipher=cipher)
        experiment = begun(experiment, options, dataset, directory, checkpoints)
    except Exception as error:
        return told(error, name, code=2)
    try:
        with tracked, interruptible(grace=True) as came:
            outcome, events = train(experiment, options, dataset, directory, checkpoints, tracked, came)
            result = result_of(name, experiment, options, outcome, load_seconds, (collected, dataset))
            result["nonfinite"] = events
            write_outcome(directory, checkpoints, result, outcome)
            tracked.end(result)
    except NonFiniteError as error:
        print(f"jaxresearch: {error}", file=sys.stderr)
        return 1
    except Interrupted:
        if directory.is_new and not directory.has_metrics:
            directory.discard()
            raise
        at = checkpoints.steps()
        saved = f"saved at step {at[-1]}" if at else "nothing was saved yet"
        print(f"jaxresearch: interrupted; {saved}; go on with: {wording.resume_command(path)}", file=sys.stderr)
        return EXIT_CODE
    except Exception as error:
        if directory.is_new and not directory.has_metrics:
            directory.discard()
            return told(error, name, code=2)
        return told(_with_advice(error, path, checkpoints), name, code=1)  # the run had begun: its record stays
    report(result, directory)
    return 0


def configure() -> None:
    """Sets JAX up for a command: one CPU device a core, a compilation cache on disk. Both must precede any array."""
    devices.split_cpu()
    if not jax.config.values["jax_compilation_cache_dir"]:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(cache / "jaxresearch" / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # by default, small programs are left out
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    warnings.showwarning = lambda message, *_, **__: print(f"jaxresearch: warning: {message}", file=sys.stderr)


def shortened(options: Options) -> Options:
    """Returns the options with one epoch and no more than two seeds or folds; the data is cut to match when it is loaded."""
    once = dataclasses.replace(options.hyperparameters, epochs=min(1, options.hyperparameters.epochs))
    folds, seeds = min(2, options.folds), min(2, options.seeds)
    return dataclasses.replace(options, seeds=seeds, folds=folds, hyperparameters=once)


def collected_and_preprocessed(experiment: Experiment, options: Options, cipher: Any) -> tuple[Dataset, Dataset]:
    """Returns the data as collected (of folds, the first) and preprocessed; checks that the options fit it and each other."""
    if options.seeds < 1:
        raise ValueError(f"seeds must be 1 or more; got {options.seeds}. Ask for 10 to get a narrow interval.")
    if not 0 <= options.save_every < math.inf:
        raise UsageError(f"save_every must be 0 or more seconds, and finite; got {options.save_every}. Ask for 60.")
    check(options.hyperparameters)
    with data.sealed_by(cipher):
        everything = experiment.collect(options.data, target=options.target)
    collected = _of_run(options, everything, 0)
    dataset = _preprocessed(experiment, options, collected)
    if options.folds:  # one at a time: of what was collected, no two folds are held at once but the first
        others = (_of_run(options, everything, place) for place in range(1, options.folds))
        dataset = data.stacked([dataset, *(_preprocessed(experiment, options, other) for other in others)])
    experiments.n_steps(options.hyperparameters, dataset.n_train)
    names = [f"test/{metric}" for metric in experiment.metrics(dataset.card)]
    if experiment.claim.metric not in names:
        raise ValueError(f"claim must be about one of {', '.join(names)}; got {experiment.claim.metric!r}. Mend it.")
    return collected, dataset


def _of_run(options: Options, collected: Dataset, place: int) -> Dataset:
    """Returns what one run has of the data, as collected: its fold, and so many of its training examples."""
    if options.folds:
        collected = data.fold(collected, place, n_folds=options.folds)
    n, n_all = options.train_examples, len(collected.train["targets"])
    if n is None:
        return collected
    if n >= n_all:
        raise UsageError(f"train_examples must be below the {n_all} that there are; got {n}. Leave it out to take all.")
    return collected._replace(train=data.sample(collected.train, n))


def _preprocessed(experiment: Experiment, options: Options, collected: Dataset) -> Dataset:
    """Returns the data of one run as it is trained on."""
    dataset = experiment.preprocess(collected)
    if not options.smoke:
        return dataset
    n_train = _SMOKE_STEPS * experiments.batch_size(options.hyperparameters, dataset.n_train)
    # Drawn class by class: examples may stand in the order of their classes.
    return dataset._replace(
        train=data.sample(dataset.train, n_train), test=data.sample(dataset.test, _SMOKE_TEST_EXAMPLES)
    )


def held_out(dataset: Dataset, settings: Sequence[Any]) -> Dataset:
    """Returns the training part with a tenth of it held out to compare settings on, after checking that they fit it."""
    development = data.development(dataset)
    try:
        for setting in settings:
            experiments.n_steps(setting, len(development.train["targets"]))
    except ValueError as error:
        raise UsageError(f"{error} (A tenth of the training part is held out to compare settings on.)") from None
    return development


def named_directory(options: Options, name: str, *, kind: str = "") -> Path:
    """Returns where to record: what the user named, or a new place under ``runs``."""
    return options.directory or Path("runs") / f"{_stem(name)}{kind}-{datetime.now():%Y%m%d-%H%M%S}"


def opened_directory(path: Path, asked: dict[str, Any], options: Options, dataset: Dataset) -> records.RunDirectory:
    """Returns a new directory, or the one of a run, sweep or study that was interrupted, if it is this one.

    It holds all that is known before anything is trained.
    """
    config = {**asked, **dataclasses.asdict(options), "data_card": dataclasses.asdict(dataset.card)}
    if (path / "config.json").is_file():
        _require_same(path, records.read_json(path / "config.json"), config)
        directory = records.RunDirectory.again(path)
    else:
        directory = records.RunDirectory(path)
    try:
        directory.write("config.json", config)
        directory.add_environment(records.environment(seeds=list(range(options.seeds))))
    except BaseException:  # a signal too
        if directory.is_new:
            directory.discard()
        raise
    return directory


def _require_same(path: Path, recorded: dict[str, Any], config: dict[str, Any]) -> None:
    """Raises where a directory is that of another experiment, command or configuration, or has nothing left to do."""
    what, kind = records.command_of(config), records.command_of(recorded)
    if (kind, recorded.get("experiment")) != (what, config["experiment"]):
        raise UsageError(
            f"directory {path} must be that of a {what} of {config['experiment']} to go on with it; it is that of a {kind} of "
            f"{recorded.get('experiment')}. Name another one with --directory."
        )
    last = SWEEP_TABLE if what == "sweep" else "result.json"
    if (path / last).is_file():
        story = "study.md" if what == "study" else last
        raise UsageError(f"the {what} in {path} has ended; read its {story}, or name another --directory.")
    may_change = {*_CHANGEABLE}
    if None in (recorded.get("encrypt_with"), config["encrypt_with"]):
        may_change.discard("encrypt_with")  # a key may have moved, but what is sealed stays sealed
    differences = records.differences(recorded, config).items()
    changed = [f"{key.rpartition('.')[2]}: {values}" for key, values in differences if key not in may_change]
    if changed:
        more = f"; and {len(changed) - _MOST_DIFFERENCES} more" if len(changed) > _MOST_DIFFERENCES else ""
        raise UsageError(
            f"directory {path} must hold this {what} to go on with it; it differs in "
            f"{'; '.join(changed[:_MOST_DIFFERENCES])}{more}. Name another one with --directory."
        )


def write_outcome(
    directory: records.RunDirectory, checkpoints: records.Checkpoints, result: dict[str, Any], outcome: Outcome
) -> None:
    """Writes the last state of all seeds, and then the result: it says that the run has ended."""
    step = int(np.asarray(outcome.state.step)[0])
    checkpoints.write(step, outcome.state)
    directory.write("result.json", result)


def _with_advice(error: Exception, path: Path, checkpoints: records.Checkpoints) -> Exception:
    """Returns the error of a run that had begun; where its directory failed, with what is safe."""
    if not isinstance(error, OSError | records.CheckpointError):
        return error
    steps = checkpoints.steps()
    safe = f"step {steps[-1]} is safe; go on with: {wording.resume_command(path)}" if steps else "no step was saved"
    return OSError(f"{path} could not be read or written ({error}); {safe}")


def result_of(
    name: str,
    experiment: Experiment,
    options: Options,
    outcome: Outcome,
    load_seconds: float,
    datasets: tuple[Dataset, Dataset],
) -> dict[str, Any]:
    """Returns ``result.json``; the datasets are as collected and as preprocessed."""
    metrics = {f"test/{metric}": statistics.summary(values) for metric, values in outcome.metrics.items()}
    claim = experiment.claim
    verdict, because = _verdict(experiment, options, metrics[claim.metric])
    return {
        "experiment": _stem(name),
        "question": experiment.question,
        "n_seeds": options.seeds,
        "n_folds": options.folds,
        "metrics": metrics,
        "claim": {**dataclasses.asdict(claim), "verdict": verdict, "because": because},
        "seconds": {"load": load_seconds, **outcome.seconds},
        "examples_per_second": outcome.examples_per_second,
        "n_compilations": outcome.n_compilations,
        "resumed_from": outcome.resumed_from,
        "smoke": options.smoke,
        "report": _said(name, experiment, options, outcome, *datasets),
    }


def _said(
    name: str, experiment: Experiment, options: Options, outcome: Outcome, collected: Dataset, dataset: Dataset
) -> str | None:
    """Returns what the experiment itself says of its models, or nothing."""
    if experiment.report is None:
        return None
    params = jax.tree.map(np.asarray, outcome.state.params)
    try:
        said = experiment.report(options.hyperparameters, params, collected, dataset)
        return said and wording.printable(said)
    except Exception as error:  # what was trained is worth more than what is said of it
        said = loading.blame(error, name) or f"{type(error).__name__}: {error}"
        warnings.warn(f"the experiment's report failed, and is left out: {said}", stacklevel=2)
        return None


def _verdict(experiment: Experiment, options: Options, summary: dict[str, Any]) -> tuple[statistics.Verdict, str]:
    """Returns the verdict on the claim, and why in a few words; what the claim is not about decides nothing."""
    n, (low, high) = len(summary["values"]), summary["ci95"]
    if options.smoke:
        return "undecided", "a smoke run decides nothing"
    if options.train_examples is not None:
        return "undecided", f"the claim is about all training examples, this run about {options.train_examples}"
    if options.init_from is not None:
        return "undecided", "the claim is about parameters drawn anew, this run begins with those of another"
    parts = [f"{folds} folds" if folds else "the test part" for folds in (experiment.claim.n_folds, options.folds)]
    of_claim = (experiment.source, experiment.target, parts[0])
    for claimed, asked in zip(of_claim, (options.data, options.target, parts[1]), strict=True):
        if asked != claimed:
            return "undecided", f"the claim is about {claimed}, this run about {asked}"
    if n == 1:
        return "undecided", "a single seed has no interval"
    if low is None:
        return "undecided", "a seed diverged"
    mean, interval = wording.mean_text(summary["mean"]), wording.interval_text(low, high)
    because = f"mean {mean}, 95 % interval {interval} over {n} {'folds' if options.folds else 'seeds'}"
    if n < statistics.FEWEST_SEEDS:
        return "undecided", f"{because}; fewer than {statistics.FEWEST_SEEDS} seeds decide nothing"
    return statistics.verdict((low, high), experiment.claim), because


def report(result: dict[str, Any], directory: records.RunDirectory) -> None:
    """Prints the table, the verdict, where the time went and where the run lies."""
    console = display.console()
    console.print(display.result_table(result))
    lines = (wording.verdict_line(result), wording.seconds_line(result), f"run directory: {directory.path}")
    for line in (*filter(None, (result["report"],)), *lines):
        console.print(line, soft_wrap=True, markup=False)  # a path may hold brackets


def _stem(name: str) -> str:
    """Returns the name of an experiment from its name or path."""
    return Path(name).stem


def told(error: Exception, name: str, *, code: int) -> int:
    """Tells an error in one line and returns its exit code; raises it again where it is no mistake of the user's."""
    blamed = loading.blame(error, name)
    if blamed is None and not isinstance(error, ValueError | OSError):
        raise error
    print(f"jaxresearch: {' '.join((blamed or str(error)).split())}", file=sys.stderr)
    return code

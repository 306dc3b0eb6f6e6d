"""Initial parameters from another run: read, verified, and kept in the new run's directory."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import jax

from jaxresearch import experiment as experiments
from jaxresearch import records
from jaxresearch.algorithms import params_of, warm_started
from jaxresearch.experiment import Experiment
from jaxresearch.recording.runs import Job
from jaxresearch.records import RunDirectory


def start_from(source: Path, job: Job, directory: RunDirectory, *, cipher: Any = None, smoke: bool = False) -> Job:
    """Returns the job with the final parameters of another run's first seed as its initial parameters.

    Args:
        source: Directory of the other run, which must have ended.
        job: What is trained.
        directory: Of the job's run. It keeps a copy of the parameters, so that it does not need the other run again.
        cipher: Decrypts the parameters and encrypts the copy.
        smoke: Whether to accept a smoke run.

    Raises:
        ValueError: If the parameters cannot be read, do not fit, or have changed since the run started.
    """
    initial = _initial_params(source, job, directory, cipher, smoke)
    started = dataclasses.replace(job, experiment=_starting_from(job.experiment, initial))
    _require_fit(source, job, started)
    return started


def _starting_from(experiment: Experiment, initial: dict[str, Any]) -> Experiment:
    """Returns the experiment whose algorithm starts from these parameters."""
    plain = experiment.algorithm
    return dataclasses.replace(experiment, algorithm=lambda *args: warm_started(plain(*args), initial))


def _initial_params(source: Path, job: Job, directory: RunDirectory, cipher: Any, smoke: bool) -> dict[str, Any]:
    """Returns the run's own copy, else the parameters of the source, copied after checking their digest."""
    folder, file = directory.folder(records.INITIAL), directory.path / records.INITIAL_DIGEST
    known = records.read_checksummed(file)["params"] if file.exists() else None
    kept = records.kept_params(folder, cipher=cipher)
    if kept is not None:
        return kept
    try:
        params = _first_params(source, job, cipher, smoke)
    except (ValueError, OSError) as error:
        if known is None:
            raise
        raise ValueError(f"the initial parameters are neither in {folder} nor in {source}: {error}") from error
    digest = records.digest_of(params)
    if (
        known is None and not records.Checkpoints(directory.path).steps()
    ):  # otherwise the run has started from unknown ones
        known = digest
        directory.write_checksummed(records.INITIAL_DIGEST, {"source": str(source), "params": digest})
    if known not in (None, digest):
        raise ValueError(
            f"the parameters of {source} have changed since the run in {directory.path} started from them: SHA-256 "
            f"{known[:12]} on record, {digest[:12]} now. Restore them, or {folder}."
        )
    if known is not None:
        records.keep_params(folder, params, cipher=cipher)
    return params


def _first_params(source: Path, job: Job, cipher: Any, smoke: bool) -> dict[str, Any]:
    """Returns the parameters of a run's first seed or fold, after checking that its vocabulary is ours."""
    theirs, ours = records.vocabulary_of(source), job.dataset.card.vocabulary
    if theirs != ours:
        pairs = itertools.zip_longest(theirs, ours, fillvalue="missing")
        token, (its, own) = next((token, pair) for token, pair in enumerate(pairs) if pair[0] != pair[1])
        raise ValueError(
            f"vocabulary must equal that of {source} with {len(theirs)} tokens, got {len(ours)}: token {token} is {own!r} here "
            f"and {its!r} there. Use the same data or tokens in both."
        )
    return jax.tree.map(lambda leaf: leaf[0], records.read_params(source, cipher=cipher, smoke=smoke))


def _require_fit(source: Path, job: Job, started: Job) -> None:
    """Raises if the parameters do not fit, naming the settings of the other run that changed their shape."""
    ours = job.hyperparameters
    shapes = params_of(_blank(job.experiment, job, ours))  # errors of the experiment propagate

    def is_size(name: str, value: Any) -> bool:
        try:
            return params_of(_blank(job.experiment, job, dataclasses.replace(ours, **{name: value}))) != shapes
        except ValueError:  # such as a width not divisible by our number of heads
            return True

    try:
        _blank(started.experiment, job, ours)
    except ValueError as error:
        sizes = {name: value for name, value in _other_settings(source, ours).items() if is_size(name, value)}
        if not sizes:
            raise
        words = " ".join(records.words_of(sizes))
        raise ValueError(f"{error} {source} was run with {words}. Pass the same.") from error


def _blank(experiment: Experiment, job: Job, hyperparameters: Any) -> Any:
    """Returns the shapes and types of the initial state of one run."""
    program = experiments.program(experiment, job.dataset, evaluate_every=job.evaluate_every)
    return jax.eval_shape(program.init, jax.random.key(0), hyperparameters)


def _other_settings(source: Path, ours: Any) -> dict[str, Any]:
    """Returns the static hyperparameters of a run that differ from ours; none if it cannot be read."""
    try:
        theirs = records.read_run(source).hyperparameters
    except (ValueError, OSError):
        return {}
    static = [field.name for field in dataclasses.fields(ours) if field.metadata.get("static")]
    known = {name: theirs[name] for name in static if theirs.get(name) is not None}
    settings = records.settings_from_record(known, ours)
    return {name: getattr(settings, name) for name in known if getattr(settings, name) != getattr(ours, name)}

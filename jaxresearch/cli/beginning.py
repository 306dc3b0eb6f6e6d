"""What a run begins with where ``--init-from`` names another: its parameters, of which the run keeps a copy."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import jax

from jaxresearch import models, records
from jaxresearch.cli.options import Options, UsageError
from jaxresearch.cli.trials import setting_of
from jaxresearch.data import Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.reports import wording


def begun(
    experiment: Experiment,
    options: Options,
    dataset: Dataset,
    directory: records.RunDirectory,
    checkpoints: records.Checkpoints,
) -> Experiment:
    """Returns the experiment, whose model begins with the parameters of another run where that was asked for.

    Raises:
        ValueError: If they cannot be read, do not fit the data, or are not those that the run began with; a new directory is
            gone then.
    """
    if options.init_from is None:
        return experiment
    try:
        initial = _initial_params(options.init_from, options, dataset, directory, checkpoints)
        _require_fit(experiment, options, options.init_from, dataset, initial)
    except BaseException:  # a signal too
        if directory.is_new:
            directory.discard()
        raise
    model = experiment.model
    return dataclasses.replace(experiment, model=lambda h, card: models.warm_started(model(h, card), initial))


def _initial_params(
    source: Path, options: Options, dataset: Dataset, directory: records.RunDirectory, checkpoints: records.Checkpoints
) -> dict[str, Any]:
    """Returns the run's own copy; where there is none, what the source holds, which is copied after a look at its digest."""
    folder, file = directory.folder(records.INITIAL), directory.path / records.INITIAL_DIGEST
    known = records.read_sealed(file)["params"] if file.exists() else None
    kept = records.kept_params(folder, cipher=checkpoints.cipher)
    if kept is not None:
        return kept
    try:
        params = _first_params(source, dataset, cipher=checkpoints.cipher, smoke=options.smoke)
    except (ValueError, OSError) as error:
        if known is None:
            raise
        raise UsageError(
            f"{folder} must hold what the run began with, or {source}, to read it again; neither does: {error}"
        ) from error
    digest = records.digest_of(params)
    if known is None and not checkpoints.steps():  # else a state is there, and what it began with is not known
        known = digest
        directory.write_sealed(records.INITIAL_DIGEST, {"source": str(source), "params": digest})
    if known not in (None, digest):
        raise UsageError(
            f"parameters of {source} must be those that the run in {directory.path} began with, SHA-256 {known[:12]}; theirs "
            f"is {digest[:12]}. Restore them, or {folder}."
        )
    if known is not None:
        records.keep_params(folder, params, cipher=checkpoints.cipher)
    return params


def _first_params(path: Path, dataset: Dataset, *, cipher: Any, smoke: bool) -> dict[str, Any]:
    """Returns the parameters of the first seed or fold of a run whose vocabulary is ours."""
    theirs, ours = records.vocabulary_of(path), dataset.card.vocabulary
    if theirs != ours:
        pairs = itertools.zip_longest(theirs, ours, fillvalue="missing")
        token, (its, own) = next((token, pair) for token, pair in enumerate(pairs) if pair[0] != pair[1])
        raise UsageError(
            f"vocabulary must be that of {path}, of {len(theirs)} tokens, to begin with it; ours has {len(ours)}: "
            f"token {token} is {own!r}, there {its!r}. Use the same data or tokens in both."
        )
    return jax.tree.map(lambda leaf: leaf[0], records.read_params(path, cipher=cipher, smoke=smoke))


def _require_fit(
    experiment: Experiment, options: Options, source: Path, dataset: Dataset, params: dict[str, Any]
) -> None:
    """Raises where parameters do not fit the model; names the settings of the run that they come from which gave the shapes."""
    ours, card, key = options.hyperparameters, dataset.card, jax.random.key(0)
    shapes = jax.eval_shape(experiment.model(ours, card).init, key)  # an error of the model's own is told as such

    def is_size(name: str, value: Any) -> bool:
        try:
            return (
                jax.eval_shape(experiment.model(dataclasses.replace(ours, **{name: value}), card).init, key) != shapes
            )
        except ValueError:  # as a width that our number of heads does not divide
            return True

    try:
        jax.eval_shape(models.warm_started(experiment.model(ours, card), params).init, key)
    except ValueError as error:
        sizes = {name: value for name, value in _settings_of(source, ours).items() if is_size(name, value)}
        if not sizes:
            raise
        raise UsageError(f"{error} {source} was run with {wording.as_words(sizes)}; this is not.") from error


def _settings_of(source: Path, ours: Any) -> dict[str, Any]:
    """Returns the static hyperparameters of a run that are not as ours; none where it cannot be read any more."""
    try:
        theirs = records.read_run(source).hyperparameters
    except (ValueError, OSError):
        return {}
    static = [field.name for field in dataclasses.fields(ours) if field.metadata.get("static")]
    known = {name: theirs[name] for name in static if theirs.get(name) is not None}
    setting = setting_of(known, ours)
    return {name: getattr(setting, name) for name in known if getattr(setting, name) != getattr(ours, name)}

"""The trained models of a run or study, from its directory alone: no training data is read."""

import dataclasses
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxresearch import algorithms, data, execution, loading
from jaxresearch import experiment as experiments
from jaxresearch.data import Column, DataCard, Dataset, NewRows, RunsOf, Split
from jaxresearch.execution import Predictions
from jaxresearch.execution.stages import fitted_of
from jaxresearch.experiment import Experiment
from jaxresearch.records.checkpoints import CheckpointError, Checkpoints, Restored
from jaxresearch.records.commands import resume_command
from jaxresearch.records.files import read_json, require_exists
from jaxresearch.records.run_directory import FITTED, command_of
from jaxresearch.records.sources import experiment_of
from jaxresearch.records.trials import settings_from_record
from jaxresearch.training import Algorithm, State


class Ensemble(NamedTuple):
    """The models of a run, one for each seed or fold, with everything needed to use them.

    Attributes:
        experiment: From its file.
        hyperparameters: Of the run, or those chosen by a study.
        dataset: Without examples: its card, and what preprocessing fitted (to each fold).
        state: The outcome, with a leading axis of seeds, including averaged weights and batch statistics, if any.
        seeds: One for each model.
        diverged: Seeds whose predictions are undefined.
        step: Its step.
        evaluate_every: As in `jaxresearch.execution.execute`.
        outputs_fn: As of `jaxresearch.execution.outputs_fn_of`: it compiles once for all predictions.
    """

    experiment: Experiment
    hyperparameters: Any
    dataset: Dataset
    state: State
    seeds: tuple[int, ...]
    diverged: tuple[int, ...] = ()
    step: int = 0
    evaluate_every: int | None = None
    outputs_fn: execution.OutputsFn | None = None

    @property
    def params(self) -> Any:
        """The parameters, with a leading axis of seeds."""
        return algorithms.params_of(self.state)

    def algorithm(self, place: int = 0) -> Algorithm:
        """Returns the algorithm of a seed or fold; its ``predict(state, inputs)`` takes the seed's state and prepared inputs."""
        fitted = fitted_of(self.dataset)
        if self.dataset.n_runs:
            fitted = jax.tree.map(lambda leaf: leaf[place], fitted)
        program = experiments.program(self.experiment, self.dataset, evaluate_every=self.evaluate_every, fitted=fitted)
        return program.algorithm(self.hyperparameters)

    def prepared(self, rows: Any) -> Dataset:
        """Returns the dataset with rows as its test part, as the models take them.

        Args:
            rows: As `jaxresearch.data.new_rows` takes or returns them.

        Raises:
            ValueError: If they differ from the training data in shape or type.
        """
        card, dataset = self.dataset.card, self.dataset
        read = rows if isinstance(rows, NewRows) else data.new_rows(rows, card)
        apply = self.experiment.preprocess.apply

        def of_run(place: int) -> Any:
            try:
                prepared = apply(dataset.of_run(place).fitted, {"inputs": read.inputs}, training=False)["inputs"]
            except KeyError as error:
                data.require_asked_column(next(iter(error.args), None), read, card)
                raise
            if (
                dataset.n_runs and card.columns and _is_narrower(prepared, card)
            ):  # a fold may have fewer tokens than another
                prepared = data.widened(prepared, card.feature_shape, padding=card.padding)
            _require_form(prepared, card)
            return prepared

        by_run = [of_run(place) for place in range(dataset.n_runs or 1)]
        inputs = data.map_arrays(lambda *arrays: np.stack(arrays), *by_run) if dataset.n_runs else by_run[0]
        return dataset._replace(test={"inputs": inputs})

    def outputs(self, rows: Any) -> np.ndarray:
        """Returns what the algorithm predicts, ``(seeds, n, outputs)``: logits, or values in the target's own units.

        Args:
            rows: As for `prepared`.

        Raises:
            ValueError: If the algorithm has no ``predict``, or as `prepared`.
        """
        return self._outputs(self.prepared(rows))

    def _outputs(self, dataset: Dataset, places: Sequence[int] | None = None) -> np.ndarray:
        """Returns what the algorithm predicts for the test part, of all seeds or those at some places."""
        self.require_predict()
        return execution.predict(
            self.experiment,
            self.hyperparameters,
            dataset,
            self.state,
            evaluate_every=self.evaluate_every,
            runs=places,
            outputs_fn=self.outputs_fn,
        )

    def require_predict(self) -> None:
        """Raises if the algorithm has no ``predict``."""
        if self.algorithm().predict is None:
            name = getattr(self.experiment.algorithm, "__qualname__", self.experiment.algorithm)
            raise ValueError(
                f"algorithm must have predict to use its models, got {name} without it. Write: algorithm._replace(predict=...)"
            )

    def predict(self, rows: Any, *, seeds: Sequence[int] | None = None) -> Predictions:
        """Returns predictions of the ensemble and of each model, with scores where rows have targets.

        Args:
            rows: As for `prepared`.
            seeds: The seeds of the models to use; all by default.

        Raises:
            ValueError: If a seed is not of the run or diverged, or as `outputs`.
        """
        places, card = self.places(seeds), self.dataset.card
        read = rows if isinstance(rows, NewRows) else data.new_rows(rows, card)
        outputs = self._outputs(self.prepared(read), places)
        made = self._predictions(outputs, places)
        is_standard = self.experiment.preprocess.apply is data.standard.apply
        far = data.far_notes(read, card, self.dataset.of_run(places[0]).fitted) if is_standard else ()
        notes = (*read.notes, *far)
        made = made._replace(columns=read.others, notes=notes, notes_by_row=read.notes_by_row)
        return execution.scored(made, read.targets, card)

    def of_prepared(self, inputs: Any, *, seeds: Sequence[int] | None = None) -> Predictions:
        """Returns predictions for prepared inputs, the same for all models.

        Args:
            inputs: ``(n, ...)``.
            seeds: As for `predict`.
        """
        places, dataset = self.places(seeds), self.dataset
        if dataset.n_runs:
            inputs = data.map_arrays(lambda array: np.stack([array] * dataset.n_runs), inputs)
        outputs = self._outputs(dataset._replace(test={"inputs": inputs}), places)
        return self._predictions(outputs, places)

    def _predictions(self, outputs: np.ndarray, places: Sequence[int]) -> Predictions:
        """Returns the predictions in the outputs of the seeds at some places."""
        seeds, others = [self.seeds[place] for place in places], self.experiment.outputs
        return execution.predictions(outputs, self.dataset.card, seeds=seeds, others=others)

    def places(self, seeds: Sequence[int] | None) -> list[int]:
        """Returns the indices of seeds, none of which diverged."""
        kind = self.dataset.runs_of[:-1] if self.dataset.n_folds else "seed"
        chosen = self.seeds if seeds is None else tuple(seeds)
        unknown = [seed for seed in chosen if seed not in self.seeds]
        if unknown or not chosen:
            known = ", ".join(map(str, self.seeds))
            raise ValueError(
                f"seeds must be among {known}, got {', '.join(map(str, unknown)) or 'none'}. Leave the others out."
            )
        if lost := [seed for seed in chosen if seed in self.diverged]:
            rest = ",".join(str(seed) for seed in chosen if seed not in self.diverged)
            advice = f"Leave it out: --seeds {rest}" if rest else "Train it again."
            raise ValueError(f"{kind}s must not have diverged to predict, got {lost[0]}. {advice}")
        return [self.seeds.index(seed) for seed in chosen]


def _is_narrower(inputs: Any, card: DataCard) -> bool:
    """Returns whether examples are shorter than training examples along some axes, and longer along none."""
    own, shape = np.shape(inputs)[1:], card.feature_shape
    return len(own) == len(shape) and all(size <= most for size, most in zip(own, shape, strict=True))


def _require_form(inputs: Any, card: DataCard) -> None:
    """Raises if prepared inputs differ from the training inputs in shape or type, or, as one array, are not finite."""
    arrays, forms = dict(data.arrays_by_path(inputs)), card.feature_arrays
    for path, shape, dtype in forms or (((), card.feature_shape, card.feature_dtype),):
        if isinstance(array := arrays.get(path), np.ndarray) and dtype:
            _require_form_of(array, shape, dtype, name=".".join(("inputs", *path)))
    if not isinstance(inputs, np.ndarray) or not card.feature_dtype:
        return
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        row = int(np.argmax(~np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1)))
        raise ValueError(f"inputs must be finite, got nan or infinity in row {row + 1}. Correct or drop it.")


def _require_form_of(array: np.ndarray, shape: tuple[int, ...], dtype: str, *, name: str) -> None:
    """Raises if an array of examples differs from those of training in shape or type."""
    if array.shape[1:] != shape:
        shapes = [f"({', '.join(map(str, ('n', *one)))})" for one in (shape, array.shape[1:])]
        raise ValueError(f"{name} must be of shape {shapes[0]}, as in training, got {shapes[1]}. Reshape them.")
    if str(array.dtype) != dtype:
        raise ValueError(f"{name} must be {dtype}, as in training, got {array.dtype}. Convert them.")


def read_ensemble(
    path: str | Path, *, cipher: Any = None, experiment: Experiment | None = None, unfinished: bool = False
) -> Ensemble:
    """Returns the trained models of a run or study; nothing in the directory is changed or locked.

    The state is verified against its digests, and fitted preprocessing against the digest in the state's manifest.

    Args:
        path: The directory.
        cipher: Decrypts an encrypted run.
        experiment: The trained experiment; by default loaded from the file in ``config.json``, which a notebook does not have.
        unfinished: Whether to take the newest checkpoint of an unfinished run.

    Raises:
        CheckpointError: If there is no state that verifies, or it is encrypted and no key is given.
        ValueError: If the directory holds a sweep or an unfinished run, or ``config.json`` is incomplete.
        FileNotFoundError: If the experiment's file is missing.
    """
    path = Path(path)
    require_exists(path)
    if not (path / "config.json").is_file():
        raise ValueError(f"directory must hold a run or study, got {path} without config.json. Correct the path.")
    config, ended = read_json(path / "config.json"), (path / "result.json").is_file()
    if (command := command_of(config)) == "sweep":
        raise ValueError(
            f"directory must hold a run or study, got the sweep {path}, which keeps no models. Run the best settings."
        )
    if not ended and (not unfinished or command == "study"):
        use = ", or use its newest checkpoint: jaxresearch predict DIR DATA --unfinished" if command == "run" else ""
        raise ValueError(
            f"the {command} in {path} must have ended, got an unfinished one. Resume it: {resume_command(path)}{use}"
        )
    result = read_json(path / "result.json") if ended else {}
    experiment = experiment or _experiment(config, path)
    experiment = dataclasses.replace(experiment, question=result.get("question", experiment.question))  # on other data
    settings = result.get("hyperparameters") or config["hyperparameters"]
    settings = settings_from_record(settings, experiment.hyperparameters)
    dataset = _dataset(config, result, _fitted(path, cipher))
    seeds, every = _seeds(config, result), _looks_every(config)
    like = execution.blank_state(experiment, settings, dataset, n_runs=len(seeds), evaluate_every=every)
    found = _restored(path, like, cipher, ended=ended)
    digest = data.digest(fitted_arrays(dataset))
    if found.about.get("fitted", digest) != digest:
        raise CheckpointError(f"{path / FITTED} was altered: its SHA-256 does not match. Restore it.")
    diverged = tuple(seeds[run] for run, *_ in found.about.get("diverged", ()))
    outputs_fn = execution.outputs_fn_of(experiment, settings, dataset, evaluate_every=every)
    made = Ensemble(experiment, settings, dataset, found.state, seeds, diverged, found.step, every, outputs_fn)
    return made if found.about.get("ended") else made._replace(state=_outcome(made))


def read_checkpoints(path: str | Path, ensemble: Ensemble, *, cipher: Any = None) -> list[tuple[int, State]]:
    """Returns the outcomes at the checkpoints that a directory keeps, which are at most two: step and state, the newest first.

    Args:
        path: The directory.
        ensemble: Its models.
        cipher: Decrypts an encrypted run.
    """
    found = Checkpoints(path, cipher=cipher).read_each(ensemble.state)
    return [
        (one.step, one.state if one.about.get("ended") else _outcome(ensemble._replace(state=one.state)))
        for one in found
    ]


def fitted_arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    """Returns the numbers estimated on the training part (of each fold), as the named arrays of ``fitted.npz``.

    Args:
        dataset: Preprocessed data.

    Returns:
        Arrays by path, as of `jaxresearch.data.flat`.

    Example:
        >>> fitted_arrays(Dataset({}, {}, {}, DataCard(name="a", source="b"), fitted={"mean": np.array(2.0)}))
        {'["mean"]': array(2.)}
    """
    fitted = dataset.fitted
    return data.flat({str(place): one for place, one in enumerate(fitted)} if dataset.n_runs else fitted)


def _experiment(config: dict[str, Any], path: Path) -> Experiment:
    """Returns the experiment that a configuration names."""
    name = config.get("experiment")
    if not isinstance(name, str) or not isinstance(config.get("hyperparameters"), dict):
        raise ValueError(
            f"{path / 'config.json'} must be the configuration of a run, got an incomplete one. Restore it."
        )
    file, line = experiment_of(path, config)
    if line is not None:
        warnings.warn(line, stacklevel=3)
    return loading.load(file)


def _looks_every(config: dict[str, Any]) -> int | None:
    """Returns ``evaluate_every`` of a run; None without validation data."""
    return None if config.get("validation", "") is None else config.get("evaluate_every")


def _seeds(config: dict[str, Any], result: dict[str, Any]) -> tuple[int, ...]:
    """Returns the seeds of the models; older records have their number."""
    seeds = result.get("seeds") or config["seeds"]
    return tuple(range(seeds) if isinstance(seeds, int) else seeds)


def _fitted(path: Path, cipher: Any) -> dict[str, np.ndarray]:
    """Returns what preprocessing fitted, as named arrays; empty if nothing."""
    clear, encrypted = path / FITTED, path / f"{FITTED}.sealed"
    if encrypted.is_file() and cipher is None:
        raise CheckpointError(f"{encrypted} is encrypted. Pass its key: --encrypt-with KEYFILE")
    if encrypted.is_file():
        content = cipher.decrypt(encrypted.read_bytes(), name=FITTED)
    elif clear.is_file():
        content = clear.read_bytes()
    else:
        return {}
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _dataset(config: dict[str, Any], result: dict[str, Any], arrays: dict[str, np.ndarray]) -> Dataset:
    """Returns the dataset of a run without its examples: their number, the card and what was fitted."""
    runs_of = result.get("runs_of") or _runs_of(config)
    seeds, n_train = (
        _seeds(config, result),
        (result.get("n_train") or [config["parts"].get("train", 0)])[0],
    )
    nested = data.nested(arrays)
    card = card_of(result.get("data_card") or config["data_card"])
    shape = (len(seeds), n_train) if runs_of else (n_train,)
    train = {"inputs": np.broadcast_to(np.zeros((), np.int8), shape)} if n_train else {}
    if not runs_of:
        return Dataset(train, {}, None, card, fitted=nested)
    fitted = tuple(nested.get(str(place), {}) for place in range(len(seeds)))
    return Dataset(train, {}, None, card, len(seeds), fitted, runs_of)


def _runs_of(config: dict[str, Any]) -> RunsOf | None:
    """Returns how the data differ between runs of a configuration; None if runs share them."""
    if config.get("folds"):
        return "folds"
    return "splits" if config.get("resplit") else "subsets" if config.get("train_examples") else None


def card_of(record: dict[str, Any]) -> DataCard:
    """Returns the data card of a record.

    Args:
        record: As in ``config.json``; of an earlier version, some fields may be missing.

    Example:
        >>> card = DataCard(name="mine", source="a", columns=(Column(name="age", kind="number"),), feature_shape=(1,))
        >>> import json
        >>> card_of(json.loads(json.dumps(dataclasses.asdict(card)))) == card
        True
    """
    known = {field.name for field in dataclasses.fields(DataCard)}
    entries = {name: _tuples(value) for name, value in record.items() if name in known}
    entries["columns"] = tuple(map(_column, record.get("columns", ())))
    entries["target"] = None if record.get("target") is None else _column(record["target"])
    if "split" in record:
        entries["split"] = Split(**record["split"])
    return DataCard(**entries)


def _column(record: dict[str, Any]) -> Column:
    """Returns a column of a record."""
    return Column(**{name: _tuples(value) for name, value in record.items()})


def _tuples(value: Any) -> Any:
    """Returns lists of JSON as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _restored(path: Path, like: State, cipher: Any, *, ended: bool) -> Restored:
    """Returns the final state of a finished run, else the newest that verifies."""
    found = Checkpoints(path, cipher=cipher).read(like, only_newest=ended)
    if found is None:
        raise CheckpointError(f"directory must hold the state of a run, got {path} without one. Train it first.")
    return found


def _outcome(ensemble: Ensemble) -> State:
    """Returns the outcome of an intermediate state."""
    dataset, settings = ensemble.dataset, ensemble.hyperparameters

    def of_run(fitted: Any, state: State) -> State:
        program = experiments.program(
            ensemble.experiment, dataset, evaluate_every=ensemble.evaluate_every, fitted=fitted
        )
        return program.algorithm(settings).outcome(state)

    return jax.device_get(jax.jit(jax.vmap(of_run, (dataset.axis, 0)))(fitted_of(dataset), ensemble.state))

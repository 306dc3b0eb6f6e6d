"""The data of a command: read, split, fitted on the training part, and transformed."""

import contextlib
import dataclasses
import inspect
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from jaxresearch import data, devices
from jaxresearch import experiment as experiments
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.options import Options
from jaxresearch.data import Dataset
from jaxresearch.experiment import Experiment

_SMOKE_STEPS = 20
_SMOKE_TEST_EXAMPLES = 500


class Loaded(NamedTuple):
    """The data of a command: as collected (the first of folds, splits or subsets), and as trained on and tested.

    ``whole`` is the collected data before any fold or subset is taken.
    """

    collected: Dataset
    dataset: Dataset
    seconds: float
    whole: Dataset


def cipher_of(options: Options) -> Any:
    """Returns the cipher of the checkpoints, or None."""
    if options.encrypt_with is None:
        return None
    from jaxresearch.records.encryption import read_key

    return read_key(options.encrypt_with)


def meshed(options: Options) -> contextlib.AbstractContextManager:
    """Returns the context in which devices split each run as the options ask."""
    return jax.set_mesh(devices.mesh(**dict(options.mesh))) if options.mesh else contextlib.nullcontext()


def shortened(options: Options) -> Options:
    """Returns the options of a smoke run: few steps and at most two seeds or folds; loading cuts the data to match."""
    plain = options.hyperparameters
    lengths = {"n_steps": _SMOKE_STEPS} if hasattr(plain, "n_steps") else {"epochs": 1}
    short = {name: min(limit, getattr(plain, name)) for name, limit in lengths.items()}
    return dataclasses.replace(
        options,
        seeds=options.seeds[:2],
        folds=min(2, options.folds),
        hyperparameters=dataclasses.replace(plain, **short),
    )


def load_data(experiment: Experiment, options: Options, cipher: Any, *, to_choose: bool = False) -> Loaded:
    """Returns the data of a command: split, then fitted on the training part, then transformed in every part.

    Args:
        experiment: As declared.
        options: Of the command.
        cipher: Encrypts cached data.
        to_choose: Whether settings are compared; then a fraction of the training part replaces the test part.
    """
    start = time.perf_counter()
    whole = _collected(experiment, options, cipher)
    collected, dataset = prepare_runs(experiment, options, cipher, whole, to_choose=to_choose)
    return Loaded(collected, dataset, time.perf_counter() - start, whole)


def prepare_runs(
    experiment: Experiment, options: Options, cipher: Any, whole: Dataset, *, to_choose: bool = False
) -> tuple[Dataset, Dataset]:
    """Returns the data of the first run as collected, and the data of all runs as trained on and tested.

    Each fold, each seed of ``--resplit`` and each seed of ``--train-examples`` has its own data. If settings are compared, all
    seeds share the same examples.

    Args:
        experiment: As declared.
        options: Of the command.
        cipher: Encrypts cached data.
        whole: As collected.
        to_choose: As for `load_data`.
    """
    of_runs = _of_runs(experiment, options, cipher, whole, to_choose=to_choose)
    collected = next(of_runs)
    seen = _development(collected) if to_choose else collected
    dataset = _prepared(experiment, options, _with_validation(options, seen))
    own = None if to_choose else options.runs_of
    if own is not None:  # one at a time: besides the first, only one run's collected data is in memory
        prepared = (_prepared(experiment, options, _with_validation(options, one)) for one in of_runs)
        dataset = data.stacked([dataset, *prepared], runs_of=own, seeds=options.seeds)
    return collected, dataset


def _collected(experiment: Experiment, options: Options, cipher: Any) -> Dataset:
    """Returns the collected data; ``collect`` receives the options for reading, and a cipher for what it caches."""
    if options.data is None:
        return experiments.without_data(experiment)
    asked = options.reading | ({} if cipher is None else {"cipher": cipher})
    known = inspect.signature(experiment.collect).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for name in () if takes_all else (name for name in [*asked] if name not in known):
        if name != "cipher" or options.data.startswith("tfds:"):
            raise UsageError(
                f"collect must take {name} for this command, got one that does not. Write: "
                "collect(source, *, target=None, **reading), and pass reading on to data.load."
            )
        asked = {key: value for key, value in asked.items() if key != name}
    if experiment.task is not None and (takes_all or "task" in known):
        if asked.setdefault("task", experiment.task) != experiment.task:
            raise UsageError(
                f"task must be {experiment.task} for this experiment, got {asked['task']}. Choose another experiment."
            )
    try:
        return experiment.collect(options.data, target=options.target, **asked)
    except ValueError as error:
        rule = "group must be "
        if options.unit is None or options.group is not None or not str(error).startswith(rule):
            raise
        raise UsageError(f"unit must be {str(error).removeprefix(rule)}") from error  # its column divides the data


def _of_runs(
    experiment: Experiment, options: Options, cipher: Any, whole: Dataset, *, to_choose: bool
) -> Iterator[Dataset]:
    """Yields the collected data of each run: its fold or split, with its training examples."""
    if options.folds:
        for place in range(options.folds):
            yield _few(options, data.fold(whole, place, n_folds=options.folds), 0)
    elif options.resplit:
        _require_drawn(whole.card)
        for seed in options.seeds:
            asked = dataclasses.replace(options, split_seed=seed)
            yield _few(options, _collected(experiment, asked, cipher) if seed else whole, seed)
    elif options.train_examples is None or to_choose:
        yield _few(options, whole, 0)
    else:
        for seed in options.seeds:
            yield _few(options, whole, seed)


def _few(options: Options, collected: Dataset, seed: int) -> Dataset:
    """Returns the data with the requested number of training examples, drawn with a seed."""
    n, n_all = options.train_examples, collected.n_train
    if n is not None and n >= n_all:
        raise UsageError(f"train_examples must be below {n_all}, got {n}. Leave it out to use all.")
    if n is not None:
        collected = collected._replace(train=data.sample(collected.train, n, seed=seed))
    return collected


def _require_drawn(card: data.DataCard) -> None:
    """Raises if the test part was not drawn, so that seeds cannot draw others."""
    if card.in_sample:
        raise UsageError(f"resplit must have a test part to draw, got {card.name}, which holds none out. Leave it out.")
    if card.split.fraction is None:
        raise UsageError(
            f"resplit must have a test part to draw, got {card.name}, which has its own. Leave it out: all seeds share it."
        )
    if card.split.by in ("time", "stretch"):
        raise UsageError(
            f"resplit must have a test part to draw, got {card.name}, which holds out its last examples. Leave it out."
        )


def _with_validation(options: Options, collected: Dataset) -> Dataset:
    """Returns the data with the validation part for training, if requested."""
    if options.validation is None:
        return collected
    if options.validation == "own":
        if collected.validation is None:
            name = collected.card.name
            raise UsageError(
                f"validation must be a fraction for {name}, which has no validation part, got own. Pass --validation 0.1."
            )
        return collected
    if options.data is None:
        raise UsageError(f"validation must be own without data, got {options.validation:g}. Pass --validation own.")
    return data.with_validation(collected, fraction=options.validation)


def _prepared(experiment: Experiment, options: Options, collected: Dataset) -> Dataset:
    """Returns the prepared data of one run; for a smoke run, a few examples."""
    return _cut(options, experiment.prepare(collected))


def as_trained_on(options: Options, collected: Dataset) -> Dataset:
    """Returns collected data with the examples of the prepared data: without the validation part, and few for a smoke run."""
    return _cut(options, _with_validation(options, collected))


def _cut(options: Options, dataset: Dataset) -> Dataset:
    """Returns a few examples of each part for a smoke run, else all."""
    if not options.smoke or not dataset.train:
        return dataset
    n_train = _SMOKE_STEPS * (getattr(options.hyperparameters, "batch_size", 0) or dataset.n_train)
    limits = {"train": n_train, "validation": _SMOKE_TEST_EXAMPLES, "test": _SMOKE_TEST_EXAMPLES}
    return dataset._replace(**{name: _drawn(part, limits[name]) for name, part in dataset.parts().items()})


def _drawn(part: Any, n: int) -> Any:
    """Returns n examples of a part, drawn class by class since they may be sorted by class."""
    if isinstance(part, data.Streams):
        return data.Streams({name: _drawn(stream, n) for name, stream in part.items()})
    return data.sample(part, n)


def _development(collected: Dataset) -> Dataset:
    """Returns the data on which settings are compared, without the test part; unchanged without data."""
    return data.development(collected) if collected.train else collected

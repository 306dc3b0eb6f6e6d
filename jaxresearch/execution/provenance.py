"""Which settings share a program, and the SHA-256 of a trial's program, numbers, seeds and data."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxresearch import data, devices
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset
from jaxresearch.execution.reading import blank
from jaxresearch.execution.stages import fitted_of
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check


def groups(settings: Sequence[Any]) -> list[list[int]]:
    """Returns the indices of the settings that share a program, grouped: these differ only in leaves.

    Args:
        settings: Hyperparameters.

    Returns:
        Lists of indices, the first setting's group first.

    Raises:
        ValueError: If a hyperparameter is out of bounds.

    Example:
        >>> import dataclasses
        >>> from jaxresearch.loading import load
        >>> plain = load("mnist").hyperparameters
        >>> changes = [{"learning_rate": 0.1}, {"hidden": (64,)}, {"learning_rate": 0.2}]
        >>> groups([dataclasses.replace(plain, **change) for change in changes])
        [[0, 2], [1]]
    """
    found: dict[Any, list[int]] = {}
    for place, setting in enumerate(settings):
        check(setting)
        found.setdefault(jax.tree.structure(setting), []).append(place)
    return list(found.values())


def seeds_of(seeds: Sequence[int] | Sequence[Sequence[int]], n_settings: int) -> list[list[int]]:
    """Returns the seeds of each setting.

    Args:
        seeds: Seeds that all settings share, or one list for each setting.
        n_settings: Number of settings.

    Returns:
        One list for each setting.

    Raises:
        ValueError: If there is no seed, or not one list per setting, all of the same length.

    Example:
        >>> seeds_of(range(2), 2), seeds_of([[0, 1], [2, 3]], 2)
        ([[0, 1], [0, 1]], [[0, 1], [2, 3]])

    References:
        Henderson et al. (2018), Deep reinforcement learning that matters, AAAI (the same settings with other seeds).
        https://arxiv.org/abs/1709.06560
    """
    if not len(seeds):
        raise ValueError("seeds must hold at least one number, got none. Pass range(10) for a narrow interval.")
    given: Any = seeds
    each = [list(own) for own in given] if np.ndim(given[0]) else [list(given)] * n_settings
    if len(each) != n_settings or len({len(own) for own in each}) > 1 or not each[0]:
        sizes = ", ".join(str(len(own)) for own in each)
        raise ValueError(
            f"seeds must be the same number for each of {n_settings} settings, got lists of {sizes}. Pass one list for all."
        )
    return each


def digests(
    experiment: Experiment,
    settings: Sequence[Any],
    dataset: Dataset,
    *,
    seeds: Sequence[int] | Sequence[Sequence[int]],
    evaluate_every: int | None = None,
) -> list[str]:
    """Returns the SHA-256 of everything that determines the trial of each setting.

    It covers the program of the whole run and its evaluation as lowered for XLA (a changed comment in the experiment's file
    makes no difference, a changed constant in a library does), the hyperparameters as float32, the seeds and the data. It
    does not cover the device and the version of XLA, which may change last digits; these are in ``environment.json``.

    Args:
        experiment: As declared.
        settings: Hyperparameters.
        dataset: Preprocessed data.
        seeds: As in `execute_all`.
        evaluate_every: As in `execute_all`.

    Returns:
        64 hexadecimal digits per setting.

    Raises:
        ValueError: If a hyperparameter is out of bounds or does not fit the data.

    Example:
        >>> from jaxresearch.loading import load
        >>> house = load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> first, again = (digests(house, [house.hyperparameters], dataset, seeds=[0]) for _ in range(2))
        >>> first == again != digests(house, [house.hyperparameters], dataset, seeds=[1])
        True
    """
    of_run = dataset.of_run(0)
    with devices.no_mesh():  # the same on any number of devices
        key = jax.random.key(0)
    parts: dict[str, Any] = {"train": of_run.train, "test": of_run.test}
    if evaluate_every is not None:
        parts["validation"] = of_run.validation

    def whole(key, hyperparameters, fitted, parts):
        program = experiments.program(experiment, dataset, evaluate_every=evaluate_every, fitted=fitted)
        state, _ = program.run(key, hyperparameters, parts["train"], parts.get("validation"))
        return program.evaluate(key, hyperparameters, state, parts["test"])

    fitted = fitted_of(dataset)
    of_data = "".join([*(data.digest(getattr(dataset, name)) for name in parts), data.digest(fitted)])
    types, of_first = blank(parts), data.numbers(of_run.fitted)
    digest_of, each = {}, seeds_of(seeds, len(settings))
    exact = jax.dtypes.canonicalize_dtype(np.float64)  # the type in which they are computed
    for places in groups(settings):
        with devices.no_mesh():
            lowered = jax.jit(whole).lower(key, settings[places[0]], of_first, types).as_text()
        for place in places:
            numbers = np.array(jax.tree.leaves(settings[place]), exact).tolist()
            text = f"{lowered}{numbers}{each[place]}{of_data}"
            digest_of[place] = hashlib.sha256(text.encode()).hexdigest()
    return [digest_of[place] for place in range(len(settings))]

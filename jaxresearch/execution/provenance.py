"""What a trial is made from: which settings share a program, and the SHA-256 of program, numbers, seeds and data."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxresearch import data
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check


def groups(settings: Sequence[Any]) -> list[list[int]]:
    """Returns the places of the settings that share one program: those that differ in leaves alone.

    Args:
        settings: Hyperparameters.

    Returns:
        Lists of places, the first setting's group first.

    Raises:
        ValueError: If a hyperparameter is out of its bounds.

    Example:
        >>> import dataclasses
        >>> from jaxresearch.experiment import load
        >>> plain = load("mnist").hyperparameters
        >>> changes = [{"learning_rate": 0.1}, {"hidden": (64,)}, {"learning_rate": 0.2}]
        >>> groups([dataclasses.replace(plain, **change) for change in changes])
        [[0, 2], [1]]

    References:
        JAX documentation, Just-in-time compilation, static arguments. https://docs.jax.dev/en/latest/jit-compilation.html
    """
    found: dict[Any, list[int]] = {}
    for place, setting in enumerate(settings):
        check(setting)
        found.setdefault(jax.tree.structure(setting), []).append(place)
    return list(found.values())


def digests(experiment: Experiment, settings: Sequence[Any], dataset: Dataset, *, seeds: Sequence[int]) -> list[str]:
    """Returns the SHA-256 of what each setting asks of `jaxresearch.execution.execute_all`.

    That is the program of the whole run and its evaluation as it is lowered for XLA (so that a comment changed in the
    experiment's file makes no difference, and a constant in a library that it uses does), the numbers of the
    hyperparameters as float32, the seeds and the data. It is not where it runs: the device and the version of XLA, which
    may change last digits, stand in a directory's ``environment.json``.

    Args:
        experiment: The stages.
        settings: Hyperparameters.
        dataset: Preprocessed data.
        seeds: One run of each setting for each.

    Returns:
        64 hexadecimal digits a setting.

    Raises:
        ValueError: If a hyperparameter is out of its bounds or does not fit the data.

    Example:
        >>> from jaxresearch.experiment import load
        >>> house = load("house_prices")
        >>> dataset = house.preprocess(house.collect(house.source))
        >>> first, again = (digests(house, [house.hyperparameters], dataset, seeds=[0]) for _ in range(2))
        >>> first == again != digests(house, [house.hyperparameters], dataset, seeds=[1])
        True

    References:
        Mokhov, Mitchell and Peyton Jones (2018), Build systems a la carte, ICFP, section 4.2.2 (verifying traces).
        https://doi.org/10.1145/3236774
    """
    program = experiments.program(experiment, dataset.card)

    def whole(key, hyperparameters, train, test):
        state, _ = program.run(key, hyperparameters, train)
        return program.evaluate(hyperparameters, state, test)

    of_data = data.digest(dataset.train) + data.digest(dataset.test)
    of_run = dataset.of_run(0)
    types = [jax.tree.map(lambda array: jax.typeof(array), part) for part in (of_run.train, of_run.test)]
    made: dict[int, str] = {}
    for places in groups(settings):
        lowered = jax.jit(whole).lower(jax.random.key(0), settings[places[0]], *types).as_text()
        for place in places:
            numbers = np.array(jax.tree.leaves(settings[place]), np.float32).tolist()
            text = f"{lowered}{numbers}{list(seeds)}{of_data}"
            made[place] = hashlib.sha256(text.encode()).hexdigest()
    return [made[place] for place in range(len(settings))]

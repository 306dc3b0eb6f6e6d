"""The main job for the programs of this folder: its experiment, its data and its pure functions."""

import dataclasses
from typing import Any, NamedTuple

import jax

from jaxresearch import data, experiment, loading
from jaxresearch.data import Dataset
from jaxresearch.execution.compilation import compiler_options
from jaxresearch.experiment import Program


class MainJob(NamedTuple):
    """Hyperparameters, data and functions of ``experiments/mnist.py``."""

    hyperparameters: Any
    dataset: Dataset
    program: Program


def main_job(*, n_examples: int = 60_000, **settings: Any) -> MainJob:
    """Returns the main job on the first examples, with other settings where given."""
    mnist = loading.load("mnist")
    dataset = data.prepare(data.standard, data.load("mnist"))
    dataset = dataset._replace(train=data.take(dataset.train, slice(n_examples)))
    hyperparameters = dataclasses.replace(mnist.hyperparameters, **settings)
    return MainJob(hyperparameters, dataset, experiment.program(mnist, dataset))


def compiled(fun: Any, *args: Any) -> Any:
    """Returns the program of a function for these arguments, compiled as by the command line."""
    lowered = jax.jit(fun).lower(*args)
    return lowered.compile(compiler_options(lowered))

"""A small classification task shared by the tests of execution: programs are compiled once, then read from disk."""

from typing import NamedTuple

import jax
import numpy as np
import optax
import pytest

from jaxresearch import losses, metrics, models, training
from jaxresearch.algorithms import averaged, stopped
from jaxresearch.data import DataCard, Dataset
from jaxresearch.execution import compilation
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class Settings:
    """Thirty steps."""

    learning_rate: float = swept(0.03, "step size of Adam", above=0)
    batch_size: int = static(16, "examples per step; 0 for all", at_least=0)
    epochs: int = static(3, "passes over the data", at_least=1)


def classify(h, card, plan, fitted):
    """Returns Adam on the mean cross entropy, with a scalar metric and a vector."""
    return training.supervised(
        models.linear(card.n_features, card.n_classes),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=optax.adam(h.learning_rate, eps_root=1e-24),
        metrics={"log_loss": metrics.log_loss(), "recall": metrics.recall(average=None)},
        estimator=plan.estimator,
    )


def early(h, card, plan, fitted):
    """Returns the same with averaged parameters, from the step with the lowest validation loss."""
    return stopped(averaged(classify(h, card, plan, fitted), decay=0.5), metric="log_loss", patience=1)


def part(n, seed):
    """Returns two features and three classes that overlap."""
    targets = (np.arange(n) % 3).astype(np.int32)
    noise = np.random.default_rng(seed).normal(size=(n, 2))
    inputs = noise + np.stack([np.cos(targets * 2.1), np.sin(targets * 2.1)], 1)
    return {"inputs": inputs.astype(np.float32), "targets": targets}


class Task(NamedTuple):
    """An experiment, its settings and its data: the first arguments of most functions of execution."""

    experiment: Experiment
    settings: Settings
    dataset: Dataset


COMPILER_OPTIONS = compilation.compiler_options
CLAIM = Claim(text="better than chance", metric="test/log_loss", about="these examples", at_most=1.0)
CARD = DataCard(name="a", source="b", class_names=("x", "y", "z"), feature_shape=(2,))


@pytest.fixture(scope="session")
def task():
    """A classification of 30 steps that does not react to validation data."""
    experiment = Experiment(question="?", claim=CLAIM, hyperparameters=Settings(), source="b", algorithm=classify)
    return Task(experiment, Settings(), Dataset(part(160, 0), part(48, 1), part(40, 2), CARD))


@pytest.fixture(scope="session")
def stopping(task):
    """The same with runs that stop early."""
    settings = Settings(learning_rate=0.1)
    experiment = Experiment(question="?", claim=CLAIM, hyperparameters=settings, source="b", algorithm=early)
    return task._replace(experiment=experiment, settings=settings)


@pytest.fixture(scope="module")
def unoptimized():
    """Compiles runs as the tests compile all else, which takes a third of the time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compilation, "compiler_options", lambda program: {})
        yield


@pytest.fixture
def optimized(monkeypatch):
    """Compiles runs with the options of users."""
    monkeypatch.setattr(compilation, "compiler_options", COMPILER_OPTIONS)


@pytest.fixture(scope="session")
def bits():
    """Returns the bytes of every array of a tree."""
    return lambda tree: [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]

"""The main job's experiment: its schedule, and what it reports."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import experiment, loading
from jaxresearch.data import DataCard, Dataset

MNIST = loading.load("mnist", directory=Path(__file__).parents[2] / "experiments")
CARD = DataCard(name="a", source="b", class_names=tuple("0123456789"), feature_shape=(28, 28, 1))


@pytest.fixture(scope="module")
def dataset():
    """Images of noise in place of digits."""
    images = np.random.default_rng(0).random((64, 28, 28, 1)).astype(np.float32)
    part = {"inputs": images, "targets": (np.arange(64) % 10).astype(np.int32)}
    return Dataset(part, part, None, CARD)


def test_run_reports_the_metrics_of_a_classifier(dataset):
    h = dataclasses.replace(MNIST.hyperparameters, hidden=(8,), epochs=2, batch_size=16, schedule="linear")
    program = experiment.program(MNIST, dataset)
    state, history = jax.jit(program.run)(jax.random.key(0), h, dataset.train)
    assert set(history) == {"loss", "accuracy"} and np.isfinite(history["loss"]).all()
    values = jax.jit(program.evaluate)(jax.random.key(0), h, state, dataset.test)
    assert {"accuracy", "macro_f1", "macro_recall", "log_loss"} <= {*values}


def test_linear_schedule_falls_to_zero(dataset):
    """From one state, the steps of the two schedules differ only by the decay factor."""
    h = dataclasses.replace(MNIST.hyperparameters, hidden=(), epochs=4, batch_size=16)
    constant, linear = (
        experiment.program(MNIST, dataset).algorithm(dataclasses.replace(h, schedule=name))
        for name in ("constant", "linear")
    )

    @jax.jit
    def sizes(key, batch):
        """Returns the mean step of a bias by both schedules, after each of 17 steps."""

        def body(state, _):
            after = [algorithm.step(state, batch, key)[0] for algorithm in (constant, linear)]
            moved = [one.params["Dense_0"]["bias"] - state.params["Dense_0"]["bias"] for one in after]
            return after[0], [abs(one).mean() for one in moved]

        return jax.lax.scan(body, constant.init(key), length=17)[1]

    of_constant, of_linear = sizes(jax.random.key(0), dataset.train)
    # Biases start at zero and steps are 1e-3: float32 sums keep a few digits of them.
    np.testing.assert_allclose(of_linear / of_constant, 1 - np.arange(17) / 16, atol=1e-4)
    np.testing.assert_allclose(of_constant[0], 1e-3, rtol=1e-3)  # Adam's first step is the step size

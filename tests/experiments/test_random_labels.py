"""random_labels: numbered images, one compiled step of all networks, and equal starts at every level of corruption."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, loading
from jaxresearch import experiment as experiments

RANDOM_LABELS = loading.load("random_labels", directory=Path(__file__).parents[2] / "experiments")


@pytest.fixture(scope="module")
def dataset():
    return RANDOM_LABELS.prepare(RANDOM_LABELS.collect("mnist"))


def test_training_images_are_the_first_and_numbered(dataset):
    whole = data.load("mnist")
    assert dataset.n_train == 2_000 and len(dataset.test["targets"]) == 10_000 and "index" not in dataset.test
    np.testing.assert_array_equal(dataset.train["inputs"], whole.train["inputs"][:2_000])
    np.testing.assert_array_equal(dataset.train["index"], np.arange(2_000))
    few = RANDOM_LABELS.collect("mnist")
    few = RANDOM_LABELS.prepare(few._replace(train=data.sample(few.train, 70)))  # as --train-examples does
    np.testing.assert_array_equal(few.train["index"], np.arange(70))


@pytest.mark.long
def test_networks_start_alike_and_learn_labels_of_their_own(dataset):
    program, h = experiments.program(RANDOM_LABELS, dataset), RANDOM_LABELS.hyperparameters
    key, test = jax.random.key(0), {name: entry[:100] for name, entry in dataset.test.items()}
    first = jax.jit(program.init)(key, h)
    kernels = [state.inner.params["Dense_0"]["kernel"] for state in first.values()]
    assert all((kernel == kernels[0][:1]).all() for kernel in kernels)  # at every level, with every regulariser
    assert all((state.random_labels == first["plain"].random_labels[:1]).all() for state in first.values())
    state, history = jax.jit(program.advance, static_argnums=5)(key, h, first, dataset.train, 0, 2)
    assert set(history) == {"loss", "fitted_true", "fitted_random"}
    kernels = {name: one.inner.params["Dense_0"]["kernel"] for name, one in state.items()}
    assert (abs(kernels["plain"][1:] - kernels["plain"][:1]).max(axis=(1, 2)) > 0).all()
    assert all((abs(kernels[name] - kernels["plain"]) > 0).any() for name in ("weight_decay", "dropout"))
    state["plain"] = state["plain"]._replace(fitted_at=np.array([20, 0, 0, 0, 50]))
    found = program.evaluate(key, h, state, test)
    assert found["slowdown"] == 2.5 and found["accuracy_dropout"].shape == (5,)
    np.testing.assert_array_equal(found["steps_to_fit_plain"], [20, np.nan, np.nan, np.nan, 50])
    mixed = dataclasses.replace(h, corruption=(0.0, 0.25, 0.5, 0.75, 0.9))  # no labels that are all random
    assert np.isnan(program.evaluate(key, mixed, state, test)["slowdown"])


@pytest.mark.long
def test_one_seed_trains_on_one_of_several_devices(command, tmp_path):
    """Its five levels of corruption, too, which may not take the devices of other seeds."""
    done = command("run", "random_labels", "--smoke", "--seeds", "1", "--directory", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

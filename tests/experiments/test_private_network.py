"""The private network: what it reads of an image, and a run on stripes."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import experiment, loading, privacy
from jaxresearch.data import DataCard, Dataset

FILE = Path(__file__).parents[2] / "experiments" / "private_network.py"
NETWORK = loading.load(str(FILE))
CARD = DataCard(name="a", source="b", class_names=("0", "1"), feature_shape=(28, 28, 1))


def _slanted(slant, *, width=2):
    """Returns a stroke that moves to the right by a number of pixels per row."""
    rows, columns = np.mgrid[:28, :28]
    is_ink = (abs(columns - 13.5 - slant * (rows - 13.5)) < width) & (abs(rows - 13.5) < 9)
    return (255 * is_ink).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def prepared():
    """Slanted strokes, narrow or wide, and an empty image."""
    images = np.stack([_slanted(0.1 * (i % 5) - 0.2, width=2 + 3 * (i % 2)) for i in range(32)])
    part = {"inputs": images, "targets": (np.arange(32) % 2).astype(np.int32)}
    empty = {**part, "inputs": np.concatenate([images[:-1], np.zeros_like(images[:1])])}
    return NETWORK.prepare(Dataset(part, empty, None, CARD))


def test_strokes_become_upright_each_alone(prepared):
    inputs = prepared.train["inputs"]
    assert prepared.fitted == {} and prepared.card.n_features == 784
    np.testing.assert_allclose(np.linalg.norm(inputs, axis=(1, 2)), 6, rtol=1e-4)
    np.testing.assert_array_equal(inputs[:-1], prepared.test["inputs"][:-1])
    assert not prepared.test["inputs"][-1].any()  # no ink, no shear
    rows = inputs[[0, 4], 6:22]  # they were 3 pixels apart from the first to the last
    centres = (rows * np.arange(28)).sum(2) / rows.sum(2)
    np.testing.assert_allclose(centres, 13.5, atol=0.6)  # strokes of whole pixels are half a pixel off


def test_a_private_step_tells_narrow_from_wide(prepared):
    h = dataclasses.replace(NETWORK.hyperparameters, batch_size=16, epochs=10)

    def mechanism_of(plan, n):
        sizes = {"n_examples": n, "batch_size": plan.batch_size, "n_steps": plan.n_steps}
        return privacy.Mechanism(noise_multiplier=0.01, clip=NETWORK.private["clip"], delta=1e-3, **sizes)

    program = experiment.program(privacy.private_experiment(NETWORK, mechanism_of), prepared)
    state, history = jax.jit(program.run)(jax.random.key(0), h, prepared.train)
    assert set(history) == {"gradient_norm"}
    assert program.evaluate(jax.random.key(0), h, state, prepared.train)["accuracy"] == 1

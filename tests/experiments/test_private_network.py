"""The private network: what it reads of an image, and a run on stripes."""

import dataclasses
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import experiment, loading, models, privacy
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
    np.testing.assert_allclose(np.linalg.norm(inputs[..., 0], axis=(1, 2)), 6, rtol=1e-4)
    np.testing.assert_array_equal(inputs[:-1], prepared.test["inputs"][:-1])
    assert not prepared.test["inputs"][-1].any()  # no ink, no shear
    rows = inputs[[0, 4], 6:22, :, 0]  # they were 3 pixels apart from the first to the last
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


def test_images_move_in_training_alone(prepared):
    echo = models.Model(lambda key: ({}, {}), lambda params, model_state, inputs, key=None: (inputs, model_state))
    model = runpy.run_path(str(FILE))["shifting"](echo)
    images = prepared.train["inputs"]
    same, _ = model.apply({}, {}, images)
    np.testing.assert_array_equal(same, images)
    shown = np.asarray(model.apply({}, {}, images, jax.random.key(0))[0])
    whole = np.stack([np.roll(images, (down, across), (1, 2)) for down in (-1, 0, 1) for across in (-1, 0, 1)])
    differences = abs(shown[:, 2:-2, 2:-2] - whole[:, :, 2:-2, 2:-2]).max(
        (2, 3, 4)
    )  # rolled pixels come back at the edges
    assert (differences.min(0) < 1e-6).all() and len({*differences.argmin(0)}) > 4

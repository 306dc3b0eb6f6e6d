"""The private classifier of digits and that of clothes, on stripes in their place."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import experiment, loading, privacy
from jaxresearch.data import DataCard, Dataset
from jaxresearch.fields import images

FOLDER = Path(__file__).parents[2] / "experiments"
MNIST, FASHION = (loading.load(str(FOLDER / f"{name}.py")) for name in ("private_mnist", "private_fashion"))
CARD = DataCard(name="a", source="b", class_names=("0", "1"), feature_shape=(28, 28, 1))


@pytest.fixture(scope="module")
def prepared():
    """Scattering coefficients of stripes, upright or lying."""
    stripes = np.tile((np.arange(28) % 4 < 2)[None, :] * 255, (28, 1)).astype(np.uint8)
    images = np.stack([stripes if i % 2 else stripes.T for i in range(32)])[..., None]
    part = {"inputs": images, "targets": (np.arange(32) % 2).astype(np.int32)}
    return MNIST.prepare(Dataset(part, part, None, CARD))


def test_digits_are_made_upright_and_clothes_left_as_they_are():
    rows, columns = np.mgrid[:28, :28]
    slanted = (255 * (abs(columns - 13.5 - 0.5 * (rows - 13.5)) < 2)).astype(np.uint8)[None, ..., None]
    part = {"inputs": slanted, "targets": np.zeros(1, np.int32)}
    digits, clothes = (one.prepare(Dataset(part, part, None, CARD)).train["inputs"] for one in (MNIST, FASHION))
    plain = images.scattered().apply({}, part, training=True)["inputs"]
    np.testing.assert_array_equal(clothes, plain)
    assert np.abs(digits.astype(float) - plain).max() > 0.5
    assert repr(FASHION.hyperparameters) == repr(MNIST.hyperparameters) and FASHION.private == MNIST.private


def test_coefficients_are_of_each_image_alone(prepared):
    assert prepared.fitted == {} and prepared.card.n_features == 3969
    norms = np.linalg.norm(prepared.train["inputs"].reshape(32, -1).astype(float), axis=1)
    np.testing.assert_allclose(norms, 63, rtol=1e-3)  # 3,969 coefficients with a mean square of 1: clipped alike


def test_a_private_step_learns_stripes(prepared):
    h = dataclasses.replace(MNIST.hyperparameters, batch_size=16, epochs=10)

    def mechanism_of(plan, n):
        sizes = {"n_examples": n, "batch_size": plan.batch_size, "n_steps": plan.n_steps}
        return privacy.Mechanism(noise_multiplier=0.1, clip=MNIST.private["clip"], delta=1e-3, **sizes)

    program = experiment.program(privacy.private_experiment(MNIST, mechanism_of), prepared)
    state, history = jax.jit(program.run)(jax.random.key(0), h, prepared.train)
    assert set(history) == {"gradient_norm"}
    assert program.evaluate(jax.random.key(0), h, state, prepared.test)["accuracy"] == 1

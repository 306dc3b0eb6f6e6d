"""FGSM, PGD and the smallest perturbation: closed forms on a linear classifier, invariants on a network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import explain, losses

WEIGHTS = jnp.array([[1.0, -1.0], [2.0, 0.5], [-0.5, 1.0]])
INPUTS = jnp.array([[1.0, 1.0, 0.0], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])  # classes 0, 0, 1
LABELS = jnp.array([0, 0, 1])
GAP = WEIGHTS[:, 0] - WEIGHTS[:, 1]


def linear(x):
    return x @ WEIGHTS


def curved(x):
    return jnp.tanh(jnp.sin(3 * x) @ WEIGHTS)


def test_fgsm_moves_every_entry_by_the_radius():
    radius = jnp.array([0.1, 0.2, 0.3])
    sign = jnp.where(LABELS == 0, -1, 1)[:, None] * jnp.sign(GAP)[None]
    expected = INPUTS + radius[:, None] * sign
    moved = explain.fgsm(linear, INPUTS, target=LABELS, radius=radius, batch_size=2)
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    clipped = explain.fgsm(linear, INPUTS, target=LABELS, radius=radius, bounds=(0, 1))
    np.testing.assert_allclose(clipped, jnp.clip(expected, 0, 1), atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_finds_the_worst_point_of_a_linear_model(norm, key):
    moved = explain.pgd(key, linear, INPUTS, target=LABELS, radius=0.2, norm=norm, n_steps=100, step_size=0.05)
    direction = jnp.sign(GAP) if norm == "linf" else GAP / jnp.linalg.norm(GAP)
    expected = INPUTS + 0.2 * jnp.where(LABELS == 0, -1, 1)[:, None] * direction[None]
    np.testing.assert_allclose(moved, expected, atol=1e-5)  # the angle shrinks by a fifth per step


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_stays_in_the_ball_and_never_lowers_the_loss(norm, key):
    loss = losses.softmax_cross_entropy_with_integer_labels
    attack = jax.jit(
        lambda radius: explain.pgd(
            key, curved, INPUTS, target=LABELS, radius=radius, norm=norm, bounds=(0, 1), n_steps=10
        )
    )
    moved = attack(jnp.array([0.05, 0.1, 0.2]))
    change = moved - INPUTS
    size = abs(change).max(axis=1) if norm == "linf" else jnp.linalg.norm(change, axis=1)
    assert (size <= jnp.array([0.05, 0.1, 0.2]) + 1e-6).all() and moved.min() >= 0 and moved.max() <= 1
    assert (loss(curved(moved), LABELS) > loss(curved(INPUTS), LABELS)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_smallest_perturbation_is_the_distance_to_the_plane(norm):
    """Of a linear classifier: the margin over the dual norm of the weights' difference."""
    margin = abs(INPUTS @ GAP)
    distance = margin / (abs(GAP).sum() if norm == "linf" else jnp.linalg.norm(GAP))
    found = jax.jit(
        lambda: explain.smallest_perturbation(linear, INPUTS, target=LABELS, largest=2.0, norm=norm, batch_size=2)
    )()
    np.testing.assert_allclose(
        found.radius, distance, rtol=2e-3, atol=2 / 2**12
    )  # the bisection's and the attack's resolution
    assert found.found.all() and (linear(found.inputs).argmax(axis=1) != LABELS).all()
    change = found.inputs - INPUTS
    size = abs(change).max(axis=1) if norm == "linf" else jnp.linalg.norm(change, axis=1)
    assert (size <= found.radius * (1 + 1e-5)).all()


def test_smallest_perturbation_is_zero_or_infinite_at_the_ends():
    """An example that is classified wrongly already, and one that no perturbation within the radius changes."""
    found = explain.smallest_perturbation(
        linear, INPUTS[:2], target=jnp.array([1, 0]), largest=0.01, n_bisections=3, n_steps=5
    )
    assert found.radius.tolist() == [0, float("inf")] and found.found.tolist() == [True, False]
    np.testing.assert_array_equal(found.inputs, INPUTS[:2])


@pytest.mark.raises
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "l1"}, "norm must be linf or l2, got 'l1'"),
        ({"target": 2}, "target must be a class from 0 to 1, got 2"),
        ({"target": None}, "target must be the true class of each example, got none"),
        ({"radius": jnp.ones(2)}, r"radius must be a number, or one for each of the 3 examples, got shape \(2,\)"),
        ({"step_size": jnp.ones(2)}, "step_size must be a number, or one for each of the 3 examples"),
        ({"n_steps": 0}, "n_steps must be a whole number"),
    ],
)
def test_pgd_refuses_bad_arguments(options, message, key):
    with pytest.raises(ValueError, match=message):
        explain.pgd(key, linear, INPUTS, **{"target": LABELS, "radius": 0.1, **options})


def test_smallest_perturbation_refuses_a_radius_of_zero():
    with pytest.raises(ValueError, match="largest must be positive, got 0"):
        explain.smallest_perturbation(linear, INPUTS, target=LABELS, largest=0)


def test_adversarial_accuracy_of_a_linear_model_is_exact():
    """A change of every entry by the radius shifts the margin by the radius times the sum of the weights' sizes."""
    weights = jnp.array([[1.0, -1.0], [-2.0, 2.0]])
    inputs = jax.random.normal(jax.random.key(0), (50, 2))
    labels = jnp.argmax(inputs @ weights, axis=1).at[:5].set(0)
    radii = jnp.array([0.0, 0.1, 0.3, 1.0])
    found = explain.adversarial_accuracy(jax.random.key(1), lambda x: x @ weights, inputs, target=labels, radii=radii)
    difference = weights[:, 0] - weights[:, 1]
    margins = (inputs @ difference) * jnp.where(labels == 0, 1, -1)
    expected = [(margins > radius * abs(difference).sum()).mean() for radius in radii]
    np.testing.assert_allclose(found, expected, atol=1e-6)  # counts of 50

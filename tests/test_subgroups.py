"""Metrics of subgroups equal the metrics of their members alone, and their gap has an interval."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import losses, metrics, models, subgroups, training

N = 40


def _members(data):
    young = data["inputs"][:, 0] < 0
    return {"young": young, "older": ~young, "all": jnp.ones_like(young)}


def _algorithm(**options):
    asked = {"accuracy": metrics.accuracy(), "recall": metrics.recall(average=None)}
    plain = training.supervised(
        models.linear(2, 2),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=training.gradient_descent(0.1),
        metrics=asked,
    )
    return plain, subgroups.by_subgroup(plain, _members, **options)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    inputs, targets = generator.normal(size=(N, 2)), generator.integers(0, 2, N)
    return {"inputs": jnp.asarray(inputs, jnp.float32), "targets": jnp.asarray(targets, jnp.int32)}


def test_a_subgroup_has_the_metrics_of_its_members_alone(data):
    plain, grouped = _algorithm()
    state, key = plain.init(jax.random.key(0)), jax.random.key(1)
    weighted = {**data, "weights": jnp.linspace(0.5, 2.0, N)}
    found = jax.jit(grouped.evaluate)(state, weighted, key)
    for name, is_member in {
        "": np.ones(N, bool),
        **{f"_{n}": np.asarray(m) for n, m in _members(data).items()},
    }.items():
        alone = plain.evaluate(state, jax.tree.map(lambda leaf, kept=is_member: leaf[kept], weighted), key)
        for metric, expected in alone.items():
            np.testing.assert_allclose(found[metric + name], expected, rtol=1e-5)
    assert len(found) == 8


def test_the_gap_is_a_difference_with_influences(data):
    _, grouped = _algorithm(gap=("young", "older"))
    state, key = grouped.init(jax.random.key(0)), jax.random.key(1)

    def evaluated(weights):
        return grouped.evaluate(state, {**data, "weights": weights}, key)

    found, slopes = jax.jit(evaluated)(jnp.ones(N)), jax.jit(jax.jacrev(evaluated))(jnp.ones(N))
    np.testing.assert_allclose(found["accuracy_gap"], found["accuracy_young"] - found["accuracy_older"], atol=1e-6)
    expected = slopes["accuracy_young"] - slopes["accuracy_older"]
    np.testing.assert_allclose(slopes["accuracy_gap"], expected, atol=1e-6)
    assert np.any(slopes["accuracy_gap"] != 0)


def test_a_subgroup_without_members_is_nan(data):
    plain, _ = _algorithm()
    nobody = subgroups.by_subgroup(plain, lambda data: {"nobody": data["inputs"][:, 0] > 1e9})
    found = nobody.evaluate(nobody.init(jax.random.key(0)), data, jax.random.key(1))
    assert np.isnan(found["accuracy_nobody"]) and np.isfinite(found["accuracy"])


@pytest.mark.raises
def test_the_gap_must_name_subgroups(data):
    _, grouped = _algorithm(gap=("young", "old"))
    with pytest.raises(ValueError, match="^gap must name two of young, older, all; got young and old"):
        grouped.evaluate(grouped.init(jax.random.key(0)), data, jax.random.key(1))


@pytest.mark.raises
def test_a_subgroup_must_have_a_member():
    subgroups.require_members({"young": np.array([True, False])})
    with pytest.raises(ValueError, match="must have a member of old, got none among 3 examples. Use fewer folds"):
        subgroups.require_members({"young": np.ones(3, bool), "old": np.zeros(3, bool)})

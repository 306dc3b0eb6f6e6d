"""Decisions of least expected cost: by a loop over examples, and what the costs must be."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import metrics

CREDIT = [[0, 5], [1, 0]]


def _data(n_classes, n=200):
    generator = np.random.default_rng(n_classes)
    logits = generator.normal(size=(n, n_classes)) * 2
    return jnp.asarray(logits, jnp.float32), jnp.asarray(generator.integers(0, n_classes, n), jnp.int32)


@pytest.mark.parametrize("costs", [CREDIT, [[0, 1, 5], [1, 0, 2], [7, 1, -1]]])
def test_cost_equals_a_loop_over_examples(costs):
    logits, targets = _data(len(costs))
    weights = np.linspace(0.5, 2.0, len(targets))
    total = 0.0
    for z, y, w in zip(np.asarray(logits, np.float64), np.asarray(targets), weights, strict=True):
        probabilities = np.exp(z) / np.exp(z).sum()
        decision = min(
            range(len(costs)), key=lambda k: sum(p * row[k] for p, row in zip(probabilities, costs, strict=True))
        )
        total += w * costs[y][decision]
    found = metrics.cost(costs)(logits, targets, jnp.asarray(weights, jnp.float32))
    np.testing.assert_allclose(found, total / weights.sum(), rtol=1e-5)


def test_a_tie_is_decided_for_the_first_class():
    tied = jnp.zeros((1, 2))
    assert metrics.cost([[0, 1], [1, 0]])(tied, jnp.array([0])) == 0
    assert metrics.cost([[0, 1], [1, 0]])(tied, jnp.array([1])) == 1


def test_decided_by_equal_costs_changes_nothing():
    logits, targets = _data(3)
    plain, equal = metrics.recall(average=None), 1 - np.eye(3)
    np.testing.assert_array_equal(metrics.decided(plain, equal)(logits, targets), plain(logits, targets))


def test_decided_recall_is_of_the_credits_granted():
    logits, targets = _data(2)
    is_granted = np.asarray(logits[:, 1] - logits[:, 0]) > np.log(5)
    found = metrics.decided(metrics.recall(average=None), CREDIT)(logits, targets)
    good = np.asarray(targets) == 1
    np.testing.assert_allclose(found, [1 - is_granted[~good].mean(), is_granted[good].mean()], rtol=1e-6)


@pytest.mark.raises
@pytest.mark.parametrize("costs", [[0, 5], [[0, 5]], [[0]], [[[0, 5], [1, 0]]], [[0, 5], [1, 0], [1, 1]]])
def test_costs_must_be_a_square_matrix(costs):
    with pytest.raises(ValueError, match=r"^costs must be a matrix of true classes \(rows\) by decisions .* got shape"):
        metrics.cost(costs)


@pytest.mark.raises
def test_costs_must_be_finite_and_fit_the_classes():
    with pytest.raises(ValueError, match="^costs must be finite; got .*inf.*Pass a large number"):
        metrics.cost([[0, np.inf], [1, 0]])
    with pytest.raises(
        ValueError, match=r"^costs must have a row and a column for each of 3 classes; got shape \(2, 2\)"
    ):
        metrics.decided(metrics.accuracy(), CREDIT)(*_data(3))

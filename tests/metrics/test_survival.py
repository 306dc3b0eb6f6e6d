"""Concordance equals a loop over pairs, under ties, weights, padding and batches."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import metrics


def _patients(n=40, seed=0):
    generator = np.random.default_rng(seed)
    risks = generator.normal(size=(n, 1)).round(1)  # some ties
    targets = np.stack([generator.integers(0, 15, n), generator.random(n) < 0.6], axis=1)
    return tuple(leaf.astype(np.float32) for leaf in (risks, targets, generator.integers(0, 3, n)))


def _by_pairs(risks, targets, weights):
    won = compared = 0.0
    for i, j in itertools.permutations(range(len(risks)), 2):
        (time, event), (other, other_event) = targets[i], targets[j]
        if event and (time < other or time == other and not other_event):
            pair = float(weights[i] * weights[j])
            compared += pair
            won += pair * (float(risks[i, 0] > risks[j, 0]) + float(risks[i, 0] == risks[j, 0]) / 2)
    return won / compared


@pytest.mark.parametrize("seed", range(5))
def test_concordance_equals_a_loop_over_pairs(seed):
    risks, targets, weights = _patients(seed=seed)
    # Sums of some hundred pairs in float32.
    np.testing.assert_allclose(metrics.concordance()(risks, targets), _by_pairs(risks, targets, np.ones(40)), rtol=1e-6)
    found = metrics.concordance()(risks, targets, weights)
    np.testing.assert_allclose(found, _by_pairs(risks, targets, weights), rtol=1e-6)


def test_concordance_merges_batches_and_ignores_padding():
    risks, targets, weights = _patients()
    metric, whole = metrics.concordance(), metrics.concordance()(*_patients())
    batches = [jnp.asarray(leaf).reshape(4, 10, *leaf.shape[1:]) for leaf in (risks, targets, weights)]
    merged = metric.compute(metric.merge(jax.vmap(metric.summarise)(*batches)))
    np.testing.assert_allclose(merged, whole, rtol=1e-6)  # another order of summation
    padded = [
        np.concatenate([leaf, np.full_like(leaf[:3], fill)])
        for leaf, fill in zip((risks, targets, weights), (np.nan, np.nan, 0), strict=True)
    ]
    np.testing.assert_allclose(metric(*padded), whole, rtol=1e-6)


def test_concordance_is_undefined_without_pairs_or_risks():
    risks, targets, _ = _patients()
    assert np.isnan(metrics.concordance()(risks, np.stack([targets[:, 0], np.zeros(40)], axis=1)))
    risks[3] = np.nan
    assert np.isnan(metrics.concordance()(risks, targets))


@pytest.mark.raises
@pytest.mark.parametrize(("risks", "targets"), [((4,), (4, 2)), ((4, 2), (4, 2)), ((4, 1), (4, 1)), ((4, 1), (3, 2))])
def test_concordance_refuses_other_shapes(risks, targets):
    with pytest.raises(ValueError, match=r"concordance must have risks \(batch, 1\) and targets \(batch, 2\)"):
        metrics.concordance()(np.zeros(risks), np.zeros(targets))

"""Sensitivity at a specificity equals scikit-learn's ROC curve, and its influences give the error of a bootstrap."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_curve

from jaxresearch import metrics


def _scores(n=60, seed=0, *, digits=1):
    generator = np.random.default_rng(seed)
    targets = np.concatenate([[0, 1], generator.integers(0, 2, n - 2)]).astype(np.int32)
    scores = (generator.normal(size=n) + 1.2 * targets).round(digits)
    return np.stack([-scores / 2, scores / 2], axis=1).astype(np.float32), targets


@pytest.mark.parametrize("specificity", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("seed", range(6))
def test_sensitivity_equals_that_of_the_roc_curve(seed, specificity):
    logits, targets = _scores(seed=seed)
    weights = np.random.default_rng(seed).integers(0, 3, len(targets)).astype(np.float32)
    for own in (np.ones_like(weights), weights):
        alarms, found, _ = roc_curve(targets, logits[:, 1] - logits[:, 0], sample_weight=own, drop_intermediate=False)
        expected = found[alarms <= 1 - specificity + 1e-9].max()
        value = metrics.sensitivity_at_specificity(specificity=specificity)(logits, targets, own)
        np.testing.assert_allclose(value, expected, rtol=1e-6)  # float32


@pytest.mark.long
def test_influences_of_sensitivity_give_a_bootstraps_error():
    metric = metrics.sensitivity_at_specificity(specificity=0.9)
    logits, targets = _scores(n=2000, digits=6)
    logits, targets = jnp.asarray(logits), jnp.asarray(targets)
    of_weights = functools.partial(metric, logits, targets)
    influences = jax.grad(of_weights)(jnp.ones(2000))
    draws = np.random.default_rng(0).multinomial(2000, np.full(2000, 1 / 2000), size=400).astype(np.float32)
    expected = np.std(jax.jit(jax.vmap(of_weights))(draws))
    found = np.sqrt(np.sum(np.square(influences)))
    # A bootstrap of 400 draws is within 4 % of its limit; the slope of a curve of 1,000 positives adds some ten per cent.
    assert abs(found / expected - 1) < 0.25
    np.testing.assert_allclose(np.sum(influences), 0, atol=1e-4)  # of weights that grow alike


def test_sensitivity_is_undefined_without_both_classes_or_scores():
    logits, targets = _scores()
    metric = metrics.sensitivity_at_specificity()
    for same in (0, 1):
        assert np.isnan(metric(logits, np.full_like(targets, same)))
    logits[3] = np.nan
    assert np.isnan(metric(logits, targets))
    assert np.isfinite(metric(logits, targets, (np.arange(60) != 3).astype(np.float32)))


@pytest.mark.raises
def test_sensitivity_refuses_other_classes_and_specificities():
    for specificity in (0, 1, 95):
        with pytest.raises(ValueError, match=f"specificity must be above 0 and below 1; got {specificity}"):
            metrics.sensitivity_at_specificity(specificity=specificity)
    with pytest.raises(ValueError, match=r"predictions must be of two classes, \(batch, 2\).*got shape \(4, 3\)"):
        metrics.sensitivity_at_specificity()(np.zeros((4, 3)), np.zeros(4, int))

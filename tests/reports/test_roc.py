"""The picture of an audit shows what a claim allows."""

import numpy as np
import pytest
import scipy.stats

from jaxresearch.privacy import audit
from jaxresearch.reports.roc import most_true_positives, roc


def test_most_true_positives_are_those_of_the_definition():
    rates = np.array([0.0, 1e-3, 0.1, 0.9, 1.0])
    found = most_true_positives(rates, epsilon=2, delta=1e-3)
    for rate, most in zip(rates, found, strict=True):
        assert most <= np.exp(2) * rate + 1e-3 + 1e-12
        assert 1 - rate <= np.exp(2) * (1 - most) + 1e-3 + 1e-12
    np.testing.assert_allclose(found[:2], [1e-3, np.exp(2) * 1e-3 + 1e-3])
    np.testing.assert_allclose(found[3:], [1 - np.exp(-2) * (0.999 - 0.9), 1])


def test_most_true_positives_of_a_gaussian_are_those_of_its_test():
    rate = 0.05
    threshold = scipy.stats.norm.isf(rate)
    found = most_true_positives(np.array([rate]), mu=1.5)
    assert found[0] == pytest.approx(scipy.stats.norm.sf(threshold, loc=1.5))
    epsilon = audit.gaussian_epsilon(1.5, delta=1e-5)  # allows more than the curve from which it follows
    assert found[0] < most_true_positives(np.array([rate]), epsilon=epsilon, delta=1e-5)[0]


@pytest.mark.parametrize("is_gaussian", [False, True])
def test_roc_is_a_png(is_gaussian):
    random = np.random.default_rng(0)
    with_canary, without = random.normal(2, 1, (40, 1)), random.normal(0, 1, (40, 1))
    found = audit.many_runs(with_canary, without, delta=1e-5)
    picture = roc(with_canary[1::2, 0], without[1::2, 0], found, epsilon=3, delta=1e-5, is_gaussian=is_gaussian)
    assert picture.startswith(b"\x89PNG")

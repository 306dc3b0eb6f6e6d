"""Bounds of epsilon hold at their confidence, are tight for known mechanisms, and about zero for scores that say nothing."""

import math
import re

import numpy as np
import pytest
import scipy.stats

from jaxresearch import privacy
from jaxresearch.privacy import Mechanism, audit

DELTA = 1e-5


def gaussian(mu, n, seed):
    """Returns scores of n runs with and without a canary, of which the mechanism reveals mu."""
    random = np.random.default_rng(seed)
    return random.normal(mu, 1, (n, 1)), random.normal(0, 1, (n, 1))


def test_upper_rate_is_that_of_scipy():
    for n, n_events in ((7, 0), (250, 3), (250, 249), (250, 250)):
        expected = scipy.stats.binomtest(n_events, n).proportion_ci(0.95, "exact").high  # each side at 0.975
        assert audit.upper_rate(n_events, n, confidence=0.975) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mu", [0.05, 0.5, 1.7])
def test_gaussian_epsilon_is_that_of_the_accountant(mu):
    mechanism = Mechanism(noise_multiplier=3 / mu, clip=1.0, n_examples=50, batch_size=50, n_steps=9, delta=DELTA)
    found = audit.gaussian_epsilon(mu, delta=DELTA)
    assert found == pytest.approx(privacy.epsilon(mechanism).pld, rel=1e-3)  # its intervals of 1e-4, in 9 steps
    assert audit.gaussian_mu(found, delta=DELTA) == pytest.approx(mu, rel=1e-6)


def test_gaussian_epsilon_may_be_zero():
    assert audit.gaussian_epsilon(0, delta=DELTA) == 0
    assert audit.gaussian_epsilon(1e-6, delta=DELTA) == 0  # delta alone allows it


@pytest.mark.parametrize("mu, is_gaussian", [(0.0, False), (0.0, True), (2.0, False), (2.0, True)])
def test_bounds_from_many_runs_cover_the_truth(mu, is_gaussian):
    truth = audit.gaussian_epsilon(mu, delta=DELTA)
    bounds = [
        audit.many_runs(*gaussian(mu, 60, seed), delta=DELTA, is_gaussian=is_gaussian).epsilon for seed in range(1000)
    ]
    assert np.mean(np.array(bounds) <= truth) >= 0.95
    assert mu == 0 or np.mean(bounds) > 0.05 * truth


def test_scores_that_say_nothing_bound_nothing():
    assert audit.many_runs(*gaussian(0.0, 500, 0), delta=DELTA, is_gaussian=True).epsilon < 0.3
    same = np.zeros((500, 1))
    assert audit.many_runs(same, same, delta=DELTA).epsilon == 0


def test_a_gaussian_mechanism_is_bounded_tightly():
    mu = audit.gaussian_mu(8, delta=DELTA)
    found = audit.many_runs(*gaussian(mu, 500, 1), delta=DELTA, is_gaussian=True)
    assert 4 < found.epsilon < 8
    approximate = audit.many_runs(*gaussian(mu, 500, 1), delta=DELTA)
    assert 1 < approximate.epsilon < found.epsilon


def test_many_runs_chooses_by_runs_that_it_does_not_test():
    with_canary, without = np.zeros((400, 2)), np.zeros((400, 2))
    with_canary[::2, 0] = 1  # perfect in the half that chooses, nothing in the other
    with_canary[:, 1] = np.arange(400) % 10 > 0
    found = audit.many_runs(with_canary, without, delta=DELTA)
    assert (found.column, found.epsilon, found.false_negatives, found.n_with) == (0, 0, 200, 200)


def test_many_runs_chooses_the_column_that_reveals_most():
    scores = [np.concatenate([gaussian(0, 500, 3)[i], one], axis=1) for i, one in enumerate(gaussian(4.0, 500, 4))]
    found = audit.many_runs(*scores, delta=DELTA)
    assert found.column == 1 and found.epsilon > 2


def test_an_attack_without_errors_reaches_the_largest_bound():
    for n, is_gaussian in ((500, False), (501, False), (60, True)):
        found = audit.many_runs(np.ones((n, 1)), np.zeros((n, 1)), delta=DELTA, is_gaussian=is_gaussian)
        assert found.epsilon == audit.largest_bound(n, delta=DELTA, is_gaussian=is_gaussian)
        assert (found.false_positives, found.false_negatives) == (0, 0)


def test_many_runs_counts_errors_on_both_sides():
    """Only the scores of runs without a canary overlap: the bound comes from the true negatives."""
    with_canary, without = np.ones((500, 1)), (np.arange(500) // 2 % 2 == 0)[:, None].astype(float)
    found = audit.many_runs(with_canary, without, delta=DELTA)
    assert (found.false_positives, found.false_negatives) == (125, 0)
    rates = [audit.upper_rate(k, 250, confidence=0.975) for k in (125, 0)]
    assert (found.false_positive_rate, found.false_negative_rate) == pytest.approx(rates)
    assert found.epsilon == pytest.approx(math.log((1 - DELTA - rates[0]) / rates[1]))


@pytest.mark.parametrize("delta, least", [(DELTA, 12), (0.4, 22)])
def test_fewest_runs_are_those_of_a_bound(delta, least):
    assert audit.fewest_runs(delta=delta) == least
    assert audit.largest_bound(least, delta=delta) > 0 == audit.largest_bound(least - 2, delta=delta)
    message = f"runs must be at least {least} with and without the canary for any bound, got {least - 1}. Pass 500."
    with pytest.raises(ValueError, match=re.escape(message)):
        audit.many_runs(np.ones((least, 1)), np.zeros((least - 1, 1)), delta=delta)


def test_scores_must_be_finite():
    bad = np.array([[0.0]] * 50 + [[np.nan]])
    with pytest.raises(ValueError, match="scores must be finite, got one that is not. A run has diverged"):
        audit.many_runs(np.ones((50, 1)), bad, delta=DELTA)
    with pytest.raises(ValueError, match="scores must be finite, got one that is not. The run has diverged"):
        audit.one_run(bad[:, 0], bad[:, 0] > 0, n_guesses=10, delta=DELTA)


def coins(m, seed):
    return np.random.default_rng(seed).random(m) < 0.5


@pytest.mark.parametrize("mu", [0.0, 1.0])
@pytest.mark.parametrize("n_guesses", [100, 40])
def test_bounds_from_one_run_cover_the_truth(mu, n_guesses):
    truth, bounds = audit.gaussian_epsilon(mu, delta=DELTA), []
    for seed in range(4000 if mu == 0 else 1000):  # 95.6 % are expected of null scores, with a standard error of 0.3 %
        included = coins(100, seed)
        scores = np.random.default_rng([seed, 1]).normal(mu * included)
        bounds.append(audit.one_run(scores, included, n_guesses=n_guesses, delta=DELTA).epsilon)
    assert np.mean(np.array(bounds) <= truth) >= 0.95
    assert mu == 0 or np.mean(bounds) > 0.1


def randomised_response(epsilon, m, seed):
    """Returns an attack on the mechanism for which the theorem is tight: each bit is right with odds of e^epsilon."""
    included = coins(m, seed)
    is_right = np.random.default_rng([seed, 2]).random(m) < scipy.special.expit(epsilon)
    return np.where(is_right, included, ~included).astype(float), included


def test_bounds_from_one_run_are_tight_for_randomised_response():
    found = [audit.one_run(*randomised_response(2.0, 1000, seed), n_guesses=900, delta=0.0) for seed in range(300)]
    bounds = np.array([one.epsilon for one in found])
    assert 0.92 <= np.mean(bounds <= 2) <= 0.98  # 95 %, within three standard errors of 1.3 %
    assert bounds.mean() > 1.75


def test_a_perfect_guess_of_one_run_has_a_closed_form():
    included = coins(1000, 0)
    found = audit.one_run(included.astype(float), included, n_guesses=300, delta=0.0)
    rate = 0.05 ** (1 / 300)  # of all guesses right, with 5 %
    assert (found.n_correct, found.n_guesses, found.n_canaries) == (300, 300, 1000)
    assert found.epsilon == pytest.approx(math.log(rate / (1 - rate)))
    assert audit.one_run(~included * 1.0, included, n_guesses=300, delta=0.0).epsilon == 0


def test_delta_loosens_the_bound_of_one_run_as_in_the_theorem():
    m, r, v, epsilon, delta = 100, 40, 35, 1.0, 1e-3

    def at_least(k):
        return scipy.stats.binom.sf(k - 1, r, math.e / (1 + math.e))

    expected = at_least(v) + 2 * m * delta * max((at_least(v - i) - at_least(v)) / i for i in range(1, m + 1))
    assert audit._chance(v, r, m, epsilon, delta) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n_revealed", [1, 4, 10, 20])
def test_one_run_covers_randomised_response_that_leaks(n_revealed):
    """With probability p, the mechanism reveals some bits of m outright: its delta is p n / m, and the chances are exact."""
    m, p, epsilon = 20, 0.2, 1.0
    for r in (5, 20):
        v, n_certain = np.arange(1, r + 1), min(n_revealed, r)
        ordinary, leaking = (
            scipy.stats.binom.sf(v - n - 1, r - n, scipy.special.expit(epsilon)) for n in (0, n_certain)
        )
        exact = (1 - p) * ordinary + p * leaking
        bounds = np.array([audit._chance(k, r, m, epsilon, p * n_revealed / m) for k in range(1, r + 1)])
        assert (exact <= bounds + 1e-12).all()
        assert (exact > ordinary + 1e-3).any()  # more than without delta


@pytest.mark.parametrize("n_guesses, epsilon", [(10, 0.0), (100, 0.5), (100, 2.0), (500, 4.0)])
def test_one_run_covers_every_mechanism(n_guesses, epsilon):
    """The theorem's delta term exceeds one that is derived here, where the binomial tail is 0.1 to 5 %.

    Guess i is right with probability q + (1 - q) f_i given the others, where q belongs to epsilon, and delta bounds the mean of
    f_i. Revealing the guesses one by one, in random order, changes the chance of v right ones at guess i by at most
    (1 - q) f_i P(k remaining of rate q give exactly what is missing). So the chance exceeds that of a binomial variable by at
    most m delta (1 - q) times the mean over k < r of the largest probability of one value.
    """
    q = scipy.special.expit(epsilon)
    largest = [scipy.stats.binom.pmf([math.floor((k + 1) * q)], k, q)[0] for k in range(n_guesses)]  # at the mode
    derived = (1 - q) * np.mean(largest)
    m, delta = n_guesses, 1e-6 / n_guesses
    tails = scipy.stats.binom.sf(np.arange(n_guesses), n_guesses, q)  # of 1 right guess or more, of 2, ...
    tested = np.flatnonzero((tails >= 1e-3) & (tails <= 0.05))
    assert len(tested)
    for place in tested:
        of_delta = audit._chance(int(place) + 1, n_guesses, m, epsilon, delta) - tails[place]
        assert of_delta >= m * delta * derived * (1 - 1e-6)  # the rounding of a difference of 1e-6


@pytest.mark.parametrize("n_guesses", [0, 101])
def test_the_number_of_guesses_must_fit_the_canaries(n_guesses):
    with pytest.raises(
        ValueError, match=f"n_guesses must be between 1 and 100, the number of canaries, got {n_guesses}"
    ):
        audit.one_run(np.ones(100), coins(100, 0), n_guesses=n_guesses, delta=DELTA)

"""Numbers about seeds: closed forms, coverage, and what cannot be said."""

import json
import math

import jax
import numpy as np
import pytest
import scipy.stats

from jaxresearch import statistics
from jaxresearch.statistics import Claim

AT_LEAST = Claim(text="high", metric="test/accuracy", at_least=0.9)
AT_MOST = Claim(text="low", metric="test/error", at_most=0.1)


def test_mean_and_standard_deviation_equal_the_closed_form():
    values = [0.97, 0.98, 0.99, 0.96]
    assert math.isclose(statistics.mean(values), 0.975)
    assert math.isclose(statistics.standard_deviation(values), math.sqrt(0.0005 / 3))


def test_interquartile_mean_leaves_a_quarter_out_at_each_end():
    assert statistics.interquartile_mean([-100, 1, 2, 3, 4, 5, 6, 100]) == 3.5


def test_bootstrap_interval_equals_scipy_and_is_the_same_each_time():
    values = np.random.default_rng(0).normal(size=12)
    expected = scipy.stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(0)).confidence_interval
    low, high = statistics.bootstrap_interval(values)
    np.testing.assert_allclose((low, high), expected, atol=0.01)  # 9,999 draws, in other batches
    assert (low, high) == statistics.bootstrap_interval(values)
    assert (low, high) != statistics.bootstrap_interval(values, seed=1)


def test_bootstrap_interval_covers_what_its_docstring_says():
    generator = np.random.default_rng(0)
    for n, expected in ((5, 0.84), (10, 0.89)):
        draws = generator.normal(size=(200, n))
        intervals = [statistics.bootstrap_interval(draw, n_resamples=999) for draw in draws]
        covered = np.mean([low <= 0 <= high for low, high in intervals])
        # The share of 200 draws has a standard error of 0.026: three of them.
        assert abs(covered - expected) < 0.08


def test_t_interval_equals_scipy_and_covers_what_it_promises():
    draws = np.random.default_rng(0).normal(size=(2000, 3))
    for confidence in (0.95, 0.99):
        intervals = np.array([statistics.t_interval(draw, confidence=confidence) for draw in draws])
        result = scipy.stats.ttest_1samp(draws, 0, axis=1).confidence_interval(confidence)
        np.testing.assert_allclose(intervals, np.transpose(result), rtol=1e-12)
        covered = np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))
        # Three standard errors of the share of 2,000 draws.
        assert abs(covered - confidence) < 3 * np.sqrt(confidence * (1 - confidence) / 2000)
    assert statistics.t_interval([0.5, 0.5]) == (0.5, 0.5)


def test_a_wider_confidence_gives_a_wider_interval():
    values = np.random.default_rng(0).normal(size=10)
    narrow, wide = (statistics.bootstrap_interval(values, confidence=c) for c in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
def test_bootstrap_interval_of_few_values_is_finite_and_within_them(values):
    low, high = statistics.bootstrap_interval(values)
    assert min(values) <= low <= high <= max(values)


@pytest.mark.parametrize("others", [0.4995362, float(np.nextafter(np.float32(0.4995362), np.float32(1)))])
def test_seeds_that_are_alike_decide_a_claim(others):
    """A deterministic experiment: ten values that are equal, or differ in the last digit of float32 at most."""
    values = [0.4995362] * 9 + [others]
    for low, high in (statistics.summary(values)["ci95"], statistics.t_interval(values, confidence=1 - 1e-9)):
        assert 0.49953 < low <= np.mean(values) <= high < 0.49954
        assert statistics.verdict((low, high), Claim(text="", metric="test/r2", at_least=0.4995)) == "supported"


def test_bootstrap_interval_of_equal_values_is_a_point():
    assert statistics.bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize("values", [[0.5], [0.5, math.nan, 0.6], [0.5, math.inf]])
def test_what_cannot_be_said_is_nan(values):
    assert np.isnan(statistics.bootstrap_interval(values)).all()
    assert np.isnan(statistics.t_interval(values)).all()
    assert math.isnan(statistics.standard_deviation(values))


@pytest.mark.parametrize("fun", [statistics.mean, statistics.interquartile_mean])
def test_a_diverged_seed_is_not_dropped(fun):
    assert math.isnan(fun([1.0, math.nan]))
    assert math.isnan(fun([1.0, math.inf]))


def test_paired_difference_takes_seeds_out():
    seeds = np.random.default_rng(0).normal(size=10) * 100
    difference = statistics.paired_difference(seeds + 1 + np.linspace(-0.1, 0.1, 10), seeds)
    assert math.isclose(difference.mean, 1.0, rel_tol=1e-9)
    assert 0.9 < difference.low < 1.0 < difference.high < 1.1


def test_summary_is_ready_for_json():
    summary = statistics.summary([0.5, math.nan])
    assert summary == {"values": [0.5, None], "mean": None, "standard_deviation": None, "ci95": [None, None]}
    low, high = statistics.summary([0.5, 0.6, 0.7])["ci95"]
    assert 0.5 <= low < 0.6 < high <= 0.7


@pytest.mark.parametrize("values", [[0.5, 0.6, 0.7], [0.5], [0.5, math.nan], [1, 1, 1]])
def test_summary_of_a_vector_is_that_of_its_entries(values):
    others = [2.0 * value for value in values]
    entries = [statistics.summary(values), statistics.summary(others)]
    summary = statistics.summary(np.stack([values, others], axis=1))
    for name in ("mean", "standard_deviation"):
        assert summary[name] == [entry[name] for entry in entries]
    for end in (0, 1):
        assert summary["ci95"][end] == [entry["ci95"][end] for entry in entries]
    assert list(zip(*summary["values"], strict=True)) == [tuple(entry["values"]) for entry in entries]


def test_summary_of_a_matrix_has_its_shape_and_intervals_of_student():
    values = np.random.default_rng(0).normal(size=(5, 2, 3))
    values[0, 1, 2] = np.nan
    summary = json.loads(json.dumps(statistics.summary(values), allow_nan=False))
    assert np.shape(summary["values"]) == (5, 2, 3) and np.shape(summary["ci95"]) == (2, 2, 3)
    assert summary["mean"][1][2] is summary["ci95"][0][1][2] is summary["values"][0][1][2] is None
    np.testing.assert_allclose(summary["mean"][0], values[:, 0].mean(axis=0))
    assert tuple(end[0][1] for end in summary["ci95"]) == statistics.t_interval(values[:, 0, 1])


@pytest.mark.raises
def test_a_claim_needs_a_scalar_that_is_reported():
    AT_LEAST.check({"accuracy": jax.ShapeDtypeStruct((), np.float32)})
    message = (
        r"claim must be about a scalar metric; test/accuracy has shape \(3,\). Pass an average of it, or one entry"
    )
    with pytest.raises(ValueError, match=message):
        AT_LEAST.check({"accuracy": jax.ShapeDtypeStruct((3,), np.float32)})
    with pytest.raises(ValueError, match=message):
        statistics.verdict(([0.1] * 3, [0.2] * 3), AT_LEAST)
    with pytest.raises(ValueError, match="claim must be about one of test/r2, test/mse; got 'test/accuracy'"):
        AT_LEAST.check({"r2": np.zeros(()), "mse": np.zeros(())})


@pytest.mark.parametrize(
    ("interval", "claim", "expected"),
    [
        ((0.91, 0.95), AT_LEAST, "supported"),
        ((0.9, 0.95), AT_LEAST, "supported"),
        ((0.85, 0.95), AT_LEAST, "undecided"),
        ((0.8, 0.89), AT_LEAST, "refuted"),
        ((0.01, 0.1), AT_MOST, "supported"),
        ((0.05, 0.2), AT_MOST, "undecided"),
        ((0.11, 0.2), AT_MOST, "refuted"),
        ((math.nan, math.nan), AT_LEAST, "undecided"),
        ((math.nan, math.nan), AT_MOST, "undecided"),
    ],
)
def test_verdict_follows_its_table(interval, claim, expected):
    assert statistics.verdict(interval, claim) == expected


@pytest.mark.raises
@pytest.mark.parametrize("bounds", [{}, {"at_least": 0.1, "at_most": 0.2}])
def test_a_claim_has_one_bound(bounds):
    with pytest.raises(ValueError, match="claim must have exactly one of at_least and at_most; got"):
        Claim(text="", metric="", **bounds)


@pytest.mark.raises
@pytest.mark.parametrize("values", [[], [[1.0]]])
def test_values_are_a_list_of_numbers(values):
    with pytest.raises(ValueError, match="values must be a list of at least one number; got shape"):
        statistics.mean(values)


@pytest.mark.raises
def test_paired_difference_refuses_other_seeds():
    with pytest.raises(ValueError, match="others must hold one value for each of the 3 seeds; got 2"):
        statistics.paired_difference([1, 2, 3], [1, 2])


@pytest.mark.raises
@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_is_a_share(confidence):
    with pytest.raises(ValueError, match=f"confidence must be between 0 and 1; got {confidence}"):
        statistics.bootstrap_interval([1.0, 2.0], confidence=confidence)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        statistics.t_interval([1.0, 2.0], confidence=confidence)

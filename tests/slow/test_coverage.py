"""Intervals have their nominal coverage, simulated for the metrics, sizes and dependencies of docs/intervals.md."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

_SPEC = importlib.util.spec_from_file_location("coverage_of_intervals", Path(__file__).with_name("coverage.py"))
coverage = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(coverage)

REPEATS = 1000
SPREAD = 3 * np.sqrt(0.95 * 0.05 / REPEATS)  # three standard errors of a proportion of that many repeats: 0.021
SIZES = [(5, 200), (10, 2000)]


@pytest.mark.parametrize("case", coverage.CASES, ids=str)
@pytest.mark.parametrize(("n_seeds", "n_examples"), SIZES)
def test_an_interval_over_seeds_and_examples_has_its_coverage(case, n_seeds, n_examples):
    found = coverage.held(case, n_seeds, n_examples, repeats=REPEATS)
    assert 0.93 - SPREAD / 2 <= found["ours"] <= 0.98 + SPREAD / 2, found
    assert found["bootstrap"] < 0.95 and found["seeds"] < found["ours"] + SPREAD


@pytest.mark.parametrize("case", coverage.CASES, ids=str)
def test_an_interval_of_a_null_difference_covers_zero(case):
    assert 0.93 - SPREAD / 2 <= coverage.held_difference(case, 5, 1000, repeats=REPEATS) <= 0.985


@pytest.mark.parametrize("k", [5, 10])
def test_an_interval_over_folds_is_conservative(k):
    assert coverage.held_over_folds(k=k, repeats=2000) >= 0.93


@pytest.mark.parametrize("case", [coverage.CASES[1], coverage.CASES[5], coverage.CASES[8]], ids=str)
def test_claims_at_their_bound_are_seldom_decided(case):
    """On either side, with five seeds, over 4,000 repeats."""
    found = coverage.held(case, 5, 500, repeats=4000)
    assert max(found["above"], found["below"]) <= 0.04, found

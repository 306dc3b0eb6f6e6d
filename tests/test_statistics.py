"""Statistics over seeds: closed forms, coverage and undefined values."""

import json
import math

import jax
import numpy as np
import pytest
import scipy.stats

from jaxresearch import statistics
from jaxresearch.statistics import Claim

AT_LEAST = Claim(text="high", metric="test/accuracy", about="these examples", at_least=0.9)
AT_MOST = Claim(text="low", metric="test/error", about="these examples", at_most=0.1)


def test_mean_and_standard_deviation_equal_the_closed_form():
    values = [0.97, 0.98, 0.99, 0.96]
    assert math.isclose(statistics.mean(values), 0.975)
    assert math.isclose(statistics.standard_deviation(values), math.sqrt(0.0005 / 3))


def test_interquartile_mean_leaves_a_quarter_out_at_each_end():
    assert statistics.interquartile_mean([-100, 1, 2, 3, 4, 5, 6, 100]) == 3.5


def test_bootstrap_interval_equals_scipy_and_is_reproducible():
    values = np.random.default_rng(0).normal(size=12)
    expected = scipy.stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(0)).confidence_interval
    low, high = statistics.bootstrap_interval(values)
    np.testing.assert_allclose((low, high), expected, atol=0.01)  # 9,999 draws, in different batches
    assert (low, high) == statistics.bootstrap_interval(values)
    assert (low, high) != statistics.bootstrap_interval(values, seed=1)


def test_bootstrap_interval_has_the_documented_coverage():
    generator = np.random.default_rng(0)
    for n, expected in ((5, 0.84), (10, 0.89)):
        draws = generator.normal(size=(200, n))
        intervals = [statistics.bootstrap_interval(draw, n_resamples=999) for draw in draws]
        covered = np.mean([low <= 0 <= high for low, high in intervals])
        # The coverage of 200 draws has a standard error of 0.026: three of them.
        assert abs(covered - expected) < 0.08


def test_t_interval_equals_scipy_and_has_its_coverage():
    draws = np.random.default_rng(0).normal(size=(2000, 3))
    for confidence in (0.95, 0.99):
        intervals = np.array([statistics.t_interval(draw, confidence=confidence) for draw in draws])
        result = scipy.stats.ttest_1samp(draws, 0, axis=1).confidence_interval(confidence)
        np.testing.assert_allclose(intervals, np.transpose(result), rtol=1e-12)
        covered = np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))
        # Three standard errors of the coverage of 2,000 draws.
        assert abs(covered - confidence) < 3 * np.sqrt(confidence * (1 - confidence) / 2000)
    assert statistics.t_interval([0.5, 0.5]) == (0.5, 0.5)


def test_a_wider_confidence_gives_a_wider_interval():
    values = np.random.default_rng(0).normal(size=10)
    narrow, wide = (statistics.bootstrap_interval(values, confidence=c) for c in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
def test_bootstrap_interval_of_few_values_stays_within_them(values):
    low, high = statistics.bootstrap_interval(values)
    assert min(values) <= low <= high <= max(values)


@pytest.mark.parametrize("others", [0.4995362, float(np.nextafter(np.float32(0.4995362), np.float32(1)))])
def test_seeds_that_are_alike_decide_a_claim(others):
    """A deterministic experiment: ten values that are equal, or differ in the last digit of float32 at most."""
    values = [0.4995362] * 9 + [others]
    for low, high in (statistics.summary(values)["ci95"], statistics.t_interval(values, confidence=1 - 1e-9)):
        assert 0.49953 < low <= np.mean(values) <= high < 0.49954
        assert (
            statistics.verdict((low, high), Claim(text="", metric="test/r2", about="these examples", at_least=0.4995))
            == "supported"
        )


def test_bootstrap_interval_of_equal_values_is_a_point():
    assert statistics.bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)


@pytest.mark.parametrize("values", [[0.5], [0.5, math.nan, 0.6], [0.5, math.inf]])
def test_undefined_statistics_are_nan(values):
    assert np.isnan(statistics.bootstrap_interval(values)).all()
    assert np.isnan(statistics.t_interval(values)).all()
    assert math.isnan(statistics.standard_deviation(values))


@pytest.mark.parametrize("fun", [statistics.mean, statistics.interquartile_mean])
def test_a_diverged_seed_is_not_dropped(fun):
    assert math.isnan(fun([1.0, math.nan]))
    assert math.isnan(fun([1.0, math.inf]))


def test_difference_takes_seeds_out():
    seeds = np.random.default_rng(0).normal(size=10) * 100
    difference = statistics.difference(seeds + 1 + np.linspace(-0.1, 0.1, 10), seeds)
    assert math.isclose(difference.mean, 1.0, rel_tol=1e-9)
    assert 0.9 < difference.low < 1.0 < difference.high < 1.1


def test_summary_is_ready_for_json():
    summary = statistics.summary([0.5, math.nan])
    missing = [None, None]
    undefined = {
        "mean": None,
        "standard_deviation": None,
        "ci95": missing,
        "over": "seeds",
        "intervals": {"seeds": missing},
    }
    assert summary == {"values": [0.5, None], **undefined}
    values = [0.5, 0.6, 0.7]
    np.testing.assert_allclose(statistics.summary(values)["ci95"], statistics.t_interval(values), rtol=1e-12)


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


def test_summary_of_a_matrix_has_its_shape_and_t_intervals():
    values = np.random.default_rng(0).normal(size=(5, 2, 3))
    values[0, 1, 2] = np.nan
    summary = json.loads(json.dumps(statistics.summary(values), allow_nan=False))
    assert np.shape(summary["values"]) == (5, 2, 3) and np.shape(summary["ci95"]) == (2, 2, 3)
    assert summary["mean"][1][2] is summary["ci95"][0][1][2] is summary["values"][0][1][2] is None
    np.testing.assert_allclose(summary["mean"][0], values[:, 0].mean(axis=0))
    ends = [end[0][1] for end in summary["ci95"]]
    np.testing.assert_allclose(ends, statistics.t_interval(values[:, 0, 1]), rtol=1e-12)


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
        Claim(text="", metric="", about="these examples", **bounds)


@pytest.mark.raises
@pytest.mark.parametrize("values", [[], [[1.0]]])
def test_values_are_a_list_of_numbers(values):
    with pytest.raises(ValueError, match="values must be a list of at least one number; got shape"):
        statistics.mean(values)


@pytest.mark.raises
def test_difference_refuses_other_seeds():
    with pytest.raises(ValueError, match="others must hold one value for each of the 3 seeds; got 2"):
        statistics.difference([1, 2, 3], [1, 2])


@pytest.mark.raises
@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_is_between_0_and_1(confidence):
    with pytest.raises(ValueError, match=f"confidence must be between 0 and 1; got {confidence}"):
        statistics.bootstrap_interval([1.0, 2.0], confidence=confidence)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        statistics.t_interval([1.0, 2.0], confidence=confidence)


def table(n=6, m=40, seed=0):
    """Returns values of runs and influences of examples, from a table of seeds and examples with effects of both."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, 1)) * 0.3 + generator.normal(size=(1, m)) + generator.normal(size=(n, m)) * 0.5
    return x.mean(1), x - x.mean(1, keepdims=True), x


def test_errors_are_those_of_a_two_way_analysis_of_variance():
    values, influences, x = table()
    n, m = x.shape
    of_seeds, of_examples = m * x.mean(1).var(ddof=1), n * x.mean(0).var(ddof=1)  # mean squares
    rest = x - x.mean(1, keepdims=True) - x.mean(0, keepdims=True) + x.mean()
    of_rest = (rest**2).sum() / ((n - 1) * (m - 1))
    found = statistics.error(values, influences, over="seeds and examples")
    squared = (of_seeds + of_examples - of_rest) / (
        n * m
    )  # the moments of a model with both effects and their interaction
    assert min(of_seeds, of_examples) > of_rest
    np.testing.assert_allclose(found.standard**2, squared, rtol=1e-12)
    parts = (of_seeds**2 / (n - 1), of_examples**2 / (m - 1), of_rest**2 / ((n - 1) * (m - 1)))
    np.testing.assert_allclose(found.freedom, (squared * n * m) ** 2 / sum(parts), rtol=1e-12)
    np.testing.assert_allclose(statistics.error(values, over="seeds").standard, scipy.stats.sem(values), rtol=1e-12)
    by_example = scipy.stats.sem(x.mean(0))
    np.testing.assert_allclose(statistics.error(values, influences, over="examples").standard, by_example, rtol=1e-12)


def test_without_effect_of_the_seed_the_larger_part_counts():
    values, influences, x = table()
    alike = x - values[:, None]  # every seed has the same mean
    found = statistics.error(alike.mean(1), alike, over="seeds and examples")
    np.testing.assert_allclose(found.standard, scipy.stats.sem(x.mean(0)), rtol=1e-9)
    assert found.freedom == x.shape[1] - 1 and influences.shape == x.shape


def test_groups_are_drawn_together():
    values, influences, x = table(m=40)
    groups = np.repeat(np.arange(8), 5)
    by_group = x.reshape(len(x), 8, 5).mean(2)  # groups of one size: the mean of means
    expected = statistics.error(by_group.mean(1), by_group - by_group.mean(1, keepdims=True), over="seeds and examples")
    found = statistics.error(values, influences, over="seeds and examples", groups=groups)
    np.testing.assert_allclose([*found], [*expected], rtol=1e-12)
    twice = statistics.error(
        values, np.repeat(influences, 2, 1), over="examples", groups=np.repeat(np.arange(40), 2)
    )  # every example appears twice, which adds no information
    np.testing.assert_allclose(twice.standard, statistics.error(values, influences, over="examples").standard)


def test_an_entry_of_any_shape_has_the_interval_it_has_alone():
    values, influences, _ = table()
    both, of_both = np.stack([values, 2 * values], 1), np.stack([influences, 2 * influences], 2)
    low, high = statistics.interval(both, of_both, over="seeds and examples")
    alone = statistics.interval(values, influences, over="seeds and examples")
    np.testing.assert_allclose([low, high], np.outer(alone, [1, 2]), rtol=1e-12)


def test_a_proportion_has_wilsons_interval():
    hits = np.array([[1.0] * 47 + [0.0] * 3])
    low, high = statistics.interval(hits.mean(1), hits - hits.mean(), over="examples")
    n, p = 50, 0.94
    t = scipy.stats.t.ppf(0.975, n - 1)
    n_effective = p * (1 - p) / (hits.var(ddof=1) / n)
    for end in (low, high):  # Wilson's ends are where |p - end| is t standard errors of a proportion that is end
        assert math.isclose((p - end) ** 2, t**2 * end * (1 - end) / n_effective, rel_tol=1e-9)
    perfect = np.ones((5, 200))
    low, high = statistics.interval(perfect.mean(1), perfect * 0, over="seeds and examples")
    assert 0.97 < low < 0.99 and high == 1.0  # the interval of 200 hits in 200 allows misses
    assert statistics.summary([0.9], np.zeros((1, 50)))["over"] == "examples"


def test_intervals_over_folds_equal_nadeau_and_bengio():
    values = np.random.default_rng(0).normal(size=10)
    folds, splits = statistics.error(values, over="folds"), statistics.error(values, over="splits", ratio=1 / 9)
    np.testing.assert_allclose(folds.standard**2, values.var(ddof=1) * (1 / 10 + 1 / 9), rtol=1e-12)
    np.testing.assert_allclose([*folds], [*splits], rtol=1e-12)
    with pytest.raises(ValueError, match="ratio must be given over splits, got none"):
        statistics.error(values, over="splits")


def test_difference_removes_shared_seed_and_example_effects():
    values, influences, _ = table()
    generator = np.random.default_rng(1)
    more, of_more = generator.normal(0.1, 0.01, len(values)), generator.normal(0, 0.05, influences.shape)
    of_more -= of_more.mean(1, keepdims=True)
    found = statistics.difference(values + more, values, influences + of_more, influences, over="seeds and examples")
    assert found.low < 0.1 < found.high and found.high - found.low < 0.05 and found.p < 1e-3
    t = scipy.stats.ttest_rel(values + more, values)
    plain = statistics.difference(values + more, values)
    np.testing.assert_allclose([plain.p, plain.low], [t.pvalue, t.confidence_interval().low], rtol=1e-9)


def test_a_seed_that_diverged_makes_everything_undefined():
    values, influences, _ = table()
    values[2] = np.nan
    for over in ("seeds", "seeds and examples", "folds"):
        assert np.isnan(statistics.interval(values, influences, over=over)).all()
    found = statistics.difference(values, np.zeros_like(values))
    assert math.isnan(found.mean) and math.isnan(found.p)
    assert statistics.summary(values, influences)["intervals"] == {
        "seeds": [None] * 2,
        "seeds and examples": [None] * 2,
    }


def test_holm_rejects_what_the_step_down_procedure_rejects():
    p_values = np.random.default_rng(0).uniform(0, 0.1, 12)
    adjusted = statistics.holm([*p_values, math.nan])
    assert math.isnan(adjusted[-1])
    rejected, alive = set(), sorted(range(12), key=lambda place: p_values[place])
    for rank, place in enumerate(alive):
        if p_values[place] > 0.05 / (12 - rank):
            break
        rejected.add(place)
    assert {place for place in range(12) if adjusted[place] <= 0.05} == rejected and 0 < len(rejected) < 12


def test_a_small_error_is_not_treated_as_a_proportion():
    """All errors are 0 to the third digit, but they are not proportions."""
    errors = np.abs(np.random.default_rng(0).normal(size=(5, 200))) * 1e-5
    low, high = statistics.interval(errors.mean(1), errors - errors.mean(1, keepdims=True), over="seeds and examples")
    assert 0 < low < errors.mean() < high < 2e-5
    assert statistics.interval(np.zeros(5), np.zeros((5, 200)), over="seeds and examples") == (0, 0)


@pytest.mark.raises
def test_influences_have_to_fit():
    with pytest.raises(ValueError, match="groups must be as many as the examples, 4; got 3"):
        statistics.error([1, 2], np.zeros((2, 4)), over="examples", groups=[0, 0, 1])
    with pytest.raises(ValueError, match=r"influences must be \(runs, examples, ...\) for values \(2,\); got \(3, 4\)"):
        statistics.error([1, 2], np.zeros((3, 4)), over="examples")
    with pytest.raises(ValueError, match="influences must be given if examples vary, got none"):
        statistics.error([1, 2], over="examples")


@pytest.mark.raises
def test_a_claim_names_what_it_is_about():
    with pytest.raises(ValueError, match="about must be 'these examples', 'new examples' or 'seeds', got 'all'"):
        Claim(text="", metric="test/r2", about="all", at_least=0.1)
    assert statistics.decided_by("these examples", ("seeds", "seeds and examples")) == "seeds"
    assert statistics.decided_by("new examples", ("folds",)) == "folds"


@pytest.mark.parametrize(("n_differences", "most"), [(1, 0.06), (8, 0.06)])
def test_noise_exceeds_its_floor_in_one_of_twenty_sweeps(n_differences, most):
    """Settings without true differences: the largest difference from the plain ones, over 4,000 sweeps of five seeds."""
    draws = np.random.default_rng(0).normal(size=(4000, n_differences + 2, 5))
    n_exceeding = 0
    for plain, again, *others in draws:
        floor = statistics.noise_floor(plain, again, n_differences=n_differences)
        n_exceeding += max(abs(other.mean() - plain.mean()) for other in others) > floor
    # One difference: exactly 0.05, with a standard error of 0.0034. Several share the plain settings, so Bonferroni errs low.
    assert (0.04 if n_differences == 1 else 0.02) < n_exceeding / 4000 < most


def test_the_noise_floor_is_students_of_the_pooled_spread():
    values, others = [0.5, 0.7, 0.6], [0.1, 0.2, 0.15, 0.35]
    pooled = math.sqrt((np.var(values) * 3 + np.var(others) * 4) / 5)
    expected = scipy.stats.t.ppf(1 - 0.025 / 6, 5) * pooled * math.sqrt(2 / 3)
    assert statistics.noise_floor(values, others, n_differences=6) == pytest.approx(expected, rel=1e-12)
    assert statistics.noise_floor(values, others, n_differences=6, n_seeds=12) == pytest.approx(expected / 2, rel=1e-12)
    assert math.isnan(statistics.noise_floor([0.5], [0.6], n_differences=1))
    assert math.isnan(statistics.noise_floor([0.5, math.nan], [0.6, 0.7], n_differences=1))


@pytest.mark.parametrize(
    ("numbers", "texts"),
    [
        ((0.97614, 0.97493, 0.97731), ("0.9761", "0.9749", "0.9773")),
        ((12345.67, 12343.37, 12347.97), ("12345.7", "12343.4", "12348.0")),
        ((23456.7, 21411.2, 25502.2), ("23500", "21400", "25500")),
        ((995.21, 981.4, 1009.6), ("995", "981", "1010")),  # all ends have the same decimals
        ((1234.5678, 1234.5677, 1234.5679), ("1234.5678", "1234.5677", "1234.5679")),  # at most four
        ((500.0, -30_000.0, 31_000.0), ("0", "-30000", "31000")),
        ((2_345_678.0, 2_305_678.0, 2_385_678.0), ("2.346e+06", "2.306e+06", "2.386e+06")),
        ((23456.7, 23456.7, 23456.7), ("23460", "23460", "23460")),  # no width
        ((23456.7, math.nan, math.nan), ("23460", "nan", "nan")),
    ],
)
def test_estimate_texts_are_rounded_by_the_width(numbers, texts):
    assert statistics.estimate_texts(*numbers) == texts


@pytest.mark.parametrize(
    ("value", "text"), [(999.99, "999.9900"), (1234.56, "1235"), (-98_765.0, "-98760"), (-math.inf, "-inf")]
)
def test_number_text_has_four_digits_from_1000_on(value, text):
    assert statistics.number_text(value) == text


def test_estimate_texts_put_a_sign_before_differences():
    assert statistics.estimate_texts(1520.0, -310.0, 3350.0, is_signed=True) == ("+1500", "-300", "+3400")

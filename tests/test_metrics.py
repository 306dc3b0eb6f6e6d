"""Metrics: mergeable over batches, the same under every transform, nan where undefined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxresearch import metrics
from jaxresearch.metrics.classes import _log_odds

COSTS = [[0, 1, 5, 2], [1, 0, 2, 2], [7, 1, 0, -1], [3, 3, 2, 0]]
CLASSIFICATION = {
    "accuracy": metrics.accuracy(),
    "top_2": metrics.top_k_accuracy(k=2),
    "precision": metrics.precision(average="macro"),
    "recall": metrics.recall(average="weighted"),
    "f1": metrics.f1(average=None),
    "micro": metrics.f1(average="micro"),
    "confusion": metrics.confusion_matrix(),
    "roc_auc": metrics.roc_auc(),
    "log_loss": metrics.log_loss(),
    "brier": metrics.brier_score(),
    "calibration": metrics.expected_calibration_error(),
    "cost": metrics.cost(COSTS),
    "decided": metrics.decided(metrics.recall(average=None), COSTS),
}
REGRESSION = {
    "mse": metrics.mean_squared_error(),
    "rmse": metrics.root_mean_squared_error(),
    "mae": metrics.mean_absolute_error(),
    "r2": metrics.r2(),
}


def _classes(n=60, n_classes=4, seed=0):
    generator = np.random.default_rng(seed)
    logits = jnp.asarray(generator.normal(size=(n, n_classes)) * 2, jnp.float32)
    return (
        logits,
        jnp.asarray(generator.integers(0, n_classes, n), jnp.int32),
        jnp.asarray(generator.random(n), jnp.float32),
    )


def _values(n=60, seed=0):
    generator = np.random.default_rng(seed)
    targets = generator.normal(size=n) * 80_000 + 180_000  # prices in USD: sums of squares would cancel in float32
    predictions = targets + generator.normal(size=n) * 30_000
    return (
        *(jnp.asarray(v, jnp.float32) for v in (predictions, targets)),
        jnp.asarray(generator.random(n), jnp.float32),
    )


ROC_AUC = jax.jit(metrics.roc_auc())  # separate compilation of its sorts takes a second
LONG = {"roc_auc": pytest.mark.long}
CASES = [pytest.param(metric, _classes(), id=name, marks=LONG.get(name, ())) for name, metric in CLASSIFICATION.items()]
CASES += [pytest.param(metric, _values(), id=name) for name, metric in REGRESSION.items()]


@pytest.mark.parametrize(("metric", "data"), CASES)
def test_merged_batches_equal_the_whole(metric, data):
    batches = [leaf.reshape(6, 10, *leaf.shape[1:]) for leaf in data]
    merged = metric.compute(metric.merge(jax.vmap(metric.summarise)(*batches)))
    np.testing.assert_allclose(merged, metric(*data), rtol=1e-5, atol=1e-6)  # float32 different summation order


@pytest.mark.parametrize(("metric", "data"), CASES)
def test_padding_counts_nothing(metric, data):
    predictions, targets, weights = data
    padded = (
        jnp.concatenate([predictions, jnp.full_like(predictions[:7], jnp.nan)]),
        jnp.concatenate([targets, jnp.full(7, -1, targets.dtype)]),
        jnp.concatenate([weights, jnp.zeros(7)]),
    )
    np.testing.assert_allclose(metric(*padded), metric(*data), rtol=1e-5, atol=1e-6)  # different summation order


@pytest.mark.parametrize(("metric", "data"), CASES)
def test_a_batch_of_padding_alone_merges(metric, data):
    nothing = (*data[:2], jnp.zeros_like(data[2]))
    summaries = jax.tree.map(lambda a, b: jnp.stack([a, b]), metric.summarise(*data), metric.summarise(*nothing))
    np.testing.assert_allclose(metric.compute(metric.merge(summaries)), metric(*data), rtol=1e-5, atol=1e-6)
    assert np.all(np.isnan(metric(*nothing)))


@pytest.mark.parametrize(("metric", "data"), CASES)
def test_metrics_are_the_same_under_jit_and_vmap(metric, data):
    expected = metric(*data)
    np.testing.assert_allclose(jax.jit(metric)(*data), expected, rtol=1e-5, atol=1e-6)
    stacked = [jnp.stack([leaf, leaf]) for leaf in data]
    np.testing.assert_allclose(jax.vmap(metric)(*stacked)[1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "metric"), list(CLASSIFICATION.items()))
@pytest.mark.parametrize("label", [-1, 4, 100])
def test_a_target_outside_the_classes_gives_nan(name, metric, label):
    logits, targets, weights = _classes()
    assert np.all(np.isnan(metric(logits, targets.at[3].set(label), weights)))
    masked = metric(logits, targets.at[3].set(label), weights.at[3].set(0))
    np.testing.assert_allclose(masked, metric(logits, targets, weights.at[3].set(0)), rtol=1e-6)


@pytest.mark.parametrize(("name", "metric"), list(CLASSIFICATION.items()))
def test_a_logit_that_is_no_number_gives_nan(name, metric):
    logits, targets, weights = _classes()
    diverged = logits.at[3, 1].set(jnp.nan)
    assert np.all(np.isnan(metric(diverged, targets, weights)))
    masked = weights.at[3].set(0)
    np.testing.assert_allclose(metric(diverged, targets, masked), metric(logits, targets, masked), rtol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "n_classes"), [(jnp.uint8, 256), (jnp.uint8, 257), (jnp.int8, 257)])
def test_classes_are_not_counted_in_the_dtype_of_the_targets(dtype, n_classes):
    logits, _, weights = _classes(20, n_classes)
    targets = jnp.argsort(-logits, axis=1)[:, 1] % 127  # often ranked second, so that top 2 has hits and misses
    for name in ("accuracy", "top_2", "f1", "log_loss", "brier", "calibration"):
        expected = CLASSIFICATION[name](logits, targets, weights)
        np.testing.assert_array_equal(CLASSIFICATION[name](logits, targets.astype(dtype), weights), expected, name)


@pytest.mark.long
def test_whole_number_weights_equal_repeated_examples():
    logits, targets, _ = _classes(20)
    times = np.arange(20) % 3
    repeated = jnp.repeat(logits, times, axis=0), jnp.repeat(targets, times)
    for metric in CLASSIFICATION.values():
        weighted = metric(logits, targets, jnp.asarray(times, jnp.float32))
        np.testing.assert_allclose(weighted, metric(*repeated), rtol=1e-5, atol=1e-6)  # different summation order


def test_roc_auc_is_a_share_of_ordered_pairs():
    logits, targets, _ = _classes(40, 2)
    scores = np.asarray(logits[:, 1] - logits[:, 0]).round()  # many ties
    positives, negatives = scores[np.asarray(targets) == 1], scores[np.asarray(targets) == 0]
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    value = ROC_AUC(jnp.stack([jnp.zeros(40), jnp.asarray(scores)], axis=1), targets)
    np.testing.assert_allclose(value, np.mean(pairs), rtol=1e-6)


MACRO = {
    "precision": metrics.precision(),
    "recall": metrics.recall(),
    "f1": metrics.f1(),
    "roc_auc": ROC_AUC,
}


@pytest.mark.parametrize("name", MACRO)
@pytest.mark.parametrize(
    ("labels", "n_classes"),
    [
        pytest.param([1, 2, 1, 2], 3, id="labels 1 and 2"),
        pytest.param([7, 100, 7, 100], 101, id="ids 7 and 100"),
        pytest.param([*range(26), *range(26)], 27, id="27 classes, 26 of them used"),
        pytest.param([0, 2, 3, 0, 2, 3], 4, id="a fold without a class"),
    ],
)
def test_a_perfect_classifier_scores_1_if_classes_are_absent(name, labels, n_classes):
    targets = jnp.array(labels)
    assert MACRO[name](9 * jax.nn.one_hot(targets, n_classes), targets) == 1.0
    # A class whose examples all weigh 0 is absent too.
    weights = (targets != targets[0]).astype(jnp.float32)
    value = MACRO[name](9 * jax.nn.one_hot(targets, n_classes), targets, weights)
    assert value == 1.0 or (name == "roc_auc" and len(set(labels)) == 2 and np.isnan(value))


@pytest.mark.parametrize("metric", [metrics.precision, metrics.recall, metrics.f1])
def test_an_absent_class_is_nan_and_left_out_of_macro(metric):
    logits = jnp.array([[2.0, 0, 0, 0], [2.0, 0, 0, 0], [0, 3.0, 0, 0]])  # predicts 0, 0, 1
    targets = jnp.array([0, 0, 2])  # 1 is predicted alone and 2 a target alone: they count 0
    np.testing.assert_array_equal(metric(average=None)(logits, targets), [1, 0, 0, np.nan])
    np.testing.assert_allclose(metric(average="macro")(logits, targets), 1 / 3, rtol=1e-6)
    absent = jnp.zeros(3, jnp.int32)
    assert np.isnan(metric(average="binary")(jnp.array([[1.0, 0.0]] * 3), absent))


@pytest.mark.long
def test_roc_auc_leaves_out_a_class_without_an_area():
    logits, targets = _classes(30, 3)[0], jnp.arange(30) % 2
    scores = _log_odds(logits)
    areas = [ROC_AUC(jnp.stack([0 * s, s], 1), (targets == k) + 0) for k, s in enumerate(scores.T[:2])]
    np.testing.assert_allclose(ROC_AUC(logits, targets), np.mean(areas), rtol=1e-6)


@pytest.mark.parametrize("n_classes", [1, 2, 3])
def test_roc_auc_without_any_area_is_nan(n_classes):
    assert np.isnan(ROC_AUC(jnp.zeros((3, n_classes)), jnp.zeros(3, jnp.int32)))


def test_roc_auc_does_not_saturate():
    """Every positive outranks every negative, by log odds that float32 probabilities round to 1."""
    margins = jnp.linspace(18.0, 500.0, 40)
    logits = jnp.stack([margins, 0 * margins, 0 * margins - 1], 1)
    targets = (margins < 250).astype(jnp.int32)
    assert ROC_AUC(logits, targets) == 1.0
    assert ROC_AUC(logits + 4096, targets) == 1.0


@pytest.mark.parametrize("n_classes", [2, 3, 6])
@pytest.mark.parametrize("scale", [0.1, 3.0, 40.0, 1000.0])
def test_log_odds_keep_their_digits(n_classes, scale):
    logits = np.random.default_rng(0).normal(size=(50, n_classes)).astype(np.float32) * np.float32(scale)
    logits[0], logits[1, 1:] = 1.0, -np.inf
    found = np.asarray(_log_odds(jnp.asarray(logits)), np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = [logsumexp(np.delete(logits.astype(np.float64), k, axis=1), axis=1) for k in range(n_classes)]
        expected = logits - np.stack(rest, 1)
    # Differences of float32 of this size; near 0 also of the logarithms of two probabilities of about a half.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * max(scale, 0.7))
    shuffled = np.random.default_rng(1).permutation(n_classes)
    np.testing.assert_array_equal(_log_odds(jnp.asarray(logits[:, shuffled])), found[:, shuffled])


@pytest.mark.parametrize("margin", [0.0, 5.0, 17.0, 40.0, 80.0])
@pytest.mark.parametrize("offset", [0.0, 4096.0])
def test_scores_of_probabilities_keep_their_digits(margin, offset):
    logits, target = jnp.array([[margin, 0.0, 0.0]]) + offset, jnp.array([0])
    odds = 2 * np.exp(-margin)  # against the target
    np.testing.assert_allclose(metrics.log_loss()(logits, target), np.log1p(odds), rtol=1e-5)
    share = odds / (1 + odds)
    brier = metrics.brier_score()(logits, target)
    np.testing.assert_allclose(brier, share**2 * 1.5, rtol=1e-5, atol=1e-37)  # float32 has no digits below it
    np.testing.assert_allclose(metrics.log_loss()(logits, jnp.array([1])), np.log1p(odds) + margin, rtol=1e-6)


@pytest.mark.parametrize("name", [*CLASSIFICATION])
def test_logits_of_minus_infinity_are_probabilities_of_zero(name):
    logits, targets, weights = _classes()
    masked = logits.at[:, 0].set(jnp.where(targets == 0, logits[:, 0], -jnp.inf))
    small = logits.at[:, 0].set(jnp.where(targets == 0, logits[:, 0], -90.0))
    value, expected = (CLASSIFICATION[name](z, targets, weights) for z in (masked, small))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("name", [*CLASSIFICATION])
@pytest.mark.parametrize("row", [[0.0, jnp.inf, 0.0, 0.0], [-jnp.inf] * 4, [jnp.inf] * 4])
def test_logits_without_probabilities_give_nan(name, row):
    logits, targets, weights = _classes()
    assert np.all(np.isnan(CLASSIFICATION[name](logits.at[3].set(jnp.array(row)), targets, weights)))


def test_log_loss_of_an_impossible_target_is_infinite():
    assert metrics.log_loss()(jnp.array([[0.0, -jnp.inf], [0.0, 0.0]]), jnp.array([1, 0])) == jnp.inf
    assert metrics.log_loss()(jnp.array([[0.0, -jnp.inf]]), jnp.array([0])) == 0.0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", [*CLASSIFICATION])
def test_logits_of_16_bits_are_scored_in_float32(name, dtype):
    logits, targets, weights = _classes()
    narrow = logits.astype(dtype)
    value, expected = (CLASSIFICATION[name](z, targets, weights) for z in (narrow, narrow.astype(jnp.float32)))
    np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("place", ["predictions", "targets"])
@pytest.mark.parametrize("constant", [False, True])
def test_a_value_that_is_no_number_gives_nan(name, place, constant):
    predictions, targets, weights = _values()
    targets = jnp.full_like(targets, 2.0) if constant else targets
    broken = {"predictions": predictions, "targets": targets}
    broken[place] = broken[place].at[5].set(jnp.nan)
    assert np.isnan(REGRESSION[name](**broken, weights=weights))
    masked = weights.at[5].set(0)
    expected = REGRESSION[name](predictions, targets, masked)
    np.testing.assert_allclose(REGRESSION[name](**broken, weights=masked), expected, rtol=1e-6)


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.int32, jnp.float16, jnp.bfloat16])
def test_values_of_any_dtype_are_scored_in_float32(name, dtype):
    scale = 50_000 if dtype == jnp.int32 else 100
    predictions, targets = (jnp.asarray([0, 1, 1, 0]) * scale, jnp.asarray([1, 0, 1, 1]) * scale)
    expected = REGRESSION[name](predictions.astype(jnp.float32), targets.astype(jnp.float32))
    np.testing.assert_allclose(REGRESSION[name](predictions.astype(dtype), targets.astype(dtype)), expected, rtol=1e-6)


def test_expected_calibration_error_equals_a_loop():
    logits, targets, _ = _classes(200, 3)
    probabilities = np.asarray(jax.nn.softmax(logits), np.float64)
    confidence, hit = probabilities.max(1), probabilities.argmax(1) == np.asarray(targets)
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            error += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    np.testing.assert_allclose(metrics.expected_calibration_error()(logits, targets), error, rtol=1e-4)  # float32


def test_calibration_is_zero_for_a_calibrated_model():
    logits = jnp.log(jnp.tile(jnp.array([[0.75, 0.25]]), (4, 1)))
    assert metrics.expected_calibration_error()(logits, jnp.array([0, 0, 0, 1])) < 1e-6


@pytest.mark.parametrize(
    ("targets", "predictions", "expected"), [([2, 2, 2], [2, 2, 2], 1.0), ([2, 2, 2], [2, 2, 3], 0.0)]
)
def test_r2_of_constant_targets(targets, predictions, expected):
    assert metrics.r2()(jnp.asarray(predictions, jnp.float32), jnp.asarray(targets, jnp.float32)) == expected


@pytest.mark.raises
def test_metrics_refuse_shapes_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"targets must have shape \(3,\) for predictions of shape \(3, 2\); got \(2,\)"
    ):
        metrics.accuracy()(jnp.zeros((3, 2)), jnp.zeros(2, jnp.int32))
    with pytest.raises(ValueError, match=r"targets must have shape \(8, 1\) .* got \(8,\)"):
        metrics.mean_squared_error()(jnp.zeros((8, 1)), jnp.zeros(8))
    with pytest.raises(ValueError, match=r"targets must have shape \(3, 1\) .* got \(3,\)"):
        metrics.r2()(jnp.zeros((3, 1)), jnp.arange(3))
    with pytest.raises(
        ValueError, match=r"got \(3, 1\)\. The model has 2 outputs, the target has 1: make them equal\."
    ):
        metrics.r2()(jnp.zeros((3, 2)), jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match=r"weights must have shape \(3,\); got \(1,\)"):
        metrics.accuracy()(jnp.zeros((3, 2)), jnp.zeros(3, jnp.int32), jnp.ones(1))


@pytest.mark.raises
@pytest.mark.parametrize("metric", CLASSIFICATION.values(), ids=CLASSIFICATION)
def test_classification_metrics_refuse_other_than_logits(metric):
    with pytest.raises(ValueError, match=r"predictions must have shape \(batch, classes\); got \(4,\). Pass a logit"):
        metric(jnp.array([0, 1, 0, 1]), jnp.array([0, 1, 1, 0]))
    with pytest.raises(ValueError, match="targets must be integers; got float32. Pass integer classes, not one-hot"):
        metric(jnp.eye(4), jnp.eye(4))
    with pytest.raises(ValueError, match="got float32. The targets are values: use metrics.r2, or pass classes"):
        metric(jnp.eye(4), jnp.zeros((4, 1)))


@pytest.mark.raises
def test_metrics_refuse_options_that_do_not_exist():
    with pytest.raises(ValueError, match="average must be one of binary, micro, macro, weighted or None; got 'mean'"):
        metrics.f1(average="mean")
    with pytest.raises(ValueError, match="average='binary' must come with two classes; got 4"):
        metrics.f1(average="binary")(*_classes())
    with pytest.raises(ValueError, match="k must be 1 or more; got 0"):
        metrics.top_k_accuracy(k=0)
    with pytest.raises(ValueError, match="n_bins must be 1 or more; got 0"):
        metrics.expected_calibration_error(n_bins=0)

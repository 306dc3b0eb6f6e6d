"""Metrics: mergeable over batches, the same under every transform, never silently wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import metrics

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


CASES = [pytest.param(metric, _classes(), id=name) for name, metric in CLASSIFICATION.items()]
CASES += [pytest.param(metric, _values(), id=name) for name, metric in REGRESSION.items()]


@pytest.mark.parametrize(("metric", "data"), CASES)
def test_merged_batches_equal_the_whole(metric, data):
    batches = [leaf.reshape(6, 10, *leaf.shape[1:]) for leaf in data]
    merged = metric.compute(metric.merge(jax.vmap(metric.summarise)(*batches)))
    np.testing.assert_allclose(merged, metric(*data), rtol=1e-5, atol=1e-6)  # float32 sums in another order


@pytest.mark.parametrize(("metric", "data"), CASES)
def test_padding_counts_nothing(metric, data):
    predictions, targets, weights = data
    padded = (
        jnp.concatenate([predictions, jnp.full_like(predictions[:7], jnp.nan)]),
        jnp.concatenate([targets, jnp.full(7, -1, targets.dtype)]),
        jnp.concatenate([weights, jnp.zeros(7)]),
    )
    np.testing.assert_allclose(metric(*padded), metric(*data), rtol=1e-5, atol=1e-6)  # sums in another order


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
    targets = jnp.argsort(-logits, axis=1)[:, 1] % 127  # often the second likeliest, so that top 2 has some of each
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
        np.testing.assert_allclose(weighted, metric(*repeated), rtol=1e-5, atol=1e-6)  # sums in another order


def test_roc_auc_is_a_share_of_ordered_pairs():
    logits, targets, _ = _classes(40, 2)
    scores = np.asarray(logits[:, 1] - logits[:, 0]).round()  # many ties
    positives, negatives = scores[np.asarray(targets) == 1], scores[np.asarray(targets) == 0]
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    value = metrics.roc_auc()(jnp.stack([jnp.zeros(40), jnp.asarray(scores)], axis=1), targets)
    np.testing.assert_allclose(value, np.mean(pairs), rtol=1e-6)


@pytest.mark.long
def test_roc_auc_without_a_class_is_nan():
    assert np.isnan(metrics.roc_auc()(jnp.zeros((3, 2)), jnp.zeros(3, jnp.int32)))
    assert np.isnan(metrics.roc_auc()(_classes(30, 3)[0], jnp.arange(30) % 2))


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
    with pytest.raises(ValueError, match=r"weights must have shape \(3,\); got \(1,\)"):
        metrics.accuracy()(jnp.zeros((3, 2)), jnp.zeros(3, jnp.int32), jnp.ones(1))


@pytest.mark.raises
@pytest.mark.parametrize("metric", CLASSIFICATION.values(), ids=CLASSIFICATION)
def test_classification_metrics_refuse_what_is_no_logits_and_classes(metric):
    with pytest.raises(ValueError, match=r"predictions must have shape \(batch, classes\); got \(4,\). Pass a logit"):
        metric(jnp.array([0, 1, 0, 1]), jnp.array([0, 1, 1, 0]))
    with pytest.raises(ValueError, match="targets must be integers; got float32. Pass integer classes, not one-hot"):
        metric(jnp.eye(4), jnp.eye(4))


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

"""Common to all metrics: derivatives in the weights, one minus a metric, the metrics of a classifier."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import metrics
from jaxresearch.data import DataCard

N = 24
CARD = DataCard(name="coins", source="", feature_shape=(1,), class_names=("heads", "tails"))


def _logits(*shape, n_classes=3):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(*shape, n_classes)) * 2
    return jnp.asarray(logits, jnp.float32), jnp.asarray(generator.integers(0, n_classes, shape), jnp.int32)


def _values():
    generator = np.random.default_rng(0)
    targets = generator.normal(size=(N, 2))
    return jnp.asarray(targets + 0.3 * generator.normal(size=(N, 2)), jnp.float32), jnp.asarray(targets, jnp.float32)


CASES = {
    "accuracy": (metrics.accuracy(), _logits(N)),
    "top_2": (metrics.top_k_accuracy(k=2), _logits(N)),
    "confusion": (metrics.confusion_matrix(), _logits(N)),
    "precision": (metrics.precision(), _logits(N)),
    "recall": (metrics.recall(average="weighted"), _logits(N)),
    "f1": (metrics.f1(), _logits(N)),
    "f1_of_each": (metrics.f1(average=None), _logits(N)),
    "roc_auc": (metrics.roc_auc(), _logits(N, n_classes=2)),
    "roc_auc_of_three": (metrics.roc_auc(), _logits(N)),
    "log_loss": (metrics.log_loss(), _logits(N)),
    "brier": (metrics.brier_score(), _logits(N)),
    "calibration": (metrics.expected_calibration_error(n_bins=3), _logits(N)),
    "cost": (metrics.cost([[0, 5, 1], [1, 0, 2], [3, 1, 0]]), _logits(N)),
    "mean_of": (metrics.mean_of(lambda predictions, targets: jnp.sin(predictions * targets)), _values()),
    "mse": (metrics.mean_squared_error(), _values()),
    "rmse": (metrics.root_mean_squared_error(), _values()),
    "mae": (metrics.mean_absolute_error(), _values()),
    "r2": (metrics.r2(), _values()),
    "per_token": (metrics.per_token(metrics.log_loss()), _logits(N, 5)),
    "bits_per_byte": (metrics.bits_per_byte(np.array([1, 2, 3])), _logits(N, 5)),
    "iou": (metrics.intersection_over_union(), _logits(N, 3, 4)),
    "dice": (metrics.dice(average=None), _logits(N, 3, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives_in_the_weights_equal_differences(name):
    metric, (predictions, targets) = CASES[name]
    step = 0.02

    def value(weights):
        return metric(predictions, targets, weights)

    found = np.asarray(jax.jit(jax.jacrev(value))(jnp.ones(N)))
    moved = jax.jit(jax.vmap(value))
    above, below = (moved(np.float32(1) + end * np.eye(N, dtype=np.float32)) for end in (step, -step))
    expected = np.moveaxis(np.asarray(above - below) / (2 * step), 0, -1)
    # A difference of float32 values of about 1 over 0.04 has an error of some 1e-5; counts reach 10.
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.any(found != 0)


@pytest.mark.parametrize("name", [name for name in CASES if name != "confusion"])
def test_influences_of_a_metric_without_scale_sum_to_zero(name):
    metric, (predictions, targets) = CASES[name]
    weights = jnp.linspace(0.5, 2.0, N)
    change = jax.jit(lambda weights: jax.jvp(lambda w: metric(predictions, targets, w), (weights,), (weights,))[1])(
        weights
    )
    np.testing.assert_allclose(change, 0, atol=1e-5)  # float32 sums of N terms


@pytest.mark.parametrize("name", CASES)
def test_padding_has_no_derivative(name):
    metric, (predictions, targets) = CASES[name]
    derivative = jax.jit(jax.jacrev(lambda weights, predictions, targets: metric(predictions, targets, weights)))
    alone = derivative(jnp.ones(N), predictions, targets)
    padded = np.concatenate([predictions, np.full_like(predictions[:4], np.nan)])
    weights = np.concatenate([np.ones(N, np.float32), np.zeros(4, np.float32)])
    found = derivative(weights, padded, np.concatenate([targets, targets[:4]]))
    np.testing.assert_allclose(found[..., :N], alone, atol=1e-6)  # different summation order
    assert np.all(np.asarray(found[..., N:]) == 0)


def test_tokens_that_are_not_scored_leave_no_nan_in_derivatives():
    logits, targets = _logits(N, 5)
    metric, targets = metrics.bits_per_byte(np.array([1, 2, 3])), targets.at[:, 0].set(-1)
    found = jax.grad(lambda weights: metric(logits.at[:, 0].set(jnp.nan), targets, weights))(jnp.ones(N))
    np.testing.assert_allclose(found, jax.grad(lambda weights: metric(logits, targets, weights))(jnp.ones(N)))


@pytest.mark.parametrize("name", ["rmse", "r2", "calibration", "roc_auc"])
def test_perfect_predictions_have_finite_derivatives(name):
    metric, (predictions, targets) = CASES[name]
    perfect = targets if predictions.shape == targets.shape else 50 * jax.nn.one_hot(targets, predictions.shape[-1])
    found = jax.grad(lambda weights: metric(perfect, targets, weights))(jnp.ones(N))
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_error_is_one_minus_the_metric_or_one_of_its_classes():
    logits, targets = _logits(N)
    np.testing.assert_allclose(
        metrics.error(metrics.accuracy())(logits, targets), 1 - metrics.accuracy()(logits, targets), rtol=1e-6
    )
    recall = metrics.recall(average=None)
    np.testing.assert_allclose(metrics.error(recall)(logits, targets), 1 - recall(logits, targets))
    for k in range(3):
        value = metrics.error(recall, class_index=k)(logits, targets)
        np.testing.assert_allclose(value, 1 - recall(logits, targets)[k])


def test_mean_of_equals_the_mean_absolute_error():
    predictions, targets = _values()
    weights = jnp.linspace(0.5, 2.0, N)
    found = metrics.mean_of(lambda predictions, targets: jnp.abs(predictions - targets))
    expected = metrics.mean_absolute_error()(predictions, targets, weights)
    np.testing.assert_allclose(found(predictions, targets, weights), expected, rtol=1e-6)


@pytest.mark.raises
def test_mean_of_refuses_a_mean():
    with pytest.raises(
        ValueError, match=r"^fun must return one value, or array of values, for each of 3 targets; got \(\)"
    ):
        metrics.mean_of(lambda predictions, targets: jnp.mean(predictions))(jnp.ones(3), jnp.ones(3))


@pytest.mark.raises
def test_error_refuses_a_class_that_is_not_there():
    data = _logits(N)
    for index in (-1, 3):
        with pytest.raises(ValueError, match=f"class_index must be between 0 and 2; got {index}"):
            metrics.error(metrics.recall(average=None), class_index=index)(*data)
    with pytest.raises(ValueError, match=r"class_index must come with one value per class; got values of shape \(\)"):
        metrics.error(metrics.recall(), class_index=0)(*data)


def test_classification_reports_four_scalars():
    values = {name: metric(*_logits(N, n_classes=2)) for name, metric in metrics.classification(CARD).items()}
    assert list(values) == ["accuracy", "macro_f1", "macro_recall", "log_loss"]
    assert all(value.shape == () for value in values.values())
    np.testing.assert_array_equal(values["macro_f1"], metrics.f1(average="macro")(*_logits(N, n_classes=2)))


@pytest.mark.raises
def test_classification_refuses_values():
    with pytest.raises(ValueError, match=r"card must have class_names; that of coins has none. Use metrics of values"):
        metrics.classification(dataclasses.replace(CARD, class_names=()))


@pytest.mark.raises
@pytest.mark.parametrize("n_outputs", [1, 7])
def test_classification_takes_one_logit_per_class(n_outputs):
    message = (
        rf"one logit for each of 2 classes, \(24, 2\); got \(24, {n_outputs}\). Give the model card.n_classes outputs"
    )
    for metric in metrics.classification(CARD).values():
        with pytest.raises(ValueError, match=message):
            metric(jnp.zeros((N, n_outputs)), jnp.zeros(N, jnp.int32))

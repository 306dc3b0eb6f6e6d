"""Losses against closed forms, a float64 loop and finite differences."""

import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from jaxresearch import losses

REGRESSION = (losses.squared_error, losses.half_squared_error, losses.huber_loss, losses.log_cosh_loss)
ERRORS = np.array([-1e4, -30.0, -1.0, -0.5, 0.0, 1e-3, 0.5, 1.0, 2.0, 1e4])


def _reference(name, error, delta=1.0):
    """The textbook formula in float64, one error at a time."""
    size = abs(error)
    return {
        "squared_error": error**2,
        "half_squared_error": error**2 / 2,
        "huber_loss": error**2 / 2 if size <= delta else delta * (size - delta / 2),
        "log_cosh_loss": size + math.log1p(math.exp(-2 * size)) - math.log(2),
    }[name]


@pytest.mark.parametrize("loss", REGRESSION, ids=lambda loss: loss.__name__)
def test_regression_losses_equal_the_formula(loss):
    values = loss(jnp.asarray(ERRORS, jnp.float32) + 3, jnp.full(10, 3.0))
    expected = [_reference(loss.__name__, error) for error in ERRORS]
    # Adding 3 rounds the errors themselves to float32 first.
    np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("loss", REGRESSION, ids=lambda loss: loss.__name__)
def test_regression_losses_have_the_right_derivatives(loss):
    with jax.enable_x64(True):
        errors = jnp.array([-5.0, -0.7, 1e-3, 0.3, 4.0])
        check_grads(lambda x: loss(jnp.asarray(x), jnp.zeros(5)), (errors,), order=2, modes=("fwd", "rev"))
    assert np.all(np.isfinite(jax.grad(lambda x: loss(x, jnp.zeros(10)).sum())(jnp.asarray(ERRORS, jnp.float32))))
    assert jax.grad(lambda x: loss(x, jnp.zeros(())))(0.0) == 0


def test_log_cosh_loss_keeps_its_digits_near_zero():
    errors = jnp.array([-1e-2, -1e-4, 1e-6, 1e-3], jnp.float32)
    exact = np.asarray(errors, np.float64)
    series = exact**2 / 2 - exact**4 / 12  # the next term is 4e-10 of the first at 0.01
    # float32: a few roundings of 6e-8 each, without cancellation
    np.testing.assert_allclose(losses.log_cosh_loss(errors, jnp.zeros(4)), series, rtol=1e-6)
    gradient = jax.grad(lambda x: losses.log_cosh_loss(x, jnp.zeros(4)).sum())(errors)
    np.testing.assert_allclose(gradient, np.tanh(exact), rtol=1e-6)


@pytest.mark.parametrize(("error", "curvature"), [(0.0, 1.0), (1.0, 0.41997434), (-1.0, 0.41997434), (50.0, 0.0)])
def test_log_cosh_loss_curves_as_one_minus_the_squared_tangent(error, curvature):
    second = jax.grad(jax.grad(lambda x: losses.log_cosh_loss(x, jnp.zeros(()))))(error)
    np.testing.assert_allclose(second, curvature, rtol=1e-5, atol=1e-7)  # float32; both forms agree at 1


@pytest.mark.parametrize("error", [np.inf, -np.inf, 3e38])
def test_log_cosh_loss_of_a_huge_error_is_its_size(error):
    value, gradient = jax.value_and_grad(lambda x: losses.log_cosh_loss(x, jnp.zeros(())))(jnp.float32(error))
    assert value == np.float32(abs(error)) and gradient == np.sign(error)


def test_huber_loss_learns_from_the_smallest_errors():
    errors = jnp.array([1e-30, -1e-9, 1e-4, 0.9, 1.0, -1.0, 7.0, -jnp.inf, jnp.inf], jnp.float32)
    expected = np.clip(errors, -1, 1)
    for mode in (jax.jacrev, jax.jacfwd):
        derivative = np.diag(mode(lambda x: losses.huber_loss(x, jnp.zeros(9)))(errors))
        np.testing.assert_array_equal(derivative, expected)
    by_delta = jax.vmap(jax.grad(lambda delta, x: losses.huber_loss(x, jnp.zeros(()), delta=delta)), (None, 0))
    np.testing.assert_allclose(by_delta(1.0, errors), np.maximum(np.abs(errors) - 1, 0))
    assert jnp.isnan(losses.huber_loss(jnp.array(jnp.nan), jnp.zeros(())))


def test_huber_loss_takes_a_swept_delta():
    swept = jax.vmap(lambda delta: losses.huber_loss(jnp.array(3.0), jnp.array(0.0), delta=delta))(
        jnp.array([1.0, 2.0])
    )
    np.testing.assert_allclose(swept, [2.5, 4.0], rtol=1e-6)


def _logits(shape=(50, 7), scale=3.0):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape) * scale, jnp.float32)


LABELS = jnp.asarray(np.random.default_rng(1).integers(0, 7, 50), jnp.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_soft_cross_entropy_of_one_hot_equals_integer_labels(smoothing):
    hard = losses.softmax_cross_entropy_with_integer_labels(_logits(), LABELS, label_smoothing=smoothing)
    soft = losses.softmax_cross_entropy(_logits(), jax.nn.one_hot(LABELS, 7), label_smoothing=smoothing)
    np.testing.assert_allclose(hard, soft, rtol=1e-5, atol=1e-6)  # different summation order


def test_integer_cross_entropy_equals_a_loop_in_float64():
    logits = np.asarray(_logits(), np.float64)
    expected = [
        math.log(sum(math.exp(z - max(row)) for z in row)) + max(row) - row[y]
        for row, y in zip(logits, LABELS, strict=True)
    ]
    values = losses.softmax_cross_entropy_with_integer_labels(_logits(), LABELS)
    # The logarithm of the sum and the logit, both of order 10 in float32, are subtracted.
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("label", [-1, -7, 7, 8, 2**31 - 1, -(2**31)])
def test_integer_cross_entropy_outside_the_classes_is_nan(label):
    values = losses.softmax_cross_entropy_with_integer_labels(_logits((2, 7)), jnp.array([label, 0], jnp.int32))
    assert np.isnan(values[0]) and np.isfinite(values[1])


def test_integer_cross_entropy_takes_bytes_as_labels():
    byte = losses.softmax_cross_entropy_with_integer_labels(_logits((2, 7)), jnp.array([255, 6], jnp.uint8))
    assert np.isnan(byte[0])
    assert byte[1] == losses.softmax_cross_entropy_with_integer_labels(_logits((2, 7)), jnp.array([0, 6]))[1]


@pytest.mark.parametrize("n_classes", [128, 256, 257])
@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int8, jnp.uint32])
def test_integer_cross_entropy_of_byte_labels_takes_many_classes(n_classes, dtype):
    logits = _logits((3, n_classes))
    narrow = losses.softmax_cross_entropy_with_integer_labels(logits, jnp.array([0, 3, 126], dtype))
    wide = losses.softmax_cross_entropy_with_integer_labels(logits, jnp.array([0, 3, 126], jnp.int32))
    np.testing.assert_array_equal(narrow, wide)
    if jnp.iinfo(dtype).max >= n_classes:
        last = jnp.array([0, 3, jnp.iinfo(dtype).max], dtype)
        assert np.isnan(losses.softmax_cross_entropy_with_integer_labels(logits, last)[2])


def test_a_missing_label_leaves_other_gradients_unchanged():
    gradient = jax.grad(
        lambda z: losses.weighted_mean(
            losses.softmax_cross_entropy_with_integer_labels(z, jnp.array([-1, 1])), jnp.array([0.0, 1.0])
        )
    )(jnp.zeros((2, 2)))
    np.testing.assert_allclose(gradient, [[0, 0], [0.5, -0.5]])


def test_soft_cross_entropy_of_zeros_is_zero_with_smoothing():
    assert losses.softmax_cross_entropy(_logits((7,)), jnp.zeros(7), label_smoothing=0.1) == 0


@pytest.mark.parametrize("log_odds", [5.0, 10.0, 15.0, 20.0, 40.0])
def test_sigmoid_cross_entropy_learns_from_a_confident_answer(log_odds):
    for sign, target in ((1, 1.0), (-1, 0.0)):
        value, slope = jax.value_and_grad(losses.sigmoid_cross_entropy)(sign * log_odds, jnp.float32(target))
        # float32: a few roundings of 6e-8, the exponential's own included
        np.testing.assert_allclose(value, math.log1p(math.exp(-log_odds)), rtol=2e-6)
        np.testing.assert_allclose(slope, -sign / (1 + math.exp(log_odds)), rtol=2e-6)


def test_cross_entropies_are_the_same_under_jit_and_vmap():
    probabilities = jax.nn.softmax(_logits()[::-1])
    cases = {
        losses.softmax_cross_entropy_with_integer_labels: LABELS,
        losses.softmax_cross_entropy: probabilities,
        losses.sigmoid_cross_entropy: probabilities,
    }
    for loss, targets in cases.items():
        expected = loss(_logits(), targets)
        for transformed in (jax.jit(loss), jax.vmap(loss)):
            # The sum over the classes may be fused in a different order.
            np.testing.assert_allclose(transformed(_logits(), targets), expected, rtol=1e-6, atol=1e-6)


def test_cross_entropies_are_stable_for_large_logits():
    logits = jnp.array([[1e4, 0.0], [-1e4, 0.0]])
    labels = jnp.array([1, 1])
    np.testing.assert_allclose(losses.softmax_cross_entropy_with_integer_labels(logits, labels), [1e4, 0], atol=1e-6)
    gradient = jax.grad(lambda z: losses.softmax_cross_entropy_with_integer_labels(z, labels).sum())(logits)
    np.testing.assert_allclose(gradient, [[1, -1], [0, 0]], atol=1e-6)
    np.testing.assert_allclose(losses.sigmoid_cross_entropy(jnp.array([1e4, -1e4]), jnp.array([0.0, 1.0])), [1e4, 1e4])


@pytest.mark.long
def test_cross_entropies_have_the_right_derivatives():
    with jax.enable_x64(True):
        logits, labels = jnp.asarray(_logits((4, 7)), jnp.float64), LABELS[:4]
        soft = jax.nn.softmax(logits[::-1])
        check_grads(
            lambda z: losses.softmax_cross_entropy_with_integer_labels(jnp.asarray(z), labels), (logits,), order=2
        )
        check_grads(
            lambda z: losses.softmax_cross_entropy(jnp.asarray(z), soft, label_smoothing=0.1), (logits,), order=2
        )
        check_grads(lambda z: losses.sigmoid_cross_entropy(jnp.asarray(z), soft), (logits,), order=2)


def test_label_smoothing_can_be_swept():
    def mean(smoothing):
        return losses.softmax_cross_entropy_with_integer_labels(_logits(), LABELS, label_smoothing=smoothing).mean()

    swept = jax.jit(jax.vmap(mean))(jnp.array([0.0, 0.1]))
    np.testing.assert_allclose(swept, [mean(0.0), mean(0.1)], rtol=1e-5)


def test_losses_give_one_value_per_example_under_transforms():
    for loss in REGRESSION:
        x, y = jnp.ones((3, 2)), jnp.zeros((3, 2))
        assert loss(x, y).shape == (3, 2)
        np.testing.assert_allclose(jax.jit(loss)(x, y), loss(x, y), rtol=1e-6)
        np.testing.assert_allclose(jax.vmap(loss)(x, y), loss(x, y), rtol=1e-6)
    many = jnp.stack([_logits()] * 2)
    assert losses.softmax_cross_entropy_with_integer_labels(many, jnp.stack([LABELS] * 2)).shape == (2, 50)


def test_weighted_mean_ignores_weight_0_even_in_gradients():
    values = jnp.array([1.0, 3.0, jnp.nan, jnp.inf])
    weights = jnp.array([1.0, 3.0, 0.0, 0.0])
    assert losses.weighted_mean(values, weights) == 2.5
    np.testing.assert_allclose(jax.grad(losses.weighted_mean)(values, weights), [0.25, 0.75, 0, 0])


def test_weighted_mean_leaves_out_what_has_no_weight_and_no_loss():
    values, weights = jnp.array([1.0, 3.0, jnp.nan, jnp.inf]), jnp.array([1.0, 3.0, 0.0, 0.0])
    for mode in (jax.jacrev, jax.jacfwd):
        by_value, by_weight = mode(losses.weighted_mean, argnums=(0, 1))(values, weights)
        assert by_value.tolist() == [0.25, 0.75, 0, 0]
        assert by_weight.tolist() == [(1 - 2.5) / 4, (3 - 2.5) / 4, 0, 0]


@pytest.mark.long
@pytest.mark.raises  # finite differences pass NumPy arrays
def test_weighted_mean_has_derivatives_at_a_weight_of_zero():
    values, weights = jnp.array([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0]]), jnp.array([1.0, 0.0, 0.5])
    with jax.enable_x64(True):
        check_grads(losses.weighted_mean, (values.astype(float), weights.astype(float)), order=2)
    # (L_i - mean) / sum of weights, for losses with two entries each
    by_weight = jax.grad(losses.weighted_mean, argnums=1)(values, weights)
    mean = (1.5 + 0.5 * 9) / 1.5
    np.testing.assert_allclose(by_weight, (np.array([1.5, 4, 9]) - mean) / 1.5, rtol=1e-6)  # a few float32 sums


MASKED = jnp.array([0.5, -jnp.inf, 1.5, 0.0])  # a masked class


@pytest.mark.long
@pytest.mark.parametrize("smoothing", [None, 0.0], ids=["plain", "swept to zero"])
def test_cross_entropies_leave_out_masked_classes(smoothing):
    options = {} if smoothing is None else {"label_smoothing": jnp.float32(smoothing)}
    soft, label = jnp.array([0.3, 0.0, 0.7, 0.0]), jnp.int32(2)
    kept = np.array([0, 2, 3])
    for loss, targets in (
        (losses.softmax_cross_entropy, soft),
        (losses.softmax_cross_entropy_with_integer_labels, label),
    ):
        others = soft[kept] if targets is soft else jnp.int32(1)
        expected = jax.jit(jax.value_and_grad(loss))(MASKED[kept], others)
        for mode in (jax.grad, jax.jacfwd):
            gradient = jax.jit(mode(lambda z, loss=loss, targets=targets: loss(z, targets, **options)))(MASKED)
            np.testing.assert_allclose(gradient[kept], expected[1], rtol=1e-5, atol=1e-7)  # float32
            assert gradient[1] == 0
        np.testing.assert_allclose(loss(MASKED, targets, **options), expected[0], rtol=1e-6)


@pytest.mark.long
@pytest.mark.raises  # finite differences pass NumPy arrays
def test_soft_cross_entropy_has_derivatives_at_probability_zero():
    with jax.enable_x64(True):
        logits, soft = jnp.asarray(MASKED, float)[jnp.array([0, 2, 3])], jnp.array([0.3, 0.7, 0.0])
        check_grads(losses.softmax_cross_entropy, (logits, soft), order=2)
    by_probability = jax.grad(losses.softmax_cross_entropy, argnums=1)(MASKED, jnp.array([0.3, 0.0, 0.7, 0.0]))
    np.testing.assert_allclose(by_probability[2:], -jax.nn.log_softmax(MASKED)[2:], rtol=1e-6)
    assert by_probability[1] == 0


def test_cross_entropies_at_minus_infinity_are_infinite():
    assert losses.softmax_cross_entropy(MASKED, jnp.array([0.3, 0.1, 0.6, 0.0])) == jnp.inf
    for options in ({}, {"label_smoothing": 0.1}):
        assert losses.softmax_cross_entropy_with_integer_labels(MASKED, jnp.int32(1), **options) == jnp.inf
    assert losses.softmax_cross_entropy_with_integer_labels(MASKED, jnp.int32(0), label_smoothing=0.1) == jnp.inf


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("offset", [0.0, 1e4, 1e7, -3e38])
def test_cross_entropies_are_invariant_to_shifted_logits(offset, smoothing):
    offset = np.float32(offset)
    logits = jnp.array([0.0, 4.0, -2.0]) * (offset > -1e38) + offset  # multiples of the float32 spacing at 1e7
    options = {"label_smoothing": smoothing}
    for loss, target in (
        (losses.softmax_cross_entropy, jnp.array([0.0, 1.0, 0.0])),
        (losses.softmax_cross_entropy_with_integer_labels, jnp.int32(1)),
    ):
        value, gradient = jax.value_and_grad(loss)(logits, target, **options)
        centred = jax.value_and_grad(loss)(logits - offset, target, **options)
        np.testing.assert_allclose(value, centred[0], rtol=1e-6)
        np.testing.assert_allclose(gradient, centred[1], rtol=1e-6)


@pytest.mark.parametrize("logits", [[0.0, jnp.inf, 1.0], [jnp.inf] * 3, [-jnp.inf] * 3, [0.0, jnp.nan, 0.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropies_of_logits_without_probabilities_are_nan(logits, smoothing):
    options = {"label_smoothing": smoothing}
    for label in range(3):
        soft = jax.nn.one_hot(label, 3)
        assert jnp.isnan(losses.softmax_cross_entropy(jnp.array(logits), soft, **options))
        hard = losses.softmax_cross_entropy_with_integer_labels(jnp.array(logits), jnp.int32(label), **options)
        assert jnp.isnan(hard)


@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd], ids=["reverse", "forward"])
def test_derivatives_of_an_impossible_label_are_their_limit(mode):
    limit = np.array([*jax.nn.softmax(MASKED)]) - np.array([0, 1, 0, 0])
    for loss, target in (
        (losses.softmax_cross_entropy, jnp.array([0.0, 1.0, 0.0, 0.0])),
        (losses.softmax_cross_entropy_with_integer_labels, jnp.int32(1)),
    ):
        np.testing.assert_allclose(mode(lambda z, loss=loss, target=target: loss(z, target))(MASKED), limit, atol=1e-7)


@pytest.mark.parametrize(
    ("logit", "target", "value", "slope"),
    [(jnp.inf, 1.0, 0, 0), (-jnp.inf, 0.0, 0, 0), (jnp.inf, 0.0, jnp.inf, 1), (-jnp.inf, 1.0, jnp.inf, -1)],
)
def test_sigmoid_cross_entropy_of_infinite_log_odds_is_its_limit(logit, target, value, slope):
    for mode in (jax.grad, jax.jacfwd):
        assert losses.sigmoid_cross_entropy(jnp.float32(logit), jnp.float32(target)) == value
        assert mode(losses.sigmoid_cross_entropy)(jnp.float32(logit), jnp.float32(target)) == slope


@pytest.mark.parametrize("error", [0.0, 0.4, -0.4])
def test_huber_loss_curves_by_one_within_delta(error):
    for inner in (jax.grad, jax.jacfwd):
        assert jax.grad(inner(losses.huber_loss))(jnp.float32(error), jnp.float32(0)) == 1


def test_weighted_mean_spreads_weights_over_trailing_axes():
    values = jnp.array([[1.0, 3.0], [10.0, 20.0]])
    assert losses.weighted_mean(values, jnp.array([1.0, 0.0])) == 2.0
    assert losses.weighted_mean(values) == 8.5


def test_weighted_mean_of_nothing_is_nan():
    assert np.isnan(losses.weighted_mean(jnp.ones(3), jnp.zeros(3)))


@pytest.mark.raises
@pytest.mark.parametrize("loss", [*REGRESSION, losses.sigmoid_cross_entropy, losses.softmax_cross_entropy])
def test_losses_refuse_to_broadcast(loss):
    with pytest.raises(ValueError, match=r"must have the shape of (predictions|logits), \(8, 1\); got \(8,\)"):
        loss(jnp.zeros((8, 1)), jnp.zeros(8))


@pytest.mark.raises
def test_integer_cross_entropy_refuses_one_hot_labels():
    message = r"labels must have shape \(50,\); got \(50, 7\). Pass integer classes, not one-hot"
    with pytest.raises(ValueError, match=message):
        losses.softmax_cross_entropy_with_integer_labels(_logits(), jax.nn.one_hot(LABELS, 7))


@pytest.mark.raises
def test_softmax_refuses_a_single_class():
    message = (
        r"logits must have two or more classes on the last axis; got \(8, 1\). Give the model one output per class"
    )
    for loss, targets in (
        (losses.softmax_cross_entropy_with_integer_labels, jnp.zeros(8, jnp.int32)),
        (losses.softmax_cross_entropy, jnp.ones((8, 1))),
    ):
        with pytest.raises(ValueError, match=message):
            loss(jnp.zeros((8, 1)), targets)


@pytest.mark.raises
def test_integer_cross_entropy_refuses_float_labels():
    for labels in (LABELS.astype(jnp.float32), LABELS.astype(jnp.float32)[:, None]):
        message = (
            rf"^labels must be integers; got float32 of shape {re.escape(str(labels.shape))}: the targets are values\. "
        )
        with pytest.raises(ValueError, match=message + "Use losses.half_squared_error, or pass classes"):
            losses.softmax_cross_entropy_with_integer_labels(_logits(), labels)


@pytest.mark.raises
def test_losses_count_outputs_and_targets():
    with pytest.raises(
        ValueError, match=r"got \(8, 1\)\. The model has 3 outputs, the target has 1: make them equal\."
    ):
        losses.squared_error(jnp.zeros((8, 3)), jnp.zeros((8, 1)))


@pytest.mark.raises
@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_smoothing_is_between_0_and_1(smoothing):
    with pytest.raises(ValueError, match="label_smoothing must be from 0 to 1; got"):
        losses.softmax_cross_entropy_with_integer_labels(_logits(), LABELS, label_smoothing=smoothing)


@pytest.mark.raises
def test_soft_cross_entropy_refuses_smoothing_out_of_range():
    with pytest.raises(ValueError, match="label_smoothing must be from 0 to 1; got 2"):
        losses.softmax_cross_entropy(_logits(), _logits(), label_smoothing=2)


@pytest.mark.raises
@pytest.mark.parametrize("delta", [0.0, -1.0])
def test_huber_loss_refuses_a_delta_that_is_not_positive(delta):
    with pytest.raises(ValueError, match=f"delta must be positive; got {delta}"):
        losses.huber_loss(jnp.zeros(2), jnp.zeros(2), delta=delta)


@pytest.mark.raises
def test_weighted_mean_refuses_weights_of_another_shape():
    with pytest.raises(
        ValueError, match=r"weights must have the shape of the leading axes of the losses, \(3,\); got \(2,\)"
    ):
        losses.weighted_mean(jnp.ones(3), jnp.ones(2))


def test_normal_likelihood_equals_scipy():
    generator = np.random.default_rng(0)
    predictions, targets = generator.normal(size=(50, 7, 6)), generator.normal(size=(50, 7, 3)) * 3
    means, deviations = predictions[..., :3], np.exp(predictions[..., 3:] / 2)
    expected = -scipy.stats.norm.logpdf(targets, means, deviations)
    found = losses.normal_negative_log_likelihood(
        jnp.asarray(predictions, jnp.float32), jnp.asarray(targets, jnp.float32)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32 squares of up to ten deviations


@pytest.mark.raises
@pytest.mark.parametrize(
    ("of_predictions", "of_targets"), [((8, 1), (8, 1)), ((8, 2), (8,)), ((8, 2), (4, 1)), ((2,), ())]
)
def test_normal_likelihood_counts_means_and_variances(of_predictions, of_targets):
    with pytest.raises(ValueError, match="^predictions must hold a mean and a log variance for each target"):
        losses.normal_negative_log_likelihood(jnp.zeros(of_predictions), jnp.zeros(of_targets))


HARD, SOFT = np.array([0, 2, 1, 2]), np.eye(3)[[0, 2, 1, 2]] * 0.9 + 0.1 / 3
EDGES = {
    "cox_loss": (
        np.array([[0.0], [1.0], [-2.0], [0.5], [30.0], [0.0]]),
        np.array([[3, 1], [1, 1], [3, 1], [3, 0], [2, 1], [5, 1]], float),
    ),
    "squared_error": (np.array([0.0, 1e-6, -1.0, 1e4]), np.zeros(4)),
    "half_squared_error": (np.array([0.0, 1e-6, -1.0, 1e4]), np.zeros(4)),
    "huber_loss": (np.array([0.0, 1e-4, 0.999, -1.001, 1e4]), np.zeros(5)),
    "log_cosh_loss": (np.array([0.0, 1e-4, 0.999, -1.001, 1e4]), np.zeros(5)),
    "sigmoid_cross_entropy": (np.array([0.0, 15.0, -15.0, 700.0, -700.0]), np.array([0.3, 1.0, 0.0, 0.0, 1.0])),
    "softmax_cross_entropy": (np.array([[0, 0, 0], [9, 0, 15], [0, 300, 0], [1e4, 1e4 + 1, 0]], float), SOFT),
    "softmax_cross_entropy_with_integer_labels": (
        np.array([[0, 0, 0], [9, 0, 15], [0, 300, 0], [1e4, 1e4 + 1, 0]], float),
        HARD,
    ),
    "normal_negative_log_likelihood": (
        np.array([[0.0, 0.0], [1.0, -3.0], [2.0, 3.0], [1e3, 12.0]]),
        np.array([[0.0], [1.5], [2.0], [0.0]]),
    ),
}


@pytest.mark.raises  # NumPy arrays
@pytest.mark.parametrize("name", EDGES)
def test_derivatives_of_losses_equal_differences_at_the_edges(name):
    assert {name for name, thing in vars(losses).items() if inspect.isfunction(thing) and name[0] != "_"} == {
        *EDGES,
        "weighted_mean",
    }
    step, loss = 1e-5, getattr(losses, name)
    with jax.enable_x64(True):
        predictions, targets = EDGES[name]
        value = jax.jit(loss)
        gradient = np.asarray(jax.jit(jax.grad(lambda x: jnp.sum(loss(x, targets))))(jnp.asarray(predictions)))
        expected = np.zeros_like(predictions)
        for place in np.ndindex(predictions.shape):
            moved = np.zeros_like(predictions)
            moved[place] = step
            ends = [np.asarray(value(jnp.asarray(predictions + end), targets)) for end in (moved, -moved)]
            expected[place] = np.sum(ends[0] - ends[1]) / (2 * step)
    # Values of up to 1e8 in float64, over 2e-5; curvature adds some step**2.
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


def test_every_loss_has_the_signature_of_a_loss():
    for name, loss in inspect.getmembers(losses, inspect.isfunction):
        if name.startswith("_") or loss.__module__ != losses.__name__ or name == "weighted_mean":
            continue
        positional = [p.name for p in inspect.signature(loss).parameters.values() if p.kind != p.KEYWORD_ONLY]
        assert len(positional) == 2 and positional[0] in ("predictions", "logits"), name


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_cox_loss_equals_a_loop_over_the_patients(ties):
    generator = np.random.default_rng(0)
    times, events, risks = generator.integers(0, 8, 30), generator.random(30) < 0.6, generator.normal(size=30) * 3
    expected, before = np.zeros(30), {}
    for i in np.flatnonzero(events):
        tied = events & (times == times[i])
        place = before.setdefault(times[i], 0)
        before[times[i]] += 1
        taken = place / tied.sum() * np.exp(risks[tied]).sum() if ties == "efron" else 0
        expected[i] = np.log(np.exp(risks[times >= times[i]]).sum() - taken) - risks[i]
    predictions, targets = jnp.asarray(risks[:, None]), jnp.asarray(np.stack([times, events], axis=1), jnp.float32)
    found = losses.cox_loss(predictions, targets, ties=ties)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)  # differences of float32 logarithms
    shifted = losses.cox_loss(predictions + 500, targets, ties=ties)  # whose exponentials overflow
    np.testing.assert_allclose(shifted, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.raises
def test_cox_loss_refuses_other_shapes_and_ties():
    for predictions, targets in (((3,), (3, 2)), ((3, 2), (3, 2)), ((3, 1), (3, 1)), ((3, 1), (4, 2))):
        with pytest.raises(ValueError, match=r"cox_loss must have risks \(batch, 1\) and targets \(batch, 2\)"):
            losses.cox_loss(jnp.zeros(predictions), jnp.zeros(targets))
    with pytest.raises(ValueError, match="ties must be efron or breslow; got 'exact'"):
        losses.cox_loss(jnp.zeros((3, 1)), jnp.zeros((3, 2)), ties="exact")


@pytest.mark.raises
def test_classes_in_a_loss_of_values_name_the_remedy():
    with pytest.raises(
        ValueError, match=r"Integers are classes: use a loss of classes, such as .* \(--task regression\)"
    ):
        losses.squared_error(jnp.zeros((3, 1)), jnp.array([0, 2, 1]))
    with pytest.raises(ValueError, match="Reshape one of them: a loss never broadcasts"):
        losses.squared_error(jnp.zeros((3, 1)), jnp.zeros(3))

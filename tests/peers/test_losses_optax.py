"""Losses equal Optax's, values and derivatives, on random cases of many sizes and scales."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import losses

N_CASES, N_ERRORS, N_EXAMPLES = 100, 32, 16


def _mean_and_gradient(loss):
    """Returns the losses, and the derivative of their sum: one compiled program per loss and shape."""
    return jax.jit(lambda x, *rest: (loss(x, *rest), jax.grad(lambda z: jnp.sum(loss(z, *rest)))(x)))


def _assert_equal(ours, theirs, arguments, *, rtol, atol):
    names = ("losses", "gradient")
    for name, a, b in zip(names, ours(*arguments), theirs(*arguments), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


REGRESSION = {
    "squared_error": (losses.squared_error, optax.losses.squared_error),
    "half_squared_error": (losses.half_squared_error, optax.losses.l2_loss),
    "huber_loss": (losses.huber_loss, optax.losses.huber_loss),
    "huber_loss, delta 0.1": (
        functools.partial(losses.huber_loss, delta=0.1),
        functools.partial(optax.losses.huber_loss, delta=0.1),
    ),
    "log_cosh_loss": (losses.log_cosh_loss, optax.losses.log_cosh),
}


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_losses_equal_optax(name):
    ours, theirs = (_mean_and_gradient(loss) for loss in REGRESSION[name])
    for seed in range(N_CASES):
        generator = np.random.default_rng(seed)
        targets = generator.normal(size=N_ERRORS)
        predictions = targets + generator.normal(size=N_ERRORS) * 10.0 ** generator.uniform(-3, 3)
        predictions[0] = targets[0]
        arguments = [jnp.asarray(leaf, jnp.float32) for leaf in (predictions, targets)]
        # Optax's log-cosh subtracts log 2, known to 6e-8 in float32, and so does its derivative.
        _assert_equal(ours, theirs, arguments, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_softmax_cross_entropies_equal_optax(n_classes, smoothing):
    def theirs_of_integers(logits, labels):
        if smoothing == 0:
            return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
        soft = optax.losses.smooth_labels(jax.nn.one_hot(labels, n_classes), smoothing)
        return optax.losses.softmax_cross_entropy(logits, soft)

    def theirs_of_probabilities(logits, probabilities):
        return optax.losses.softmax_cross_entropy(logits, optax.losses.smooth_labels(probabilities, smoothing))

    integers = functools.partial(losses.softmax_cross_entropy_with_integer_labels, label_smoothing=smoothing)
    soft = functools.partial(losses.softmax_cross_entropy, label_smoothing=smoothing)
    hard_pair = [_mean_and_gradient(loss) for loss in (integers, theirs_of_integers)]
    soft_pair = [_mean_and_gradient(loss) for loss in (soft, theirs_of_probabilities)]
    for seed in range(N_CASES):
        generator = np.random.default_rng(seed)
        scale = 10.0 ** generator.uniform(-2, 2)
        logits = jnp.asarray(generator.normal(size=(N_EXAMPLES, n_classes)) * scale, jnp.float32)
        labels = jnp.asarray(generator.integers(0, n_classes, N_EXAMPLES), jnp.int32)
        probabilities = jnp.asarray(generator.dirichlet(np.ones(n_classes), N_EXAMPLES), jnp.float32)
        # A loss is a difference of logits of this scale, each rounded to 6e-8 of itself, in a different order here and there.
        atol = 1e-6 * max(1.0, scale)
        _assert_equal(*hard_pair, (logits, labels), rtol=1e-5, atol=atol)
        _assert_equal(*soft_pair, (logits, probabilities), rtol=1e-5, atol=atol)


def test_sigmoid_cross_entropy_equals_optax():
    ours, theirs = (
        _mean_and_gradient(loss) for loss in (losses.sigmoid_cross_entropy, optax.losses.sigmoid_binary_cross_entropy)
    )
    for seed in range(N_CASES):
        generator = np.random.default_rng(seed)
        logits = generator.normal(size=N_ERRORS) * 10.0 ** generator.uniform(-2, 2)
        targets = generator.random(N_ERRORS) if seed % 2 else generator.integers(0, 2, N_ERRORS)
        arguments = [jnp.asarray(leaf, jnp.float32) for leaf in (logits, targets)]
        # Both sum two terms of one sign, so that no digits are lost: relative, save for derivatives that cancel near 0.
        _assert_equal(ours, theirs, arguments, rtol=3e-6, atol=1e-7)


@pytest.mark.parametrize("label", [-1, 10])
def test_integer_cross_entropy_is_nan_where_optax_is_not(label):
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(1, 10)), jnp.float32)
    labels = jnp.array([label], jnp.int32)
    peer = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    last = optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.array([9], jnp.int32))
    # Optax silently counts -1 from the end; both give nan past the end.
    np.testing.assert_array_equal(peer, last if label == -1 else np.array([np.nan]))
    assert np.all(np.isnan(losses.softmax_cross_entropy_with_integer_labels(logits, labels)))

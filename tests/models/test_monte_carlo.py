"""Monte Carlo dropout: the mean of the probabilities of draws, and the model itself without a key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import models

MODEL = models.mlp(4, (8,), 3, dropout_rate=0.5)


def test_monte_carlo_is_the_mean_of_the_draws_probabilities(key):
    params, _ = MODEL.init(jax.random.key(0))
    inputs = jax.random.normal(jax.random.key(1), (5, 4))
    for n in (1, 7):
        outputs, _ = models.monte_carlo(MODEL, n_samples=n).apply(params, {}, inputs, jax.random.clone(key))
        keys = jax.random.split(jax.random.clone(key), n)
        draws = [jax.nn.softmax(MODEL.apply(params, {}, inputs, one)[0]) for one in keys]
        np.testing.assert_allclose(jnp.exp(outputs), np.mean(draws, axis=0), rtol=1e-5)  # sums of seven


def test_monte_carlo_without_a_key_is_the_model():
    params, _ = MODEL.init(jax.random.key(0))
    outputs, _ = models.monte_carlo(MODEL, n_samples=7).apply(params, {}, jnp.ones((2, 4)))
    np.testing.assert_array_equal(outputs, MODEL.apply(params, {}, jnp.ones((2, 4)))[0])


def test_monte_carlo_draws_at_least_once():
    with pytest.raises(ValueError, match="n_samples must be a whole number, 1 or more; got 0"):
        models.monte_carlo(MODEL, n_samples=0)

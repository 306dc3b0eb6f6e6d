"""Hidden tokens: their fraction, independence, training mode, and many draws in evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import models

SEEN = models.function(lambda key: {}, lambda params, tokens: tokens)  # returns the tokens that it saw


def test_word_dropout_hides_each_token_with_its_probability(key):
    tokens = jnp.broadcast_to(jnp.arange(20), (50_000, 20))
    seen, _ = models.word_dropout(SEEN, rate=0.15, token=99).apply({}, {}, tokens, key)
    hidden = np.asarray(seen) == 99
    assert np.array_equal(seen, np.where(hidden, 99, tokens))
    # Five standard errors: sqrt(0.15 * 0.85 / 5e4) = 0.0016 for a position, 0.0032 for the sum of two indicators.
    assert np.all(abs(hidden.mean(axis=0) - 0.15) < 0.008)
    assert abs(np.cov(hidden.T.astype(float))[~np.eye(20, dtype=bool)]).max() < 5 * 0.15 * 0.85 / np.sqrt(50_000)


def test_word_dropout_sees_all_without_a_key(key):
    tokens = jax.random.randint(key, (3, 7), 0, 9)
    seen, _ = models.word_dropout(SEEN, rate=0.9, token=99).apply({}, {}, tokens)
    assert np.array_equal(seen, tokens)


def test_word_dropout_takes_byte_tokens_and_leaves_padding(key):
    tokens = jnp.array([[1, 2, 0, 0]], jnp.int8)
    model = models.word_dropout(SEEN, rate=1.0, token=300, maskable=lambda tokens: tokens != 0)
    assert model.apply({}, {}, tokens, key)[0].tolist() == [[300, 300, 0, 0]]


def test_word_dropout_may_be_swept(key):
    tokens = jnp.zeros((400, 50), int)

    def share(rate):
        return (models.word_dropout(SEEN, rate=rate, token=1).apply({}, {}, tokens, key)[0]).mean()

    np.testing.assert_allclose(jax.jit(jax.vmap(share))(jnp.array([0.0, 0.3, 1.0])), [0, 0.3, 1], atol=0.02)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("changed", "message"),
    [({"rate": 1.5}, "rate must be from 0 to 1; got 1.5"), ({"token": -1}, "token must be 0 or more; got -1")],
)
def test_word_dropout_refuses_what_does_not_fit(changed, message):
    with pytest.raises(ValueError, match=message):
        models.word_dropout(SEEN, **{"rate": 0.1, "token": 1, **changed})

"""Attention equals a loop; rotary scores depend only on the distance of two positions."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch.models.attention import attention, rotation


def test_attention_equals_a_loop_in_float64():
    generator = np.random.default_rng(0)
    queries, keys, values = (generator.normal(size=(2, n, heads, 6)) for n, heads in ((5, 4), (7, 2), (7, 2)))
    seen = generator.random((2, 5, 7)) < 0.5
    seen[1, 3] = False  # this query sees nothing
    expected = np.zeros((2, 5, 4, 6))
    for b, n, head in np.ndindex(2, 5, 4):
        scores = np.array([queries[b, n, head] @ keys[b, m, head // 2] / np.sqrt(6) for m in range(7)])
        weights = np.exp(scores) * seen[b, n] if seen[b, n].any() else np.ones(7)
        expected[b, n, head] = sum(weights[m] * values[b, m, head // 2] for m in range(7)) / weights.sum()
    narrow = [jnp.asarray(array, jnp.float32) for array in (queries, keys, values)]
    # A softmax and a mean of 7 in float32.
    np.testing.assert_allclose(attention(*narrow, jnp.asarray(seen)), expected, rtol=1e-5, atol=1e-6)


def test_attention_sees_all_keys_without_a_mask():
    queries, keys, values = jax.random.normal(jax.random.key(0), (3, 2, 5, 2, 4))
    seen = jnp.ones((1, 5, 5), bool)
    told, untold = attention(queries, keys, values, seen), attention(queries, keys, values)
    np.testing.assert_allclose(told, untold, rtol=1e-6)  # with a mask and without are two programs


def test_rotary_scores_depend_on_the_difference_of_places_alone():
    queries, keys = jax.random.normal(jax.random.key(0), (2, 1, 6, 1, 8))

    def scores(shift):
        turn = rotation(jnp.arange(6)[None] + shift, 8, jnp.float32)
        return jnp.einsum("bnhw,bmhw->nm", turn(queries), turn(keys))

    # An angle of 106 has an error of 4e-6 in float32, on scores of order 3.
    np.testing.assert_allclose(scores(100), scores(0), atol=1e-4)
    assert np.abs(scores(0) - jnp.einsum("bnhw,bmhw->nm", queries, keys)).max() > 1  # the rotation has an effect

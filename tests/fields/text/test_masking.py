"""Masking: the proportions of BERT's rule, runs that hide a base, and draws that depend only on the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch.fields import dna
from jaxresearch.fields.text import masking

N, MASK = 64, 64
MILLION = (100_000, 10)  # one shape for most tests: compiling takes longer than drawing


COMPILED = jax.jit(masking.masked_tokens, static_argnames=("n_tokens", "mask_token", "span"))  # many times faster


def _draw(tokens, *, seed=0, **settings):
    made = COMPILED(jax.random.key(seed), jnp.asarray(tokens), n_tokens=N, mask_token=MASK, **settings)
    return tuple(map(np.asarray, made))


def _tokens(*shape, seed=1):
    return np.random.default_rng(seed).integers(0, N, shape).astype(np.int32)


@pytest.mark.parametrize("span", [1, 6])
@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_masked_tokens_follows_the_rates_of_the_rule(span, rate):
    tokens = _tokens(*MILLION)
    inputs, targets = _draw(tokens, rate=rate, span=span)
    chosen = targets >= 0
    assert np.array_equal(targets[chosen], tokens[chosen]) and np.all(targets[~chosen] == -1)
    assert np.array_equal(inputs[~chosen], tokens[~chosen])
    # A million tokens in runs of span: the standard error of a proportion is below sqrt(0.24 * 6 / 1e6) = 0.0012; four of them.
    assert abs(chosen.mean() - rate) < 0.005
    q = 1 - (1 - rate) ** (1 / span)
    masked = 1 - (1 - 0.8 * q) ** span
    random = 1 - (1 - 0.9 * q) ** span - masked
    changed = chosen & (inputs != MASK) & (inputs != tokens)
    assert abs((inputs == MASK).mean() - masked) < 0.005
    assert abs(changed.mean() - random * (1 - 1 / N)) < 0.002  # one of N random tokens is the token itself
    assert abs((chosen & (inputs == tokens)).mean() - (rate - masked - random * (1 - 1 / N))) < 0.002
    if span == 1:
        np.testing.assert_allclose([masked / rate, random / rate], [0.8, 0.1], rtol=1e-12)  # the rule itself
    seen = np.bincount(inputs[changed], minlength=N) / changed.sum()
    assert seen.argmax() < N and np.all(abs(seen - 1 / N) < 0.005), "random tokens are uniform over the vocabulary"


@pytest.mark.parametrize("span", [1, 6])
def test_masked_tokens_chooses_as_often_at_the_edges(span):
    _, targets = _draw(_tokens(*MILLION), span=span)
    shares = (targets >= 0).mean(axis=0)
    assert np.all(abs(shares - 0.15) < 0.0057), shares  # five standard errors, sqrt(0.15 * 0.85 / 1e5) = 0.00113


@pytest.mark.parametrize("k", [3, 6])
def test_a_masked_run_hides_a_base_from_every_visible_token(key, k):
    n_tokens, mask = 4**k, 4**k + 1
    made = np.random.default_rng(0).integers(0, 4, (200, 80)).astype(np.int8)
    tokens = jnp.asarray(dna.kmers(made, k=k))
    inputs, targets = COMPILED(key, tokens, n_tokens=n_tokens, mask_token=mask, span=k)
    hidden_bases = 0
    for row_inputs, row_targets in zip(np.asarray(inputs), np.asarray(targets), strict=True):
        visible, masked = row_targets < 0, row_inputs == mask
        spelt = np.zeros(80, bool)
        for i in np.flatnonzero(visible):
            spelt[i : i + k] = True
        # Each maximal run of masks has a base that all of k tokens (fewer at the ends of the sequence) would spell.
        edges = np.flatnonzero(np.diff(np.concatenate([[False], masked, [False]]).astype(int)))
        for start, stop in edges.reshape(-1, 2):
            covering = [range(max(0, base - k + 1), min(len(masked), base + 1)) for base in range(80)]
            inside = [base for base, over in enumerate(covering) if start <= over.start and over.stop <= stop]
            assert inside, "a run of masks that hides no base"
            assert not spelt[inside].any()
            hidden_bases += len(inside)
    assert hidden_bases > 200


def test_masks_beat_random_tokens_beat_the_token_itself():
    inputs, _ = _draw(np.full(MILLION, 7, np.int32), rate=0.5, span=6)
    masked = np.pad(inputs == MASK, ((0, 0), (1, 1))).astype(np.int8)
    starts, stops = (np.argwhere(np.diff(masked, axis=1) == sign) for sign in (1, -1))
    inner = (starts[:, 1] > 0) & (stops[:, 1] < MILLION[1])
    # No run of masks is interrupted: away from the edges each is at least as long as the span.
    assert np.min((stops - starts)[inner, 1]) == 6


def test_masked_tokens_leaves_alone_what_is_not_maskable():
    tokens = _tokens(*MILLION)
    maskable = np.random.default_rng(5).random(tokens.shape) < 0.7
    inputs, targets = _draw(tokens, rate=0.5, span=6, maskable=jnp.asarray(maskable))
    assert np.array_equal(inputs[~maskable], tokens[~maskable]) and np.all(targets[~maskable] == -1)
    everywhere = _draw(tokens, rate=0.5, span=6)
    assert np.array_equal(inputs[maskable], everywhere[0][maskable])
    assert np.array_equal(targets[maskable], everywhere[1][maskable])


def test_masked_tokens_at_the_ends_of_the_rate():
    tokens = _tokens(*MILLION)
    inputs, targets = _draw(tokens, rate=0.0, span=6)
    assert np.array_equal(inputs, tokens) and np.all(targets == -1)
    assert np.array_equal(_draw(tokens, rate=1.0, span=6)[1], tokens)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int16, jnp.int32])
def test_masked_tokens_are_int32_whatever_came(key, dtype):
    tokens = jax.ShapeDtypeStruct((2, 5), dtype)
    for made in jax.eval_shape(lambda tokens: masking.masked_tokens(key, tokens, n_tokens=N, mask_token=MASK), tokens):
        assert made.shape == (2, 5) and made.dtype == jnp.int32  # the -1 of the targets is no uint8


def test_masked_tokens_is_a_function_of_the_key():
    tokens = _tokens(*MILLION)
    first, again, other = _draw(tokens), _draw(tokens), _draw(tokens, seed=9)
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_masked_tokens_is_the_same_under_jit_and_vmap():
    tokens, rates = jnp.asarray(_tokens(3, 2, 40)), jnp.linspace(0.1, 0.5, 3)

    def draw(seed, tokens, rate):
        key = jax.random.key(seed)
        return masking.masked_tokens(key, tokens, n_tokens=N, mask_token=MASK, rate=rate, span=3)

    single = [draw(i, tokens[i], rates[i]) for i in range(3)]
    made = jax.jit(jax.vmap(draw))(jnp.arange(3), tokens, rates)
    for i in range(3):
        assert np.array_equal(made[0][i], single[i][0]) and np.array_equal(made[1][i], single[i][1])


@pytest.mark.raises
@pytest.mark.parametrize(
    "changed, message",
    [
        ({"tokens": jnp.zeros((2, 5))}, r"tokens must be integers \(..., length\); got float32 of shape \(2, 5\)"),
        ({"tokens": jnp.asarray(1)}, r"tokens must be integers \(..., length\); got int32 of shape \(\)"),
        ({"maskable": jnp.ones(5, bool)}, r"maskable must be bool of shape \(2, 5\); got bool of shape \(5,\)"),
        ({"maskable": jnp.ones((2, 5))}, r"maskable must be bool of shape \(2, 5\); got float32"),
        ({"n_tokens": 0}, "n_tokens must be 1 or more; got 0"),
        ({"mask_token": -1}, "mask_token must be 0 or more; got -1"),
        ({"span": 0}, "span must be from 1 to the length, 5; got 0"),
        ({"span": 6}, "span must be from 1 to the length, 5; got 6"),
        ({"rate": 15}, "rate must be from 0 to 1; got 15"),
        ({"rate": -0.1}, "rate must be from 0 to 1; got -0.1"),
    ],
)
def test_masked_tokens_refuses_what_does_not_fit(key, changed, message):
    given = {"tokens": jnp.zeros((2, 5), int), "n_tokens": 4, "mask_token": 4} | changed
    with pytest.raises(ValueError, match=message):
        masking.masked_tokens(key, given.pop("tokens"), **given)


def test_masked_examples_are_masked_tokens_on_the_host(key):
    tokens = np.arange(60).reshape(4, 15) % 7
    part = masking.masked_examples(key, tokens, n_tokens=7, mask_token=7, rate=0.4)
    inputs, targets = masking.masked_tokens(
        jax.random.clone(key), jnp.asarray(tokens), n_tokens=7, mask_token=7, rate=0.4
    )
    assert isinstance(part["inputs"], np.ndarray) and isinstance(part["targets"], np.ndarray)
    np.testing.assert_array_equal(part["inputs"], inputs)
    np.testing.assert_array_equal(part["targets"], targets)

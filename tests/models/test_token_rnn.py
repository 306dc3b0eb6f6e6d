"""Recurrent language models: masks that stay the same over a sequence, masks drawn at each step, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxresearch import models

RATE, N_TOKENS, LENGTH = 0.4, 11, 9
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, N_TOKENS, (6, LENGTH)), jnp.int32)


def _dropped(model, params, inputs, key):
    """Returns the outputs of a model, and the factors of each of its calls of dropout, in order."""
    factors = []

    def record(call, args, kwargs, context):
        outputs = call(*args, **kwargs)
        if isinstance(context.module, nn.Dropout):
            factors.append(np.asarray(outputs / jnp.where(args[0] == 0, 1, args[0])))
        return outputs

    with nn.intercept_methods(record):
        return np.asarray(model.apply(params, {}, inputs, key)[0]), factors


def _is_mask(factors):
    return np.isclose(factors, 0).any() and (np.isclose(factors, 0) | np.isclose(factors, 1 / (1 - RATE))).all()


def _variational(hidden=(5, 4), **options):
    model = models.token_rnn(N_TOKENS, hidden, dropout_rate=RATE, variational=True, **options)
    params, random = model.init(jax.random.key(0))[0], np.random.default_rng(0)
    # Random biases, so that no memory is exactly zero.
    return model, jax.tree.map(lambda leaf: leaf + 0.1 * random.normal(size=leaf.shape).astype(np.float32), params)


def test_variational_masks_are_equal_at_every_time_step(key):
    kinds, embedded, memory_0, outputs_0, memory_1, outputs_1 = _dropped(*_variational(), TOKENS, key)[1]
    is_seen = np.take_along_axis(kinds, np.asarray(TOKENS), axis=1) > 0  # other embeddings are zero, masked or not
    for mask in (embedded, outputs_0, outputs_1):
        is_kept, shown = mask > 0, is_seen if mask is embedded else np.ones_like(is_seen)
        assert mask.shape[:2] == TOKENS.shape
        assert (is_kept == is_kept.any(axis=1, keepdims=True))[shown].all()
        assert 0.2 < 1 - is_kept.any(axis=1).mean() < 0.6  # 24 to 30 draws
        assert (is_kept.any(axis=1)[0] != is_kept.any(axis=1)[1:]).any()  # sequences differ
    for mask, width in ((memory_0, 5), (memory_1, 4)):  # one for all steps of a sequence
        assert mask.shape == (6, 1, width) and _is_mask(mask)
    assert kinds.shape == (6, N_TOKENS)


def test_naive_masks_differ_between_time_steps(key):
    model = models.token_rnn(N_TOKENS, (5, 4), dropout_rate=RATE)
    _, factors = _dropped(model, model.init(jax.random.key(0))[0], TOKENS, key)
    assert [mask.shape for mask in factors] == [(6, LENGTH, 5), (6, LENGTH, 5), (6, LENGTH, 4)]  # none of memories
    for mask in factors:
        is_kept = mask > 0
        assert 0.3 < 1 - is_kept.mean() < 0.5 and not (is_kept == is_kept[:, :1]).all(axis=(1, 2)).any()


def test_variational_lstm_equals_a_loop_over_its_masks(key):
    model, params = _variational(hidden=(5,))
    outputs, (kinds, embedded, memory, last) = _dropped(model, params, TOKENS, key)
    layer, head = params["layers"]["layer_0"], params["layers"]["head"]
    x = np.asarray(params["embedding"])[TOKENS] * np.take_along_axis(kinds, np.asarray(TOKENS), axis=1)[..., None]
    h = cell = np.zeros((6, 5))
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    for t in range(LENGTH):
        driven = (x[:, t] * embedded[:, t]) @ layer["input"]["kernel"] + layer["input"]["bias"][None]
        i, f, g, o = np.split(np.asarray(driven) + (h * memory[:, 0]) @ np.asarray(layer["recurrent"]), 4, axis=1)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(cell)
        expected = (h * last[:, 0]) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])[None]
        np.testing.assert_allclose(outputs[:, t], expected, rtol=1e-4, atol=1e-5)  # float32 and float64


def test_a_dropped_kind_of_token_is_dropped_wherever_it_occurs(key):
    model, params = _variational(hidden=(5,))
    _, (kinds, embedded, *_) = _dropped(model, params, TOKENS, key)
    assert _is_mask(kinds)
    is_gone = np.take_along_axis(kinds, np.asarray(TOKENS), axis=1) == 0
    assert is_gone.any() and (embedded[is_gone] == 0).all()  # what is dropped was zero


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_dropout_leaves_evaluation_and_parameters_alone(cell):
    plain = models.token_rnn(N_TOKENS, (5, 4), cell=cell)
    params = plain.init(jax.random.key(0))[0]
    expected = plain.apply(params, {}, TOKENS)[0]
    for variational in (False, True):
        model = models.token_rnn(N_TOKENS, (5, 4), cell=cell, dropout_rate=RATE, variational=variational)
        jax.tree.map(np.testing.assert_array_equal, model.init(jax.random.key(0))[0], params)
        np.testing.assert_array_equal(model.apply(params, {}, TOKENS)[0], expected)


def test_a_token_is_predicted_from_those_before_it_alone():
    model = models.token_rnn(N_TOKENS, (5,))
    params = model.init(jax.random.key(0))[0]
    before, after = (model.apply(params, {}, one)[0] for one in (TOKENS, TOKENS.at[:, 4:].set(0)))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    np.testing.assert_array_equal(model.apply(params, {}, TOKENS.astype(jnp.uint8))[0], before)  # tokens, not pixels


def test_variational_rnn_keeps_its_masks(key):
    model = models.rnn(3, (5,), 2, dropout_rate=RATE, variational=True)
    inputs = jax.random.normal(jax.random.key(1), (6, LENGTH, 3))
    _, (read, memory, written) = _dropped(model, model.init(jax.random.key(0))[0], inputs, key)
    assert memory.shape == (6, 1, 5)
    for mask in (read, written):
        is_kept = mask > 0
        np.testing.assert_array_equal(is_kept, np.repeat(is_kept[:, :1], LENGTH, axis=1))


@pytest.mark.raises
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, (5,)), {}, "n_tokens must be a whole number, 1 or more; got 0"),
        ((3, ()), {}, r"hidden must hold one width or more; got \(\)\. Pass \(16,\)"),
        ((3, (5,)), {"cell": "elman"}, "cell must be one of gru, lstm; got 'elman'"),
        ((3, (5,)), {"dropout_rate": -0.1}, r"dropout_rate must be at least 0 and below 1; got -0\.1"),
    ],
)
def test_token_rnn_refuses_sizes_that_make_no_network(arguments, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        models.token_rnn(*arguments, **options)


@pytest.mark.raises
@pytest.mark.parametrize("inputs", [jnp.zeros((2, 3)), jnp.zeros(3, int), jnp.zeros((2, 0), int)])
def test_token_rnn_refuses_inputs_that_are_no_tokens(inputs):
    model = models.token_rnn(3, (5,))
    with pytest.raises(ValueError, match=r"^inputs must be tokens \(batch, length\), integers, at least one; got"):
        model.apply(model.init(jax.random.key(0))[0], {}, inputs)

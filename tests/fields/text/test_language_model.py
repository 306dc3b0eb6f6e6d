"""Masked language models: the loss is the mean over the chosen tokens alone; pre-training lowers it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import models, training
from jaxresearch.fields import text
from jaxresearch.fields.text import masking


def guess(params, tokens):
    return jax.nn.one_hot(tokens, 5) @ params


def loss_of(params, batch, *key, **settings):
    model = models.function(lambda key: jnp.eye(5), guess)
    loss_fn = text.masked_language_model(model, n_tokens=4, mask_token=4, **settings)
    return loss_fn(params, {}, batch, *key)[0]


def test_masked_language_model_averages_chosen_tokens(key):
    tokens = jax.random.randint(key, (6, 30), 0, 4)
    params, weights = jax.random.normal(jax.random.key(1), (5, 5)), jnp.array([1.0, 2.0, 0.0, 1.0, 0.5, 3.0])
    of_mask = jax.random.split(jax.random.key(2))[0]
    hidden, asked = masking.masked_tokens(of_mask, tokens, n_tokens=4, mask_token=4, rate=0.3)
    entropies = [
        [-jax.nn.log_softmax(params[there])[what] if what >= 0 else None for there, what in zip(*row, strict=True)]
        for row in zip(hidden.tolist(), asked.tolist(), strict=True)
    ]
    plain = np.mean([one for row in entropies for one in row if one is not None])
    pairs = [(w, one) for w, row in zip(weights, entropies, strict=True) for one in row if one is not None]
    weighted = sum(w * one for w, one in pairs) / sum(w for w, _ in pairs)
    for batch, expected in (({}, plain), ({"weights": weights}, weighted)):
        loss = loss_of(params, {"inputs": tokens, **batch}, jax.random.key(2), rate=0.3)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_masked_language_model_without_hidden_tokens_is_0(key):
    loss, gradient = jax.value_and_grad(loss_of)(jnp.eye(5), {"inputs": jnp.zeros((2, 3), int)}, key, rate=0.0)
    assert loss == 0 and not gradient.any()


def test_masked_language_model_leaves_padding_out(key):
    tokens = jnp.where(jnp.arange(30) < 20, jax.random.randint(key, (6, 30), 0, 3), 3)  # 3 is padding
    params = jnp.zeros((5, 5)).at[:, 3].set(9.0)  # always predicts padding: wrong, except where padding is the target

    def loss(**settings):
        return loss_of(params, {"inputs": tokens}, jax.random.key(1), rate=0.9, **settings)

    np.testing.assert_allclose(loss(maskable=lambda tokens: tokens != 3), np.log(4 + np.exp(9)), rtol=1e-6)
    assert loss() < 7
    assert loss(maskable=lambda tokens: tokens < 0) == 0  # none may be hidden


def test_masked_language_model_cannot_be_evaluated():
    message = r"^key must be given, since tokens are hidden at random; got None\. Evaluate with masked_examples\.$"
    for key in ((), (None,)):
        with pytest.raises(ValueError, match=message):
            loss_of(jnp.eye(5), {"inputs": jnp.zeros((2, 3), int)}, *key)


@pytest.mark.raises
def test_masked_language_model_refuses_an_array_as_maskable(key):
    with pytest.raises(ValueError, match=r"^maskable must be a function of the tokens; got ndarray\. Pass lambda"):
        loss_of(jnp.eye(5), {"inputs": jnp.zeros((2, 3), int)}, key, maskable=np.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"^maskable must be bool of shape \(2, 3\); got bool of shape \(3,\)"):
        loss_of(jnp.eye(5), {"inputs": jnp.zeros((2, 3), int)}, key, maskable=lambda tokens: tokens[0] > 0)


@pytest.mark.long
def test_masked_pretraining_learns_to_guess_hidden_tokens(key):
    """Each token follows from its neighbour, so that hidden ones can be guessed."""
    sizes = models.TransformerSizes(context=12, width=16, n_layers=1, n_heads=2)
    starts = jax.random.randint(key, (256, 1), 0, 4)
    tokens = (starts + jnp.arange(12)[None]) % 4
    algorithm = text.masked_pretraining(
        models.encoder(5, sizes), optimizer=optax.adam(1e-2), rate=0.2, n_tokens=4, mask_token=4
    )
    hidden = text.masked_examples(jax.random.key(1), tokens[:64], rate=0.2, n_tokens=4, mask_token=4)
    plan = training.plan_of(256, batch_size=64, epochs=40)

    @jax.jit
    def errors(key):
        state, history = training.run(key, {"inputs": tokens}, algorithm=algorithm, plan=plan)
        before = algorithm.evaluate(algorithm.init(jax.random.key(3)), hidden, jax.random.key(4))
        return before, algorithm.evaluate(state, hidden, jax.random.key(5)), history["loss"]

    before, after, loss = errors(jax.random.key(2))
    assert loss.shape == (160,) and loss[-1] < 0.5 * loss[0]
    assert after["error"] < 0.2 < 0.5 < before["error"] and after["log_loss"] < 0.5 * before["log_loss"]


def test_masked_pretraining_is_evaluated_on_hidden_tokens_alone():
    guess_zero = models.function(lambda key: {}, lambda params, tokens: jax.nn.one_hot(0 * tokens, 5))
    algorithm = text.masked_pretraining(guess_zero, optimizer=optax.sgd(1.0), n_tokens=4, mask_token=4)
    data = {"inputs": jnp.array([[4, 4, 2], [4, 3, 3]]), "targets": jnp.array([[0, 1, -1], [0, -1, -1]])}
    values = algorithm.evaluate(algorithm.init(jax.random.key(0)), data, jax.random.key(1))
    np.testing.assert_allclose(values["error"], 1 / 3, rtol=1e-6)
    total = np.log(np.e + 4)
    np.testing.assert_allclose(values["log_loss"], total - 2 / 3, rtol=1e-6)

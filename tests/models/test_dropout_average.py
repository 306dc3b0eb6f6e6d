"""A classifier asked with many draws of its dropout: the mean of its probabilities, and nothing changed in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import models

SIZES = models.TransformerSizes(context=4, width=8, n_layers=1, n_heads=2, dropout_rate=0.5)


@pytest.fixture
def classifier():
    return models.mlp(4, (16,), 3, dropout_rate=0.5)


def test_averaged_is_the_mean_of_the_probabilities_of_the_draws(classifier, key):
    of_draws, of_params = jax.random.split(key)
    params, _ = classifier.init(of_params)
    inputs = jax.random.normal(jax.random.key(3), (5, 4))
    logits, model_state = models.averaged(of_draws, classifier, n_draws=7).apply(params, {}, inputs)
    drawn = [
        [
            classifier.apply(params, {}, row[None], jax.random.fold_in(jax.random.clone(of_draws), i))[0][0]
            for row in inputs
        ]
        for i in range(7)
    ]
    expected = np.mean(jax.nn.softmax(jnp.array(drawn)), axis=0)
    np.testing.assert_allclose(np.exp(logits), expected, rtol=1e-5)  # a sum of seven in another order
    assert model_state == {} and not np.allclose(
        jax.nn.softmax(classifier.apply(params, {}, inputs)[0]), expected, rtol=1e-3
    )


def test_averaged_changes_nothing_in_training_and_agrees_jitted(classifier, key):
    model = models.averaged(jax.random.key(7), classifier, n_draws=4)
    params, _ = model.init(key)
    inputs, of_training = jnp.ones((2, 4)), jax.random.key(1)
    trained, plain = (one.apply(params, {}, inputs, key=of_training)[0] for one in (model, classifier))
    np.testing.assert_array_equal(trained, plain)
    eager, jitted = model.apply(params, {}, inputs)[0], jax.jit(model.apply)(params, {}, inputs)[0]
    np.testing.assert_allclose(eager, jitted, rtol=1e-5)  # fused sums


def test_averaged_approaches_the_expectation(classifier, key):
    params, _ = classifier.init(key)
    inputs = jnp.ones((1, 4))
    few, many = (
        models.averaged(jax.random.key(n), classifier, n_draws=n).apply(params, {}, inputs)[0] for n in (4000, 16000)
    )
    # The standard error of 4,000 draws of a probability is below 0.5 / sqrt(4000) = 0.008; four of them.
    np.testing.assert_allclose(np.exp(few), np.exp(many), atol=0.032)


@pytest.mark.long
def test_averaged_is_a_function_of_the_example_whatever_batch_it_comes_in(classifier):
    hidden = models.word_dropout(models.classifier(5, 3, SIZES), rate=0.5, token=4)
    for model, example in ((classifier, jnp.ones(4)), (hidden, jnp.arange(4))):
        params, _ = model.init(jax.random.key(1))
        averaged = models.averaged(jax.random.key(2), model, n_draws=3)
        rows = jnp.stack([example, example[::-1], example])
        logits, alone = (averaged.apply(params, {}, batch)[0] for batch in (rows, rows[2:]))
        np.testing.assert_allclose(logits[0], logits[2], rtol=1e-6)
        np.testing.assert_allclose(logits[2], alone[0], rtol=1e-5)  # products of other shapes


def test_averaged_refuses_a_model_with_state(key):
    model = models.mlp(4, (8,), 3, dropout_rate=0.2, batch_norm=True)
    with pytest.raises(ValueError, match="model must have no state"):
        models.averaged(key, model, n_draws=2).apply(*model.init(jax.random.key(1)), jnp.ones((2, 4)))


def test_an_ensemble_is_not_averaged_but_its_members_are(classifier, key):
    of_members = models.averaged(key, models.ensemble(classifier, n_members=2), n_draws=2)
    with pytest.raises(ValueError, match="n_members must divide the batch of 1"):
        of_members.apply(*of_members.init(jax.random.key(1)), jnp.ones((2, 4)))


def test_averaged_refuses_no_draws(classifier, key):
    with pytest.raises(ValueError, match="n_draws must be a whole number, 1 or more; got 0"):
        models.averaged(key, classifier, n_draws=0)

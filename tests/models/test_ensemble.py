"""Ensembles: the mean of the probabilities, and independent training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import gradients, losses, models, training

MEMBER = models.mlp(4, (8,), 3)


def test_ensemble_evaluates_to_the_mean_of_the_probabilities(key):
    model = models.ensemble(MEMBER, n_members=3)
    params, model_state = model.init(key)
    inputs = jax.random.normal(jax.random.key(1), (5, 4))
    single = [MEMBER.apply(jax.tree.map(lambda leaf, m=m: leaf[m], params), {}, inputs)[0] for m in range(3)]
    expected = np.mean([jax.nn.softmax(one) for one in single], axis=0)
    np.testing.assert_allclose(
        np.exp(model.apply(params, model_state, inputs)[0]), expected, rtol=1e-5
    )  # sums of three
    assert not np.allclose(single[0], single[1])


@pytest.mark.long
def test_members_learn_apart_from_each_other(key):
    """Each member learns as if alone, on its share of the examples."""
    model = models.ensemble(MEMBER, n_members=3)
    batch = {"inputs": jax.random.normal(jax.random.key(1), (12, 4)), "targets": jnp.arange(12) % 3}
    loss = losses.softmax_cross_entropy_with_integer_labels
    params, model_state = model.init(key)
    gradient, _, _ = gradients.plain(training.mean_loss(model, loss))(params, model_state, batch, jax.random.key(2))
    for m in range(3):
        own = jax.tree.map(lambda leaf, m=m: leaf[m], params)
        dealt = {name: values[m::3] for name, values in batch.items()}
        alone, _, _ = gradients.plain(training.mean_loss(MEMBER, loss))(own, {}, dealt, jax.random.key(3))
        of_member = jax.tree.map(lambda leaf, m=m: 3 * leaf[m], gradient)  # its own loss is a third of the mean
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), of_member, alone)


def test_an_ensemble_of_one_is_its_member(key):
    model = models.ensemble(MEMBER, n_members=1)
    params, _ = model.init(key)
    inputs = jnp.ones((2, 4))
    alone, _ = MEMBER.apply(jax.tree.map(lambda leaf: leaf[0], params), {}, inputs)
    np.testing.assert_allclose(model.apply(params, {}, inputs)[0], jax.nn.log_softmax(alone), rtol=1e-5)


def test_an_ensemble_is_initialised_and_trained_like_any_model(key):
    model = models.ensemble(MEMBER, n_members=2)
    theirs, _ = MEMBER.init(jax.random.key(5))
    data = {"inputs": jax.random.normal(jax.random.key(1), (32, 4)), "targets": jnp.arange(32) % 3}
    begun = models.warm_started(model, theirs)
    params, _ = begun.init(key)
    assert all(
        (leaf == their[None]).all()
        for leaf, their in zip(jax.tree.leaves(params), jax.tree.leaves(theirs), strict=True)
    )
    loss, plan = losses.softmax_cross_entropy_with_integer_labels, training.plan_of(32, batch_size=16, epochs=60)
    algorithm = training.supervised(begun, loss, optimizer=optax.adam(3e-2), metrics={})
    _, history = jax.jit(lambda key: training.run(key, data, algorithm=algorithm, plan=plan))(key)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_a_batch_that_members_cannot_share_is_refused(key):
    model = models.ensemble(MEMBER, n_members=3)
    with pytest.raises(ValueError, match="n_members must divide the batch of 4 examples; got 3"):
        model.apply(*model.init(key), jnp.ones((4, 4)), jax.random.key(1))
    with pytest.raises(ValueError, match="n_members must be a whole number, 1 or more; got 0"):
        models.ensemble(MEMBER, n_members=0)

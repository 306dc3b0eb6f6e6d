"""Influence against the truth: the linear datamodelling score over retrained runs, on MNIST."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxresearch import data, explain, hypergradients, losses, metrics, models, training
from jaxresearch.algorithms import averaged
from jaxresearch.hypergradients import Unroll

pytestmark = pytest.mark.slow

N_TRAIN, N_TEST, BATCH, EPOCHS = 5_000, 40, 100, 10
N_STEPS = EPOCHS * N_TRAIN // BATCH


@pytest.fixture(autouse=True)
def recomputed_steps():
    """Reverse mode recomputes segments from the same keys."""
    with jax.debug_key_reuse(False):
        yield


@pytest.fixture(scope="module")
def mnist():
    """Returns 5,000 training and 40 test examples."""
    loaded = data.load("mnist")
    train = {name: jnp.asarray(entry[:N_TRAIN]) for name, entry in loaded.train.items()}
    return train, {name: jnp.asarray(entry[:N_TEST]) for name, entry in loaded.test.items()}


def unroll(model, optimizer, *, decay):
    """Returns the run whose parameters are averaged, with the log loss as its loss."""
    plain = training.supervised(
        model,
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=optimizer,
        metrics={"log_loss": metrics.log_loss()},
    )
    algorithm = averaged(plain, decay=decay)

    def advance(key, h, state, train, step, n_steps):
        return training.advance(key, state, train, step, algorithm=algorithm, batch_size=BATCH, n_steps=n_steps)[0]

    def loss(key, h, state, test):
        return training.evaluate(key, state, test, algorithm=algorithm)["log_loss"]

    return Unroll(lambda key, h, train: training.init(key, algorithm=algorithm), advance, loss)


def scores(run, mnist, *, share, seed=0, n_runs=100):
    """Returns the mean score of exact influence over 100 retrainings with a share of the examples, from another seed."""
    train, test = mnist
    exact = explain.influence(run, functools.partial(hypergradients.reverse, n_steps=N_STEPS), n_at_once=20)
    found = jax.jit(exact)(jax.random.key(0), {}, train, test)
    weights = explain.subsets(jax.random.key(1), n_examples=N_TRAIN, n_subsets=n_runs, share=share)
    losses_of = functools.partial(explain.retrained(run, n_steps=N_STEPS), jax.random.key(seed), {}, train, test)
    retrained = jax.jit(lambda weights: jax.lax.map(losses_of, weights, batch_size=10))(weights)
    return explain.datamodelling_score(found, weights, retrained).mean()


def network(learning_rate=0.01, decay=0.98, activation="gelu"):
    return unroll(models.mlp(784, (64,), 10, activation=activation), optax.sgd(learning_rate, 0.9), decay=decay)


def test_exact_influence_orders_retrainings_on_random_halves(mnist):
    score = scores(network(), mnist, share=0.5)
    print(f"halves, same seed: {score:.3f}")
    assert score >= 0.8


def test_exact_influence_orders_retrainings_without_2_percent(mnist):
    score = scores(network(), mnist, share=0.98)
    print(f"98 %, same seed: {score:.3f}")
    assert score >= 0.98


def test_influence_is_partly_that_of_the_seed(mnist):
    score = scores(network(), mnist, share=0.5, seed=1)
    print(f"halves, another seed: {score:.3f}")
    assert 0.3 < score < scores(network(), mnist, share=0.5)


def test_a_rough_run_is_recognised(mnist):
    train, test = mnist
    rough = network(learning_rate=0.05, decay=0.0, activation="relu")
    exact = explain.influence(rough, functools.partial(hypergradients.reverse, n_steps=N_STEPS), n_at_once=20)
    found = jax.jit(exact)(jax.random.key(0), {}, train, test)
    losses_of = functools.partial(explain.retrained(rough, n_steps=N_STEPS), jax.random.key(0), {}, train, test)
    linearity = explain.linearity(jax.random.key(2), found, losses_of)
    print(f"rough: {linearity:.3f}")
    assert linearity < 0.9


def test_exact_influence_of_logistic_regression(mnist):
    run = unroll(models.linear(784, 10), optax.sgd(0.01, 0.9), decay=0.98)
    score = scores(run, mnist, share=0.5)
    print(f"logistic regression, halves: {score:.3f}")
    assert score >= 0.98

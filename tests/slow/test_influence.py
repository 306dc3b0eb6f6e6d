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


def exact(run, mnist):
    """Returns the influence through the whole run from seed 0."""
    of = explain.influence(run, functools.partial(hypergradients.reverse, n_steps=N_STEPS), n_at_once=20)
    return jax.jit(of)(jax.random.key(0), {}, *mnist)


def losses_of(run, mnist, *, seed=0):
    """Returns the function from weights to the losses of a run from a seed."""
    return functools.partial(explain.retrained(run, n_steps=N_STEPS), jax.random.key(seed), {}, *mnist)


def score(found, run, mnist, *, share, seed=0, n_runs=100):
    """Returns the mean score of influence over 100 retrainings from a seed with a share of the examples."""
    weights = explain.subsets(jax.random.key(1), n_examples=N_TRAIN, n_subsets=n_runs, share=share)
    of_weights = losses_of(run, mnist, seed=seed)
    retrained = jax.jit(lambda weights: jax.lax.map(of_weights, weights, batch_size=10))(weights)
    return explain.datamodelling_score(found, weights, retrained).mean()


def network(learning_rate=0.01, decay=0.98, activation="gelu"):
    return unroll(models.mlp(784, (64,), 10, activation=activation), optax.sgd(learning_rate, 0.9), decay=decay)


def test_exact_influence_orders_retrainings(mnist):
    run = network()
    found = exact(run, mnist)
    halves, most = (score(found, run, mnist, share=share) for share in (0.5, 0.98))
    another = score(found, run, mnist, share=0.5, seed=1)
    print(f"halves {halves:.3f}, 98 % {most:.3f}; halves, another seed {another:.3f}")
    assert halves >= 0.8 and most >= 0.98
    assert 0.3 < another < halves


def test_a_rough_run_is_recognised(mnist):
    rough = network(learning_rate=0.05, decay=0.0, activation="relu")
    linearity = explain.linearity(jax.random.key(2), exact(rough, mnist), losses_of(rough, mnist))
    print(f"rough: {linearity:.3f}")
    assert linearity < 0.9


def test_exact_influence_of_logistic_regression(mnist):
    run = unroll(models.linear(784, 10), optax.sgd(0.01, 0.9), decay=0.98)
    found = score(exact(run, mnist), run, mnist, share=0.5)
    print(f"logistic regression, halves: {found:.3f}")
    assert found >= 0.98

"""Influence from gradients at single states, against gradients that are written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import algorithms, explain, hypergradients, losses, models, training

MODEL = models.mlp(3, (4,), 2, activation="tanh")


def losses_of(params, batch):
    """Returns the log loss of each example."""
    outputs, _ = MODEL.apply(params, {}, batch["inputs"])
    return losses.softmax_cross_entropy_with_integer_labels(outputs, batch["targets"])


def part(seed, n):
    """Returns n random examples of two classes."""
    inputs = jax.random.normal(jax.random.key(seed), (n, 3))
    return {"inputs": inputs, "targets": (inputs[:, 0] > 0).astype(jnp.int32)}


def flat_gradients(params, batch):
    """Returns the gradient of each example's loss as a row."""

    def of_one(example):
        gradient = jax.grad(lambda params: losses_of(params, jax.tree.map(lambda leaf: leaf[None], example))[0])(params)
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(gradient)])

    return jax.vmap(of_one)(batch)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_gradient_similarity_is_a_product_of_gradients(batch_size):
    params, train, test = MODEL.init(jax.random.key(0))[0], part(1, 10), part(2, 3)
    found = explain.gradient_similarity(losses_of, params, train, test, batch_size=batch_size)
    expected = -flat_gradients(params, test) @ flat_gradients(params, train).T / 10
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)  # float32


def test_padded_rows_do_not_count_in_gradient_similarity():
    params, train, test = MODEL.init(jax.random.key(0))[0], part(1, 5), part(2, 3)
    padded = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:2]]), train)
    padded["inputs"] = padded["inputs"].at[6].set(jnp.nan)
    padded["weights"] = jnp.array([1.0, 1, 1, 1, 1, 0, 0])
    found = explain.gradient_similarity(losses_of, params, padded, test)
    np.testing.assert_allclose(found[:, :5], explain.gradient_similarity(losses_of, params, train, test), rtol=1e-5)
    np.testing.assert_array_equal(found[:, 5:], 0)


def test_gradient_similarity_is_of_a_step_on_the_weighted_mean():
    train = {"inputs": jnp.array([0.0, 2.0, 9.0]), "weights": jnp.array([1.0, 3.0, 0.0])}
    found = explain.gradient_similarity(
        lambda params, batch: (params - batch["inputs"]) ** 2 / 2, jnp.array(1.0), train, {"inputs": jnp.array([1.5])}
    )  # gradients of 1, -1, -8 and, of the test example, -0.5
    np.testing.assert_array_equal(found, [[0.125, -0.375, 0.0]])


def test_traced_influence_is_the_mean_over_checkpoints():
    checkpoints = [MODEL.init(jax.random.key(seed))[0] for seed in (0, 1)]
    train, test = part(1, 10), part(2, 3)
    each = [explain.gradient_similarity(losses_of, params, train, test) for params in checkpoints]
    found = explain.traced_influence(losses_of, checkpoints, train, test)
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="checkpoints must hold the parameters of at least one step"):
        explain.traced_influence(losses_of, [], train, test)


def test_one_step_of_descent_has_the_similarity_as_influence():
    """The derivative through a single step of gradient descent on all examples is the step size times the products."""
    sgd = training.supervised(
        MODEL,
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=training.gradient_descent(1e-3),
        metrics={},
    )
    train, test = part(1, 10), part(2, 3)

    class Program:
        algorithm = staticmethod(lambda h: sgd)
        init = staticmethod(lambda key, h: training.init(key, algorithm=sgd))
        advance = staticmethod(
            lambda key, h, state, data, step, n: training.advance(
                key, state, data, step, algorithm=sgd, batch_size=10, n_steps=n
            )
        )

    unroll = explain.unroll_with(Program, losses.softmax_cross_entropy_with_integer_labels)
    with jax.debug_key_reuse(False):  # recomputed segments reuse their keys on purpose
        exact = explain.influence(unroll, functools.partial(hypergradients.reverse, n_steps=1))
        found = exact(jax.random.key(0), {}, train, test)
        params = training.init(jax.random.key(0), algorithm=sgd).params
    products = -flat_gradients(params, test) @ flat_gradients(params, train).T
    # The mean is over the sum of the weights, so the influence of an example is relative to the mean of all.
    relative = 1e-3 * (products - products.mean(axis=1, keepdims=True)) / 10
    np.testing.assert_allclose(
        found, relative, rtol=0.02, atol=1e-7
    )  # the gradient of the test loss changes by the step


def test_parameters_of_an_averaged_state_are_its_averages_too():
    sgd = training.supervised(MODEL, losses.squared_error, optimizer=training.gradient_descent(0.1), metrics={})
    state = algorithms.averaged(sgd, decay=0.9).init(jax.random.key(0))
    arrays, put = explain.parameters_of(state)
    assert len(arrays) == 8  # two layers with a kernel and a bias, and their averages
    doubled = put([2 * array for array in arrays])
    jax.tree.map(lambda one, two: np.testing.assert_array_equal(2 * one, two), state.average, doubled.average)

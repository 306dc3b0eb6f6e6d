"""Gradients as outer products: found where they are, equal to gradients of each example, and safe for extreme numbers."""

import functools
import math

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxresearch import losses, models, privacy, training
from jaxresearch.privacy import outer_products
from jaxresearch.privacy.outer_products import Outer

N = 8


class Network(nnx.Module):
    """Two layers."""

    def __init__(self, rngs):
        self.hidden, self.outputs = nnx.Linear(6, 4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.outputs(nnx.relu(self.hidden(x)))


def functional():
    def init(key):
        keys = jax.random.split(key)
        return {"hidden": jax.random.normal(keys[0], (6, 4)), "outputs": jax.random.normal(keys[1], (4, 3))}

    return models.function(init, lambda params, x: jnp.tanh(x @ params["hidden"]) @ params["outputs"])


MODELS = {  # each with two matrices that multiply one vector per example
    "linen": lambda: models.mlp(6, (4,), 3, dropout_rate=0.5),
    "convolutional": lambda: models.cnn((3, 2, 1), 3, channels=(2,), hidden=4),
    "nnx": lambda: models.nnx(Network),
    "equinox": lambda: models.equinox(lambda key: equinox.nn.MLP(6, 3, 4, 1, key=key)),
    "function": functional,
}


def loss_of(model, model_state):
    loss_fn = training.mean_loss(model, losses.softmax_cross_entropy_with_integer_labels)
    return lambda params, batch, key: loss_fn(params, model_state, batch, key)[0]


def examples():
    """Returns examples of which one is infinite, one nan, one zero, and one does not count."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(N, 6)).astype(np.float32) * 10.0 ** random.integers(-2, 2, (N, 1)).astype(np.float32)
    inputs[1, 2], inputs[3, 0], inputs[4] = np.inf, np.nan, 0
    return {"inputs": inputs, "targets": random.integers(0, 3, N), "weights": np.arange(N) != 6}


def summed(loss_of, params, batch, key, *, clip, clipping):
    """Returns the sum of clipped gradients, in float64, from the gradient of each example."""

    def gradient_of(example, place):
        return jax.grad(loss_of)(params, jax.tree.map(lambda leaf: leaf[None], example), jax.random.fold_in(key, place))

    given = {name: entry for name, entry in batch.items() if name != "weights"}
    found = jax.vmap(gradient_of)(given, jnp.arange(N))
    leaves = [np.asarray(leaf, np.float64) / clip for leaf in jax.tree.leaves(found)]
    squares = np.stack([np.square(leaf).reshape(N, -1).sum(1) for leaf in leaves])
    counts = np.isfinite(squares).all(0) & batch["weights"]
    norms = np.sqrt(squares.sum(0) + 0 * squares if clipping == "flat" else squares * len(leaves))
    scales = np.where(counts, 1 / np.where(counts, np.maximum(norms, 1), 1), 0)
    return [np.einsum("n,n...", s, np.where(counts, x.T, 0).T) for s, x in zip(scales, leaves, strict=True)]


@pytest.mark.parametrize("name, clipping", [*((name, "flat") for name in MODELS), ("linen", "per-array")])
def test_sums_of_outer_products_equal_those_of_gradients(name, clipping, key):
    model = MODELS[name]()
    params, model_state = model.init(key)
    of, batch = loss_of(model, model_state), examples()
    alone = {name: jnp.asarray(batch[name][:1]) for name in ("inputs", "targets")}
    one = jax.eval_shape(lambda: outer_products.gradient(of, params, alone, key))
    assert sum(isinstance(leaf, Outer) for leaf in one) == 2
    sum_of = functools.partial(privacy.clipped_sum, of, key=key, clip=0.2, clipping=clipping, n_micro_batches=3)
    found = jax.jit(sum_of)(params, batch)
    expected = summed(of, params, batch, key, clip=0.2, clipping=clipping)
    for leaf, other in zip(jax.tree.leaves(found), expected, strict=True):
        np.testing.assert_allclose(leaf * (1 + 2**-14), other, atol=1e-6)  # norms have a margin of 2^-14
    assert any(leaf.any() for leaf in expected)


def test_outer_products_of_runs_side_by_side_equal_single_ones(key):
    model, keys = models.mlp(6, (4,), 3), jax.random.split(key, 3)
    of, batch = loss_of(model, {}), examples()

    def sum_of(key):
        return privacy.clipped_sum(of, model.init(key)[0], batch, key=key, clip=0.2)

    several, single = jax.jit(jax.vmap(sum_of))(keys), jax.jit(sum_of)(keys[1])
    for one, other in zip(jax.tree.leaves(several), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(one[1], other, atol=1e-6)


LAYOUTS = {
    "weight second": ("ki,io->ko", (1, 3), (3, 2)),
    "weight first": ("oi,ki->ok", (1, 3), (2, 3)),
    "two axes": ("khd,hdo->ko", (1, 2, 3), (2, 3, 4)),
    "two axes, exchanged": ("khd,doh->ko", (1, 2, 3), (3, 4, 2)),
    "two axes of the result": ("ki,hid->khd", (1, 3), (2, 3, 4)),
    "scalar result": ("i,i->", (3,), (3,)),
    "nothing contracted": (",io->io", (), (3, 2)),
}


@pytest.mark.parametrize("equation, of_vector, of_weight", LAYOUTS.values(), ids=LAYOUTS)
def test_outer_products_have_the_axes_of_the_weight(equation, of_vector, of_weight, key):
    vectors, weight = (
        jax.random.normal(jax.random.fold_in(key, i), s) for i, s in enumerate(((5, *of_vector), of_weight))
    )

    def loss_of(weight, vector):
        return jnp.sum(jnp.sin(jax.jit(functools.partial(jnp.einsum, equation))(vector, weight)))

    (found,) = jax.vmap(functools.partial(outer_products.gradient, loss_of, weight))(vectors)
    expected = jax.vmap(functools.partial(jax.grad(loss_of), weight))(vectors)
    assert isinstance(found, Outer)

    def alone(outer):
        return outer_products.weighted_sum(jax.tree.map(lambda leaf: leaf[None], outer), jnp.ones(1))

    found = jax.vmap(alone)(found)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def used_twice(weight, x):
    return jnp.sum(x @ weight + (2 * x) @ weight)


def penalised(weight, x):
    return jnp.sum(x @ weight) + jnp.sum(weight**2)


def of_two_vectors(weight, x):
    return jnp.sum(jnp.stack([x, 2 * x]) @ weight)


def in_bfloat16(weight, x):
    return jnp.sum(x.astype(jnp.bfloat16) @ weight.astype(jnp.bfloat16)).astype(jnp.float32)


def rematerialised(weight, x):
    return jax.checkpoint(lambda weight: jnp.sum(x @ weight))(weight)


def in_a_loop(weight, x):
    return jax.lax.scan(lambda total, _: (total + jnp.sum(x @ weight), None), 0.0, length=2)[0]


def transposed(weight, x):
    return jnp.sum(x @ weight.T)


def by_itself(weight, x):
    return jnp.sum(weight[0] @ weight) + 0 * jnp.sum(x)


def unused(weight, x):
    return jnp.sum(x)


@pytest.mark.parametrize(
    "loss_of",
    [used_twice, penalised, of_two_vectors, in_bfloat16, rematerialised, in_a_loop, transposed, by_itself, unused],
)
def test_other_uses_keep_the_gradient_of_each_example(loss_of):
    weight, x = jnp.arange(9.0).reshape(3, 3), jnp.arange(3.0)
    (found,) = outer_products.gradient(loss_of, weight, x)
    assert not isinstance(found, Outer)
    np.testing.assert_array_equal(found, jax.grad(loss_of)(weight, x))


@pytest.mark.parametrize(
    "of_inputs, of_outputs", [(1e-30, 1e30), (1e25, 1e-25), (1e-25, 1e26), (1e-40, 1e38), (0.0, 1e38)]
)
def test_the_norm_of_an_outer_product_survives_extreme_factors(of_inputs, of_outputs):
    weight, x = jnp.zeros((4, 9)), jnp.full(4, of_inputs)
    (gradient,) = outer_products.gradient(lambda weight, x: jnp.sum(x @ weight * jnp.full(9, of_outputs)), weight, x)
    outer = outer_products.scaled(gradient, 1)
    norm = math.sqrt(outer_products.square_norm(outer))
    entries = np.outer(np.asarray(outer.inputs, np.float64), np.asarray(outer.outputs, np.float64))
    np.testing.assert_allclose(norm, np.sqrt(np.sum(entries**2)), rtol=1e-6)
    if of_inputs > 1e-38:  # smaller ones may be rounded to zero
        np.testing.assert_allclose(norm, 6 * of_inputs * of_outputs, rtol=1e-5)

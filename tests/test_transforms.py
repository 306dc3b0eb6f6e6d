"""Transforms nest: a tiny run, whose outcome is a polynomial, under all pairs of them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import Polynomial

from jaxresearch import gradients, sweeps

N_STEPS = 2
FACTORS = (0.5, 1.0, 1.5)  # three runs on two devices: the parts are unequal
RATE = Polynomial([0, 1])
TRACES = []


def run(key, rate):
    """Returns the loss after a few steps of noisy gradient descent."""
    TRACES.append(1)

    def step(weight, t):
        return weight - rate * (weight - jax.random.uniform(jax.random.fold_in(key, t))), None

    weight, _ = jax.lax.scan(step, jnp.ones(()), jnp.arange(N_STEPS))
    return weight**2 / 2


def outcome(key):
    """Returns the same loss as a polynomial in the rate, in float64."""
    weight = Polynomial([1.0])
    for t in range(N_STEPS):
        weight = weight - RATE * (weight - float(jax.random.uniform(jax.random.fold_in(key, t))))
    return weight**2 / 2


def over_runs(transform):
    """Returns the sum over runs, each with its own key and its own fraction of the rate."""

    def summed(fun):
        def value(key, rate):
            runs = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(FACTORS)))
            return jnp.sum(transform(fun)(runs, rate * jnp.array(FACTORS)))

        return value

    return summed


def loop(polynomial):
    """Returns the expected result of `over_runs`, by a plain loop."""
    return lambda key: sum(polynomial(jax.random.fold_in(key, i))(c * RATE) for i, c in enumerate(FACTORS))


def estimated(transform):
    """Returns an estimator's gradient of the run's loss; the key of the run is in the model state."""

    def gradient(fun):
        def loss_fn(params, model_state, batch, key):
            loss = fun(jax.random.clone(model_state["key"]), params["rate"])
            return jnp.mean(batch["inputs"]) * loss, ({}, model_state)

        def value(key, rate):
            batch = {"inputs": jnp.array([0.5, 1.5, 1.0, 7.0]), "weights": jnp.array([1.0, 1.0, 2.0, 0.0])}
            batch["inputs"] = batch["inputs"] * jnp.array([1.0, 1.0, 2.0, 0.0])  # the mean of each part is 1
            own = jax.random.fold_in(key, 0)
            return transform(gradients.plain(loss_fn))({"rate": rate}, {"key": key}, batch, own)[0]["rate"]

        return value

    return gradient


def derivative(polynomial):
    return lambda key: polynomial(key).deriv()


def unchanged(polynomial):
    return polynomial


# name: the transform, and what it does to the polynomial
TRANSFORMS = {
    "jit": (jax.jit, unchanged),
    "checkpoint": (jax.checkpoint, unchanged),
    "vmap": (over_runs(jax.vmap), loop),
    "sweep-vmap": (over_runs(functools.partial(sweeps.sweep, layout="vmap")), loop),
    "sweep-map": (over_runs(functools.partial(sweeps.sweep, layout="map")), loop),
    "sweep-devices": (over_runs(functools.partial(sweeps.sweep, layout="devices")), loop),
    "grad": (functools.partial(jax.grad, argnums=1), derivative),
    "jacfwd": (functools.partial(jax.jacfwd, argnums=1), derivative),
    "accumulated": (estimated(functools.partial(gradients.accumulated, n_micro_batches=2)), derivative),
    "clipped": (estimated(functools.partial(gradients.clipped, max_norm=1e3)), derivative),
    "sharded": (estimated(functools.partial(gradients.sharded, n_devices=2)), derivative),
}
OF_JAX = ("jit", "checkpoint", "vmap", "grad", "jacfwd")
SPLIT_BY = ("sweep-devices", "sharded")  # inside these each device works on its own


def compare(*names):
    """Compares the nested transforms, first name outermost, with the polynomial; they are traced once."""
    fun, polynomial = run, outcome
    for name in reversed(names):
        transform, of_polynomial = TRANSFORMS[name]
        fun, polynomial = transform(fun), of_polynomial(polynomial)
    compiled = jax.jit(fun)
    n_traces = None
    for seed, rate in ((0, 0.3), (1, 0.2)):
        value = compiled(jax.random.key(seed), jnp.float32(rate))
        n_traces = n_traces or len(TRACES)
        # Sums of some ten terms of order 1 to 10 in float32, in a different order.
        np.testing.assert_allclose(value, polynomial(jax.random.key(seed))(rate), rtol=1e-5, atol=1e-5)
    assert len(TRACES) == n_traces


@pytest.mark.parametrize(
    ("outer", "inner"),
    [pair for pair in itertools.product(TRANSFORMS, repeat=2) if not set(pair) <= set(OF_JAX)],
)
def test_every_transform_takes_every_other(outer, inner):
    if inner == "sharded" and outer in SPLIT_BY:
        with pytest.raises(ValueError, match="sharded must not be inside a sweep over devices or another shard_map"):
            compare(outer, inner)
    else:
        compare(outer, inner)


@pytest.mark.parametrize(
    "names",
    [
        ("sweep-devices", "sweep-devices", "sweep-devices"),
        ("grad", "sweep-devices", "grad"),
        ("vmap", "sweep-map", "sweep-devices"),
        ("sweep-devices", "accumulated", "sweep-devices"),
        ("sweep-map", "sharded", "sweep-devices"),
        ("jacfwd", "sweep-devices", "checkpoint"),
    ],
    ids="-in-".join,
)
def test_three_transforms_nest(names):
    compare(*names)


def test_a_sweep_inside_a_sweep_uses_the_device_it_is_on():
    seen = []

    def inner(rate):
        seen.append(jax.sharding.get_abstract_mesh().shape)
        return rate

    def outer(rate):
        return sweeps.sweep(inner)(rate * jnp.arange(4.0))

    made = jax.jit(sweeps.sweep(outer))(jnp.arange(4.0))
    np.testing.assert_array_equal(made, np.outer(np.arange(4), np.arange(4)))
    assert len(made.sharding.device_set) == len(jax.devices())
    assert set(map(tuple, (shape.items() for shape in seen))) == {(("runs", 2),)}

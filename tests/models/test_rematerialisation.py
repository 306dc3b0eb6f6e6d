"""Models whose backward pass recomputes: the same values and gradients, with less kept."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import models


def loss_of(model, inputs, key):
    return lambda params: jnp.sum(model.apply(params, {}, inputs, key)[0] ** 2)


@pytest.mark.parametrize("remat", ["dots", "all"])
def test_rematerialised_keeps_the_gradient_and_less_for_it(remat, key):
    plain = models.mlp(16, (32, 32), 4, dropout_rate=0.3)
    params, inputs = jax.jit(plain.init)(key)[0], jax.random.normal(key, (64, 16))
    again = models.rematerialised(plain, remat)
    gradients = [jax.jit(jax.grad(loss_of(model, inputs, key)))(params) for model in (plain, again)]
    # Another fusion of the same products: the last digits of float32.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *gradients)

    def n_kept(model):
        _, backward = jax.eval_shape(lambda params: jax.vjp(loss_of(model, inputs, key), params), params)
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(backward))

    assert n_kept(again) < n_kept(plain)


@pytest.mark.raises
def test_rematerialised_without_policy_is_the_model_itself():
    model = models.linear(2, 1)
    assert models.rematerialised(model, "none") is model
    with pytest.raises(ValueError, match="remat must be one of none, dots, all; got 'some'. Pass one of them."):
        models.rematerialised(model, "some")

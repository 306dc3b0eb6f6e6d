"""Residual networks: layers by name, and images do not influence each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import models


@pytest.fixture(scope="module")
def network():
    model = models.residual((8, 8, 1), 3, channels=(4, 8), n_blocks=2)
    return model, *model.init(jax.random.key(0))


def test_residual_has_its_layers_by_name(network):
    shapes = models.layer_shapes(*network, jnp.ones((2, 8, 8, 1)))
    sides = {name: shape[1:] for name, shape in shapes.items() if "/" not in name and name != "GroupNorm_0"}
    blocks = {f"block_{place}": (8, 8, 4) if place < 2 else (4, 4, 8) for place in range(4)}
    assert sides == {"stem": (8, 8, 4), **blocks, "head": (3,)}


def test_residual_treats_each_image_alone_in_any_mode(network):
    model, params, model_state = network
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
    outputs, after = jax.jit(model.apply)(params, model_state, images, jax.random.key(2))
    assert after == model_state == {}
    alone, _ = jax.jit(model.apply)(params, model_state, images[:1])
    np.testing.assert_allclose(outputs[:1], alone, rtol=1e-5, atol=1e-5)  # float32, another order of summation
    flat, _ = jax.jit(model.apply)(params, model_state, images.reshape(4, -1))
    np.testing.assert_allclose(outputs, flat, rtol=1e-5, atol=1e-5)


@pytest.mark.raises
def test_residual_refuses_sizes_that_do_not_fit(network):
    with pytest.raises(ValueError, match=r"images must have 64 pixels, \(8, 8, 1\), got 49"):
        network[0].apply(*network[1:], jnp.ones((2, 7, 7, 1)))
    with pytest.raises(ValueError, match=r"channels\[1\] must be a whole number"):
        models.residual((8, 8, 1), 3, channels=(4, 0))
    with pytest.raises(ValueError, match="channels must hold a width for each stage, got none"):
        models.residual((8, 8, 1), 3, channels=())

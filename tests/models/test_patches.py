"""Convolution and pooling by shifted images equal those of XLA and Flax, and so do their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from jaxresearch import models

CONVOLUTIONS = {  # images, kernel, layout; options
    "strides": ((2, 9, 8, 3), (3, 2, 3, 4), ("NHWC", "HWIO", "NHWC"), {"window_strides": (2, 1), "padding": "SAME"}),
    "one axis": ((2, 2, 7), (5, 2, 3), ("NCH", "OIH", "NCH"), {"window_strides": (1,), "padding": [(2, 0)]}),
    "three axes": ((1, 2, 5, 4, 3), (3, 2, 2, 2, 1), None, {"window_strides": (1, 2, 1), "padding": "VALID"}),
    "cropping, a dilated kernel": (
        (9, 2, 8, 3),
        (3, 3, 4, 3),
        ("HNWC", "WHOI", "CHNW"),
        {"window_strides": (2, 2), "padding": [(-1, 2), (0, 0)], "rhs_dilation": (1, 2)},
    ),
}
OTHERS = {
    "groups": ((1, 5, 4), (3, 2, 4), {"feature_group_count": 2}),
    "groups of images": ((2, 5, 4), (3, 4, 4), {"batch_group_count": 2}),
    "transposed": ((1, 5, 4), (3, 4, 4), {"lhs_dilation": (2,)}),
}


def convolved(of_images, of_kernel, layout, options, key):
    """Returns the result and both gradients, by JAX and by ours, and the number of convolutions of each."""
    given = jax.random.normal(key, of_images), jax.random.normal(jax.random.fold_in(key, 1), of_kernel)

    def run(convolve, *given):
        call = functools.partial(convolve, dimension_numbers=layout, **options)
        outputs, back = jax.vjp(call, *given)
        return outputs, *back(jnp.sin(outputs))

    each = [functools.partial(run, one) for one in (jax.lax.conv_general_dilated, models.conv_general_dilated)]
    n_convolutions = [str(jax.make_jaxpr(one)(*given)).count("conv_general_dilated[") for one in each]
    return *(jax.jit(one)(*given) for one in each), n_convolutions


@pytest.mark.parametrize("of_images, of_kernel, layout, options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolution_is_a_product_of_patches(of_images, of_kernel, layout, options, key):
    expected, found, n_convolutions = convolved(of_images, of_kernel, layout, options, key)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)  # float32, sums in another order
    assert n_convolutions == [3, 0]


@pytest.mark.parametrize("of_images, of_kernel, options", OTHERS.values(), ids=OTHERS)
def test_other_convolutions_are_those_of_xla(of_images, of_kernel, options, key):
    options = {"window_strides": (1,), "padding": [(0, 0)]} | options
    expected, found, n_convolutions = convolved(of_images, of_kernel, ("NHC", "HIO", "NHC"), options, key)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert n_convolutions == [3, 3]


def test_an_accelerator_convolves(key, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    expected, found, n_convolutions = convolved(*CONVOLUTIONS["strides"], key)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert n_convolutions == [3, 3]


def test_a_layer_of_flax_has_the_same_parameters(key):
    """It computes in its own type, too."""
    images = jax.random.normal(key, (2, 6, 5, 3))
    layers = [
        nn.Conv(4, (3, 3), 2, dtype=jnp.bfloat16, conv_general_dilated=one)
        for one in (None, models.conv_general_dilated)
    ]
    expected, found = (layer.init_with_output(key, images) for layer in layers)
    jax.tree.map(np.testing.assert_array_equal, found[1], expected[1])
    assert found[0].dtype == jnp.bfloat16
    np.testing.assert_allclose(found[0].astype(float), expected[0].astype(float), atol=0.02)  # bfloat16


def test_a_layer_of_nnx_convolves_by_patches(key):
    images, rngs = jax.random.normal(key, (2, 6, 5, 3)), [nnx.Rngs(0), nnx.Rngs(0)]
    expected = nnx.Conv(3, 4, (3, 3), rngs=rngs[0])(images)
    found = nnx.Conv(3, 4, (3, 3), rngs=rngs[1], conv_general_dilated=models.conv_general_dilated)(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32


@pytest.mark.parametrize("padding", ["SAME", "VALID", [(1, 0), (0, 2)]])
@pytest.mark.parametrize("strides", [None, (2, 3)])
def test_pooling_equals_that_of_flax(padding, strides, key):
    """With ties, whose gradient goes to the first maximum."""
    images = jax.random.randint(key, (2, 7, 8, 3), 0, 3).astype(jnp.float32)

    def run(pool):
        outputs, back = jax.vjp(lambda x: pool(x, (3, 2), strides, padding=padding), images)
        return outputs, *back(jnp.arange(outputs.size, dtype=outputs.dtype).reshape(outputs.shape))

    jax.tree.map(np.testing.assert_array_equal, run(models.max_pool), run(nn.max_pool))


def test_pooling_keeps_whole_numbers_and_nan():
    numbers = jnp.array([[[3], [1], [2]]], jnp.int32)
    assert models.max_pool(numbers, (2,), padding="SAME")[0, :, 0].tolist() == [3, 2, 2]
    assert np.isnan(models.max_pool(jnp.array([[[jnp.nan], [1.0]], [[1.0], [jnp.nan]]]), (2,))).all()


@pytest.mark.raises
def test_images_of_other_channels_are_one_line(key):
    with pytest.raises(ValueError, match="images must have as many channels as the kernel, 2, got 3. Check the order"):
        models.conv_general_dilated(
            jnp.ones((1, 4, 3)), jnp.ones((3, 2, 5)), (1,), "SAME", dimension_numbers=("NHC", "HIO", "NHC")
        )

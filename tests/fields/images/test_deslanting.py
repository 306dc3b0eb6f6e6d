"""Images made upright: strokes of a known slant, and what must not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch.fields import images


def _stroke(slant, *, centre=13.5):
    """Returns a stroke with soft edges that moves to the right by a number of pixels per row."""
    rows, columns = np.mgrid[:28, :28]
    across = abs(columns - centre - slant * (rows - 13.5))
    return (np.clip(3 - across, 0, 1) * (abs(rows - 13.5) < 9)).astype(np.float32)


@pytest.mark.parametrize("slant", [-0.4, 0.0, 0.3])
def test_a_slanted_stroke_becomes_the_upright_one(slant):
    upright = images.deslanted(_stroke(slant, centre=11.0))
    np.testing.assert_allclose(upright, _stroke(0.0), atol=0.1)  # linear interpolation


def test_pixels_of_8_bits_and_a_channel_are_taken_alike():
    image = _stroke(0.3)
    of_bits = images.deslanted(np.round(255 * image).astype(np.uint8)[..., None])
    np.testing.assert_allclose(of_bits, images.deslanted(image), atol=2 / 255)


def test_an_image_without_ink_stays_empty():
    assert not np.any(images.deslanted(np.zeros((28, 28))))


def test_one_line_of_ink_is_not_sheared():
    line = jnp.zeros((9, 9)).at[4, 2:7].set(1.0)
    np.testing.assert_allclose(images.deslanted(line), line, atol=1e-4)


def test_the_gradient_of_an_empty_image_is_finite():
    gradient = jax.grad(lambda image: jnp.sum(images.deslanted(image) ** 2))(jnp.zeros((28, 28)))
    assert np.isfinite(gradient).all()


def test_scattered_features_are_those_of_the_upright_image():
    image = _stroke(0.3)
    deslant_first = images.scattered(deslant=True).apply({}, {"inputs": image[None]}, training=True)["inputs"]
    upright = np.asarray(images.deslanted(image))
    alone = images.scattered().apply({}, {"inputs": upright[None]}, training=True)["inputs"]
    np.testing.assert_allclose(deslant_first.astype(np.float32), alone.astype(np.float32), atol=2e-3)  # float16
    slanted = images.scattered().apply({}, {"inputs": image[None]}, training=True)["inputs"]
    assert np.abs(deslant_first.astype(np.float32) - slanted.astype(np.float32)).max() > 0.5

"""The scattering transform against convolutions in space, kymatio, and its defining properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch.data import DataCard, Dataset, prepare
from jaxresearch.data.rows import Rows
from jaxresearch.fields import images


@pytest.fixture(scope="module")
def noise():
    """Images without structure."""
    return np.random.default_rng(0).random((4, 28, 28)).astype(np.float32)


@pytest.fixture(scope="module")
def transform():
    """The transform, compiled."""
    return jax.jit(images.scattering)


def _wavelet(size, angle, scale, n_angles):
    """Returns a Morlet wavelet in space on a torus, in float64: a wave in a Gaussian window, less its mean."""
    sigma, slant = 0.8 * 2**scale, 4 / n_angles
    turns = np.arange(-3, 4) * size
    rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    rows, columns = (axis[..., None, None] + shift for axis, shift in ((rows, turns[:, None]), (columns, turns[None])))
    along = np.cos(angle) * rows + np.sin(angle) * columns
    across = np.cos(angle) * columns - np.sin(angle) * rows
    window = np.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2)) * slant / (2 * np.pi * sigma**2)
    wave = (window * np.exp(0.75j * np.pi / 2**scale * along)).sum((-2, -1))
    window = window.sum((-2, -1))
    return wave - window * wave.sum() / window.sum()


def _convolved(image, kernel):
    """Returns the convolution on a torus as a sum over shifts."""
    return sum(kernel[i, j] * np.roll(image, (i, j), (0, 1)) for i, j in np.ndindex(*kernel.shape))


def test_first_order_equals_convolution_in_space(noise, transform):
    image = np.pad(noise[0].astype(np.float64), 4, mode="reflect")
    distances = np.minimum(np.arange(36), 36 - np.arange(36))
    low = np.exp(-(distances**2) / (2 * 1.6**2))
    low = np.outer(low, low) / low.sum() ** 2
    ours = transform(noise[0])
    for angle in (0, 3):
        modulus = abs(_convolved(image, _wavelet(36, np.pi * angle / 8, 0, 8)))
        theirs = _convolved(modulus, low)[4:-4:4, 4:-4:4]
        np.testing.assert_allclose(ours[1 + angle], theirs, rtol=1e-4)  # float32 and its Fourier transform


def test_second_order_equals_convolution_in_space(noise, transform):
    image = np.pad(noise[0].astype(np.float64), 4, mode="reflect")
    modulus = abs(_convolved(image, _wavelet(36, np.pi * 2 / 8, 0, 8)))
    second = abs(_convolved(modulus, _wavelet(36, np.pi * 5 / 8, 1, 8)))[::2, ::2]
    distances = np.minimum(np.arange(18), 18 - np.arange(18))
    low = np.exp(-(distances**2) / (2 * 0.8**2))
    low = np.outer(low, low) / low.sum() ** 2
    theirs = _convolved(second, low)[2:-2:2, 2:-2:2]
    np.testing.assert_allclose(transform(noise[0])[17 + 2 * 8 + 5], theirs, rtol=1e-4)


def test_scattering_equals_kymatio(noise, transform):
    frontend = pytest.importorskip("kymatio.scattering2d.frontend.numpy_frontend", reason="needs the extra test")
    theirs = frontend.ScatteringNumPy2D(J=2, shape=(28, 28), L=8)(noise)
    turned = [(3 - angle) % 8 for angle in range(8)]  # kymatio counts the angles from another axis, backwards
    mean, first, second = np.split(np.asarray(transform(noise)), [1, 17], axis=1)
    first = first.reshape(4, 2, 8, 7, 7)[:, :, turned].reshape(4, 16, 7, 7)
    second = second.reshape(4, 8, 8, 7, 7)[:, turned][:, :, turned].reshape(4, 64, 7, 7)
    # Its low-pass filter is cut off at the frequencies of the coarse grid, ours is sampled in space: half a per cent apart.
    np.testing.assert_allclose(np.concatenate([mean, first, second], 1), theirs, rtol=2e-2, atol=5e-4)


def test_a_shift_by_the_stride_shifts_the_coefficients(transform):
    image = np.zeros((28, 28), np.float32)
    image[8:12, 9:13] = np.random.default_rng(1).random((4, 4))
    ours, shifted = transform(image), transform(np.roll(image, (4, 8), (0, 1)))
    inner = np.s_[:, 1:5, 1:5]
    np.testing.assert_allclose(np.roll(ours, (1, 2), (1, 2))[:, 2:5, 3:6], shifted[:, 2:5, 3:6], atol=2e-5)
    assert np.abs(np.asarray(ours)[inner]).max() > 0.1


def test_a_small_shift_changes_little(noise, transform):
    ours, shifted = transform(noise), transform(np.roll(noise, 1, axis=2))
    change = jnp.linalg.norm(ours - shifted) / jnp.linalg.norm(ours)
    of_pixels = np.linalg.norm(noise - np.roll(noise, 1, axis=2)) / np.linalg.norm(noise)
    assert change < 0.1 * of_pixels


def test_coefficients_are_homogeneous_and_bounded(noise, transform):
    ours = transform(noise)
    np.testing.assert_allclose(transform(3 * noise), 3 * ours, rtol=1e-5)
    np.testing.assert_allclose(transform(jnp.ones((28, 28)))[1:], 0, atol=1e-5)  # wavelets have mean 0
    energy = 16 * jnp.sum(ours**2, axis=(1, 2, 3))  # each coefficient stands for 4 x 4 pixels
    assert (energy < np.sum(noise**2, axis=(1, 2))).all()


@pytest.mark.parametrize(
    ("n_scales", "n_angles", "shape"), [(1, 4, (5, 14, 14)), (2, 4, (25, 7, 7)), (3, 2, (19, 4, 4))]
)
def test_channels_and_places_are_counted(n_scales, n_angles, shape):
    image = jax.ShapeDtypeStruct((2, 28, 28), jnp.float32)
    made = jax.eval_shape(lambda x: images.scattering(x, n_scales=n_scales, n_angles=n_angles), image)
    assert made.shape == (2, *shape)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"n_scales and n_angles must be 1 or more, got 0 and 8. Pass n_scales=2"):
        images.scattering(jnp.ones((28, 28)), n_scales=0)
    with pytest.raises(
        ValueError, match=r"images must be larger than 32 pixels, got \(28, 28\). Pass a smaller n_scales"
    ):
        images.scattering(jnp.ones((28, 28)), n_scales=5)


def _dataset(inputs):
    part = {"inputs": inputs, "targets": np.arange(len(inputs)) % 2}
    return Dataset(part, part, None, DataCard(name="a", source="b", class_names=("0", "1")))


def test_scattered_normalises_channels_then_places(noise):
    pixels = (255 * noise).astype(np.uint8)[..., None]
    prepared = prepare(images.scattered(), _dataset(pixels))
    s = np.asarray(images.scattering(jnp.asarray(pixels[..., 0] / np.float32(255))), np.float64)
    t = (s - s.mean((2, 3), keepdims=True)) / np.sqrt(s.var((2, 3), keepdims=True) + 1e-6)
    z = (t - t.mean(1, keepdims=True)) / np.sqrt(t.var(1, keepdims=True) + 0.1)
    z /= np.sqrt((z**2).mean((1, 2, 3), keepdims=True))
    inputs = prepared.train["inputs"]
    np.testing.assert_allclose(
        inputs.astype(np.float64), z, atol=5e-3
    )  # float16, and a float32 transform of small variance
    assert prepared.card.feature_shape == (81, 7, 7) and prepared.fitted == {} and inputs.dtype == np.float16


def test_an_empty_image_has_finite_coefficients():
    inputs = images.scattered().apply({}, {"inputs": np.zeros((1, 28, 28), np.uint8)}, training=True)["inputs"]
    assert not inputs.any()


def test_scattered_is_the_same_row_by_row(noise):
    apply = images.scattered().apply
    whole = apply({}, {"inputs": noise}, training=True)["inputs"]
    single = apply({}, {"inputs": noise[1:2]}, training=False)["inputs"]
    read = apply({}, {"inputs": Rows(noise)}, training=True)["inputs"].read()
    traced = jax.jit(lambda x: apply({}, {"inputs": x}, training=False)["inputs"])(noise)
    for other in (single, read[1:2], traced[1:2]):
        np.testing.assert_allclose(whole[1:2].astype(float), np.asarray(other, float), atol=4e-3)  # a unit of float16


def test_scattered_refuses_colours():
    with pytest.raises(ValueError, match=r"images must be grey, .* got \(4, 28, 28, 3\). Average their colours"):
        images.scattered().apply({}, {"inputs": np.zeros((4, 28, 28, 3))}, training=True)

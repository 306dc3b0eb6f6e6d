"""The scattering transform of images: fixed wavelets and moduli, without a trained or fitted number."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

_SIGMA, _XI = 0.8, 3 * math.pi / 4  # width in pixels and frequency of the finest wavelet


def scattering(
    images: Float[Array, "*batch height width"], *, n_scales: int = 2, n_angles: int = 8
) -> Float[Array, "*batch channels rows columns"]:
    r"""Returns the scattering coefficients of images up to the second order.

    .. math:: S_0 = x * \phi, \quad S_1 = |x * \psi_{j,\theta}| * \phi, \quad
        S_2 = ||x * \psi_{j,\theta}| * \psi_{j',\theta'}| * \phi, \quad j < j'

    Each map is sampled at the scale of its filter. The low-pass filter averages over about :math:`2^J` pixels, so the
    coefficients hardly change when the image moves by less. Images are extended by reflection at their edges.

    Args:
        images: Numbers of any range; the coefficients scale with them.
        n_scales: Number of scales J, 1 or more.
        n_angles: Number of orientations L per scale, 1 or more.

    Returns:
        ``1 + J L + J (J - 1) L^2 / 2`` channels, each with one row and one column per :math:`2^J` pixels. In order: the mean;
        first order by scale and angle; second order by scale, next scale, angle and next angle.

    Raises:
        ValueError: If a number is below 1, or the images are smaller than :math:`2^J + 1` pixels.

    Example:
        >>> import jax.numpy as jnp
        >>> scattering(jnp.ones((3, 28, 28))).shape
        (3, 81, 7, 7)

    References:
        Bruna and Mallat (2013), Invariant scattering convolution networks, IEEE TPAMI 35(8), sections 2.1 to 2.3.
        https://arxiv.org/abs/1203.1513
    """
    if n_scales < 1 or n_angles < 1:
        raise ValueError(
            f"n_scales and n_angles must be 1 or more, got {n_scales} and {n_angles}. Pass n_scales=2, n_angles=8."
        )
    stride, shape = 2**n_scales, images.shape[-2:]
    if min(shape) <= stride:
        raise ValueError(f"images must be larger than {stride} pixels, got {shape}. Pass a smaller n_scales.")
    margins = [(stride, stride + -size % stride) for size in shape]
    padded = jnp.pad(images, [(0, 0)] * (images.ndim - 2) + margins, mode="reflect")

    def averaged(maps: Float[Array, "..."], scale: int) -> Float[Array, "..."]:
        """Returns low-passed maps of a scale without the margins, angles joined to channels."""
        rows, columns = (_low_pass(size, n_scales - scale) for size in maps.shape[-2:])
        low = jnp.einsum("ih,...hw,jw->...ij", rows, maps, columns)[..., 1:-1, 1:-1]
        return low.reshape(*images.shape[:-2], -1, *low.shape[-2:])

    spectrum = jnp.fft.fft2(padded)
    first, second = [], []
    for j in range(n_scales):
        moduli = _moduli(spectrum, j, n_angles)
        first.append(averaged(moduli, j))
        spectra = jnp.fft.fft2(moduli)
        second += [averaged(_moduli(spectra, k - j, n_angles), k) for k in range(j + 1, n_scales)]
    return jnp.concatenate([averaged(padded, 0), *first, *second], axis=-3)


def _moduli(
    spectrum: Complex[Array, "*batch h w"], scale: int, n_angles: int
) -> Float[Array, "*batch angles rows columns"]:
    """Returns the moduli of the wavelet coefficients of a scale, sampled every ``2**scale`` pixels."""
    height, width = spectrum.shape[-2:]
    filtered = jnp.einsum("...hw,ahw->...ahw", spectrum, _wavelets((height, width), scale, n_angles))
    step = 2**scale
    folds = filtered.reshape(*filtered.shape[:-2], step, height // step, step, width // step)
    return jnp.abs(jnp.fft.ifft2(folds.mean(axis=(-4, -2))))  # folded frequencies: sampled in space


def _wavelets(shape: tuple[int, int], scale: int, n_angles: int) -> Float[np.ndarray, "angles h w"]:
    """Returns the Fourier transforms of Morlet wavelets: Gaussians around a frequency, less one around 0 for a mean of 0."""
    sigma, xi, slant = _SIGMA * 2**scale, _XI / 2**scale, 4 / n_angles
    angles = np.pi * np.arange(n_angles)[:, None, None] / n_angles
    along = np.stack([np.cos(angles), np.sin(angles)])

    def gaussian(centre: float) -> np.ndarray:
        total = np.zeros((n_angles, *shape))
        for period in np.ndindex(5, 5):  # frequencies are periodic; further periods are below float32
            rows, columns = (
                2 * np.pi * (np.fft.fftfreq(n) + shift - 2) for n, shift in zip(shape, period, strict=True)
            )
            rows, columns = rows[None, :, None], columns[None, None, :]
            u = along[0] * rows + along[1] * columns - centre
            v = along[0] * columns - along[1] * rows
            total += np.exp(-(sigma**2) / 2 * (u**2 + (v / slant) ** 2))
        return total

    around, low = gaussian(xi), gaussian(0.0)
    return (around - low * around[:, :1, :1] / low[:, :1, :1]).astype(np.float32)


def _low_pass(size: int, scale: int) -> Float[np.ndarray, "rows size"]:
    """Returns the matrix that averages a periodic signal with a Gaussian and samples it every ``2**scale`` places."""
    turns = size * np.arange(-1, 2)[:, None, None]
    distances = np.arange(size) - np.arange(0, size, 2**scale)[:, None] + turns
    weights = np.exp(-((distances / (_SIGMA * 2 ** (scale - 1))) ** 2) / 2).sum(axis=0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)

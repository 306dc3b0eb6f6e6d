"""Preprocessing of images: scattering coefficients, normalised within each image."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxresearch.data import Fitted, Preprocessor
from jaxresearch.data.parts import Part
from jaxresearch.data.rows import Rows
from jaxresearch.fields.images.scattering import scattering
from jaxresearch.models.model import from_pixels

_AT_ONCE = 100  # images whose maps are in memory at a time


def scattered(*, n_scales: int = 2, n_angles: int = 8, n_groups: int = 27, epsilon: float = 1e-5) -> Preprocessor:
    r"""Returns the preprocessor that replaces each image by its scattering coefficients, normalised in groups of channels.

    .. math:: z = \frac{s - \mu_g}{\sqrt{\sigma_g^2 + \epsilon}}

    where :math:`\mu_g` and :math:`\sigma_g^2` are the mean and the variance of the coefficients s of one image in one group.
    Nothing is fitted, so a private model spends nothing on it, and each image has almost the same norm.

    Args:
        n_scales: As in `scattering`.
        n_angles: As in `scattering`.
        n_groups: Groups of adjacent channels; they divide the channels.
        epsilon: Added to the variance; positive.

    Returns:
        A preprocessor of grey images ``(n, height, width)`` or ``(n, height, width, 1)``; inputs become float16
        ``(n, channels, rows, columns)``.

    Raises:
        ValueError: When applied, if the images are not grey or the groups do not divide the channels.

    Example:
        >>> import numpy as np
        >>> part = {"inputs": np.arange(2 * 28 * 28).reshape(2, 28, 28, 1) % 255 / 255}
        >>> inputs = scattered().apply({}, part, training=True)["inputs"]
        >>> inputs.shape, inputs.dtype.name, float(abs(inputs.mean()).round(3))
        ((2, 81, 7, 7), 'float16', 0.0)

    References:
        Tramèr and Boneh (2021), Differentially private learning needs better features (or much more data), ICLR, section 2.
        https://arxiv.org/abs/2011.11660
    """

    def features(image: Float[Array, "height width"]) -> Float[Array, "channels rows columns"]:
        coefficients = scattering(jnp.asarray(from_pixels(image), jnp.float32), n_scales=n_scales, n_angles=n_angles)
        if len(coefficients) % n_groups:
            raise ValueError(
                f"n_groups must divide the {len(coefficients)} channels, got {n_groups}. Pass the number of channels."
            )
        groups = coefficients.reshape(n_groups, -1)
        variance = groups.var(axis=1, keepdims=True)
        normalised = (groups - groups.mean(axis=1, keepdims=True)) / jnp.sqrt(variance + epsilon)
        return normalised.reshape(coefficients.shape).astype(jnp.float16)

    def mapped(images: Any) -> Any:
        if images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,)):
            raise ValueError(
                f"images must be grey, (n, height, width) or (n, height, width, 1), got {images.shape}. Average their colours."
            )
        grey = images.reshape(images.shape[:3])
        made = jax.lax.map(features, jnp.asarray(grey), batch_size=_AT_ONCE)
        return np.asarray(made) if isinstance(images, np.ndarray) else made

    def apply(fitted: Fitted, part: Part, *, training: bool) -> Part:
        del fitted, training
        images = part["inputs"]
        return {**part, "inputs": images.mapped(mapped) if isinstance(images, Rows) else mapped(images)}

    return Preprocessor(apply=apply)

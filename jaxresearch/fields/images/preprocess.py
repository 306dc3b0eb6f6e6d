"""Preprocessing of images: scattering coefficients, normalised within each image."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxresearch.data import Fitted, Preprocessor, require_images
from jaxresearch.data.parts import Part
from jaxresearch.data.rows import Rows
from jaxresearch.fields.images.deslanting import deslanted
from jaxresearch.fields.images.scattering import scattering
from jaxresearch.models.model import from_pixels

_AT_ONCE = 100  # images whose maps are in memory at a time
_LEAST, _LEAST_PLACE = 1e-6, 0.1  # variances below which channels of pixels from 0 to 1, and places, fade


def scattered(*, n_scales: int = 2, n_angles: int = 8, deslant: bool = False) -> Preprocessor:
    r"""Returns the preprocessor that replaces each image by its scattering coefficients, normalised within the image.

    .. math:: t_{cp} = \frac{s_{cp} - \operatorname{E}_p s_{cp}}{\sqrt{\operatorname{Var}_p s_{cp} + 10^{-6}}}, \quad
        z_{cp} = \frac{t_{cp} - \operatorname{E}_c t_{cp}}{\sqrt{\operatorname{Var}_c t_{cp} + 0.1}}

    First each channel c is normalised over the places p, then each place over the channels; at last the whole is scaled to a mean
    square of 1. The second step removes the pattern that all images share, such as ink in the middle, which would use up
    most of the norm to which private training clips. Nothing is fitted, so a private model spends nothing on it.

    Args:
        n_scales: As in `scattering`.
        n_angles: As in `scattering`.
        deslant: Whether each image is first made upright (`deslanted`), as helps with handwriting.

    Returns:
        A preprocessor of grey images ``(n, height, width)`` or ``(n, height, width, 1)``, with pixels of 8 bits or from 0 to 1;
        inputs become float16 ``(n, channels, rows, columns)``.

    Raises:
        ValueError: When applied, if the inputs are no images, or not grey.

    Example:
        >>> import numpy as np
        >>> part = {"inputs": np.arange(2 * 28 * 28).reshape(2, 28, 28, 1) % 255 / 255}
        >>> inputs = scattered().apply({}, part, training=True)["inputs"]
        >>> inputs.shape, inputs.dtype.name, float((inputs.astype(float) ** 2).mean().round(3))
        ((2, 81, 7, 7), 'float16', 1.0)

    References:
        Tramèr and Boneh (2021), Differentially private learning needs better features (or much more data), ICLR, section 2
        (scattering for private training). https://arxiv.org/abs/2011.11660
    """

    def features(image: Num[Array, "height width"]) -> Float[Array, "channels rows columns"]:
        pixels = deslanted(image) if deslant else jnp.asarray(from_pixels(image), jnp.float32)
        coefficients = scattering(pixels, n_scales=n_scales, n_angles=n_angles)
        of_places = _normalised(_normalised(coefficients, axis=(1, 2), least=_LEAST), axis=0, least=_LEAST_PLACE)
        mean_square = jnp.maximum(jnp.mean(of_places**2), _LEAST)
        return (of_places / jnp.sqrt(mean_square)).astype(jnp.float16)

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
        require_images(part)
        images = part["inputs"]
        return {**part, "inputs": images.mapped(mapped) if isinstance(images, Rows) else mapped(images)}

    return Preprocessor(apply=apply)


def _normalised(
    values: Float[Array, "channels rows columns"], *, axis: int | tuple[int, ...], least: float
) -> Float[Array, "channels rows columns"]:
    """Returns values of mean 0 and a variance of at most 1 along axes."""
    variance = values.var(axis=axis, keepdims=True)
    return (values - values.mean(axis=axis, keepdims=True)) / jnp.sqrt(variance + least)

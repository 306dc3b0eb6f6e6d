"""Deslanting: grey images sheared until their strokes stand upright."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxresearch.models.model import from_pixels

_LEAST = 1e-6  # ink, and its second moment, below which an image is not sheared


def deslanted(image: Num[Array | np.ndarray, "height width *channel"]) -> Float[Array, "height width"]:
    r"""Returns a grey image sheared sideways until its principal axis is vertical, with its centre of ink in the middle column.

    .. math:: s = \frac{\sum_p i_p (y_p - \bar y) (x_p - \bar x)}{\sum_p i_p (y_p - \bar y)^2}

    Row y moves to the left by :math:`s (y - \bar y)` columns, and all rows together until the ink is centred. Here :math:`i_p` is
    the ink of pixel p, and the bars are means weighted by it. Between pixels, ink is interpolated linearly; outside the image
    there is none. An empty image stays as it is.

    Args:
        image: Pixels of 8 bits, or from 0 to 1; 0 is paper.

    Returns:
        Ink from 0 to 1.

    Example:
        >>> import jax.numpy as jnp
        >>> deslanted(jnp.eye(5)).round(2)[:, 2].tolist()  # a diagonal stroke
        [1.0, 1.0, 1.0, 1.0, 1.0]

    References:
        LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition, Proceedings of the IEEE
        86(11), section III-A (deslanted images). https://doi.org/10.1109/5.726791
    """
    pixels = from_pixels(image).reshape(image.shape[:2])
    rows, columns = jnp.indices(pixels.shape, dtype=jnp.float32)
    ink = pixels.sum() + _LEAST
    across = columns - jnp.sum(pixels * columns) / ink
    down = rows - jnp.sum(pixels * rows) / ink
    slant = jnp.sum(pixels * down * across) / (jnp.sum(pixels * down**2) + _LEAST)
    source = columns + slant * down + (columns - across - columns.mean())
    return jax.scipy.ndimage.map_coordinates(pixels, [rows, source], order=1)

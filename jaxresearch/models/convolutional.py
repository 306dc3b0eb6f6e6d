"""A small convolutional network."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxresearch.models.adapters.linen import linen
from jaxresearch.models.model import Model, require_sizes


class Cnn(nn.Module):
    """Blocks of 3 x 3 convolution, ReLU and 2 x 2 max pooling, then one hidden layer."""

    image_shape: tuple[int, int, int]
    channels: tuple[int, ...]
    hidden: int
    n_outputs: int

    @nn.compact
    def __call__(self, inputs):
        """Returns outputs ``(batch, n_outputs)``."""
        size, n_given = math.prod(self.image_shape), math.prod(inputs.shape[1:])
        if n_given != size:
            raise ValueError(
                f"images must have {size} pixels, {self.image_shape}, got {n_given}. Use card.feature_shape."
            )
        x = inputs.reshape(-1, *self.image_shape)
        for width in self.channels:
            x = nn.relu(nn.Conv(width, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), strides=(2, 2), padding="SAME")
        x = nn.relu(nn.Dense(self.hidden)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.n_outputs)(x)


def cnn(
    image_shape: tuple[int, int, int], n_outputs: int, *, channels: tuple[int, ...] = (32, 64), hidden: int = 128
) -> Model:
    """Returns a convolutional network for images: blocks of convolution, ReLU and max pooling, then two dense layers.

    Args:
        image_shape: Height and width in pixels, and channels; images may be flattened.
        n_outputs: Number of outputs.
        channels: Filters of each block; each block halves height and width, rounded up.
        hidden: Width of the hidden layer.

    Returns:
        The model.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = cnn((8, 8, 1), 10, channels=(4,), hidden=16)
        >>> outputs, _ = model.apply(*model.init(jax.random.key(0)), jnp.ones((2, 8, 8, 1)))
        >>> outputs.shape
        (2, 10)
    """
    sizes = {f"image_shape[{i}]": size for i, size in enumerate(image_shape)}
    widths = {f"channels[{i}]": width for i, width in enumerate(channels)}
    require_sizes(**sizes, **widths, n_outputs=n_outputs, hidden=hidden)
    module = Cnn(image_shape, tuple(channels), hidden, n_outputs)
    return linen(module, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))

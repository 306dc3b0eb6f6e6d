"""Small convolutional networks of images and of sequences."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxresearch.models.adapters.linen import linen
from jaxresearch.models.model import Model, images_of, require_sizes
from jaxresearch.models.patches import conv_general_dilated, max_pool


class Cnn(nn.Module):
    """Blocks of 3 x 3 convolution, ReLU and 2 x 2 max pooling, then one hidden layer."""

    image_shape: tuple[int, int, int]
    channels: tuple[int, ...]
    hidden: int
    n_outputs: int

    @nn.compact
    def __call__(self, inputs):
        """Returns outputs ``(batch, n_outputs)``."""
        x = images_of(inputs, self.image_shape)
        for width in self.channels:
            x = nn.relu(nn.Conv(width, (3, 3), conv_general_dilated=conv_general_dilated)(x))
            x = max_pool(x, (2, 2), strides=(2, 2), padding="SAME")
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


class SequenceCnn(nn.Module):
    """The best match of each filter along a sequence, then one hidden layer."""

    length: int
    n_features: int
    filters: int
    width: int
    hidden: int
    n_outputs: int

    @nn.compact
    def __call__(self, inputs):
        """Returns outputs ``(batch, n_outputs)``."""
        if inputs.shape[1:] != (self.length, self.n_features):
            raise ValueError(
                f"sequences must have shape {(self.length, self.n_features)}, got {inputs.shape[1:]}. Use card.feature_shape."
            )
        n_places = self.length - self.width + 1
        # A product with all windows: a convolution whose filters differ by run is several times slower on a CPU.
        windows = jnp.concatenate([inputs[:, i : i + n_places] for i in range(self.width)], axis=-1)
        best = nn.relu(nn.Dense(self.filters)(windows)).max(axis=1)
        x = nn.relu(nn.Dense(self.hidden)(best))
        return nn.Dense(self.n_outputs)(x)


def sequence_cnn(
    feature_shape: tuple[int, int], n_outputs: int, *, filters: int = 32, width: int = 15, hidden: int = 32
) -> Model:
    """Returns a convolutional network for sequences: filters, ReLU and the maximum over all places, then two dense layers.

    It finds patterns anywhere in a sequence, such as motifs in DNA.

    Args:
        feature_shape: Length of the sequences, and features per position, such as 4 for the bases of DNA.
        n_outputs: Number of outputs.
        filters: Number of filters.
        width: Positions that a filter reads; at most the length.
        hidden: Width of the hidden layer.

    Returns:
        The model.

    Raises:
        ValueError: If a size is not positive, or a filter is longer than the sequences.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = sequence_cnn((20, 4), 2, filters=8, width=5)
        >>> outputs, _ = model.apply(*model.init(jax.random.key(0)), jnp.ones((3, 20, 4)))
        >>> outputs.shape
        (3, 2)
    """
    sizes = {f"feature_shape[{i}]": size for i, size in enumerate(feature_shape)}
    require_sizes(**sizes, n_outputs=n_outputs, filters=filters, width=width, hidden=hidden)
    length, n_features = feature_shape
    if width > length:
        raise ValueError(
            f"width must be at most the length of the sequences, {length}, got {width}. Pass a smaller one."
        )
    module = SequenceCnn(length, n_features, filters, width, hidden, n_outputs)
    return linen(module, jax.ShapeDtypeStruct((1, length, n_features), jnp.float32))

"""A small residual network for images."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxresearch.models.adapters.linen import linen
from jaxresearch.models.model import Model, images_of, require_sizes
from jaxresearch.models.patches import conv_general_dilated

_GROUPS = 8  # of channels, normalised together


class Block(nn.Module):
    """Two convolutions, each after normalisation and ReLU, added to their input."""

    n_channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, images):
        """Returns images ``(batch, height, width, n_channels)``."""
        active = nn.relu(_normalised(images))
        changed = _convolution(self.n_channels, self.stride)(active)
        changed = _convolution(self.n_channels)(nn.relu(_normalised(changed)))
        if self.stride > 1 or images.shape[-1] != self.n_channels:
            images = nn.Dense(self.n_channels, use_bias=False)(active[:, :: self.stride, :: self.stride])
        return images + changed


class Residual(nn.Module):
    """A convolution, residual blocks, and a linear layer on the mean over all places."""

    image_shape: tuple[int, int, int]
    channels: tuple[int, ...]
    n_blocks: int
    n_outputs: int

    @nn.compact
    def __call__(self, inputs):
        """Returns outputs ``(batch, n_outputs)``."""
        x = _convolution(self.channels[0], name="stem")(images_of(inputs, self.image_shape))
        for stage, width in enumerate(self.channels):
            for place in range(self.n_blocks):
                stride = 2 if stage and not place else 1
                x = Block(width, stride, name=f"block_{stage * self.n_blocks + place}")(x)
        x = nn.relu(_normalised(x)).mean(axis=(1, 2))
        return nn.Dense(self.n_outputs, name="head")(x)


def _convolution(n_channels: int, stride: int = 1, *, name: str | None = None) -> nn.Conv:
    """Returns a 3 x 3 convolution of images padded with zeros, whose sides are divided by the stride and rounded up."""
    options = {"use_bias": False, "kernel_init": nn.initializers.he_normal(), "name": name}
    return nn.Conv(n_channels, (3, 3), stride, padding=1, conv_general_dilated=conv_general_dilated, **options)


def _normalised(images: jax.Array) -> jax.Array:
    """Returns images whose groups of channels have mean 0 and variance 1, scaled and shifted by channel."""
    return nn.GroupNorm(num_groups=math.gcd(_GROUPS, images.shape[-1]))(images)


def residual(
    image_shape: tuple[int, int, int], n_outputs: int, *, channels: tuple[int, ...] = (16, 32, 64), n_blocks: int = 1
) -> Model:
    r"""Returns a residual network for images: in each block, two convolutions are added to their input.

    .. math:: x \leftarrow x + C_2 \, a(C_1 \, a(x)), \quad a = \text{ReLU after normalisation}

    It normalises groups of channels of each image, not of the batch: outputs do not depend on the other images, and there are no
    running statistics.

    Args:
        image_shape: Height and width in pixels, and channels; images may be flattened.
        n_outputs: Number of outputs.
        channels: Channels of each stage; each stage after the first halves height and width, rounded up.
        n_blocks: Blocks of each stage.

    Returns:
        The model. Its layers are ``stem``, ``block_0``, ``block_1``, ... and ``head``.

    Raises:
        ValueError: If a size is not positive, or there is no stage.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = residual((8, 8, 1), 2, channels=(4, 8))
        >>> outputs, _ = model.apply(*model.init(jax.random.key(0)), jnp.ones((3, 8, 8, 1)))
        >>> outputs.shape
        (3, 2)

    References:
        He, Zhang, Ren and Sun (2016), Identity mappings in deep residual networks, ECCV, figure 1 (b).
        https://arxiv.org/abs/1603.05027
        Wu and He (2018), Group normalization, ECCV, equations 1 and 7. https://arxiv.org/abs/1803.08494
    """
    sizes = {f"image_shape[{i}]": size for i, size in enumerate(image_shape)}
    widths = {f"channels[{i}]": width for i, width in enumerate(channels)}
    require_sizes(**sizes, **widths, n_outputs=n_outputs, n_blocks=n_blocks)
    if not channels:
        raise ValueError("channels must hold a width for each stage, got none. Pass (16, 32, 64).")
    module = Residual(image_shape, tuple(channels), n_blocks, n_outputs)
    return linen(module, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))

"""Convolution and pooling as products and maxima of shifted images: XLA's own gradients of both are slow on CPUs."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Array:
    """Returns `jax.lax.conv_general_dilated`; on a CPU as one product of all patches of the images with the kernel.

    On CPUs, XLA takes several to 25 times as long for gradients of convolutions in compiled loops, such as those of training,
    and for kernels that differ by run. A single forward pass with many channels, outside of loops, is up to three times faster
    with XLA. Convolutions in groups and of dilated images, and those on other devices, by ``jax.default_backend()`` when a model
    is traced, are left to XLA. In Flax::

        nn.Conv(32, (3, 3), conv_general_dilated=models.conv_general_dilated)

    Args:
        lhs: Images, with any number of axes; in the order of axes of ``dimension_numbers``.
        rhs: The kernel.
        window_strides: Steps between places of the output, for each axis of the images.
        padding: ``"SAME"``, ``"VALID"``, or the padding at both ends of each axis.
        lhs_dilation: As for JAX.
        rhs_dilation: Steps between entries of the kernel.
        dimension_numbers: As for JAX: the order of the axes of images, kernel and results, such as ``("NHWC", "HWIO", "NHWC")``.
        feature_group_count: As for JAX.
        batch_group_count: As for JAX.
        precision: Of the product.
        preferred_element_type: Type of the result.
        out_sharding: As for JAX.

    Returns:
        The convolved images.

    Raises:
        ValueError: If the images and the kernel have different numbers of channels.

    Example:
        >>> images, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2))
        >>> conv_general_dilated(images, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")).shape
        (1, 2, 2, 2)
    """
    options = {"precision": precision, "preferred_element_type": preferred_element_type}
    groups = {"feature_group_count": feature_group_count, "batch_group_count": batch_group_count}
    is_plain = set(groups.values()) == {1} and set(lhs_dilation or ()) <= {1} and out_sharding is None
    if jax.default_backend() != "cpu" or not is_plain:
        layout = {"rhs_dilation": rhs_dilation, "dimension_numbers": dimension_numbers, "out_sharding": out_sharding}
        return jax.lax.conv_general_dilated(
            lhs, rhs, window_strides, padding, lhs_dilation, **layout, **groups, **options
        )
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    to_kernel = (*numbers.rhs_spec[2:], *numbers.rhs_spec[1::-1])  # places, channels, outputs
    images, kernel = lhs.transpose(_channels_last(numbers.lhs_spec)), rhs.transpose(to_kernel)
    if images.shape[-1] != kernel.shape[-2]:
        raise ValueError(
            f"images must have as many channels as the kernel, {kernel.shape[-2]}, got {images.shape[-1]}. Check the order "
            "of axes, dimension_numbers."
        )
    steps = rhs_dilation or (1,) * len(window_strides)
    sizes = [(size - 1) * step + 1 for size, step in zip(kernel.shape, steps, strict=False)]
    ends = _ends(images.shape[1:-1], sizes, window_strides, padding)
    images = jax.lax.pad(images, jnp.zeros((), images.dtype), ((0, 0, 0), *ends, (0, 0, 0)))
    # The last axis first, one after another: for k x k places, the gradient adds k arrays twice, not k * k.
    for axis in reversed(range(len(steps))):
        images = jnp.concatenate(_shifted(images, axis + 1, kernel.shape[axis], window_strides[axis], steps[axis]), -1)
    flat = kernel.reshape(-1, kernel.shape[-1])
    found = jnp.matmul(images, flat, **options)
    order = _channels_last(numbers.out_spec)
    return found.transpose([order.index(axis) for axis in range(found.ndim)])


def max_pool(
    images: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    *,
    padding: str | Sequence[tuple[int, int]] = "VALID",
) -> Array:
    """Returns the maximum of each window of images, as `flax.linen.max_pool`, by comparing shifted images.

    The gradient goes to the first maximum of a window, as that of XLA.

    Args:
        images: ``(batch, places..., channels)``.
        window_shape: Size of a window along each axis of places.
        strides: Steps between windows; 1 by default.
        padding: ``"SAME"``, ``"VALID"``, or the padding at both ends of each axis.

    Returns:
        ``(batch, places..., channels)``, with an entry for each window.

    Example:
        >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), (2, 2), (2, 2))[0, :, :, 0].tolist()
        [[5.0, 7.0], [13.0, 15.0]]
    """
    strides = strides or (1,) * len(window_shape)
    ends = _ends(images.shape[1:-1], window_shape, strides, padding)
    least = jnp.array(
        -jnp.inf if jnp.issubdtype(images.dtype, jnp.inexact) else jnp.iinfo(images.dtype).min, images.dtype
    )
    images = jax.lax.pad(images, least, ((0, 0, 0), *ends, (0, 0, 0)))
    for axis in reversed(range(len(window_shape))):
        shifted = _shifted(images, axis + 1, window_shape[axis], strides[axis])
        images = functools.reduce(_larger, shifted)
    return images


def _channels_last(axes: Sequence[int]) -> tuple[int, ...]:
    """Returns the axes of JAX's order, batch, channels and places, with the channels last."""
    return axes[0], *axes[2:], axes[1]


def _larger(best: Array, other: Array) -> Array:
    """Returns the larger entries, the first of equal ones, and nan where one is nan."""
    return jnp.where((best >= other) | jnp.isnan(best), best, other)


def _ends(shape: Any, sizes: Any, strides: Any, padding: Any) -> list[tuple[int, int, int]]:
    """Returns the padding at both ends of each axis, and none between entries."""
    pairs = jax.lax.padtype_to_pads(shape, sizes, strides, padding) if isinstance(padding, str) else padding
    return [(low, high, 0) for low, high in pairs]


def _shifted(images: Array, axis: int, n: int, stride: int, step: int = 1) -> list[Array]:
    """Returns what each of the n entries of a window sees along an axis, for all places of the window."""
    n_places = (images.shape[axis] - (n - 1) * step - 1) // stride + 1
    return [
        jax.lax.slice_in_dim(images, i * step, i * step + (n_places - 1) * stride + 1, stride, axis) for i in range(n)
    ]

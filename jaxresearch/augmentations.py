"""Image augmentations: pure functions ``(key, batch) -> batch``, to pass to `jaxresearch.training.supervised`.

Draws are independent for each example. ``batch["inputs"]`` are images ``(n, height, width, channels)``; the rest of the batch
is unchanged, except for the targets in `mixup`. `supervised` augments training batches only.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxresearch.gradients import Batch
from jaxresearch.models.model import from_pixels

Augmentation = Callable[[Key[Array, ""], Batch], Batch]


def shifted(max_pixels: int) -> Augmentation:
    """Returns the augmentation that shifts each image vertically and horizontally by whole pixels, filling with zeros.

    Args:
        max_pixels: The largest shift along an axis, 0 or more; all shifts up to it are equally likely.

    Returns:
        ``(key, batch) -> batch``.

    Raises:
        ValueError: If ``max_pixels`` is negative or, when called, if the inputs are not images.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> batch = {"inputs": jnp.ones((2, 5, 5, 1)), "targets": jnp.arange(2)}
        >>> shifted(2)(jax.random.key(0), batch)["inputs"].shape
        (2, 5, 5, 1)
    """
    return _windows("max_pixels", max_pixels, mode="constant")


def cropped(padding: int) -> Augmentation:
    """Returns the augmentation that pads each image by reflection and crops it at random to its original size.

    Args:
        padding: Pixels of padding on each side, 0 or more, below height and width.

    Returns:
        ``(key, batch) -> batch``.

    Raises:
        ValueError: If ``padding`` is negative or, when called, if the inputs are not images larger than it.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> bool((cropped(2)(jax.random.key(0), {"inputs": jnp.ones((2, 5, 5, 1))})["inputs"] == 1).all())
        True
    """
    return _windows("padding", padding, mode="reflect")


def flipped() -> Augmentation:
    """Returns the augmentation that flips each image horizontally with probability one half.

    Returns:
        ``(key, batch) -> batch``.

    Raises:
        ValueError: When called, if the inputs are not images.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> images = jnp.arange(4.0).reshape(1, 1, 4, 1)
        >>> flipped()(jax.random.key(1), {"inputs": images})["inputs"].ravel().tolist() in ([0, 1, 2, 3], [3, 2, 1, 0])
        True
    """

    def augment(key: Key[Array, ""], batch: Batch) -> Batch:
        images = _images(batch)
        is_mirrored = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
        return {**batch, "inputs": jnp.where(is_mirrored, images[:, :, ::-1], images)}

    return augment


def cutout(size: int) -> Augmentation:
    """Returns the augmentation that sets a random square of each image to zero, clipped at the edges of the image.

    Args:
        size: Side of the square in pixels, 0 or more. Its centre is any pixel of the image.

    Returns:
        ``(key, batch) -> batch``.

    Raises:
        ValueError: If ``size`` is negative or, when called, if the inputs are not images.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> float(cutout(1)(jax.random.key(0), {"inputs": jnp.ones((1, 5, 5, 1))})["inputs"].sum())
        24.0

    References:
        DeVries and Taylor (2017), Improved regularization of convolutional neural networks with cutout, section 3.2.
        https://arxiv.org/abs/1708.04552
    """
    _require_pixels("size", size)

    def augment(key: Key[Array, ""], batch: Batch) -> Batch:
        images = _images(batch)
        n, height, width, _ = images.shape
        tops, lefts = (
            jax.random.randint(own, (n, 1), 0, length) - size // 2
            for own, length in zip(jax.random.split(key), (height, width), strict=True)
        )
        in_rows = _within(tops, height, size)[:, :, None, None]
        in_columns = _within(lefts, width, size)[:, None, :, None]
        return {**batch, "inputs": jnp.where(in_rows & in_columns, jnp.zeros((), images.dtype), images)}

    return augment


def mixup(n_classes: int, *, alpha: float | Float[Array, ""] = 0.2) -> Augmentation:
    r"""Returns the augmentation that mixes each example with another of the batch, both inputs and one-hot targets.

    .. math:: \tilde x_i = \lambda_i x_i + (1 - \lambda_i) x_{\pi(i)}, \qquad \lambda_i \sim \mathrm{Beta}(\alpha, \alpha)

    The targets become probabilities ``(n, n_classes)``: train with `jaxresearch.losses.softmax_cross_entropy`. 8-bit pixels
    become float32 from 0 to 1, as models see them. Inputs need not be images.

    Args:
        n_classes: Number of classes, 1 or more.
        alpha: Parameter of the beta distribution, above 0; smaller values mix less. May be swept.

    Returns:
        ``(key, batch) -> batch``.

    Raises:
        ValueError: If ``n_classes`` or ``alpha`` is not positive or, when called, if the targets are neither classes ``(n,)`` nor
            probabilities ``(n, n_classes)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> batch = {"inputs": jnp.ones((3, 2)), "targets": jnp.array([0, 1, 1])}
        >>> mixed = mixup(2, alpha=1.0)(jax.random.key(0), batch)
        >>> mixed["targets"].shape, bool(jnp.allclose(mixed["targets"].sum(1), 1))
        ((3, 2), True)

    References:
        Zhang, Cissé, Dauphin and Lopez-Paz (2018), mixup: beyond empirical risk minimization, ICLR, equation 1.
        https://arxiv.org/abs/1710.09412
    """
    if n_classes < 1:
        raise ValueError(f"n_classes must be 1 or more, got {n_classes}. Pass card.n_classes.")
    if isinstance(alpha, int | float) and alpha <= 0:
        raise ValueError(f"alpha must be above 0, got {alpha}. Leave mixup out to mix no examples.")

    def augment(key: Key[Array, ""], batch: Batch) -> Batch:
        inputs, targets = (
            jnp.asarray(from_pixels(jnp.asarray(batch["inputs"]))),
            _probabilities(batch["targets"], n_classes),
        )
        partner_key, fraction_key = jax.random.split(key)
        partner = jax.random.permutation(partner_key, len(inputs))
        fraction = jax.random.beta(fraction_key, alpha, alpha, (len(inputs),), jnp.float32)
        return {**batch, "inputs": _mix(fraction, inputs, partner), "targets": _mix(fraction, targets, partner)}

    return augment


def chained(*augmentations: Augmentation) -> Augmentation:
    """Returns the augmentation that applies others in turn, each with its own key.

    Args:
        *augmentations: ``(key, batch) -> batch``.

    Returns:
        ``(key, batch) -> batch``; without augmentations, the identity.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> both = chained(flipped(), shifted(1))
        >>> both(jax.random.key(0), {"inputs": jnp.zeros((2, 3, 3, 1))})["inputs"].shape
        (2, 3, 3, 1)
    """

    def augment(key: Key[Array, ""], batch: Batch) -> Batch:
        for i, augmentation in enumerate(augmentations):
            batch = augmentation(jax.random.fold_in(key, i), batch)
        return batch

    return augment


def _windows(name: str, border: int, *, mode: str) -> Augmentation:
    """Returns the augmentation that pads each image and crops it at random to its original size."""
    _require_pixels(name, border)

    def augment(key: Key[Array, ""], batch: Batch) -> Batch:
        images = _images(batch)
        if mode == "reflect" and border >= min(images.shape[1:3]):
            raise ValueError(
                f"{name} must be below height and width, {images.shape[1]} and {images.shape[2]}, got {border}. Reduce it."
            )
        wide = jnp.pad(images, ((0, 0), (border, border), (border, border), (0, 0)), mode=mode)
        starts = jax.random.randint(key, (len(images), 2), 0, 2 * border + 1)

        def cut(image: Array, start: Array) -> Array:
            return jax.lax.dynamic_slice(image, (start[0], start[1], jnp.zeros_like(start[0])), images.shape[1:])

        return {**batch, "inputs": jax.vmap(cut)(wide, starts)}

    return augment


def _require_pixels(name: str, n: int) -> None:
    """Raises for a negative number of pixels."""
    if n < 0:
        raise ValueError(f"{name} must be 0 or more pixels, got {n}. Pass a small number, such as 2.")


def _images(batch: Batch) -> Array:
    """Returns the images of a batch."""
    images = jnp.asarray(batch["inputs"])
    if images.ndim != 4:
        raise ValueError(f"inputs must be images (n, height, width, channels), got shape {images.shape}. Reshape them.")
    return images


def _within(starts: Array, length: int, size: int) -> Array:
    """Returns which positions along an axis lie in the interval of each example, ``(n, length)``."""
    positions = jnp.arange(length)[None]
    return (positions >= starts) & (positions < starts + size)


def _probabilities(targets: Any, n_classes: int) -> Array:
    """Returns classes as one-hot probabilities, and probabilities as they are."""
    targets = jnp.asarray(targets)
    if targets.ndim == 1 and jnp.issubdtype(targets.dtype, jnp.integer):
        return jax.nn.one_hot(targets, n_classes)
    if targets.ndim != 2 or targets.shape[1] != n_classes:
        raise ValueError(
            f"targets must be classes (n,) or probabilities (n, {n_classes}), got {targets.dtype} of shape {targets.shape}. "
            "Use mixup for classification only."
        )
    return targets


def _mix(fraction: Array, values: Array, partner: Array) -> Array:
    """Returns each example mixed with its partner."""
    fraction = fraction.reshape(-1, *[1] * (values.ndim - 1)).astype(jnp.result_type(values, jnp.float32))
    return fraction * values + (1 - fraction) * values[partner]

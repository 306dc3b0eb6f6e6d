"""The interface between training and model libraries: two pure functions."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

Params = PyTree[Array]
ModelState = PyTree[Array]
Precision = Literal["float32", "bfloat16", "float16"]


class Model(NamedTuple):
    """A model as two pure functions.

    ``init(key) -> (params, model_state)`` draws the parameters. ``apply(params, model_state, inputs, key=None) ->
    (outputs, model_state)`` uses them: with a key in training mode (dropout from the key, updated batch statistics in the
    returned state), without one in evaluation mode (no dropout, running statistics, unchanged state).

    Image models and adapters treat uint8 inputs as pixels and convert them to float32 from 0 to 1 (`from_pixels`), so that
    images take a quarter of the memory until a step needs them. Transformers read integers of any type as tokens. Both trees
    hold only arrays, so they can be scanned, vmapped, saved and compared bit for bit. The state of a stateless model is an
    empty dict.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> double = Model(lambda key: (jnp.float32(2), {}), lambda params, state, inputs, key=None: (params * inputs, state))
        >>> params, model_state = double.init(jax.random.key(0))
        >>> double.apply(params, model_state, jnp.ones(2))[0].tolist()
        [2.0, 2.0]
    """

    init: Callable[..., tuple[Params, ModelState]]
    apply: Callable[..., tuple[Array, ModelState]]


def from_pixels(inputs: Array | np.ndarray) -> Array | np.ndarray:
    """Returns uint8 pixels as float32 from 0 to 1, and other inputs unchanged.

    Args:
        inputs: Pixels, or any other inputs of a model.

    Returns:
        ``inputs / 255`` for uint8, else ``inputs``.

    Example:
        >>> import jax.numpy as jnp
        >>> from_pixels(jnp.array([0, 255], jnp.uint8)).tolist()
        [0.0, 1.0]
    """
    return inputs.astype(jnp.float32) * jnp.float32(1 / 255) if inputs.dtype == jnp.uint8 else inputs


def images_of(inputs: Array | np.ndarray, image_shape: tuple[int, ...]) -> Array | np.ndarray:
    """Returns inputs in the shape of images, which may be flattened.

    Args:
        inputs: A batch.
        image_shape: Height, width and channels.

    Returns:
        Images ``(batch, height, width, channels)``.

    Raises:
        ValueError: If they have another number of pixels.

    Example:
        >>> images_of(jnp.ones((3, 8)), (4, 2, 1)).shape
        (3, 4, 2, 1)
    """
    size, n_given = math.prod(image_shape), math.prod(inputs.shape[1:])
    if n_given != size:
        raise ValueError(f"images must have {size} pixels, {image_shape}, got {n_given}. Use card.feature_shape.")
    return inputs.reshape(-1, *image_shape)


def require_sizes(**sizes: int) -> None:
    """Raises an error that names the first size that is not a positive integer.

    Args:
        **sizes: Sizes by argument name.

    Raises:
        ValueError: If one is below 1 or not an integer.

    Example:
        >>> require_sizes(n_features=784, n_outputs=0)
        Traceback (most recent call last):
        ...
        ValueError: n_outputs must be a whole number, 1 or more; got 0. Pass the size of the layer.
    """
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{name} must be a whole number, 1 or more; got {size!r}. Pass the size of the layer.")


def require_rate(dropout_rate: float, *, of: str) -> None:
    """Raises if a rate of dropout is out of range.

    Args:
        dropout_rate: Fraction to drop in training.
        of: What is dropped.

    Raises:
        ValueError: If the rate is below 0, or 1 or more.

    Example:
        >>> require_rate(1.0, of="units")
        Traceback (most recent call last):
        ...
        ValueError: dropout_rate must be at least 0 and below 1; got 1.0. It is a fraction of the units.
    """
    if not 0 <= dropout_rate < 1:
        raise ValueError(
            f"dropout_rate must be at least 0 and below 1; got {dropout_rate}. It is a fraction of the {of}."
        )


def require_choice(name: str, value: str, choices: Any) -> None:
    """Raises if the value of an option is not among its choices.

    Args:
        name: Name of the option.
        value: Its value.
        choices: A ``Literal`` of strings.

    Raises:
        ValueError: If the value is not among the choices.

    Example:
        >>> from typing import Literal
        >>> require_choice("pooling", "max", Literal["mean", "flatten"])
        Traceback (most recent call last):
        ...
        ValueError: pooling must be one of mean, flatten; got 'max'. Pass one of them.
    """
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}; got {value!r}. Pass one of them.")

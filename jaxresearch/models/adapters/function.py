"""Models written as plain functions."""

import inspect
from collections.abc import Callable
from typing import Any

from jaxtyping import Array, PyTree

from jaxresearch.models.model import Model, from_pixels


def function(init: Callable[..., PyTree[Array]], apply: Callable[..., Any]) -> Model:
    """Returns two plain functions as a `Model` without state.

    Args:
        init: ``(key) -> params``.
        apply: ``(params, inputs) -> outputs``, or ``(params, inputs, key) -> outputs``; the key is None in evaluation.

    Returns:
        The model.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> model = function(lambda key: jnp.float32(3), lambda slope, inputs: slope * inputs)
        >>> model.apply(*model.init(jax.random.key(0)), jnp.arange(3.0))[0].tolist()
        [0.0, 3.0, 6.0]
    """
    takes_key = len(inspect.signature(apply).parameters) > 2

    def apply_model(params, model_state, inputs, key=None):
        inputs = from_pixels(inputs)
        outputs = apply(params, inputs, key) if takes_key else apply(params, inputs)
        return outputs, model_state

    return Model(lambda key: (init(key), {}), apply_model)

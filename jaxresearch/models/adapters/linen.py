"""Models of Flax Linen, whose modules are descriptions and whose state is explicit: what the toolkit's own are made of."""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array

from jaxresearch.models.model import Model, from_pixels


def linen(module: nn.Module, example_inputs: jax.ShapeDtypeStruct | Array | np.ndarray) -> Model:
    """Returns a Linen module as a `Model`.

    The collection ``params`` becomes the parameters and all others (``batch_stats``) the model's state. A module whose
    ``__call__`` takes ``train`` is told whether it trains; a stream ``dropout`` is drawn from the key.

    Args:
        module: Called as ``module(inputs)`` or ``module(inputs, train=...)``.
        example_inputs: Shape and dtype of a batch; no values are read.

    Returns:
        The model.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import linen as nn
        >>> model = linen(nn.Dense(3), jax.ShapeDtypeStruct((1, 2), jnp.float32))
        >>> params, model_state = model.init(jax.random.key(0))
        >>> params["kernel"].shape, model_state
        ((2, 3), {})
    """
    takes_train = "train" in inspect.signature(type(module).__call__).parameters

    def call(train: bool) -> dict[str, Any]:
        return {"train": train} if takes_train else {}

    def init(key):
        inputs = jnp.zeros(example_inputs.shape, example_inputs.dtype)
        variables = module.init({"params": key}, inputs, **call(False))
        return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}

    def apply(params, model_state, inputs, key=None):
        inputs = from_pixels(inputs)
        variables = {"params": params, **model_state}
        if key is None:
            evaluated: Any = module.apply(variables, inputs, **call(False))
            return evaluated, model_state
        trained: Any = module.apply(variables, inputs, **call(True), rngs={"dropout": key}, mutable=list(model_state))
        outputs, updated = trained
        return outputs, {**model_state, **updated}

    return Model(init, apply)

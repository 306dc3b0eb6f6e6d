"""Models of Flax Linen, in which the models of this package are written."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import errors
from flax import linen as nn
from jaxtyping import Array

from jaxresearch.models.adapters.modes import RESTS, TRAINS, flags_of, mode
from jaxresearch.models.model import Model, from_pixels

_REMEDY = "Write a module whose __call__ takes train, and hand it on: nn.Dropout(rate, deterministic=not train)."


def linen(module: nn.Module, example_inputs: jax.ShapeDtypeStruct | Array | np.ndarray) -> Model:
    """Returns a Linen module as a `Model`.

    The collection ``params`` becomes the parameters and all others (``batch_stats``) the model's state. A module switches
    between training and evaluation by any of the flags ``train``, ``training``, ``is_training``, ``deterministic``,
    ``inference`` and ``use_running_average`` that its ``__call__`` takes; if it takes none, by those among its fields.

    In training every random stream that the module asks `flax.linen.Module.make_rng` for is drawn from the key; in evaluation
    there is none. `flax.linen.Module.has_rng` is true for the stream ``dropout`` only.

    Args:
        module: Called as ``module(inputs)`` with its flags.
        example_inputs: Shape and dtype of a batch; no values are read.

    Returns:
        The model.

    Raises:
        ValueError: If ``example_inputs`` is no array with a batch axis. When drawn, if the module has dropout, batch
            normalisation or spectral normalisation and no flag; when it evaluates, if it draws random numbers or changes state;
            when applied, if inputs have another number of features.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import linen as nn
        >>> model = linen(nn.Dense(3), jax.ShapeDtypeStruct((1, 2), jnp.float32))
        >>> params, model_state = model.init(jax.random.key(0))
        >>> params["kernel"].shape, model_state
        ((2, 3), {})
    """
    _require_batch(example_inputs)
    flags = flags_of(module)
    fields = () if flags else tuple(f.name for f in dataclasses.fields(module) if f.name in (*TRAINS, *RESTS))

    def of_mode(train: bool) -> tuple[nn.Module, dict[str, Any]]:
        return (module.clone(**mode(fields, train=train)) if fields else module), mode(flags, train=train)

    def init(key):
        dtype = jax.dtypes.canonicalize_dtype(example_inputs.dtype)  # NumPy's zeros are float64
        inputs, (resting, options) = jnp.zeros(example_inputs.shape, dtype), of_mode(train=False)
        with nn.intercept_methods(_pass if flags or fields else _refuse_modes):
            variables = resting.init({"params": key}, inputs, **options)
        return variables.get("params", {}), {name: tree for name, tree in variables.items() if name != "params"}

    def apply(params, model_state, inputs, key=None):
        inputs = from_pixels(inputs)
        variables, (moded, options) = {"params": params, **model_state}, of_mode(train=key is not None)
        try:
            if key is None:
                return _evaluated(moded, variables, inputs, options), model_state
            # Any other stream is drawn from that of `params`, which are already initialised.
            rngs = {"dropout": key, "params": jax.random.fold_in(key, _OTHERS)}
            trained: Any = moded.apply(variables, inputs, **options, rngs=rngs, mutable=list(model_state))
        except errors.ScopeParamShapeError as error:
            _require_features(inputs, example_inputs.shape, error)
            raise
        outputs, updated = trained
        return outputs, {**model_state, **updated}

    return Model(init, apply)


_OTHERS = 2**31 - 2  # folded into the key, so that other streams differ from dropout


def _require_batch(example_inputs: Any) -> None:
    """Raises for example inputs that are no batch, such as the shape of one example."""
    if getattr(example_inputs, "shape", ()):
        return
    is_shape = isinstance(example_inputs, tuple | list)
    got = f"the {type(example_inputs).__name__} {example_inputs!r}"
    sizes = ", ".join(map(str, example_inputs)) if is_shape else "n_features"
    raise ValueError(f"example_inputs must be an array with a batch axis, got {got}. Pass np.zeros((1, {sizes})).")


def _require_features(inputs: Array | np.ndarray, shape: tuple[int, ...], error: Exception) -> None:
    """Raises if examples have another size than those of the shape that the parameters were made for."""
    n, n_given = math.prod(shape[1:]), math.prod(inputs.shape[1:])
    if n != n_given:
        raise ValueError(f"inputs must have {n} features, got {n_given}. Use card.n_features.") from error


def _evaluated(
    module: nn.Module, variables: dict[str, Any], inputs: Array | np.ndarray, options: dict[str, Any]
) -> Any:
    """Returns the outputs without a key."""
    try:
        return module.apply(variables, inputs, **options)
    except (errors.InvalidRngError, errors.ModifyScopeVariableError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"a Linen module must not draw or change its state in evaluation; {type(module).__name__} did: {reason} {_REMEDY}"
        ) from error


def _pass(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Calls a method of a module."""
    del context
    return call(*args, **kwargs)


def _refuse_modes(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Calls a method of a module; raises if the module behaves differently in training but has no flag for it."""
    inner = context.module
    draws = isinstance(inner, nn.Dropout | nn.MultiHeadDotProductAttention)
    rate = getattr(inner, "rate", getattr(inner, "dropout_rate", 0.0)) if draws else 0.0
    never_draws = isinstance(rate, int | float) and rate == 0
    if not never_draws or isinstance(inner, nn.BatchNorm | nn.SpectralNorm):
        raise ValueError(
            f"a Linen module with {type(inner).__name__} must take one of {', '.join((*TRAINS, *RESTS))}; got one that takes "
            f"none, so that it would never train. {_REMEDY}"
        )
    return call(*args, **kwargs)

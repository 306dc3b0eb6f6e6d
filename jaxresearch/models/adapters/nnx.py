"""Models of Flax NNX, whose modules hold their arrays: split and merged at every call, which makes them pure."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx as flax_nnx

from jaxresearch.models.adapters.modes import flags_of, mode
from jaxresearch.models.model import Model, from_pixels

_ATTRIBUTES = ("training", "is_training", "inference")  # in addition to those of NNX; `train` is a method
_CALL = 2**31 - 2  # folded into the key, so that the streams of a call differ from those of the module


def nnx(make: Callable[[flax_nnx.Rngs], flax_nnx.Module]) -> Model:
    """Returns an NNX module as a `Model`.

    Its variables of type ``nnx.Param`` become the parameters and all others (batch statistics) the model's state. The
    states of its random streams are left out of both: they are counters, not parameters, and are derived from the key
    of each call, so a call depends on its arguments only.

    The module switches between training and evaluation by ``train()`` and ``eval()``, which set ``deterministic`` and
    ``use_running_average`` of all modules in it, and by any of the flags ``train``, ``training``, ``is_training``,
    ``deterministic``, ``inference`` and ``use_running_average`` that its ``__call__`` takes or (except for ``train``) its
    modules hold as attributes.

    Args:
        make: ``(rngs) -> module``; the module is called as ``module(inputs)`` with its flags, and with ``rngs`` if it takes them.

    Returns:
        The model.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx as flax_nnx
        >>> model = nnx(lambda rngs: flax_nnx.Linear(2, 3, rngs=rngs))
        >>> outputs, _ = model.apply(*model.init(jax.random.key(0)), jnp.ones((5, 2)))
        >>> outputs.shape
        (5, 3)
    """

    def split(module: flax_nnx.Module) -> Any:
        return flax_nnx.split(module, flax_nnx.RngState, flax_nnx.Param, ...)

    def init(key):
        _, _, params, model_state = split(make(flax_nnx.Rngs(key)))
        return flax_nnx.to_pure_dict(params), flax_nnx.to_pure_dict(model_state)

    def apply(params, model_state, inputs, key=None):
        # The structure of the module is found without computing: make() runs on shapes alone.
        abstract = flax_nnx.eval_shape(lambda: make(flax_nnx.Rngs(0)))
        graph, streams, param_types, state_types = split(abstract)
        streams = _seeded(streams, jax.random.key(0) if key is None else key)
        flax_nnx.replace_by_pure_dict(param_types, params)
        flax_nnx.replace_by_pure_dict(state_types, model_state)
        module = flax_nnx.merge(graph, streams, param_types, state_types)
        train = key is not None
        attributes = mode(_ATTRIBUTES, train=train)
        module.train(**attributes) if train else module.eval(**attributes)
        options: dict[str, Any] = mode(flags_of(module), train=train)
        if "rngs" in inspect.signature(type(module).__call__).parameters:
            options["rngs"] = flax_nnx.Rngs(jax.random.fold_in(key, _CALL) if train else jax.random.key(0))
        outputs = module(from_pixels(inputs), **options)
        if key is None:
            return outputs, model_state
        return outputs, flax_nnx.to_pure_dict(split(module)[3])

    return Model(init, apply)


def _seeded(streams: Any, key: jax.Array) -> Any:
    """Returns the random streams of a module, each with its own key and a count of zero."""
    leaves, treedef = jax.tree.flatten(streams)
    seeded = []
    for i, leaf in enumerate(leaves):
        is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        seeded.append(jax.random.fold_in(key, i) if is_key else jax.numpy.zeros(leaf.shape, leaf.dtype))
    return jax.tree.unflatten(treedef, seeded)

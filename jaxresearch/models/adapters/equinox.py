"""Models of Equinox, whose modules are pytrees of arrays and functions: the arrays are separated from the rest."""

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array

from jaxresearch.models.adapters.modes import flags_of, mode
from jaxresearch.models.model import Model, from_pixels


def equinox(make: Callable[..., Any]) -> Model:
    """Returns an Equinox module as a `Model`.

    The module sees one example at a time, as Equinox modules do: it is called as ``module(x, key=key)``, or as
    ``module(x, state, key=key)`` where ``make`` returns ``(module, state)`` (`equinox.nn.make_with_state`), with the batch
    axis named ``"batch"`` for `equinox.nn.BatchNorm`. Its inexact arrays are the parameters. It switches between training
    and evaluation by `equinox.nn.inference_mode`, and by any of the flags ``train``, ``training``, ``is_training``,
    ``deterministic`` and ``inference`` that its ``__call__`` takes.

    Args:
        make: ``(key) -> module`` or ``(key) -> (module, state)``.

    Returns:
        The model.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> model = equinox(lambda key: eqx.nn.MLP(2, 3, 8, 1, key=key))
        >>> outputs, _ = model.apply(*model.init(jax.random.key(0)), jnp.ones((5, 2)))
        >>> outputs.shape
        (5, 3)
    """

    def init(key):
        made = make(key)
        named = _named(made)
        module = made[0] if isinstance(made, tuple) else made
        trained = {id(leaf) for leaf in jax.tree.leaves(eqx.filter(module, eqx.is_inexact_array))}
        params = {name: leaf for name, leaf in named.items() if id(leaf) in trained}
        return params, {name: leaf for name, leaf in named.items() if name not in params}

    def apply(params, model_state, inputs, key=None):
        # The structure of the module is found without computing: make() runs on shapes alone.
        made = _filled(eqx.filter_eval_shape(make, jax.random.key(0)), {**params, **model_state})
        module, state = made if isinstance(made, tuple) else (made, None)
        module = eqx.nn.inference_mode(module, value=key is None)
        options = {"key": key} if "key" in inspect.signature(type(module).__call__).parameters else {}
        flags = mode(flags_of(module), train=key is not None)

        def one(x, state, options):
            options = {**options, **flags}
            return (module(x, **options), None) if state is None else module(x, state, **options)

        if key is not None:
            options = {name: jax.random.split(key, inputs.shape[0]) for name in options}
        over_batch = jax.vmap(one, (0, None, 0), (0, None), axis_name="batch")
        outputs, state = over_batch(from_pixels(inputs), state, options)
        if key is None or state is None:
            return outputs, model_state
        updated = _named((module, state))
        return outputs, {name: updated[name] for name in model_state}

    return Model(init, apply)


def _named(made: Any) -> dict[str, Array]:
    """Returns the arrays of what ``make`` returned, by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(made)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves if eqx.is_array(leaf)}


def _filled(abstract: Any, arrays: dict[str, Array]) -> Any:
    """Returns the module (and state) with arrays in the place of their shapes."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: arrays[jax.tree_util.keystr(path)] if isinstance(leaf, jax.ShapeDtypeStruct) else leaf,
        abstract,
    )

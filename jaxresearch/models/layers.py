"""The layers of a Linen model by name: cut it at one, or read the weights of its attention."""

import difflib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jaxresearch.models.attention import Attention, attention_weights_of
from jaxresearch.models.model import Model, ModelState, Params

Inputs = Array | np.ndarray


def layer_shapes(model: Model, params: Params, model_state: ModelState, inputs: Inputs) -> dict[str, tuple[int, ...]]:
    """Returns the layers of a Linen model and the shapes of their outputs, in the order in which they are computed.

    Args:
        model: A model of this package, or from `linen`.
        params: Its parameters.
        model_state: Its state.
        inputs: A batch; no values are read.

    Returns:
        The shape of each layer's outputs by its name, such as ``block_0/mix``.

    Example:
        >>> from jaxresearch import models
        >>> model = models.cnn((8, 8, 1), 10, channels=(4,), hidden=16)
        >>> layer_shapes(model, *model.init(jax.random.key(0)), jnp.ones((2, 8, 8, 1)))
        {'Conv_0': (2, 8, 8, 4), 'Dense_0': (2, 16), 'Dense_1': (2, 10)}
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        outputs = call(*args, **kwargs)
        if _is_layer(context) and hasattr(outputs, "shape"):
            shapes[_name(context)] = outputs.shape
        return outputs

    def apply(params: Params, model_state: ModelState, inputs: Inputs) -> Any:
        with nn.intercept_methods(record):
            return model.apply(params, model_state, inputs)[0]

    jax.eval_shape(apply, params, model_state, inputs)
    return shapes


def split_at(
    model: Model, params: Params, model_state: ModelState, *, layer: str
) -> tuple[Callable[[Inputs], Array], Callable[[Array, Inputs], Array]]:
    r"""Returns the two halves of a Linen model, before and after a layer.

    .. math:: \text{model}(x) = \text{after}(\text{before}(x), x)

    The second half also takes the inputs, since they may reach it on other ways than through the layer: the padding of tokens,
    residual connections. Under `jax.jit` it computes nothing that it does not use.

    Args:
        model: A model of this package, or from `linen`.
        params: Its parameters.
        model_state: Its state.
        layer: Name of the layer, from `layer_shapes`: ``"Conv_1"``, ``"embedded"`` for the embeddings of a transformer.

    Returns:
        ``before(inputs) -> activations`` and ``after(activations, inputs) -> outputs``, in evaluation mode.

    Raises:
        ValueError: When called, if there is no such layer, or ``before`` meets one that is rematerialised.

    Example:
        >>> from jaxresearch import models
        >>> model, inputs = models.mlp(4, (8,), 3), jnp.ones((2, 4))
        >>> params, model_state = model.init(jax.random.key(0))
        >>> before, after = split_at(model, params, model_state, layer="Dense_0")
        >>> before(inputs).shape, bool((after(before(inputs), inputs) == model.apply(params, model_state, inputs)[0]).all())
        ((2, 8), True)
    """

    def run(inputs: Inputs, swap: Callable[[Array], Array]) -> Array:
        met = []

        def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            outputs = call(*args, **kwargs)
            if not _is_layer(context):
                return outputs
            met.append(_name(context))
            return swap(outputs) if met[-1] == layer else outputs

        with nn.intercept_methods(intercept):
            outputs, _ = model.apply(params, model_state, inputs)
        if layer not in met:
            near = difflib.get_close_matches(layer, met, n=1)
            advice = f"Did you mean {near[0]!r}?" if near else "Pass one of them."
            names = [*dict.fromkeys(met)]
            known = (
                f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}" or "none, as only Linen models have any"
            )
            raise ValueError(f"layer must be one of the model's ({known}), got {layer!r}. {advice}")
        return outputs

    def before(inputs: Inputs) -> Array:
        seen = []

        def keep(outputs: Array) -> Array:
            seen.append(outputs)
            return outputs

        run(inputs, keep)
        return _readable(seen[-1])

    def after(activations: Array, inputs: Inputs) -> Array:
        return run(inputs, lambda outputs: activations.astype(outputs.dtype))

    return before, after


def attention_weights(
    model: Model, params: Params, model_state: ModelState, inputs: Inputs
) -> Float[Array, "layers batch heads n m"]:
    """Returns the weights of all attention layers of a transformer: how much each position reads from each other.

    They are recomputed from queries and keys, since training does not keep them.

    Args:
        model: A transformer of this package.
        params: Its parameters.
        model_state: Its state.
        inputs: Tokens ``(batch, length)``.

    Returns:
        Weights from 0 to 1; each row adds up to 1.

    Raises:
        ValueError: If the model has no attention, or rematerialises its blocks.

    Example:
        >>> from jaxresearch import models
        >>> model = models.decoder(9, models.TransformerSizes(context=4, width=8, n_layers=1, n_heads=2))
        >>> weights = attention_weights(model, *model.init(jax.random.key(0)), jnp.zeros((1, 2), int))
        >>> weights.shape, weights[0, 0, 0, 0].tolist()  # the first token reads itself alone
        ((1, 1, 2, 2, 2), [1.0, 0.0])
    """
    found = []

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, Attention) and context.method_name == "__call__":
            queries, keys, _, seen = args
            found.append(attention_weights_of(queries, keys, seen, causal=context.module.causal))
        return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        model.apply(params, model_state, inputs)
    if not found:
        raise ValueError(
            "model must be a transformer of this package, got one without attention. Pass models.classifier(...)."
        )
    return jnp.stack([_readable(weights) for weights in found])


def _is_layer(context: Any) -> bool:
    """Returns whether a call is that of a layer: of a module inside the model."""
    return context.method_name == "__call__" and bool(context.module.path)


def _name(context: Any) -> str:
    """Returns the name of a layer: the path to its parameters."""
    return "/".join(context.module.path)


def _readable(activations: Array) -> Array:
    """Returns activations; raises if they exist only inside a rematerialised part of the model."""
    try:
        return activations + jnp.zeros((), activations.dtype)
    except (TypeError, jax.errors.UnexpectedTracerError) as error:  # the first one outside of jit
        raise ValueError(
            "layers that are rematerialised cannot be read, got one of them. Make the model with remat='none': "
            "its parameters are the same."
        ) from error

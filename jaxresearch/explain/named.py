"""Attributions by the name of their method, one per place: a pixel, a letter, a token."""

import difflib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxresearch import models
from jaxresearch.explain.gradients import input_x_gradient, integrated_gradients, saliency, smoothgrad
from jaxresearch.explain.maps import grad_cam
from jaxresearch.explain.perturbation import occlusion
from jaxresearch.explain.scores import Target, baseline_of

METHODS = ("integrated_gradients", "saliency", "input_x_gradient", "smoothgrad", "occlusion", "grad_cam")
_WINDOWS = 14  # along each axis of an image
_NOISE = 0.15  # SmoothGrad: standard deviation of the noise, as a fraction of the range of an example, as in its paper


def attributions(
    key: Array,
    predict: Callable[[Any], Array],
    inputs: Array | np.ndarray,
    *,
    method: str = "integrated_gradients",
    target: Target = None,
    baseline: Any = 0,
    layer: str | None = None,
    batch_size: int | None = None,
) -> Float[Array, "examples *places"]:
    """Returns what each place of each example contributes to the score, by a method of `METHODS` with its usual numbers.

    ================================  =============================================================================
    inputs                            places
    ================================  =============================================================================
    images ``(n, h, w, channels)``    pixels: the sum over channels
    one-hot ``(n, length, letters)``  positions: the sum over letters
    tokens ``(n, length)``            positions: gradients are those of ``layer``, summed over its vectors
    ================================  =============================================================================

    Args:
        key: Random key, used by SmoothGrad.
        predict: ``inputs -> outputs``.
        inputs: Examples; integers are tokens.
        method: One of `METHODS`.
        target: What is explained, as in `integrated_gradients`.
        baseline: An input without information: a number, or one example.
        layer: Name of a layer of a Linen model: the embeddings of tokens, or the convolution that Grad-CAM reads.
        batch_size: Rows per call of ``predict``.

    Returns:
        One attribution for each place, signed, except that saliency and Grad-CAM are never negative.

    Raises:
        ValueError: If there is no such method or layer, or the inputs or the baseline do not fit the method.

    Example:
        >>> import jax
        >>> predict = lambda x: x.sum(axis=(1, 2)) * jnp.array([2.0])
        >>> attributions(jax.random.key(0), predict, jnp.ones((1, 2, 4)), method="occlusion").tolist()
        [[8.0, 8.0]]
    """
    require_method(method)
    inputs = jnp.asarray(inputs)
    is_float = jnp.issubdtype(inputs.dtype, jnp.floating)
    if layer is not None and (method == "occlusion" or (is_float and method != "grad_cam")):
        raise ValueError(
            f"layer must be left out for {method} of these inputs, got {layer!r}. Only grad_cam reads one."
        )
    options = {"target": target, "batch_size": batch_size}
    if method == "occlusion":
        found = occlusion(predict, inputs, window=_window(inputs.shape), baseline=baseline, **options)
        return found[..., 0] if found.ndim > 2 else found  # a window hides all channels together
    if method == "grad_cam":
        before, after = halves(predict, inputs, layer=layer, needed_by="grad_cam, such as Conv_0")
        activations = before(inputs)
        size = inputs.shape[1 : activations.ndim - 1]
        return grad_cam(after, activations, fixed=inputs, size=size, **options)
    if is_float:
        return _of_places(_gradients(key, method, predict, inputs, baseline=baseline, options=options))
    before, after = halves(predict, inputs, layer=layer, needed_by=f"{method} of tokens, such as embedded")
    vectors, start = before(inputs), before(baseline_of(inputs, baseline))
    if vectors.shape[:-1] != inputs.shape:
        raise ValueError(
            f"layer must have a vector for each token, {(*inputs.shape[1:], 'n')}, got {vectors.shape[1:]} of {layer}. "
            "Pass the layer of the embeddings."
        )
    options["fixed"] = inputs
    return _gradients(key, method, after, vectors, baseline=start, options=options).sum(axis=-1)


def require_method(method: str, *, methods: tuple[str, ...] = METHODS) -> None:
    """Raises for an unknown method, with the nearest name.

    Args:
        method: Its name.
        methods: The known names.

    Raises:
        ValueError: If it is not among them.

    Example:
        >>> require_method("salience")
        Traceback (most recent call last):
        ...
        ValueError: method must be one of integrated_gradients, saliency, input_x_gradient, smoothgrad, occlusion, grad_cam, got
        'salience'. Did you mean 'saliency'?
    """
    if method not in methods:
        near = difflib.get_close_matches(method, methods, n=1)
        advice = f"Did you mean {near[0]!r}?" if near else "Pass one of them."
        raise ValueError(f"method must be one of {', '.join(methods)}, got {method!r}. {advice}")


def halves(
    predict: Callable[[Any], Array], inputs: Array | np.ndarray, *, layer: str | None, needed_by: str
) -> tuple[Callable[[Any], Array], Callable[[Array, Any], Array]]:
    """Returns the two halves of a function that applies a Linen model, before and after a layer: `jaxresearch.models.split_at`.

    Args:
        predict: ``inputs -> outputs``.
        inputs: A batch; no values are read.
        layer: Name of the layer; None is refused.
        needed_by: What needs the layer, for the message.

    Returns:
        ``before(inputs) -> activations`` and ``after(activations, inputs) -> outputs``.

    Raises:
        ValueError: If ``layer`` is None, or there is no such layer.

    Example:
        >>> import jax
        >>> model, inputs = models.mlp(4, (8,), 3), jnp.ones((2, 4))
        >>> params, model_state = model.init(jax.random.key(0))
        >>> predict = lambda x: model.apply(params, model_state, x)[0]
        >>> before, after = halves(predict, inputs, layer="Dense_0", needed_by="this example")
        >>> before(inputs).shape
        (2, 8)
    """
    if layer is None:
        raise ValueError(
            f"layer must be given for {needed_by}, got none. models.layer_shapes lists the layers of a model."
        )
    return models.split_at(as_model(predict), {}, {}, layer=layer)


def as_model(predict: Callable[[Any], Array]) -> models.Model:
    """Returns a function of inputs as a model without parameters, whose layers can be listed and cut.

    Args:
        predict: ``inputs -> outputs``.

    Returns:
        The model.

    Example:
        >>> as_model(jnp.sin).apply({}, {}, jnp.zeros(2))[0].tolist()
        [0.0, 0.0]
    """
    return models.Model(
        lambda key: ({}, {}), lambda params, model_state, inputs, key=None: (predict(inputs), model_state)
    )


def _gradients(
    key: Array, method: str, predict: Callable[..., Array], inputs: Array, *, baseline: Any, options: dict[str, Any]
) -> Array:
    """Returns attributions of a method that differentiates, in the shape of the inputs."""
    if method == "smoothgrad":
        ranges = jnp.ptp(inputs, axis=tuple(range(1, inputs.ndim)))
        return smoothgrad(key, predict, inputs, noise_scale=_NOISE * ranges, **options)
    if method == "integrated_gradients":
        return integrated_gradients(predict, inputs, baseline=baseline, n_steps=128, **options)[0]
    fun: Callable[..., Array] = {"saliency": saliency, "input_x_gradient": input_x_gradient}[method]
    return fun(predict, inputs, **options)


def _of_places(found: Array) -> Array:
    """Returns attributions summed over channels or letters, if there are any."""
    return found.sum(axis=-1) if found.ndim > 2 else found


def _window(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns what is hidden at a time: a patch of an image, or one position."""
    return tuple(max(1, size // _WINDOWS) for size in shape[1:3]) if len(shape) == 4 else (1,)

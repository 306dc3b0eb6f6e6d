"""Maps of where a model looks: Grad-CAM at a layer of a convolutional network, attention rollout of a transformer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxresearch.explain.gradients import gradient
from jaxresearch.explain.scores import Target, scored
from jaxresearch.explain.streaming import in_batches


def grad_cam(
    after: Callable[..., Array],
    activations: Float[Array, "examples *places channels"],
    *,
    size: tuple[int, ...] | None = None,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Float[Array, "examples *size"]:
    r"""Returns Grad-CAM: where the channels of a layer that raise the score are active.

    .. math:: L = \max\left(0, \sum_k \alpha_k A_k\right), \quad
        \alpha_k = \frac{1}{|\text{places}|} \sum_p \frac{\partial f}{\partial A_{p k}}

    The layer is one of a convolutional network, often the last convolution::

        before, after = models.split_at(model, params, model_state, layer="Conv_1")
        grad_cam(after, before(images), fixed=images, target=3, size=(28, 28))

    Args:
        after: The network from the layer to the outputs: ``activations -> outputs``, or ``(activations, fixed) -> outputs``.
        activations: Outputs of the layer.
        size: Shape of the maps, such as the image's height and width, to which they are interpolated linearly. None keeps
            that of the layer.
        target: What is explained: a class, one for each example, or a function of the outputs.
        fixed: What ``after`` also takes: the images.
        batch_size: Examples per call of ``after``.

    Returns:
        One map for each example, 0 or more.

    Raises:
        ValueError: If the activations have no axis of places, or ``size`` has another number of axes.

    Example:
        >>> activations = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])  # one example, two places, two channels
        >>> grad_cam(lambda a: 2 * a[..., 0].sum(axis=1) - a[..., 1].sum(axis=1), activations).tolist()
        [[2.0, 0.0]]

    References:
        Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra (2017), Grad-CAM, ICCV, equations 1 and 2.
        https://arxiv.org/abs/1610.02391
    """
    score, rows = scored(after, activations, target=target, fixed=fixed)
    shape = rows.inputs.shape
    if len(shape) < 3:
        raise ValueError(
            f"activations must be (examples, places..., channels), got shape {shape}. Split the model at a convolution."
        )
    if size is not None and len(size) != len(shape) - 2:
        raise ValueError(
            f"size must have {len(shape) - 2} entries, as the places of the layer, got {size}. Correct it."
        )
    gradients = in_batches(lambda some: gradient(score, some), rows, batch_size=batch_size)
    importance = gradients.mean(axis=tuple(range(1, len(shape) - 1)), keepdims=True)
    maps = jax.nn.relu((importance * rows.inputs).sum(axis=-1))
    return maps if size is None else jax.image.resize(maps, (shape[0], *size), "linear")


def attention_rollout(
    weights: Float[Array | np.ndarray, "layers examples heads n n"], *, residual: float = 0.5
) -> Float[Array, "examples n n"]:
    r"""Returns how much each position of the last layer depends on each input, if attention alone carried information.

    .. math:: R = \bar W_L \cdots \bar W_1, \quad \bar W_l = r I + (1 - r) \, \text{mean over heads of } W_l

    It needs the weights, not the outputs, so it is the same for all classes::

        weights = models.attention_weights(model, params, model_state, tokens)
        attention_rollout(weights).mean(axis=1)  # a classifier that reads the mean over positions

    Args:
        weights: Attention weights of all layers, from the first; each row adds up to 1.
        residual: The part :math:`r` that the residual connection carries, 0 to 1.

    Returns:
        From each position (first axis) to the inputs; each row adds up to 1.

    Raises:
        ValueError: If the weights have another shape, or ``residual`` is not from 0 to 1.

    Example:
        >>> uniform = jnp.full((1, 1, 2, 2, 2), 0.5)
        >>> attention_rollout(uniform).tolist()
        [[[0.75, 0.25], [0.25, 0.75]]]

    References:
        Abnar and Zuidema (2020), Quantifying attention flow in transformers, ACL, equation 1.
        https://arxiv.org/abs/2005.00928
    """
    if jnp.ndim(weights) != 5 or weights.shape[3] != weights.shape[4]:
        raise ValueError(
            f"weights must be (layers, examples, heads, n, n), got shape {jnp.shape(weights)}. Use models.attention_weights."
        )
    if not 0 <= residual <= 1:
        raise ValueError(f"residual must be from 0 to 1, got {residual}. Pass 0.5.")
    heads = jnp.asarray(weights).mean(axis=2)
    identity = jnp.eye(heads.shape[-1], dtype=heads.dtype)[None]

    def through(rollout: Array, layer: Array) -> tuple[Array, None]:
        return (residual * identity + (1 - residual) * layer) @ rollout, None

    return jax.lax.scan(through, jnp.broadcast_to(identity, heads.shape[1:]), heads)[0]

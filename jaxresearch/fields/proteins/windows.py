"""The baseline of local windows: logistic regression on the residues around each one."""

import jax
import jax.numpy as jnp

from jaxresearch.fields.proteins.residues import N_TOKENS, PADDING
from jaxresearch.models import Model


def window_regression(n_classes: int, *, width: int = 17) -> Model:
    r"""Returns logistic regression of each residue's class on the residues of a window around it.

    .. math:: z_t = b + \sum_{j=-h}^{h} W_j[x_{t + j}], \quad h = (\text{width} - 1) / 2

    Args:
        n_classes: Number of classes.
        width: Residues of a window, an odd number; beyond the ends of a chain there is padding.

    Returns:
        The model; inputs ``(batch, length)`` tokens, outputs ``(batch, length, n_classes)``. All parameters start at zero.

    Raises:
        ValueError: If the width is not odd.

    Example:
        >>> model = window_regression(8)
        >>> params, _ = model.init(jax.random.key(0))
        >>> params["weights"].shape, model.apply(params, {}, jnp.zeros((2, 30), jnp.int8))[0].shape
        ((17, 23, 8), (2, 30, 8))

    References:
        Qian and Sejnowski (1988), Predicting the secondary structure of globular proteins using neural network models, J. Mol.
        Biol. 202(4) (windows of residues). https://doi.org/10.1016/0022-2836(88)90564-5
    """
    if width < 1 or width % 2 == 0:
        raise ValueError(f"width must be an odd number of residues, got {width}. Pass 17.")
    half = width // 2

    def init(key):
        del key  # nothing is drawn
        return {"weights": jnp.zeros((width, N_TOKENS, n_classes)), "bias": jnp.zeros(n_classes)}, {}

    def apply(params, model_state, inputs, key=None):
        length = inputs.shape[1]
        padded = jnp.pad(inputs, ((0, 0), (half, half)), constant_values=PADDING)
        # Products with one-hot vectors: the derivative of a gather is a scatter.
        scores = jnp.einsum("btn,jnc->jbtc", jax.nn.one_hot(padded, N_TOKENS), params["weights"])
        logits = sum(scores[place, :, place : place + length] for place in range(width))
        return logits + params["bias"][None, None], model_state

    return Model(init, apply)

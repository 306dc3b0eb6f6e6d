"""What the backward pass recomputes instead of keeping: policies by name, and the transformation of a model."""

from collections.abc import Callable
from typing import Any, Literal

import jax

from jaxresearch.models.model import Model, require_choice

Remat = Literal["none", "dots", "all"]

# What is kept besides the inputs: the results of products of activations with weights, or nothing.
POLICIES: dict[str, Callable[..., Any] | None] = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "all": None,
}


def rematerialised(model: Model, remat: Remat) -> Model:
    """Returns the model whose backward pass recomputes activations instead of keeping them; its values are the same.

    ==========  ==============================================  ==============================
    ``remat``   kept for the backward pass                      recomputed
    ==========  ==============================================  ==============================
    ``"none"``  all that it needs                               nothing
    ``"dots"``  results of products of activations and weights  everything else, which is cheap
    ``"all"``   inputs and parameters                           everything: one more forward pass
    ==========  ==============================================  ==============================

    ``"all"`` does not lower the peak of a single model, whose activations all come back at once in the backward pass; it pays
    off for a part of a larger model. For a transformer, pass ``remat`` to `TransformerSizes` instead, which applies it to each
    block.

    Args:
        model: The model.
        remat: What is recomputed.

    Returns:
        The model; unchanged for ``"none"``.

    Raises:
        ValueError: If ``remat`` is none of these.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxresearch import models
        >>> model = rematerialised(models.mlp(3, (8,), 2), "dots")
        >>> params, model_state = model.init(jax.random.key(0))
        >>> model.apply(params, model_state, jnp.ones((5, 3)))[0].shape
        (5, 2)

    References:
        Chen, Xu, Zhang and Guestrin (2016), Training deep nets with sublinear memory cost. https://arxiv.org/abs/1604.06174
    """
    require_choice("remat", remat, Remat)
    if remat == "none":
        return model
    return Model(model.init, jax.checkpoint(model.apply, policy=POLICIES[remat]))

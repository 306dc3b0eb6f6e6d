"""A model that begins where another has ended."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxresearch.models.model import Model


def warm_started(model: Model, pretrained: Any) -> Model:
    """Returns the model, which begins with the parameters of another where these have the same name.

    What the other model has besides (its head) is left aside, and what it lacks is drawn as ever. All members of an `ensemble` of
    the other's kind begin alike.

    Args:
        model: What begins anew.
        pretrained: Parameters of the other model, as its state holds them.

    Returns:
        The model with another ``init``.

    Raises:
        ValueError: When drawn: if an array of the same name has another shape (a vocabulary of another size, a wider
            model), or none has the same name.

    Example:
        >>> from jaxresearch import models
        >>> sizes = models.TransformerSizes(context=8, width=16, n_layers=1, n_heads=2)
        >>> other, _ = models.encoder(6, sizes).init(jax.random.key(7))
        >>> params, _ = warm_started(models.classifier(6, 3, sizes), other).init(jax.random.key(0))
        >>> bool((params["embedding"] == other["embedding"]).all()), params["head"]["kernel"].shape
        (True, (16, 3))

    References:
        Devlin, Chang, Lee and Toutanova (2019), BERT, NAACL, figure 1 (the same parameters start all tasks).
        https://arxiv.org/abs/1810.04805
    """
    named = dict(jax.tree_util.tree_leaves_with_path(pretrained))

    def begun(path: Any, fresh: Array) -> Array:
        if path not in named:
            return fresh
        if named[path].shape not in (fresh.shape, fresh.shape[1:]):
            raise ValueError(
                f"pre-trained parameters must fit the model; {jax.tree_util.keystr(path)} is {named[path].shape}, and must "
                f"be {fresh.shape}. Use the same vocabulary and sizes in both."
            )
        return jnp.broadcast_to(jnp.asarray(named[path], fresh.dtype), fresh.shape)

    def init(key):
        params, model_state = model.init(key)
        if not named.keys() & dict(jax.tree_util.tree_leaves_with_path(params)).keys():
            names = ", ".join(jax.tree_util.keystr(path) for path in list(named)[:3])
            raise ValueError(f"pre-trained parameters must share a name with the model's; got {names}. Pass its own.")
        return jax.tree_util.tree_map_with_path(begun, params), model_state

    return Model(init, model.apply)

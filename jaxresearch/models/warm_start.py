"""A model that begins where another has ended."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxresearch.models.model import Model


def warm_started(model: Model, pretrained: Any) -> Model:
    """Returns the model, which begins with the parameters of another where these have the same name.

    What the other model has besides (its head) is left aside, and what it lacks is drawn as ever. All members of an `ensemble` of
    the other's kind begin alike: then each array that both have lacks the axis of members.

    Args:
        model: What begins anew.
        pretrained: Parameters of the other model, as its state holds them.

    Returns:
        The model with another ``init``.

    Raises:
        ValueError: When drawn: if an array of the same name has another shape (a vocabulary of another size, other classes,
            a wider model), or none has the same name.

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

    def init(key):
        params, model_state = model.init(key)
        shared = {path: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if path in named}
        if not shared:
            names = ", ".join(jax.tree_util.keystr(path) for path in list(named)[:3])
            raise ValueError(f"pre-trained parameters must share a name with the model's; got {names}. Pass its own.")
        members = _members([(leaf.shape, named[path].shape) for path, leaf in shared.items()])

        def begun(path: Any, fresh: Array) -> Array:
            return _begun(path, fresh, named[path], len(members)) if path in named else fresh

        return jax.tree_util.tree_map_with_path(begun, params), model_state

    return Model(init, model.apply)


def _members(shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> tuple[int, ...]:
    """Returns the leading axis of an ensemble, where all the other model's arrays lack the same one."""
    lacking = {fresh[: max(len(fresh) - len(own), 0)] for fresh, own in shapes}
    axes = lacking.pop()
    return axes if not lacking and len(axes) == 1 else ()


def _begun(path: Any, fresh: Array, own: Array | np.ndarray, n_leading: int) -> Array:
    """Returns an array of the other model in the place of a fresh one, once a member."""
    expected = fresh.shape[n_leading:]
    if own.shape != expected:
        raise ValueError(
            f"pre-trained parameters must fit the model; {jax.tree_util.keystr(path)} is {own.shape}, and must be {expected}. "
            "Use the same vocabulary and sizes in both, or leave that array out of `pretrained`."
        )
    return jnp.broadcast_to(jnp.asarray(own, fresh.dtype), fresh.shape)

"""A reader that does not see all tokens."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxresearch.models.model import Model


def word_dropout(
    model: Model, *, rate: ArrayLike, token: int, maskable: Callable[[Array], Array] | None = None
) -> Model:
    """Returns a reader of tokens from which, where it is given a key, a share of them is hidden.

    Each token is replaced with probability ``rate``, apart from all others. So it learns not to lean on any one of them.

    Args:
        model: Reads tokens ``(batch, length)``, integers.
        rate: Probability of hiding a token, 0 to 1; may be traced.
        token: The id that stands for what is hidden.
        maskable: Tells of tokens ``(batch, length)`` which of them may be hidden (no padding, say); all unless given.

    Returns:
        The model; without a key it sees all tokens.

    Raises:
        ValueError: If ``rate`` is not from 0 to 1, or ``token`` is negative.

    Example:
        >>> from jaxresearch import models
        >>> counts = models.function(lambda key: {}, lambda params, tokens: (tokens == 9).sum(axis=-1))
        >>> model = word_dropout(counts, rate=0.25, token=9)
        >>> hidden, _ = model.apply({}, {}, jnp.zeros((2, 1000), int), jax.random.key(0))
        >>> bool((abs(hidden - 250) < 60).all()), model.apply({}, {}, jnp.zeros((2, 1000), int))[0].tolist()
        (True, [0, 0])

    References:
        Iyyer, Manjunatha, Boyd-Graber and Daume (2015), Deep unordered composition rivals syntactic methods for text
        classification, ACL, section 3.1. https://aclanthology.org/P15-1162
    """
    if isinstance(rate, int | float) and not 0 <= rate <= 1:
        raise ValueError(f"rate must be from 0 to 1; got {rate}. Pass 0.15 for 15 %.")
    if token < 0:
        raise ValueError(f"token must be 0 or more; got {token}. Pass the id that stands for what is hidden.")

    def apply(params, model_state, inputs, key=None):
        if key is None:
            return model.apply(params, model_state, inputs)
        of_tokens, of_model = jax.random.split(key)
        hidden = jax.random.bernoulli(of_tokens, rate, inputs.shape)
        hidden = hidden if maskable is None else hidden & maskable(inputs)
        tokens = inputs.astype(jnp.int32)  # which hold any token, as 8 bits do not
        return model.apply(params, model_state, jnp.where(hidden, token, tokens), of_model)

    return Model(model.init, apply)

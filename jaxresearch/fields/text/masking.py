"""Random masking of tokens, with the originals as targets, for masked language models."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int, Integer, Key

_UNCHOSEN = -1  # the target of a token that is not predicted
_MASK, _RANDOM = 0.8, 0.1  # fractions of the chosen tokens; the rest is left as it is


def masked_tokens(
    key: Key[Array, ""],
    tokens: Integer[Array, "*batch length"],
    *,
    n_tokens: int,
    mask_token: int,
    rate: ArrayLike = 0.15,
    span: int = 1,
    maskable: Bool[Array, "*batch length"] | None = None,
) -> tuple[Int[Array, "*batch length"], Int[Array, "*batch length"]]:
    """Returns tokens corrupted for a masked language model, and the originals of those to predict.

    A fraction ``rate`` of the tokens is chosen. Of these

    ======  ===================================================
    part    input
    ======  ===================================================
    80 %    ``mask_token``
    10 %    a random token, 0 to ``n_tokens - 1``
    10 %    the token itself, so that the model cannot tell which
    ======  ===================================================

    Overlapping k-mers (stride 1) contain each base k times, so a single masked one can be read off its neighbours. With
    ``span = k`` whole runs of k tokens are chosen, so that the base they all share is in no visible token. A run starts at
    any place with probability ``q = 1 - (1 - rate)**(1 / span)``, also up to ``span - 1`` places before the first token, so
    that every token, even at the edges, is chosen with probability ``1 - (1 - q)**span = rate``. Each run draws one of the
    three; where runs overlap, the mask takes precedence over a random token, and that over the token itself, so slightly
    more than 80 % are masks: ``1 - (1 - 0.8 q)**span`` of all.

    Args:
        key: Of the draw.
        tokens: Integers.
        n_tokens: Number of tokens that a random one is drawn from, 1 or more: without the specials, if these come last.
        mask_token: The id that stands for a hidden token.
        rate: Fraction of the tokens to choose, 0 to 1; may be traced.
        span: Tokens per run, 1 to the length.
        maskable: False where a token must stay and not be predicted (padding, specials); by default all may be chosen.

    Returns:
        The inputs, and the targets: the original token where it was chosen, -1 elsewhere; both int32.

    Raises:
        ValueError: If ``tokens`` are not integers or have no axis, ``maskable`` does not fit them, or a setting is out of
            range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> tokens = jnp.arange(1000) % 50
        >>> inputs, targets = masked_tokens(jax.random.key(0), tokens, n_tokens=50, mask_token=50)
        >>> bool(jnp.all(jnp.where(targets >= 0, targets, inputs) == tokens))
        True

    References:
        Devlin, Chang, Lee and Toutanova (2019), BERT, NAACL, section 3.1 (80, 10, 10).
        https://arxiv.org/abs/1810.04805
        Ji, Zhou, Liu and Davuluri (2021), DNABERT, Bioinformatics 37(15), section 2.3 (contiguous k-mers are masked).
        https://doi.org/10.1093/bioinformatics/btab083
    """
    _check(tokens, maskable, n_tokens, mask_token, rate, span)
    length = tokens.shape[-1]
    run_key, token_key = jax.random.split(key)
    # One number decides each run: below 0.8 q mask, below 0.9 q random, below q itself. The smallest number of the runs
    # that cover a token therefore decides the token, in the order of precedence.
    runs = jax.random.uniform(run_key, (*tokens.shape[:-1], length + span - 1))
    least = functools.reduce(jnp.minimum, [runs[..., i : i + length] for i in range(span)])
    q = -jnp.expm1(jnp.log1p(-jnp.asarray(rate, runs.dtype)) / span)
    chosen = (least < q) if maskable is None else (least < q) & maskable
    tokens = tokens.astype(jnp.int32)
    # The remainder favours the first tokens by n_tokens / 2**32: negligible, and cheaper than the second draw of randint.
    random = (jax.random.bits(token_key, tokens.shape, jnp.uint32) % n_tokens).astype(jnp.int32)
    corrupted = jnp.where(least < _MASK * q, mask_token, jnp.where(least < (_MASK + _RANDOM) * q, random, tokens))
    return jnp.where(chosen, corrupted, tokens), jnp.where(chosen, tokens, _UNCHOSEN)


def masked_examples(
    key: Key[Array, ""], tokens: ArrayLike, **corruption: Any
) -> dict[str, Int[np.ndarray, "n length"]]:
    """Returns tokens of which some are hidden once and for all: a part of data to evaluate a masked language model on.

    Args:
        key: Of the draw.
        tokens: Integers.
        **corruption: As for `masked_tokens`.

    Returns:
        ``inputs``, corrupted, and ``targets``, the originals where they are to be predicted and -1 elsewhere; on the host.

    Raises:
        ValueError: As for `masked_tokens`.

    Example:
        >>> import jax
        >>> part = masked_examples(jax.random.key(0), [[1, 2, 3]], n_tokens=4, mask_token=4, rate=1.0)
        >>> part["targets"].tolist()
        [[1, 2, 3]]
    """
    inputs, targets = masked_tokens(key, jnp.asarray(tokens), **corruption)
    return {"inputs": np.asarray(inputs), "targets": np.asarray(targets)}


def _check(tokens: Array, maskable: Array | None, n_tokens: int, mask_token: int, rate: ArrayLike, span: int) -> None:
    """Raises at the first argument that is invalid."""
    if not jnp.issubdtype(tokens.dtype, jnp.integer) or not tokens.ndim:
        raise ValueError(
            f"tokens must be integers (..., length); got {tokens.dtype} of shape {tokens.shape}. Pass ids of tokens."
        )
    if maskable is not None and (maskable.shape != tokens.shape or maskable.dtype != jnp.bool_):
        raise ValueError(
            f"maskable must be bool of shape {tokens.shape}; got {maskable.dtype} of shape {maskable.shape}. "
            "Pass one boolean per token."
        )
    if n_tokens < 1:
        raise ValueError(f"n_tokens must be 1 or more; got {n_tokens}. Pass the number of ordinary tokens.")
    if mask_token < 0:
        raise ValueError(f"mask_token must be 0 or more; got {mask_token}. Pass the id of the special token.")
    if not 1 <= span <= max(tokens.shape[-1], 1):
        raise ValueError(f"span must be from 1 to the length, {tokens.shape[-1]}; got {span}. Pass a shorter run.")
    if isinstance(rate, int | float) and not 0 <= rate <= 1:
        raise ValueError(f"rate must be from 0 to 1; got {rate}. Pass 0.15 for 15 %.")

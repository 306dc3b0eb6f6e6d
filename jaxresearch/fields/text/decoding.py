"""Decoding: greedy, sampled or by beam search, for many prompts at once, as pure functions for `jax.jit`.

The model is `jaxresearch.models.cached_decoder`: its state caches the tokens seen, so that each new one costs one position, not
all of them. Where the logits are not finite (a token outside the vocabulary, a full context), the output is -1.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Key, PyTree

from jaxresearch import models
from jaxresearch.fields.text.sequences import pad
from jaxresearch.models import Model, TransformerSizes

Chooser = Callable[[Key[Array, ""], Float[Array, "rows tokens"]], Int[Array, " rows"]]
_NO_TOKEN = -1  # where the logits are not finite: argmax would return 0, a valid token


class Constraint(NamedTuple):
    """Which tokens may come next, as pure functions of what is known of one text; they are vmapped over texts.

    Attributes:
        init: ``() -> state`` of a text without tokens; a pytree of arrays.
        allowed: ``state -> (n_tokens,)``, booleans; true for one or more, until the text has ended.
        advance: ``(state, token) -> state``.
    """

    init: Callable[[], PyTree[Array]]
    allowed: Callable[[PyTree[Array]], Bool[Array, " tokens"]]
    advance: Callable[[PyTree[Array], Int[Array, ""]], PyTree[Array]]


def greedy() -> Chooser:
    """Returns the rule that chooses the likeliest token; the key is not used.

    Returns:
        ``(key, logits) -> tokens``, for `generate`.

    Example:
        >>> greedy()(jax.random.key(0), jnp.array([[0.0, 2.0, 1.0]])).tolist()
        [1]
    """
    return lambda key, logits: jnp.argmax(logits, axis=-1).astype(jnp.int32)


def sampling(
    *, temperature: float | Float[Array, ""] = 1.0, top_k: int | None = None, top_p: float | Float[Array, ""] = 1.0
) -> Chooser:
    r"""Returns the rule that draws a token from the softmax of the logits divided by a temperature.

    Args:
        temperature: Positive; may be traced. Near 0 the choice is the greedy one.
        top_k: Draw from the ``k`` likeliest tokens only; from all by default.
        top_p: Draw from the likeliest tokens that together reach this probability only; above 0 and at most 1, may be traced.
            It is applied after ``top_k``.

    Returns:
        ``(key, logits) -> tokens``, for `generate`.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> draw = sampling(temperature=0.7, top_k=2)
        >>> {int(draw(jax.random.key(seed), jnp.array([[0.0, 2.0, 1.0]]))[0]) for seed in range(50)}
        {1, 2}

    References:
        Fan, Lewis and Dauphin (2018), Hierarchical neural story generation, ACL (top k). https://arxiv.org/abs/1805.04833
        Holtzman, Buys, Du, Forbes and Choi (2020), The curious case of neural text degeneration, ICLR, section 3.1
        (top p). https://arxiv.org/abs/1904.09751
    """
    if isinstance(temperature, int | float) and not temperature > 0:
        raise ValueError(f"temperature must be positive; got {temperature}. Use greedy() for the likeliest token.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be 1 or more; got {top_k}. Leave it out to draw from all tokens.")
    if isinstance(top_p, int | float) and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1; got {top_p}. It is a probability.")

    draws_from_all = top_k is None and isinstance(top_p, int | float) and top_p == 1

    def choose(key, logits):
        logits = logits / temperature
        if draws_from_all:
            return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)
        likeliest, tokens = jax.lax.top_k(logits, min(top_k or logits.shape[-1], logits.shape[-1]))
        shares = jax.nn.softmax(likeliest, axis=-1)
        is_in = jnp.cumsum(shares, axis=-1) - shares < top_p
        drawn = jax.random.categorical(key, jnp.where(is_in, likeliest, -jnp.inf), axis=-1)
        return jnp.take_along_axis(tokens, drawn[:, None], axis=-1)[:, 0].astype(jnp.int32)

    return choose


def generate(
    key: Key[Array, ""],
    params: PyTree[Array],
    model_state: PyTree[Array],
    prompts: Integer[Array, "rows length"],
    *,
    model: Model,
    n_new: int,
    choose: Chooser,
    end: int | None = None,
    constraint: Constraint | None = None,
) -> Int[Array, "rows n_new"]:
    """Returns the tokens that follow each prompt.

    Args:
        key: Of the draws; token ``t`` is drawn with ``fold_in(key, t)``.
        params: Of the decoder.
        model_state: Its empty cache, as its ``init`` gives it. If it holds tokens, the prompts continue
            them; past the end of the context, -1 is written.
        prompts: One per row; shorter ones start with the model's padding.
        model: A `jaxresearch.models.cached_decoder` with as many rows.
        n_new: Tokens to write, 1 or more; static.
        choose: `greedy` or `sampling`.
        end: The token that ends a text; what follows it is ``end`` again.
        constraint: Which of the new tokens are allowed; all by default. ``choose`` sees a logit of minus infinity for the others.

    Returns:
        The new tokens only, int32; -1 from where a row's logits stop being finite, which is everywhere if its prompt
        holds a token outside the vocabulary.

    Raises:
        ValueError: If a prompt is empty, prompt and new tokens (except the last, which is not read) exceed the context,
            ``end`` is not a token, or the model has no cache with as many rows.

    Example:
        >>> from jaxresearch import models
        >>> sizes = models.TransformerSizes(context=8, width=16, n_layers=1, n_heads=2)
        >>> model = models.cached_decoder(65, sizes, n_rows=2)
        >>> params, cache = jax.jit(model.init)(jax.random.key(0))
        >>> prompts = jnp.array([[1, 2], [3, 4]])
        >>> generate(jax.random.key(1), params, cache, prompts, model=model, n_new=6, choose=greedy()).shape
        (2, 6)
    """
    prompts = jnp.asarray(prompts)
    logits, cache = _prefilled(params, model_state, prompts, model, n_new)
    _require_end(end, logits.shape[-1])

    def chosen(place, logits, has_ended, known):
        """Returns the next tokens, which texts have ended, and what the constraint knows of them."""
        if constraint is not None:
            logits = jnp.where(jax.vmap(constraint.allowed, axis_size=len(prompts))(known), logits, -jnp.inf)
        tokens = _or_end(_or_none(choose(jax.random.fold_in(key, place), logits), logits), has_ended, end)
        if constraint is not None:
            known = jax.vmap(constraint.advance)(known, tokens)
        return tokens, _has_ended(tokens, has_ended, end), known

    def write(carry, place):
        cache, (tokens, has_ended, known) = carry
        logits, cache = model.apply(params, cache, tokens[:, None])
        carry = (cache, chosen(place, logits[:, -1], has_ended, known))
        return carry, carry[1][0]

    known = () if constraint is None else jax.vmap(lambda _: constraint.init())(prompts)
    start = chosen(0, logits, jnp.zeros(len(prompts), bool), known)
    first = start[0]
    _, rest = jax.lax.scan(write, (cache, start), jnp.arange(1, n_new))
    return jnp.concatenate([first[:, None], rest.T], axis=1)


def complete(
    key: Key[Array, ""],
    params: PyTree[Array],
    prompts: Sequence[Any],
    *,
    n_tokens: int,
    sizes: TransformerSizes,
    n_new: int,
    choose: Chooser,
    end: int | None = None,
    constraint: Constraint | None = None,
) -> Int[Array, "rows n_new"]:
    """Returns the tokens that a trained decoder generates after prompts of any length.

    It calls `generate` with a suitable `jaxresearch.models.cached_decoder`, and pads the prompts on the left.

    Args:
        key: Of the draws.
        params: Of the decoder.
        prompts: One or more lists or arrays of token ids, on the host: jit the function over key and params.
        n_tokens: Size of the decoder's vocabulary.
        sizes: Those of training. With rotary positions, texts may be longer than the context; with learnt ones, they may not.
        n_new: Tokens to write, 1 or more; static.
        choose: `greedy` or `sampling`.
        end: The token that ends a text; what follows it is ``end`` again.
        constraint: Which of the new tokens are allowed; all by default. ``choose`` sees a logit of minus infinity for the others.

    Returns:
        The new tokens only, as returned by `generate`.

    Raises:
        ValueError: As for `generate`.

    Example:
        >>> from jaxresearch import models
        >>> sizes = models.TransformerSizes(context=8, width=16, n_layers=1, n_heads=2)
        >>> params, _ = jax.jit(models.decoder(65, sizes).init)(jax.random.key(0))
        >>> complete(jax.random.key(1), params, [[1, 2], [3]], n_tokens=65, sizes=sizes, n_new=6, choose=greedy()).shape
        (2, 6)
    """
    padding = -1 if sizes.padding is None else sizes.padding
    rows = pad(prompts, padding=padding, side="left")
    context = sizes.context if sizes.positions == "learnt" else rows.shape[1] + n_new
    sizes = dataclasses.replace(sizes, context=context, padding=padding)
    model = models.cached_decoder(n_tokens, sizes, n_rows=len(rows))
    _, cache = jax.eval_shape(model.init, jax.random.key(0))
    empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), cache)
    return generate(
        key, params, empty, jnp.asarray(rows), model=model, n_new=n_new, choose=choose, end=end, constraint=constraint
    )


def beam_search(
    params: PyTree[Array],
    model_state: PyTree[Array],
    prompts: Integer[Array, "rows length"],
    *,
    model: Model,
    n_new: int,
    width: int,
    end: int | None = None,
    length_penalty: float | Float[Array, ""] = 0.0,
) -> tuple[Int[Array, "rows width n_new"], Float[Array, "rows width"]]:
    r"""Returns the likeliest continuations of each prompt found by beam search, best first.

    At each token the ``width`` likeliest continuations of the beam are kept. At the end they are ranked by

    .. math:: \log p(y) / ((5 + |y|) / 6)^\alpha

    where :math:`|y|` counts the tokens up to and including ``end``. A beam of width 1 is the greedy choice.

    Args:
        params: Of the decoder.
        model_state: Its empty cache, as its ``init`` gives it. If it holds tokens, the prompts continue
            them; past the end of the context, -1 is written.
        prompts: One per row; shorter ones start with the model's padding.
        model: A `jaxresearch.models.cached_decoder` with ``width`` rows per prompt.
        n_new: Tokens to write, 1 or more; static.
        width: Continuations to keep, 1 or more; if there are fewer, the rest have a log probability of minus infinity.
        end: The token that ends a text; what follows it is ``end`` again, and costs nothing.
        length_penalty: The exponent :math:`\alpha`: 0 ranks by probability alone, a larger one prefers longer texts.

    Returns:
        The new tokens of each continuation, int32, and their log probabilities in nats, without the penalty. Where logits
        are not finite: -1 as for `generate`, and a log probability of nan.

    Raises:
        ValueError: As for `generate`; also if the width is below 1.

    Example:
        >>> from jaxresearch import models
        >>> sizes = models.TransformerSizes(context=8, width=16, n_layers=1, n_heads=2)
        >>> model = models.cached_decoder(65, sizes, n_rows=2 * 3)
        >>> params, cache = jax.jit(model.init)(jax.random.key(0))
        >>> texts, scores = beam_search(params, cache, jnp.array([[1, 2], [3, 4]]), model=model, n_new=6, width=3)
        >>> texts.shape, bool((scores[:, 0] >= scores[:, 1]).all())
        ((2, 3, 6), True)

    References:
        Wu et al. (2016), Google's neural machine translation system, equation 14 (length).
        https://arxiv.org/abs/1609.08144
        Sutskever, Vinyals and Le (2014), Sequence to sequence learning with neural networks, NeurIPS, section 3.2 (beam).
        https://arxiv.org/abs/1409.3215
    """
    if width < 1:
        raise ValueError(f"width must be 1 or more; got {width}. Pass the number of texts to keep.")
    prompts = jnp.asarray(prompts)
    n_prompts = len(prompts)
    logits, cache = _prefilled(params, model_state, jnp.repeat(prompts, width, axis=0), model, n_new)
    n_tokens = logits.shape[-1]
    _require_end(end, n_tokens)

    def of_prompts(leaf: Array) -> Array:
        return leaf.reshape(n_prompts, width, *leaf.shape[1:])

    # All texts of a prompt are equal at first: only one of them may be continued.
    scores = jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf)[None].repeat(n_prompts, axis=0)
    texts = jnp.zeros((n_prompts, width, n_new), jnp.int32)
    lengths, has_ended = jnp.zeros((n_prompts, width), jnp.int32), jnp.zeros((n_prompts, width), bool)

    def extended(place, logits, scores, texts, lengths, has_ended):
        """Returns the beam after one more token, and the index of the text that each of its texts continues."""
        steps = jax.nn.log_softmax(of_prompts(logits), axis=-1)
        if end is not None:
            only_end = jnp.where(jnp.arange(n_tokens) == end, 0.0, -jnp.inf)[None, None]
            steps = jnp.where(has_ended[..., None], only_end, steps)
        scores, best = jax.lax.top_k((scores[..., None] + steps).reshape(n_prompts, -1), width)
        parents, tokens = best // n_tokens, jnp.where(jnp.isnan(scores), _NO_TOKEN, best % n_tokens).astype(jnp.int32)
        texts, lengths, has_ended = (_of_parents(leaf, parents) for leaf in (texts, lengths, has_ended))
        texts = texts.at[:, :, place].set(tokens)
        return (scores, texts, lengths + ~has_ended, _has_ended(tokens, has_ended, end)), parents

    beam, parents = extended(0, logits, scores, texts, lengths, has_ended)

    def write(carry, place):
        cache, beam, parents = carry
        rows = (jnp.arange(n_prompts)[:, None] * width + parents).ravel()
        cache = jax.tree.map(lambda leaf: leaf[rows] if leaf.ndim else leaf, cache)
        last = jnp.take(beam[1], place - 1, axis=2)
        logits, cache = model.apply(params, cache, last.reshape(-1, 1))
        beam, parents = extended(place, logits[:, -1], *beam)
        return (cache, beam, parents), None

    (_, (scores, texts, lengths, _), _), _ = jax.lax.scan(write, (cache, beam, parents), jnp.arange(1, n_new))
    ranks = jnp.argsort(-scores / ((5 + lengths) / 6) ** length_penalty, axis=1, stable=True)
    return _of_parents(texts, ranks), _of_parents(scores, ranks)


def _prefilled(
    params: PyTree[Array], cache: PyTree[Array], prompts: Integer[Array, "rows length"], model: Model, n_new: int
) -> tuple[Float[Array, "rows tokens"], Any]:
    """Returns the logits of the first new token, and the cache that holds the prompts."""
    if prompts.ndim != 2 or prompts.shape[1] < 1:
        raise ValueError(f"prompts must be tokens (rows, length), not empty; got {prompts.shape}. Give each a token.")
    if n_new < 1:
        raise ValueError(f"n_new must be 1 or more; got {n_new}. Pass the number of tokens to generate.")
    if "is_real" not in cache:
        raise ValueError(f"the decoder must have a cache; its state holds {sorted(cache)}. Pass a cached_decoder.")
    n_rows, context = cache["is_real"].shape
    if len(prompts) != n_rows:
        raise ValueError(f"the decoder must have a row for each text, {len(prompts)}; it has {n_rows}. Pass n_rows.")
    if prompts.shape[1] + n_new - 1 > context:  # the last is not read again
        raise ValueError(
            f"prompt and new tokens but one must fit the context of {context}; got {prompts.shape[1]} + {n_new}. Write fewer."
        )
    logits, cache = model.apply(params, cache, prompts)
    return logits[:, -1], cache


def _require_end(end: int | None, n_tokens: int) -> None:
    """Raises if the token that ends a text is outside the vocabulary."""
    if end is not None and not 0 <= end < n_tokens:
        raise ValueError(
            f"end must be a token, from 0 to {n_tokens - 1}; got {end}. Leave it out to write to the last place."
        )


def _or_none(tokens: Int[Array, " rows"], logits: Float[Array, "rows tokens"]) -> Int[Array, " rows"]:
    """Returns the tokens, and -1 where the largest logit is not finite."""
    return jnp.where(jnp.isfinite(logits.max(axis=-1)), tokens, _NO_TOKEN)


def _or_end(tokens: Int[Array, " rows"], has_ended: Array, end: int | None) -> Int[Array, " rows"]:
    """Returns the tokens, and ``end`` where a text has already ended."""
    return tokens if end is None else jnp.where(has_ended, end, tokens)


def _has_ended(tokens: Int[Array, "*rows"], has_ended: Array, end: int | None) -> Array:
    """Returns which texts have ended."""
    return has_ended if end is None else has_ended | (tokens == end)


def _of_parents(leaf: Array, parents: Int[Array, "prompts width"]) -> Array:
    """Returns the values of the text that each text continues."""
    return jnp.take_along_axis(leaf, parents.reshape(*parents.shape, *(1,) * (leaf.ndim - 2)), axis=1)

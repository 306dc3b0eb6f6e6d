"""Attention, and rotary position embeddings."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

_AMPERE = 8.0  # compute capability of the first GPUs with fused attention in cuDNN


def attention(
    queries: Float[Array, "batch n heads width"],
    keys: Float[Array, "batch m kv_heads width"],
    values: Float[Array, "batch m kv_heads width"],
    seen: Bool[Array, "batch_or_1 n_or_1 m"] | None = None,
    *,
    causal: bool = False,
) -> Float[Array, "batch n heads width"]:
    r"""Returns scaled dot-product attention.

    .. math:: \text{softmax}(Q K^\top / \sqrt{d}) V

    A query that sees no key (padding) gets the mean of all values, not nan. The weights are normalised after the product
    with the values: it has fewer entries, and the gradient needs one sum less.

    On an NVIDIA GPU, in bfloat16 or float16 and without ``seen``, it uses cuDNN's fused attention, which does not store the
    weights. That agrees up to the rounding of the type (``make accelerator`` measures both), and has no forward-mode
    derivative.

    Args:
        queries: For each position and head.
        keys: For each position and head of keys; each head is shared by the same number of query heads.
        values: One for each key.
        seen: Which keys a query may attend to; all by default.
        causal: Whether query i attends only to keys up to i.

    Returns:
        One vector for each position and head.

    Example:
        >>> queries, keys = jnp.zeros((1, 1, 1, 2)), jnp.zeros((1, 2, 1, 2))
        >>> attention(queries, keys, jnp.array([[[[1.0, 0.0]], [[3.0, 0.0]]]])).ravel().tolist()
        [2.0, 0.0]

    References:
        Vaswani et al. (2017), Attention is all you need, NeurIPS, equation 1. https://arxiv.org/abs/1706.03762
    """
    if seen is None and _is_fused_here(queries):
        return jax.nn.dot_product_attention(queries, keys, values, is_causal=causal, implementation="cudnn")
    batch, n, heads, width = queries.shape
    scores = _scores(queries, keys, seen, causal)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)))
    total = jnp.moveaxis(weights.sum(axis=-1), -1, 1)[..., None]
    mixed = jnp.einsum("bkgnm,bmkd->bnkgd", weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
    return (mixed / total).astype(values.dtype).reshape(batch, n, heads, width)


def attention_weights_of(
    queries: Float[Array, "batch n heads width"],
    keys: Float[Array, "batch m kv_heads width"],
    seen: Bool[Array, "batch_or_1 n_or_1 m"] | None = None,
    *,
    causal: bool = False,
) -> Float[Array, "batch heads n m"]:
    """Returns the weights with which `attention` mixes the values.

    Args:
        queries: As in `attention`, like all arguments.
        keys: One vector for each position and head of keys.
        seen: Which keys a query may attend to.
        causal: Whether query i attends only to keys up to i.

    Returns:
        Weights from 0 to 1, which add up to 1 over the keys.

    Example:
        >>> attention_weights_of(jnp.zeros((1, 1, 1, 2)), jnp.zeros((1, 4, 1, 2))).ravel().tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    batch, n, heads, _ = queries.shape
    return jax.nn.softmax(_scores(queries, keys, seen, causal)).reshape(batch, heads, n, keys.shape[1])


class Attention(nn.Module):
    """`attention` as a layer without parameters, whose queries and keys can be read by `jaxresearch.models.attention_weights`."""

    causal: bool

    @nn.compact
    def __call__(self, queries, keys, values, seen):
        """Returns the mixed values."""
        return attention(queries, keys, values, seen, causal=self.causal)


class Named(nn.Module):
    """The identity, which names activations so that `jaxresearch.models.split_at` finds them."""

    @nn.compact
    def __call__(self, x):
        """Returns ``x``."""
        return x


def _scores(
    queries: Float[Array, "batch n heads width"],
    keys: Float[Array, "batch m kv_heads width"],
    seen: Bool[Array, "batch_or_1 n_or_1 m"] | None,
    causal: bool,
) -> Float[Array, "batch kv_heads group n m"]:
    """Returns the logarithms of the weights, up to a constant for each query."""
    batch, n, heads, width = queries.shape
    kv_heads = keys.shape[2]
    groups = queries.reshape(batch, n, kv_heads, heads // kv_heads, width)
    scores = jnp.einsum("bnkgd,bmkd->bkgnm", groups, keys, preferred_element_type=jnp.float32) * width**-0.5
    if causal:
        past = jnp.tril(jnp.ones((n, keys.shape[1]), bool))[None]
        seen = past if seen is None else seen & past
    # Minus infinity would give nan if no key is seen.
    return scores if seen is None else jnp.where(seen[:, None, None], scores, -1e30)


def _is_fused_here(queries: Float[Array, "batch n heads width"]) -> bool:
    """Returns whether cuDNN's attention supports these queries on the default device, in training too."""
    device = jax.devices()[0]
    is_cuda = device.platform == "gpu" and "cuda" in device.client.platform_version.lower()
    is_recent = is_cuda and float(device.compute_capability) >= _AMPERE
    short = queries.dtype in (jnp.bfloat16, jnp.float16)
    return is_recent and short and queries.shape[-1] % 8 == 0 and queries.shape[-1] <= 128


def rotation(places: Int[Array, "batch_or_1 length"], head_width: int, dtype: DTypeLike) -> Callable[[Array], Array]:
    r"""Returns the function that rotates pairs of entries of queries and keys by angles proportional to their position.

    .. math:: (a, b) \mapsto (a \cos p\theta_i - b \sin p\theta_i, \; b \cos p\theta_i + a \sin p\theta_i), \quad
        \theta_i = 10000^{-2i / d}

    Entry i of the first half of a head is paired with entry i of the second.

    Args:
        places: The position :math:`p` of each token.
        head_width: Width :math:`d` of a head; even.
        dtype: Type of the vectors to rotate.

    Returns:
        ``vectors -> rotated``, both ``(batch, length, heads, head_width)``.

    Example:
        >>> turn = rotation(jnp.array([[0, 1]]), 2, jnp.float32)
        >>> [round(float(entry), 3) for entry in turn(jnp.array([[[[1.0, 0.0]], [[1.0, 0.0]]]])).ravel()]
        [1.0, 0.0, 0.54, 0.841]

    References:
        Su, Lu, Pan, Murtadha, Wen and Liu (2021), RoFormer, equation 34. https://arxiv.org/abs/2104.09864
    """
    rates = 10_000.0 ** (-jnp.arange(0, head_width, 2) / head_width)
    angles = places[..., None].astype(jnp.float32) * rates[None, None]
    cosine, sine = (wave(angles)[:, :, None, :].astype(dtype) for wave in (jnp.cos, jnp.sin))

    def turn(vectors: Float[Array, "batch length heads width"]) -> Float[Array, "batch length heads width"]:
        first, second = jnp.split(vectors, 2, axis=-1)
        return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)

    return turn

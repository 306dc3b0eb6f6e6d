"""The Linen modules of a transformer: embedding, blocks of attention and a two-layer network, and output heads."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from jaxresearch import devices
from jaxresearch.models.attention import Attention, Named, rotation
from jaxresearch.models.model import Precision, require_choice, require_sizes
from jaxresearch.models.rematerialisation import POLICIES, Remat

Positions = Literal["rotary", "learnt"]
Pooling = Literal["mean", "flatten"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerSizes:
    r"""Sizes and options of a transformer.

    Attributes:
        context: Maximum sequence length in tokens.
        width: Width of a token's vector; a multiple of the heads.
        n_layers: Number of blocks.
        n_heads: Number of attention heads.
        n_kv_heads: Number of key and value heads, each shared by the same number of query heads (grouped-query attention);
            ``n_heads`` by default.
        hidden: Hidden width of the two-layer network in a block; four times the width by default.
        kernel: Adjacent tokens that the two-layer network reads for each token, an odd number: the token alone by default, or
            also its neighbours, zeros beyond the ends of the sequence. For encoders only.
        positions: ``"rotary"`` rotates queries and keys by angles proportional to the position, ``"learnt"`` adds a learnt
            vector for each position.
        tied: Whether the output layer shares the weights of the embedding.
        biases: Whether dense layers (including a classifier's head) and normalisations have biases.
        dropout_rate: Dropout rate after the embedding and each branch of a block.
        padding: The token that pads short sequences: not attended to, without a position, and left out of means. Any
            integer, in the vocabulary or not (-1).
        precision: The type of activations and products; parameters, normalisation, sums of softmax and logits stay float32.
            float16 needs `jaxresearch.scale.precision.loss_scaled`.
        remat: What the backward pass recomputes inside each block instead of keeping it: nothing, all but the products of
            activations and weights (``"dots"``), or all.

    Raises:
        ValueError: If a size is not positive, heads do not divide the width, key heads do not divide the heads, or the kernel is
            even.

    References:
        Vaswani et al. (2017), Attention is all you need, NeurIPS. https://arxiv.org/abs/1706.03762
        Xiong et al. (2020), On layer normalization in the Transformer architecture, ICML (normalisation before each
        branch). https://arxiv.org/abs/2002.04745
        Su et al. (2021), RoFormer. https://arxiv.org/abs/2104.09864
        Ainslie et al. (2023), GQA, EMNLP (grouped-query attention). https://arxiv.org/abs/2305.13245
        Press and Wolf (2017), Using the output embedding to improve language models, EACL (tied weights).
        https://arxiv.org/abs/1608.05859
        Chen, Xu, Zhang and Guestrin (2016), Training deep nets with sublinear memory cost (recomputation).
        https://arxiv.org/abs/1604.06174
        Ren et al. (2019), FastSpeech, NeurIPS, section 3.1 (blocks whose network reads neighbours).
        https://arxiv.org/abs/1905.09263
        Micikevicius et al. (2018), Mixed precision training, ICLR. https://arxiv.org/abs/1710.03740
    """

    context: int
    width: int
    n_layers: int
    n_heads: int
    n_kv_heads: int | None = None
    hidden: int | None = None
    kernel: int = 1
    positions: Positions = "rotary"
    tied: bool = True
    biases: bool = True
    dropout_rate: float = 0.0
    padding: int | None = None
    precision: Precision = "float32"
    remat: Remat = "none"

    def __post_init__(self) -> None:
        given = {name: size for name in ("n_kv_heads", "hidden") if (size := getattr(self, name)) is not None}
        plain = {name: getattr(self, name) for name in ("context", "width", "n_layers", "n_heads", "kernel")}
        require_sizes(**plain, **given)
        if self.width % self.n_heads:
            raise ValueError(
                f"width must be a multiple of n_heads, {self.n_heads}; got {self.width}. Change one of them."
            )
        if self.n_heads % (self.n_kv_heads or self.n_heads):
            raise ValueError(f"n_kv_heads must divide n_heads, {self.n_heads}; got {self.n_kv_heads}. Pass a divisor.")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be an odd number of tokens; got {self.kernel}. Pass {self.kernel + 1}.")
        require_choice("positions", self.positions, Positions)
        require_choice("precision", self.precision, Precision)
        require_choice("remat", self.remat, Remat)
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(
                f"the width of a head must be even for rotary positions; got {self.head_width}. Pass positions='learnt'."
            )
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate must be at least 0 and below 1; got {self.dropout_rate}. It is a fraction.")

    @classmethod
    def of(cls, hyperparameters: Any, **others: Any) -> "TransformerSizes":
        """Returns the sizes with values from the hyperparameters of the same names.

        Args:
            hyperparameters: A dataclass, whose fields with the names of sizes are used.
            **others: Further sizes, which take precedence.

        Returns:
            The sizes.

        Raises:
            TypeError: If a size without a default is missing, or ``others`` has a name that is not a size.

        Example:
            >>> @dataclasses.dataclass
            ... class Settings:
            ...     width: int = 16
            ...     n_layers: int = 1
            ...     n_heads: int = 2
            ...     epochs: int = 5
            >>> TransformerSizes.of(Settings(), context=8).width
            16
        """
        names = {field.name for field in dataclasses.fields(cls)}
        held = {field.name for field in dataclasses.fields(hyperparameters)}
        return cls(**{name: getattr(hyperparameters, name) for name in names & held} | others)

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.width // self.n_heads


class Transformer(nn.Module):
    """Embedding, blocks, normalisation and an output: logits of tokens, vectors of each or pooled, or class logits from these."""

    n_tokens: int
    sizes: TransformerSizes
    end: Literal["tokens", "each"] | Pooling
    causal: bool
    n_classes: int = 0
    n_rows: int | None = None  # of a cache

    @nn.compact
    def __call__(self, tokens, *, train: bool = False):
        """Returns logits or vectors of tokens ``(batch, length)``."""
        sizes = self.sizes
        dtype = jnp.dtype(sizes.precision)
        # Logits with a deviation of 0.2 at any width: the initial loss is about the logarithm of the vocabulary size.
        init = nn.initializers.normal(0.2 / sizes.width**0.5)
        embedding = self.param("embedding", init, (self.n_tokens, sizes.width))
        real = None if sizes.padding is None else tokens != sizes.padding
        start = None
        if self.n_rows:
            places, seen, start = self._cached(tokens, real)
        else:
            places, seen = _places_and_seen(tokens, real)
        causal = self.causal and start is None  # with a cache, `seen` is causal
        tokens = tokens if real is None else jnp.where(real, tokens, 0)  # padding may be outside the vocabulary
        x = look_up(embedding, tokens, dtype)
        if sizes.positions == "learnt":
            x = x + look_up(self.param("positions", init, (sizes.context, sizes.width)), places, dtype)
            turn = lambda vectors: vectors  # noqa: E731
        else:
            turn = rotation(places, sizes.head_width, dtype)
        x = nn.Dropout(sizes.dropout_rate, deterministic=not train)(Named(name="embedded")(x))
        kind = Block if sizes.remat == "none" else nn.remat(Block, policy=POLICIES[sizes.remat])
        for layer in range(sizes.n_layers):
            x = kind(sizes, not train, turn, causal, name=f"block_{layer}")(_split(x), seen, start)
        x = _split(x)
        x = nn.LayerNorm(use_bias=sizes.biases, name="norm")(x.astype(jnp.float32))
        if self.end == "tokens":
            head = embedding if sizes.tied else self.param("head", init, (self.n_tokens, sizes.width))
            logits = jnp.dot(_rows(x.astype(dtype)), head.astype(dtype).T, preferred_element_type=jnp.float32)
            return logits.reshape(*tokens.shape, self.n_tokens)
        vectors = x
        if self.end != "each":
            vectors = _mean(x, real) if self.end == "mean" else _by_place(x, real, places, sizes.context)
        if not self.n_classes:
            return vectors
        init = nn.initializers.normal(0.2 / vectors.shape[-1] ** 0.5)
        logits = nn.Dense(self.n_classes, sizes.biases, kernel_init=init, name="head")(_rows(vectors))
        return logits.reshape(*vectors.shape[:-1], self.n_classes)

    def _cached(self, tokens, real):
        """Returns the positions of the next tokens, the slots of the cache that each sees, and the first free slot."""
        real = jnp.ones(tokens.shape, bool) if real is None else real
        shape = (tokens.shape[0], self.sizes.context)
        is_real = self.variable("cache", "is_real", jnp.zeros, shape, bool)
        n_seen = self.variable("cache", "n_seen", jnp.zeros, (), jnp.int32)
        before = is_real.value.sum(axis=1, dtype=jnp.int32)
        places = jnp.maximum(before[:, None] + jnp.cumsum(real, axis=1, dtype=jnp.int32) - 1, 0)
        is_real.value = jax.lax.dynamic_update_slice(is_real.value, real, (0, n_seen.value))
        start = n_seen.value
        is_past = jnp.arange(self.sizes.context)[None, :] <= start + jnp.arange(tokens.shape[1])[:, None]
        n_seen.value = start + tokens.shape[1]
        return places, is_real.value[:, None, :] & is_past[None], start


class Block(nn.Module):
    """Attention and a two-layer network, each a residual branch with normalised inputs."""

    sizes: TransformerSizes
    deterministic: bool
    turn: Callable[[Array], Array]
    causal: bool

    @nn.compact
    def __call__(self, x, seen, start):
        """Returns the vectors ``(batch, length, width)`` after the block; ``start`` is the first free slot of the cache."""
        sizes = self.sizes
        dtype = jnp.dtype(sizes.precision)
        n_kv, hidden = sizes.n_kv_heads or sizes.n_heads, sizes.hidden or 4 * sizes.width
        small = nn.initializers.normal(0.02)
        last = nn.initializers.normal(0.02 / (2 * sizes.n_layers) ** 0.5)  # branches add up: GPT-2, section 2.3

        def dense(x: Array, width: int, init: Any, name: str) -> Array:
            outputs = nn.Dense(width, sizes.biases, kernel_init=init, dtype=dtype, name=name)(_rows(x))
            return outputs.reshape(*x.shape[:-1], width)

        def dropped(x: Array) -> Array:
            return nn.Dropout(sizes.dropout_rate, deterministic=self.deterministic)(x)

        normed = nn.LayerNorm(use_bias=sizes.biases, name="norm_attention")(x).astype(dtype)
        # Heads are an axis of the array, so that parameters for a different number of heads are rejected.
        shape = (sizes.n_heads + 2 * n_kv, sizes.head_width)
        project = nn.DenseGeneral(
            shape, use_bias=sizes.biases, kernel_init=small, dtype=dtype, name="queries_keys_values"
        )
        heads = project(_rows(normed)).reshape(*x.shape[:2], *shape)
        queries, keys, values = jnp.split(heads, [sizes.n_heads, sizes.n_heads + n_kv], axis=2)
        queries, keys = self.turn(queries), self.turn(keys)
        if start is not None:
            keys, values = self._cached("keys", keys, start), self._cached("values", values, start)
        mixed = Attention(self.causal, name="attention")(queries, keys, values, seen)
        x = x + dropped(dense(mixed.reshape(x.shape), sizes.width, last, "mix"))
        normed = nn.LayerNorm(use_bias=sizes.biases, name="norm_network")(x).astype(dtype)
        if sizes.kernel > 1:
            normed = _with_neighbours(
                normed if seen is None else jnp.where(seen[:, 0, :, None], normed, 0), sizes.kernel
            )
        inner = nn.gelu(dense(normed, hidden, small, "network_in"))
        return x + dropped(dense(inner, sizes.width, last, "network_out"))

    def _cached(self, name, new, start):
        """Returns all keys or values in the cache, after adding new ones."""
        kept = self.variable("cache", name, jnp.zeros, (new.shape[0], self.sizes.context, *new.shape[2:]), new.dtype)
        kept.value = jax.lax.dynamic_update_slice(kept.value, new, (0, start, 0, 0))
        return kept.value


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def look_up(
    embedding: Float[Array, "n_rows width"], numbers: Int[Array, "*places"], dtype: DTypeLike
) -> Float[Array, "*places width"]:
    """Returns the rows of a table by number; nan for a number out of range."""
    rows = jnp.asarray(embedding).at[numbers].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
    return rows.astype(dtype)  # rounded last, so that gradients of a frequent row add up in float32


@look_up.defjvp
def _look_up_jvp(dtype, primals, tangents):
    """Returns the rows and their tangent, whose transpose is the gradient of the table.

    A GPU adds the gradients of equal rows in no fixed order, so runs would not be reproducible; there the gradient is a
    product with one-hot numbers.
    """
    (embedding, numbers), (tangent, _) = primals, tangents
    rows = look_up(embedding, numbers, dtype)
    if jax.default_backend() != "gpu":
        return rows, look_up(tangent, numbers, dtype)
    ones = jax.nn.one_hot(numbers, len(embedding), dtype=dtype)
    product = jnp.dot(ones, tangent.astype(dtype), precision="highest", preferred_element_type=jnp.float32)
    return rows, product.astype(dtype)


def _split(x: Float[Array, "batch length width"]) -> Float[Array, "batch length width"]:
    """Returns activations split by examples: left to itself, XLA splits them as the weights, with the whole batch everywhere."""
    return devices.spread(x, where_possible=True)


def _rows(x: Float[Array, "*leading width"]) -> Float[Array, "rows width"]:
    """Returns vectors as the rows of a matrix: with more axes, XLA on CPUs copies in the gradient of a product."""
    return x.reshape(-1, x.shape[-1])


def _with_neighbours(
    x: Float[Array, "batch length width"], kernel: int
) -> Float[Array, "batch length kernel_times_width"]:
    """Returns each vector beside those of its neighbours: a convolution is then a product, which is faster on CPUs."""
    half, length = kernel // 2, x.shape[1]
    padded = jnp.pad(x, ((0, 0), (half, half), (0, 0)))
    return jnp.concatenate([padded[:, place : place + length] for place in range(kernel)], axis=-1)


def _mean(
    x: Float[Array, "batch length width"], real: Bool[Array, "batch length"] | None
) -> Float[Array, "batch width"]:
    """Returns the mean of the vectors without padding."""
    weights = jnp.ones(x.shape[:2], x.dtype) if real is None else real.astype(x.dtype)
    return jnp.einsum("bt,btw->bw", weights, x) / jnp.maximum(weights.sum(axis=1, keepdims=True), 1)


def _by_place(
    x: Float[Array, "batch length width"],
    real: Bool[Array, "batch length"] | None,
    places: Int[Array, "batch_or_1 length"],
    context: int,
) -> Float[Array, "batch context_times_width"]:
    """Returns the concatenated vectors of all tokens without padding, then zeros for the rest of the context."""
    if real is None:
        x = jnp.pad(x, ((0, 0), (0, context - x.shape[1]), (0, 0)))
    else:
        empty = jnp.zeros((len(x), context, x.shape[2]), x.dtype)
        x = empty.at[jnp.arange(len(x))[:, None], places].add(jnp.where(real[..., None], x, 0))
    return x.reshape(len(x), -1)


def _places_and_seen(
    tokens: Int[Array, "batch length"], real: Bool[Array, "batch length"] | None
) -> tuple[Int[Array, "batch_or_1 length"], Bool[Array, "batch 1 length"] | None]:
    """Returns the position of each token, and which tokens are not padding; None if there is no padding."""
    if real is None:
        return jnp.arange(tokens.shape[1])[None], None
    return jnp.maximum(jnp.cumsum(real, axis=1, dtype=jnp.int32) - 1, 0), real[:, None, :]

"""Transformers: one block, used as an encoder that sees both ways and as a decoder that sees only what came before."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Integer

from jaxresearch.models.attention import attention, rotation
from jaxresearch.models.model import Model, require_sizes

Positions = Literal["rotary", "learnt"]
Pooling = Literal["mean", "flatten"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerSizes:
    r"""Sizes and choices of a transformer.

    Attributes:
        context: Tokens that it sees at once, at most.
        width: Entries of a token's vector; a multiple of the heads.
        n_layers: Blocks.
        n_heads: Attention heads.
        n_kv_heads: Heads of keys and values, each shared by equally many heads of queries (grouped-query attention);
            as many as ``n_heads`` unless given.
        hidden: Width of the two-layer network of a block; four times the width unless given.
        positions: How a token's place enters: ``"rotary"`` turns queries and keys by angles in proportion to it,
            ``"learnt"`` adds a vector for each place.
        tied: Whether the logits of tokens are products with the embedding itself, or have weights of their own.
        biases: Whether matrix products (a classifier's head among them) and normalisations add a vector of their own.
        dropout_rate: Share of entries left out in training after the embedding and each branch of a block.
        padding: The token that fills up short sequences: it is not attended to, counts for no place and no mean. Any whole
            number, in the vocabulary or not (-1).
        bfloat16: Whether to compute in bfloat16; parameters, normalisation and logits stay float32.
        remat: Whether to compute the inside of the blocks again in the backward pass instead of keeping it.

    Raises:
        ValueError: If a size is not positive, or heads do not divide what they have to.

    References:
        Vaswani et al. (2017), NeurIPS. Xiong et al. (2020), ICML (normalisation before each branch). Su et al. (2021),
        RoFormer. Ainslie et al. (2023), EMNLP (grouped-query attention). Press and Wolf (2017), EACL (tied weights).
        Chen et al. (2016), Training deep nets with sublinear memory cost. https://arxiv.org/abs/1706.03762
    """

    context: int
    width: int
    n_layers: int
    n_heads: int
    n_kv_heads: int | None = None
    hidden: int | None = None
    positions: Positions = "rotary"
    tied: bool = True
    biases: bool = True
    dropout_rate: float = 0.0
    padding: int | None = None
    bfloat16: bool = False
    remat: bool = False

    def __post_init__(self) -> None:
        given = {name: size for name in ("n_kv_heads", "hidden") if (size := getattr(self, name)) is not None}
        plain = {name: getattr(self, name) for name in ("context", "width", "n_layers", "n_heads")}
        require_sizes(**plain, **given)
        if self.width % self.n_heads:
            raise ValueError(
                f"width must be a multiple of n_heads, {self.n_heads}; got {self.width}. Change one of them."
            )
        if self.n_heads % (self.n_kv_heads or self.n_heads):
            raise ValueError(f"n_kv_heads must divide n_heads, {self.n_heads}; got {self.n_kv_heads}. Pass a divisor.")
        _require_one_of("positions", self.positions, Positions)
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(
                f"the width of a head must be even to be turned; got {self.head_width}. Pass positions='learnt'."
            )
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate must be at least 0 and below 1; got {self.dropout_rate}. It is a share.")

    @property
    def head_width(self) -> int:
        """Entries of a head."""
        return self.width // self.n_heads


def decoder(n_tokens: int, sizes: TransformerSizes) -> Model:
    """Returns a causal transformer: logits of the next token at every place, from the tokens up to it.

    Args:
        n_tokens: Size of the vocabulary.
        sizes: Its sizes; ``context`` limits the length of the inputs.

    Returns:
        The model; inputs ``(batch, length)`` whole numbers, outputs ``(batch, length, n_tokens)`` float32: nan for a sequence
        with a token, other than padding, that the vocabulary does not hold.

    Raises:
        ValueError: If ``n_tokens`` is not positive, or (when called) the inputs are no whole numbers, empty or too long.

    Example:
        >>> model = decoder(65, TransformerSizes(context=8, width=16, n_layers=1, n_heads=2))
        >>> logits, _ = model.apply(*model.init(jax.random.key(0)), jnp.zeros((2, 8), jnp.int32))
        >>> logits.shape
        (2, 8, 65)

    References:
        Radford, Wu, Child, Luan, Amodei and Sutskever (2019), Language models are unsupervised multitask learners,
        section 2.3. https://openai.com/research/better-language-models
    """
    return _model(_module(n_tokens, sizes, "tokens", causal=True))


def encoder(n_tokens: int, sizes: TransformerSizes) -> Model:
    """Returns a transformer that sees both ways: logits of the token itself at every place.

    Args:
        n_tokens: Size of the vocabulary, the mask's token among it.
        sizes: Its sizes.

    Returns:
        The model; inputs ``(batch, length)`` whole numbers, outputs ``(batch, length, n_tokens)`` float32.

    Raises:
        ValueError: As for `decoder`.

    Example:
        >>> model = encoder(5, TransformerSizes(context=60, width=16, n_layers=1, n_heads=2, positions="learnt"))
        >>> logits, _ = model.apply(*model.init(jax.random.key(0)), jnp.zeros((2, 60), jnp.int8))
        >>> logits.shape
        (2, 60, 5)

    References:
        Devlin, Chang, Lee and Toutanova (2019), BERT, NAACL, section 3. https://arxiv.org/abs/1810.04805
    """
    return _model(_module(n_tokens, sizes, "tokens", causal=False))


def classifier(n_tokens: int, n_classes: int, sizes: TransformerSizes, *, pooling: Pooling = "mean") -> Model:
    r"""Returns the encoder with one layer of classes on its vectors :math:`x_t`: on their mean, or with weights of each place.

    .. math:: W \frac{1}{T} \sum_{t=1}^T x_t + b \quad \text{or} \quad \sum_{t=1}^T W_t x_t + b

    The mean asks what a sequence holds; weights of each place ask where, as in windows cut around a landmark. All its
    parameters but those of ``head`` are those of `encoder`, under the same names, so that it can start from a pre-trained one:
    `warm_started`.

    Args:
        n_tokens: Size of the vocabulary, the mask's token among it.
        n_classes: Classes of a sequence.
        sizes: Its sizes.
        pooling: ``"mean"``, or ``"flatten"`` for weights of each place, so that the head fits this ``context`` alone. Padding
            is in no mean and has no place: the first token that is none is at the first. So fill up a window that is cut short
            on its left with a token that is not ``padding``.

    Returns:
        The model; inputs ``(batch, length)`` whole numbers, outputs ``(batch, n_classes)`` float32.

    Raises:
        ValueError: As for `decoder`; also if ``pooling`` is neither.

    Example:
        >>> model = classifier(5, 3, TransformerSizes(context=60, width=16, n_layers=1, n_heads=2))
        >>> logits, _ = model.apply(*model.init(jax.random.key(0)), jnp.zeros((2, 60), jnp.int32))
        >>> logits.shape
        (2, 3)

    References:
        Devlin, Chang, Lee and Toutanova (2019), BERT, NAACL, section 4.1 (fine-tuning a classifier).
        https://arxiv.org/abs/1810.04805
        Stormo, Schneider, Gold and Ehrenfeucht (1982), Use of the 'Perceptron' algorithm to distinguish translational
        initiation sites in E. coli, Nucleic Acids Research 10 (weights of each place). https://doi.org/10.1093/nar/10.9.2997
    """
    require_sizes(n_classes=n_classes)
    _require_one_of("pooling", pooling, Pooling)
    return _model(_module(n_tokens, sizes, pooling, causal=False, n_classes=n_classes))


def embedder(n_tokens: int, sizes: TransformerSizes, *, pooling: Pooling = "mean") -> Model:
    """Returns the encoder without its last layer: what the head of a `classifier` sees, the vectors normalised and pooled.

    Args:
        n_tokens: Size of the vocabulary, the mask's token among it.
        sizes: Its sizes.
        pooling: ``"mean"`` of the vectors, or ``"flatten"``: all of them, one after another.

    Returns:
        The model; inputs ``(batch, length)`` whole numbers, outputs float32 ``(batch, width)``, or ``(batch, context * width)``:
        those of the tokens that are no padding, then zeros. It takes the parameters of an `encoder` or `classifier` as they are.

    Raises:
        ValueError: As for `classifier`.

    Example:
        >>> model = embedder(5, TransformerSizes(context=60, width=16, n_layers=1, n_heads=2))
        >>> vectors, _ = model.apply(*model.init(jax.random.key(0)), jnp.zeros((2, 60), jnp.int32))
        >>> vectors.shape
        (2, 16)

    References:
        Reimers and Gurevych (2019), Sentence-BERT, EMNLP, section 3 (mean pooling). https://arxiv.org/abs/1908.10084
    """
    _require_one_of("pooling", pooling, Pooling)
    return _model(_module(n_tokens, sizes, pooling, causal=False))


def cached_decoder(n_tokens: int, sizes: TransformerSizes, *, n_rows: int) -> Model:
    """Returns the decoder as it writes: its state keeps the keys and values of all tokens seen, so that none is made again.

    Its parameters are those of `decoder`. ``apply(params, cache, tokens)`` takes the next tokens of every row, one or
    many, and returns their logits and the cache with them. Rows that begin with padding may differ in length.

    Args:
        n_tokens: Size of the vocabulary.
        sizes: Those of the decoder; ``context`` is what the cache holds.
        n_rows: Sequences written side by side.

    Returns:
        The model; ``init`` gives an empty cache as its state: arrays with a leading axis of rows, and the number of
        tokens seen, padding among them. Logits are nan from the call on that goes past the context.

    Raises:
        ValueError: As for `decoder`; also if ``n_rows`` is not positive, or (when called) not the rows of the inputs.

    Example:
        >>> sizes = TransformerSizes(context=8, width=16, n_layers=1, n_heads=2)
        >>> whole, written = decoder(65, sizes), cached_decoder(65, sizes, n_rows=1)
        >>> params, cache = written.init(jax.random.key(0))
        >>> tokens = jnp.array([[3, 1, 4]])
        >>> _, cache = written.apply(params, cache, tokens[:, :2])
        >>> logits, _ = written.apply(params, cache, tokens[:, 2:])
        >>> bool(jnp.allclose(logits[:, 0], whole.apply(params, {}, tokens)[0][:, 2], atol=1e-5))
        True

    References:
        Pope et al. (2023), Efficiently scaling transformer inference, MLSys, section 2. https://arxiv.org/abs/2211.05102
    """
    require_sizes(n_rows=n_rows)
    module = _module(n_tokens, sizes, "tokens", causal=True, n_rows=n_rows)

    def init(key):
        shapes = jax.eval_shape(module.init, {"params": key}, jnp.zeros((n_rows, 1), jnp.int32))
        params, _ = _model(_module(n_tokens, sizes, "tokens", causal=True)).init(key)
        return params, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes["cache"])

    def apply(params, model_state, inputs, key=None):
        del key  # what writes is not trained
        tokens = _as_tokens(inputs, sizes.context)
        if len(tokens) != n_rows:
            raise ValueError(f"inputs must have the cache's {n_rows} rows; got {len(tokens)}. Pass as many as n_rows.")
        outputs: Any = module.apply({"params": params, "cache": model_state}, tokens, mutable=["cache"])
        logits, cache = outputs[0], outputs[1]["cache"]
        # Past its end a slice is written over what is there: the logits would be numbers, and wrong.
        return jnp.where(cache["n_seen"] > sizes.context, jnp.nan, logits), cache

    return Model(init, apply)


class Transformer(nn.Module):
    """Embedding, blocks, normalisation, and an end: logits of tokens, or the vectors pooled, or logits of classes from these."""

    n_tokens: int
    sizes: TransformerSizes
    end: Literal["tokens"] | Pooling
    causal: bool
    n_classes: int = 0
    n_rows: int | None = None  # of a cache

    @nn.compact
    def __call__(self, tokens, *, train: bool = False):
        """Returns logits or vectors of tokens ``(batch, length)``."""
        sizes = self.sizes
        dtype = jnp.bfloat16 if sizes.bfloat16 else jnp.float32
        # Logits of a deviation of 0.2 at any width: the first loss is the logarithm of the vocabulary.
        init = nn.initializers.normal(0.2 / sizes.width**0.5)
        embedding = self.param("embedding", init, (self.n_tokens, sizes.width))
        real = None if sizes.padding is None else tokens != sizes.padding
        start = None
        if self.n_rows:
            places, seen, start = self._cached(tokens, real)
        else:
            places, seen = _places_and_seen(tokens, real, self.causal)
        tokens = tokens if real is None else jnp.where(real, tokens, 0)  # no one sees it; it may be in no vocabulary
        # Taken first, rounded then: the gradients of a token seen often add up in float32.
        x = embedding.at[tokens].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False).astype(dtype)
        if sizes.positions == "learnt":
            x = x + self.param("positions", init, (sizes.context, sizes.width))[places].astype(dtype)
            turn = lambda vectors: vectors  # noqa: E731
        else:
            turn = rotation(places, sizes.head_width, dtype)
        x = nn.Dropout(sizes.dropout_rate, deterministic=not train)(x)
        kind = nn.remat(Block) if sizes.remat else Block
        for layer in range(sizes.n_layers):
            x = kind(sizes, not train, turn, name=f"block_{layer}")(x, seen, start)
        x = nn.LayerNorm(use_bias=sizes.biases, name="norm")(x.astype(jnp.float32))
        if self.end == "tokens":
            head = embedding if sizes.tied else self.param("head", init, (self.n_tokens, sizes.width))
            logits = jnp.dot(_rows(x.astype(dtype)), head.astype(dtype).T, preferred_element_type=jnp.float32)
            return logits.reshape(*tokens.shape, self.n_tokens)
        pooled = _mean(x, real) if self.end == "mean" else _by_place(x, real, places, sizes.context)
        if not self.n_classes:
            return pooled
        init = nn.initializers.normal(0.2 / pooled.shape[1] ** 0.5)
        return nn.Dense(self.n_classes, sizes.biases, kernel_init=init, name="head")(pooled)

    def _cached(self, tokens, real):
        """Returns the places of the next tokens, which slots of the cache each sees, and the first slot that is free."""
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
    """Attention and a two-layer network, each on normalised inputs, each added to what came in."""

    sizes: TransformerSizes
    deterministic: bool
    turn: Callable[[Array], Array]

    @nn.compact
    def __call__(self, x, seen, start):
        """Returns the vectors ``(batch, length, width)`` one block on; ``start`` is where a cache is filled from."""
        sizes = self.sizes
        dtype = jnp.bfloat16 if sizes.bfloat16 else jnp.float32
        n_kv, hidden = sizes.n_kv_heads or sizes.n_heads, sizes.hidden or 4 * sizes.width
        small = nn.initializers.normal(0.02)
        last = nn.initializers.normal(0.02 / (2 * sizes.n_layers) ** 0.5)  # branches add up: GPT-2, section 2.3

        def dense(x: Array, width: int, init: Any, name: str) -> Array:
            made = nn.Dense(width, sizes.biases, kernel_init=init, dtype=dtype, name=name)(_rows(x))
            return made.reshape(*x.shape[:-1], width)

        def dropped(x: Array) -> Array:
            return nn.Dropout(sizes.dropout_rate, deterministic=self.deterministic)(x)

        normed = nn.LayerNorm(use_bias=sizes.biases, name="norm_attention")(x).astype(dtype)
        # Heads are an axis of the array, so that parameters of another number of them do not fit.
        shape = (sizes.n_heads + 2 * n_kv, sizes.head_width)
        project = nn.DenseGeneral(
            shape, use_bias=sizes.biases, kernel_init=small, dtype=dtype, name="queries_keys_values"
        )
        heads = project(_rows(normed)).reshape(*x.shape[:2], *shape)
        queries, keys, values = jnp.split(heads, [sizes.n_heads, sizes.n_heads + n_kv], axis=2)
        queries, keys = self.turn(queries), self.turn(keys)
        if start is not None:
            keys, values = self._cached("keys", keys, start), self._cached("values", values, start)
        mixed = attention(queries, keys, values, seen)
        x = x + dropped(dense(mixed.reshape(x.shape), sizes.width, last, "mix"))
        normed = nn.LayerNorm(use_bias=sizes.biases, name="norm_network")(x).astype(dtype)
        inner = nn.gelu(dense(normed, hidden, small, "network_in"))
        return x + dropped(dense(inner, sizes.width, last, "network_out"))

    def _cached(self, name, new, start):
        """Returns all keys or values of the cache, the new ones among them."""
        kept = self.variable("cache", name, jnp.zeros, (new.shape[0], self.sizes.context, *new.shape[2:]), new.dtype)
        kept.value = jax.lax.dynamic_update_slice(kept.value, new, (0, start, 0, 0))
        return kept.value


def _require_one_of(name: str, value: str, kind: Any) -> None:
    """Raises where a choice is none of those that there are."""
    if value not in get_args(kind):
        raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}; got {value!r}. Pass one of them.")


def _module(n_tokens: int, sizes: TransformerSizes, end: Any, **choices: Any) -> Transformer:
    """Returns the module behind a model."""
    require_sizes(n_tokens=n_tokens)
    return Transformer(n_tokens, sizes, end, **choices)


def _model(module: Transformer) -> Model:
    """Returns a module without a cache as a model."""
    context = module.sizes.context

    def init(key):
        return module.init({"params": key}, jnp.zeros((1, 1), jnp.int32))["params"], {}

    def apply(params, model_state, inputs, key=None):
        rngs = {} if key is None else {"dropout": key}
        tokens = _as_tokens(inputs, context)
        outputs: Any = module.apply({"params": params}, tokens, train=key is not None, rngs=rngs)
        return outputs, model_state

    return Model(init, apply)


def _as_tokens(inputs: Integer[Array, "batch length"], context: int) -> Int[Array, "batch length"]:
    """Returns the inputs as int32, or raises where they are no sequences of tokens that fit the context."""
    if inputs.ndim != 2 or not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise ValueError(
            f"inputs must be tokens (batch, length), whole numbers; got {inputs.dtype} {inputs.shape}. Encode the text first."
        )
    if not 1 <= inputs.shape[1] <= context:
        raise ValueError(
            f"sequences must be of 1 to {context} tokens, the context; got {inputs.shape[1]}. Cut them, or widen the context."
        )
    return jnp.asarray(inputs, jnp.int32)  # the size of a vocabulary may be more than int8 holds


def _rows(x: Float[Array, "*leading width"]) -> Float[Array, "rows width"]:
    """Returns vectors as the rows of a matrix: XLA's CPU compiler makes the gradient of a product of more axes by a copy."""
    return x.reshape(-1, x.shape[-1])


def _mean(
    x: Float[Array, "batch length width"], real: Bool[Array, "batch length"] | None
) -> Float[Array, "batch width"]:
    """Returns the mean of the vectors that are no padding."""
    weights = jnp.ones(x.shape[:2], x.dtype) if real is None else real.astype(x.dtype)
    return jnp.einsum("bt,btw->bw", weights, x) / jnp.maximum(weights.sum(axis=1, keepdims=True), 1)


def _by_place(
    x: Float[Array, "batch length width"],
    real: Bool[Array, "batch length"] | None,
    places: Int[Array, "batch_or_1 length"],
    context: int,
) -> Float[Array, "batch context_times_width"]:
    """Returns the vectors of all tokens but padding, one after another, then zeros for the rest of the context."""
    if real is None:
        x = jnp.pad(x, ((0, 0), (0, context - x.shape[1]), (0, 0)))
    else:
        empty = jnp.zeros((len(x), context, x.shape[2]), x.dtype)
        x = empty.at[jnp.arange(len(x))[:, None], places].add(jnp.where(real[..., None], x, 0))
    return x.reshape(len(x), -1)


def _places_and_seen(
    tokens: Int[Array, "batch length"], real: Bool[Array, "batch length"] | None, causal: bool
) -> tuple[Int[Array, "batch_or_1 length"], Bool[Array, "batch_or_1 length_or_1 length"] | None]:
    """Returns the place of each token, and which tokens it sees; None where it sees them all."""
    length = tokens.shape[1]
    past = jnp.tril(jnp.ones((length, length), bool))[None] if causal else None
    if real is None:
        return jnp.arange(length)[None], past
    places = jnp.maximum(jnp.cumsum(real, axis=1, dtype=jnp.int32) - 1, 0)
    return places, real[:, None, :] if past is None else real[:, None, :] & past

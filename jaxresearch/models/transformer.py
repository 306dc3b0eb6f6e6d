"""Transformers: one block, used as an encoder that sees both ways and as a decoder that sees only what came before."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Integer

from jaxresearch.models.blocks import Pooling, Transformer, TransformerSizes
from jaxresearch.models.model import Model, require_choice, require_sizes


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
        >>> logits, _ = jax.jit(model.apply)(*jax.jit(model.init)(jax.random.key(0)), jnp.zeros((2, 8), jnp.int32))
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
        >>> logits, _ = jax.jit(model.apply)(*jax.jit(model.init)(jax.random.key(0)), jnp.zeros((2, 60), jnp.int8))
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
        >>> logits, _ = jax.jit(model.apply)(*jax.jit(model.init)(jax.random.key(0)), jnp.zeros((2, 60), jnp.int32))
        >>> logits.shape
        (2, 3)

    References:
        Devlin, Chang, Lee and Toutanova (2019), BERT, NAACL, section 4.1 (fine-tuning a classifier).
        https://arxiv.org/abs/1810.04805
        Stormo, Schneider, Gold and Ehrenfeucht (1982), Use of the 'Perceptron' algorithm to distinguish translational
        initiation sites in E. coli, Nucleic Acids Research 10 (weights of each place). https://doi.org/10.1093/nar/10.9.2997
    """
    require_sizes(n_classes=n_classes)
    require_choice("pooling", pooling, Pooling)
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
        >>> vectors, _ = jax.jit(model.apply)(*jax.jit(model.init)(jax.random.key(0)), jnp.zeros((2, 60), jnp.int32))
        >>> vectors.shape
        (2, 16)

    References:
        Reimers and Gurevych (2019), Sentence-BERT, EMNLP, section 3 (mean pooling). https://arxiv.org/abs/1908.10084
    """
    require_choice("pooling", pooling, Pooling)
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
        >>> params, cache = jax.jit(written.init)(jax.random.key(0))
        >>> tokens = jnp.array([[3, 1, 4]])
        >>> write, read = jax.jit(written.apply), jax.jit(whole.apply)
        >>> _, cache = write(params, cache, tokens[:, :2])
        >>> logits, _ = write(params, cache, tokens[:, 2:])
        >>> bool(jnp.allclose(logits[:, 0], read(params, {}, tokens)[0][:, 2], atol=1e-5))
        True
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

"""Transformers: bidirectional encoders and causal decoders with the same blocks."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Integer

from jaxresearch.models.blocks import Pooling, Transformer, TransformerSizes
from jaxresearch.models.model import Model, require_choice, require_sizes


def decoder(n_tokens: int, sizes: TransformerSizes) -> Model:
    """Returns a causal transformer: logits of the next token at each position, from the tokens up to it.

    Args:
        n_tokens: Size of the vocabulary.
        sizes: Sizes of the transformer; ``context`` limits the length of the inputs.

    Returns:
        The model; inputs ``(batch, length)`` integers, outputs ``(batch, length, n_tokens)`` float32: nan for a sequence
        with a token outside the vocabulary, other than padding.

    Raises:
        ValueError: If ``n_tokens`` is not positive, the kernel is above 1, or (when called) the inputs are not integers, are
            empty or too long.

    Example:
        >>> model = decoder(65, TransformerSizes(context=8, width=16, n_layers=1, n_heads=2))
        >>> logits, _ = jax.jit(model.apply)(*jax.jit(model.init)(jax.random.key(0)), jnp.zeros((2, 8), jnp.int32))
        >>> logits.shape
        (2, 8, 65)

    References:
        Radford, Wu, Child, Luan, Amodei and Sutskever (2019), Language models are unsupervised multitask learners,
        section 2.3.
        https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf
    """
    return _model(_module(n_tokens, sizes, "tokens", causal=True))


def encoder(n_tokens: int, sizes: TransformerSizes) -> Model:
    """Returns a bidirectional transformer: logits of the token itself at each position.

    Args:
        n_tokens: Size of the vocabulary, including the mask token.
        sizes: Sizes of the transformer.

    Returns:
        The model; inputs ``(batch, length)`` integers, outputs ``(batch, length, n_tokens)`` float32.

    Raises:
        ValueError: As in `decoder`, for any kernel.

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
    r"""Returns the encoder with a linear head for classes on its vectors :math:`x_t`: on their mean, or on all of them.

    .. math:: W \frac{1}{T} \sum_{t=1}^T x_t + b \quad \text{or} \quad \sum_{t=1}^T W_t x_t + b

    The mean detects what a sequence contains, position-specific weights also where, as in windows around a landmark. All
    parameters except ``head`` have the names and shapes of `encoder`, so `warm_started` can load a pre-trained encoder.

    Args:
        n_tokens: Size of the vocabulary, including the mask token.
        n_classes: Number of classes.
        sizes: Sizes of the transformer.
        pooling: ``"mean"``, or ``"flatten"`` for weights per position, which tie the head to this ``context``. Padding has
            no position and is left out of the mean: the first token that is not padding has the first position. A window
            that is cut short on its left therefore needs a fill token other than ``padding``.

    Returns:
        The model; inputs ``(batch, length)`` integers, outputs ``(batch, n_classes)`` float32.

    Raises:
        ValueError: As in `decoder`, or if ``pooling`` is neither.

    Example:
        >>> model = classifier(5, 3, TransformerSizes(context=60, width=16, n_layers=1, n_heads=2))
        >>> logits, _ = jax.jit(model.apply)(*jax.jit(model.init)(jax.random.key(0)), jnp.zeros((2, 60), jnp.int32))
        >>> logits.shape
        (2, 3)

    References:
        Devlin, Chang, Lee and Toutanova (2019), BERT, NAACL, section 4.1 (fine-tuning a classifier).
        https://arxiv.org/abs/1810.04805
        Stormo, Schneider, Gold and Ehrenfeucht (1982), Use of the 'Perceptron' algorithm to distinguish translational
        initiation sites in E. coli, Nucleic Acids Research 10 (weights per position). https://doi.org/10.1093/nar/10.9.2997
    """
    require_sizes(n_classes=n_classes)
    require_choice("pooling", pooling, Pooling)
    return _model(_module(n_tokens, sizes, pooling, causal=False, n_classes=n_classes))


def tagger(n_tokens: int, n_classes: int, sizes: TransformerSizes) -> Model:
    r"""Returns the encoder with a linear head for classes on the vector of each token: for labels of tokens.

    .. math:: z_t = W x_t + b

    All parameters except ``head`` have the names and shapes of `encoder`, as for `classifier`.

    Args:
        n_tokens: Size of the vocabulary, including the mask token.
        n_classes: Number of classes of a token.
        sizes: Sizes of the transformer.

    Returns:
        The model; inputs ``(batch, length)`` integers, outputs ``(batch, length, n_classes)`` float32, meaningless for padding.

    Raises:
        ValueError: As in `decoder`.

    Example:
        >>> model = tagger(5, 3, TransformerSizes(context=60, width=16, n_layers=1, n_heads=2, kernel=3))
        >>> logits, _ = jax.jit(model.apply)(*jax.jit(model.init)(jax.random.key(0)), jnp.zeros((2, 60), jnp.int32))
        >>> logits.shape
        (2, 60, 3)

    References:
        Devlin, Chang, Lee and Toutanova (2019), BERT, NAACL, section 5.3 (labels of tokens). https://arxiv.org/abs/1810.04805
    """
    require_sizes(n_classes=n_classes)
    return _model(_module(n_tokens, sizes, "each", causal=False, n_classes=n_classes))


def embedder(n_tokens: int, sizes: TransformerSizes, *, pooling: Pooling = "mean") -> Model:
    """Returns the encoder without its output layer: normalised, pooled vectors, the inputs of a `classifier`'s head.

    Args:
        n_tokens: Size of the vocabulary, including the mask token.
        sizes: Sizes of the transformer.
        pooling: ``"mean"`` of the vectors, or ``"flatten"`` to concatenate them.

    Returns:
        The model; inputs ``(batch, length)`` integers, outputs float32 ``(batch, width)``, or ``(batch, context * width)`` with
        the tokens other than padding first, then zeros. It takes the parameters of an `encoder` or `classifier` unchanged.

    Raises:
        ValueError: As in `classifier`.

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
    """Returns the decoder for generation: its state caches the keys and values of all tokens so far.

    Its parameters are those of `decoder`. ``apply(params, cache, tokens)`` takes one or more next tokens of every sequence,
    and returns their logits and the updated cache. Sequences of different lengths start with padding.

    Args:
        n_tokens: Size of the vocabulary.
        sizes: Sizes of the decoder; ``context`` is the capacity of the cache.
        n_rows: Number of sequences generated in parallel.

    Returns:
        The model; ``init`` returns an empty cache as its state: arrays with a leading axis of sequences, and the number of
        tokens so far, including padding. Logits are nan as soon as the context is exceeded.

    Raises:
        ValueError: As in `decoder`, or if ``n_rows`` is not positive or (when called) not the number of inputs.

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
        del key  # generation has no training mode
        tokens = _as_tokens(inputs, sizes.context)
        if len(tokens) != n_rows:
            raise ValueError(f"inputs must have the cache's {n_rows} rows; got {len(tokens)}. Pass n_rows sequences.")
        outputs: Any = module.apply({"params": params, "cache": model_state}, tokens, mutable=["cache"])
        logits, cache = outputs[0], outputs[1]["cache"]
        # Past the end, updates overwrite earlier slots, and the logits would be silently wrong.
        return jnp.where(cache["n_seen"] > sizes.context, jnp.nan, logits), cache

    return Model(init, apply)


def _module(n_tokens: int, sizes: TransformerSizes, end: Any, *, causal: bool, **choices: Any) -> Transformer:
    """Returns the module behind a model."""
    require_sizes(n_tokens=n_tokens)
    if causal and sizes.kernel > 1:
        raise ValueError(
            f"kernel must be 1 for a decoder, which reads no later tokens; got {sizes.kernel}. Leave it out."
        )
    return Transformer(n_tokens, sizes, end, causal, **choices)


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
    """Returns the inputs as int32, or raises unless they are sequences of tokens that fit the context."""
    if inputs.ndim != 2 or not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise ValueError(
            f"inputs must be tokens (batch, length), integers; got {inputs.dtype} {inputs.shape}. Encode the text first."
        )
    if not 1 <= inputs.shape[1] <= context:
        raise ValueError(
            f"sequences must have 1 to {context} tokens, the context; got {inputs.shape[1]}. Cut them, or widen the context."
        )
    return jnp.asarray(inputs, jnp.int32)  # the vocabulary may exceed the range of int8

"""Recurrent networks of numbers and of tokens: gated layers, scanned over time."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxresearch.models.adapters.linen import linen
from jaxresearch.models.blocks import look_up
from jaxresearch.models.model import Model, require_choice, require_rate, require_sizes

Cell = Literal["gru", "lstm"]
_GATES = {"gru": 3, "lstm": 4}


def rnn(
    n_features: int,
    hidden: tuple[int, ...],
    n_outputs: int,
    *,
    cell: Cell = "gru",
    per_step: bool = True,
    padding: float | None = None,
    dropout_rate: float = 0.0,
    variational: bool = False,
) -> Model:
    r"""Returns a recurrent network: gated layers that read a sequence step by step, and a linear layer on their memory.

    With the memory :math:`h`, the input :math:`x` and the sigmoid :math:`\sigma`, a step of a gated recurrent unit is

    .. math::
        r = \sigma(W_r x + b_r + U_r h), \quad z = \sigma(W_z x + b_z + U_z h), \quad
        n = \tanh(W_n x + b_n + r \odot (U_n h + c)), \quad h' = (1 - z) \odot n + z \odot h

    and one of long short-term memory, which also has a cell :math:`s`,

    .. math::
        i, f, o = \sigma(W_{i, f, o} x + b_{i, f, o} + U_{i, f, o} h), \quad g = \tanh(W_g x + b_g + U_g h), \quad
        s' = f \odot s + i \odot g, \quad h' = o \odot \tanh(s')

    Memories start at zero, and the forget gates' biases :math:`b_f` at one. An output depends on its own step and on earlier
    ones, never on later ones.

    Args:
        n_features: Entries of one step's input.
        hidden: Width of each recurrent layer, from the inputs on; at least one.
        n_outputs: Number of outputs.
        cell: ``"gru"`` or ``"lstm"``.
        per_step: Whether every step has outputs, or the last one alone.
        padding: A step whose inputs all equal this number is padding, at the start or at the end: memories and outputs stay
            as they were. Choose a number that no input has. None if there is no padding.
        dropout_rate: Fraction of each layer's outputs dropped in training, 0 to less than 1.
        variational: Whether the entries to drop are drawn once for a sequence and stay dropped in all of its steps. The inputs
            of the first layer and the memories that each layer reads, :math:`h` in the products with :math:`U`, are then
            dropped as well. By default they are drawn anew in each step, and neither is dropped.

    Returns:
        The model; inputs ``(batch, length, n_features)``, or ``(batch, length)`` with one feature; outputs
        ``(batch, length, n_outputs)``, or ``(batch, n_outputs)`` without ``per_step``.

    Raises:
        ValueError: If a size is not positive, there is no layer, the cell is unknown or the rate is outside 0 to 1; when
            called, if the inputs are not sequences of ``n_features``.

    Example:
        >>> model = rnn(2, (8,), 1)
        >>> outputs, _ = model.apply(*model.init(jax.random.key(0)), jnp.ones((5, 7, 2)))
        >>> outputs.shape
        (5, 7, 1)

    References:
        Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for statistical machine translation,
        EMNLP, section 2.3 (gated units; here the reset gate acts after the product, as in cuDNN).
        https://arxiv.org/abs/1406.1078
        Hochreiter and Schmidhuber (1997), Long short-term memory, Neural Computation 9(8).
        https://doi.org/10.1162/neco.1997.9.8.1735
        Gers, Schmidhuber and Cummins (2000), Learning to forget, Neural Computation 12(10) (forget gates).
        https://doi.org/10.1162/089976600300015015
        Jozefowicz, Zaremba and Sutskever (2015), An empirical exploration of recurrent network architectures, ICML (their
        bias of one). https://proceedings.mlr.press/v37/jozefowicz15.html
        Gal and Ghahramani (2016), A theoretically grounded application of dropout in recurrent neural networks, NeurIPS,
        equation 7 (``variational``). https://arxiv.org/abs/1512.05287
    """
    require_sizes(n_features=n_features, n_outputs=n_outputs)
    _require_layers(hidden, cell, dropout_rate)
    module = Rnn(tuple(hidden), n_outputs, cell, per_step, padding, dropout_rate, variational)
    network = linen(module, jax.ShapeDtypeStruct((1, 1, n_features), jnp.float32))

    def apply(params, model_state, inputs, key=None):
        sequences = inputs[..., None] if inputs.ndim == 2 and n_features == 1 else inputs
        if sequences.ndim != 3 or sequences.shape[2] != n_features or not sequences.shape[1]:
            raise ValueError(
                f"inputs must be sequences (batch, length, {n_features}) of one step or more; got {inputs.shape}. "
                "Pass the number of entries of a step as n_features."
            )
        return network.apply(params, model_state, sequences, key)

    return Model(network.init, apply)


def token_rnn(
    n_tokens: int, hidden: tuple[int, ...], *, cell: Cell = "lstm", dropout_rate: float = 0.0, variational: bool = False
) -> Model:
    r"""Returns a recurrent language model: logits of the next token at each position, from the tokens up to it.

    Tokens are embedded as vectors of the width of the first layer, which `rnn` reads.

    =================  ==========================================  ===================================================
    dropout of         in each step (Zaremba et al.)               ``variational`` (Gal and Ghahramani)
    =================  ==========================================  ===================================================
    embeddings         entries, drawn anew in each step            entries, the same in each step; also whole kinds of
                                                                   tokens, wherever they occur in a sequence
    outputs of layers  entries, drawn anew in each step            entries, the same in each step
    memories           none                                        entries, the same in each step
    =================  ==========================================  ===================================================

    Applied with a key, as in training, it draws one network from the distribution that dropout stands for; the mean of the
    probabilities of several draws is Monte Carlo dropout.

    Args:
        n_tokens: Size of the vocabulary.
        hidden: Width of each recurrent layer, from the embeddings on; at least one.
        cell: ``"gru"`` or ``"lstm"``.
        dropout_rate: Fraction dropped, 0 to less than 1.
        variational: Whether what is dropped is drawn once for a sequence.

    Returns:
        The model; inputs ``(batch, length)`` integers, outputs ``(batch, length, n_tokens)`` float32: nan at a token outside the
        vocabulary and at all later ones.

    Raises:
        ValueError: As in `rnn`; when called, if the inputs are not integers or are empty.

    Example:
        >>> model = token_rnn(65, (16,), dropout_rate=0.5, variational=True)
        >>> logits, _ = model.apply(*model.init(jax.random.key(0)), jnp.zeros((2, 8), jnp.int32), jax.random.key(1))
        >>> logits.shape
        (2, 8, 65)

    References:
        Zaremba, Sutskever and Vinyals (2014), Recurrent neural network regularization, section 3.1.
        https://arxiv.org/abs/1409.2329
        Gal and Ghahramani (2016), A theoretically grounded application of dropout in recurrent neural networks, NeurIPS,
        sections 4.1 and 4.2. https://arxiv.org/abs/1512.05287
    """
    require_sizes(n_tokens=n_tokens)
    _require_layers(hidden, cell, dropout_rate)
    layers = Rnn(tuple(hidden), n_tokens, cell, True, None, dropout_rate, variational)
    network = linen(TokenRnn(layers), jax.ShapeDtypeStruct((1, 1), jnp.int32))

    def apply(params, model_state, inputs, key=None):
        if inputs.ndim != 2 or not jnp.issubdtype(inputs.dtype, jnp.integer) or not inputs.shape[1]:
            raise ValueError(
                f"inputs must be tokens (batch, length), integers, at least one; got {inputs.dtype} {inputs.shape}. "
                "Encode the text first."
            )
        return network.apply(params, model_state, inputs.astype(jnp.int32), key)  # a byte is a token, not a pixel

    return Model(network.init, apply)


class TokenRnn(nn.Module):
    """An embedding of tokens, and the recurrent layers that read it."""

    layers: "Rnn"

    @nn.compact
    def __call__(self, tokens, *, train: bool):
        """Returns logits ``(batch, length, n_tokens)``."""
        n_tokens, width, rate = self.layers.n_outputs, self.layers.hidden[0], self.layers.dropout_rate
        embedding = self.param("embedding", nn.initializers.normal(1 / width**0.5), (n_tokens, width))
        x = look_up(embedding, tokens, embedding.dtype)
        if rate and self.layers.variational:
            kinds = nn.Dropout(rate, deterministic=not train)(jnp.ones((len(tokens), n_tokens)))
            x = x * jnp.take_along_axis(kinds, tokens, axis=1)[..., None]
        elif rate:
            x = nn.Dropout(rate, deterministic=not train)(x)
        return self.layers(x, train=train)


class Rnn(nn.Module):
    """Recurrent layers and a linear layer on the memory of the last."""

    hidden: tuple[int, ...]
    n_outputs: int
    cell: Cell
    per_step: bool
    padding: float | None
    dropout_rate: float
    variational: bool

    @nn.compact
    def __call__(self, inputs, *, train: bool):
        """Returns outputs ``(batch, length, n_outputs)``, or ``(batch, n_outputs)`` of the last step."""
        x, is_padding = inputs, None
        if self.padding is not None:
            is_padding = jnp.all(inputs == self.padding, axis=-1)
            x = jnp.where(is_padding[..., None], 0, inputs)
        is_masked = self.variational and train and self.dropout_rate > 0
        shared = (1,) if self.variational else ()  # the axes along which a mask is the same: time

        def dropped(x: Array) -> Array:
            return nn.Dropout(self.dropout_rate, shared, deterministic=not train)(x) if self.dropout_rate else x

        x = dropped(x) if is_masked else x
        for place, width in enumerate(self.hidden):
            kept = dropped(jnp.ones((len(x), 1, width), x.dtype))[:, 0] if is_masked else None
            x = dropped(Layer(width, self.cell, name=f"layer_{place}")(x, is_padding, kept))
        return nn.Dense(self.n_outputs, name="head")(x if self.per_step else x[:, -1])


class Layer(nn.Module):
    """A layer of gated units. What the inputs contribute is computed for all steps at once, before the scan."""

    width: int
    cell: Cell

    @nn.compact
    def __call__(self, inputs, is_padding, kept):
        """Returns the memory after each step, ``(batch, length, width)``; ``kept`` scales what is read of it in every step."""
        n_gates, width = _GATES[self.cell], self.width
        driven = nn.Dense(n_gates * width, bias_init=_biases(self.cell), name="input")(inputs)
        kernel = self.param("recurrent", _orthogonal, (width, n_gates * width)).astype(driven.dtype)
        of_new = self.param("bias", nn.initializers.zeros, (width,)) if self.cell == "gru" else None
        start = jnp.zeros((len(inputs), width), driven.dtype)

        def step(memory: Any, now: tuple[Array, Array | None]) -> tuple[Any, Array]:
            driven, is_padding = now
            products = (memory[0] if kept is None else memory[0] * kept) @ kernel
            new = _gru(memory, driven, products, of_new) if of_new is not None else _lstm(memory, driven, products)
            if is_padding is not None:
                new = tuple(jnp.where(is_padding[:, None], old, one) for old, one in zip(memory, new, strict=True))
            return new, new[0]

        over_time = (driven.swapaxes(0, 1), None if is_padding is None else is_padding.T)
        _, memories = jax.lax.scan(step, (start,) if self.cell == "gru" else (start, start), over_time)
        return memories.swapaxes(0, 1)


def _require_layers(hidden: tuple[int, ...], cell: str, dropout_rate: float) -> None:
    """Raises unless there are layers of positive width, of a known cell, with a rate of dropout below 1."""
    require_sizes(**{f"hidden[{i}]": width for i, width in enumerate(hidden)})
    require_choice("cell", cell, Cell)
    if not hidden:
        raise ValueError("hidden must hold one width or more; got (). Pass (16,) for one layer of 16.")
    require_rate(dropout_rate, of="outputs")


def _gru(memory: tuple[Array, ...], driven: Array, products: Array, bias: Array) -> tuple[Array, ...]:
    """Returns the memory of gated recurrent units after a step."""
    (h,) = memory
    (r_in, z_in, n_in), (r_own, z_own, n_own) = jnp.split(driven, 3, axis=-1), jnp.split(products, 3, axis=-1)
    r, z = jax.nn.sigmoid(r_in + r_own), jax.nn.sigmoid(z_in + z_own)
    n = jnp.tanh(n_in + r * (n_own + bias[None].astype(h.dtype)))
    return ((1 - z) * n + z * h,)


def _lstm(memory: tuple[Array, ...], driven: Array, products: Array) -> tuple[Array, ...]:
    """Returns the memory and the cell of long short-term memory after a step."""
    i, f, g, o = jnp.split(driven + products, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * memory[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


def _orthogonal(key: Array, shape: tuple[int, int]) -> Float[Array, "width gates"]:
    """Draws an orthogonal matrix for each gate, side by side."""
    width, n_all = shape
    keys = jax.random.split(key, n_all // width)
    return jnp.concatenate([nn.initializers.orthogonal()(one, (width, width)) for one in keys], axis=1)


def _biases(cell: Cell) -> Any:
    """Returns the initial biases of the gates: zero, but one for the forget gate, the second of four."""

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        del key
        is_forget = jnp.arange(shape[0]) * _GATES[cell] // shape[0] == 1
        return jnp.where(is_forget, 1.0, 0.0).astype(dtype) if cell == "lstm" else jnp.zeros(shape, dtype)

    return init

"""Networks that read molecules, and two of them side by side."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxresearch import models
from jaxresearch.fields.molecules.descriptors import DESCRIPTORS
from jaxresearch.fields.molecules.preprocess import ATOM_LEVELS, N_BOND_KINDS
from jaxresearch.models import Model

GRAPH, SEQUENCE, BOTH = 0, 1, 2  # the places of the readers side by side, and of their mean


_HEAD_DROPOUT = 2.5  # times the rate of the body: the fingerprint is what a network learns by heart first


def graph_reader(
    n_whole: int, n_outputs: int, *, width: int, n_layers: int, n_hidden: int, dropout_rate: float = 0.0
) -> Model:
    """Returns a network that reads the atoms and bonds of a molecule, and the numbers of the whole.

    Args:
        n_whole: Numbers of the whole molecule.
        n_outputs: Number of outputs.
        width: Entries of an atom's vector.
        n_layers: Rounds of messages between atoms.
        n_hidden: Units of the layer before the outputs.
        dropout_rate: Fraction of entries dropped in training, less than 0.4; of the hidden layer, 2.5 times as many.

    Returns:
        The model: `jaxresearch.models.message_passing`, and a hidden layer on its vector beside ``whole``. Inputs are those of
        `molecule_graphs`.

    Example:
        >>> model = graph_reader(30, 2, width=8, n_layers=2, n_hidden=16)
        >>> sorted(model.init(jax.random.key(0))[0])
        ['body', 'head']
    """
    body = models.message_passing(ATOM_LEVELS, N_BOND_KINDS, width=width, n_layers=n_layers, dropout_rate=dropout_rate)
    return _with_head(body, lambda inputs: inputs, 2 * width, n_whole, n_outputs, n_hidden, dropout_rate)


def sequence_reader(
    n_tokens: int, n_whole: int, n_outputs: int, *, width: int, n_hidden: int, dropout_rate: float = 0.0
) -> Model:
    """Returns a network that reads the tokens of a SMILES string, and the numbers of the whole molecule.

    Args:
        n_tokens: Size of the vocabulary; the last token is padding.
        n_whole: Numbers of the whole molecule.
        n_outputs: Number of outputs.
        width: Recurrent units.
        n_hidden: Units of the layer before the outputs.
        dropout_rate: Fraction of entries dropped in training, less than 0.4; of the hidden layer, 2.5 times as many.

    Returns:
        The model: gated units, and a hidden layer on their last memory beside ``whole``. Inputs are those of `molecule_graphs`.

    Example:
        >>> model = sequence_reader(40, 30, 2, width=8, n_hidden=16)
        >>> sorted(model.init(jax.random.key(0))[0])
        ['body', 'head']
    """
    units = models.rnn(n_tokens, (width,), width, per_step=False, padding=-1.0, dropout_rate=dropout_rate)

    def apply(params, model_state, tokens, key=None):
        is_padding = (tokens == n_tokens - 1)[..., None]
        return units.apply(params, model_state, jnp.where(is_padding, -1.0, jax.nn.one_hot(tokens, n_tokens)), key)

    return _with_head(
        Model(units.init, apply), lambda inputs: inputs["tokens"], width, n_whole, n_outputs, n_hidden, dropout_rate
    )


def _with_head(body: Model, of: Callable[[Any], Any], *sizes: Any) -> Model:
    """Returns a model with a hidden layer on the body's vector and the numbers of the whole molecule, whose counts drop out."""
    n_body, n_whole, n_outputs, n_hidden, dropout_rate = sizes
    head = models.mlp(n_body + n_whole, (n_hidden,), n_outputs, dropout_rate=_HEAD_DROPOUT * dropout_rate)

    def init(key):
        of_body, of_head = jax.random.split(key)
        return {"body": body.init(of_body)[0], "head": head.init(of_head)[0]}, {}

    def apply(params, model_state, inputs, key=None):
        whole, keys = inputs["whole"], (None, None)
        if key is not None:
            *keys, of_whole = jax.random.split(key, 3)
            described, counts = jnp.split(whole, [len(DESCRIPTORS)], axis=-1)
            kept = jax.random.bernoulli(of_whole, 1 - dropout_rate, counts.shape)
            whole = jnp.concatenate([described, jnp.where(kept, counts / (1 - dropout_rate), 0.0)], axis=-1)
        vector, _ = body.apply(params["body"], {}, of(inputs), keys[0])
        outputs, _ = head.apply(params["head"], {}, jnp.concatenate([vector, whole], axis=-1), keys[1])
        return outputs, model_state

    return Model(init, apply)


def both_readers(n_tokens: int, n_whole: int, n_outputs: int, **sizes: Any) -> Model:
    """Returns ensembles of `graph_reader` and of `sequence_reader` side by side, and what both predict on average.

    Args:
        n_tokens: Size of the vocabulary.
        n_whole: Numbers of the whole molecule.
        n_outputs: Number of outputs: classes, or values.
        **sizes: ``width``, ``n_layers`` (of the graph reader), ``n_hidden``, ``dropout_rate``, ``n_members`` of each
            ensemble, and what they ``average``, as for `jaxresearch.models.ensemble`.

    Returns:
        The model; the last axis of its outputs has `GRAPH`, `SEQUENCE` and `BOTH`, the mean of their probabilities (as
        logarithms) or outputs.

    Example:
        >>> model = both_readers(40, 30, 2, width=8, n_layers=1, n_hidden=16, n_members=2, average="outputs")
        >>> sorted(model.init(jax.random.key(0))[0])
        ['graph', 'sequence']
    """
    average = sizes.pop("average")
    of_ensemble = {"n_members": sizes.pop("n_members"), "average": average}
    n_layers = sizes.pop("n_layers")
    named = {
        "graph": graph_reader(n_whole, n_outputs, n_layers=n_layers, **sizes),
        "sequence": sequence_reader(n_tokens, n_whole, n_outputs, **sizes),
    }
    readers = models.side_by_side({name: models.ensemble(model, **of_ensemble) for name, model in named.items()})

    def apply(params, model_state, inputs, key=None):
        outputs, model_state = readers.apply(params, model_state, inputs, key)
        if average == "outputs":
            mean = outputs.mean(axis=-1)
        else:
            mean = jax.nn.logsumexp(jax.nn.log_softmax(outputs, axis=-2), axis=-1) - jnp.log(2.0)
        return jnp.concatenate([outputs, mean[..., None]], axis=-1), model_state

    return Model(readers.init, apply)


def loss_of_both(loss: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Returns the sum of the losses of both readers, which share no parameter; their mean is not trained.

    Args:
        loss: ``(outputs, targets) -> losses`` of one model.

    Returns:
        The same for the outputs of `both_readers`.

    Example:
        >>> from jaxresearch import losses
        >>> loss_of_both(losses.squared_error)(jnp.array([[[5.0, 1.0, 3.0]]]), jnp.array([[3.0]])).tolist()
        [[8.0]]
    """

    def of_both(outputs, targets):
        return loss(outputs[..., GRAPH], targets) + loss(outputs[..., SEQUENCE], targets)

    return of_both

"""Models with one interface, ``Model(init, apply)``: networks in Flax Linen, and adapters for other libraries.

Each is imported on first use, so that unused libraries cost no time.
"""

from typing import TYPE_CHECKING, Any

from jaxresearch.models.adapters.function import function
from jaxresearch.models.model import Model

if TYPE_CHECKING:
    from jaxresearch.models.adapters.equinox import equinox
    from jaxresearch.models.adapters.linen import linen
    from jaxresearch.models.adapters.nnx import nnx
    from jaxresearch.models.blocks import TransformerSizes
    from jaxresearch.models.convolutional import cnn, sequence_cnn
    from jaxresearch.models.graph import message_passing
    from jaxresearch.models.layers import attention_weights, layer_shapes, split_at
    from jaxresearch.models.patches import conv_general_dilated, max_pool
    from jaxresearch.models.perceptron import linear, mlp
    from jaxresearch.models.recurrent import rnn, token_rnn
    from jaxresearch.models.rematerialisation import rematerialised
    from jaxresearch.models.residual_network import residual
    from jaxresearch.models.transformer import cached_decoder, classifier, decoder, embedder, encoder, tagger
    from jaxresearch.models.wrappers import ensemble, monte_carlo, side_by_side, warm_started, word_dropout

__all__ = [
    "Model",
    "TransformerSizes",
    "attention_weights",
    "cached_decoder",
    "classifier",
    "cnn",
    "conv_general_dilated",
    "decoder",
    "embedder",
    "encoder",
    "ensemble",
    "equinox",
    "function",
    "layer_shapes",
    "linear",
    "linen",
    "max_pool",
    "message_passing",
    "mlp",
    "monte_carlo",
    "nnx",
    "rematerialised",
    "rnn",
    "residual",
    "sequence_cnn",
    "side_by_side",
    "split_at",
    "tagger",
    "token_rnn",
    "warm_started",
    "word_dropout",
]

_FILES = {
    "TransformerSizes": "blocks",
    "attention_weights": "layers",
    "cached_decoder": "transformer",
    "classifier": "transformer",
    "cnn": "convolutional",
    "conv_general_dilated": "patches",
    "decoder": "transformer",
    "embedder": "transformer",
    "encoder": "transformer",
    "ensemble": "wrappers",
    "equinox": "adapters.equinox",
    "layer_shapes": "layers",
    "linear": "perceptron",
    "linen": "adapters.linen",
    "max_pool": "patches",
    "message_passing": "graph",
    "mlp": "perceptron",
    "monte_carlo": "wrappers",
    "nnx": "adapters.nnx",
    "rematerialised": "rematerialisation",
    "rnn": "recurrent",
    "residual": "residual_network",
    "sequence_cnn": "convolutional",
    "side_by_side": "wrappers",
    "split_at": "layers",
    "tagger": "transformer",
    "token_rnn": "recurrent",
    "warm_started": "wrappers",
    "word_dropout": "wrappers",
}


def __getattr__(name: str) -> Any:
    """Imports a model on first use."""
    import importlib

    if name in _FILES:
        return getattr(importlib.import_module(f"jaxresearch.models.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the public names."""
    return __all__

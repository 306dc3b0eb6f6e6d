"""Models behind one seam, ``Model(init, apply)``: our own in Flax Linen, and adapters for other libraries.

Each is imported when it is used, so that nobody waits for a library of no use to them.
"""

from typing import TYPE_CHECKING, Any

from jaxresearch.models.function import function
from jaxresearch.models.model import Model

if TYPE_CHECKING:
    from jaxresearch.models.convolutional import cnn
    from jaxresearch.models.equinox_adapter import equinox
    from jaxresearch.models.linen_adapter import linen
    from jaxresearch.models.nnx_adapter import nnx
    from jaxresearch.models.perceptron import linear, mlp

__all__ = ["Model", "cnn", "equinox", "function", "linear", "linen", "mlp", "nnx"]

_FILES = {
    "cnn": "convolutional",
    "equinox": "equinox_adapter",
    "linear": "perceptron",
    "linen": "linen_adapter",
    "mlp": "perceptron",
    "nnx": "nnx_adapter",
}


def __getattr__(name: str) -> Any:
    """Imports a model at its first use."""
    import importlib

    if name in _FILES:
        return getattr(importlib.import_module(f"jaxresearch.models.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the public names."""
    return __all__

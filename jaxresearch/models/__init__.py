"""Models behind one seam, ``Model(init, apply)``: our own in Flax Linen, and adapters for other libraries.

The adapters for NNX and Equinox are imported when they are used, so that nobody waits for a library of no use to them.
"""

from typing import TYPE_CHECKING, Any

from jaxresearch.models.cnn import cnn
from jaxresearch.models.function import function
from jaxresearch.models.linen import linen
from jaxresearch.models.mlp import linear, mlp
from jaxresearch.models.model import Model

if TYPE_CHECKING:
    from jaxresearch.models.equinox_adapter import equinox
    from jaxresearch.models.nnx_adapter import nnx

__all__ = ["Model", "cnn", "equinox", "function", "linear", "linen", "mlp", "nnx"]


def __getattr__(name: str) -> Any:
    """Imports an adapter at its first use."""
    import importlib

    if name in ("equinox", "nnx"):
        return getattr(importlib.import_module(f"jaxresearch.models.{name}_adapter"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Collecting and preprocessing: bundled sets, TFDS, the user's own files; NumPy arrays on the host.

``load`` is the door to all sources, ``encode_dataset`` the step to what a model takes. ``dna`` and ``text`` make arrays of
sequences and of text: ``from jaxresearch.data import dna, text``.
"""

from jaxresearch.data import dna, text
from jaxresearch.data.dataset import DataCard, Dataset, check, digest, require_columns
from jaxresearch.data.folds import fold, sample, stacked
from jaxresearch.data.load import encode_dataset, load
from jaxresearch.data.mnist import mnist
from jaxresearch.data.splits import development, split
from jaxresearch.data.tables import encode, fit_encoder
from jaxresearch.data.tfds import sealed_by

__all__ = [
    "DataCard",
    "Dataset",
    "check",
    "development",
    "digest",
    "dna",
    "encode",
    "encode_dataset",
    "fit_encoder",
    "fold",
    "load",
    "mnist",
    "require_columns",
    "sample",
    "sealed_by",
    "split",
    "stacked",
    "text",
]

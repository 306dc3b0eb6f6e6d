"""Collecting and preprocessing: bundled sets, TFDS, the user's own files; NumPy arrays on the host.

``load`` reads all sources, ``encode_dataset`` makes of them what a model takes.
"""

from jaxresearch.data.bundled import mnist
from jaxresearch.data.dataset import DataCard, Dataset, check, digest, require_columns
from jaxresearch.data.files.tables import encode, fit_encoder
from jaxresearch.data.load import encode_dataset, load
from jaxresearch.data.parts import Streams, map_arrays, n_examples, named_arrays
from jaxresearch.data.splits import development, fold, sample, split, stacked, take, with_validation

__all__ = [
    "DataCard",
    "Dataset",
    "Streams",
    "map_arrays",
    "n_examples",
    "named_arrays",
    "check",
    "development",
    "digest",
    "encode",
    "encode_dataset",
    "fit_encoder",
    "fold",
    "load",
    "mnist",
    "require_columns",
    "sample",
    "split",
    "stacked",
    "take",
    "with_validation",
]

"""Loading and preprocessing: bundled data sets, TFDS and your own files, as NumPy arrays on the host.

``load`` reads any source, ``prepare`` turns it into arrays for a model.
"""

from jaxresearch.data.bundled import mnist
from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import (
    Column,
    DataCard,
    Dataset,
    Fitted,
    RunsOf,
    Split,
    check,
    digest,
    groups_of_test,
    without_padding,
)
from jaxresearch.data.folds import fold, in_sample, stacked, widened
from jaxresearch.data.load import BUNDLED, load
from jaxresearch.data.needed import require_columns, require_images, require_texts, unused_notes
from jaxresearch.data.new_rows import NewRows, far_notes, new_rows, require_asked_column
from jaxresearch.data.numbering import NUMBERS, numbered, without_numbers
from jaxresearch.data.parts import Streams, arrays_by_path, map_arrays, n_examples, named_arrays
from jaxresearch.data.preprocess import Preprocessor, flat, nested, numbers, padded, prepare, standard
from jaxresearch.data.ranks import with_ranks
from jaxresearch.data.rows import Rows
from jaxresearch.data.splits import development, require_examples_of_classes, sample, split, take, with_validation

__all__ = [
    "BUNDLED",
    "Collected",
    "Column",
    "DataCard",
    "Dataset",
    "NUMBERS",
    "Fitted",
    "NewRows",
    "Preprocessor",
    "Rows",
    "RunsOf",
    "Split",
    "Streams",
    "arrays_by_path",
    "map_arrays",
    "n_examples",
    "named_arrays",
    "nested",
    "numbered",
    "new_rows",
    "numbers",
    "padded",
    "prepare",
    "check",
    "development",
    "digest",
    "far_notes",
    "flat",
    "fold",
    "in_sample",
    "load",
    "mnist",
    "groups_of_test",
    "without_numbers",
    "without_padding",
    "require_asked_column",
    "require_columns",
    "require_images",
    "require_examples_of_classes",
    "require_texts",
    "sample",
    "split",
    "stacked",
    "standard",
    "take",
    "unused_notes",
    "widened",
    "with_ranks",
    "with_validation",
]

"""A data set: training, validation and test parts, and a card that describes them."""

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxresearch.data.parts import Part, map_arrays, n_examples, named_arrays
from jaxresearch.data.rows import Rows, pieces

Columns = dict[str, np.ndarray]
Fitted = dict[str, Any]  # nested dicts of NumPy arrays, of numbers or of words
Kind = Literal["number", "category", "date", "text", "id"]
RunsOf = Literal["folds", "splits", "subsets"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table: part of the schema, which is always shown, since it is inferred.

    Attributes:
        name: In the header.
        kind: Numbers and dates (days since 1970) are float64 with nan for missing cells; categories are int32 indices of
            ``levels`` with -1; texts and ids are strings with "".
        levels: The sorted values of a category, over the whole table.
        n_missing: Number of missing cells, over the whole table.
        note: How the cells were read, if not literally: a currency sign, a decimal comma.
    """

    name: str
    kind: Kind
    levels: tuple[str, ...] = ()
    n_missing: int = 0
    note: str = ""

    @property
    def has_missing(self) -> bool:
        """Whether a cell of the table is missing."""
        return self.n_missing > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
    """The rule by which examples are held out: for testing, for validation, or as a fold.

    ===========  ====================================================================================
    ``by``       held out
    ===========  ====================================================================================
    ``class``    random examples of each class; for regression, random examples
    ``random``   random examples
    ``group``    random whole groups (a patient, a pupil): examples of a group stay together
    ``time``     the latest examples; examples of the same time stay together
    ``stretch``  the last examples in the order of the data
    ===========  ====================================================================================

    Attributes:
        by: A rule from the table.
        column: The column of groups or times, if the source is a table.
        fraction: Of the examples, above 0 and below 1; None if the source has its own test part.
        seed: Of the draw.
    """

    by: Literal["class", "random", "group", "time", "stretch"] = "class"
    column: str | None = None
    fraction: float | None = 0.2
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataCard:
    """The origin and content of a data set.

    Attributes:
        name: A short name.
        source: An address, a path, or ``"bundled"``.
        licence: As given by the authors; empty if unknown.
        citation: Whom to cite; empty if unknown.
        sha256: Pairs of the name and digest of each file read.
        class_names: One per class; empty for regression.
        feature_shape: Shape of one example's inputs; for a table not yet encoded, its number of columns.
        feature_dtype: Type of an example's inputs after preprocessing.
        feature_arrays: Path, shape and type of each array of an example's inputs after preprocessing, if they are a dict.
        feature_names: One per column of a table; empty for images.
        vocabulary: One name per token, if the inputs are tokens.
        columns: The schema of a table: the kind of each input column.
        target: The column to predict, if the source is a table.
        split: The rule for the test part, validation data and folds.
        padding: Fills up examples that are shorter in one fold than in another.
        gap: Number of following examples that share content with an example, as overlapping windows of a text do; this many
            are left out between parts. 0 if examples are independent.
        in_sample: Whether the test part is declared to be the training examples: results are then descriptive, not
            predictive.
        notes: Remarks on how the data was read, a line each.
    """

    name: str
    source: str
    licence: str = ""
    citation: str = ""
    sha256: tuple[tuple[str, str], ...] = ()
    class_names: tuple[str, ...] = ()
    feature_shape: tuple[int, ...] = ()
    feature_dtype: str = ""
    feature_arrays: tuple[tuple[tuple[str, ...], tuple[int, ...], str], ...] = ()
    feature_names: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    target: Column | None = None
    split: Split = Split(fraction=None)
    padding: int = 0
    gap: int = 0
    in_sample: bool = False
    notes: tuple[str, ...] = ()

    @property
    def n_classes(self) -> int:
        """Number of classes; raises for regression data."""
        if not self.class_names:
            raise ValueError(f"targets of {self.name} must be classes; they are values. Choose another target.")
        return len(self.class_names)

    @property
    def n_features(self) -> int:
        """Entries of one example, over all its axes."""
        return math.prod(self.feature_shape)


class Dataset(NamedTuple):
    """The training, test and optional validation part, each ``{"inputs": ..., "targets": ...}``.

    Targets are int32 classes ``(n,)`` or values ``(n, outputs)``, float64 before preprocessing. The inputs of a table are a
    dict of columns before preprocessing. Parts split by group or time also have ``groups`` ``(n,)``, int32. ``fitted`` holds
    the estimates of `jaxresearch.data.prepare` from the training part.

    If each run has its own data (`jaxresearch.data.stacked`), ``n_runs`` is the number of runs, every array has a leading
    axis of runs, and ``fitted`` is a tuple. The runs are folds of a cross-validation, splits into training and test part, or
    subsets of one training part (``runs_of``). The parts named in ``shared`` are common to all runs and lack that axis.
    """

    train: Part
    test: Part
    validation: Part | None
    card: DataCard
    n_runs: int = 0
    fitted: Any = {}
    runs_of: RunsOf = "folds"
    shared: tuple[str, ...] = ()

    @property
    def n_folds(self) -> int:
        """Number of folds, 0 without folds."""
        return self.n_runs if self.runs_of == "folds" else 0

    @property
    def is_resplit(self) -> bool:
        """Whether each run has its own split of the data."""
        return self.n_runs > 0 and self.runs_of == "splits"

    @property
    def axis(self) -> int | None:
        """The axis of runs in the arrays: 0 if each run has its own data, as in cross-validation, else None."""
        return 0 if self.n_runs else None

    def axis_of(self, part: Part | None) -> int | None:
        """Returns the axis of runs in one of the parts, None if all runs share it."""
        return None if any(part is getattr(self, name) for name in self.shared) else self.axis

    def sizes(self, name: str) -> tuple[int, ...]:
        """Returns the number of examples of each run in a part, or a single number if all runs share the data.

        Padding examples, of weight 0, do not count.
        """
        return tuple(_n_counted(self.of_run(place).parts()[name]) for place in range(self.n_runs or 1))

    @property
    def n_train(self) -> int:
        """Number of training examples of a run (in the first stream, if there are several), 0 without data."""
        return n_examples(self.of_run(0).train)

    def of_run(self, place: int) -> "Dataset":
        """Returns the data of one run, such as one fold."""
        if not self.n_runs:
            return self
        own = {name: part for name, part in self.parts().items() if name not in self.shared}
        parts = {name: map_arrays(lambda array: array[place], part) for name, part in own.items()}
        return self._replace(**parts, n_runs=0, fitted=self.fitted[place], runs_of="folds", shared=())

    def parts(self) -> dict[str, Part]:
        """Returns the existing parts, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


def _n_counted(part: Part) -> int:
    """Returns the number of examples with a non-zero weight."""
    if "unit_weights" in part:  # the examples of units side by side
        return int(np.count_nonzero(part["unit_weights"]))
    weights = part.get("weights")
    return n_examples(part) if weights is None or np.ndim(weights) != 1 else int(np.count_nonzero(weights))


def check(dataset: Dataset) -> None:
    """Raises an error that names the part and the rule if the data cannot be trained on.

    Args:
        dataset: Images or tables, encoded or not.

    Raises:
        ValueError: If a part is empty, inputs and targets differ in number, an input is NaN or infinite (except for missing
            numbers in a table before encoding), the parts differ in the shape of an example or only one holds pixels
            (uint8), or a target is not a class.

    Example:
        >>> part = {"inputs": np.zeros((2, 3)), "targets": np.array([0, 5], np.int32)}
        >>> check(Dataset(part, part, None, DataCard(name="mine", source="memory", class_names=("a", "b"))))
        Traceback (most recent call last):
        ...
        ValueError: labels of the train part must be from 0 to 1, got 5 at example 1. Correct it or drop the example.
    """
    for name, part in dataset.parts().items():
        columns = part["inputs"] if isinstance(part["inputs"], dict) else {"inputs": part["inputs"]}
        n_examples = len(part["targets"])
        for column, values in columns.items():
            if len(values) != n_examples:
                raise ValueError(
                    f"inputs and targets of the {name} part must have the same length, got {len(values)} and {n_examples}. "
                    "Give each input one target."
                )
            _require_finite(f"{column} of the {name} part", values, missing_allowed=isinstance(part["inputs"], dict))
        if not n_examples:
            raise ValueError(f"the {name} part must hold at least one example, got none. Add examples.")
        _require_finite(f"targets of the {name} part", part["targets"], missing_allowed=False)
        if dataset.card.class_names:
            _require_classes(name, part["targets"], dataset.card.n_classes)
    _require_alike({name: part["inputs"] for name, part in dataset.parts().items()})


def groups_of_test(dataset: Dataset) -> np.ndarray | None:
    """Returns the group number of each test example, counted from 0.

    Args:
        dataset: The data to evaluate on.

    Returns:
        ``(examples,)``, without examples of weight 0; None if there are no groups, or runs differ in their test examples.

    Example:
        >>> part = {"inputs": np.zeros((3, 1)), "targets": np.zeros(3), "groups": np.array([7, 4, 7])}
        >>> groups_of_test(Dataset(part, part, None, DataCard(name="a", source="b"))).tolist()
        [1, 0, 1]
    """
    if not dataset.test or dataset.n_folds or dataset.is_resplit:
        return None
    test = dataset.of_run(0).test
    if "groups" not in test:
        return None
    counts = np.asarray(test.get("weights", np.ones(len(test["groups"])))) != 0
    return np.unique(np.asarray(test["groups"])[counts], return_inverse=True)[1].reshape(-1)


def without_padding(dataset: Dataset, of_examples: Any) -> Any:
    """Returns values of test examples, such as influences, without those of weight 0.

    Args:
        dataset: The data to evaluate on.
        of_examples: ``(runs, examples, ...)``, or None.

    Returns:
        ``(runs, examples of non-zero weight, ...)``; unchanged for folds and splits, whose examples differ by run.

    Example:
        >>> part = {"inputs": np.zeros((3, 1)), "targets": np.zeros(3), "weights": np.array([1.0, 0.0, 2.0])}
        >>> without_padding(Dataset(part, part, None, DataCard(name="a", source="b")), np.array([[5, 6, 7]])).tolist()
        [[5, 7]]
    """
    if of_examples is None or dataset.n_folds or dataset.is_resplit or not dataset.test:
        return of_examples
    weights = dataset.of_run(0).test.get("weights")
    return of_examples if weights is None else of_examples[:, np.asarray(weights) != 0]


def require_digests(card: DataCard, digests: dict[str, str]) -> None:
    """Raises an error that names the first file whose SHA-256 is not the expected one.

    Args:
        card: Holds the SHA-256 of the files read.
        digests: The expected SHA-256, by file name.

    Raises:
        ValueError: If a digest differs.

    Example:
        >>> require_digests(DataCard(name="a", source="b", sha256=(("a.csv", "12"),)), {"a.csv": "34"})
        Traceback (most recent call last):
        ...
        ValueError: a.csv must have SHA-256 34, got 12. The archive was altered: reinstall it.
    """
    for name, digest in card.sha256:
        if digest != digests.get(name):
            raise ValueError(
                f"{name} must have SHA-256 {digests.get(name)}, got {digest}. The archive was altered: reinstall it."
            )


def digest(part: Part | Fitted) -> str:
    """Returns the SHA-256 of the names, types, shapes and values of all arrays of a part or of fitted estimates.

    Rows on disk contribute their `Rows.digest`.

    Args:
        part: Preprocessed inputs and targets.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> digest({"inputs": np.zeros(2)}) == digest({"inputs": np.zeros(2)}) != digest({"inputs": np.zeros((2, 1))})
        True
    """
    sha256 = hashlib.sha256()
    for name, values in named_arrays(part):
        array = values if isinstance(values, Rows) else np.ascontiguousarray(values)
        sha256.update(f"{name} {array.dtype.str} {array.shape};".encode())
        if isinstance(array, Rows):
            sha256.update(array.digest.encode())
        else:
            sha256.update(array.data if array.dtype.kind in "biufc" else _text_bytes(name, array))
    return sha256.hexdigest()


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file, read in chunks.

    Args:
        path: The file.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import os
        >>> file_digest(Path(os.devnull))[:8]
        'e3b0c442'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text_bytes(name: str, array: np.ndarray) -> bytes:
    """Returns strings as bytes, each with its length; raises for other objects, which have no stable bytes."""
    if not all(isinstance(word, str) for word in array.flat):
        raise ValueError(
            f"{name} must hold numbers or words, got an array of {array.dtype}. Make it an array of one type."
        )
    return b"".join(len(word).to_bytes(8, "little") + word.encode() for word in map(str, array.flat))


def _require_alike(inputs: dict[str, Any]) -> None:
    """Raises if the examples of a part differ in form from those of the training part."""
    kinds = {
        name: f"{'pixels' if values.dtype == np.uint8 else 'numbers'} of shape {values.shape[1:]}"
        for name, values in inputs.items()
        if not isinstance(values, dict)
    }
    for name, kind in kinds.items():
        if kind != kinds.get("train"):
            raise ValueError(
                f"examples of the {name} part must be like those of the train part, {kinds.get('train')}, got {kind}. "
                "Save all parts in one form."
            )


def _require_finite(name: str, values: Any, *, missing_allowed: bool) -> None:
    """Raises if an entry is not finite, naming the first one."""
    if values.dtype.kind != "f":
        return
    start, found, n_bad = 0, "", 0
    for piece in pieces(values):
        bad = np.isinf(piece) if missing_allowed else ~np.isfinite(piece)
        if bad.any() and not found:
            first = np.unravel_index(np.argmax(bad), bad.shape)
            found = f"{piece[first]} at example {start + first[0]}"
        start, n_bad = start + len(piece), n_bad + int(bad.sum())
    if found:
        raise ValueError(f"{name} must be finite, got {found} ({n_bad:,} in all). Correct them or drop the examples.")


def _require_classes(name: str, labels: np.ndarray, n_classes: int) -> None:
    """Raises if a label is not a class, naming the first one."""
    bad = (labels < 0) | (labels >= n_classes)
    if bad.any():
        first = np.unravel_index(np.argmax(bad), bad.shape)
        raise ValueError(
            f"labels of the {name} part must be from 0 to {n_classes - 1}, got {labels[first]} at example {first[0]}. "
            "Correct it or drop the example."
        )

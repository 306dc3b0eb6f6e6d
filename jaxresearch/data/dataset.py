"""What a source of data is turned into: parts, and a card that says where they come from."""

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
    """One column of a table as it was read: part of the schema, which is shown and never guessed at in silence.

    Attributes:
        name: In the header.
        kind: What its cells are: numbers and dates (days since 1970) are float64 with nan where missing; categories are
            int32 indices of ``levels`` with -1 where missing; texts and ids are words with "" where missing.
        levels: Of a category: its words over the whole table, sorted.
        n_missing: Number of its cells that are missing, over the whole table.
        note: How the cells were read, where that is not plain: a currency sign, a decimal comma.
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
    """The rule by which a share of the examples is held out: for the test, for validation, or as a fold.

    ===========  ===================================================================================================
    ``by``       what is held out
    ===========  ===================================================================================================
    ``class``    examples drawn at random, class by class; of values, at random
    ``random``   examples drawn at random
    ``group``    whole groups (a patient, a pupil), drawn at random: examples of a group stay together
    ``time``     the latest examples; examples of one time stay together
    ``stretch``  the last examples in the order of the data
    ===========  ===================================================================================================

    Attributes:
        by: One of the table.
        column: Of the groups or times, where the source is a table.
        fraction: Of the examples, above 0 and below 1; None where the source has a test part of its own.
        seed: Of the draw.
    """

    by: Literal["class", "random", "group", "time", "stretch"] = "class"
    column: str | None = None
    fraction: float | None = 0.2
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataCard:
    """Where data comes from and what it holds.

    Attributes:
        name: A short name.
        source: An address, a path, or ``"bundled"``.
        licence: As its authors give it; empty where unknown.
        citation: Whom to cite; empty where unknown.
        sha256: Pairs of file name and digest of what was read.
        class_names: One for each class; empty for regression.
        feature_shape: Shape of one example's inputs; for a table not yet encoded, its number of columns.
        feature_dtype: Type of the numbers of an example's inputs, once they are prepared.
        feature_names: One for each column of a table; empty for images.
        vocabulary: One name for each token, where the inputs are tokens.
        columns: The schema of a table: the kind of each column of the inputs.
        target: The column to predict, where the source is a table.
        split: How the test part was held out, and how validation data and folds are.
        padding: What fills up the examples of a fold that are shorter than those of another.
        gap: How many of the next examples share content with an example, as overlapping windows of a text do; so many are
            left out between two parts. 0 where examples stand on their own.
        in_sample: Whether the test part is declared to be the training examples themselves: the results describe the data
            and forecast nothing.
        notes: What was done to the data while it was read, a line each.
    """

    name: str
    source: str
    licence: str = ""
    citation: str = ""
    sha256: tuple[tuple[str, str], ...] = ()
    class_names: tuple[str, ...] = ()
    feature_shape: tuple[int, ...] = ()
    feature_dtype: str = ""
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
        """Number of classes; an error where the targets are values, since asking for classes is then a mistake."""
        if not self.class_names:
            raise ValueError(f"targets of {self.name} must be classes; they are values. Choose another target.")
        return len(self.class_names)

    @property
    def n_features(self) -> int:
        """Entries of one example, over all its axes."""
        return math.prod(self.feature_shape)


class Dataset(NamedTuple):
    """Training, test and (where the source has one) validation part, each ``{"inputs": ..., "targets": ...}``.

    Targets are int32 classes ``(n,)`` or values ``(n, outputs)``, float64 until they are preprocessed. The inputs of a table
    are a dict of columns until then. Parts divided by group or time have ``groups`` ``(n,)``, int32, as well. ``fitted`` is
    what `jaxresearch.data.prepare` estimated on the training part.

    Where each run has data of its own (`jaxresearch.data.stacked`), ``n_runs`` is their number, every array has a leading
    axis of them, and ``fitted`` is a tuple. ``runs_of`` says what they are: folds of a cross-validation, splits of the data
    into training and test part, or subsets of one training part. The parts named in ``shared`` are the same for all runs and
    have no such axis.
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
        """Number of folds; 0 where there are none."""
        return self.n_runs if self.runs_of == "folds" else 0

    @property
    def is_resplit(self) -> bool:
        """Whether each run divides the data anew."""
        return self.n_runs > 0 and self.runs_of == "splits"

    @property
    def axis(self) -> int | None:
        """The axis of the runs in the arrays: 0 where each run has data of its own, as in cross-validation, else None."""
        return 0 if self.n_runs else None

    def axis_of(self, part: Part | None) -> int | None:
        """Returns the axis of the runs in one of the parts: None where all runs share it."""
        return None if any(part is getattr(self, name) for name in self.shared) else self.axis

    def sizes(self, name: str) -> tuple[int, ...]:
        """Returns the number of examples that each run has in a part, or the one number where all runs share the data.

        Examples of weight 0, which fill up the parts of some runs, do not count.
        """
        return tuple(_n_counted(self.of_run(place).parts()[name]) for place in range(self.n_runs or 1))

    @property
    def n_train(self) -> int:
        """Number of training examples of a run: of the first stream where there are several, 0 without data."""
        return n_examples(self.of_run(0).train)

    def of_run(self, place: int) -> "Dataset":
        """Returns the data of one run: its fold, where there are folds."""
        if not self.n_runs:
            return self
        own = {name: part for name, part in self.parts().items() if name not in self.shared}
        parts = {name: map_arrays(lambda array: array[place], part) for name, part in own.items()}
        return self._replace(**parts, n_runs=0, fitted=self.fitted[place], runs_of="folds", shared=())

    def parts(self) -> dict[str, Part]:
        """Returns the parts that there are, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


def _n_counted(part: Part) -> int:
    """Returns the number of examples whose weight is not 0."""
    weights = part.get("weights")
    return n_examples(part) if weights is None or np.ndim(weights) != 1 else int(np.count_nonzero(weights))


def check(dataset: Dataset) -> None:
    """Raises an error that names the part and the rule, where the data cannot be trained on.

    Args:
        dataset: Images or tables, encoded or not.

    Raises:
        ValueError: If a part is empty, inputs and targets differ in number, an input is NaN or infinite (a missing
            number in a table is allowed until it is encoded), the parts differ in the shape of an example or one holds
            pixels (uint8) and another does not, or a target is none of the classes.

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
                    f"inputs and targets of the {name} part must be equally many, got {len(values)} and {n_examples}. "
                    "Give each input one target."
                )
            _require_finite(f"{column} of the {name} part", values, missing_allowed=isinstance(part["inputs"], dict))
        if not n_examples:
            raise ValueError(f"the {name} part must hold at least one example, got none. Give it more data.")
        _require_finite(f"targets of the {name} part", part["targets"], missing_allowed=False)
        if dataset.card.class_names:
            _require_classes(name, part["targets"], dataset.card.n_classes)
    _require_alike({name: part["inputs"] for name, part in dataset.parts().items()})


def groups_of_test(dataset: Dataset) -> np.ndarray | None:
    """Returns the number of the group of each test example, 0 and up, where they come in groups.

    None where runs are tested on other examples each.

    Args:
        dataset: What is evaluated on.

    Returns:
        ``(examples,)``, for the examples whose weight is not 0.

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
    """Returns values of test examples, such as influences, less those of examples whose weight is 0.

    Args:
        dataset: What is evaluated on.
        of_examples: ``(runs, examples, ...)``, or None.

    Returns:
        ``(runs, examples with a weight, ...)``; of folds and splits, whose examples differ by run, all of them.

    Example:
        >>> part = {"inputs": np.zeros((3, 1)), "targets": np.zeros(3), "weights": np.array([1.0, 0.0, 2.0])}
        >>> without_padding(Dataset(part, part, None, DataCard(name="a", source="b")), np.array([[5, 6, 7]])).tolist()
        [[5, 7]]
    """
    if of_examples is None or dataset.n_folds or dataset.is_resplit or not dataset.test:
        return of_examples
    weights = dataset.of_run(0).test.get("weights")
    return of_examples if weights is None else of_examples[:, np.asarray(weights) != 0]


def require_columns(part: Part, card: DataCard, *names: str) -> None:
    """Raises an error that names the column that an experiment needs and the data lacks.

    Args:
        part: As collected.
        card: Names the data.
        *names: Columns of the inputs.

    Raises:
        ValueError: If the inputs are no table, or lack one of the columns.

    Example:
        >>> part = {"inputs": {"age": np.zeros(2)}, "targets": np.zeros(2)}
        >>> require_columns(part, DataCard(name="mine", source="memory"), "age", "height")
        Traceback (most recent call last):
        ...
        ValueError: data must have the columns age, height; those of mine are age. Take other data, or name its columns so.
    """
    inputs = part["inputs"]
    held = list(inputs) if isinstance(inputs, dict) else []
    if not {*names} <= {*held}:
        named = ", ".join(held[:10]) + (", ..." if len(held) > 10 else "")
        have = f"those of {card.name} are {named}" if held else f"{card.name} is no table"
        raise ValueError(
            f"data must have the columns {', '.join(names)}; {have}. Take other data, or name its columns so."
        )


def require_digests(card: DataCard, digests: dict[str, str]) -> None:
    """Raises an error that names the file, where one that was read is not the original.

    Args:
        card: Holds the SHA-256 of what was read.
        digests: The SHA-256 of the originals, by file name.

    Raises:
        ValueError: If a digest differs.

    Example:
        >>> require_digests(DataCard(name="a", source="b", sha256=(("a.csv", "12"),)), {"a.csv": "34"})
        Traceback (most recent call last):
        ...
        ValueError: a.csv must have SHA-256 34, got 12. The archive was altered: install it again.
    """
    for name, digest in card.sha256:
        if digest != digests.get(name):
            raise ValueError(
                f"{name} must have SHA-256 {digests.get(name)}, got {digest}. The archive was altered: install it again."
            )


def digest(part: Part | Fitted) -> str:
    """Returns the SHA-256 of a part, or of what was fitted: names, types, shapes and values of its arrays.

    Rows on disk have their `Rows.digest`.

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
    """Returns the SHA-256 of a file, which is read in pieces.

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
    """Returns words as bytes, each with its length; an array of other objects has none, since these may lie anywhere."""
    if not all(isinstance(word, str) for word in array.flat):
        raise ValueError(
            f"{name} must hold numbers or words, got an array of {array.dtype}. Make it an array of one type."
        )
    return b"".join(len(word).to_bytes(8, "little") + word.encode() for word in map(str, array.flat))


def _require_alike(inputs: dict[str, Any]) -> None:
    """Raises where the examples of one part are not of the form of the training part's."""
    kinds = {
        name: f"{'pixels' if values.dtype == np.uint8 else 'numbers'} of shape {values.shape[1:]}"
        for name, values in inputs.items()
        if not isinstance(values, dict)
    }
    for name, kind in kinds.items():
        if kind != kinds.get("train"):
            raise ValueError(
                f"examples of the {name} part must be like those of the train part, {kinds.get('train')}, got {kind}. "
                "Save all parts alike."
            )


def _require_finite(name: str, values: Any, *, missing_allowed: bool) -> None:
    """Raises at the first number that is not finite."""
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
        raise ValueError(
            f"{name} must be finite, got {found} ({n_bad} such values in all). Correct them or drop their examples."
        )


def _require_classes(name: str, labels: np.ndarray, n_classes: int) -> None:
    """Raises at the first label that is no class."""
    bad = (labels < 0) | (labels >= n_classes)
    if bad.any():
        first = np.unravel_index(np.argmax(bad), bad.shape)
        raise ValueError(
            f"labels of the {name} part must be from 0 to {n_classes - 1}, got {labels[first]} at example {first[0]}. "
            "Correct it or drop the example."
        )

"""New rows for a trained model, read by the schema of its training data; targets are optional."""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import catalogue
from jaxresearch.data.dataset import Column, DataCard, Fitted, file_digest
from jaxresearch.data.files.cells import Cells, cells_of, is_missing
from jaxresearch.data.files.columns import read_columns
from jaxresearch.data.files.npz import read_new_arrays
from jaxresearch.data.files.tables import TABLES, is_table, read_table
from jaxresearch.data.files.words import Read, Rows

_SIGN = re.compile(r"(?:its|the) ([$€£¥₹%]+)")  # "the $ is removed"; earlier versions: "read without its $"
_WORDS = ("text", "id")
_ARRAYS = (".npz", ".npy")
_NAMED = 6  # missing columns that a message names
_FAR = 10  # standard deviations from the mean of training
_ROWS = 3  # that a note names


class NewRows(NamedTuple):
    """Rows for `Preprocessor.apply`, with any targets and other columns.

    Attributes:
        inputs: A dict of columns, or one array, as collected.
        targets: int32 classes with -1, or float64 values ``(n, outputs)`` with nan, where a target is missing; None without any.
        others: Columns to carry along, as words by name: all that are no inputs, and ids.
        notes: What was not as in the training data, a line each.
        notes_by_row: Missing cells and unknown categories of each row, empty if it has none; no entries if no row has any.
        of: Where they came from.
    """

    inputs: Any
    targets: np.ndarray | None = None
    others: dict[str, list[str]] = {}
    notes: tuple[str, ...] = ()
    notes_by_row: tuple[str, ...] = ()
    of: str = "rows"


def new_rows(rows: Any, card: DataCard) -> NewRows:
    """Returns new rows for a trained model, read by the schema of its training data.

    ==========================  ==================================================================================
    case                        result
    ==========================  ==================================================================================
    another order of columns    no effect: columns are found by name
    additional columns          passed through; the target, if present, is read as the target
    a missing column            an error; for a text or id column, only when preprocessing accesses it
    a missing cell              as in training: nan, -1 or ""
    an unknown category         treated as missing, with a note
    another unit ($, %)         an error
    ==========================  ==================================================================================

    Args:
        rows: The path of a table, an ``.npz`` or an ``.npy`` file; or a dict of columns; or an array of examples.
        card: Of the training data.

    Returns:
        Inputs, and targets if there are any.

    Raises:
        ValueError: If the rows do not have the form of the training data.
        OSError: If a file cannot be read.

    Example:
        >>> columns = (Column(name="age", kind="number"), Column(name="colour", kind="category", levels=("blue", "red")))
        >>> card = DataCard(name="mine", source="memory", columns=columns)
        >>> read = new_rows({"id": ["a", "b"], "colour": ["red", "green"], "age": [3, None]}, card)
        >>> read.inputs["colour"].tolist(), read.inputs["age"].tolist(), read.others
        ([1, -1], [3.0, nan], {'id': ['a', 'b']})
    """
    if isinstance(rows, str | Path):
        return _of_file(Path(rows), card)
    if isinstance(rows, Mapping):
        return _of_columns({str(name): _cells(values) for name, values in rows.items()}, card, of="rows")
    return _of_arrays(np.asarray(rows), None, {}, card, of="rows")


def _of_file(path: Path, card: DataCard) -> NewRows:
    """Returns the rows of a file, with a note if the run was trained on it."""
    if not path.is_file():
        raise FileNotFoundError(f"data must be a file that exists, got {path}. {catalogue.path_advice(path)}")
    if not card.columns and path.suffix.lower() not in _ARRAYS:
        given = "a table" if is_table(str(path)) else f"a {path.suffix} file" if path.suffix else "another file"
        raise ValueError(_wanted(card, str(path), given))
    if is_table(str(path)):
        table = read_table(path)
        read = _of_columns(table.columns, card, of=str(path), separator=table.separator)
    elif path.suffix.lower() in _ARRAYS:
        read = _of_arrays(*read_new_arrays(path), card, of=str(path))
    else:
        raise ValueError(f"data must be a table ({TABLES}), .npz or .npy, got {path}. Convert it first.")
    if file_digest(path) in {digest for _, digest in card.sha256}:
        line = f"{path} was read by the run: scores on its training examples are too optimistic"
        read = read._replace(notes=(line, *read.notes))
    return read


def require_asked_column(name: Any, rows: NewRows, card: DataCard) -> None:
    """Raises where preprocessing asked for a column of words that the model was trained on and the rows lack.

    Args:
        name: What it asked for.
        rows: Those that are prepared.
        card: Of the training data.

    Raises:
        ValueError: If it is such a column.

    Example:
        >>> card = DataCard(name="mine", source="memory", columns=(Column(name="note", kind="text"),))
        >>> require_asked_column("note", NewRows({"notes": ["a"]}), card)
        Traceback (most recent call last):
        ...
        ValueError: rows must have the columns that the model was trained on, got no 'note'. Did you mean 'notes'? Rename it.
    """
    if isinstance(rows.inputs, dict) and name not in rows.inputs and name in [column.name for column in card.columns]:
        _require_columns([name], [*rows.inputs, *rows.others], rows.of)


def far_notes(rows: NewRows, card: DataCard, fitted: Fitted) -> tuple[str, ...]:
    """Returns a note on each column with numbers far from those of training, where a model extrapolates.

    Args:
        rows: Those that are predicted.
        card: Of the training data.
        fitted: What `standard` preprocessing estimated: the mean and the standard deviation of each column.

    Returns:
        A line per column with numbers more than 10 standard deviations from the mean of its training examples.

    Example:
        >>> card = DataCard(name="mine", source="memory", columns=(Column(name="age", kind="number"),))
        >>> fitted = {"inputs": {"age": {"mean": np.array(40.0), "scale": np.array(5.0)}}}
        >>> far_notes(new_rows({"age": [30.0, 4000.0]}, card), card, fitted)
        ('column age is far outside training, -10 to 90 (10 standard deviations around its mean), in row 2: 4000',)
    """
    notes = []
    for column in card.columns:
        known = fitted.get("inputs", {}).get(column.name, {})
        if column.kind != "number" or "scale" not in known:
            continue
        values, reach = rows.inputs[column.name], _FAR * known["scale"]
        far = np.flatnonzero(np.abs(values - known["mean"]) > reach)  # nan is not
        if len(far):
            low, high = (f"{end:.6g}" for end in (known["mean"] - reach, known["mean"] + reach))
            named = ", ".join(str(row + 1) for row in far[:_ROWS])
            where = f"row {named}" if len(far) == 1 else f"rows {named}"
            more = f" and {len(far) - _ROWS:,} more" if len(far) > _ROWS else ""
            notes.append(
                f"column {column.name} is far outside training, {low} to {high} ({_FAR} standard deviations around its mean), "
                f"in {where}{more}: {', '.join(f'{value:.6g}' for value in values[far[:_ROWS]])}"
            )
    return tuple(notes)


def _cells(values: Any) -> Cells | np.ndarray:
    """Returns a column in the form of a file's: strings, float64 or ``datetime64``."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(
            f"a column must have one cell in each row, got shape {array.shape}. Pass each column by its name."
        )
    if array.dtype.kind == "b":
        return cells_of(("true" if cell else "false" for cell in array), is_typed=True)
    if array.dtype.kind == "M":
        return array.astype("datetime64[us]")
    if array.dtype.kind in "iuf":
        return array.astype(np.float64)
    words = ("" if cell is None or cell != cell else str(cell) for cell in array.tolist())
    return cells_of(words, is_typed=array.dtype.kind in "UT")


def _of_columns(columns: Mapping[str, Cells | np.ndarray], card: DataCard, *, of: str, separator: str = ",") -> NewRows:
    """Returns the rows of a table."""
    if not card.columns:
        raise ValueError(_wanted(card, of, "a table"))
    n_rows = {len(cells.codes) if isinstance(cells, Cells) else len(cells) for cells in columns.values()}
    if len(n_rows) != 1:
        raise ValueError(f"{of} must have columns of one length, got {', '.join(map(str, sorted(n_rows))) or 'none'}.")
    rows = Rows(n_rows.pop())
    held = [column for column in card.columns if column.name in columns]
    _require_columns(
        [column.name for column in card.columns if column not in held and column.kind not in _WORDS], columns, of
    )
    read = _read(columns, held, rows, separator)
    inputs, notes = {}, []
    for column in held:
        inputs[column.name], its_notes = _as_trained(column, read[column.name], columns[column.name], rows)
        notes += its_notes
    known = {column.name for column in held if column.kind != "id"}
    others = {name: _texts(cells) for name, cells in columns.items() if name not in known}
    targets = _targets_in(columns, card, rows, separator)
    return NewRows(inputs, targets, others, tuple(notes), _notes_by_row(held, read, rows.n_first), of)


def _wanted(card: DataCard, of: str, given: str) -> str:
    """Returns a message on rows for models that were not trained on a table."""
    shape, named = ", ".join(map(str, ("n", *card.feature_shape))), ", ".join(card.vocabulary[:3])
    tokens = f", the places of tokens among {named}, ..." if card.vocabulary else ""
    prepared = f" (once prepared, ({shape}) of {card.feature_dtype}{tokens})" if card.feature_dtype else ""
    return (
        f"{of} must hold an array of examples{prepared}, as the training data did, got {given}. Save it as .npy or .npz: "
        "docs/predict.md shows how."
    )


def _notes_by_row(held: Sequence[Column], read: Mapping[str, Read], n_rows: int) -> tuple[str, ...]:
    """Returns the missing cells and unknown categories of each row, in words; nothing if no row has any."""
    notes: list[list[str]] = [[] for _ in range(n_rows)]
    for column in held:
        values, now = read[column.name].values, read[column.name].column
        if column.kind == "category" and now is not None:
            levels = (*now.levels, "")  # the last one of missing cells, whose code is -1
            what = [f"{word!r} is unknown" if not is_missing(word) else "is missing" for word in levels]
            unknown = np.array([word not in column.levels for word in levels])[values]
            for row in np.flatnonzero(unknown):
                notes[row].append(f"{column.name} {what[values[row]]}")
        elif column.kind not in _WORDS:
            for row in np.flatnonzero(np.isnan(values)):
                notes[row].append(f"{column.name} is missing")
    return tuple("; ".join(of_row) for of_row in notes) if any(notes) else ()


def _require_columns(missing: Sequence[str], columns: Iterable[str], of: str) -> None:
    """Raises for columns that the model was trained on and the rows lack."""
    if not missing:
        return
    near = difflib.get_close_matches(missing[0], [*columns], n=1)
    add = "Add them" if len(missing) > 1 else "Add it"
    advice = f"Did you mean {near[0]!r}? Rename it." if near else f"{add}; cells may be empty."
    more = [f"{len(missing) - _NAMED} more"] if len(missing) > _NAMED else []
    *named, last = [*map(repr, missing[:_NAMED]), *more]
    lacking = f"{', '.join(named)} {'and' if more else 'or'} {last}" if named else last
    raise ValueError(f"{of} must have the columns that the model was trained on, got no {lacking}. {advice}")


def _read(columns: Mapping[str, Any], held: Sequence[Column], rows: Rows, separator: str) -> dict[str, Read]:
    """Returns columns, read as their kinds in training."""
    kinds = {column.name: column.kind for column in held}
    return read_columns({name: columns[name] for name in kinds}, kinds, rows, separator=separator)


def _as_trained(
    column: Column, read: Read, cells: Any, rows: Rows, *, is_target: bool = False
) -> tuple[Any, list[str]]:
    """Returns the values of a column by its schema, and notes on differences from training."""
    assert read.column is not None  # the kind was given
    _require_unit(column, read.column, cells, is_target=is_target)
    if column.kind in _WORDS:
        lost = "read as missing" in column.note
        return np.where([lost and is_missing(word) for word in read.values], "", read.values), []
    n_missing = 0 if column.has_missing else read.column.n_missing
    empty = [f"column {column.name} has {_counted(n_missing)} empty, but had none in training"] if n_missing else []
    if column.kind == "category":
        values, unseen = _levels(column, read, rows)
        return values, [*empty, *unseen]
    return read.values, empty


def _require_unit(column: Column, now: Column, cells: Any, *, is_target: bool) -> None:
    """Raises if the currency sign or % of numbers differs from training."""
    if column.kind != "number" or not isinstance(cells, Cells) or all(map(is_missing, cells.words)):
        return
    before, after = (found[1] if (found := _SIGN.search(one.note)) else "" for one in (column, now))
    if before != after:
        named = [f"in {sign}" if sign else "without a unit" for sign in (before, after)]
        remedy = f"Write {before} in the cells" if before and not after else "Convert it"
        remedy += ", or leave the column out: it is only needed for scores" if is_target else ""
        raise ValueError(f"column {column.name} must be {named[0]}, as in training, got numbers {named[1]}. {remedy}.")


def _levels(column: Column, read: Read, rows: Rows) -> tuple[np.ndarray, list[str]]:
    """Returns categories by the levels of training, -1 for unknown and missing ones, and a note on unknown ones."""
    assert read.column is not None  # as above
    known, levels = {level: place for place, level in enumerate(column.levels)}, read.column.levels
    places = np.array([*(known.get(level, -1) for level in levels), -1], np.int32)
    unknown = [place for place, level in enumerate(levels) if level not in known and not is_missing(level)]
    if not unknown:
        return places[read.values], []
    is_new = np.isin(read.values, unknown)
    first = int(np.argmax(is_new))
    named = f"{levels[read.values[first]]!r} in {rows.name(first)}"
    note = f"column {column.name} has {_counted(is_new.sum())} with a category unseen in training, such as {named}"
    return places[read.values], [f"{note}: treated as missing"]


def _counted(n: Any) -> str:
    """Returns a number of cells in words."""
    return f"{n:,} {'cell' if n == 1 else 'cells'}"


def _targets_in(columns: Mapping[str, Any], card: DataCard, rows: Rows, separator: str) -> np.ndarray | None:
    """Returns the targets of a table, None if it has none."""
    target = card.target
    if target is None or target.name not in columns:
        return None
    cells = columns[target.name]
    if card.class_names:
        words = _texts(cells)
        return _classes(
            words, card, rows, missing=[is_missing(word) and word not in card.class_names for word in words]
        )
    column = dataclasses.replace(target, kind="number")
    read = _read(columns, [column], rows, separator)[target.name]
    values, _ = _as_trained(column, read, cells, rows, is_target=True)
    return None if np.isnan(values).all() else values[:, None]


def _classes(words: Sequence[str], card: DataCard, rows: Rows, *, missing: Sequence[bool]) -> np.ndarray | None:
    """Returns labels by the classes of training, -1 for missing ones; None if all are missing."""
    if all(missing):
        return None
    places = {name: place for place, name in enumerate(card.class_names)}
    labels = np.full(len(words), -1, np.int32)
    for row, word in enumerate(words):
        if missing[row]:
            continue
        whole = re.sub(r"\.0*$", "", word)  # a class that a table writes as 3.0
        place = places.get(word, places.get(whole))
        if place is None:
            name, shown = card.target.name if card.target else "targets", ", ".join(card.class_names[:10])
            more = ", ..." if len(card.class_names) > 10 else ""
            raise ValueError(
                f"{name} must be one of the classes {shown}{more}, got {word!r} in {rows.name(row)}. Correct it."
            )
        labels[row] = place
    return labels


def _texts(cells: Cells | np.ndarray) -> list[str]:
    """Returns the cells of a column as strings."""
    if isinstance(cells, Cells):
        return [cells.words[code] for code in cells.codes]
    if cells.dtype.kind == "M":
        return ["" if np.isnat(cell) else str(cell) for cell in cells]
    return ["" if np.isnan(cell) else np.format_float_positional(cell, trim="-") for cell in cells]


def _of_arrays(
    inputs: np.ndarray, labels: np.ndarray | None, others: dict[str, list[str]], card: DataCard, *, of: str
) -> NewRows:
    """Returns examples given as arrays."""
    if card.columns:
        named = ", ".join(column.name for column in card.columns[:10]) + ", ..." * (len(card.columns) > 10)
        raise ValueError(
            f"{of} must be a table with the columns {named}, as the training data was, got an array. Save it as a table."
        )
    shape = card.feature_shape
    if shape[-1:] == (1,) and inputs.shape[1:] == shape[:-1]:
        inputs = inputs[..., None]  # grey images without an axis of channels
    if not len(inputs):
        raise ValueError(f"{of} must hold examples, got none. Give it data.")
    return NewRows(inputs, None if labels is None else _labels(labels, card), others)


def _labels(labels: np.ndarray, card: DataCard) -> np.ndarray | None:
    """Returns targets given as an array."""
    if card.class_names:
        texts = np.where(labels, "true", "false") if labels.dtype.kind == "b" else labels
        return _classes([str(one) for one in texts.reshape(-1)], card, Rows(len(labels)), missing=[False] * len(labels))
    values = labels.astype(np.float64)
    return values if values.ndim > 1 else values[:, None]

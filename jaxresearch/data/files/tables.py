"""Tables: every column has a kind, which is shown to the user."""

import dataclasses
import difflib
import gzip
import hashlib
import lzma
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import DataCard, Split
from jaxresearch.data.files.cells import Cells, cells_of
from jaxresearch.data.files.columns import DROPPED, read_columns
from jaxresearch.data.files.delimited import read_delimited
from jaxresearch.data.files.sheets import read_sheet
from jaxresearch.data.files.targets import Targets, Task, classes_of, divided, targets_of
from jaxresearch.data.files.words import Read, Rows, joined_notes

TABLES = ".csv, .tsv, .xlsx or .parquet, packed (.gz, .xz) or not"
_TABLE = re.compile(r".*\.(csv|tsv|xlsx|parquet)(\.gz|\.xz)?", re.IGNORECASE)


def is_table(source: str) -> bool:
    """Returns whether a file is a table, by its name.

    Args:
        source: A path.

    Returns:
        True for all kinds of tables, in upper or lower case.

    Example:
        >>> is_table("DATA.CSV"), is_table("mine.tsv.gz"), is_table("mine.npz")
        (True, True, False)
    """
    return _TABLE.fullmatch(Path(source).name) is not None


class Table(NamedTuple):
    """The columns of a file, or of two concatenated files.

    Attributes:
        columns: Cells of text, or typed values: float64, or ``datetime64``.
        lengths: Rows of each file.
        separator: Of the cells; empty if there is none.
        sha256: Pairs of file name and digest.
        notes: On how the files were read.
    """

    columns: Mapping[str, Cells | np.ndarray]
    lengths: tuple[int, ...]
    separator: str = ""
    sha256: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def load_table(
    path: Path,
    *,
    target: str | None,
    types: Mapping[str, str] | None = None,
    task: Task | None = None,
    test: Path | None = None,
    needs_target: bool = True,
) -> Collected:
    r"""Returns the data of a table.

    Args:
        path: The file. Cells that are empty, NA, NaN, N/A, null, None or ? are missing.
        target: The column to predict, read by `jaxresearch.data.files.targets.targets_of`.
        types: Kinds of columns, as for `jaxresearch.data.files.columns.read_columns`.
        task: What whole numbers as targets are.
        test: A second table with the same columns, whose rows are the test part.
        needs_target: As for `collected_table`.

    Returns:
        Inputs as a dict of columns, not yet preprocessed; with a test part if there is a second table.

    Raises:
        ValueError: If a file is damaged or empty, a column is missing or ambiguous, or a target is missing.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.csv"
        >>> _ = path.write_text("age,colour,kind\n" + "3,red,a\n4,,b\n" * 5)
        >>> parts, card = load_table(path, target="kind")
        >>> card.class_names, [column.kind for column in card.columns], len(parts["train"]["targets"])
        (('a', 'b'), ['number', 'category'], 10)
    """
    table = read_table(path) if test is None else _joined(read_table(path), read_table(test), path, test)
    named = {"name": table_name(path), "source": str(path), "test": str(test or "")}
    return collected_table(table, target=target, types=types, task=task, needs_target=needs_target, **named)


def column_advice(name: str | None, columns: Collection[str]) -> str:
    """Returns which column may be meant by a name that is none: the nearest one, or all.

    Args:
        name: As given, or None.
        columns: The columns of the table.

    Returns:
        A sentence.

    Example:
        >>> column_advice("agee", ["age", "kind"]), column_advice(None, ["age", "kind"])
        ("Did you mean 'age'?", 'Its columns are: age, kind.')
    """
    near = difflib.get_close_matches(name or "", columns, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Its columns are: {', '.join(columns)}."


def collected_table(
    table: Table,
    *,
    name: str,
    source: str,
    target: str | None,
    types: Mapping[str, str] | None = None,
    task: Task | None = None,
    test: str = "",
    needs_target: bool = True,
) -> Collected:
    """Returns the data of a table that was read: the kinds of its columns, and the targets.

    Args:
        table: Its columns.
        name: A short name for the card.
        source: Where it came from.
        target: The column to predict.
        types: Kinds of columns, as for `jaxresearch.data.files.columns.read_columns`.
        task: What whole numbers as targets are.
        test: The name of a second table, whose rows are the test part.
        needs_target: Whether there must be a target; if not, targets are zeros without one, to be replaced by preprocessing.

    Returns:
        Inputs as a dict of columns, not yet preprocessed.

    Raises:
        ValueError: If a column is missing or ambiguous, or a target is missing.

    Example:
        >>> table = Table({"age": np.array([3.0, 4.0]), "kind": cells_of(["a", "b"])}, (2,))
        >>> collected_table(table, name="mine", source="memory", target="kind").card.class_names
        ('a', 'b')
    """
    if target not in table.columns and (needs_target or target is not None):
        advice = column_advice(target, table.columns)
        raise ValueError(f"target must be a column of {source}, got {target!r}. {advice} Name it with --target.")
    card = DataCard(name=name, source=source, sha256=table.sha256, notes=table.notes)
    rows = Rows(table.lengths[0], test)
    read = read_columns(table.columns, types, rows, separator=table.separator)
    if target is None:
        return collected_of(read, None, lengths=table.lengths, card=card)
    is_asked = (types or {}).get(target) == "number"
    targets = read_target(read[target], table.columns[target], name=target, task=task, rows=rows, is_asked=is_asked)
    return collected_of(read, targets, lengths=table.lengths, card=card)


def table_name(path: Path) -> str:
    """Returns a short name for a table.

    Args:
        path: Its file.

    Returns:
        The name without its endings.

    Example:
        >>> table_name(Path("data/mine.v2.csv.gz"))
        'mine.v2'
    """
    return re.sub(r"\.(csv|tsv|xlsx|parquet)(\.gz|\.xz)?$", "", path.name, flags=re.IGNORECASE)


def read_target(read: Read, cells: Any, *, name: str, task: Task | None, rows: Rows, is_asked: bool = False) -> Targets:
    """Returns the column to predict as classes or values.

    Args:
        read: As it was read.
        cells: As in the file.
        name: Of the column.
        task: The task declared by the user or the experiment.
        rows: Names the rows.
        is_asked: Whether the user declared the column to be numbers.

    Returns:
        Targets.

    Raises:
        ValueError: If one is missing, or they are neither classes nor numbers.

    Example:
        >>> from jaxresearch.data.dataset import Column
        >>> read = Read(Column(name="k", kind="number"), np.array([0.5, 2.0]))
        >>> read_target(read, read.values, name="k", task=None, rows=Rows(2)).values.tolist()
        [[0.5], [2.0]]
    """
    column = read.column
    if column is None and read.reason == DROPPED:
        raise ValueError(f"target {name} must not be dropped, got {name}=drop in types. Leave it out of types.")
    values = np.full(rows.n_first, np.nan) if column is None else read.values
    kind = "number" if column is None else column.kind
    missing = values < 0 if kind == "category" else np.isnan(values) if kind in ("number", "date") else values == ""
    _require_there(missing, cells, name, rows)
    if kind == "number":
        made = targets_of(values, name=name, task=task, is_asked=is_asked)
        note = "" if column is None else column.note
        return made._replace(column=dataclasses.replace(made.column, note=joined_notes(made.column.note, note)))
    if kind == "date":
        raise ValueError(f"target {name} must be numbers or words, got dates. Choose another column, or write numbers.")
    levels, note = (column.levels, column.note) if column else ((), "")
    words = np.array(levels, np.dtypes.StringDType())[values] if kind == "category" else values
    if task == "regression":
        first = next(row for row, word in enumerate(words) if not _is_number(word))
        raise ValueError(
            f"target {name} must be numbers, got {words[first]!r} in {rows.name(first)}: the task is regression. Correct it, or "
            "choose another target or experiment."
        )
    made = classes_of(words, name=name, task=task)
    return made._replace(column=dataclasses.replace(made.column, note=joined_notes(made.column.note, note)))


def _is_number(word: str) -> bool:
    """Returns whether a word is written as a number."""
    return re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", word) is not None


def _require_there(missing: np.ndarray, cells: Any, name: str, rows: Rows) -> None:
    """Raises if a target is missing."""
    if missing.any():
        row = int(np.argmax(missing))
        word = cells.words[cells.codes[row]] if isinstance(cells, Cells) else ""
        read_as = f" ({word!r}); --types {name}=category keeps that word" if word else ""
        raise ValueError(
            f"target {name} must have a value in every row, got none in {rows.name(row)} ({int(missing.sum()):,} in "
            f"all). Fill it in or drop the row{read_as}."
        )


def collected_of(
    read: Mapping[str, Read],
    targets: Targets | None,
    *,
    lengths: Sequence[int],
    card: DataCard,
    names: Sequence[str] = ("train", "test"),
) -> Collected:
    """Returns the parts of a table, and a card with its schema.

    Args:
        read: Every column, the target among them.
        targets: Of all rows; zeros if None.
        lengths: Rows of each part.
        card: The card to extend.
        names: Of the parts, in that order.

    Returns:
        Parts and card.

    Raises:
        ValueError: If there is no column besides the target.

    Example:
        >>> from jaxresearch.data.dataset import Column
        >>> read = {"age": Read(Column(name="age", kind="number"), np.array([3.0, 4.0]))}
        >>> made = targets_of(np.array([1, 2]), name="k", task=None)
        >>> card = DataCard(name="mine", source="memory")
        >>> collected_of(read, made, lengths=[2], card=card).card.feature_names
        ('age',)
    """
    target, notes = targets and targets.column.name, list(card.notes)
    notes += [
        f"column {name or '(without a name)'} is left out: {one.reason}" for name, one in read.items() if not one.column
    ]
    kept = {name: one for name, one in read.items() if one.column and name != target}
    if not kept:
        besides = f" besides the target {target!r}" if target else ""
        raise ValueError(f"{card.source} must hold a column{besides}, got none. Add features.")
    of_parts = divided(np.zeros((sum(lengths), 1)) if targets is None else targets.values, lengths)
    columns = {name: divided(one.values, lengths) for name, one in kept.items()}
    parts = {
        part: {"inputs": {name: values[place] for name, values in columns.items()}, "targets": of_parts[place]}
        for place, part in enumerate(names[: len(lengths)])
    }
    schema = tuple(one.column for one in kept.values() if one.column)
    made = dataclasses.replace(
        card,
        class_names=targets.class_names if targets else (),
        feature_shape=(len(schema),),
        feature_names=tuple(kept),
        columns=schema,
        target=targets and targets.column,
        split=Split(fraction=None) if "test" in parts else Split(),
        notes=tuple(notes),
    )
    return Collected(parts, made)


def read_table(path: Path) -> Table:
    r"""Returns the columns of one file, none of whose kinds is decided yet.

    Args:
        path: One of `TABLES`.

    Returns:
        Cells, or typed values, by column.

    Raises:
        ValueError: If the file is damaged or empty.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.csv"
        >>> _ = path.write_text("age,colour\n3,red\n")
        >>> read_table(path).columns["colour"].words
        ('red',)
    """
    raw = path.read_bytes()
    if not raw:
        raise ValueError(f"{path} must not be empty, got no bytes. Write a header and rows.")
    kind = _TABLE.fullmatch(path.name)
    content, digest = unpacked(raw, path), ((path.name, hashlib.sha256(raw).hexdigest()),)
    if kind and kind[1].lower() in ("xlsx", "parquet"):
        columns, notes = read_sheet(content, path, kind=kind[1].lower())
        return Table(columns, (_length(columns),), "", digest, notes)
    cells, separator = read_delimited(content, path)
    columns = {name: cells_of(column) for name, column in cells.items()}
    notes = () if separator == "," or len(columns) == 1 else (f"{path.name} is separated by {_named(separator)}",)
    return Table(columns, (_length(columns),), separator, digest, notes)


def _named(separator: str) -> str:
    """Returns the name of a separator."""
    return {";": "semicolons", "\t": "tabs", "|": "bars"}[separator]


def _length(columns: Mapping[str, Cells | np.ndarray]) -> int:
    """Returns the number of rows."""
    return next((len(one.codes) if isinstance(one, Cells) else len(one) for one in columns.values()), 0)


def _joined(first: Table, second: Table, path: Path, test: Path) -> Table:
    """Returns two tables, concatenated."""
    missing, extra = [*first.columns.keys() - second.columns.keys()], [*second.columns.keys() - first.columns.keys()]
    if missing or extra:
        lacks = f"no column {sorted(missing)[0]!r}" if missing else f"the extra column {sorted(extra)[0]!r}"
        raise ValueError(f"{test} must have the columns of {path}, got {lacks}. Give both the same columns.")
    columns = {name: _appended(cells, second.columns[name], name, test) for name, cells in first.columns.items()}
    separator = first.separator if first.separator == second.separator else ""
    notes = tuple(dict.fromkeys((*first.notes, *second.notes)))
    return Table(columns, first.lengths + second.lengths, separator, first.sha256 + second.sha256, notes)


def _appended(first: Cells | np.ndarray, second: Cells | np.ndarray, name: str, test: Path) -> Cells | np.ndarray:
    """Returns the cells of a column in two tables."""
    if isinstance(first, Cells) and isinstance(second, Cells) and first.is_typed == second.is_typed:
        places = {word: place for place, word in enumerate(first.words)}
        known = np.array([places.setdefault(word, len(places)) for word in second.words], np.int64)
        return Cells(tuple(places), np.concatenate([first.codes, known[second.codes]]), first.is_typed)
    kinds = [_kind(first), _kind(second)]
    if kinds[0] == kinds[1] and not isinstance(first, Cells) and not isinstance(second, Cells):
        return np.concatenate([first, second])
    raise ValueError(
        f"column {name} must have the same type in both tables, got {kinds[0]}, and {kinds[1]} in {test}. Convert one of them."
    )


def _kind(cells: Cells | np.ndarray) -> str:
    """Returns the type that a file gives a column."""
    if isinstance(cells, Cells):
        return "words" if cells.is_typed else "text"
    return "dates" if cells.dtype.kind == "M" else "numbers"


def unpacked(raw: bytes, path: Path) -> bytes:
    """Returns the decompressed content of a file.

    Args:
        raw: The bytes of the file.
        path: Its name; ``.gz`` and ``.xz`` are decompressed, all others unchanged.

    Returns:
        The decompressed bytes.

    Raises:
        ValueError: If the compressed file is damaged.

    Example:
        >>> unpacked(gzip.compress(b"abc"), Path("mine.csv.gz"))
        b'abc'
    """
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix.lower())
    try:
        return unpack(raw) if unpack else raw
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(
            f"{path} must be an intact {path.suffix} file, got a damaged one ({error}). Copy it again."
        ) from error

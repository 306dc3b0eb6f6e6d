"""The user's own tables: read column by column, cleaned by functions that are fitted on the training part alone."""

import csv
import difflib
import gzip
import hashlib
import io
import lzma
import zlib
from pathlib import Path

import numpy as np

from jaxresearch.data.dataset import Column, Columns, DataCard, Dataset, Split
from jaxresearch.data.splits import split

_MISSING = frozenset(("", "na", "nan", "n/a", "null", "none", "?"))
_MOST_INTEGER_CLASSES = 20


def load_table(path: Path, *, target: str | None, seed: int, test_fraction: float) -> Dataset:
    r"""Returns the data of a ``.csv``, ``.csv.gz``, ``.csv.xz`` or ``.parquet`` file, split by class if there are any.

    ========================================  ===========================================
    target column                             what it becomes
    ========================================  ===========================================
    words, or yes and no                      classes, in the order of their names
    whole numbers, at most 20 different ones  classes, in their order
    other numbers                             values to predict, float32 ``(n, 1)``
    ========================================  ===========================================

    Args:
        path: The file. Cells that are empty, NA, NaN, N/A, null, None or ? are missing.
        target: The column to predict.
        seed: Of the split.
        test_fraction: Share of the test part.

    Returns:
        Inputs as a dict of columns (float64 with nan, or words with "" where missing), to be encoded.

    Raises:
        ValueError: If the file is damaged or empty, the column is not there, or a target is missing.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.csv"
        >>> _ = path.write_text("age,colour,kind\n" + "3,red,a\n4,,b\n" * 5)
        >>> data = load_table(path, target="kind", seed=0, test_fraction=0.2)
        >>> data.card.class_names, list(data.train["inputs"]), len(data.train["targets"])
        (('a', 'b'), ['age', 'colour'], 8)

    References:
        Shafranovich (2005), Common format and MIME type for CSV files, RFC 4180. https://www.rfc-editor.org/rfc/rfc4180
    """
    raw = path.read_bytes()
    if not raw:
        raise ValueError(f"{path} must not be empty; it holds no bytes. Give it a header and rows.")
    columns = _read_parquet(raw, path) if path.suffix == ".parquet" else _read_csv(unpacked(raw, path), path)
    if target is None or target not in columns:
        near = difflib.get_close_matches(target or "", columns, n=1)
        advice = f"Did you mean {near[0]!r}?" if near else f"Its columns are: {', '.join(columns)}."
        raise ValueError(f"target must be a column of {path}; got {target!r}. {advice} Name it with --target.")
    targets, class_names = _targets(columns.pop(target), target, path)
    if not columns:
        raise ValueError(f"{path} must hold a column besides the target {target!r}; it does not. Add features.")
    schema = tuple(_schema(name, values) for name, values in columns.items())
    inputs = {column.name: _values(column, columns[column.name]) for column in schema}
    train, test = split({"inputs": inputs, "targets": targets}, fraction=test_fraction, seed=seed)
    card = DataCard(
        name=path.stem,
        source=str(path),
        sha256=((path.name, hashlib.sha256(raw).hexdigest()),),
        class_names=class_names,
        feature_shape=(len(columns),),
        feature_names=tuple(columns),
        columns=schema,
        split=Split(fraction=test_fraction, seed=seed),
    )
    return Dataset(train, test, None, card)


def _schema(name: str, values: np.ndarray) -> Column:
    """Returns the kind of a column."""
    if values.dtype.kind == "f":
        return Column(name=name, kind="number", has_missing=bool(np.isnan(values).any()))
    levels = np.unique(values[values != ""])
    missing = bool((values == "").any())
    if len(levels) > len(values) // 2 and len(levels) > 20:
        return Column(name=name, kind="text", has_missing=missing)
    return Column(name=name, kind="category", levels=tuple(levels.tolist()), has_missing=missing)


def _values(column: Column, values: np.ndarray) -> np.ndarray:
    """Returns the cells of a column as its kind has them."""
    if column.kind != "category":
        return values
    levels = np.array(column.levels)
    return np.where(values == "", -1, np.searchsorted(levels, values)).astype(np.int32)


def unpacked(raw: bytes, path: Path) -> bytes:
    """Returns the content of a file that may be packed, by its name.

    Args:
        raw: The bytes of the file.
        path: Its name; ``.gz`` and ``.xz`` are unpacked, all others left as they are.

    Returns:
        The bytes, unpacked.

    Raises:
        ValueError: If the packed file is not whole.

    Example:
        >>> unpacked(gzip.compress(b"abc"), Path("mine.csv.gz"))
        b'abc'

    References:
        Deutsch (1996), GZIP file format specification, RFC 1952. https://www.rfc-editor.org/rfc/rfc1952
    """
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix)
    try:
        return unpack(raw) if unpack else raw
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path} must be a whole {path.suffix} file; it is not ({error}). Copy it again.") from error


def _read_csv(raw: bytes, path: Path) -> Columns:
    """Returns the columns of a CSV file."""
    try:
        rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text; it is not at byte {error.start}. Save it as UTF-8.") from error
    except csv.Error as error:
        raise ValueError(f"{path} must be a whole CSV file; it is not ({error}). Check its quotes.") from error
    header, *body = [row for row in rows if row] or [[]]
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise ValueError(f"{path} must name each column once; got {doubled[0]!r} twice. Rename one.")
    if not body:
        raise ValueError(f"{path} must hold rows below its header; it holds none. Give it data.")
    for number, row in enumerate(rows, start=1):
        if row and len(row) != len(header):
            raise ValueError(
                f"{path} must have {len(header)} cells in every row; got {len(row)} in line {number}. Mend that line."
            )
    return {name: _column(list(cells), name, path) for name, *cells in zip(header, *body, strict=True)}


def _read_parquet(raw: bytes, path: Path) -> Columns:
    """Returns the columns of a Parquet file."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(
            f'{path} must be read by pyarrow, which is not installed. Run: pip install "jaxresearch[tables]"'
        ) from error
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(raw))
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path} must be a whole Parquet file; it is not ({error}). Save it again.") from error
    if not table.num_rows:
        raise ValueError(f"{path} must hold rows; it holds none. Give it data.")
    cells = {
        name: ["" if cell is None else str(cell) for cell in table[name].to_pylist()] for name in table.column_names
    }
    return {name: _column(column, name, path) for name, column in cells.items()}


def _column(cells: list[str], name: str, path: Path) -> np.ndarray:
    """Returns the cells as numbers, nan where missing, if all that are there are numbers; else as words."""
    stripped = ["" if cell.strip().lower() in _MISSING else cell.strip() for cell in cells]
    try:
        numbers = np.array([float(cell) if cell else np.nan for cell in stripped])
    except ValueError:
        return np.array(stripped)
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers))) + 1
        raise ValueError(f"column {name!r} of {path} must be finite; got {cells[row - 1]} in row {row}. Correct it.")
    return numbers


def _targets(values: np.ndarray, name: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the targets, and the names of the classes if they are classes."""
    is_number = values.dtype.kind == "f"
    missing = np.isnan(values) if is_number else values == ""
    if missing.any():
        row = int(np.argmax(missing)) + 1
        raise ValueError(
            f"target {name!r} of {path} must be there in every row; it is missing in row {row} "
            f"({missing.sum()} such rows in all). Fill it in or drop the row."
        )
    distinct, classes = np.unique(values, return_inverse=True)
    whole = is_number and bool(np.all(distinct == np.round(distinct)))
    if is_number and not (whole and len(distinct) <= _MOST_INTEGER_CLASSES):
        return values[:, None], ()
    names = tuple(str(int(value)) if is_number else str(value) for value in distinct)
    return classes.astype(np.int32), names

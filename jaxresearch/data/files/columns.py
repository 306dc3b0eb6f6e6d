"""The kinds of a table's columns: inferred by simple rules, shown to the user, and overridden with ``--types``."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxresearch.data.dataset import Column
from jaxresearch.data.files.cells import (
    Cells,
    Numbers,
    cells_of,
    days_of,
    decimal_mark,
    is_iso,
    is_missing,
    numbers_of,
    other_form,
)
from jaxresearch.data.files.numeric import Form, fitting, number_or_id, read_numbers
from jaxresearch.data.files.words import Read, Rows, missing_note, read_words

KINDS = ("number", "category", "date", "text", "id", "drop")
_DESCRIBED = 6  # unfit columns of which a message says what is wrong
DROPPED = "its type is drop"
_UNNAMED = re.compile(r"|unnamed(: ?\d+.*)?|__index_level_\d+__|__unnamed__\d+", re.IGNORECASE)


def read_columns(
    columns: Mapping[str, Cells | np.ndarray], types: Mapping[str, str] | None, rows: Rows, *, separator: str = ","
) -> dict[str, Read]:
    """Returns the columns of a table with their kinds.

    ====================  =============================================================================================
    kind                  cells
    ====================  =============================================================================================
    number                all are numbers, written alike; no two texts mean one number
    date                  all are YYYY-MM-DD, with or without a time
    category              words that repeat; numbers with leading zeros; booleans
    text                  words that differ in (nearly) every row, with spaces or long
    id                    words that differ in (nearly) every row, short; numbers that all differ, under the name of an id
    ====================  =============================================================================================

    Args:
        columns: Words, or typed values: float64 with nan, or dates as ``datetime64``.
        types: Kinds declared by the user, by column.
        rows: Names the rows.
        separator: Of the cells of the file; a comma between them leaves quoted commas to thousands.

    Returns:
        The columns as they are read.

    Raises:
        ValueError: If a column is ambiguous, or a cell is not of the kind of its column: with the row and the remedy, for
            all such columns.

    Example:
        >>> read = read_columns({"age": cells_of(["3", "4"]), "zip": cells_of(["0150", "0250"])}, None, Rows(2))
        >>> [one.column.kind for one in read.values()]
        ['number', 'category']
    """
    types = dict(types or {})
    _require_types(types, columns)
    words = {name: cells for name, cells in columns.items() if isinstance(cells, Cells) and not cells.is_typed}
    numbers = {name: numbers_of(cells) for name, cells in words.items()}
    free = {name: one for name, one in numbers.items() if types.get(name, "number") == "number"}
    mark, points, _ = decimal_mark(free)
    form = Form(mark, is_known=separator == "," or mark == "," or bool(points))
    read, unfit = {}, {}
    for name, cells in columns.items():
        try:
            read[name] = _read(name, cells, types.get(name), numbers.get(name), form, rows)
        except ValueError as error:
            unfit[name] = error
    _refuse(unfit)
    return read


def _refuse(unfit: Mapping[str, ValueError]) -> None:
    """Raises one error for all columns that cannot be read, so that they can be corrected at once."""
    if len(unfit) == 1:
        raise next(iter(unfit.values()))
    if unfit:
        lines, rest = [str(error) for error in unfit.values()][:_DESCRIBED], [*unfit][_DESCRIBED:]
        more = f" The others are {', '.join(rest)}." if rest else ""
        raise ValueError(f"{len(unfit)} columns must be corrected: {' '.join(lines)}{more}")


def _require_types(types: Mapping[str, str], columns: Iterable[str]) -> None:
    """Raises for a kind or a column that does not exist."""
    for name, kind in types.items():
        if name not in columns:
            raise ValueError(f"types must name columns of the table, got {name!r}. {_nearest(name, [*columns])}")
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, n=1)
            advice = f"Did you mean {near[0]!r}?" if near else f"Leave {name} out to have its type inferred."
            raise ValueError(f"types must be {', '.join(KINDS[:-1])} or {KINDS[-1]}, got {name}={kind}. {advice}")


def _nearest(name: str, columns: Sequence[str]) -> str:
    """Returns advice: the nearest name, or the first ones."""
    near = difflib.get_close_matches(name, columns, n=1)
    more = ", ..." if len(columns) > 10 else ""
    return f"Did you mean {near[0]!r}?" if near else f"Its columns are {', '.join(columns[:10])}{more}."


def _read(name: str, cells: Any, kind: str | None, numbers: Numbers | None, form: Form, rows: Rows) -> Read:
    """Returns one column with its kind."""
    if kind == "drop":
        return Read(None, None, DROPPED)
    if _UNNAMED.fullmatch(name) and kind is None:
        return _unnamed(name, cells)
    if not isinstance(cells, Cells):
        return _typed(name, cells, kind, rows)
    if all(map(is_missing, cells.words)) and kind is None:
        return Read(None, None, "all of its cells are missing")
    if kind in ("category", "text", "id"):
        return read_words(name, cells, kind, keeps_all=True)
    if kind == "number":
        return read_numbers(name, cells, numbers or numbers_of(cells), form=form, rows=rows, is_asked=True)
    if kind == "date":
        return _date(name, cells, rows)
    return _guessed(name, cells, numbers, form, rows)


def _guessed(name: str, cells: Cells, numbers: Numbers | None, form: Form, rows: Rows) -> Read:
    """Returns a column whose kind is inferred from its cells."""
    counts, present = cells.counts, np.array([not is_missing(word) for word in cells.words])
    n_present = int(counts[present].sum())

    def has_most(of_form: Sequence[bool]) -> bool:
        return 2 * int(counts[np.asarray(of_form) & present].sum()) >= n_present

    if numbers is not None and has_most(fits := fitting(numbers, form)):
        _require_all(name, cells, fits, "numbers", rows)
        return read_numbers(name, cells, numbers, form=form, rows=rows)
    if has_most(fits := [is_iso(word) for word in cells.words]):
        _require_all(name, cells, fits, "dates", rows)
        return _date(name, cells, rows)
    forms = [other_form(word) for word in cells.words]
    if numbers is not None and has_most([bool(one) for one in forms]):
        _refuse_form(name, cells, forms, rows)
    return read_words(name, cells)


def _require_all(name: str, cells: Cells, fits: Sequence[bool], what: str, rows: Rows) -> None:
    """Raises if some cells are of a kind and others are words."""
    odd = [place for place, word in enumerate(cells.words) if not (fits[place] or is_missing(word))]
    if odd:
        n_present = sum(int(n) for n, word in zip(cells.counts, cells.words, strict=True) if not is_missing(word))
        n_odd = int(cells.counts[odd].sum())
        is_date = what == "dates" and other_form(cells.words[odd[0]]) == "dates"
        advice = (
            f"Write it as YYYY-MM-DD, or pass --types {name}=drop"
            if is_date
            else f"Correct it, or pass --types {name}=category"
        )
        raise ValueError(
            f"column {name} must be {what} or words, got {n_present - n_odd:,} of {n_present:,} cells as {what} and "
            f"{cells.words[odd[0]]!r} in {rows.name(cells.row_of(odd[0]))}. {advice}."
        )


def _refuse_form(name: str, cells: Cells, forms: Sequence[str], rows: Rows) -> None:
    """Raises for a column of dates or numbers in an unsupported format."""
    place = next(place for place, form in enumerate(forms) if form)
    is_date = forms[place] == "dates"  # as categories, days have no order, and new ones are unknown
    others = "" if is_date else f" or {name}=category"
    right = {"dates": "as YYYY-MM-DD", "times": "as seconds or hours"}.get(forms[place], "as 1234.5 and -1234.5")
    raise ValueError(
        f"column {name} must be written {right}, got {cells.words[place]!r} in {rows.name(cells.row_of(place))}. Rewrite it, "
        f"or pass --types {name}=drop{others}."
    )


def _date(name: str, cells: Cells, rows: Rows) -> Read:
    """Returns a column of dates, in days since 1970."""
    of_word = np.full(len(cells.words), np.nan)
    zones = set()
    for place, word in enumerate(cells.words):
        if is_missing(word):
            continue
        try:
            if not is_iso(word):
                raise ValueError("it is not written as YYYY-MM-DD")
            of_word[place] = days_of(word)
        except ValueError as error:
            kind = "drop" if is_iso(word) or other_form(word) == "dates" else "category"
            raise ValueError(
                f"column {name} must be dates written as YYYY-MM-DD, got {word!r} in {rows.name(cells.row_of(place))} "
                f"({error}). Correct it, or train with --types {name}={kind}."
            ) from error
        zones.add(bool(re.search(r":.*([+-].*|Z)$", word)))
    if len(zones) > 1:
        raise ValueError(
            f"column {name} must have a time zone in all cells or in none, got both. Write all in the same way, or pass "
            f"--types {name}=drop."
        )
    values = of_word[cells.codes]
    n_missing = int(np.isnan(values).sum())
    return Read(Column(name=name, kind="date", n_missing=n_missing, note=missing_note(cells)), values)


def _unnamed(name: str, cells: Any) -> Read:
    """Returns a column without a name as left out if it numbers the rows; raises for any other."""
    values = cells
    if isinstance(cells, Cells):
        is_whole = all(re.fullmatch(r"[0-9]{1,15}", word) for word in cells.words)
        values = np.array([float(word) for word in cells.words])[cells.codes] if is_whole else np.zeros(0)
    n = len(cells.codes) if isinstance(cells, Cells) else len(cells)
    if values.dtype.kind == "f" and len(values) == n and counts_rows(values):
        return Read(None, None, "it counts the rows")
    what = f"one under {name!r} that does not count the rows" if name else "one that does not count the rows"
    remedy = f"Name it, or leave it out with --types '{name}=drop'." if name else "Name it in the header, or delete it."
    raise ValueError(f"every column must have a name, got {what}. {remedy}")


def counts_rows(values: np.ndarray) -> bool:
    """Returns whether numbers count the rows, from 0 or 1, in any order; a second table may start again.

    Args:
        values: One for each row.

    Returns:
        Whether each number occurs once, or once in each of two tables.

    Example:
        >>> counts_rows(np.array([2.0, 1.0, 3.0])), counts_rows(np.array([1.0, 3.0]))
        (True, False)
    """
    found, times = np.unique(values, return_counts=True)
    if not len(found) or found[0] not in (0, 1) or not np.array_equal(found, np.arange(len(found)) + found[0]):
        return False
    return bool(times.max() == 1) or bool(times.max() == 2 and (np.diff(times) <= 0).all())


def _typed(name: str, values: np.ndarray, kind: str | None, rows: Rows) -> Read:
    """Returns a column that the file declares as numbers or dates."""
    is_date = values.dtype.kind == "M"
    if is_date:
        missing = np.isnat(values)
        values = np.where(missing, np.nan, values.astype("datetime64[us]").astype(np.int64) / 86_400e6)
    if kind in ("category", "text", "id"):
        words = ("" if np.isnan(value) else np.format_float_positional(value, trim="-") for value in values)
        return read_words(name, cells_of(words), kind, keeps_all=True)
    if kind == "date" and not is_date:
        raise ValueError(
            f"column {name} must hold dates for --types {name}=date, got numbers. Leave it out of --types."
        )
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values)))
        raise ValueError(f"column {name} must be finite, got {values[row]} in {rows.name(row)}. Correct it.")
    n_missing = int(np.isnan(values).sum())
    if kind is None and n_missing == len(values) > 0:
        return Read(None, None, "all of its cells are missing")
    if is_date and kind != "number":
        return Read(Column(name=name, kind="date", n_missing=n_missing), values)
    return number_or_id(name, values, [], is_asked=kind == "number")

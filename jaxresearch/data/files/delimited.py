"""Text tables, with commas, semicolons, tabs or bars between cells; the separator is detected."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def read_delimited(raw: bytes, path: Path) -> tuple[dict[str, list[str]], str]:
    r"""Returns the cells of a text table, and its separator.

    Args:
        raw: The decompressed file.
        path: Its name.

    Returns:
        Cells by column, and the separator.

    Raises:
        ValueError: If the file is no whole table, its rows differ in length, its header has no names or one twice, or several
            separators would do.

    Example:
        >>> read_delimited(b"age;size\n3;1,5\n4;2,5\n", Path("mine.csv"))
        ({'age': ['3', '4'], 'size': ['1,5', '2,5']}, ';')

    References:
        Shafranovich (2005), Common format and MIME type for CSV files, RFC 4180. https://www.rfc-editor.org/rfc/rfc4180
    """
    text = _decoded(raw, path)
    separator, rows = _divided(text, path)
    filled = [row for row in rows if row]
    header = [name.strip() for name in filled[0]] if filled else []
    _require_header(header, path)
    if len(filled) < 2:
        raise ValueError(f"{path} must hold rows below its header, got none. Add rows.")
    for number, row in enumerate(filled[1:], start=1):
        if len(row) != len(header):
            raise ValueError(
                f"{path} must have {len(header)} cells in every row, got {len(row)} in row {number} below the header. Correct it."
            )
    columns = zip(*filled[1:], strict=True)
    return {name: list(cells) for name, cells in zip(header, columns, strict=True)}, separator


def _decoded(raw: bytes, path: Path) -> str:
    """Returns the text of a file."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be UTF-8 text, got other bytes at byte {error.start}. Save it as UTF-8."
        ) from error
    if "\0" in text:
        raise ValueError(f"{path} must be UTF-8 text, got a byte of 0 at byte {text.index(chr(0))}. Save it as UTF-8.")
    return text


def _divided(text: str, path: Path) -> tuple[str, list[list[str]]]:
    """Returns the separator, and the cells of each row."""
    lines = (line for line in text.splitlines() if line.strip())
    outside_quotes = re.sub(r'"[^"]*"', "", next(lines, ""))
    present = [separator for separator in SEPARATORS if separator in outside_quotes] or [","]
    divided = {separator: _rows(text, separator) for separator in present}
    even = [separator for separator, rows in divided.items() if not isinstance(rows, csv.Error) and _is_even(rows)]
    if len(even) > 1:
        named = " and ".join(SEPARATORS[separator] for separator in even)
        raise ValueError(
            f"{path} must have one separator, got {named} equally often in every row. Quote the cells that contain the other one."
        )
    separator = even[0] if even else max(present, key=outside_quotes.count)
    rows = divided[separator]
    if isinstance(rows, csv.Error):
        raise ValueError(
            f"{path} must be a well-formed table, got a malformed one ({rows}). Check its quotes."
        ) from rows
    return separator, rows


def _rows(text: str, separator: str) -> list[list[str]] | csv.Error:
    """Returns the rows of a text, or the error of the parser."""
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        return error


def _is_even(rows: Sequence[Sequence[str]]) -> bool:
    """Returns whether all rows have as many cells as the first, and more than one."""
    widths = {len(row) for row in rows if row}
    return len(widths) == 1 and widths != {1}


def _require_header(header: Sequence[str], path: Path) -> None:
    """Raises if the first line does not name the columns."""
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        what = f"{doubled[0]!r} twice" if doubled[0] else "two without a name"
        raise ValueError(f"{path} must name each column once, got {what}. Rename one.")
    numbers = [name for name in header if re.fullmatch(r"[+-]?[0-9]*[.,]?[0-9]+([eE][+-]?[0-9]+)?", name)]
    if len(numbers) == len(header) > 0 or any("." in name for name in numbers):
        raise ValueError(
            f"{path} must name its columns in the first line, got the number {numbers[0]}. Add a line of names."
        )

"""Columns of numbers, in one notation and one unit."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxresearch.data.dataset import Column
from jaxresearch.data.files.cells import STYLES, Cells, Numbers, cells_of, is_missing
from jaxresearch.data.files.words import Read, Rows, joined_notes, missing_note, read_words

_ID = re.compile(r"(?i:index|id|uuid|guid|.*[_\s.-]id)|.*[a-z](Id|ID)")


class Form(NamedTuple):
    """How the numbers of a file are written.

    Attributes:
        mark: The decimal mark.
        is_known: Whether ``1,234`` can be told from 1.234.
    """

    mark: str
    is_known: bool


def fitting(numbers: Numbers, form: Form) -> list[bool]:
    """Returns which words are numbers with the decimal mark of the file.

    Args:
        numbers: How the words of a column could be read.
        form: How numbers are written in the file.

    Returns:
        One for each distinct word.

    Example:
        >>> from jaxresearch.data.files.cells import numbers_of
        >>> fitting(numbers_of(cells_of(["1.5", "1,5", "red"])), Form(".", True))
        [True, False, False]
    """
    return [any(STYLES[style].mark == form.mark for style in styles) for styles in numbers.styles]


def read_numbers(name: str, cells: Cells, numbers: Numbers, *, form: Form, rows: Rows, is_asked: bool = False) -> Read:
    """Returns a column of numbers, or of codes if they have leading zeros.

    Args:
        name: Of the column.
        cells: Of the column.
        numbers: How its words could be read.
        form: How numbers are written in the file.
        rows: Names the rows.
        is_asked: Whether the user asked for numbers: then texts may be equal in value, and have leading zeros.

    Returns:
        The column and its values.

    Raises:
        ValueError: If numbers are in several notations or units, or several texts have the same value.

    Example:
        >>> from jaxresearch.data.files.cells import numbers_of
        >>> cells = cells_of(["$5", "$7"])
        >>> read = read_numbers("price", cells, numbers_of(cells), form=Form(".", True), rows=Rows(2))
        >>> read.column.note, read.values.tolist()
        ('the $ is removed', [5.0, 7.0])
    """
    if is_asked:
        _require_numbers(name, cells, fitting(numbers, form), rows)
    sign = _shared_sign(name, cells, numbers, rows)
    present = [place for place, one in enumerate(numbers.signs) if one is not None]
    if not is_asked and any(re.match(r"[+-]?0[0-9]", numbers.bodies[place]) for place in present):
        return read_words(name, cells, note="numbers with leading zeros are codes")
    style = _style(name, cells, numbers, form, rows)
    of_word = np.full(len(cells.words), np.nan)
    of_word[present] = [float(STYLES[style].plain(numbers.bodies[place])) for place in present]
    _require_range(name, cells, of_word, rows)
    if not is_asked:
        _require_one_text(name, cells, of_word, present)
    used = any("," in numbers.bodies[place] or "." in numbers.bodies[place] for place in present)
    notes = [STYLES[style].note if used else "", f"the {sign} is removed" if sign else "", missing_note(cells)]
    return number_or_id(name, of_word[cells.codes], notes, is_asked=is_asked, words=cells)


def _require_numbers(name: str, cells: Cells, fits: Sequence[bool], rows: Rows) -> None:
    """Raises at the first cell that is not a number, if the user asked for numbers."""
    for place, word in enumerate(cells.words):
        if not fits[place] and not is_missing(word):
            raise ValueError(
                f"column {name} must hold numbers, as in training or by --types, got {word!r} in "
                f"{rows.name(cells.row_of(place))}. Correct it, or train with --types {name}=category."
            )


def _shared_sign(name: str, cells: Cells, numbers: Numbers, rows: Rows) -> str:
    """Returns the currency sign or % that all cells share; raises where they differ."""
    places: dict[str, int] = {}
    for place, sign in enumerate(numbers.signs):
        if sign is not None:
            places.setdefault(sign, place)
    if len(places) > 1:
        first, second, *_ = places.values()
        raise ValueError(
            f"column {name} must have the same unit in all cells, got {cells.words[first]!r} in {rows.name(cells.row_of(first))} "
            f"and {cells.words[second]!r} in {rows.name(cells.row_of(second))}. Convert them to one unit, or pass "
            f"--types {name}=drop."
        )
    return next(iter(places), "")


def _style(name: str, cells: Cells, numbers: Numbers, form: Form, rows: Rows) -> str:
    """Returns the notation of all numbers of a column."""
    own = [style for style in STYLES if style in numbers.shared and STYLES[style].mark == form.mark]
    present = [place for place, sign in enumerate(numbers.signs) if sign is not None]
    if present and not own:
        odd = next(place for place in present if numbers.styles[place] != numbers.styles[present[0]])
        raise ValueError(
            f"column {name} must use one number format, got {cells.words[present[0]]!r} in "
            f"{rows.name(cells.row_of(present[0]))} and {cells.words[odd]!r} in {rows.name(cells.row_of(odd))}. Rewrite "
            "the others."
        )
    style = own[0] if own else "point"
    with_comma = next((place for place in present if "," in numbers.bodies[place]), None)
    if style == "point, thousands" and not form.is_known and with_comma is not None and "comma" in numbers.shared:
        raise ValueError(
            f"column {name} must use commas unambiguously, got {cells.words[with_comma]!r} in "
            f"{rows.name(cells.row_of(with_comma))}, whose comma may separate thousands or decimals. Write it "
            "with a point or without a comma."
        )
    return style


def _require_range(name: str, cells: Cells, of_word: np.ndarray, rows: Rows) -> None:
    """Raises at a number that is too large for float64."""
    if np.isinf(of_word).any():
        place = int(np.argmax(np.isinf(of_word)))
        raise ValueError(
            f"column {name} must be finite, got {cells.words[place]} in {rows.name(cells.row_of(place))}. Correct it."
        )


def _require_one_text(name: str, cells: Cells, of_word: np.ndarray, present: Sequence[int]) -> None:
    """Raises if two texts have the same value; the sign of zero does not count."""
    seen: dict[float, str] = {}
    for place in present:
        value, word = float(of_word[place]) + 0.0, cells.words[place]
        other = seen.setdefault(value, word)
        if other != word and not (value == 0 and other.lstrip("+-") == word.lstrip("+-")):
            raise ValueError(
                f"column {name} must spell each number in one way, got {other!r} and {word!r}. Pass --types {name}=number if "
                f"they are the same, or --types {name}=category if they are not."
            )


def number_or_id(
    name: str, values: np.ndarray, notes: Sequence[str], *, is_asked: bool, words: Cells | None = None
) -> Read:
    """Returns a column of numbers, as ids if it is named like one and all its numbers differ.

    Args:
        name: Of the column.
        values: float64 with nan where missing.
        notes: How the cells were read; empty ones are left out.
        is_asked: Whether the user asked for numbers.
        words: The cells as in the file, for ids.

    Returns:
        The column and its values.

    Example:
        >>> number_or_id("patient_id", np.array([1.0, 2.0]), [], is_asked=False).column.kind
        'id'
    """
    known = values[~np.isnan(values)]
    is_id = bool(_ID.fullmatch(name)) and not is_asked and bool(np.all(known == np.floor(known)))
    if is_id and len(np.unique(known)) == len(known) > 1:
        cells = words or cells_of("" if np.isnan(value) else f"{value:.0f}" for value in values)
        return read_words(name, cells, "id", note="whole numbers that all differ, under the name of an id")
    repeated = "named like an id, but its numbers repeat: read as numbers" if is_id else ""
    n_missing = len(values) - len(known)
    return Read(Column(name=name, kind="number", n_missing=n_missing, note=joined_notes(*notes, repeated)), values)

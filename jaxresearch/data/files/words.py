"""Columns of words: categories, texts and ids."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxresearch.data.dataset import Column
from jaxresearch.data.files.cells import Cells, is_missing

_FEW = 20  # words that may all differ and yet be categories
_LONG = 20  # letters of a word that is not an id


class Rows(NamedTuple):
    """The names of the rows of a table in messages; a second file has its own count.

    Attributes:
        n_first: Rows of the first file.
        second: Name of the second file; "" without.
    """

    n_first: int
    second: str = ""

    def name(self, row: int) -> str:
        """Returns the name of a row, from 1."""
        return f"row {row + 1}" if row < self.n_first else f"row {row - self.n_first + 1} of {self.second}"


class Read(NamedTuple):
    """A column and its values, one per row; for a column that is left out, None and the reason."""

    column: Column | None
    values: Any = None
    reason: str = ""


def read_words(name: str, cells: Cells, kind: Any = None, *, note: str = "", keeps_all: bool = False) -> Read:
    """Returns a column of words: categories, texts or ids.

    Args:
        name: Of the column.
        cells: Of the column.
        kind: category, text or id; by default inferred from how often words repeat.
        note: How the cells were read.
        keeps_all: Whether words such as NA are kept, and only empty cells are missing; if the user declared the kind.

    Returns:
        The column and its values: int32 indices of sorted levels, -1 where missing; or words.

    Example:
        >>> read = read_words("colour", Cells(("red", "blue"), np.array([0, 1, 0])))
        >>> read.column.levels, read.values.tolist()
        (('blue', 'red'), [1, 0, 1])
    """
    missing = np.array([word == "" if keeps_all else is_missing(word) for word in cells.words], bool)
    present = [place for place in range(len(cells.words)) if not missing[place]]
    kind = kind or _kind_of_words(cells, present)
    n_missing = int(cells.counts[missing].sum())
    note = joined_notes(note, "" if keeps_all else missing_note(cells), _doubt(cells, present, kind))
    if kind == "category":
        levels = sorted(cells.words[place] for place in present)
        place_of = {level: place for place, level in enumerate(levels)}
        of_word = np.array([place_of.get(word, -1) for word in cells.words], np.int32)
        made = Column(name=name, kind=kind, levels=tuple(levels), n_missing=n_missing, note=note)
        return Read(made, of_word[cells.codes])
    of_words = np.array(["" if gone else word for word, gone in zip(cells.words, missing, strict=True)], _WORDS)
    return Read(Column(name=name, kind=kind, n_missing=n_missing, note=note), of_words[cells.codes])


_WORDS = np.dtypes.StringDType()


def _kind_of_words(cells: Cells, present: Sequence[int]) -> str:
    """Returns the kind of words: categories repeat."""
    counts = cells.counts[present]
    if len(present) <= _FEW or 2 * len(present) <= counts.sum():
        return "category"
    words = [cells.words[place] for place in present]
    with_spaces = sum(" " in word for word in words)
    return "text" if 2 * with_spaces >= len(words) or sum(map(len, words)) >= _LONG * len(words) else "id"


def missing_note(cells: Cells) -> str:
    """Returns a note on words that were read as missing cells; "" if all missing cells are empty.

    Args:
        cells: Of a column.

    Returns:
        The number of such cells and their words.

    Example:
        >>> missing_note(Cells(("NA", "1", ""), np.array([0, 1, 2, 0])))
        "'NA' is read as missing, 2 cells"
    """
    named = {word: int(n) for word, n in zip(cells.words, cells.counts, strict=True) if word and is_missing(word)}
    if not named:
        return ""
    verb = "is" if len(named) == 1 else "are"
    cell = "cell" if sum(named.values()) == 1 else "cells"
    return f"{', '.join(map(repr, named))} {verb} read as missing, {sum(named.values()):,} {cell}"


_MEASURED = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?\s*[A-Za-z°µ]+[0-9²³]?")


def _doubt(cells: Cells, present: Sequence[int], kind: str) -> str:
    """Returns a note on words that may be misread."""
    words = [cells.words[place] for place in present]
    if words and all(map(_MEASURED.fullmatch, words)):
        return f"numbers with a unit, as {words[0]!r}, are read as words"
    if kind != "category":
        return ""  # texts and ids are not counted by their words, and in a code such as SMILES the case has a meaning
    folded = Counter(word.casefold() for word in words)
    twice = next((word for word in words if folded[word.casefold()] > 1), None)
    return f"{twice!r} occurs in upper and lower case, as two words" if twice else ""


def joined_notes(*notes: str) -> str:
    """Returns notes as one line.

    Args:
        *notes: Empty ones are left out.

    Returns:
        The others, separated by semicolons.

    Example:
        >>> joined_notes("in EUR", "", "2 cells are missing")
        'in EUR; 2 cells are missing'
    """
    return "; ".join(note for note in notes if note)

"""Cells of text tables as numbers and dates, by strict patterns: anything that matches none is not a number."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import numpy as np

MISSING = frozenset(("", "na", "nan", "n/a", "null", "none", "?"))
Mark = Literal[".", ","]


class Cells(NamedTuple):
    """The cells of a column: its distinct words in order of appearance, and the word of each row.

    Attributes:
        words: Without spaces around them; "" where a cell is empty.
        codes: The index of the word of each row.
        is_typed: Whether the file itself declares the cells to be words, so that none is read as a number.
    """

    words: tuple[str, ...]
    codes: np.ndarray
    is_typed: bool = False

    @property
    def counts(self) -> np.ndarray:
        """How many rows hold each word."""
        return np.bincount(self.codes, minlength=len(self.words))

    def row_of(self, word: int) -> int:
        """Returns the first row that holds a word, from 0."""
        return int(np.argmax(self.codes == word))


def cells_of(words: Iterable[str], *, is_typed: bool = False) -> Cells:
    """Returns the cells of a column.

    Args:
        words: One per row.
        is_typed: Whether the file itself declares them to be words.

    Returns:
        Distinct words and their codes.

    Example:
        >>> cells = cells_of(["red", " blue", "red"])
        >>> cells.words, cells.codes.tolist()
        (('red', 'blue'), [0, 1, 0])
    """
    places: dict[str, int] = {}
    codes = np.array([places.setdefault(word.strip(), len(places)) for word in words], np.int64)
    return Cells(tuple(places), codes, is_typed)


class Style(NamedTuple):
    """A way to write numbers."""

    mark: Mark
    pattern: re.Pattern
    plain: Callable[[str], str]
    note: str


# The thousands do not start with a zero, so that 0,500 is not five hundred.
STYLES: dict[str, Style] = {
    "point": Style(".", re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"), str, ""),
    "point, thousands": Style(
        ".",
        re.compile(r"[+-]?([0-9]{1,3}|[1-9][0-9]{0,2}(,[0-9]{3})+)(\.[0-9]+)?"),
        lambda word: word.replace(",", ""),
        "commas separate thousands",
    ),
    "comma": Style(
        ",",
        re.compile(r"[+-]?([0-9]+(,[0-9]*)?|,[0-9]+)([eE][+-]?[0-9]+)?"),
        lambda word: word.replace(",", "."),
        "commas are read as decimal marks",
    ),
    "comma, thousands": Style(
        ",",
        re.compile(r"[+-]?([0-9]{1,3}|[1-9][0-9]{0,2}(\.[0-9]{3})+)(,[0-9]+)?"),
        lambda word: word.replace(".", "").replace(",", "."),
        "points separate thousands",
    ),
}
_SIGNED = re.compile(r"([+-]?)([$€£¥₹]?)\s?([+-]?)(.*?)\s?([$€£¥₹%]?)", re.DOTALL)
_DIGIT = re.compile(r"[0-9]")


class Numbers(NamedTuple):
    """The words of a column, as candidates for numbers.

    Attributes:
        signs: Currency sign or %, "" for none; None for a missing word.
        bodies: Words without their sign.
        styles: Those that each word matches.
        shared: Those that match all words that match any.
    """

    signs: tuple[str | None, ...]
    bodies: tuple[str, ...]
    styles: tuple[frozenset[str], ...]
    shared: frozenset[str]


def is_missing(word: str) -> bool:
    """Returns whether a cell is missing.

    Args:
        word: Without spaces around it.

    Returns:
        True for an empty cell and for NA, NaN, N/A, null, None and ?, in any case.

    Example:
        >>> is_missing("NA"), is_missing("-")
        (True, False)
    """
    return word.lower() in MISSING


def numbers_of(cells: Cells) -> Numbers:
    """Returns the ways in which the words of a column can be read as numbers.

    Args:
        cells: Of one column.

    Returns:
        Signs, bodies and styles of each distinct word.

    Example:
        >>> numbers_of(cells_of(["$1,234,567", "$5"])).shared
        frozenset({'point, thousands'})
    """
    split = [_unsigned(word) for word in cells.words]
    bodies = tuple(body for _, body in split)
    styles = tuple(_styles(body) for body in bodies)
    fitting = [styles_ for styles_, (sign, _) in zip(styles, split, strict=True) if styles_ and sign is not None]
    shared = frozenset(STYLES).intersection(*fitting) if fitting else frozenset()
    return Numbers(tuple(sign for sign, _ in split), bodies, styles, shared)


def _unsigned(word: str) -> tuple[str | None, str]:
    """Returns the currency sign or % of a word, None if it is missing, and the word without it."""
    if is_missing(word):
        return None, ""
    matched = _SIGNED.fullmatch(word) if _DIGIT.search(word) else None
    if matched is None:
        return "", word
    before, currency, after, body, unit = matched.groups()
    return currency + unit, before + after + body


def _styles(body: str) -> frozenset[str]:
    """Returns the styles that a word fits."""
    if not _DIGIT.search(body):
        return frozenset()
    return frozenset(name for name, style in STYLES.items() if style.pattern.fullmatch(body))


def decimal_mark(columns: dict[str, Numbers]) -> tuple[Mark, str, str]:
    """Returns the decimal mark of a file: a comma if some column cannot be read otherwise.

    Args:
        columns: By name, without those to be read as words.

    Returns:
        The mark; a column that only the point fits and one that only the comma fits, "" if there is none.

    Raises:
        ValueError: If there are both.

    Example:
        >>> decimal_mark({"a": numbers_of(cells_of(["12,5"])), "b": numbers_of(cells_of(["3"]))})
        (',', '', 'a')
    """
    only = {".": "", ",": ""}
    for name, numbers in columns.items():
        is_whole = all(styles or sign is None for styles, sign in zip(numbers.styles, numbers.signs, strict=True))
        marks = {STYLES[style].mark for style in numbers.shared} if is_whole else set()
        if marks == {"."} or (marks == {","} and any(map(_is_comma_alone, numbers.styles))):
            only[marks.pop()] = name
    if only["."] and only[","]:
        raise ValueError(
            f"a table must use one decimal mark, got points in column {only['.']} and commas in column {only[',']}. Write all "
            "numbers with the same mark, or leave one column out: --types NAME=drop."
        )
    return "," if only[","] else ".", only["."], only[","]


def _is_comma_alone(styles: frozenset[str]) -> bool:
    """Returns whether a word such as 12,5 is a number with a decimal comma alone; 1,234 may be another."""
    return {STYLES[style].mark for style in styles} == {","}


_ISO = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_OTHER_FORMS = {
    "dates": re.compile(
        r"[0-9]{1,2}[/.-][0-9]{1,2}[/.-]([0-9]{2}|[0-9]{4})( .*)?|[0-9]{4}[/.][0-9]{1,2}[/.][0-9]{1,2}( .*)?"
        rf"|[0-9]{{1,2}}[ -]{_MONTH}[ ,-]*[0-9]{{2,4}}|{_MONTH} [0-9]{{1,2}},? [0-9]{{4}}",
        re.IGNORECASE,
    ),
    "times": re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?( ?[ap]m)?", re.IGNORECASE),
    "numbers with gaps": re.compile(r"[+-]?[0-9]{1,3}([ '\u00a0\u202f\u2009][0-9]{3})+([.,][0-9]+)?"),
    "numbers in brackets": re.compile(r"\([0-9][0-9.,]*\)"),
}


def is_iso(word: str) -> bool:
    """Returns whether a word looks like an ISO date.

    Args:
        word: Without spaces around it.

    Returns:
        True for YYYY-MM-DD, with or without a time and its zone.

    Example:
        >>> is_iso("2024-02-29 12:00"), is_iso("29.02.2024")
        (True, False)

    References:
        ISO 8601-1:2019, Date and time.
    """
    return _ISO.fullmatch(word) is not None


def days_of(word: str) -> float:
    """Returns the days since 1970-01-01 of an ISO date.

    Args:
        word: As for `is_iso`; UTC if it has no zone.

    Returns:
        Days, with a fraction if there is a time.

    Raises:
        ValueError: If the day or time does not exist.

    Example:
        >>> days_of("1970-01-02T12:00")
        1.5
    """
    moment = datetime.fromisoformat(word)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86_400


def other_form(word: str) -> str:
    """Returns the kind of a word in a format that is not supported; "" for any other word.

    Args:
        word: Without spaces around it.

    Returns:
        dates, times, numbers with gaps, or numbers in brackets.

    Example:
        >>> other_form("31/12/2024"), other_form("1 234"), other_form("red")
        ('dates', 'numbers with gaps', '')
    """
    return next((form for form, pattern in _OTHER_FORMS.items() if pattern.fullmatch(word)), "")

"""What could still single a row of a table out."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxresearch.data.files.cells import STYLES, cells_of, is_missing, numbers_of
from jaxresearch.privacy.anonymity.anonymised import owners_of, require_columns
from jaxresearch.privacy.anonymity.attributes import words_of

_SINGLES_OUT = 0.5  # of the rows with a value of their own: the column is identifying
_N_PAIRS = 5
_NAMED_LIKE_ID = re.compile(
    r"(?i:id|uuid|guid|.*[_\s.-]id|name|person|patient|subject|participant|user|customer|client|member|student|pupil)"
    r"|.*[a-z](Id|ID)"
)
_NO_WORD = re.compile(r"\d{4}-\d\d-\d\d.*|[\W\d_]*")  # dates and numbers
_ROWS_OF_ID = 10  # a column of words with at most as many rows for each value, and ...
_N_IDS = 20  # ... at least as many values could tell people apart


class Pair(NamedTuple):
    """Two columns, and the number of rows that they single out."""

    first: str
    second: str
    n_unique_rows: int


class Linked(NamedTuple):
    """Rows that a column links: the number of its values, the fewest in a class, and those in several classes."""

    n_values: int
    fewest_in_class: int
    n_across_classes: int


class Identifiability(NamedTuple):
    """What could still single rows out. Pseudonyms do not count as values, since only the holder of the key can recompute them.

    Attributes:
        n_rows: Of the table.
        n_classes: The number of combinations of the quasi-identifiers.
        smallest_class: The least number of rows with one combination.
        n_unique_rows: Rows that differ from all others in the columns together.
        identifying: Columns in which at least half of the rows have a value of their own, with the fraction of such rows; without
            quasi-identifiers.
        n_pairs: Pairs of other columns, not both quasi-identifiers, that single out at least one row.
        pairs: The worst five.
        linked: Columns in which a value occurs in several rows: those of pseudonyms, and others that are named like an id, or
            have at least 20 words, for at most ten rows each. Neither quasi-identifiers nor the sensitive column are among them.
        n_homogeneous_classes: Classes with one sensitive value, which is thereby known of all their rows; None without a
            sensitive column.
        n_homogeneous_rows: Their rows.
        least_distinct: The least number of sensitive values in a class.
        t_closeness: The largest distance between the sensitive values of a class and those of the table, 0 to 1.
        units: The same as ``linked`` for the units of the rows; None without units.
    """

    n_rows: int
    n_classes: int
    smallest_class: int
    n_unique_rows: int
    identifying: dict[str, float]
    n_pairs: int
    pairs: tuple[Pair, ...]
    linked: dict[str, Linked]
    n_homogeneous_classes: int | None = None
    n_homogeneous_rows: int | None = None
    least_distinct: int | None = None
    t_closeness: float | None = None
    units: Linked | None = None


def identifiability(
    table: Mapping[str, Any],
    *,
    quasi: Sequence[str] = (),
    sensitive: str | None = None,
    pseudonyms: Sequence[str] = (),
    units: Sequence[Any] | None = None,
) -> Identifiability:
    """Returns what could still single a row of a table out.

    Args:
        table: Cells by column.
        quasi: Quasi-identifiers; without any, the table is one class.
        sensitive: A column whose values in each class are compared with those of the table.
        pseudonyms: Columns of pseudonyms.
        units: Whom each row belongs to, as in `anonymise`; in the order of the rows of ``table``.

    Returns:
        Counts and the columns to look at.

    Raises:
        ValueError: If a column is missing, or there are no rows.

    Example:
        >>> table = {"age": ["30 to 38"] * 2 + ["61 to 75"] * 2, "ill": ["no", "yes", "no", "no"], "id": [1, 2, 3, 4]}
        >>> found = identifiability(table, quasi=["age"], sensitive="ill")
        >>> found.smallest_class, found.n_unique_rows, found.identifying, found.n_homogeneous_classes
        (2, 4, {'id': 1.0}, 1)

    References:
        Li, Li and Venkatasubramanian (2007), t-closeness: privacy beyond k-anonymity and l-diversity, ICDE, sections 3 and 4.
        https://doi.org/10.1109/ICDE.2007.367856
    """
    for option, names in (("quasi", quasi), ("sensitive", [sensitive]), ("pseudonyms", pseudonyms)):
        require_columns(option, names, table)
    words = {name: words_of(values) for name, values in table.items()}
    n_rows = len(next(iter(words.values()), ()))
    if not n_rows:
        raise ValueError("table must have rows, got none. Give it data.")
    codes = {name: np.unique(column, return_inverse=True)[1] for name, column in words.items()}
    seen = [name for name in codes if name not in pseudonyms]
    classes = _combined([codes[name] for name in quasi], n_rows)
    sizes = np.bincount(classes)
    own = {name: _n_unique(codes[name]) / n_rows for name in seen if name not in quasi}
    identifying = {name: fraction for name, fraction in own.items() if fraction >= _SINGLES_OUT}
    pairs = _pairs({name: codes[name] for name in seen if name not in identifying}, quasi)
    found = Identifiability(
        n_rows=n_rows,
        n_classes=len(sizes),
        smallest_class=int(sizes.min()),
        n_unique_rows=_n_unique(_combined([codes[name] for name in seen], n_rows)),
        identifying=identifying,
        n_pairs=len(pairs),
        pairs=tuple(pairs[:_N_PAIRS]),
        linked={
            name: _linked(codes[name], classes)
            for name in codes
            if len(np.unique(codes[name])) < n_rows
            and (name in pseudonyms or (name not in (*quasi, sensitive) and _is_id(name, words[name], identifying)))
        },
        units=None if units is None else _linked(owners_of(units, n_rows), classes),
    )
    return found if sensitive is None else found._replace(**_of_sensitive(words[sensitive], classes))


def _combined(columns: Sequence[np.ndarray], n_rows: int) -> np.ndarray:
    """Returns a code for each combination of columns."""
    codes = np.zeros(n_rows, np.int64)
    for column in columns:
        codes = np.unique(codes * (column.max() + 1) + column, return_inverse=True)[1]
    return codes


def _is_id(name: str, words: Sequence[str], identifying: Mapping[str, float]) -> bool:
    """Returns whether a column could tell people apart: by its name, or by its many words that repeat."""
    if _NAMED_LIKE_ID.fullmatch(name):
        return True
    known = {word for word in words if not is_missing(word)}
    is_many = len(known) >= max(_N_IDS, len(words) / _ROWS_OF_ID)
    return is_many and name not in identifying and not any(map(_NO_WORD.fullmatch, known))


def _linked(codes: np.ndarray, classes: np.ndarray) -> Linked:
    """Returns how a column links the rows of classes."""
    together = np.unique(np.stack([classes, codes]), axis=1)
    n_classes_of = np.bincount(together[1])
    return Linked(len(n_classes_of), int(np.bincount(together[0]).min()), int((n_classes_of > 1).sum()))


def _n_unique(codes: np.ndarray) -> int:
    """Returns how many rows have a value of their own."""
    return int((np.bincount(codes) == 1).sum())


def _pairs(codes: Mapping[str, np.ndarray], quasi: Sequence[str]) -> list[Pair]:
    """Returns the pairs of columns that single rows out, the worst first; pairs of quasi-identifiers cannot."""
    found = [
        Pair(first, second, _n_unique(_combined([codes[first], codes[second]], len(codes[first]))))
        for first, second in itertools.combinations(codes, 2)
        if not (first in quasi and second in quasi)
    ]
    return sorted((pair for pair in found if pair.n_unique_rows), key=lambda pair: -pair.n_unique_rows)


def _of_sensitive(words: Sequence[str], classes: np.ndarray) -> dict[str, Any]:
    """Returns what the classes reveal about the sensitive column."""
    codes, is_ordered = _ordered(words)
    overall = np.bincount(codes) / len(codes)
    rows = np.argsort(classes, kind="stable")
    members = np.split(codes[rows], np.flatnonzero(np.diff(classes[rows])) + 1)
    distinct = np.array([len(np.unique(one)) for one in members])
    sizes = np.array([len(one) for one in members])
    return {
        "n_homogeneous_classes": int((distinct == 1).sum()),
        "n_homogeneous_rows": int(sizes[distinct == 1].sum()),
        "least_distinct": int(distinct.min()),
        "t_closeness": max(_distance(one, overall, is_ordered=is_ordered) for one in members),
    }


def _distance(codes: np.ndarray, overall: np.ndarray, *, is_ordered: bool) -> float:
    """Returns the earth mover's distance of a class from the table: between ranks, or between equally distant values."""
    gaps = np.bincount(codes, minlength=len(overall)) / len(codes) - overall
    if is_ordered:
        return float(np.abs(np.cumsum(gaps)).sum() / max(len(overall) - 1, 1))
    return float(np.abs(gaps).sum() / 2)


def _ordered(words: Sequence[str]) -> tuple[np.ndarray, bool]:
    """Returns a code for each row, and whether the codes are in the order of numbers."""
    cells = cells_of(words)
    numbers = numbers_of(cells)
    style = STYLES[sorted(numbers.shared)[0]] if numbers.shared else None
    if style is None or not all(numbers.styles) or any(map(is_missing, cells.words)):
        return np.unique(words, return_inverse=True)[1], False
    values = np.array([float(style.plain(body)) for body in numbers.bodies])[cells.codes]
    return np.unique(values, return_inverse=True)[1], True

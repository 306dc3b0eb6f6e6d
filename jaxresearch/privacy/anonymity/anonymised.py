"""Tables in which every combination of quasi-identifiers is shared by at least k rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import catalogue
from jaxresearch.privacy.anonymity.attributes import Attribute, Hierarchy, Numbers, attributes_of, words_of
from jaxresearch.privacy.anonymity.partition import Diversity, partition, prefix_diversity


class Anonymised(NamedTuple):
    """A k-anonymous table.

    Attributes:
        table: Cells by column, sorted by row; the order of the original rows is lost.
        class_sizes: The number of rows of each class: rows with equal quasi-identifiers.
        loss: Normalised certainty penalty, the mean over rows and quasi-identifiers: 0 if nothing was generalised, 1 if all is
            hidden.
        losses: The same for each quasi-identifier.
        discernibility: The sum of the squared class sizes: how many rows each row cannot be told from, itself included.
        kinds: How each quasi-identifier was read: number, date, category or hierarchy.
        rows: The original index of each row. It undoes the sorting: do not publish it.
    """

    table: dict[str, list[str]]
    class_sizes: tuple[int, ...]
    loss: float
    losses: dict[str, float]
    discernibility: int
    kinds: dict[str, str]
    rows: np.ndarray


def anonymise(
    table: Mapping[str, Any],
    *,
    quasi: Sequence[str],
    k: int,
    units: Sequence[Any] | None = None,
    sensitive: str | None = None,
    l_diversity: int | float = 1,
    diversity: Diversity = "distinct",
    numbers: Numbers = "range",
    hierarchies: Mapping[str, Hierarchy] | None = None,
    types: Mapping[str, str] | None = None,
    separator: str = ",",
) -> Anonymised:
    """Returns a table in which each combination of the quasi-identifiers occurs at least k times, all rows kept.

    ==============  =============================================================================================
    cells           in a class
    ==============  =============================================================================================
    equal           unchanged; beside ranges and sets, a number x is ``x to x``, a code 0150 is ``{0150}``
    numbers, dates  ``30 to 39``, from the smallest to the largest value of the class; or their mean
    categories      ``{blue, red}``, or ``*`` for all categories; with a hierarchy, the lowest common ancestor
    missing         a category of its own: ``*`` beside numbers (empty beside a mean), ``""`` in a set
    ==============  =============================================================================================

    Args:
        table: Cells by column: sequences of text as in a CSV file, of numbers or of dates.
        quasi: Columns that others may know of a person.
        k: The least number of rows in a class, from 2; with ``units``, of different units.
        units: Whom each row belongs to, such as the cells of a column of patients, if some have several rows.
        sensitive: The column that must not be learnt from a class; it is left as it is.
        l_diversity: The least number of sensitive values in a class; an empty cell is a value.
        diversity: Whether ``distinct`` values are counted, or the exponential of their ``entropy``.
        numbers: Whether a class of numbers is written as its ``range`` or its ``mean``.
        hierarchies: By column, the ancestors of each value, the nearest first.
        types: Kinds of quasi-identifiers, as for `jaxresearch.data.load`.
        separator: Of the cells of the file that the table is from.

    Returns:
        The table, its classes and what it lost.

    Raises:
        ValueError: If a column is missing or ambiguous, an option out of range, or the table has too few rows or values.

    Example:
        >>> table = {"age": [30, 38, 61, 75], "zip": ["0150", "0150", "0152", "0150"], "ill": ["no", "yes", "no", "no"]}
        >>> made = anonymise(table, quasi=["age", "zip"], k=2)
        >>> made.table["age"], made.table["zip"], made.class_sizes
        (['30 to 38', '30 to 38', '61 to 75', '61 to 75'], ['{0150}', '{0150}', '*', '*'], (2, 2))

    References:
        Sweeney (2002), k-anonymity: a model for protecting privacy, IJUFKS 10(5). https://doi.org/10.1142/S0218488502001648
        Xu, Wang, Pei, Wang, Shi and Fu (2006), Utility-based anonymization using local recoding, KDD, section 3.2 (loss).
        https://doi.org/10.1145/1150402.1150504
        Bayardo and Agrawal (2005), Data privacy through optimal k-anonymization, ICDE, equation 1 (discernibility).
        https://doi.org/10.1109/ICDE.2005.42
    """
    words = {name: words_of(values) for name, values in table.items()}
    _require_columns(words, quasi, sensitive, hierarchies or {}, types or {})
    codes = None if sensitive is None else np.unique(words[sensitive], return_inverse=True)[1]
    owners = np.arange(len(words[quasi[0]])) if units is None else owners_of(units, len(words[quasi[0]]))
    _require_k(k, len(np.unique(owners)), "rows" if units is None else "units")
    _require_diversity(codes, l_diversity, diversity)
    attributes = attributes_of(
        {name: words[name] for name in quasi},
        types=types,
        hierarchies=hierarchies,
        numbers=numbers,
        separator=separator,
    )
    parts = partition(
        [*attributes.values()], k=k, units=owners, sensitive=codes, l_diversity=l_diversity, diversity=diversity
    )
    generalised = words | {name: _generalised(one, parts) for name, one in attributes.items()}
    order = _sorted_rows(generalised, quasi)
    made = {name: [column[row] for row in order] for name, column in generalised.items()}
    sizes = _class_sizes(made, quasi)
    losses = {name: _loss(one, parts) for name, one in attributes.items()}
    kinds = {name: one.kind for name, one in attributes.items()}
    squares = sum(size**2 for size in sizes)
    return Anonymised(made, sizes, float(np.mean([*losses.values()])), losses, squares, kinds, order)


def _require_columns(
    words: Mapping[str, Sequence[str]],
    quasi: Sequence[str],
    sensitive: str | None,
    hierarchies: Mapping[str, Hierarchy],
    types: Mapping[str, str],
) -> None:
    """Raises for columns that are missing, or have two roles."""
    if not quasi:
        raise ValueError(f"quasi must name at least one column, got none. {catalogue.nearest('', [*words])}")
    require_columns("quasi", quasi, words)
    require_columns("sensitive", [sensitive], words)
    if len({*quasi}) < len(quasi) or sensitive in quasi:
        name = sensitive if sensitive in quasi else next(name for name in quasi if list(quasi).count(name) > 1)
        role = "quasi and sensitive" if name == sensitive else "quasi twice"
        raise ValueError(f"a column must have one role, got {name} in {role}. Leave one out.")
    if len(lengths := {len(column) for column in words.values()}) > 1:
        raise ValueError(f"columns must be of one length, got {sorted(lengths)} cells. Complete them.")
    for option, given in (("hierarchies", hierarchies), ("types", types)):
        stray = next((name for name in given if name not in quasi), None)
        if stray is not None:
            raise ValueError(f"{option} must name quasi-identifiers, got {stray!r}. {catalogue.nearest(stray, quasi)}")
    dropped = next((name for name, kind in types.items() if kind == "drop"), None)
    if dropped is not None:
        raise ValueError(f"quasi must name columns to keep, got {dropped} with the type drop. Leave it out of quasi.")


def require_columns(option: str, names: Sequence[str | None], columns: Mapping[str, Any]) -> None:
    """Raises for a column that is not in a table, with the nearest name.

    Args:
        option: That names the columns.
        names: The columns; None for one that is not asked for.
        columns: Of the table.

    Raises:
        ValueError: If one is missing, or ``names`` is a word, whose letters would be taken for columns.

    Example:
        >>> require_columns("quasi", ["age"], {"age": ["30"]})
    """
    if isinstance(names, str):
        raise ValueError(f"{option} must be a list of columns, got the word {names!r}. Pass [{names!r}].")
    missing = next((name for name in names if name is not None and name not in columns), None)
    if missing is not None:
        raise ValueError(
            f"{option} must name columns of the table, got {missing!r}. {catalogue.nearest(missing, [*columns])}"
        )


def owners_of(units: Sequence[Any], n_rows: int) -> np.ndarray:
    """Returns a code per row, of the unit that it belongs to.

    Args:
        units: Whom each row belongs to.
        n_rows: Of the table.

    Returns:
        Integers from 0.

    Raises:
        ValueError: If there are more or fewer units than rows.

    Example:
        >>> owners_of(["Ada", "Bob", "Ada"], 3).tolist()
        [0, 1, 0]
    """
    if len(units) != n_rows:
        raise ValueError(f"units must name the unit of each of {n_rows:,} rows, got {len(units):,}. Complete them.")
    return np.unique(words_of(units), return_inverse=True)[1]


def _require_k(k: int, n: int, counted: str) -> None:
    """Raises if k is out of range, or more than the whole table has."""
    if k < 2:
        raise ValueError(f"k must be at least 2, got {k}. With k = 1, every row may be unique.")
    if n < k:
        raise ValueError(f"k must be at most the number of {counted}, {n:,}, got {k:,}. Lower k.")


def _require_diversity(codes: np.ndarray | None, l_diversity: int | float, diversity: Diversity) -> None:
    """Raises if l is out of range, or more than the whole table has."""
    if not l_diversity >= 1:  # nan as well
        raise ValueError(f"l must be at least 1, got {l_diversity}. With l = 1, a class may have one sensitive value.")
    if codes is None:
        if l_diversity > 1:
            raise ValueError(
                f"l needs a sensitive column, got l = {l_diversity} without one. Name the sensitive column."
            )
        return
    found = prefix_diversity(np.sort(codes), diversity=diversity)[-1]
    if found < l_diversity:
        raise ValueError(
            f"l must be at most the {diversity} diversity of the whole sensitive column, {found:.4g}, got {l_diversity}. Lower l."
        )


def _generalised(attribute: Attribute, parts: Sequence[np.ndarray]) -> list[str]:
    """Returns the text of each row."""
    column = [""] * len(attribute.codes)
    for rows, text in zip(parts, attribute.texts([attribute.codes[rows] for rows in parts]), strict=True):
        for row in rows:
            column[row] = text
    return column


def _loss(attribute: Attribute, parts: Sequence[np.ndarray]) -> float:
    """Returns the mean loss of the rows."""
    return sum(len(rows) * attribute.loss(attribute.codes[rows]) for rows in parts) / len(attribute.codes)


def _sorted_rows(table: Mapping[str, Sequence[str]], quasi: Sequence[str]) -> np.ndarray:
    """Returns the rows sorted by all columns, quasi-identifiers first, so that the original order is lost."""
    names = [*quasi, *(name for name in table if name not in quasi)]
    keys = [*zip(*(table[name] for name in names), strict=True)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def _class_sizes(table: Mapping[str, Sequence[str]], quasi: Sequence[str]) -> tuple[int, ...]:
    """Returns how often each combination of the quasi-identifiers occurs, in the order of the rows."""
    return tuple(Counter(zip(*(table[name] for name in quasi), strict=True)).values())

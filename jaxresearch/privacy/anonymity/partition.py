"""Mondrian: rows are cut in two along one quasi-identifier, as long as both parts are large and diverse enough."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxresearch.privacy.anonymity.attributes import Attribute

Diversity = Literal["distinct", "entropy"]
_DECIMALS = 9  # l equally frequent values have a diversity of l, but for the rounding of a sum of logarithms


def partition(
    attributes: Sequence[Attribute],
    *,
    k: int,
    units: np.ndarray | None = None,
    sensitive: np.ndarray | None = None,
    l_diversity: int | float = 1,
    diversity: Diversity = "distinct",
) -> list[np.ndarray]:
    """Returns classes of rows: strict multidimensional Mondrian.

    A class is cut along the attribute of which it hides most, at the cut nearest to the median that leaves both parts with k
    units and l values; if there is none, along the next one. Equal values stay together, so that the classes do not depend on the
    order of the rows.

    Args:
        attributes: Quasi-identifiers.
        k: The least number of units in a class.
        units: A code per row, of whom it belongs to; by default, each row is a unit.
        sensitive: A code per row.
        l_diversity: The least `prefix_diversity` of a class.
        diversity: What is counted as such.

    Returns:
        Indices of the rows of each class. The rows as a whole must satisfy the conditions.

    Example:
        >>> from jaxresearch.privacy.anonymity.attributes import attributes_of
        >>> age = attributes_of({"age": ["30", "70", "31", "60", "61"]})["age"]
        >>> [rows.tolist() for rows in partition([age], k=2)]
        [[0, 2], [1, 3, 4]]
        >>> [rows.tolist() for rows in partition([age], k=2, units=np.array([7, 8, 7, 8, 8]))]
        [[0, 1, 2, 3, 4]]

    References:
        LeFevre, DeWitt and Ramakrishnan (2006), Mondrian multidimensional k-anonymity, ICDE, algorithm 1.
        https://doi.org/10.1109/ICDE.2006.101
        Machanavajjhala, Kifer, Gehrke and Venkitasubramaniam (2007), l-diversity: privacy beyond k-anonymity, ACM TKDD 1(1),
        definitions 4.1 and 5. https://doi.org/10.1145/1217299.1217302
    """
    n_rows = len(attributes[0].codes)
    units = np.arange(n_rows) if units is None else units
    sensitive = np.zeros(n_rows, np.int64) if sensitive is None else sensitive
    open_, classes = [np.arange(n_rows)], []
    while open_:
        rows = open_.pop()
        losses = [one.loss(one.codes[rows]) for one in attributes]
        for place in sorted(range(len(attributes)), key=lambda place: -losses[place]):
            parts = (
                _cut(attributes[place], rows, units, k, sensitive, l_diversity, diversity) if losses[place] else None
            )
            if parts is not None:
                open_ += parts[::-1]
                break
        else:
            classes.append(np.sort(rows))
    return classes


def _cut(
    attribute: Attribute,
    rows: np.ndarray,
    units: np.ndarray,
    k: int,
    sensitive: np.ndarray,
    l_diversity: int | float,
    diversity: Diversity,
) -> list[np.ndarray] | None:
    """Returns the two parts of a class, or None if it cannot be cut along an attribute."""
    codes, n = attribute.codes[rows], len(rows)
    order = np.argsort(codes, kind="stable")
    sizes = np.arange(1, n)
    allowed = _least(units[rows[order]], "distinct") >= k
    allowed &= _least(sensitive[rows[order]], diversity) >= l_diversity
    for labels in attribute.groupings(codes):
        sorted_labels = labels[order]
        places = np.flatnonzero(allowed & (sorted_labels[1:] != sorted_labels[:-1]))
        if len(places):
            best = int(places[np.argmin(np.abs(2 * sizes[places] - n))]) + 1
            return [rows[order[:best]], rows[order[best:]]]
    return None


def _least(values: np.ndarray, diversity: Diversity) -> np.ndarray:
    """Returns, for each place of a cut, the smaller diversity of the two parts."""
    below = prefix_diversity(values, diversity=diversity)[:-1]
    above = prefix_diversity(values[::-1], diversity=diversity)[::-1][1:]
    return np.minimum(below, above)


def prefix_diversity(values: np.ndarray, *, diversity: Diversity = "distinct") -> np.ndarray:
    """Returns how many sensitive values each prefix of the rows has.

    Args:
        values: A code per row.
        diversity: ``distinct`` counts values; ``entropy`` is the exponential of their entropy, so that rare values count less.

    Returns:
        One number per prefix; the last one is that of all rows.

    Example:
        >>> prefix_diversity(np.array([3, 3, 5, 5])).tolist()
        [1, 1, 2, 2]
        >>> prefix_diversity(np.array([3, 3, 5, 5]), diversity="entropy").round(2).tolist()
        [1.0, 1.0, 1.89, 2.0]
    """
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=values[order[:1]] - 1))
    ranks = np.empty(len(values), np.int64)  # how often the value has occurred, from 1
    ranks[order] = np.arange(len(values)) - np.repeat(starts, np.diff(starts, append=len(values))) + 1
    if diversity == "distinct":
        return np.cumsum(ranks == 1)
    sizes, before = np.arange(1, len(values) + 1), np.maximum(ranks - 1, 1)
    terms = np.cumsum(ranks * np.log(ranks) - (ranks - 1) * np.log(before))
    return np.exp(np.log(sizes) - terms / sizes).round(_DECIMALS)

"""Which features of prepared data come from which column of a table, found by permuting each column."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def column_features(
    prepare: Callable[[dict[str, Any]], np.ndarray], columns: Mapping[str, Any]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the groups of the features that each column becomes, and the names of the groups.

    Any preprocessing will do: a feature belongs to the column whose permutation changes it. Features that no column changes,
    such as a level that none of these rows has, form a last group ``""``; columns that change no feature have none.

    Args:
        prepare: ``columns -> features``, of shape ``(rows, features)``.
        columns: One array or list of cells for each column; several hundred rows tell the columns apart.

    Returns:
        The number of its group for each feature, and the column of each group.

    Raises:
        ValueError: If a feature depends on several columns.

    Example:
        >>> prepare = lambda columns: np.stack([columns["age"], np.zeros(3), columns["age"] ** 2, columns["size"]], axis=1)
        >>> column_features(prepare, {"age": np.array([1, 2, 3]), "size": np.array([4, 5, 6])})
        (array([0, 2, 0, 1], dtype=int32), ('age', 'size', ''))
    """
    plain = prepare(dict(columns))
    owners: list[set[str]] = [set() for _ in range(plain.shape[1])]
    for name, cells in columns.items():
        for order in _orders(len(plain)):
            moved = np.asarray(cells)[order] if isinstance(cells, np.ndarray) else [cells[row] for row in order]
            changed = ~np.isclose(prepare({**columns, name: moved}), plain, equal_nan=True).all(axis=0)
            for place in np.flatnonzero(changed):
                owners[place].add(name)
    shared = next((sorted(of_feature) for of_feature in owners if len(of_feature) > 1), None)
    if shared is not None:
        raise ValueError(
            f"each feature must come from one column, got one of {' and '.join(shared)}. Pass groups of features of your own."
        )
    found = [next(iter(of_feature), "") for of_feature in owners]
    names = [name for name in (*columns, "") if name in found]
    return np.array([names.index(name) for name in found], np.int32), tuple(names)


def _orders(n: int) -> tuple[np.ndarray, ...]:
    """Returns the permutations that tell columns apart: rows move by one place, and by half of them."""
    return np.roll(np.arange(n), 1), np.roll(np.arange(n), n // 2)

"""Examples that are in both the training part and another part."""

import dataclasses
import math
from typing import Any

import numpy as np

from jaxresearch.data.dataset import Dataset
from jaxresearch.data.numbering import NUMBERS
from jaxresearch.data.parts import Part, named_arrays
from jaxresearch.data.rows import Rows, pieces

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def require_disjoint(dataset: Dataset, *, is_drawn: bool = False) -> Dataset:
    """Returns the data with a note on test examples that are also training examples; raises if that looks like a mistake.

    Examples are equal if their inputs and targets are. It looks like a mistake if more than half of the test examples occur
    in the training part, but less than half that fraction of the training examples occur twice in it.

    Args:
        dataset: As collected and split.
        is_drawn: Whether the test part was drawn from the same examples, so that common examples are duplicates.

    Returns:
        The data, with a note on its card if examples are in both parts.

    Raises:
        ValueError: If the test part repeats the training part, and the card does not declare it.

    Example:
        >>> from jaxresearch.data.dataset import DataCard
        >>> part = {"inputs": np.arange(8.0).reshape(4, 2), "targets": np.array([0, 1, 0, 1])}
        >>> require_disjoint(Dataset(part, part, None, DataCard(name="mine", source="memory")))
        Traceback (most recent call last):
        ...
        ValueError: parts of mine must not overlap, got 4 of 4 test examples in the training part as well. Use other ...
    """
    if dataset.card.in_sample or any(isinstance(array, Rows) for _, array in _arrays(dataset)):
        return dataset
    notes = [
        note
        for name, part in (("test", dataset.test), ("validation", dataset.validation))
        if part is not None
        for note in _repeated(dataset, name, part, is_drawn=is_drawn)
    ]
    card = dataclasses.replace(dataset.card, notes=(*dataset.card.notes, *notes))
    return dataset._replace(card=card) if notes else dataset


def _arrays(dataset: Dataset) -> list[tuple[str, Any]]:
    """Returns all arrays of the parts."""
    return [named for part in dataset.parts().values() for named in named_arrays(part)]


def _repeated(dataset: Dataset, name: str, part: Part, *, is_drawn: bool) -> list[str]:
    """Returns a note on the examples of a part that are also in the training part."""
    train, own = row_hashes(dataset.train), row_hashes(part)
    n_both = int(np.isin(own, train).sum())
    if not n_both:
        return []
    counts = np.unique(train, return_counts=True)[1]
    twice = counts[counts > 1].sum() / len(train)
    found = f"{n_both:,} of {len(own):,} {name} examples"
    if not is_drawn and 2 * n_both > len(own) and twice < n_both / len(own) / 2:
        raise ValueError(
            f"parts of {dataset.card.name} must not overlap, got {found} in the training part as well. Use other test examples, "
            "or declare it with data.in_sample."
        )
    return [f"{found} occur in the training part as well"]


def row_hashes(part: Part) -> np.ndarray:
    """Returns a hash of each example, equal for equal inputs and targets.

    Args:
        part: Arrays of numbers or strings; groups, weights and row numbers are ignored.

    Returns:
        ``(n,)`` of uint64.

    Example:
        >>> hashes = row_hashes({"inputs": np.array([[1.0], [2.0], [1.0]]), "targets": np.zeros(3)})
        >>> (hashes == hashes[0]).tolist()
        [True, False, True]

    References:
        Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators, OOPSLA (the mixing of bits).
        https://doi.org/10.1145/2660193.2660195
    """
    generator = np.random.default_rng(0)
    total: Any = np.uint64(0)
    for name, array in named_arrays(part):
        if name.split(".")[0] not in ("groups", "weights", NUMBERS):
            seed = int(generator.integers(2**63))
            total = _mixed(total + _hashes(array, seed))
    return total


def _hashes(array: Any, seed: int) -> np.ndarray:
    """Returns a hash of each row of an array."""
    if array.dtype.kind not in "biufM":
        words = np.array([hash(word) for word in array.tolist()], np.int64)
        return _mixed(words.view(np.uint64) + np.uint64(seed))
    n_entries = math.prod(array.shape[1:])
    width = -(-n_entries * array.dtype.itemsize // 8) if array.dtype.kind == "u" else n_entries
    weights = np.random.default_rng(seed).integers(2**63, size=width, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return np.concatenate([_mixed(_words(piece)) @ weights for piece in pieces(array)] or [np.zeros(0, np.uint64)])


def _words(rows: np.ndarray) -> np.ndarray:
    """Returns rows as 64-bit words: bytes packed, other numbers as float64 with a single zero and nan."""
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    if flat.dtype.kind == "u":
        flat = flat.view(np.uint8)
        flat = np.pad(flat, [(0, 0), (0, -flat.shape[1] % 8)])
        return flat.view(np.uint64)
    if flat.dtype.kind == "i":
        return flat.astype(np.int64).view(np.uint64)
    wide = flat.astype(np.float64) + 0.0
    wide[np.isnan(wide)] = np.nan
    return wide.view(np.uint64)


def _mixed(words: np.ndarray) -> np.ndarray:
    """Returns words with their bits mixed, so that sums of different words differ."""
    with np.errstate(over="ignore"):
        words = (words ^ (words >> np.uint64(30))) * _MIX[0]
        words = (words ^ (words >> np.uint64(27))) * _MIX[1]
    return words ^ (words >> np.uint64(31))

"""Examples that stay on disk until a step needs them."""

import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

_PIECE_BYTES = 2**24  # read at a time in a pass over all examples


class Rows:
    """Inputs of a part that may not fit into memory: a source of examples, and an index into it.

    A source has ``__len__`` and ``__getitem__`` with an integer, as in Grain, ArrayRecord and TensorFlow Datasets, and
    optionally ``read(indices) -> array`` for many examples at once. Several threads may read at a time. Indexing with slices,
    masks or arrays returns new `Rows` without reading, so parts are split, sampled and folded as in memory.

    A source may have a ``digest``, a string that changes with its content; without it, all examples are read for the digest.

    Args:
        source: Examples of one shape and type.
        index: Indices of the examples, all by default; its axes become the leading axes.
        mapped: Functions applied row by row to arrays of examples as they are read.
        example: An example, for its shape and type; by default the first one is read.

    Attributes:
        shape: Leading axes of examples, then the shape of one.
        dtype: Of an example.

    Raises:
        ValueError: If the source is empty.

    Example:
        >>> rows = Rows([np.array([3.0, 4.0]), np.array([5.0, 6.0])])
        >>> rows.shape, rows[[1, 0]].read().tolist()
        ((2, 2), [[5.0, 6.0], [3.0, 4.0]])
    """

    def __init__(
        self,
        source: Any,
        *,
        index: Any = None,
        mapped: Sequence[Callable[[np.ndarray], np.ndarray]] = (),
        example: np.ndarray | None = None,
    ):
        self.source, self._index, self._mapped = source, index, tuple(mapped)
        if example is None and not len(source):
            raise ValueError("a source of rows must hold at least one example, got none. Leave its part out.")
        self._example: np.ndarray = self._read(np.zeros(1, np.int64))[0] if example is None else example

    @property
    def shape(self) -> tuple[int, ...]:
        """Leading axes of examples, then the shape of one."""
        return (*((len(self.source),) if self._index is None else self._index.shape), *self._example.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of an entry."""
        return self._example.dtype

    @property
    def nbytes(self) -> int:
        """Size of all examples in memory, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def flat(self) -> "Rows":
        """The same examples on one axis."""
        return Rows(self.source, index=self._places().reshape(-1), mapped=self._mapped, example=self._example)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        del args, options
        raise ValueError("rows on disk must be read in chunks, got a conversion to one array. Leave out --stream.")

    def __getitem__(self, index: Any) -> "Rows":
        return Rows(self.source, index=self._places()[index], mapped=self._mapped, example=self._example)

    def mapped(self, fun: Callable[[np.ndarray], np.ndarray]) -> "Rows":
        """Returns the examples with a function applied row by row as they are read."""
        example = fun(self._example[None])[0]
        return Rows(self.source, index=self._index, mapped=(*self._mapped, fun), example=example)

    def read(self, index: Any = None) -> np.ndarray:
        """Returns examples as an array: those at an index, or all."""
        places = self._places() if index is None else self._places()[np.asarray(index)]
        return self._read(places.reshape(-1)).reshape(*places.shape, *self._example.shape)

    def pieces(self) -> Iterator[np.ndarray]:
        """Yields all examples in order, some megabytes at a time."""
        yield from pieces(self.flat)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the source's digest and the indices, or of the examples if the source has no digest."""
        sha256, known = hashlib.sha256(), [getattr(one, "digest", None) for one in (self.source, *self._mapped)]
        if all(isinstance(text, str) for text in known):
            sha256.update(f"{known} {self.dtype.str} {self.shape};".encode())
            sha256.update(np.ascontiguousarray(self._places(), np.int64).data)
        else:
            for piece in self.pieces():
                sha256.update(np.ascontiguousarray(piece).data)
        return sha256.hexdigest()

    def is_same(self, other: Any) -> bool:
        """Returns whether an array or other rows hold the same values; missing numbers are equal."""
        if self is other:
            return True
        if self.shape != other.shape:
            return False
        if isinstance(other, Rows) and self.source is other.source and self._mapped == other._mapped:
            if np.array_equal(self._places(), other._places()):
                return True
        start = 0
        for piece in self.pieces():
            place = np.arange(start, start := start + len(piece))
            theirs = other.read(place) if isinstance(other, Rows) else other[place]
            if not ((piece == theirs) | ((piece != piece) & (theirs != theirs))).all():
                return False
        return True

    def _places(self) -> Any:
        """Returns the indices of the examples in the source."""
        return np.arange(len(self.source)) if self._index is None else self._index

    def _read(self, places: np.ndarray) -> np.ndarray:
        """Returns the examples at these indices of the source."""
        rows = read_rows(self.source, places)
        for fun in self._mapped:
            rows = fun(rows)
        return rows


def pieces(values: Any) -> Iterator[np.ndarray]:
    """Yields all examples in order, some megabytes at a time, in equal chunks for arrays and rows on disk.

    Args:
        values: An array or `Rows`.

    Returns:
        Arrays of examples.

    Example:
        >>> [piece.shape for piece in pieces(np.zeros((5, 2**20)))]
        [(2, 1048576), (2, 1048576), (1, 1048576)]
    """
    length = max(1, _PIECE_BYTES // max(1, math.prod(values.shape[1:]) * values.dtype.itemsize))
    for start in range(0, len(values), length):
        piece = values[start : start + length]
        yield piece.read() if isinstance(piece, Rows) else piece


def read_rows(source: Any, places: np.ndarray) -> np.ndarray:
    """Returns examples of a source.

    Args:
        source: As in `Rows`, or an array.
        places: Indices, one or more.

    Returns:
        An array with a leading axis of examples.

    Raises:
        ValueError: If the examples differ in shape.

    Example:
        >>> read_rows([np.zeros(3), np.ones(3)], np.array([1])).tolist()
        [[1.0, 1.0, 1.0]]
    """
    if isinstance(source, np.ndarray):
        return source[places]
    if hasattr(source, "read"):
        return source.read(places)
    examples = [np.asarray(source[int(place)]) for place in places]
    shapes = {example.shape for example in examples}
    if len(shapes) > 1:
        raise ValueError(f"examples of a source must be of one shape, got {sorted(shapes)}. Resize them first.")
    return np.stack(examples)


class Joined:
    """The concatenation of several `Rows` or arrays, as one source.

    Args:
        parts: With examples of one shape and type.

    Raises:
        ValueError: If their examples differ in shape or type.

    Example:
        >>> joined = Joined([Rows([np.zeros(2)]), np.ones((3, 2))])
        >>> len(joined), joined.read(np.array([3, 0])).tolist()
        (4, [[1.0, 1.0], [0.0, 0.0]])
    """

    def __init__(self, parts: Sequence[Any]):
        kinds = {(part.dtype.str, part.shape[1:]) for part in parts}
        if len(kinds) > 1:
            raise ValueError(
                f"joined rows must have one shape and type, got {sorted(kinds)}. Save them in the same form."
            )
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, places: np.ndarray) -> np.ndarray:
        """Returns the examples at these indices."""
        owners = np.searchsorted(self._ends, places, side="right")
        rows = np.empty((len(places), *self._parts[0].shape[1:]), self._parts[0].dtype)
        for owner in np.unique(owners):
            part, is_own = self._parts[owner], owners == owner
            own = places[is_own] - (self._ends[owner] - len(part))
            rows[is_own] = part.read(own) if isinstance(part, Rows) else part[own]
        return rows

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the digests of the parts."""
        arrays = (part if isinstance(part, Rows) else np.ascontiguousarray(part) for part in self._parts)
        texts = (one.digest if isinstance(one, Rows) else hashlib.sha256(one.data).hexdigest() for one in arrays)
        return hashlib.sha256(" ".join(texts).encode()).hexdigest()


def joined(*entries: Any) -> Any:
    """Returns the concatenation of arrays or rows; rows stay on disk.

    Args:
        *entries: With examples of one shape and type.

    Returns:
        An array, or `Rows` if one of the entries is.

    Raises:
        ValueError: As `Joined`.

    Example:
        >>> joined(np.zeros(2), np.ones(1)).tolist(), joined(Rows([np.zeros(2)]), np.ones((3, 2))).shape
        ([0.0, 0.0, 1.0], (4, 2))
    """
    if not any(isinstance(entry, Rows) for entry in entries):
        return np.concatenate(entries)
    return Rows(Joined([entry for entry in entries if len(entry)]))


def side_by_side(*entries: Any) -> Any:
    """Returns arrays or rows of equal length stacked on a new leading axis; rows stay on disk.

    Args:
        *entries: Of one shape and type.

    Returns:
        An array, or `Rows` if one of the entries is.

    Raises:
        ValueError: As `Joined`.

    Example:
        >>> folds = side_by_side(Rows([np.zeros(2)]), Rows([np.ones(2)]))
        >>> folds.shape, folds[1].read().tolist()
        ((2, 1, 2), [[1.0, 1.0]])
    """
    if not any(isinstance(entry, Rows) for entry in entries):
        return np.stack(entries)
    whole = joined(*entries)
    return whole[np.arange(len(whole)).reshape(len(entries), -1)]

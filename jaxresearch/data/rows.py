"""Examples that stay on disk until a step asks for them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Rows:
    """A part's inputs that need not fit into memory: a source of examples, and which of them, in which order.

    A source has ``__len__`` and ``__getitem__`` of an integer, as those of Grain, ArrayRecord and TensorFlow Datasets have.
    One that has ``read(indices) -> array`` as well is asked for many examples at once. Slices, masks and arrays of indices give
    other `Rows`, without reading; so parts are split, sampled and folded as those in memory.

    Attributes:
        shape: Number of examples, and the shape of one.
        dtype: Of an example.

    Example:
        >>> rows = Rows([np.array([3.0, 4.0]), np.array([5.0, 6.0])])
        >>> rows.shape, rows[[1, 0]].read().tolist()
        ((2, 2), [[5.0, 6.0], [3.0, 4.0]])
    """

    def __init__(
        self,
        source: Any,
        *,
        index: np.ndarray | None = None,
        mapped: Sequence[Callable[[np.ndarray], np.ndarray]] = (),
        example: np.ndarray | None = None,
    ):
        self.source, self._index, self._mapped = source, index, tuple(mapped)
        self._example = self._read(np.zeros(1, np.int64))[0] if example is None else example

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of examples, and the shape of one."""
        return (len(self), *self._example.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return 1 + self._example.ndim

    @property
    def dtype(self) -> np.dtype:
        """Type of an entry."""
        return self._example.dtype

    def __len__(self) -> int:
        return len(self.source) if self._index is None else len(self._index)

    def __getitem__(self, index: Any) -> "Rows":
        whole = np.arange(len(self.source)) if self._index is None else self._index
        return Rows(self.source, index=whole[index], mapped=self._mapped, example=self._example)

    def mapped(self, fun: Callable[[np.ndarray], np.ndarray], dtype: Any = None) -> "Rows":
        """Returns the same examples with a function applied, row by row, when they are read."""
        del dtype
        return Rows(self.source, index=self._index, mapped=(*self._mapped, fun))

    def read(self, index: np.ndarray | None = None) -> np.ndarray:
        """Returns examples as an array: those at an index, or all."""
        chosen = np.arange(len(self)) if index is None else np.asarray(index)
        return self._read(chosen if self._index is None else self._index[chosen])

    def _read(self, places: np.ndarray) -> np.ndarray:
        """Returns the examples at these places of the source."""
        if hasattr(self.source, "read"):
            rows = self.source.read(places)
        else:
            rows = np.stack([np.asarray(self.source[int(place)]) for place in places])
        for fun in self._mapped:
            rows = fun(rows)
        return rows

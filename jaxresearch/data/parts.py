"""Parts of data: nested dicts of arrays with a leading axis of examples. Without JAX, so that data loads fast."""

from collections.abc import Callable, Iterator
from typing import Any

Part = dict[str, Any]


class Streams(dict):
    """Several named parts, each with its own length and order; an epoch is one pass over the first.

    A step gets a batch of each, ``{name: batch}``: labelled and unlabelled examples, or two domains.

    Example:
        >>> import numpy as np
        >>> streams = Streams(labelled={"inputs": np.zeros(4)}, unlabelled={"inputs": np.ones(100)})
        >>> n_examples(streams)
        4
    """


def map_arrays(fun: Callable[..., Any], part: Any, *others: Any) -> Any:
    """Maps a function over the arrays of a part, together with the matching arrays of other parts.

    Args:
        fun: Takes one array from each part.
        part: Nested dicts of arrays, or one array.
        *others: Parts of the same structure.

    Returns:
        The same structure.

    Example:
        >>> map_arrays(len, {"inputs": {"age": [1, 2]}, "targets": [3]})
        {'inputs': {'age': 2}, 'targets': 1}
    """
    if isinstance(part, dict):
        return type(part)(
            {name: map_arrays(fun, entry, *(one[name] for one in others)) for name, entry in part.items()}
        )
    return fun(part, *others)


def named_arrays(part: Any, *, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the arrays of a part with their names, joined by dots, in alphabetical order.

    Args:
        part: Nested dicts of arrays.
        name: Prefix of the names.

    Returns:
        Pairs of name and array.

    Example:
        >>> dict(named_arrays({"targets": 1, "inputs": {"age": 2}}))
        {'inputs.age': 2, 'targets': 1}
    """
    for path, array in arrays_by_path(part):
        yield ".".join([*([name] if name else []), *path]), array


def arrays_by_path(part: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the arrays of a part with the keys that lead to them, in alphabetical order.

    Args:
        part: Nested dicts of arrays, or one array.

    Returns:
        Pairs of path and array.

    Example:
        >>> dict(arrays_by_path({"targets": 1, "inputs": {"age": 2}})), dict(arrays_by_path(3))
        ({('inputs', 'age'): 2, ('targets',): 1}, {(): 3})
    """
    if not isinstance(part, dict):
        yield (), part
        return
    for key, entry in sorted(part.items()):
        yield from (((str(key), *path), array) for path, array in arrays_by_path(entry))


def n_examples(data: Any) -> int:
    """Returns the number of examples, in the first of several streams; 0 for ``{}``.

    Args:
        data: Nested dicts of arrays with equal leading axes, or `Streams` of them.

    Returns:
        The length of the leading axes.

    Raises:
        ValueError: If the arrays differ in length.

    Example:
        >>> import numpy as np
        >>> n_examples({"inputs": np.zeros((6, 2)), "targets": np.zeros(6)}), n_examples({})
        (6, 0)
    """
    if isinstance(data, Streams):
        return n_examples(next(iter(data.values())))
    lengths = {name: array.shape[0] for name, array in named_arrays(data)}
    if len(set(lengths.values())) > 1:
        raise ValueError(
            f"data must hold arrays with equal leading axes, got {lengths}. Give each example one row in every array."
        )
    return next(iter(lengths.values()), 0)

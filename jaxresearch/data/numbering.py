"""Numbers of examples in their source: they name an example whatever splits, folds and samples moved it to."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import Dataset
from jaxresearch.data.parts import Part, Streams, n_examples

NUMBERS = "row_numbers"  # an entry of each part
_IS_ASKED = contextvars.ContextVar("is_asked", default=False)


@contextlib.contextmanager
def numbered() -> Iterator[None]:
    """Lets `jaxresearch.data.load` add the number of each example in its source to every part, as ``row_numbers``.

    Whatever takes examples from a part, as splits do, takes their numbers along. The entry is for those who show examples:
    remove it with `without_numbers` before training. This is a context, not an argument of ``load``, because experiments call
    ``load`` in a ``collect`` of their own, which may refuse arguments that it does not know.

    Example:
        >>> from jaxresearch import data
        >>> with data.numbered():
        ...     part = data.load("wdbc").test
        >>> part["row_numbers"][:3].tolist(), len(part["row_numbers"]) == len(part["targets"])
        ([13, 14, 18], True)
    """
    token = _IS_ASKED.set(True)
    try:
        yield
    finally:
        _IS_ASKED.reset(token)


def with_numbers(collected: Collected) -> Collected:
    """Returns the parts of a source with the number of each example, from 0 in each part; unchanged outside `numbered`.

    Args:
        collected: In the order of the source.

    Returns:
        Parts with ``row_numbers``, int64.

    Example:
        >>> from jaxresearch.data.dataset import DataCard
        >>> collected = Collected({"train": {"inputs": np.zeros(2)}}, DataCard(name="mine", source="memory"))
        >>> with numbered():
        ...     with_numbers(collected).parts["train"]["row_numbers"].tolist()
        [0, 1]
    """
    if not _IS_ASKED.get():
        return collected
    return collected._replace(
        parts={name: {**part, NUMBERS: np.arange(n_examples(part))} for name, part in collected.parts.items()}
    )


def without_numbers(dataset: Dataset) -> Dataset:
    """Returns data without ``row_numbers``.

    Args:
        dataset: As collected or prepared.

    Returns:
        Data as `jaxresearch.data.load` returns it outside `numbered`.

    Example:
        >>> from jaxresearch.data.dataset import DataCard
        >>> part = {"inputs": np.zeros(2), "row_numbers": np.arange(2)}
        >>> [*without_numbers(Dataset(part, part, None, DataCard(name="mine", source="memory"))).train]
        ['inputs']
    """
    return dataset._replace(**{name: _plain(part) for name, part in dataset.parts().items()})


def _plain(part: Part) -> Any:
    """Returns a part, or several streams, without numbers."""
    if isinstance(part, Streams):
        return Streams({name: _plain(stream) for name, stream in part.items()})
    return {name: entry for name, entry in part.items() if name != NUMBERS}

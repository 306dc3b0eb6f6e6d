"""The arrays of a training state: their shapes, types and sizes, without allocating them."""

import re
from typing import Any, NamedTuple

import jax

from jaxresearch.data import Dataset
from jaxresearch.execution.lowering import step_shapes
from jaxresearch.experiment import Experiment

_PARTS = ("params", "model_state", "opt_state")


class ArraySize(NamedTuple):
    """One array of a state; ``part`` is where it belongs, such as ``params``."""

    path: str
    part: str
    shape: tuple[int, ...]
    dtype: str
    n: int
    n_bytes: int


class Total(NamedTuple):
    """The entries and bytes of several arrays."""

    n: int
    n_bytes: int


class Summary(NamedTuple):
    """The arrays of a training state."""

    arrays: tuple[ArraySize, ...]

    @property
    def totals(self) -> dict[str, Total]:
        """The entries and bytes of each part, in the order of the state."""
        parts = dict.fromkeys(array.part for array in self.arrays)
        of_parts = {part: [array for array in self.arrays if array.part == part] for part in parts}
        return {part: Total(sum(a.n for a in held), sum(a.n_bytes for a in held)) for part, held in of_parts.items()}

    @property
    def n_parameters(self) -> int:
        """The number of parameters: of all models, if the algorithm trains several."""
        return sum(total.n for part, total in self.totals.items() if part.split("/")[-1] == "params")

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole state."""
        return sum(array.n_bytes for array in self.arrays)


def summary(experiment: Experiment, hyperparameters: Any, dataset: Dataset) -> Summary:
    """Returns the arrays of the state that an experiment trains.

    Args:
        experiment: As declared.
        hyperparameters: The settings.
        dataset: Preprocessed data, of which only the card and the length are used.

    Returns:
        The sizes of one run.

    Raises:
        ValueError: If the hyperparameters do not fit the data.

    Example:
        >>> from jaxresearch import loading
        >>> mnist = loading.load("mnist")
        >>> sizes = summary(mnist, mnist.hyperparameters, mnist.prepare(mnist.collect(mnist.source)))
        >>> sizes.n_parameters, sizes.arrays[0]._replace(path="bias").shape
        (101770, (128,))
    """
    return summary_of(step_shapes(experiment, hyperparameters, dataset).state)


def summary_of(state: Any) -> Summary:
    """Returns the sizes of the arrays of a state.

    Args:
        state: Arrays or their shapes.

    Returns:
        One entry per array. Its part is the path up to ``params``, ``model_state`` or ``opt_state``, else its first key.

    Example:
        >>> import numpy as np
        >>> summary_of({"params": {"w": np.zeros((2, 3), np.float32)}}).totals
        {'params': Total(n=6, n_bytes=24)}
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return Summary(
        tuple(_size(jax.tree_util.keystr(path, simple=True, separator="/"), jax.typeof(leaf)) for path, leaf in leaves)
    )


def _size(path: str, leaf: Any) -> ArraySize:
    """Returns the size of one array."""
    found = re.match(rf"(?:.*?/)??(?:{'|'.join(_PARTS)})(?=/|$)", path)
    part = found[0] if found else path.split("/")[0] or "state"
    return ArraySize(path, part, leaf.shape, str(leaf.dtype), leaf.size, leaf.size * leaf.dtype.itemsize)

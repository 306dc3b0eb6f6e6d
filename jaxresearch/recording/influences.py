"""``examples.npz``: the influence of each test example on each metric, to compare runs example by example."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxresearch import data
from jaxresearch.data import Dataset
from jaxresearch.execution import Outcome

EXAMPLES = "examples.npz"


def influences_of(dataset: Dataset, seeds: Sequence[int], outcome: Outcome) -> dict[str, np.ndarray]:
    """Returns the content of ``examples.npz``.

    Args:
        dataset: The evaluation data, with an axis of folds if there are any.
        seeds: One per run.
        outcome: Of the runs.

    Returns:
        The influences of the test examples, ``(runs, examples)``, by name of each scalar metric; ``rows``, the index of each in
        the test part; ``seeds``; and ``groups`` if examples have groups. Empty if no metric has influences.
    """
    of_scalars = {name: values for name, values in outcome.influences.items() if np.ndim(values) == 2}
    scalars = {f"test/{name}": data.without_padding(dataset, values) for name, values in of_scalars.items()}
    if not scalars:
        return {}
    n_examples = next(iter(of_scalars.values())).shape[1]
    rows = data.without_padding(dataset, np.arange(n_examples)[None])[0]
    named = {**scalars, "rows": rows, "seeds": np.asarray(seeds, np.int64)}
    groups = data.groups_of_test(dataset)
    return named if groups is None else {**named, "groups": groups}


def counted(dataset: Dataset) -> dict[str, Any]:
    """Returns the number of test examples and the number of their groups.

    Args:
        dataset: The evaluation data.

    Returns:
        ``{"n_examples", "n_groups"}``: of all folds, or of the first split; the number of groups is None without groups.
    """
    test = dataset.test
    if not test or isinstance(test, data.Streams):
        return {"n_examples": 0, "n_groups": None}
    groups, sizes = data.groups_of_test(dataset), dataset.sizes("test")
    n_counted = sum(sizes) if dataset.n_folds else sizes[0]
    return {"n_examples": n_counted, "n_groups": None if groups is None else int(groups.max()) + 1}

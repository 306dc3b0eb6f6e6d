"""Groups of features, which are perturbed together: patches of an image, spans of tokens, columns of a table.

Groups are integers in the shape of one example: entries with the same number form a group.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from jaxresearch.explain.scores import Inputs, require_count

Groups = PyTree[np.ndarray | Array]


def patches(shape: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Returns groups that tile an example: patches of an image, spans of a sequence.

    Args:
        shape: Shape of one example, such as ``(28, 28, 1)``, or ``(60,)`` for tokens.
        size: Extent of a patch along the first axes; all other axes are whole. Patches at the end may be smaller.

    Returns:
        The number of its patch for each entry, row by row from 0.

    Raises:
        ValueError: If a size is not positive, or there are more of them than axes.

    Example:
        >>> patches((4, 6), (2, 3)).tolist()
        [[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3], [2, 2, 2, 3, 3, 3]]
    """
    if len(size) > len(shape):
        raise ValueError(f"size must have at most {len(shape)} entries, those of shape, got {tuple(size)}. Shorten it.")
    for extent in size:
        require_count("size", extent)
    counts = [-(-length // extent) for length, extent in zip(shape, size, strict=False)]
    places = np.indices(tuple(shape))[: len(size)] // np.reshape(size, (-1, *[1] * len(shape)))
    return np.asarray(np.ravel_multi_index(tuple(places), tuple(counts)), np.int32)


def columns(*widths: int) -> np.ndarray:
    """Returns groups of consecutive columns of a table.

    Args:
        *widths: Number of columns of each group: 1 for a number, the number of levels for a category in one-hot columns.

    Returns:
        The number of its group for each column.

    Raises:
        ValueError: If a width is not positive.

    Example:
        >>> columns(1, 3, 2).tolist()
        [0, 1, 1, 1, 2, 2]
    """
    for width in widths:
        require_count("a width", width)
    return np.repeat(np.arange(len(widths), dtype=np.int32), widths)


def groups_of(inputs: Inputs, groups: Groups | None) -> tuple[Groups, int]:
    """Returns the groups of the inputs' entries, and their number.

    Args:
        inputs: Arrays with the axis of examples first.
        groups: As the inputs, without the axis of examples: whole numbers from 0, none left out. None makes each entry a group.

    Returns:
        The groups and their number.

    Raises:
        ValueError: If the structure or a shape differs, or numbers are left out.

    Example:
        >>> groups, n_groups = groups_of({"a": jnp.ones((5, 2)), "b": jnp.ones((5, 1))}, None)
        >>> groups["a"].tolist(), groups["b"].tolist(), n_groups
        ([0, 1], [2], 3)
    """
    leaves, structure = jax.tree.flatten(inputs)
    shapes = [leaf.shape[1:] for leaf in leaves]
    if groups is None:
        sizes = [int(np.prod(shape)) for shape in shapes]
        starts = np.cumsum([0, *sizes])
        made = [np.arange(a, a + n).reshape(shape) for a, n, shape in zip(starts, sizes, shapes, strict=False)]
        return jax.tree.unflatten(structure, made), int(starts[-1])
    given = [np.asarray(leaf) for leaf in jax.tree.leaves(groups)]
    if jax.tree.structure(groups) != structure or [leaf.shape for leaf in given] != shapes:
        raise ValueError(
            f"groups must have the shape of one example, {', '.join(map(str, shapes))}, got "
            f"{', '.join(str(leaf.shape) for leaf in given)}. Use explain.patches or explain.columns."
        )
    numbers = np.unique(np.concatenate([leaf.ravel() for leaf in given]))
    if not np.array_equal(numbers, np.arange(len(numbers))):
        raise ValueError(
            f"groups must be numbered 0, 1, 2, ... without gaps, got {numbers[:5].tolist()}. Number them with np.unique."
        )
    return jax.tree.unflatten(structure, given), len(numbers)


def masked(inputs: Inputs, baseline: Inputs, present: Bool[Array, "groups"], groups: Groups) -> Inputs:
    """Returns examples in which some groups are present, and the others are those of the baseline.

    Args:
        inputs: Arrays with the axis of examples first.
        baseline: As the inputs.
        present: Whether each group is present.
        groups: As the inputs, without the axis of examples.

    Returns:
        The mixed examples.

    Example:
        >>> masked(jnp.ones((1, 3)), jnp.zeros((1, 3)), jnp.array([True, False]), columns(1, 2)).tolist()
        [[1.0, 0.0, 0.0]]
    """

    def mixed(x: Array, b: Array, group: Any) -> Array:
        return jnp.where(present[jnp.asarray(group)][None], x, b)

    return jax.tree.map(mixed, inputs, baseline, groups)


def laid_out(values: Float[Array, "*leading groups"], groups: Groups) -> PyTree[Array]:
    """Returns the value of its group for each entry, to show values of groups as an image or a text.

    Args:
        values: One for each group.
        groups: Integers in the shape of one example.

    Returns:
        Values in the shapes of the examples.

    Example:
        >>> laid_out(jnp.array([[0.5, 0.25]]), columns(1, 2)).tolist()
        [[0.5, 0.25, 0.25]]
    """
    return jax.tree.map(lambda group: values[..., jnp.asarray(group)], groups)

"""Results for many perturbed copies of each example, of which only a few are in memory at a time."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from jaxresearch.explain.scores import n_examples, require_count

Contribution = Callable[[Any, Int[Array, ""]], PyTree[Array]]
_REDUCTIONS = {"sum": (jnp.sum, jnp.add, 0), "max": (jnp.max, jnp.maximum, -jnp.inf)}


def reduced(
    contribution: Contribution,
    examples: PyTree[Array],
    *,
    n_items: int,
    batch_size: int | None = None,
    by: Literal["sum", "max"] = "sum",
) -> PyTree[Array]:
    r"""Returns the sum (or maximum) of what each of the items contributes to each example.

    .. math:: y_j = \sum_{i=0}^{n-1} c(x_j, i)

    A `jax.lax.fori_loop` goes over the items, so memory does not grow with their number.

    Args:
        contribution: ``(rows, index) -> contributions``, row by row: arrays with the axis of rows first. It computes the item
            (a node and its weight, a coalition, a key) from its index.
        examples: Arrays with the axis of examples first.
        n_items: Number of items.
        batch_size: Rows evaluated together. Below the number of examples, these are cut into batches; above it, several
            items are evaluated together, under `jax.vmap`. None is the number of examples.
        by: Sum or maximum over the items.

    Returns:
        Arrays with the axis of examples first.

    Raises:
        ValueError: If ``batch_size`` is not positive.

    Example:
        >>> reduced(lambda x, i: x**i, jnp.array([1.0, 2.0]), n_items=4).tolist()
        [4.0, 15.0]
    """
    reduce, combine, neutral = _REDUCTIONS[by]

    def over_items(rows: Any, at_once: int) -> Any:
        group = _groups(contribution, rows, n_items, at_once)

        def add(step: Any, so_far: Any) -> Any:
            start = step * at_once
            kept = start + jnp.arange(at_once) < n_items

            def added(total: Array, found: Array) -> Array:
                found = jnp.where(kept.reshape(at_once, *[1] * (found.ndim - 1)), found, neutral)
                return combine(total, reduce(found, axis=0))

            return jax.tree.map(added, so_far, group(start))

        shapes = jax.eval_shape(lambda start: jax.tree.map(lambda leaf: leaf[0], group(start)), jnp.int32(0))
        initial = jax.tree.map(lambda leaf: jnp.full(leaf.shape, neutral, leaf.dtype), shapes)
        return jax.lax.fori_loop(0, -(-n_items // at_once), add, initial)

    return _in_rows(over_items, examples, n_items, batch_size)


def stacked(
    contribution: Contribution, examples: PyTree[Array], *, n_items: int, batch_size: int | None = None
) -> PyTree[Array]:
    """Returns what each of the items contributes to each example.

    Args:
        contribution: As in `reduced`, like all arguments.
        examples: Arrays with the axis of examples first.
        n_items: Number of items.
        batch_size: Rows evaluated together.

    Returns:
        Arrays ``(examples, items, ...)``.

    Raises:
        ValueError: If ``batch_size`` is not positive.

    Example:
        >>> stacked(lambda x, i: x**i, jnp.array([1.0, 2.0]), n_items=4).tolist()
        [[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 4.0, 8.0]]
    """

    def over_items(rows: Any, at_once: int) -> Any:
        found = jax.lax.map(_groups(contribution, rows, n_items, at_once), jnp.arange(0, n_items, at_once))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n_items].swapaxes(0, 1), found)

    return _in_rows(over_items, examples, n_items, batch_size)


def in_batches(
    fun: Callable[[Any], PyTree[Array]], examples: PyTree[Array], *, batch_size: int | None = None
) -> PyTree[Array]:
    """Returns a function of examples, computed in batches.

    Args:
        fun: ``rows -> results``, row by row: arrays with the axis of rows first.
        examples: Arrays with the axis of examples first.
        batch_size: Rows evaluated together; the last batch repeats the last example. None is the number of examples.

    Returns:
        Arrays with the axis of examples first.

    Raises:
        ValueError: If ``batch_size`` is not positive.

    Example:
        >>> in_batches(lambda x: 2 * x, jnp.arange(5), batch_size=2).tolist()
        [0, 2, 4, 6, 8]
    """
    n = n_examples(examples)
    if batch_size is not None:
        require_count("batch_size", batch_size)
    if batch_size is None or batch_size >= n:
        return fun(examples)
    n_batches = -(-n // batch_size)
    places = jnp.minimum(jnp.arange(n_batches * batch_size), n - 1).reshape(n_batches, batch_size)
    results = jax.lax.map(lambda index: fun(jax.tree.map(lambda leaf: leaf[index], examples)), places)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n], results)


def _in_rows(over_items: Callable[[Any, int], Any], examples: Any, n_items: int, batch_size: int | None) -> Any:
    """Returns what is computed over items, for batches of examples and as many items at once as fit."""
    n = n_examples(examples)
    batch_size = n if batch_size is None else batch_size
    require_count("batch_size", batch_size)
    at_once = max(1, min(batch_size // n, n_items))
    return in_batches(lambda rows: over_items(rows, at_once), examples, batch_size=batch_size)


def _groups(contribution: Contribution, rows: Any, n_items: int, at_once: int) -> Callable[[Any], Any]:
    """Returns the function from the index of an item to what it and the next ones contribute, stacked on a leading axis."""
    if at_once == 1:
        return lambda start: jax.tree.map(lambda leaf: leaf[None], contribution(rows, start))
    items = jax.vmap(lambda index: contribution(rows, jnp.minimum(index, n_items - 1)))
    return lambda start: items(start + jnp.arange(at_once))

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
    n = n_examples(examples)
    at_once = items_at_once(n, n_items, batch_size)

    def over_items(rows: Any) -> Any:
        return over(contribution, rows, n_items=n_items, at_once=at_once, by=by)

    return in_batches(over_items, examples, batch_size=batch_size)


def over(
    contribution: Contribution, rows: Any, *, n_items: int, at_once: int = 1, by: Literal["sum", "max"] = "sum"
) -> PyTree[Array]:
    """Returns the sum (or maximum) of what each of the items contributes to a batch.

    Args:
        contribution: ``(rows, index) -> contributions``, of any shapes.
        rows: What it takes, of any shapes.
        n_items: Number of items.
        at_once: Number of items that are evaluated together, under `jax.vmap`.
        by: Sum or maximum over the items.

    Returns:
        Arrays in the shapes of the contributions.

    Example:
        >>> over(lambda x, i: x**i, jnp.float32(2), n_items=4, at_once=3).item()
        15.0
    """
    reduce, combine, neutral = _REDUCTIONS[by]
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


def items_at_once(n: int, n_items: int, batch_size: int | None) -> int:
    """Returns how many items are evaluated together, so that a call has at most ``batch_size`` rows.

    Args:
        n: Number of examples.
        n_items: Number of items.
        batch_size: Rows evaluated together. None is the number of examples.

    Returns:
        The number of items, 1 or more.

    Raises:
        ValueError: If ``batch_size`` is not positive.

    Example:
        >>> items_at_once(10, 64, None), items_at_once(10, 64, 35), items_at_once(10, 2, 35)
        (1, 3, 2)
    """
    if batch_size is None:
        return 1
    require_count("batch_size", batch_size)
    return max(1, min(batch_size // n, n_items))


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
    at_once = items_at_once(n_examples(examples), n_items, batch_size)

    def over_items(rows: Any) -> Any:
        found = jax.lax.map(_groups(contribution, rows, n_items, at_once), jnp.arange(0, n_items, at_once))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n_items].swapaxes(0, 1), found)

    return in_batches(over_items, examples, batch_size=batch_size)


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


def _groups(contribution: Contribution, rows: Any, n_items: int, at_once: int) -> Callable[[Any], Any]:
    """Returns the function from the index of an item to what it and the next ones contribute, stacked on a leading axis."""
    if at_once == 1:
        return lambda start: jax.tree.map(lambda leaf: leaf[None], contribution(rows, start))
    items = jax.vmap(lambda index: contribution(rows, jnp.minimum(index, n_items - 1)))
    return lambda start: items(start + jnp.arange(at_once))

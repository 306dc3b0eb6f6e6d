"""Batches whose examples the current mesh splits."""

from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, get_abstract_mesh
from jaxtyping import PyTree

from jaxresearch.devices.meshes import OF_BATCH, free_axes


def n_shards() -> int:
    """Returns the number of parts into which the current mesh splits a batch.

    Returns:
        The product of the axes ``data`` and ``fsdp``; 1 without a mesh.

    Example:
        >>> n_shards()
        1
    """
    current = get_abstract_mesh()
    return int(np.prod([current.shape[name] for name in free_axes(*OF_BATCH)], dtype=int))


def padded_size(n_examples: int) -> int:
    """Returns the smallest batch size that holds some examples and that the current mesh divides.

    Args:
        n_examples: At least 1.

    Returns:
        The next multiple of `n_shards`.

    Example:
        >>> from jaxresearch import devices
        >>> with jax.set_mesh(devices.mesh(data=-1)):
        ...     padded_size(7), padded_size(8)
        (8, 8)
    """
    return -(-n_examples // n_shards()) * n_shards()


def spread(batch: PyTree, *, where_possible: bool = False) -> PyTree:
    """Returns a batch, whose examples the current mesh splits over its axes ``data`` and ``fsdp``.

    Args:
        batch: Arrays with a leading axis of examples.
        where_possible: Whether to leave an array that the mesh does not divide as it is, instead of raising.

    Returns:
        The same values; without such a mesh, the same arrays.

    Raises:
        ValueError: If the mesh does not divide the batch, unless ``where_possible``.

    Example:
        >>> spread({"inputs": np.zeros(3)})["inputs"].shape
        (3,)
    """
    if not free_axes(*OF_BATCH):
        return batch

    def of_leaf(leaf: Any) -> Any:
        if leaf.shape[0] % n_shards() and where_possible:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, PartitionSpec(_axes_of_batch(leaf.shape[0])))

    return jax.tree.map(of_leaf, batch)


def whole(values: PyTree) -> PyTree:
    """Returns arrays that every device of the current mesh computes as a whole, inside a jitted function.

    For what costs less to compute than to exchange, such as the condition of a loop, which would be exchanged in each iteration.

    Args:
        values: Arrays.

    Returns:
        The same values; without a current mesh, the same arrays.

    Example:
        >>> whole(np.arange(3)).tolist()
        [0, 1, 2]
    """
    if not free_axes():
        return values
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, PartitionSpec()), values)


def batch_sharding(n_examples: int, *leading: str | None) -> NamedSharding | None:
    """Returns how the current mesh splits arrays with an axis of examples, outside a jitted function.

    Args:
        n_examples: Length of that axis.
        *leading: For each axis before it, the axis of the mesh that splits it, or None.

    Returns:
        A sharding; None if the mesh does not split batches.

    Raises:
        ValueError: If the mesh does not divide the examples.

    Example:
        >>> from jaxresearch import devices
        >>> with jax.set_mesh(devices.mesh(data=-1)):
        ...     batch_sharding(32, None).shard_shape((5, 32))
        (5, 16)
    """
    if not free_axes(*OF_BATCH):
        return None
    return NamedSharding(jax.sharding.get_mesh(), PartitionSpec(*leading, _axes_of_batch(n_examples)))


def _axes_of_batch(n_examples: int) -> tuple[str, ...]:
    """Returns the axes of the current mesh that split a batch; raises if they do not divide it."""
    names, n = free_axes(*OF_BATCH), n_shards()
    if n_examples % n:
        sizes = ", ".join(f"{name}={get_abstract_mesh().shape[name]}" for name in names)
        raise ValueError(
            f"mesh must divide a batch of {n_examples} examples, got {sizes}. Pass a batch size that is a multiple of {n}."
        )
    return names

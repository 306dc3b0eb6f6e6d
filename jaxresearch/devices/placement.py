"""Arrays from the host to devices and back, of one process or of several."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, PyTree

from jaxresearch.devices.runs import axis_of_runs, mesh_for

_ALIGNMENT = 64  # bytes; CPU devices use a host array in place only where XLA finds it aligned to this


def place(tree: PyTree, *, n_runs: int, axis: int | None = None) -> PyTree[Array]:
    """Returns the arrays of a sweep, placed on the devices that execute its runs.

    Arrays left in host memory are copied on every call of the compiled sweep.

    Args:
        tree: Arrays, such as the data of a run; with several processes, the same on each.
        n_runs: Length of the swept axis.
        axis: 0 to split an axis of runs over the devices; None to replicate arrays that all runs share. CPU devices share
            one copy: do not modify a NumPy array after placing it.

    Returns:
        The same tree of device arrays.

    Raises:
        ValueError: As `mesh_for`.

    Example:
        >>> import numpy as np
        >>> place({"inputs": np.zeros((2, 3))}, n_runs=4)["inputs"].shape
        (2, 3)
    """
    on = mesh_for(n_runs)
    on = jax.sharding.get_mesh() if isinstance(on, AbstractMesh) else on
    divided = None if axis is None else axis_of_runs(n_runs)
    sharding = NamedSharding(on, PartitionSpec() if divided is None else PartitionSpec(divided))
    if on.size > 1 and divided is None and jax.default_backend() == "cpu":
        tree = jax.tree.map(_shareable, tree)
    return put(tree, sharding)


def put(tree: PyTree, sharding: Sharding) -> PyTree[Array]:
    """Returns arrays on the devices of a sharding, which may belong to several processes.

    Args:
        tree: Arrays; with several processes, the same on each.
        sharding: Of every array.

    Returns:
        The same tree of device arrays.

    Example:
        >>> from jaxresearch import devices
        >>> put(np.ones(2), NamedSharding(devices.mesh_of(2), PartitionSpec())).tolist()
        [1.0, 1.0]
    """
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def of_leaf(leaf: Any) -> Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            same = leaf.sharding.is_equivalent_to(sharding, leaf.ndim)
            return leaf if same else jax.lax.with_sharding_constraint(leaf, sharding)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = of_leaf(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        host = np.asarray(leaf)
        host = host.astype(jax.dtypes.canonicalize_dtype(host.dtype), copy=False)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(of_leaf, tree)


def gathered(tree: PyTree) -> PyTree[Array]:
    """Returns arrays as each process holds them on its own devices, also those of which it holds a part.

    The exchange runs on the devices, after what has been called before it.

    Args:
        tree: Arrays; with several processes, each has to call this at the same point.

    Returns:
        The same tree. Arrays that a process holds already are left as they are, and may still be in computation.

    Example:
        >>> gathered({"a": jnp.ones(2)})["a"].tolist()
        [1.0, 1.0]
    """

    def of_leaf(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            return leaf
        assert isinstance(leaf.sharding, NamedSharding)
        return jax.device_put(leaf, NamedSharding(leaf.sharding.mesh, PartitionSpec()))

    return jax.tree.map(of_leaf, tree)


def fetch(tree: PyTree) -> PyTree[np.ndarray]:
    """Returns arrays on the host; those that several processes hold in parts are gathered on each of them.

    With several processes, each has to call this at the same point.

    Args:
        tree: Arrays.

    Returns:
        The same tree of NumPy arrays; typed random keys stay what they are.

    Example:
        >>> fetch({"a": jnp.ones(2)})["a"].tolist()
        [1.0, 1.0]
    """

    def of_leaf(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(of_leaf(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        return np.asarray(leaf)

    return jax.tree.map(of_leaf, gathered(tree))


def _shareable(leaf: Any) -> Any:
    """Returns a NumPy array that all CPU devices can use in place: contiguous, aligned, and of a type that JAX uses."""
    if not isinstance(leaf, np.ndarray) or not leaf.nbytes:
        return leaf
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
    if dtype == leaf.dtype and leaf.flags.c_contiguous and leaf.ctypes.data % _ALIGNMENT == 0:
        return leaf
    n_bytes = leaf.size * dtype.itemsize
    room = np.empty(n_bytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    shared = room[start : start + n_bytes].view(dtype).reshape(leaf.shape)
    shared[...] = leaf
    return shared

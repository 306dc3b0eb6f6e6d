"""Devices as one axis of runs, and arrays laid out over them."""

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, get_abstract_mesh
from jaxtyping import Array, PyTree

AXIS = "runs"
_ALIGNMENT = 64  # bytes: what XLA asks of the address of a host array that CPU devices use in place


def available() -> int:
    """Returns the number of devices that the code being traced may spread its work over.

    Inside `jax.shard_map` that is 1: each device traces the same program, and runs it by itself.

    Returns:
        The number of devices of the default backend, or 1 inside `jax.shard_map`.

    Example:
        >>> available() == len(jax.devices())
        True
    """
    return 1 if get_abstract_mesh().manual_axes else len(jax.devices())


def place(tree: PyTree, *, n_runs: int, axis: int | None = None) -> PyTree[Array]:
    """Returns the arrays of a sweep on the devices that its runs are spread over.

    Arrays that stay in host memory are copied at every call of the compiled sweep.

    Args:
        tree: Arrays, such as the data of a run.
        n_runs: Length of the swept axis.
        axis: 0 if the arrays have an axis of runs, which is split over the devices; None if all runs use the same arrays,
            which each device gets whole. CPU devices share one copy: do not change a NumPy array once it is placed.

    Returns:
        The same tree of device arrays.

    Example:
        >>> import numpy as np
        >>> place({"inputs": np.zeros((2, 3))}, n_runs=4)["inputs"].shape
        (2, 3)
    """
    n_devices = min(len(jax.devices()), n_runs)
    divides = axis == 0 and n_runs % n_devices == 0
    sharding = NamedSharding(mesh_of(n_devices), PartitionSpec(AXIS) if divides else PartitionSpec())
    if n_devices > 1 and not divides and jax.default_backend() == "cpu":
        tree = jax.tree.map(_shareable, tree)
    return jax.device_put(tree, sharding)


def _shareable(leaf: Any) -> Any:
    """Returns a NumPy array that all CPU devices can use in place: of JAX's own type, contiguous and aligned."""
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


def split_cpu(n_devices: int | None = None) -> int:
    """Make each CPU core a device of its own, so that a sweep uses all of them; call it before creating any array.

    Accelerators are not affected. A number that was set before (``jax_num_cpu_devices``) stays.

    Args:
        n_devices: Number of CPU devices in place of one per core. Numbers depend on it in their last digits, so that a run that
            is to be repeated bit for bit needs as many, on any number of cores.

    Returns:
        The number of CPU devices.

    Raises:
        RuntimeError: If JAX is already initialised with a different number of CPU devices.

    Example:
        At the start of a program on a machine with eight cores:

        >>> from jaxresearch import devices
        >>> devices.split_cpu()  # doctest: +SKIP
        8
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_set = jax.config.values["jax_num_cpu_devices"]
    n = n_devices or (n_set if n_set > 0 else n_cores)
    if n_set != n:
        jax.config.update("jax_num_cpu_devices", n)
    return n


def mesh_of(n_devices: int) -> Mesh:
    """Returns a mesh of the first ``n_devices`` devices with a single axis, ``AXIS``.

    Args:
        n_devices: At least 1.

    Returns:
        A mesh of one axis.

    Example:
        >>> mesh_of(1).axis_names
        ('runs',)
    """
    return jax.make_mesh((n_devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:n_devices])

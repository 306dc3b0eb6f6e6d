"""Devices as a mesh with one axis of runs, and the placement of arrays on them."""

import os
import re
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, get_abstract_mesh
from jaxtyping import Array, PyTree

AXIS = "runs"
_ALIGNMENT = 64  # bytes; CPU devices use a host array in place only where XLA finds it aligned to this


def available() -> int:
    """Returns the number of devices available to the code being traced.

    Inside `jax.shard_map` that is 1: each device runs the program on its own shard.

    Returns:
        The number of devices of the default backend, or 1 inside `jax.shard_map`.

    Example:
        >>> available() == len(jax.devices())
        True
    """
    return 1 if get_abstract_mesh().manual_axes else len(jax.devices())


def place(tree: PyTree, *, n_runs: int, axis: int | None = None) -> PyTree[Array]:
    """Returns the arrays of a sweep, placed on the devices that execute its runs.

    Arrays left in host memory are copied on every call of the compiled sweep.

    Args:
        tree: Arrays, such as the data of a run.
        n_runs: Length of the swept axis.
        axis: 0 to split an axis of runs over the devices; None to replicate arrays that all runs share. CPU devices share
            one copy: do not modify a NumPy array after placing it.

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


def split_cpu(n_devices: int | None = None) -> int:
    """Make each CPU core a device, so that a sweep uses all of them; call it before creating any array.

    Accelerators are not affected. A number that the user has set is kept: ``jax_num_cpu_devices`` of `jax.config`, the
    environment variable ``JAX_NUM_CPU_DEVICES``, or ``XLA_FLAGS=--xla_force_host_platform_device_count=N``.

    Args:
        n_devices: Number of CPU devices; by default the number that is set, else one per core. The last digits of results
            depend on it: to reproduce a run bit for bit, use the same number, whatever the number of cores.

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
    n_forced = _forced_cpu_devices()
    n = n_devices or (n_set if n_set > 0 else n_forced or n_cores)
    if n_set != n and (n_set > 0 or n_forced != n):
        jax.config.update("jax_num_cpu_devices", n)
    return n


def _forced_cpu_devices() -> int | None:
    """Returns the number of CPU devices in ``XLA_FLAGS``, of which the last one counts; None without it."""
    found = re.findall(r"--xla_force_host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", ""))
    return int(found[-1]) if found else None


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

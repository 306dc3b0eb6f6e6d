"""Devices as one axis of runs, and arrays laid out over them."""

import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, get_abstract_mesh
from jaxtyping import Array, PyTree

AXIS = "runs"


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
            which are copied to each device.

    Returns:
        The same tree of device arrays.

    Example:
        >>> import numpy as np
        >>> place({"inputs": np.zeros((2, 3))}, n_runs=4)["inputs"].shape
        (2, 3)
    """
    n_devices = min(len(jax.devices()), n_runs)
    divides = axis == 0 and n_runs % n_devices == 0
    return jax.device_put(tree, NamedSharding(mesh_of(n_devices), PartitionSpec(AXIS) if divides else PartitionSpec()))


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

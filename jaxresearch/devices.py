"""Devices as one axis of runs, and arrays laid out over them."""

import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

AXIS = "runs"


def place(tree: PyTree, *, n_runs: int, axis: int | None = None) -> PyTree[Array]:
    """Returns arrays of a sweep on the devices that ``n_runs`` runs are spread over: what they share is copied to each.

    Without it, arrays in host memory are copied at every call of the compiled sweep.

    Args:
        tree: Arrays, as the data of a run.
        n_runs: Length of the swept axis.
        axis: 0 where the arrays have the axis of the runs, so that each device needs its own share; None where all share.

    Returns:
        The same tree of device arrays.

    Example:
        >>> import numpy as np
        >>> place({"inputs": np.zeros((2, 3))}, n_runs=4)["inputs"].shape
        (2, 3)

    References:
        JAX documentation, Distributed arrays and automatic parallelization.
        https://docs.jax.dev/en/latest/notebooks/Distributed_arrays_and_automatic_parallelization.html
    """
    n_devices = min(len(jax.devices()), n_runs)
    divides = axis == 0 and n_runs % n_devices == 0
    return jax.device_put(tree, NamedSharding(mesh_of(n_devices), PartitionSpec(AXIS) if divides else PartitionSpec()))


def split_cpu() -> int:
    """Returns the number of CPU devices, after making it one a core; call it before the first array is made.

    Where a sweep runs on the CPU, this is what lets it use all cores. Accelerators are not touched by it.

    Returns:
        The number of cores this process may use.

    Example:
        In a process of its own, since it has to come before anything else:

        >>> import subprocess, sys
        >>> code = "import jax; from jaxresearch import sweeps; print(devices.split_cpu() == len(jax.devices('cpu')))"
        >>> subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        'True'

    Raises:
        RuntimeError: If JAX has been used already, with another number of CPU devices.

    References:
        JAX documentation, configuration option ``jax_num_cpu_devices``.
        https://docs.jax.dev/en/latest/config_options.html
    """
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if jax.config.values["jax_num_cpu_devices"] != n_cores:
        jax.config.update("jax_num_cpu_devices", n_cores)
    return n_cores


def mesh_of(n_devices: int) -> Mesh:
    """Returns the first devices as one axis, named ``AXIS``.

    Args:
        n_devices: How many, 1 or more.

    Returns:
        A mesh of one axis.

    Example:
        >>> mesh_of(1).axis_names
        ('runs',)

    References:
        JAX documentation, ``jax.make_mesh``. https://docs.jax.dev/en/latest/_autosummary/jax.make_mesh.html
    """
    return jax.make_mesh((n_devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:n_devices])

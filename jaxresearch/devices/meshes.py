"""Devices as a mesh with named axes."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, get_abstract_mesh

from jaxresearch.devices.cpu import let_wait

AXIS = "runs"
OF_BATCH = ("data", "fsdp")
AXES = (AXIS, *OF_BATCH, "tensor")


def available() -> int:
    """Returns the number of devices available to the code being traced.

    Returns:
        The number of devices of the default backend; 1 inside `jax.shard_map`, where each runs the program on its own shard.

    Example:
        >>> available() == len(jax.devices())
        True
    """
    return 1 if get_abstract_mesh().manual_axes else len(jax.devices())


def mesh(**sizes: int) -> Mesh:
    """Returns a mesh of all devices, over which runs, batches and states are split.

    ==========  =============================================================================
    axis        splits
    ==========  =============================================================================
    ``runs``    the runs of a sweep
    ``data``    the examples of a batch
    ``fsdp``    the examples of a batch and the arrays of the state (fully sharded data parallel)
    ``tensor``  the arrays of the state, such as the hidden units of a layer
    ==========  =============================================================================

    Args:
        **sizes: Number of devices along each axis, 1 if left out; -1, at most once, for all that are left.

    Returns:
        A mesh with all four axes; make it current with ``jax.set_mesh``.

    Raises:
        ValueError: If an axis does not exist, a size is not positive, or the product is not the number of devices; if runs, fsdp
            and tensor are all above 1, which XLA cannot partition.

    Example:
        >>> dict(mesh(data=-1).shape)
        {'runs': 1, 'data': 2, 'fsdp': 1, 'tensor': 1}
    """
    let_wait()
    return mesh_over(jax.devices(), **sizes)


def mesh_over(devices: Sequence[Any], **sizes: int) -> Mesh:
    """Returns a mesh of the given devices, as `mesh` does of all.

    Args:
        devices: Of this machine, or of a description such as those of `jaxresearch.scale.topology.tpu_devices`.
        **sizes: As for `mesh`.

    Returns:
        A mesh with all four axes.

    Raises:
        ValueError: As `mesh`.

    Example:
        >>> dict(mesh_over(jax.devices()[:1], fsdp=1).shape)
        {'runs': 1, 'data': 1, 'fsdp': 1, 'tensor': 1}
    """
    n_all = len(devices)
    for name, size in sizes.items():
        if name not in AXES:
            raise ValueError(f"mesh must have axes among {', '.join(AXES)}, got {name!r}. Write: data=2,fsdp=4")
        if size < 1 and size != -1:
            raise ValueError(
                f"mesh must have positive sizes, or -1 for all devices left, got {name}={size}. Write: {name}=-1"
            )
    given = ",".join(f"{name}={size}" for name, size in sizes.items())
    open_axes = [name for name, size in sizes.items() if size == -1]
    if len(open_axes) > 1:
        raise ValueError(f"mesh must have at most one size of -1, got {given}. Write the others.")
    n_fixed = int(np.prod([size for size in sizes.values() if size != -1], dtype=int))
    if n_all % n_fixed or (not open_axes and n_fixed != n_all):
        virtual = f" Set JAX_NUM_CPU_DEVICES={n_fixed} for {n_fixed} virtual devices." if _is_cpu(devices) else ""
        raise ValueError(
            f"mesh must use all {n_all} devices, got {given}. Write -1 for an axis that takes those left, and sizes "
            f"that divide {n_all}.{virtual}"
        )
    whole = {name: n_all // n_fixed if size == -1 else size for name, size in sizes.items()}
    if all(whole.get(name, 1) > 1 for name in (AXIS, "fsdp", "tensor")):  # a failed check in XLA would end the process
        raise ValueError(
            f"mesh must split at most two of runs, fsdp and tensor, got {given}: XLA cannot partition such a program. Leave "
            "one of them out."
        )
    return _mesh(tuple(whole.get(name, 1) for name in AXES), AXES, devices)


def _is_cpu(devices: Sequence[Any]) -> bool:
    """Returns whether the number of devices is a setting of JAX."""
    return devices[0].platform == "cpu"


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
    return _mesh((n_devices,), (AXIS,), jax.devices()[:n_devices])


def _mesh(sizes: tuple[int, ...], names: tuple[str, ...], devices: Sequence[Any]) -> Mesh:
    """Returns a mesh of devices."""
    kinds = (AxisType.Auto,) * len(sizes)
    return jax.make_mesh(sizes, names, axis_types=kinds, devices=devices)


def no_mesh() -> AbstractContextManager:
    """Returns a context without a current mesh, in which a program is traced and lowered as for one device.

    Returns:
        A context manager.

    Example:
        >>> with jax.set_mesh(mesh(data=-1)), no_mesh():
        ...     free_axes()
        ()
    """
    return jax.set_mesh(Mesh(np.empty((), object), ()))


def free_axes(*names: str) -> tuple[str, ...]:
    """Returns the axes of the current mesh that still split arrays: longer than 1 and not manual.

    Args:
        *names: The axes to consider; all by default.

    Returns:
        Their names.

    Example:
        >>> free_axes()
        ()
    """
    current = get_abstract_mesh()
    return tuple(
        name
        for name in names or AXES
        if name in current.axis_names and name not in current.manual_axes and current.shape[name] > 1
    )

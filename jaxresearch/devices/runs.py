"""Runs over the current mesh, or over all devices without one."""

import jax
from jax.sharding import AbstractMesh, Mesh, get_abstract_mesh

from jaxresearch.devices.meshes import AXIS, mesh_of


def mesh_for(n_runs: int) -> Mesh | AbstractMesh:
    """Returns the mesh on which a number of runs is executed: the current one, or a mesh of runs.

    Args:
        n_runs: Number of runs side by side.

    Returns:
        A mesh with the axis ``AXIS``; of the current one, its names and sizes.

    Raises:
        ValueError: If there are fewer runs than the axis of runs of the current mesh, or than the devices of several processes.

    Example:
        >>> dict(mesh_for(1).shape), dict(mesh_for(10).shape)
        ({'runs': 1}, {'runs': 2})
    """
    current, n_all = get_abstract_mesh(), len(jax.devices())
    if AXIS in current.axis_names:
        if n_runs < current.shape[AXIS]:
            raise ValueError(
                f"mesh must have at most as many runs as are trained, {n_runs}, got runs={current.shape[AXIS]}. "
                "Train more seeds, or give the devices to another axis."
            )
        return current
    if jax.process_count() > 1 and n_runs < n_all:
        raise ValueError(
            f"runs must be at least as many as the {n_all} devices of all processes, got {n_runs}. Train more seeds (a smoke run "
            "trains two at most), or pass --mesh data=-1 to split each batch over the devices."
        )
    return mesh_of(min(n_all, n_runs))


def runs_per_device(n_runs: int) -> int:
    """Returns the number of runs that each device executes; the last run is repeated to fill them.

    Args:
        n_runs: Number of runs side by side.

    Returns:
        The greatest number of runs on a device.

    Raises:
        ValueError: As `mesh_for`.

    Example:
        >>> runs_per_device(5)
        3
    """
    return -(-n_runs // mesh_for(n_runs).shape[AXIS])


def axis_of_runs(n_runs: int) -> str | None:
    """Returns the axis of the mesh that splits arrays with an axis of runs; None if it does not divide them.

    Args:
        n_runs: Number of runs side by side.

    Returns:
        `AXIS` or None.

    Raises:
        ValueError: As `mesh_for`.

    Example:
        >>> axis_of_runs(4), axis_of_runs(5)
        ('runs', None)
    """
    return AXIS if n_runs % mesh_for(n_runs).shape[AXIS] == 0 else None

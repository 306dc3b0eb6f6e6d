"""Devices as a mesh, and the placement of arrays on them.

Without a mesh of your own, runs are split over all devices. A mesh from `mesh`, made current with `jax.set_mesh`, also splits
each run: its batches over ``data`` and ``fsdp``, its state over ``fsdp`` and ``tensor`` (`jaxresearch.partitioning`).
"""

import os
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec, Sharding, get_abstract_mesh
from jaxtyping import Array, PyTree

AXIS = "runs"
AXES = (AXIS, "data", "fsdp", "tensor")
OF_BATCH = ("data", "fsdp")
_ALIGNMENT = 64  # bytes; CPU devices use a host array in place only where XLA finds it aligned to this


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
            raise ValueError(f"mesh must have positive sizes, or -1 for all devices left, got {name}={size}.")
    given = ",".join(f"{name}={size}" for name, size in sizes.items())
    open_axes = [name for name, size in sizes.items() if size == -1]
    if len(open_axes) > 1:
        raise ValueError(f"mesh must have at most one size of -1, got {given}. Write the others.")
    n_fixed = int(np.prod([size for size in sizes.values() if size != -1], dtype=int))
    if n_all % n_fixed or (not open_axes and n_fixed != n_all):
        raise ValueError(
            f"mesh must use all {n_all} devices, got {given}. Write -1 for an axis that takes those left, and sizes "
            f"that divide {n_all}."
        )
    whole = {name: n_all // n_fixed if size == -1 else size for name, size in sizes.items()}
    if all(whole.get(name, 1) > 1 for name in (AXIS, "fsdp", "tensor")):  # a failed check in XLA would end the process
        raise ValueError(
            f"mesh must split at most two of runs, fsdp and tensor, got {given}: XLA cannot partition such a program. Leave "
            "one of them out."
        )
    return _mesh(tuple(whole.get(name, 1) for name in AXES), AXES, devices)


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
        ...     n_shards()
        1
    """
    return jax.set_mesh(Mesh(np.empty((), object), ()))


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
            f"runs must be at least as many as the {n_all} devices of all processes, got {n_runs}. Train more seeds, or pass "
            "--mesh data=-1 to split each batch over the devices."
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
        >>> with jax.set_mesh(mesh(data=-1)):
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
        >>> put(np.ones(2), NamedSharding(mesh_of(2), PartitionSpec())).tolist()
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
        whole = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated
        return np.asarray(leaf if whole else multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(of_leaf, tree)


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

"""Sweeps: one function mapped over many keys and hyperparameters, compiled once, on all devices."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.sharding import AbstractMesh, Mesh, PartitionSpec
from jaxtyping import Array, Key, PyTree

from jaxresearch import devices

Layout = Literal["vmap", "map", "devices"]

_GROUP_BYTES = 2 * 2**20  # total size of the states vmapped on one CPU core, measured in benchmarks/README.md


def sweep(
    fun: Callable[..., Any],
    in_axes: Any = 0,
    *,
    layout: Layout = "devices",
    n_bytes: int = 0,
    at_once: int | None = None,
) -> Callable[..., Any]:
    """Returns ``fun`` mapped over a leading axis of its arguments: `jax.vmap` that also uses every device.

    =========  ========================================================  ==========================================
    layout     runs are                                                  use it for
    =========  ========================================================  ==========================================
    "vmap"     vmapped on one device                                     small models on an accelerator
    "map"      executed one after another on one device                  models that fill the memory
    "devices"  split over all devices of the backend, vmapped on each    everything else (the default)
    =========  ========================================================  ==========================================

    With a current mesh (`devices.mesh`, ``jax.set_mesh``), "devices" splits the runs over its axis ``runs`` alone, and each run
    may be split over the others.

    A CPU counts as one device, and small matrix products use only one of its cores, unless `devices.split_cpu` was called
    first. On a CPU, "devices" vmaps runs in groups of up to 2 MiB of state, one group after another: small models share
    the overhead of a step, and larger ones stay in a core's cache (vmapping 64 networks of 100,000 weights at once took
    about twice as long).

    All layouts give the same results up to the order of sums in matrix products. In float32, one step agrees within 1e-6 of
    the size of the parameters; training amplifies the differences, so after many steps only statistics agree.

    Sweeps compose with each other and with `jax.vmap`, `jax.grad` and `jax.jit`, in any order. Inside a sweep that has
    already split its runs over the devices, or inside any `jax.shard_map`, a sweep uses only the current device. An algorithm
    that sweeps inside passes ``layout="map"`` or ``"vmap"``, since a run of a single seed has one device, too.

    Args:
        fun: ``(key, hyperparameters, data) -> ...``, or any pure function.
        in_axes: As in `jax.vmap`: 0 for arguments (or leaves) with a leading axis of runs, None for those that all runs
            share.
        layout: A layout from the table.
        n_bytes: Added to the size of a run's arguments when runs are grouped by size; may be negative. It lets a run that
            receives its data in chunks use the groups, and so the arithmetic, of a run that holds all its data.
        at_once: Number of runs vmapped at a time on each device, from 1 to the runs of a device; fewer take less memory. By
            default all of them or, with the layout "devices" on a CPU, groups by size. With the layout "map" it is 1.

    Returns:
        A function whose outputs all have the leading axis. Compile it with `jax.jit`.

    Raises:
        ValueError: If ``layout`` is not in the table or, when called, if an axis is neither 0 nor None, the swept axes are
            empty or differ in length, or ``at_once`` is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> jax.jit(sweep(lambda rate, data: rate * data.sum(), (0, None)))(jnp.arange(3.0), jnp.ones(4)).tolist()
        [0.0, 4.0, 8.0]
    """
    if layout not in get_args(Layout):
        raise ValueError(
            f"layout must be one of {', '.join(get_args(Layout))}; got {layout!r}. Leave it out to choose."
        )

    @functools.wraps(fun)
    def swept(*args: Any) -> Any:
        leaves, axes, treedef = _flatten(args, in_axes)
        n_runs = _n_runs(leaves, axes)

        def one_run(mapped: list[Array], shared: list[Array]) -> Any:
            mapped_leaves, shared_leaves = iter(mapped), iter(shared)
            merged = [next(shared_leaves) if axis is None else next(mapped_leaves) for axis in axes]
            return fun(*jax.tree.unflatten(treedef, merged))

        mapped = [leaf for leaf, axis in zip(leaves, axes, strict=True) if axis is not None]
        shared = [leaf for leaf, axis in zip(leaves, axes, strict=True) if axis is None]
        mesh = devices.mesh_for(n_runs) if layout == "devices" and devices.available() > 1 else None
        if mesh is not None and mesh.shape[devices.AXIS] > 1:
            return _over_devices(one_run, mapped, shared, n_runs, mesh, n_bytes, at_once)
        return _over_runs(one_run, mapped, shared, layout, n_bytes, at_once)

    return swept


def keys(seeds: Sequence[int] | np.ndarray | Array) -> Key[Array, " seeds"]:
    """Returns the key of each seed, stacked.

    Args:
        seeds: Integers from 0 to 2**32 - 1.

    Returns:
        Typed keys; entry ``i`` is ``jax.random.key(seeds[i])``.

    Raises:
        ValueError: If a seed is not an integer, or out of range.

    Example:
        >>> import jax
        >>> bool(keys([3, 5])[1] == jax.random.key(5))
        True
    """
    remedy = "Pass range(10) for ten seeds."
    if np.ndim(seeds) != 1:
        raise ValueError(f"seeds must be a list of integers; got {seeds!r}. {remedy}")
    numbers = _numbers(seeds)
    if numbers is None and not jnp.issubdtype(jnp.result_type(seeds), jnp.integer):
        raise ValueError(f"seeds must be integers; got {jnp.result_type(seeds)}. {remedy}")
    for seed in numbers or ():
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"seeds must be integers from 0 to 4294967295; got {seed!r}. {remedy}")
    return jax.vmap(jax.random.key)(jnp.asarray(seeds if numbers is None else numbers, jnp.uint32))


def product(
    hyperparameters: Any, *, seeds: Sequence[int], **values: Sequence[int | float] | np.ndarray | Array
) -> tuple[Key[Array, " runs"], Any]:
    """Returns keys and hyperparameters for every combination of seeds and values, stacked on one axis.

    The last name varies fastest, the seeds slowest. Only leaves can be swept: a static field (a size, a choice) changes
    the program, so each of its values needs its own sweep.

    Args:
        hyperparameters: A frozen dataclass registered as a pytree; provides the fields that are not swept.
        seeds: Each combination is run once per seed.
        **values: Values of each field, by name. They are converted to the field's type: floats are rounded, and integers
            must be exactly representable.

    Returns:
        The keys, and hyperparameters whose leaves all have the axis of runs.

    Raises:
        ValueError: If a name is not a field, or the field is static or holds several numbers; if there are no values,
            or the field's type cannot represent one of them; if a seed is not an integer, or out of range.

    Example:
        >>> import dataclasses, jax
        >>> @jax.tree_util.register_dataclass
        ... @dataclasses.dataclass(frozen=True)
        ... class Rates:
        ...     learning_rate: float = 0.1
        ...     momentum: float = 0.9
        >>> keys_, rates = product(Rates(), seeds=[0, 1], learning_rate=[0.1, 0.2, 0.4])
        >>> keys_.shape, rates.learning_rate.shape, rates.momentum.shape
        ((6,), (6,), (6,))
    """
    leaves = {field.name for field in dataclasses.fields(hyperparameters) if not field.metadata.get("static")}
    for name in values:
        if name not in leaves:
            raise ValueError(
                f"a swept field must be one of {', '.join(sorted(leaves))}; got {name!r}. "
                "Sizes and choices are static: run one sweep for each of their values."
            )
    columns = [_column(name, swept, getattr(hyperparameters, name)) for name, swept in values.items()]
    which_seed, *columns = (a.ravel() for a in jnp.meshgrid(jnp.arange(len(seeds)), *columns, indexing="ij"))
    constant = {
        name: jax.tree.map(lambda leaf: jnp.full(which_seed.shape, leaf), getattr(hyperparameters, name))
        for name in leaves - set(values)
    }
    swept = dict(zip(values, columns, strict=True))
    return keys(seeds)[which_seed], dataclasses.replace(hyperparameters, **constant, **swept)


def _column(name: str, values: Any, default: Any) -> Array:
    """Returns the values of a swept field in the type of its default; raises if the type cannot represent one."""
    if jax.tree.structure(default) != jax.tree.structure(0) or jnp.ndim(default):
        raise ValueError(f"a swept field must be one number; got {name}={default!r}. Sweep a field for each number.")
    if np.ndim(values) != 1 or not len(values):
        raise ValueError(f"{name} must have a list of values; got {values!r}. Pass {name}=[0.1, 0.2].")
    numbers, dtype = _numbers(values), jnp.result_type(default)
    if jnp.issubdtype(dtype, jnp.integer) and not jnp.issubdtype(jnp.result_type(*values), jnp.integer):
        dtype = jnp.result_type(float)  # the default of a real field may be written as 1
    if numbers is None:
        return jnp.asarray(values, dtype)
    for number in numbers:
        if not isinstance(number, int | float):
            raise ValueError(f"{name} must have numbers for values; got {number!r}. Pass {name}=[0.1, 0.2].")
        with np.errstate(over="ignore"):
            stored = np.asarray(number).astype(dtype).item()
        same = stored == number if isinstance(number, int) else (stored == 0) == (number == 0)
        if not same or math.isfinite(stored) != math.isfinite(number):
            raise ValueError(
                f"{name} must be a number of {dtype}; got {number!r}, which would become {stored!r}. Pass another value."
            )
    return jnp.asarray(np.asarray(numbers, dtype))


def _numbers(values: Any) -> list | None:
    """Returns values as Python numbers, or None if they are being traced."""
    try:
        return [value.item() if hasattr(value, "item") else value for value in values]
    except jax.errors.ConcretizationTypeError:
        return None


def _flatten(args: tuple, in_axes: Any) -> tuple[list, list[int | None], Any]:
    """Returns the leaves of the arguments, the axis of each (0 or None), and their structure."""
    leaves, treedef = jax.tree.flatten(args)
    if in_axes == 0:
        in_axes = (0,) * len(args)
    if len(in_axes) != len(args):
        raise ValueError(f"in_axes must have one entry per argument; got {len(in_axes)} for {len(args)} arguments.")
    of_leaves = jax.tree.map(
        lambda axis, arg: [axis] * len(jax.tree.leaves(arg)), tuple(in_axes), args, is_leaf=lambda axis: axis is None
    )
    axes = jax.tree.leaves(of_leaves, is_leaf=lambda axis: axis is None)
    for axis in axes:
        if axis not in (0, None):
            raise ValueError(f"in_axes must be 0 or None; got {axis!r}. Move the axis of runs to the front.")
    return leaves, axes, treedef


def _n_runs(leaves: list, axes: list[int | None]) -> int:
    """Returns the length of the swept axis."""
    lengths = {jnp.shape(leaf)[:1] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None}
    if len(lengths) != 1 or lengths & {(), (0,)}:
        raise ValueError(
            f"the swept arguments must share one leading axis of at least one run; got lengths {sorted(lengths)}. "
            "Pass None in in_axes for the arguments that all runs share."
        )
    return lengths.pop()[0]


def _over_runs(one_run: Callable, mapped: list, shared: list, layout: Layout, n_bytes: int, at_once: int | None) -> Any:
    """Returns the outputs of the runs on one device."""
    n_runs = mapped[0].shape[0]
    most = 1 if layout == "map" else n_runs
    if at_once is not None and not 1 <= at_once <= most:
        raise ValueError(
            f"at_once must be between 1 and {most}, the runs of a device, got {at_once}. Leave it out to choose."
        )
    if n_runs == 1:  # XLA has no fast matrix product for a batch axis of length one
        return jax.tree.map(lambda leaf: leaf[None], one_run([leaf[0] for leaf in mapped], shared))
    n_at_once = at_once or most
    if at_once is None and layout == "devices" and jax.default_backend() == "cpu":
        types = [jax.typeof(leaf) for leaf in mapped]
        first = [jax.ShapeDtypeStruct(kind.shape[1:], kind.dtype, weak_type=kind.weak_type) for kind in types]
        jaxpr, outputs = jax.make_jaxpr(one_run, return_shape=True)(first, shared)
        n_at_once = _group(n_runs, max(_n_bytes(first) + n_bytes, _carry_bytes(jaxpr.jaxpr)))
        one_run = _from_jaxpr(jaxpr, jax.tree.structure(outputs))  # traced once, to measure and to run it
    if n_at_once == n_runs:
        return jax.vmap(one_run, in_axes=(0, None))(mapped, shared)
    batch_size = n_at_once if n_at_once > 1 else None
    return jax.lax.map(lambda leaves: one_run(leaves, shared), mapped, batch_size=batch_size)


def _group(n_runs: int, n_bytes: int) -> int:
    """Returns the number of runs to vmap at a time: a divisor of their number, so that all groups share one program."""
    return max(n for n in range(1, n_runs + 1) if n_runs % n == 0 and (n == 1 or n * n_bytes <= _GROUP_BYTES))


def _from_jaxpr(jaxpr: Any, treedef: Any) -> Callable:
    """Returns the function of a traced run."""
    fun = jaxpr_as_fun(jaxpr)
    return lambda mapped, shared: jax.tree.unflatten(treedef, fun(*mapped, *shared))


def _carry_bytes(jaxpr: Any) -> int:
    """Returns the size in bytes of the largest loop carry in a program: the state of a run."""
    largest = 0
    for equation in jaxpr.eqns:
        body = equation.params.get({"scan": "jaxpr", "while": "body_jaxpr"}.get(equation.primitive.name))
        if body is not None:
            # A carry has the same shape inside and outside the loop; a stacked output has one more axis outside.
            pairs = zip(body.out_avals, equation.outvars, strict=True)
            largest = max(largest, _n_bytes([of_body for of_body, out in pairs if of_body.shape == out.aval.shape]))
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(inner, "eqns"):
                largest = max(largest, _carry_bytes(inner))
    return largest


def _n_bytes(tree: PyTree) -> int:
    """Returns the total size of all arrays in bytes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _over_devices(
    one_run: Callable,
    mapped: list,
    shared: list,
    n_runs: int,
    mesh: Mesh | AbstractMesh,
    n_bytes: int,
    at_once: int | None,
) -> Any:
    """Returns the outputs of all runs, in equal parts over the mesh's axis of runs; the last run is repeated to fill them."""
    n_parts = mesh.shape[devices.AXIS]
    n_each = -(-n_runs // n_parts)
    index = jnp.minimum(jnp.arange(n_each * n_parts), n_runs - 1)
    if index.shape[0] != n_runs:
        mapped = [leaf[index] for leaf in mapped]
    run_part = jax.shard_map(
        lambda mapped, shared: _over_runs(one_run, mapped, shared, "devices", n_bytes, at_once),
        mesh=mesh,
        axis_names={devices.AXIS},  # its other axes are left to the partitioner
        in_specs=(PartitionSpec(devices.AXIS), PartitionSpec()),
        out_specs=PartitionSpec(devices.AXIS),
        check_vma=False,  # it rejects a scan whose carry starts from constants, such as a step counter
    )
    return jax.tree.map(lambda leaf: leaf[:n_runs], run_part(mapped, shared))

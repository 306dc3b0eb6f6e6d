"""Sweeps: one function over many keys and hyperparameters, compiled once and laid out over all devices and cores."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun
from jax.sharding import PartitionSpec
from jaxtyping import Array, Key, PyTree

from jaxresearch.devices import AXIS, mesh_of

Layout = Literal["vmap", "map", "devices"]

_GROUP_BYTES = 2 * 2**20  # of the states of runs that are vmapped on a CPU's core, measured: benchmarks/README.md


def sweep(fun: Callable[..., Any], in_axes: Any = 0, *, layout: Layout = "devices") -> Callable[..., Any]:
    """Returns ``fun`` over a leading axis of its arguments: `jax.vmap` that also uses every device.

    =========  ==========================================================================  =============================
    layout     how the runs are made                                                       fits
    =========  ==========================================================================  =============================
    "vmap"     all at once on one device                                                   an accelerator, small models
    "map"      one after another on one device                                             models that fill the memory
    "devices"  spread over all devices of the backend, vmapped on each                     everything else: the default
    =========  ==========================================================================  =============================

    A CPU counts as one device, and a small matrix product keeps only one of its cores busy, unless `split_cpu` was
    called first. On a CPU, "devices" vmaps no more runs at a time than have states of 2 MiB together, and makes these groups
    one after another: small models share what a step costs besides its arithmetic, and larger ones stay near their core
    (64 networks of 100,000 weights each, vmapped whole, cost about twice as much). All layouts give the same numbers up to
    the order of sums in matrix products: one step within 1e-6 of the size of the parameters in float32, and as training
    amplifies differences, the same statistics after many.

    Args:
        fun: ``(key, hyperparameters, data) -> ...``, or any pure function.
        in_axes: As in `jax.vmap`, for a leading axis: 0 for the arguments (or leaves) that carry it, None for the shared.
        layout: One of the table.

    Returns:
        A function with the axis on all its outputs. Compile it with `jax.jit`.

    Raises:
        ValueError: If ``layout`` is none of the table, or (when called) an axis is neither 0 nor None, or the swept axes
            differ in length.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> jax.jit(sweep(lambda rate, data: rate * data.sum(), (0, None)))(jnp.arange(3.0), jnp.ones(4)).tolist()
        [0.0, 4.0, 8.0]

    References:
        Frostig, Johnson and Leary (2018), Compiling machine learning programs via high-level tracing, SysML.
        https://mlsys.org/Conferences/doc/2018/146.pdf
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
        n_devices = min(len(jax.devices()), n_runs) if layout == "devices" else 1
        if n_devices > 1:
            return _over_devices(one_run, mapped, shared, n_runs, n_devices)
        return _over_runs(one_run, mapped, shared, layout)

    return swept


def keys(seeds: Sequence[int]) -> Key[Array, " seeds"]:
    """Returns the key of each seed, stacked.

    Args:
        seeds: Whole numbers, 0 or more.

    Returns:
        Typed keys; entry ``i`` is ``jax.random.key(seeds[i])``.

    Example:
        >>> import jax
        >>> bool(keys([3, 5])[1] == jax.random.key(5))
        True

    References:
        Salmon, Moraes, Dror and Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, SC.
        https://doi.org/10.1145/2063384.2063405
    """
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


def product(
    hyperparameters: Any, *, seeds: Sequence[int], **values: Sequence[float] | np.ndarray | Array
) -> tuple[Key[Array, " runs"], Any]:
    """Returns keys and hyperparameters for every combination of seeds and values, stacked on one axis.

    The last name given varies fastest, and the seeds slowest. Only leaves can be swept: a static field (a size, a
    choice) changes the program, so each of its values is a sweep of its own.

    Args:
        hyperparameters: A frozen dataclass registered as a pytree; gives the fields that are not swept.
        seeds: One run of each combination for each seed.
        **values: Values of a field, by its name.

    Returns:
        The keys, and hyperparameters of which every leaf has the axis of the runs.

    Raises:
        ValueError: If a name is not a field, or is a static one.

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

    References:
        Bergstra and Bengio (2012), Random search for hyper-parameter optimization, JMLR 13, section 2 (grid search).
        https://jmlr.org/papers/v13/bergstra12a.html
    """
    leaves = {field.name for field in dataclasses.fields(hyperparameters) if not field.metadata.get("static")}
    for name in values:
        if name not in leaves:
            raise ValueError(
                f"a swept field must be one of {', '.join(sorted(leaves))}; got {name!r}. "
                "Sizes and choices are static: run one sweep for each of their values."
            )
    axes = jnp.meshgrid(jnp.arange(len(seeds)), *(jnp.asarray(v, jnp.float32) for v in values.values()), indexing="ij")
    which_seed, *columns = (axis.ravel() for axis in axes)
    constant = {
        name: jax.tree.map(lambda leaf: jnp.full(which_seed.shape, leaf), getattr(hyperparameters, name))
        for name in leaves - set(values)
    }
    swept = dict(zip(values, columns, strict=True))
    return keys(seeds)[which_seed], dataclasses.replace(hyperparameters, **constant, **swept)


def _flatten(args: tuple, in_axes: Any) -> tuple[list, list[int | None], Any]:
    """Returns the leaves of the arguments, the axis of each (0 or None), and their structure."""
    leaves, treedef = jax.tree.flatten(args)
    if in_axes == 0:
        in_axes = (0,) * len(args)
    if len(in_axes) != len(args):
        raise ValueError(f"in_axes must have one entry an argument; got {len(in_axes)} for {len(args)} arguments.")
    of_leaves = jax.tree.map(
        lambda axis, arg: [axis] * len(jax.tree.leaves(arg)), tuple(in_axes), args, is_leaf=lambda axis: axis is None
    )
    axes = jax.tree.leaves(of_leaves, is_leaf=lambda axis: axis is None)
    for axis in axes:
        if axis not in (0, None):
            raise ValueError(f"in_axes must be 0 or None; got {axis!r}. Move the axis of the runs to the front.")
    return leaves, axes, treedef


def _n_runs(leaves: list, axes: list[int | None]) -> int:
    """Returns the length of the swept axis."""
    lengths = {jnp.shape(leaf)[:1] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None}
    if len(lengths) != 1 or () in lengths:
        raise ValueError(
            f"the swept arguments must share one leading axis; got lengths {sorted(lengths)}. "
            "Give None in in_axes for the arguments that all runs share."
        )
    return lengths.pop()[0]


def _over_runs(one_run: Callable, mapped: list, shared: list, layout: Layout) -> Any:
    """Makes the runs of one device."""
    n_runs = mapped[0].shape[0]
    if n_runs == 1:  # a batch axis of length one costs XLA its fast matrix products
        return jax.tree.map(lambda leaf: leaf[None], one_run([leaf[0] for leaf in mapped], shared))
    n_at_once = 1 if layout == "map" else n_runs
    if layout == "devices" and jax.default_backend() == "cpu":
        types = [jax.typeof(leaf) for leaf in mapped]
        first = [jax.ShapeDtypeStruct(kind.shape[1:], kind.dtype, weak_type=kind.weak_type) for kind in types]
        jaxpr, made = jax.make_jaxpr(one_run, return_shape=True)(first, shared)
        n_at_once = _group(n_runs, max(_n_bytes(first), _carried(jaxpr.jaxpr)))
        one_run = _from_jaxpr(jaxpr, jax.tree.structure(made))  # traced once, for its size and for the sweep
    if n_at_once == n_runs:
        return jax.vmap(one_run, in_axes=(0, None))(mapped, shared)
    batch_size = n_at_once if n_at_once > 1 else None
    return jax.lax.map(lambda leaves: one_run(leaves, shared), mapped, batch_size=batch_size)


def _group(n_runs: int, n_bytes: int) -> int:
    """Returns how many runs to vmap at a time: a divisor of their number, so that one program serves all groups."""
    return max(n for n in range(1, n_runs + 1) if n_runs % n == 0 and (n == 1 or n * n_bytes <= _GROUP_BYTES))


def _from_jaxpr(jaxpr: Any, treedef: Any) -> Callable:
    """Returns a traced run as a function again."""
    fun = jaxpr_as_fun(jaxpr)
    return lambda mapped, shared: jax.tree.unflatten(treedef, fun(*mapped, *shared))


def _carried(jaxpr: Any) -> int:
    """Returns the bytes that the largest loop of a program carries from step to step: the state of a run."""
    carried = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            # What is carried leaves the loop as it leaves its body; what is stacked has one axis more.
            pairs = zip(equation.params["jaxpr"].out_avals, equation.outvars, strict=True)
            carried = max(carried, _n_bytes([of_body for of_body, out in pairs if of_body.shape == out.aval.shape]))
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            if hasattr(inner, "eqns"):
                carried = max(carried, _carried(inner))
    return carried


def _n_bytes(tree: PyTree) -> int:
    """Returns the size of all arrays; a typed key counts as one number."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _over_devices(one_run: Callable, mapped: list, shared: list, n_runs: int, n_devices: int) -> Any:
    """Makes the runs in equal shares, one a device; the last run is repeated where they do not divide."""
    share = -(-n_runs // n_devices)
    index = jnp.minimum(jnp.arange(share * n_devices), n_runs - 1)
    if index.shape[0] != n_runs:
        mapped = [leaf[index] for leaf in mapped]
    run_share = jax.shard_map(
        lambda mapped, shared: _over_runs(one_run, mapped, shared, "devices"),
        mesh=mesh_of(n_devices),
        in_specs=(PartitionSpec(AXIS), PartitionSpec()),
        out_specs=PartitionSpec(AXIS),
        check_vma=False,  # else a scan whose carry starts from constants (a fresh step counter) is refused
    )
    return jax.tree.map(lambda leaf: leaf[:n_runs], run_share(mapped, shared))

"""Batches and pieces of parts that stay on disk: which rows they hold, and threads that read them ahead of the device."""

import collections
import contextlib
import functools
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Key

from jaxresearch import data, devices, training
from jaxresearch.data import Rows, Streams
from jaxresearch.sampling import Poisson, PoissonBatch

T = TypeVar("T")
Bounds = tuple[tuple[int, int], ...]  # start and end on each axis
_JOBS = 4  # reads per worker and piece, so that little is copied at a time


class Feed(NamedTuple):
    """How a part that stays on disk is read. Neither value changes a result.

    Attributes:
        piece_bytes: Bytes of the batches, of all seeds, copied to the device at a time; at least one step. The next piece is
            read while the device trains on one.
        n_workers: Number of reading threads, 1 or more. They access the source concurrently: more than one helps if the disk is
            slow or the decoder releases the interpreter lock, and hurts otherwise.
    """

    piece_bytes: int = 2**24
    n_workers: int = 1


class Piece(NamedTuple):
    """Batches of several steps: arrays ``(seeds, steps, batch, ...)``; with folds, one batch for each run.

    They are in memory or, if a mesh splits batches, on its devices.
    """

    step: int
    n_steps: int
    batches: Any


def is_on_disk(part: Any) -> bool:
    """Returns whether a part of the data has rows that stay on disk.

    Args:
        part: Nested dicts of arrays.

    Returns:
        False for data in memory and for empty parts.

    Example:
        >>> is_on_disk({"inputs": Rows([np.zeros(2)])}), is_on_disk({"inputs": np.zeros((1, 2))}), is_on_disk({})
        (True, False, False)
    """
    return any(isinstance(entry, Rows) for _, entry in data.named_arrays(part or {}))


def blank(part: Any) -> Any:
    """Returns the shapes and types that the arrays of a part have on a device, for rows on disk as well.

    Args:
        part: Nested dicts of arrays.

    Returns:
        The same structure, with `jax.ShapeDtypeStruct` for rows and the types of JAX for arrays.

    Example:
        >>> blank({"inputs": Rows([np.zeros(2)])})["inputs"].shape
        (1, 2)
    """

    def of_leaf(leaf: Any) -> Any:
        is_rows = isinstance(leaf, Rows)
        return jax.ShapeDtypeStruct(leaf.shape, _device_type(leaf)) if is_rows else jax.typeof(leaf)

    return jax.tree.map(of_leaf, part)


def n_bytes_of_run(part: Any, *, axis: int | None) -> int:
    """Returns the bytes that the data of one run take on a device; 0 if all runs share them.

    Args:
        part: Nested dicts of arrays.
        axis: 0 if there is a leading axis of runs.

    Returns:
        Bytes.

    Example:
        >>> n_bytes_of_run({"inputs": np.zeros((3, 5, 2), np.float32)}, axis=0), n_bytes_of_run({}, axis=None)
        (40, 0)
    """
    if axis is None:
        return 0
    leaves = [leaf for _, leaf in data.named_arrays(part)]
    return sum(math.prod(leaf.shape[1:]) * _device_type(leaf).itemsize for leaf in leaves)


def places_of(keys: Key[Array, " runs"], *, axis: int | None) -> tuple[Key[Array, " distinct"], np.ndarray]:
    """Returns the distinct keys whose batches are read, and the index of each run's key.

    Args:
        keys: One per run.
        axis: 0 if each run has its own data, so that no two share a batch.

    Returns:
        Distinct keys, and an index into them for each run.

    Example:
        >>> from jaxresearch import sweeps
        >>> distinct, places = places_of(sweeps.keys([5, 3, 5]), axis=None)
        >>> len(distinct), (places[0] == places[2]).item()
        (2, True)
    """
    numbers, impl = np.asarray(jax.random.key_data(keys)), jax.random.key_impl(keys)
    if axis is None:
        numbers, places = np.unique(numbers, axis=0, return_inverse=True)
    else:
        places = np.arange(len(numbers))
    with _host():
        return jax.random.wrap_key_data(jnp.asarray(numbers), impl=impl), places.reshape(-1).astype(np.int32)


def piece_lengths(n_steps: int, *, most: int) -> list[int]:
    """Returns the lengths of the pieces of a chunk of steps: equal if possible, so that they share a program.

    Args:
        n_steps: Length of the chunk.
        most: Greatest length of a piece.

    Returns:
        Lengths that add up to the chunk.

    Example:
        >>> piece_lengths(12, most=5), piece_lengths(13, most=5), piece_lengths(3, most=5)
        ([4, 4, 4], [5, 5, 3], [3])
    """
    fewest = -(-n_steps // most)
    equal = [parts for parts in range(fewest, 2 * fewest + 1) if n_steps % parts == 0]
    length = n_steps // equal[0] if equal else -(-n_steps // fewest)
    return [min(length, n_steps - start) for start in range(0, n_steps, length)]


def longest_piece(part: Any, *, axis: int | None, n_keys: int, batch_size: int | Poisson, feed: Feed) -> int:
    """Returns the number of steps whose batches fit into a piece, 1 or more.

    Args:
        part: Nested dicts of arrays.
        axis: 0 where there is a leading axis of runs.
        n_keys: Number of runs with distinct batches.
        batch_size: Examples per step, of each stream, or Poisson sampling.
        feed: How large a piece is.

    Returns:
        Number of steps.

    Raises:
        ValueError: If a number of the feed is not positive.

    Example:
        >>> part = {"inputs": np.zeros((100, 5), np.float32)}
        >>> longest_piece(part, axis=None, n_keys=2, batch_size=10, feed=Feed(piece_bytes=1000))
        2
    """
    for name, value in feed._asdict().items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}. Leave it out for {Feed._field_defaults[name]}.")
    skipped = 1 if axis is None else 2
    leaves = [leaf for _, leaf in data.named_arrays(part)]
    per_example = sum(math.prod(leaf.shape[skipped:]) * leaf.dtype.itemsize for leaf in leaves)
    n_places = batch_size.capacity if isinstance(batch_size, Poisson) else batch_size
    return max(1, feed.piece_bytes // max(1, n_keys * n_places * per_example))


def batches(
    keys: Key[Array, " distinct"],
    part: Any,
    lengths: Sequence[int],
    step: int,
    *,
    axis: int | None,
    batch_size: int | Poisson,
) -> Iterator[Callable[[ThreadPoolExecutor], Piece]]:
    """Returns functions that read the batches of the next steps, one piece each, once what chooses them is compiled.

    `jaxresearch.training.step_inputs`, computed on the host, chooses the examples of a step.

    Args:
        keys: From `places_of`.
        part: Nested dicts of arrays, some of them on disk.
        lengths: Number of steps of each piece.
        step: Number of steps before the first piece.
        axis: 0 if the part has a leading axis of runs.
        batch_size: Examples per step, of each stream, or Poisson sampling.

    Returns:
        Functions of the thread pool that reads.

    Example:
        >>> from jaxresearch import sweeps
        >>> part = {"inputs": Rows([np.full(2, i) for i in range(6)])}
        >>> keys, _ = places_of(sweeps.keys([0, 1]), axis=None)
        >>> with ThreadPoolExecutor(1) as threads:
        ...     pieces = [read(threads) for read in batches(keys, part, [2, 1], 0, axis=None, batch_size=3)]
        >>> [(piece.step, piece.batches["inputs"].shape) for piece in pieces]
        [(0, (2, 2, 3, 2)), (2, (2, 1, 3, 2))]
    """
    indices_of = _indices(_lengths(part, 0 if axis is None else 1), max(lengths), batch_size)
    with _host():
        jax.block_until_ready(indices_of(keys, np.int32(step)))  # compiles

    def reads() -> Iterator[Callable[[ThreadPoolExecutor], Piece]]:
        start = step
        for n_steps in lengths:
            yield functools.partial(_read_batches, indices_of, keys, part, axis, start, n_steps)
            start += n_steps

    return reads()


def ahead(jobs: Iterable[Callable[[ThreadPoolExecutor], T]], *, n_workers: int) -> Generator[T, None, None]:
    """Yields the results of jobs in order, while the next job runs in a thread. An error in a job is raised here.

    Args:
        jobs: Functions of the thread pool that they may use.
        n_workers: Number of threads.

    Returns:
        One result for each job. Jobs see the mesh that is current now.

    Example:
        >>> list(ahead([lambda threads: 1, lambda threads: 2], n_workers=1))
        [1, 2]
    """
    waiting: collections.deque[Future[T]] = collections.deque()
    mesh = jax.sharding.get_mesh()  # each thread has its own

    def carried_out(job: Callable[[ThreadPoolExecutor], T]) -> T:
        with contextlib.nullcontext() if mesh.empty else jax.set_mesh(mesh):
            return job(workers)

    with ThreadPoolExecutor(n_workers, "reading") as workers, ThreadPoolExecutor(1, "feeding") as thread:
        try:
            for job in jobs:
                waiting.append(thread.submit(carried_out, job))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for job in waiting:
                job.cancel()


def parts_held(where: Mapping[Any, tuple[slice, ...]], shape: Sequence[int], *, process: int) -> list[Bounds]:
    """Returns the different parts of an array that the devices of a process hold.

    Args:
        where: The index of each device's part, as from `jax.sharding.Sharding.devices_indices_map`.
        shape: Of the array; further axes of the parts are left out.
        process: Index of the process.

    Returns:
        The bounds of each part.

    Example:
        >>> with jax.set_mesh(devices.mesh(data=-1)):
        ...     where = devices.batch_sharding(8, None).devices_indices_map((3, 8, 5))
        >>> parts_held(where, (3, 8), process=0), parts_held(where, (3, 8), process=1)
        ([((0, 3), (0, 4)), ((0, 3), (4, 8))], [])
    """
    own = [index for device, index in where.items() if device.process_index == process]
    return list(dict.fromkeys(_bounds(index, shape) for index in own))


def _bounds(index: tuple[slice, ...], shape: Sequence[int]) -> Bounds:
    """Returns the start and the end of a part on the axes of a shape."""
    return tuple(axis.indices(size)[:2] for axis, size in zip(index, shape, strict=False))


def read_split(part: Any, where: Any, sharding: NamedSharding, threads: ThreadPoolExecutor) -> Any:
    """Returns the examples of a part at an index on the devices of a sharding. Each process reads what its devices hold.

    Args:
        part: Nested dicts of arrays.
        where: Anything that indexes the leading axes.
        sharding: Of these axes.
        threads: The pool that reads rows on disk.

    Returns:
        The same structure of device arrays.

    Example:
        >>> with jax.set_mesh(devices.mesh(data=-1)), ThreadPoolExecutor(2) as threads:
        ...     sharding = devices.batch_sharding(2)
        ...     read_split({"inputs": Rows([np.zeros(1), np.ones(1)])}, np.array([1, 0]), sharding, threads)["inputs"].tolist()
        [[1.0], [0.0]]
    """

    def of_entry(entry: Any) -> Array:
        chosen, dtype = entry[where], _device_type(entry)
        shape, leading = chosen.shape, chosen.shape[: len(sharding.spec)]
        bounds = parts_held(sharding.devices_indices_map(shape), leading, process=jax.process_index())
        slices = [tuple(slice(*ends) for ends in of_part) for of_part in bounds]
        rows = [_read(chosen[index], threads).astype(dtype, copy=False) for index in slices]
        held = dict(zip(bounds, rows, strict=True))
        return jax.make_array_from_callback(shape, sharding, lambda index: held[_bounds(index or (), leading)])

    return data.map_arrays(of_entry, part)


def read(part: Any, where: Any, threads: ThreadPoolExecutor) -> Any:
    """Returns the examples of a part at an index as arrays in memory.

    Args:
        part: Nested dicts of arrays.
        where: Anything that indexes the leading axes.
        threads: The pool that reads rows on disk.

    Returns:
        The same structure.

    Example:
        >>> with ThreadPoolExecutor(2) as threads:
        ...     read({"inputs": Rows([np.zeros(1), np.ones(1)])}, np.array([[1, 0]]), threads)["inputs"].shape
        (1, 2, 1)
    """
    return data.map_arrays(lambda entry: _read(entry[where], threads), part)


def _read(rows: Any, threads: ThreadPoolExecutor) -> np.ndarray:
    """Returns rows as an array, read by several threads."""
    if not isinstance(rows, Rows):
        return np.asarray(rows)
    flat = rows.flat
    whole = np.empty(flat.shape, flat.dtype)
    n_jobs = _JOBS * threads._max_workers
    bounds = np.linspace(0, len(flat), min(n_jobs, len(flat)) + 1).astype(int)

    def job(start: int, end: int) -> None:
        whole[start:end] = flat[start:end].read()

    list(threads.map(job, bounds[:-1].tolist(), bounds[1:].tolist()))
    return whole.reshape(rows.shape)


def _read_batches(
    indices_of: Callable[..., Any], keys: Any, part: Any, axis: int | None, step: int, n_steps: int, threads: Any
) -> Piece:
    """Returns the batches of several steps."""
    with _host():
        indices = jax.tree.map(lambda leaf: np.asarray(leaf)[:, :n_steps], indices_of(keys, np.int32(step)))
    run = np.arange(len(keys))[:, None, None]

    def gathered(part: Any, indices: dict[str, Any]) -> Any:
        if isinstance(part, Streams):
            return {name: gathered(entry, indices[name]) for name, entry in part.items()}
        chosen = indices["index"]
        where = chosen if axis is None else (run, chosen)
        sharding = devices.batch_sharding(chosen.shape[-1], None, None)
        batches = read(part, where, threads) if sharding is None else read_split(part, where, sharding, threads)
        if not isinstance(indices, PoissonBatch):
            return batches
        weights = indices["weights"] if sharding is None else devices.put(indices["weights"], sharding)
        return PoissonBatch({**batches, "weights": weights}, indices.sampling)

    return Piece(step, n_steps, gathered(part, indices))


def _lengths(part: Any, axis: int) -> Any:
    """Returns the number of examples, of streams by name."""
    if isinstance(part, Streams):
        return tuple((name, _lengths(entry, axis)) for name, entry in part.items())
    return next(entry.shape[axis] for _, entry in data.named_arrays(part))


@functools.cache
def _indices(lengths: Any, n_steps: int, batch_size: int | Poisson) -> Callable[..., Any]:
    """Returns the compiled function of keys and a step that computes the indices of the examples from that step on."""

    def numbered(lengths: Any) -> Any:
        if isinstance(lengths, tuple):
            return Streams({name: numbered(length) for name, length in lengths})
        return {"index": jnp.arange(lengths, dtype=jnp.int32)}

    def of_step(key: Any, step: Any) -> Any:
        return training.step_inputs(key, numbered(lengths), step, batch_size=batch_size)[0]

    over_steps = jax.vmap(of_step, (None, 0))
    return jax.jit(lambda keys, step: jax.vmap(over_steps, (0, None))(keys, step + jnp.arange(n_steps)))


def _host() -> Any:
    """Returns a context that computes on the host, if JAX has a CPU backend: an accelerator is busy with steps."""
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return contextlib.nullcontext()


def _device_type(leaf: Any) -> np.dtype:
    """Returns the type of an entry on a device."""
    return jax.dtypes.canonicalize_dtype(leaf.dtype)

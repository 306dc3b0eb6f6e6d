"""Runs whose data stay on disk: batches are read ahead, and outputs are computed in pieces for evaluation.

Runs with data in memory use the same functions, with results equal bit for bit: the examples of a step are chosen in one
place, and the program that follows is the same.
"""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch import devices
from jaxresearch.data import Streams, named_arrays
from jaxresearch.execution import reading
from jaxresearch.execution.reading import Feed, Piece, is_on_disk
from jaxresearch.execution.stages import Runs, Stages, placed
from jaxresearch.gradients import Metrics
from jaxresearch.training import Algorithm, State

_EXAMPLES = 1000  # evaluated at a time, as in `training.supervised`
_PLACE_BYTES = 4  # of a run's index into the batches

Advance = Callable[[State, int, int], tuple[State, list[Metrics]]]


@contextlib.contextmanager
def advancing(runs: Runs, stages: Stages, step: int, ends: Sequence[int], feed: Feed) -> Iterator[Advance]:
    """Yields the function that advances runs side by side, chunk by chunk.

    Args:
        runs: Side by side.
        stages: Their compiled functions.
        step: Start of the first chunk.
        ends: Ends of the chunks.
        feed: How data on disk are read.

    Returns:
        ``(state, step, end) -> (state, metrics)``, with the metrics of each piece of the chunk.

    Example:
        >>> from jaxresearch import loading, sweeps
        >>> from jaxresearch.execution.stages import runs_of
        >>> house = loading.load("house_prices")
        >>> runs = runs_of(house, house.hyperparameters, None, sweeps.keys([0]), house.prepare(house.collect(house.source)), None)
        >>> stages = Stages(runs)
        >>> with advancing(runs, stages, 0, [2], Feed()) as advance:
        ...     _, metrics = advance(stages.init(*runs.given), 0, 2)
        >>> [values["loss"].shape for values in metrics]
        [(1, 2)]
    """
    train = runs.dataset.train
    if is_on_disk(train):
        with _fed(runs, stages, step, ends, feed) as fed:
            yield fed
        return
    whole = placed(runs, train, axis=runs.dataset.axis)

    def advance(state: State, step: int, end: int) -> tuple[State, list[Metrics]]:
        state, metrics = stages.advances(end - step)(*runs.given, state, whole, np.int32(step))
        return state, [metrics]

    yield advance


@contextlib.contextmanager
def _fed(runs: Runs, stages: Stages, step: int, ends: Sequence[int], feed: Feed) -> Iterator[Advance]:
    """Yields the function that advances runs over batches that are read ahead."""
    train, axis = runs.dataset.train, runs.dataset.axis
    batch_size = runs.program.plan(runs.hyperparameters).sampling
    keys, places = reading.places_of(runs.keys, axis=axis)
    most = reading.longest_piece(train, axis=axis, n_keys=len(keys), batch_size=batch_size, feed=feed)
    chunks = itertools.pairwise([step, *ends])
    lengths = [n for start, end in chunks for n in reading.piece_lengths(end - start, most=most)]
    # Grouped as runs with their data in memory, whatever the size of a piece.
    n_bytes = reading.n_bytes_of_run(train, axis=axis) - _PLACE_BYTES
    running: list[Any] = []

    def to_device(read: Callable[[ThreadPoolExecutor], Piece], threads: ThreadPoolExecutor) -> Piece:
        piece = read(threads)
        is_placed = devices.n_shards() > 1
        batches = piece.batches if is_placed else devices.place(piece.batches, n_runs=len(places))
        return piece._replace(batches=jax.block_until_ready(batches))

    began = time.perf_counter()
    reads = reading.batches(keys, train, lengths, step, axis=axis, batch_size=batch_size) if lengths else ()
    stages.compiled_elsewhere(time.perf_counter() - began)
    jobs = (functools.partial(to_device, read) for read in reads)
    with contextlib.closing(reading.ahead(jobs, n_workers=feed.n_workers)) as pieces:

        def advance(state: State, step: int, end: int) -> tuple[State, list[Metrics]]:
            of_pieces = []
            while step < end:
                piece = next(pieces)
                jax.block_until_ready(running)  # so that batches do not pile up on the device
                over = stages.advances_over(piece.n_steps, n_bytes)
                state, metrics = over(*runs.given, state, piece.batches, places, np.int32(step))
                running[:] = [metrics] if metrics else []
                jax.block_until_ready(() if metrics else state)
                of_pieces.append(metrics)
                step += piece.n_steps
            return state, of_pieces

        yield advance


class Evaluation:
    """A part on which states are evaluated: on the devices, or on disk and read each time."""

    def __init__(self, runs: Runs, stages: Stages, part: Any, feed: Feed):
        self._runs, self._stages, self._feed, self._part = runs, stages, feed, part
        self._on_disk, self._axis = is_on_disk(part), runs.dataset.axis_of(part)
        if self._on_disk:
            require_outputs(runs.algorithm, part)
        held = {name: entry for name, entry in part.items() if name != "inputs"} if self._on_disk else part
        self._held = placed(runs, held, axis=self._axis)

    def look(self, state: State, step: int) -> tuple[State, Metrics, Any]:
        """Returns the state after it has observed its metrics, the metrics, and which runs are done."""
        if not self._on_disk:
            return self._stages.look(*self._runs.given, state, self._held, np.int32(step))
        outputs = self._outputs(state)
        look = self._stages.looks_over(self._spared(outputs))
        return look(*self._runs.given, state, outputs, self._held, np.int32(step))

    def evaluate(self, state: State) -> Metrics:
        """Returns the metrics of outcomes."""
        if not self._on_disk:
            return self._stages.evaluate(*self._runs.given, state, self._held)
        outputs = self._outputs(state)
        return self._stages.evaluates_over(self._spared(outputs))(*self._runs.given, state, outputs, self._held)

    def examine(self, state: State) -> tuple[Metrics, Metrics]:
        """Returns the metrics of outcomes, and the influence of each example on them."""
        if not self._on_disk:
            return self._stages.examine(*self._runs.given, state, self._held)
        outputs = self._outputs(state)
        return self._stages.examines_over(self._spared(outputs))(*self._runs.given, state, outputs, self._held)

    def _spared(self, held: Any) -> int:
        """Returns the bytes by which a run with data in memory exceeds one that holds these arrays."""
        whole = reading.n_bytes_of_run(self._part, axis=self._axis)
        others = reading.n_bytes_of_run(self._held, axis=self._axis)
        return whole - others - reading.n_bytes_of_run(dict(enumerate(jax.tree.leaves(held))), axis=0)

    def _outputs(self, state: State) -> Any:
        """Returns what the algorithm predicts for the whole part, ``(runs, examples, ...)``."""
        inputs, axis, n_runs = {"inputs": self._part["inputs"]}, self._axis, len(self._runs.keys)
        n_all = next(entry.shape[0 if axis is None else 1] for _, entry in named_arrays(inputs))
        size = devices.padded_size(min(_EXAMPLES, n_all))

        def to_device(start: int, threads: ThreadPoolExecutor) -> Any:
            index = np.minimum(start + np.arange(size), n_all - 1)
            where = index if axis is None else (slice(None), index)
            sharding = devices.batch_sharding(size, *(() if axis is None else (devices.axis_of_runs(n_runs),)))
            if sharding is not None:
                return jax.block_until_ready(reading.read_split(inputs, where, sharding, threads)["inputs"])
            piece = reading.read(inputs, where, threads)["inputs"]
            return jax.block_until_ready(devices.place(piece, n_runs=n_runs, axis=axis))

        jobs = (functools.partial(to_device, start) for start in range(0, n_all, size))
        outputs: list[Any] = []
        with contextlib.closing(reading.ahead(jobs, n_workers=self._feed.n_workers)) as pieces:
            for piece in pieces:
                jax.block_until_ready(outputs[-1:])
                n_bytes = reading.n_bytes_of_run(self._part, axis=axis) - reading.n_bytes_of_run({"": piece}, axis=axis)
                outputs.append(self._stages.predicts(size, n_bytes, axis)(*self._runs.given, state, piece))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves, axis=1)[:, :n_all], *outputs)


def require_outputs(algorithm: Algorithm, part: Any) -> None:
    """Raises if an algorithm cannot be evaluated on a part that stays on disk.

    Args:
        algorithm: What is trained.
        part: The part to evaluate on; some of its arrays are on disk.

    Raises:
        ValueError: If the algorithm has no ``predict``, or other arrays than inputs are on disk.

    Example:
        >>> blind = Algorithm(lambda key: 0, lambda s, b, k: (s, {}), lambda s, d, k: {})
        >>> require_outputs(blind, {"inputs": None})
        Traceback (most recent call last):
        ...
        ValueError: algorithm must have predict to be evaluated on rows on disk, got none. Read that part into memory.
    """
    if algorithm.predict is None:
        raise ValueError(
            "algorithm must have predict to be evaluated on rows on disk, got none. Read that part into memory."
        )
    others = [] if isinstance(part, Streams) else [name for name, entry in part.items() if is_on_disk({name: entry})]
    if others != ["inputs"] and others or isinstance(part, Streams):
        raise ValueError(
            f"rows on disk must be the inputs of a part to evaluate, got {', '.join(others or part)}. Read them into memory."
        )

"""What a training step needs on a mesh, from its compiled program: memory, work, communication, the largest batch.

`jax.experimental.roofline` estimates all this from the traced program instead. It is not used, because it sees only the
collectives that a program writes itself in `jax.shard_map`, not those by which XLA splits a program over a mesh; it counts a
loop's body once; and it knows nothing of the memory that XLA allocates.
"""

import dataclasses
import math
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxresearch import devices
from jaxresearch.data import Dataset
from jaxresearch.execution.lowering import compiled_step
from jaxresearch.experiment import Experiment
from jaxresearch.scale.chips import Chip, StepTime, step_time
from jaxresearch.scale.collectives import Communication, communication, n_loops


class StepCost(NamedTuple):
    """What one training step needs on each device; ``n_loops`` is the number of loops, whose work XLA counts once.

    Attributes:
        arguments: Bytes of state, batch and key.
        outputs: Bytes of results that do not reuse the memory of the donated state.
        temporaries: Bytes that the step needs besides.
        flops: Floating-point operations, as XLA counts them.
        accessed: Bytes read and written in the device's memory, as XLA counts them.
        communication: The collectives.
        n_loops: Number of loops, whose FLOPs and bytes accessed XLA counts for one pass.
    """

    arguments: int
    outputs: int
    temporaries: int
    flops: float
    accessed: float
    communication: Communication
    n_loops: int

    @property
    def memory(self) -> int:
        """Bytes on each device."""
        return self.arguments + self.outputs + self.temporaries

    def time_on(self, chip: Chip) -> StepTime:
        """The least time on a chip."""
        return step_time(flops=self.flops, accessed=self.accessed, sent=self.communication.n_bytes, chip=chip)


def step_cost(experiment: Experiment, hyperparameters: Any, dataset: Dataset) -> StepCost:
    """Returns what a training step needs on each device of the current mesh; it is compiled, but nothing is allocated.

    Args:
        experiment: As declared.
        hyperparameters: The settings.
        dataset: Preprocessed data, of which only shapes and fitted numbers are used.

    Returns:
        The cost. Without a current mesh (``jax.set_mesh``), on one device. The temporaries are those of the compiler used:
        XLA for CPUs schedules less tightly than XLA for TPUs.

    Raises:
        ValueError: If the hyperparameters do not fit the data, or the mesh does not divide the batch.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> with jax.set_mesh(devices.mesh(data=-1)):
        ...     cost = step_cost(house, house.hyperparameters, dataset)
        >>> [collective.kind for collective in cost.communication.collectives]
        ['all-reduce']
    """
    compiled: Any = compiled_step(experiment, hyperparameters, dataset)
    memory, work, text = compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text() or ""
    mesh = jax.sharding.get_mesh()
    return StepCost(
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        flops=work.get("flops", 0.0),
        accessed=work.get("bytes accessed", 0.0),
        communication=communication(text, n_devices=1 if mesh.empty else mesh.size),
        n_loops=n_loops(text),
    )


def remat_policies(hyperparameters: Any) -> tuple[str, ...]:
    """Returns the choices of the static field ``remat`` of hyperparameters.

    Args:
        hyperparameters: The settings.

    Returns:
        Names of policies; none without such a field.

    Example:
        >>> from typing import Literal
        >>> from jaxresearch.hyperparameters import hyperparameters, static
        >>> @hyperparameters
        ... class Sizes:
        ...     remat: Literal["none", "all"] = static("none", "what the backward pass recomputes")
        >>> remat_policies(Sizes())
        ('none', 'all')
    """
    fields = {field.name: field for field in dataclasses.fields(hyperparameters)}
    if "remat" not in fields or not fields["remat"].metadata.get("static"):
        return ()
    return tuple(map(str, typing.get_args(typing.get_type_hints(type(hyperparameters))["remat"])))


def largest_batch(
    experiment: Experiment, hyperparameters: Any, dataset: Dataset, *, n_bytes: int | float, n_micro_batches: int = 1
) -> tuple[int, StepCost | None]:
    """Returns the largest batch size whose step fits into the memory of each device, among multiples of the mesh's parts.

    Args:
        experiment: As declared; its hyperparameters have ``batch_size``.
        hyperparameters: The settings.
        dataset: Preprocessed data; a batch has at most all of its training examples.
        n_bytes: Memory of each device.
        n_micro_batches: Over which the experiment accumulates gradients; they divide the batch, too.

    Returns:
        The batch size and its cost; 0 and None if not even the smallest batch fits.

    Raises:
        ValueError: If the hyperparameters have no ``batch_size``, or as `step_cost`.

    Example:
        >>> from jaxresearch import loading
        >>> mnist = loading.load("mnist")
        >>> dataset = mnist.prepare(mnist.collect(mnist.source))
        >>> size, cost = largest_batch(mnist, mnist.hyperparameters, dataset, n_bytes=2e6)
        >>> cost.memory <= 2e6
        True
    """
    if not hasattr(hyperparameters, "batch_size") or not dataset.n_train:
        raise ValueError(
            "hyperparameters must have batch_size to plan a batch, got none. Write: batch_size: int = static(...)"
        )
    unit, costs = math.lcm(devices.n_shards(), n_micro_batches), {}

    def memory_of(n: int) -> int:
        costs[n] = step_cost(experiment, dataclasses.replace(hyperparameters, batch_size=n * unit), dataset)
        return costs[n].memory

    best = largest_below(memory_of, n_bytes, most=dataset.n_train // unit)
    return best * unit, costs.get(best)


def largest_below(size_of: Callable[[int], int | float], limit: int | float, *, most: int) -> int:
    """Returns the largest whole number whose size is within a limit, for a size that grows with the number.

    Few numbers are tried if the size is nearly linear, as the memory of a step is in its batch: the next is where the line
    through the last two meets the limit, and halves the interval otherwise.

    Args:
        size_of: The size of a number, from 1 on.
        limit: The limit.
        most: The largest number to consider.

    Returns:
        The number; 0 if the size of 1 exceeds the limit.

    Example:
        >>> tried = []
        >>> def size_of(n):
        ...     tried.append(n)
        ...     return 100 + 3 * n
        >>> largest_below(size_of, 1000, most=10_000), tried
        (300, [1, 2, 300, 301])
    """
    fits, exceeds = 0, most + 1
    known: list[tuple[int, int | float]] = []
    guess = 1
    while exceeds - fits > 1:
        guess = min(max(guess, fits + 1), exceeds - 1)
        size = size_of(guess)
        known.append((guess, size))
        fits, exceeds = (guess, exceeds) if size <= limit else (fits, guess)
        guess = _next_guess(known, limit, fits, exceeds)
    return fits


def _next_guess(known: list[tuple[int, int | float]], limit: int | float, fits: int, exceeds: int) -> int:
    """Returns where the line through the last two sizes meets the limit; later, the middle of the interval."""
    if len(known) == 1:
        return 2
    (a, size_a), (b, size_b) = known[-2:]
    slope = (size_b - size_a) / (b - a)
    met = int(b + (limit - size_b) // slope) if slope > 0 else exceeds - 1
    if len(known) > 4 and not fits < met < exceeds:
        return (fits + exceeds) // 2
    return met + (met <= fits)

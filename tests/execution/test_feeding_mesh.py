"""Rows on disk under a mesh: the numbers of a run in memory, and each device's rows read once, by its own process."""

import functools
import itertools
import re
import threading
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxresearch import data, devices, execution, sweeps, training
from jaxresearch.data import Rows
from jaxresearch.data.rows import side_by_side
from jaxresearch.execution import Feed, reading
from jaxresearch.execution.stages import runs_of


class Counting:
    """An array that counts how often each row is read."""

    def __init__(self, values):
        self.values, self.n_read, self.lock = values, np.zeros(len(values), int), threading.Lock()

    def __len__(self):
        return len(self.values)

    def read(self, places):
        with self.lock:
            np.add.at(self.n_read, places, 1)
        return self.values[places]


def counted(dataset):
    """Returns the data with all inputs on disk, and the sources by part."""
    sources = {name: Counting(part["inputs"]) for name, part in dataset.parts().items()}
    held = {name: part | {"inputs": Rows(sources[name])} for name, part in dataset.parts().items()}
    return dataset._replace(**held), sources


def carried_out(task, dataset, mesh, *, seeds, **options):
    """Returns the numbers of a run on a mesh."""
    with jax.set_mesh(devices.mesh(**mesh)) if mesh else devices.no_mesh():
        outcome = execution.execute(task.experiment, task.settings, dataset, seeds=seeds, **options)
        return devices.fetch((outcome.state, outcome.metrics))


@pytest.mark.long
@pytest.mark.parametrize(
    ("mesh", "seeds"), [({"data": 2}, (0,)), ({"fsdp": 2}, (3, 3, 5)), ({"tensor": 2}, (0,)), ({"runs": 2}, (0, 4))]
)
def test_a_fed_run_on_a_mesh_is_the_resident_one(task, unoptimized, mesh, seeds):
    given, sources = counted(task.dataset)
    counts = [source.n_read for source in sources.values()]
    for count in counts:
        count[:] = 0  # Rows has read an example of each
    made = carried_out(task, given, mesh, seeds=seeds, evaluate_every=8, feed=Feed(16 * 8 * 3 * 5, 2))
    whole = carried_out(task, task.dataset, mesh, seeds=seeds, evaluate_every=8)
    for one, other in zip(jax.tree.leaves(made), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)  # thirty steps of Adam, summed in another order
    assert counts[0].sum() == len({*seeds}) * 30 * 16 and counts[0].tolist() == [3 * len({*seeds})] * 160


@pytest.mark.long
def test_folds_on_a_mesh_are_fed_rows_of_their_own(task, unoptimized):
    folds = [data.prepare(data.standard, data.fold(task.dataset, place, n_folds=2)) for place in range(2)]
    whole = data.stacked(folds)
    rows = {name: {**part, "inputs": side_by_side(*map(Rows, part["inputs"]))} for name, part in whole.parts().items()}
    made, expected = (carried_out(task, one, {"data": 2}, seeds=(0, 1)) for one in (whole._replace(**rows), whole))
    for one, other in zip(jax.tree.leaves(made), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)  # as above


class Place(NamedTuple):
    """A device of a process."""

    process_index: int
    number: int


@pytest.mark.parametrize(("n_processes", "n_each"), [(1, 2), (2, 1), (2, 4), (4, 2)])
def test_processes_hold_all_rows_of_a_batch_once(n_processes, n_each):
    """The 16 examples of a batch, split over all devices."""
    size = 16 // (n_processes * n_each)
    where = {
        Place(process, number): (slice(None), slice(None), slice(at, at + size), slice(None))
        for at, (process, number) in zip(
            range(0, 16, size), itertools.product(range(n_processes), range(n_each)), strict=True
        )
    }
    held = [reading.parts_held(where, (3, 5, 16), process=process) for process in range(n_processes)]
    assert [len(parts) for parts in held] == [n_each] * n_processes
    assert all(part[:2] == ((0, 3), (0, 5)) for parts in held for part in parts)
    rows = [row for parts in held for *_, (start, end) in parts for row in range(start, end)]
    assert rows == [*range(16)]


def test_replicated_rows_are_held_once_by_a_process():
    where = {Place(process, number): (slice(None), slice(0, 8)) for process in range(2) for number in range(4)}
    assert [reading.parts_held(where, (3, 8), process=process) for process in range(2)] == [[((0, 3), (0, 8))]] * 2


def test_a_step_on_fed_batches_exchanges_gradients_alone(task):
    """Its batches are where the step needs them."""
    with jax.set_mesh(devices.mesh(data=2)):
        runs = runs_of(task.experiment, task.settings, None, sweeps.keys((0, 1)), task.dataset, None)
        sharding = devices.batch_sharding(16, None, None)
        batches = jax.tree.map(
            lambda leaf: jax.device_put(np.resize(leaf, (2, 5, 16, *leaf.shape[1:])), sharding), task.dataset.train
        )
        states = jax.jit(sweeps.sweep(runs.program.init, (0, None)))(runs.keys, task.settings)
        advance = functools.partial(training.advance_over, algorithm=runs.program.algorithm(task.settings))
        over_runs = jax.jit(sweeps.sweep(advance, (0, 0, None, None, 0)))
        text = (
            over_runs.lower(runs.keys, states, batches, np.int32(0), np.arange(2, dtype=np.int32)).compile().as_text()
        )
    names = ("all-gather", "all-to-all", "collective-permute", "all-reduce")
    found = {name: len(re.findall(rf" {name}(?:-start)?\(", text)) for name in names}
    assert found.pop("all-reduce") > 0 and not any(found.values()), found


def test_a_batch_that_the_mesh_does_not_divide_is_refused(task):
    given, _ = counted(task.dataset)
    h = task.settings.__class__(batch_size=15)
    message = "mesh must divide a batch of 15 examples, got data=2. Pass a batch size that is a multiple of 2."
    with jax.set_mesh(devices.mesh(data=2)), pytest.raises(ValueError, match=message):
        execution.execute(task.experiment, h, given, seeds=(0,))

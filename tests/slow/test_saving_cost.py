"""What it costs a run to be saved in the background, and to be looked at for losses that are not finite."""

import statistics
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, execution, loading, records
from jaxresearch.execution import diagnosis

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
pytestmark = pytest.mark.slow


def test_saving_costs_less_than_three_percent_of_the_main_job(tmp_path):
    """Four states, one every few seconds: what the devices stand still for, and all that the processors do for it.

    Counted, not the difference of two runs: on a shared machine neighbouring seconds of one run differ by a quarter, which is
    ten times what is looked for. Unless asked for, a state is saved once a minute.
    """
    mnist, dataset = loading.load("mnist", directory=EXPERIMENTS), data.encode_dataset(data.load("mnist"))
    checkpoints, asked, ended, still = records.Checkpoints(tmp_path), [], [], []

    def due():
        asked.append(None)
        return len(asked) % 3 == 0

    def keep(step, state):
        checkpoints.write_in_background(step, state, about=dict)
        still.append(time.monotonic() - ended[-1])  # the next chunk is handed over after this

    outcome = execution.execute(
        mnist,
        mnist.hyperparameters,
        dataset,
        seeds=range(10),
        observe=lambda progress: ended.append(time.monotonic()),
        keeping=execution.Keeping(due, keep),
    )
    checkpoints.wait()
    n_saved, worked = len(still), []
    for step in range(20_000, 20_005):
        began = time.process_time()  # of all threads
        checkpoints.write(step, outcome.state, about={})
        worked.append(time.process_time() - began)
    seconds = sum(still) + n_saved * statistics.median(worked) / len(jax.devices())
    share = seconds / outcome.seconds["train"]
    print(
        f"{n_saved} states: {max(still):.3f} s still, {statistics.median(worked):.3f} s of work each; {share:.2%} of the run"
    )
    assert n_saved == 4 and share < 0.03


def test_looking_for_losses_that_are_not_finite_costs_less_than_a_percent():
    losses = np.random.default_rng(0).uniform(size=(10, 625)).astype(np.float32)  # a chunk of the main job
    start = time.perf_counter()
    for _ in range(1000):
        assert diagnosis.first_nonfinite(losses) is None
    looking = (time.perf_counter() - start) / 1000
    mnist, dataset = loading.load("mnist", directory=EXPERIMENTS), data.encode_dataset(data.load("mnist"))
    outcome = execution.execute(mnist, mnist.hyperparameters, dataset, seeds=range(10))
    assert looking / (outcome.seconds["train"] / 15) < 0.01

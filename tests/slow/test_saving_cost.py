"""The cost of saving a run in the background, and of checking its metrics for non-finite values."""

import statistics
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, execution, loading, records
from jaxresearch.execution import divergence

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
pytestmark = pytest.mark.slow


def test_saving_costs_under_three_percent_of_the_main_job(tmp_path):
    """Four states, one every few seconds: the time that the devices wait, and all CPU time.

    The cost is measured directly, not as a difference of two runs: on a shared machine, seconds vary by a quarter, ten
    times the cost in question. By default, a state is saved once a minute.
    """
    mnist, dataset = loading.load("mnist", directory=EXPERIMENTS), data.prepare(data.standard, data.load("mnist"))
    checkpoints, asked, ended, still = records.Checkpoints(tmp_path), [], [], []

    def due():
        asked.append(None)
        return len(asked) % 3 == 0

    def keep(step, state):
        checkpoints.write_in_background(step, state, about=dict)
        still.append(time.monotonic() - ended[-1])  # the next chunk starts after this

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


def test_checking_for_non_finite_metrics_costs_under_a_percent():
    values = np.random.default_rng(0).uniform(size=(2, 10, 625)).astype(np.float32)
    metrics = {"loss": values[0], "accuracy": values[1]}  # a chunk of the main job
    start = time.perf_counter()
    for _ in range(1000):
        assert divergence.in_metrics(metrics) == ()
    looking = (time.perf_counter() - start) / 1000
    mnist, dataset = loading.load("mnist", directory=EXPERIMENTS), data.prepare(data.standard, data.load("mnist"))
    outcome = execution.execute(mnist, mnist.hyperparameters, dataset, seeds=range(10))
    assert looking / (outcome.seconds["train"] / 15) < 0.01

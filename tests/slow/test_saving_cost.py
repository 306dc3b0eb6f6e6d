"""What it costs a run to be saved in the background, and to be looked at for losses that are not finite."""

import dataclasses
import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import data, diagnosis, execution, experiment, records

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
pytestmark = pytest.mark.slow


def seconds_of(directory, *, every):
    """Returns the training time of the main job, saved after so many seconds or never, and how often it was saved."""
    mnist, dataset = experiment.load("mnist", directory=EXPERIMENTS), data.encode_dataset(data.load("mnist"))
    checkpoints, saved = records.Checkpoints(directory), [time.monotonic()]

    def due():
        return every is not None and time.monotonic() - saved[-1] >= every and not checkpoints.is_saving

    def keep(step, state):
        checkpoints.write_in_background(step, state, about=dict)
        saved.append(time.monotonic())

    keeping = execution.Keeping(due, keep)
    settings = dataclasses.replace(mnist.hyperparameters, epochs=10)
    outcome = execution.execute(mnist, settings, dataset, seeds=range(10), keeping=keeping)
    checkpoints.wait()
    return outcome.seconds["train"], len(saved) - 1


def test_saving_every_four_seconds_costs_less_than_three_percent(tmp_path):
    """Fifteen times as often as it is done unless asked for; medians of five pairs in one process."""
    seconds_of(tmp_path, every=None)
    ratios, n_saved = [], 0
    for pair in range(5):
        (tmp_path / f"{pair}").mkdir()
        plain, _ = seconds_of(tmp_path, every=None)
        saving, n = seconds_of(tmp_path / f"{pair}", every=4.0)
        ratios.append(saving / plain)
        n_saved += n
    assert n_saved >= 5 and statistics.median(ratios) < 1.03, ratios


def test_looking_for_losses_that_are_not_finite_costs_less_than_a_percent():
    losses = np.random.default_rng(0).uniform(size=(10, 625)).astype(np.float32)  # a chunk of the main job
    start = time.perf_counter()
    for _ in range(1000):
        assert diagnosis.first_nonfinite(losses) is None
    looking = (time.perf_counter() - start) / 1000
    mnist, dataset = experiment.load("mnist", directory=EXPERIMENTS), data.encode_dataset(data.load("mnist"))
    outcome = execution.execute(mnist, mnist.hyperparameters, dataset, seeds=range(10))
    assert looking / (outcome.seconds["train"] / 15) < 0.01

"""Two processes, one of which is killed or stopped: the job ends in a bounded time with one line, and resumes exactly."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from jaxresearch.cli import supervised

pytestmark = pytest.mark.long

HANG_AFTER = 10  # seconds; on a busy machine, a process may be silent for several
WORDS = f"run mnist --seeds 4 --epochs 1 --batch-size 64 --hidden 64 --save-every 0 --hang-after {HANG_AFTER}".split()
GRACE = 15  # a few seconds of the supervisors, on a busy machine


def worker(process):
    """Returns the id of the worker of a process; None once it has ended."""
    for task in Path("/proc").glob("[0-9]*/stat"):
        try:
            entries = task.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(entries[1]) == process.pid:
            return int(task.parent.name)
    return None


def scores(directory):
    """Returns the metrics of all seeds."""
    return json.loads((directory / "result.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def whole(joined, tmp_path_factory):
    """The metrics of an uninterrupted job, and the seconds that it took."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    begun = time.monotonic()
    codes, lines = joined.carry_out(*WORDS, "--directory", directory, n_devices=2)
    assert (codes, lines) == ([0, 0], [])
    return scores(directory), time.monotonic() - begun


def survives(joined, whole, directory, number, victim, wait):
    """Asserts that a job survives a signal to one worker: `wait` is called with its directory before."""
    expected, _ = whole
    started = joined.start(*WORDS, "--directory", directory, n_devices=2)
    wait(directory)
    target = worker(started[victim])
    if target is not None:
        os.kill(target, number)
    begun = time.monotonic()
    bound = HANG_AFTER if directory.exists() else supervised.JOIN_WITHIN  # it is made once all have joined
    codes, lines = joined.ended(started)
    if codes != [0, 0]:
        assert time.monotonic() - begun < bound + GRACE
        assert codes == [75, 75] and len(lines) == 1, (codes, lines)
        assert lines[0].startswith("jaxresearch: interrupted: ") and "Repeat the command to resume" in lines[0]
        codes, lines = joined.carry_out(*WORDS, "--directory", directory, n_devices=2)
        assert (codes, lines) == ([0, 0], [])
    assert scores(directory) == expected
    assert not [*directory.parent.glob(".*.ended")]


def until_saved(directory):
    """Waits for the first checkpoint."""
    end = time.monotonic() + 120
    while not any(directory.glob("checkpoints/[0-9]*")):
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize(("number", "victim"), [(signal.SIGKILL, 0), (signal.SIGSTOP, 1)], ids=["kill", "stop"])
def test_a_job_survives_the_loss_of_a_process(joined, whole, tmp_path, number, victim):
    survives(joined, whole, tmp_path / "run", number, victim, until_saved)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(30))
def test_a_job_survives_losses_at_random_moments(joined, whole, tmp_path, seed):
    generator = np.random.default_rng(seed)
    number = signal.SIGKILL if seed < 20 else signal.SIGSTOP
    moment = generator.uniform(5, whole[1])  # the processes join after their imports, which take a few seconds
    survives(joined, whole, tmp_path / "run", number, int(generator.integers(2)), lambda directory: time.sleep(moment))


def test_a_process_lost_after_the_result_ends_no_job(joined, whole, tmp_path):
    directory = tmp_path / "run"
    started = joined.start(*WORDS, "--directory", directory, n_devices=2)
    end = time.monotonic() + 120
    while not (directory / "result.json").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    target = worker(started[1])
    if target is not None:
        os.kill(target, signal.SIGKILL)
    assert joined.ended(started) == ([0, 0], [])
    assert scores(directory) == whole[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--learning-rate", "0.01"),
            "learning_rate must be the same in all processes, got 0.001 in process 0 and 0.01",
        ),
        (("--epochs", "none"), "--epochs must be a whole number, got none. Write, for instance: --epochs 5"),
    ],
)
def test_processes_that_differ_print_one_line(joined, tmp_path, words, message):
    codes, lines = joined.carry_out(*WORDS, "--directory", tmp_path / "run", each=((), words))
    assert codes == [2, 2] and len(lines) == 1 and message in lines[0], (codes, lines)
    assert not (tmp_path / "run").exists()


def test_another_number_of_processes_resumes_a_job(joined, whole, tmp_path):
    directory = tmp_path / "run"
    started = joined.start(*WORDS, "--directory", directory, n_devices=2)
    until_saved(directory)
    started[1].send_signal(signal.SIGTERM)  # saves in both
    codes, lines = joined.ended(started)
    step = max(int(folder.name) for folder in (directory / "checkpoints").glob("[0-9]*"))
    assert codes == [75, 75]
    assert lines == [f"jaxresearch: interrupted; saved at step {step}; repeat the command to resume"]
    assert joined.carry_out(*WORDS, "--directory", directory, each=((),), n_devices=4) == ([0], [])
    for name, metric in scores(
        directory
    ).items():  # rounding, amplified by the rest of an epoch: some predictions differ
        np.testing.assert_allclose(metric["values"], whole[0][name]["values"], rtol=0.05)

"""A process killed at any moment loses nothing: the next one resumes and reproduces the run bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, execution, loading
from jaxresearch.records import Checkpoints

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
WORDS = "--seeds 4 --epochs 2 --batch-size 512 --hidden 256 --dropout-rate 0.1 --validation 0.1".split()


def command(directory):
    words = [*WORDS, "--save-every", "0", "--directory", str(directory)]
    return [sys.executable, "-m", "jaxresearch", "run", "mnist", *words]


def outcome_of(directory):
    """Returns the full record of a run: the final state, the test metrics and the training metrics."""
    mnist = loading.load("mnist", directory=ROOT / "experiments")
    config = json.loads((directory / "config.json").read_text())["hyperparameters"]
    settings = type(mnist.hyperparameters)(**{**config, "hidden": tuple(config["hidden"])})
    like = execution.blank_state(mnist, settings, data.prepare(data.standard, data.load("mnist")), n_runs=4)
    restored = Checkpoints(directory).restore(like)
    metrics = json.loads((directory / "result.json").read_text())["metrics"]
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return restored.state, metrics, [{**line, "seconds": None} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The record of an uninterrupted run."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    done = subprocess.run(command(directory), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return outcome_of(directory)


def in_the_middle(directory):
    """Returns whether a state is being saved or deleted at this moment."""
    folder = directory / "checkpoints"
    return folder.is_dir() and any(entry.name.startswith((".new-", ".trash-")) for entry in folder.iterdir())


def killed(directory, generator):
    """Starts the command and kills it at a random moment, or while it saves or deletes; returns which, None if it ended first."""
    process = subprocess.Popen(command(directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    saving = generator.random() < 0.5
    moment = time.monotonic() + generator.uniform(0.5, 4.0)
    while process.poll() is None and time.monotonic() < moment + 60:
        if in_the_middle(directory) and time.monotonic() > moment - 2 if saving else time.monotonic() > moment:
            time.sleep(generator.uniform(0, 0.02))
            break
        time.sleep(0.001)
    process.kill()
    _, complaint = process.communicate()
    if process.returncode == -signal.SIGKILL:
        return "saving" if saving else "anywhere"
    assert process.returncode == 0, complaint
    return None


def outlives(whole, tmp_path, *, n_kills, seed):
    """Kills and resumes n times; the record of every finished run equals that of the uninterrupted one."""
    generator = np.random.default_rng(seed)
    kills, ended = [], 0
    while len(kills) < n_kills or not ended:
        directory = tmp_path / f"run{ended}"
        while len(kills) < n_kills and (how := killed(directory, generator)) is not None:
            kills.append(how)
        if not (directory / "result.json").exists():
            done = subprocess.run(command(directory), capture_output=True, text=True, cwd=ROOT)
            assert done.returncode == 0, done.stderr
        assert not (directory / "quarantine").exists()  # leftovers of a kill are never listed
        state, metrics, lines = outcome_of(directory)
        jax.tree.map(np.testing.assert_array_equal, state, whole[0])
        assert metrics == whole[1] and lines == whole[2]
        ended += 1
    assert len(kills) >= n_kills and {"saving", "anywhere"} <= {*kills}


def test_a_few_kills_lose_nothing(whole, tmp_path):
    outlives(whole, tmp_path, n_kills=6, seed=0)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(1, 9))
def test_two_hundred_kills_lose_nothing(whole, tmp_path, seed):
    outlives(whole, tmp_path, n_kills=25, seed=seed)


def killed_once_saved(directory):
    """Starts the command and kills it once a state is saved."""
    process = subprocess.Popen(command(directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    while process.poll() is None and not [*directory.glob("checkpoints/[0-9]*")]:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_run_resumes_on_fewer_cores_with_the_same_numbers(whole, tmp_path):
    """It uses the original number of CPU devices, since sums over another number differ in their last digits."""
    directory = tmp_path / "run"
    killed_once_saved(directory)
    on_one = "import os, sys; os.sched_setaffinity(0, {%d}); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    words = [sys.executable, "-c", on_one % min(os.sched_getaffinity(0)), "-m", "jaxresearch", "resume", str(directory)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (state, metrics, lines), again = whole, outcome_of(directory)
    jax.tree.map(np.testing.assert_array_equal, again[0], state)
    assert again[1:] == (metrics, lines)


def test_a_run_is_not_resumed_under_other_settings_of_jax(tmp_path):
    directory = tmp_path / "run"
    killed_once_saved(directory)
    words = [sys.executable, "-m", "jaxresearch", "resume", str(directory)]
    environment = {**os.environ, "JAX_THREEFRY_PARTITIONABLE": "0"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 2 and done.stderr.splitlines() == [
        "jaxresearch: jax_threefry_partitionable must be True, as at the start of the run, got False. Set "
        "JAX_THREEFRY_PARTITIONABLE."
    ]

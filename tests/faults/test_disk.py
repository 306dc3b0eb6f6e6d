"""A full disk, a missing or an unwritable directory: a one-line error, and the last good step intact."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
WORDS = ["--seeds", "2", "--epochs", "3", "--batch-size", "256", "--hidden", "512", "--save-every", "0"]


def command(directory):
    return [sys.executable, "-m", "jaxresearch", "run", "mnist", *WORDS, "--directory", str(directory)]


def when_saved(directory):
    """Starts a run, and returns its process once the first state is saved."""
    process = subprocess.Popen(command(directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 120
    while not list(directory.glob("checkpoints/*/manifest.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def on_a_full_disk(directory, *words):
    """Runs with a file size limit of 2 MB, which acts as a full disk (a state takes 10 MB)."""
    limited = ["bash", "-c", 'ulimit -f 2048; exec "$@"', "limited", *command(directory), *words]
    return subprocess.run(limited, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def metrics(jaxresearch, tmp_path_factory):
    """The metrics of the undisturbed run."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    assert jaxresearch(*command(directory)[3:]).returncode == 0
    return json.loads((directory / "result.json").read_text())["metrics"]


def test_a_full_disk_is_one_line_and_keeps_saved_steps(jaxresearch, metrics, tmp_path):
    directory = tmp_path / "run"
    first = when_saved(directory)
    first.send_signal(signal.SIGTERM)
    first.communicate()
    assert first.returncode == 75
    saved = sorted(path.name for path in (directory / "checkpoints").iterdir())

    full = on_a_full_disk(directory)
    assert full.returncode == 1 and len(full.stderr.splitlines()) == 1, full.stderr
    assert "could not be read or written" in full.stderr and "is safe; resume with: jaxresearch resume" in full.stderr
    assert sorted(path.name for path in (directory / "checkpoints").iterdir()) == saved  # no partial file
    assert jaxresearch("verify", str(directory)).returncode == 0

    assert jaxresearch("resume", str(directory)).returncode == 0  # space is available again
    assert json.loads((directory / "result.json").read_text())["metrics"] == metrics


def test_a_full_disk_from_the_start_is_one_line(tmp_path):
    full = on_a_full_disk(tmp_path / "run")
    assert full.returncode == 1 and len(full.stderr.splitlines()) == 1, full.stderr
    assert re.search(r"step \d+ could not be saved: File too large\); no step was saved", full.stderr), full.stderr


def test_a_disk_that_is_full_at_the_end_costs_no_result(jaxresearch, metrics, tmp_path):
    directory = tmp_path / "run"
    full = on_a_full_disk(directory, "--save-every", "1000")
    assert full.returncode == 1 and len(full.stderr.splitlines()) == 1, full.stderr
    assert "could not be saved: File too large; the result is in result-unsaved.json); no step was saved" in full.stderr
    assert "test/accuracy" in full.stdout and "Claim" in full.stdout
    assert json.loads((directory / "result-unsaved.json").read_text())["metrics"] == metrics
    assert jaxresearch("resume", str(directory)).returncode == 0
    assert json.loads((directory / "result.json").read_text())["metrics"] == metrics


def test_a_directory_that_is_removed_under_the_run_is_one_line(tmp_path):
    process = when_saved(tmp_path / "run")
    while (tmp_path / "run").exists():
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 1 and len(complaint.splitlines()) == 1, complaint
    assert str(tmp_path / "run") in complaint


def test_a_directory_that_cannot_be_written_is_one_line():
    done = subprocess.run(command(Path("/proc/self/run")), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "directory must be writable, got /proc/self/run" in done.stderr

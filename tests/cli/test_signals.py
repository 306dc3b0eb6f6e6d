"""A signal at any moment ends a command with one last line and exit code 75, and the run can be resumed."""

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.long

SIGNALS = [
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU") if hasattr(signal, name)
]
WORDS = ["run", "line.py", "--epochs", "20000"]
AS_INSTALLED = "import sys; from jaxresearch.cli import main; sys.exit(main())"
BEFORE = "jaxresearch: interrupted before anything was recorded\n"
NOTICE = (
    "jaxresearch: interrupted: finishing the current steps, then saving; "
    "a second signal ends now, and resumes from the start\n"
)
SAVED = "jaxresearch: interrupted; saved at step "


def signalled(folder, number, *, seconds=0.0, until=None, start=("-m", "jaxresearch")):
    """Sends a signal after a time, or once a condition holds; returns the exit code and standard error."""
    words = [sys.executable, *start, *WORDS, "--directory", "out"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        if until is None:
            time.sleep(seconds)
        else:
            deadline = time.monotonic() + 60
            while not until() and time.monotonic() < deadline:
                time.sleep(0.01)
        process.send_signal(number)
        _, complaint = process.communicate(timeout=60)
    return process.returncode, complaint


@pytest.mark.parametrize("start", [("-m", "jaxresearch"), ("-c", AS_INSTALLED)], ids=["module", "installed"])
def test_a_signal_at_any_moment_is_one_line(folder, start):
    moments = np.concatenate([np.linspace(0, 0.4, 17), np.linspace(0.5, 2, 5)])
    for place, moment in enumerate(moments):
        number = SIGNALS[place % len(SIGNALS)]
        code, complaint = signalled(folder, number, seconds=moment, start=start)
        if code == -number and moment < 0.2:  # before the first line of the package
            assert complaint == ""
            continue
        assert code == 75, (moment, complaint)
        *noticed, last = complaint.removeprefix(NOTICE).splitlines(keepends=True)
        assert not noticed and last.startswith((BEFORE, SAVED)), complaint
        assert (folder / "out").exists() == (last != BEFORE)
        shutil.rmtree(folder / "out", ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGINT, *SIGNALS], ids=lambda number: number.name)
def test_every_signal_saves_a_run(folder, number):
    code, complaint = signalled(folder, number, until=(folder / "out" / "metrics.jsonl").exists)
    assert code == 75 and complaint.removeprefix(NOTICE).startswith(SAVED), complaint
    assert complaint.startswith(NOTICE)
    assert any((folder / "out" / "checkpoints").iterdir())


def test_a_signal_that_is_ignored_stays_so(folder):
    """As with ``nohup``: closing the terminal does not end the run."""
    words = ["run", "line.py", "--directory", "out"]
    program = 'trap "" HUP; exec "$@"'
    with subprocess.Popen(
        ["bash", "-c", program, "bash", sys.executable, "-m", "jaxresearch", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not (folder / "out" / "config.json").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        _, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint

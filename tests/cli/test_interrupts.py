"""What signals do to a command that records."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxresearch import records
from jaxresearch.cli import interrupts, session
from jaxresearch.interruption import Interrupted

NOTICE = "interrupted: finishing the current steps, then saving; a second signal ends now, and resumes from step 1,200"


# A call into C that handles no signals and takes minutes, as a chunk of steps may.
COMPUTING = """
import hashlib, os, signal, threading
from jaxresearch.cli import interrupts

with interrupts.saving(lambda: "step 1,200", lambda: "interrupted; saved at step 1,200"):
    for seconds in (0.1, 0.3):
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


def test_saving_answers_during_a_computation():
    done = subprocess.run([sys.executable, "-c", COMPUTING], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.stderr == f"jaxresearch: {NOTICE}\njaxresearch: interrupted; saved at step 1,200\n"
    assert done.returncode == 75


def test_saving_prints_first_and_raises_at_the_second_signal(capfd):
    with interrupts.saving(lambda: "step 1,200") as received:
        signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM]
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    assert capfd.readouterr() == ("", f"jaxresearch: {NOTICE}\n")


def test_saving_prints_nothing_while_a_file_is_written(capfd):
    with interrupts.saving() as received:
        signal.raise_signal(signal.SIGTERM)
    assert received and capfd.readouterr() == ("", "")


def test_the_notice_names_the_last_saved_step(tmp_path):
    assert session._resumes_from(tmp_path, "run") == "the start"
    assert session._resumes_from(tmp_path, "sweep") == "what is recorded"
    records.Checkpoints(tmp_path).write(1200, {"w": np.ones(2)})
    assert session._resumes_from(tmp_path, "run") == "step 1,200"


def test_the_last_line_names_the_last_saved_step(tmp_path):
    assert session._interruption(tmp_path / "none", tmp_path) == "interrupted before anything was recorded"
    resume = f"resume with: jaxresearch resume {tmp_path}"
    assert session._interruption(tmp_path, tmp_path) == f"interrupted; {resume}"
    records.Checkpoints(tmp_path).write(1200, {"w": np.ones(2)})
    assert session._interruption(tmp_path, tmp_path) == f"interrupted; saved at step 1,200; {resume}"

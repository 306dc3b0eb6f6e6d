"""A schedule learnt by hypergradient against the best constant rate of a grid: with real commands and paired fresh seeds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def command(*words):
    done = subprocess.run([sys.executable, "-m", "jaxresearch", *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    print(done.stdout)


def test_learnt_schedule_beats_the_best_constant_rate(tmp_path):
    rates = ["--learning-rate", "1e-4:1e-2:log:20"]
    command("sweep", "schedule", *rates, "--seeds", "4", "--directory", str(tmp_path / "sweep"))
    swept = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    best = swept["rows"][swept["best"]]["learning_rate"]
    command("study", "schedule", "--learning-rate", str(best), "--rounds", "6", "--directory", str(tmp_path / "study"))
    result = json.loads((tmp_path / "study" / "result.json").read_text())
    gain = result["gain"]
    assert gain["metric"] == "test/log_loss" and result["seeds"] == [*range(3, 13)]  # the rounds used 0 to 2
    assert gain["ci95"][1] < 0, gain  # the whole interval of the paired difference is below zero
    rounds = json.loads((tmp_path / "study" / "study.json").read_text())["rounds"]
    assert rounds[1]["trials"][0]["gradient"]["knots"][-1][0] is not None

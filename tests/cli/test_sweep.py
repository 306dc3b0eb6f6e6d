"""``jaxresearch sweep``: its table, its data, and exact resume."""

import csv
import json
import signal
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest

from jaxresearch import data, statistics
from jaxresearch.reports import plots

WORDS = ["--learning-rate", "0.05:0.2:3", "--batch-size", "16,8", "--seeds", "5,9"]
GROUPS = ["--learning-rate", "1e-2,1e30", "--batch-size", "16,8", "--seeds", "2", "--epochs", "40"]


def rows_of(directory):
    return list(csv.DictReader((directory / "sweep.csv").read_text().splitlines()))


@pytest.mark.long
def test_a_sweep_leaves_a_table_a_plot_and_its_configuration(here, folder):
    done = here("sweep", "line.py", *WORDS, "--directory", "out")
    assert done.returncode == 0, done.stderr
    directory = folder / "out"
    assert [(row["learning_rate"], row["batch_size"]) for row in rows_of(directory)] == [
        (rate, size) for rate in ("0.05", "0.125", "0.2") for size in ("16", "8")
    ]
    record = json.loads((directory / "sweep.json").read_text())
    scores = [row["r2"] for row in record["rows"]]
    assert record["best"] == int(np.argmax(scores)) and record["metric"] == "validation/r2"
    assert (directory / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    config = json.loads((directory / "config.json").read_text())
    assert config["axes"] == {"learning_rate": [0.05, 0.125, 0.2], "batch_size": [16, 8]} and config["seeds"] == [5, 9]
    assert "compared on 16 examples held out of the training part; the test part was not read" in done.stdout
    assert "group 1 of 2 (--batch-size 16; 5 settings) · epoch 20/20 · train loss" in done.stdout
    assert "group 2 of 2 (--batch-size 8; 3 settings) · epoch 1/20 · train loss" in done.stdout
    assert {path.name for path in directory.iterdir()} == {
        *("config.json", "environment.json", "sweep.json", "sweep.csv", "sweep.png", "trials.json", ".lock", "source")
    }


@pytest.mark.long
def test_the_noise_floor_is_the_plain_settings_with_other_seeds(here, folder):
    words = ["--learning-rate", "0.1,0.2", "--epochs", "2"]
    done = here("sweep", "line.py", *words, "--directory", "out")
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "out/sweep.json").read_text())
    other = here(
        "sweep", "line.py", "--learning-rate", "0.1:0.1:1", *words[2:], "--seeds", "5,6,7,8,9", "--directory", "b"
    )
    assert other.returncode == 0, other.stderr
    alone = json.loads((folder / "b/sweep.json").read_text())["rows"][0]
    again = record["plain_with_other_seeds"]
    assert again["r2"] == pytest.approx(alone["r2"], rel=1e-5)  # side by side, summation order may differ
    plain, best = record["rows"]
    assert record["plain"] == {name: plain[name] for name in record["plain"]} and plain["r2_difference"] is None
    assert record["best"] == 1 and best["r2_difference"] == pytest.approx(best["r2"] - plain["r2"], abs=1e-7)  # float32
    noise = record["noise"]
    assert noise["seeds"] == [5, 6, 7, 8, 9] and noise["n_differences"] == 1
    assert noise["difference"] == pytest.approx(again["r2"] - plain["r2"], abs=1e-7)
    environment = json.loads((folder / "out/environment.json").read_text())
    assert environment["seeds"] == {"settings": [0, 1, 2, 3, 4], "noise floor": [5, 6, 7, 8, 9]}

    floor, gain = statistics.number_text(noise["floor"]), statistics.number_text(best["r2_difference"], is_signed=True)
    about = (
        "exceeds by seeds alone in at most 1 of 20 sweeps if all settings vary over seeds as the plain ones do; with"
    )
    assert f"noise floor: {floor} r2, which the largest of 1 differences {about}" in done.stdout
    assert f"best: --learning-rate 0.2, {gain} r2 over the plain settings (95 % interval " in done.stdout
    p = statistics.p_text(best["r2_p"])
    verdict = "more than" if best["r2_p"] < 0.05 else "not distinguishable from"
    assert f"paired by seed): {verdict} noise (p {p}, adjusted for 1 settings)" in done.stdout
    assert done.stdout.count("plain, other seeds") == 1 and "best, plain" not in done.stdout
    assert "noise floor" in other.stdout and "best: --learning-rate 0.1, the plain settings themselves" in other.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1"], "noise floor: unknown from a single seed; with seed 1 the plain settings differ from"),
        (["--seeds", "2"], "paired by seed): undecided, fewer than 5 seeds decide nothing"),
    ],
)
def test_few_seeds_leave_the_best_undecided(here, words, message):
    done = here("sweep", "line.py", "--learning-rate", "0.2,0.3", "--smoke", *words, "--directory", "out")
    assert done.returncode == 0 and message in done.stdout, done.stdout


def test_plain_settings_that_do_not_fit_the_data_leave_the_noise_unknown(here, edit):
    edit("batch_size: int = static(16", "batch_size: int = static(1600")
    done = here("sweep", "line.py", "--batch-size", "8,16", "--epochs", "1", "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert "noise floor: unknown, since the plain settings cannot be trained: batch_size must be between" in done.stdout


@pytest.mark.long
def test_settings_may_look_at_validation_data_of_their_own(here, edit, folder):
    edit("    return training.supervised(", "    made = training.supervised(")
    edit(
        "mean_squared_error()},\n    )",
        'mean_squared_error()},\n    )\n    return algorithms.stopped(made, metric="mse", patience=2)',
    )
    done = here("sweep", "line.py", "--learning-rate", "0.1,0.3", "--validation", "0.25", "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert "compared on 16 examples" in done.stdout and "validation mse" in done.stdout


@pytest.fixture
def whole(here, folder):
    """An uninterrupted sweep of two groups; one of its rates diverges."""
    done = here("sweep", "line.py", *GROUPS, "--directory", "whole")
    assert done.returncode == 0, done.stderr
    assert [row["diverged"] for row in rows_of(folder / "whole")] == ["False", "False", "True", "True"]
    return folder / "whole"


@pytest.mark.long
@pytest.mark.parametrize("n_chunks", [3, 23, 39])  # in the first group, in the second, after the last
def test_an_interrupted_sweep_resumes_bit_for_bit(here, interrupted_here, whole, folder, n_chunks):
    directory, words = folder / "out", ["sweep", "line.py", *GROUPS, "--directory", "out"]
    done = interrupted_here(n_chunks, *words)
    assert done.returncode == 75, done.stderr
    assert done.stderr == "jaxresearch: interrupted; resume with: jaxresearch resume out\n"
    assert not (directory / "sweep.csv").exists() and (directory / "trials.json").exists() == (n_chunks > 20)
    assert [path.parts[-3] for path in directory.glob("group-*/checkpoints/[0-9]*")] == {
        3: ["group-0"],
        23: ["group-1"],
    }.get(n_chunks, [])
    done = here("resume", "out")
    assert done.returncode == 0, done.stderr
    for name in ("sweep.csv", "sweep.json", "trials.json"):
        assert (directory / name).read_text() == (whole / name).read_text()
    assert not list(directory.glob("group-*"))

    ended = here(*words)
    assert (
        ended.returncode == 2
        and "has ended: there is nothing left to resume. Read out/sweep.csv, or start another sweep" in ended.stderr
    )
    other = here(*words, "--epochs", "3")
    assert (
        other.returncode == 2
        and "holds another sweep; these settings differ: epochs (40 on record, 3 now" in other.stderr
    )


def test_a_plot_that_fails_costs_no_numbers(here, folder):
    with mock.patch.object(plots, "plot_sweep", side_effect=RuntimeError("no fonts")):
        with pytest.warns(UserWarning, match="the plot of the sweep failed: no fonts"):
            done = here("sweep", "line.py", "--learning-rate", "0.1,0.2", "--smoke", "--directory", "out")
    assert done.returncode == 0 and "best: " in done.stdout and len(rows_of(folder / "out")) == 2


def test_development_data_holds_nothing_of_the_test_part():
    part = {"inputs": np.arange(64).reshape(64, 1), "targets": np.arange(64) % 2}
    test = {"inputs": -np.ones((9, 1)), "targets": np.zeros(9, int)}
    own = {"inputs": np.full((7, 1), 99), "targets": np.zeros(7, int)}
    dataset = data.Dataset(part, test, None, data.DataCard(name="a", source="b"))
    made = data.development(dataset, fraction=0.25)
    assert len(made.train["targets"]) == 48 and len(made.test["targets"]) == 16
    together = np.concatenate([made.train["inputs"], made.test["inputs"]]).ravel()
    assert {*together} == {*range(64)}
    assert data.development(dataset._replace(validation=own)).test is own


@pytest.mark.long
def test_a_killed_sweep_resumes_bit_for_bit(here, folder):
    words = ["sweep", "line.py", *GROUPS, "--epochs", "4000", "--save-every", "0", "--directory", "out"]
    with subprocess.Popen(
        [sys.executable, "-m", "jaxresearch", *words], stdout=subprocess.DEVNULL, cwd=folder
    ) as first:
        while not list((folder / "out").glob("group-0/checkpoints/*/manifest.json")) and first.poll() is None:
            time.sleep(0.002)
        first.kill()
    assert first.returncode == -signal.SIGKILL
    done, whole = here("resume", "out"), here(*words[:-1], "whole")
    assert done.returncode == whole.returncode == 0, done.stderr + whole.stderr
    for name in ("sweep.csv", "sweep.json", "trials.json"):
        assert (folder / "out" / name).read_text() == (folder / "whole" / name).read_text()

"""``jaxresearch sweep``: its table, its data, and exact resume."""

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest
from rich.console import Console

from jaxresearch import data, statistics, studies
from jaxresearch.cli import display, sweep
from jaxresearch.experiment import Objective
from jaxresearch.reports import plots, wording

WORDS = ["--learning-rate", "0.05:0.2:3", "--batch-size", "16,8", "--seeds", "5,9"]
GROUPS = ["--learning-rate", "1e-2,1e30", "--batch-size", "16,8", "--seeds", "2", "--epochs", "40"]


def rows_of(directory):
    return list(csv.DictReader((directory / "sweep.csv").read_text().splitlines()))


@pytest.mark.long
def test_a_sweep_leaves_a_table_a_plot_and_its_configuration(here, folder):
    done = here("sweep", "line.py", *WORDS, "--directory", "out")
    assert done.returncode == 0, done.stderr
    directory = folder / "out"
    *of_settings, of_baseline = [
        (row["learning_rate"], row["batch_size"], row["baseline"]) for row in rows_of(directory)
    ]
    assert of_settings == [(rate, size, "False") for rate in ("0.05", "0.125", "0.2") for size in ("16", "8")]
    assert of_baseline == ("0.1", "16", "True")
    record = json.loads((directory / "sweep.json").read_text())
    scores = [row["r2"] for row in record["rows"]]
    assert record["best"] == int(np.argmax(scores)) and record["metric"] == "validation/r2"
    assert (directory / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    config = json.loads((directory / "config.json").read_text())
    assert config["axes"] == {"learning_rate": [0.05, 0.125, 0.2], "batch_size": [16, 8]} and config["seeds"] == [5, 9]
    compared = (
        "compared with 2 seeds on 16 selection examples (held out of the training part); the test part was not read"
    )
    assert compared in done.stdout
    assert "group 1 of 2 (--batch-size 16; 4 settings) · epoch 20/20 · train loss" in done.stdout
    assert "group 2 of 2 (--batch-size 8; 3 settings) · epoch 1/20 · train loss" in done.stdout
    assert {path.name for path in directory.iterdir()} == {
        *("config.json", "environment.json", "sweep.json", "sweep.csv", "sweep.png", "trials.json", ".lock", "source")
    }


@pytest.mark.long
def test_the_noise_floor_is_the_baseline_with_other_seeds(here, folder):
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
    baseline, best = record["rows"]
    assert record["plain"] == {name: baseline[name] for name in record["plain"]} and baseline["r2_difference"] is None
    assert record["best"] == 1 and best["r2_difference"] == pytest.approx(
        best["r2"] - baseline["r2"], abs=1e-7
    )  # float32
    noise = record["noise"]
    assert noise["seeds"] == [5, 6, 7, 8, 9] and noise["n_differences"] == 1
    assert noise["difference"] == pytest.approx(again["r2"] - baseline["r2"], abs=1e-7)
    environment = json.loads((folder / "out/environment.json").read_text())
    assert environment["seeds"] == {"settings": [0, 1, 2, 3, 4], "noise floor": [5, 6, 7, 8, 9]}

    floor, gain = statistics.number_text(noise["floor"]), statistics.number_text(best["r2_difference"], is_signed=True)
    assert (
        f"noise floor: {floor} r2; if the settings were equal and varied over seeds as the baseline does, the"
        in done.stdout
    )
    others = f"{again['r2']:.4f} r2, a difference of {noise['difference']:+.4f}"
    assert f"baseline with seeds 5 to 9: {others}\n" in done.stdout
    assert f"best: --learning-rate 0.2, {gain} r2 over the baseline (95 % interval " in done.stdout
    p = statistics.p_text(best["r2_p"])
    verdict = "more than" if best["r2_p"] < 0.05 else "not distinguishable from"
    assert f"paired by seed): {verdict} noise (p {p})\n" in done.stdout
    assert len(re.findall("best +│\n", done.stdout)) == len(re.findall("baseline +│\n", done.stdout)) == 1
    assert "best: no setting is better than the baseline\n" in other.stdout and not re.search("best +│", other.stdout)


def _swept(differences, *, higher=True, **fields):
    """Returns a sweep of settings with these differences from the baseline, 0.5, which is the last row."""
    found = [statistics.Difference(mean, mean - 0.1, mean + 0.1, p=0.01) for mean in differences]
    found.append(statistics.Difference(np.nan, np.nan, np.nan))
    p_values = [0.0147] * len(differences) + [np.nan]
    means = [*(0.5 + mean for mean in differences), 0.5]
    rows = []
    for place, (mean, of_row, p) in enumerate(zip(means, found, p_values, strict=True)):
        row = {**fields, "learning_rate": 0.001 * (place + 1), "r2": mean, "r2_low": mean - 0.1, "r2_high": mean + 0.1}
        known = {} if np.isnan(p) else {"r2_difference": of_row.mean, "r2_p": p}
        rows.append({**row, **known, "n": 5, "diverged": False})
    best = int(np.argmax(means) if higher else np.argmin(means))
    compared = studies.Comparison(tuple(found), tuple(p_values), 0.01, 0.05)
    return sweep.Swept(rows, best, rows[-1], {**rows[-1], "r2": 0.51}, compared)


@pytest.mark.parametrize(
    ("differences", "higher", "best"),
    [
        (
            (0.1, 0.2),
            True,
            "--learning-rate 0.002, +0.2000 r2 over the baseline (95 % interval +0.1000 to +0.3000, paired",
        ),
        ((-0.1, -0.2), True, "no setting is better than the baseline"),
        ((-0.1, -0.2), False, "--learning-rate 0.002, -0.2000 r2 over the baseline"),
        ((0.1, 0.2), False, "no setting is better than the baseline"),
    ],
)
def test_only_settings_that_beat_the_baseline_are_best(differences, higher, best):
    swept, axes, objective = _swept(differences, higher=higher), {"learning_rate": []}, Objective("r2", higher)
    _, rows = sweep._table(Console(width=120), swept, axes, "r2", objective)
    is_better = "no setting" not in best
    assert [row[-1] for row in rows] == ["", "best" if is_better else "", "baseline"]
    assert sweep._best_text(swept, axes, "r2", objective).startswith(best)
    assert sweep._marks(swept, "r2", objective)["best"] == (1 if is_better else None)


@pytest.mark.parametrize(
    ("width", "fields", "left_out"),
    [
        (80, {}, 0),
        (120, {"momentum": 0.9, "hidden": (32,)}, 0),
        (80, {"momentum": 0.9, "hidden": (32,)}, 1),
        (72, {"momentum": 0.9, "hidden": (32,)}, 2),
    ],
)
def test_the_table_breaks_no_cell_at_any_width(width, fields, left_out):
    out = io.StringIO()
    console, axes = Console(width=width, file=out), dict.fromkeys((*fields, "learning_rate"), [])
    table = sweep._table(console, _swept((-0.4, 0.2), **fields), axes, "r2", Objective("r2", True))
    assert len(table[0]) == len(axes) + 5 - left_out
    display.print_table(console, *table)
    rows = [line for line in out.getvalue().splitlines() if line.startswith("│")]
    assert len(rows) == 3 and all(len(line) <= width for line in out.getvalue().splitlines())
    for cells, row in zip(table[1], rows, strict=True):
        assert all(f"│ {cell}" in row for cell in cells)


def test_a_setting_is_compared_with_a_baseline_outside_the_grid():
    swept = _swept((-0.1, -0.2))
    outside = swept._replace(rows=swept.rows[:2], best=0)
    _, rows = sweep._table(Console(width=120), outside, {"learning_rate": []}, "r2", Objective("r2", True))
    assert [row[-1] for row in rows] == ["", "", "baseline"] and rows[-1][1] == "0.5000"
    unknown = swept._replace(baseline=None, again=None, comparison=None, rows=swept.rows[:2], best=0)
    _, rows = sweep._table(Console(width=120), unknown, {"learning_rate": []}, "r2", Objective("r2", True))
    assert [row[-1] for row in rows] == ["best", ""]  # there is nothing to compare it with


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1"], "noise floor: unknown from a single seed\nbaseline with seed 1: "),
        (["--seeds", "2"], "paired by seed): undecided, at least 5 seeds are needed to tell it from noise"),
    ],
)
def test_few_seeds_leave_the_best_undecided(here, words, message):
    done = here("sweep", "line.py", "--learning-rate", "0.2,0.3", "--epochs", "1", *words, "--directory", "out")
    assert done.returncode == 0 and message in done.stdout, done.stdout
    assert re.search(
        r"\nnext, on the test part: jaxresearch run \S+/line\.py --learning-rate 0\.[23] --epochs 1\n", done.stdout
    )


def test_a_smoke_sweep_prints_means_alone(here, folder):
    done = here("sweep", "line.py", "--learning-rate", "0.2,0.3", "--smoke", "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert f"{wording.SMOKE} It uses at most 2 of the seeds.\n" in done.stdout
    assert not re.search("interval|Holm|noise|best|next|over", done.stdout), done.stdout
    rows = rows_of(folder / "out")
    assert [(row["learning_rate"], row["baseline"]) for row in rows] == [
        ("0.2", "False"),
        ("0.3", "False"),
        ("0.1", "True"),
    ]
    assert {row["n"] for row in rows} == {"2"} and rows[2]["r2_difference"] == ""


@pytest.mark.parametrize(
    ("floor", "gain", "verdict"),
    [
        (0.05, 0.2, "more than noise (p 0.0147)"),
        (
            0.25,
            0.2,
            "more than noise by the paired test (p 0.0147), though below the noise floor, which does not pair seeds",
        ),
    ],
)
def test_a_gain_below_the_noise_floor_is_reported_as_such(floor, gain, verdict):
    swept = _swept((gain,))
    swept = swept._replace(comparison=swept.comparison._replace(floor=floor))
    assert sweep._best_text(swept, {"learning_rate": []}, "r2", Objective("r2", True)).endswith(
        f"paired by seed): {verdict}"
    )


@pytest.mark.parametrize("higher", [True, False])
def test_a_tie_up_to_rounding_is_not_best(higher):
    axes, objective, sign = {"learning_rate": []}, Objective("r2", higher), 1 if higher else -1
    tie = sweep._best_text(_swept((sign * 1e-7,), higher=higher), axes, "r2", objective)  # of 0.5, two steps of float32
    assert tie == "no setting is better than the baseline"
    assert "over the baseline" in sweep._best_text(_swept((sign * 1e-6,), higher=higher), axes, "r2", objective)


def test_a_baseline_that_does_not_fit_leaves_the_noise_unknown(here, edit):
    edit("batch_size: int = static(16", "batch_size: int = static(1600")
    done = here("sweep", "line.py", "--batch-size", "8,16", "--epochs", "1", "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert "noise floor: unknown, since the baseline cannot be trained: batch_size must be between" in done.stdout


@pytest.mark.long
def test_settings_may_look_at_validation_data_of_their_own(here, edit, folder):
    edit("    return training.supervised(", "    made = training.supervised(")
    edit(
        "mean_squared_error()},\n    )",
        'mean_squared_error()},\n    )\n    return algorithms.stopped(made, metric="mse", patience=2)',
    )
    done = here("sweep", "line.py", "--learning-rate", "0.1,0.3", "--validation", "0.25", "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert "on 16 selection examples" in done.stdout and "validation mse" in done.stdout


@pytest.fixture
def whole(here, folder):
    """An uninterrupted sweep of two groups; one of its rates diverges."""
    done = here("sweep", "line.py", *GROUPS, "--directory", "whole")
    assert done.returncode == 0, done.stderr
    assert [row["diverged"] for row in rows_of(folder / "whole")] == ["False", "False", "True", "True", "False"]
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
        and "holds another sweep; these settings differ: --epochs (40 on record, 3 now" in other.stderr
    )


def test_a_plot_that_fails_costs_no_numbers(here, folder):
    with mock.patch.object(plots, "plot_sweep", side_effect=RuntimeError("no fonts")):
        with pytest.warns(UserWarning, match="the plot of the sweep failed: no fonts"):
            done = here("sweep", "line.py", "--learning-rate", "0.1,0.2", "--smoke", "--directory", "out")
    assert done.returncode == 0 and "selection r2" in done.stdout and len(rows_of(folder / "out")) == 2


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

"""``jaxresearch compare``: real directories, and values checked by hand."""

import functools
import json
import shutil

import numpy as np
import pytest

from jaxresearch import statistics


@pytest.fixture(scope="module")
def compare(command):
    return functools.partial(command, "compare")


@pytest.fixture(scope="module")
def runs(command, tmp_path_factory):
    """Two runs of the house prices with different rates and numbers of seeds."""
    made = []
    for n_seeds, rate in ((3, "0.1"), (4, "0.01")):
        made.append(tmp_path_factory.mktemp("compare") / f"run-{rate}")
        words = ["--seeds", str(n_seeds), "--learning-rate", rate, "--epochs", "20", "--directory", str(made[-1])]
        done = command("run", "house_prices", *words)
        assert done.returncode == 0, done.stderr
    return made


@pytest.mark.long
def test_runs_are_compared_in_pairs_of_the_same_seed(compare, runs):
    done = compare(*runs)
    assert done.returncode == 0, done.stderr
    values = [json.loads((run / "result.json").read_text())["metrics"]["test/r2"]["values"] for run in runs]
    difference = np.mean(np.subtract(values[1][:3], values[0]))
    of_metric = done.stdout[done.stdout.index("test/r2") :]
    (row,) = [line for line in of_metric.splitlines() if f"{difference:+.4f}" in line]
    assert "(3 of 4 seeds)" in row  # the fourth seed has no partner
    assert "settings that differ" in done.stdout and "learning_rate" in done.stdout


@pytest.mark.long
def test_seeds_of_several_runs_are_pooled(command, compare, tmp_path):
    words = ["--learning-rate", "0.1", "--epochs", "20", "--directory"]
    for name, seeds in (("all", "4"), ("a", "0,1"), ("b", "2,3")):
        assert command("run", "house_prices", "--seeds", seeds, *words, tmp_path / name).returncode == 0
    done = compare(tmp_path / "a", tmp_path / "b", "--page", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    whole = json.loads((tmp_path / "all/result.json").read_text())["metrics"]["test/r2"]
    of_metric = done.stdout[done.stdout.index("test/r2") :]
    (row,) = [line for line in of_metric.splitlines() if "│ 4 " in line][:1]
    low, high = (statistics.number_text(end) for end in whole["intervals"]["seeds and examples"])
    assert statistics.number_text(whole["mean"]) in row and f"{low} to {high}" in row
    assert "settings that differ" not in done.stdout


def test_nothing_is_cut_off_on_a_narrow_screen(compare, runs):
    wide, narrow = compare(*runs, COLUMNS="400").stdout, compare(*runs, COLUMNS="60").stdout
    assert "…" not in narrow and max(map(len, narrow.splitlines())) <= 60
    words = [{word.strip(",:") for word in text.split() if word[0] not in "│┃┏┡├└"} for text in (wide, narrow)]
    assert words[0] <= words[1]  # each of them uncut


def test_seeds_are_paired_by_their_number(compare, runs, tmp_path):
    copy = shutil.copytree(runs[1], tmp_path / "later")
    result = json.loads((runs[1] / "result.json").read_text())
    (copy / "result.json").write_text(json.dumps({**result, "seeds": [2, 3, 4, 5]}))
    done = compare(runs[0], copy)
    assert done.returncode == 0 and "(1 of 4" in done.stdout and "single seed" in done.stdout
    (copy / "result.json").write_text(json.dumps({**result, "seeds": [7, 8, 9, 10]}))
    assert "no seed in common" in compare(runs[0], copy).stdout


def test_what_cannot_be_compared_is_refused_in_one_line(compare, runs, tmp_path):
    other = shutil.copytree(runs[1], tmp_path / "other")
    config = json.loads((runs[1] / "config.json").read_text())
    config["data_card"]["sha256"] = [["ames.csv", "12"]]
    (other / "config.json").write_text(json.dumps(config))
    target = shutil.copytree(runs[1], tmp_path / "target")
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, "target": "Lot_Area"}))
    for directories, message in (
        (runs[:1], "compare needs two or more different directories"),
        ([runs[0], runs[0]], "compare needs two or more different directories, got"),
        ([runs[0], tmp_path], "directory must hold a finished run"),
        ([runs[0], other], "runs must be of the same data"),
        ([runs[0], target], "which differ in target"),
        ([*runs, "--page"], "--page must name a file"),
        ([*runs, "--pages", "x.html"], "compare has no option --pages, only --page FILE and --margin X. Leave it out."),
        ([*runs, "--page", tmp_path / "none" / "x.html"], "--page must name a file in an existing folder, got"),
    ):
        done = compare(*directories)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr

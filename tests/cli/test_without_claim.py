"""Experiments without a claim: everything is reported, nothing is decided."""

import json

import pytest

CLAIM = 'claim=Claim(text="R2 of 0.9", metric="test/r2", about="these examples", at_least=0.9),'


def read(path):
    return json.loads(path.read_text())


@pytest.fixture
def explored(edit, folder):
    """Replaces the claim of the experiment."""
    return lambda instead="": edit(CLAIM, instead)


def test_a_run_reports_what_it_measured(here, explored, folder):
    explored()
    done = here("run", "line.py", "--seeds", "5", "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert "\nNo claim is declared, so nothing is decided.\n" in done.stdout and "Is it a line?" in done.stdout
    result = read(folder / "out" / "result.json")
    assert result["claim"] is None and result["unclaimed"] is None
    r2 = result["metrics"]["test/r2"]
    assert r2["ci95"] == r2["intervals"]["seeds and examples"]
    (folder / "out" / "result.json").unlink()
    assert here("resume", "out").returncode == 0
    assert read(folder / "out" / "result.json")["metrics"] == result["metrics"]
    assert here("report", "out").returncode == 0
    page = (folder / "out" / "report.html").read_text()
    assert "Is it a line?" in page and 'class="verdict' not in page and "No claim is declared" in page
    assert here("run", "line.py", "--seeds", "5", "--epochs", "5", "--directory", "other").returncode == 0
    compared = here("compare", "out", "other")
    assert compared.returncode == 0 and "test/r2" in compared.stdout, compared.stderr


@pytest.mark.parametrize(
    ("instead", "best"),
    [
        ("maximise='r2',", "best: --learning-rate 0.2"),
        ("minimise='mse',", "best: --learning-rate 0.2"),
        ("minimise='r2',", "best: --learning-rate 0.001"),
        ("", "best: not chosen, since the experiment declares no claim, maximise or minimise"),
    ],
)
def test_a_sweep_compares_by_what_is_declared(here, explored, instead, best):
    explored(instead)
    done = here("sweep", "line.py", "--learning-rate", "0.001,0.2", "--seeds", "2")
    assert done.returncode == 0 and best in done.stdout, done.stdout + done.stderr


def test_a_study_adjusts_what_it_is_to_minimise(here, explored, folder):
    explored("minimise='mse',")
    done = here(
        "study", "line.py", "--seeds", "2", "--fresh-seeds", "5", "--learning-rate", "0.001", "--directory", "out"
    )
    assert done.returncode == 0, done.stderr
    result, story = read(folder / "out" / "result.json"), (folder / "out" / "study.md").read_text()
    assert (
        result["claim"] is None and result["compared_by"] == "mse" and result["hyperparameters"]["learning_rate"] > 0.01
    )
    assert result["gain"]["metric"] == "test/mse" and result["gain"]["mean"] < 0
    assert "No claim: settings were compared by mse." in story and "supported the claim" not in story
    assert here("report", "out").returncode == 0
    assert "selection mse" in (folder / "out" / "report.html").read_text()


def test_a_study_needs_something_to_compare_by(here, explored, refused):
    explored()
    refused(
        here("study", "line.py"),
        "experiment must declare a claim, maximise or minimise to compare settings by, got none. Write: maximise=",
    )


@pytest.mark.parametrize("words", [["run"], ["sweep", "--learning-rate", "0.1,0.2"], ["study"]])
def test_a_misspelt_metric_to_compare_by_is_one_line(here, explored, refused, words):
    explored("maximise='accuracy',")
    refused(
        here(words[0], "line.py", *words[1:]), "maximise must name a scalar metric (mse, r2), got 'accuracy'. Write in"
    )


def test_a_claim_and_a_metric_to_maximise_exclude_each_other(here, explored, refused):
    explored(f"{CLAIM} maximise='r2',")
    refused(
        here("run", "line.py"),
        "experiment must have at most one of claim, maximise and minimise, got claim and maximise.",
    )


def test_on_other_data_neither_question_nor_claim_is_shown(here, folder):
    (folder / "other.csv").write_text((folder / "line.csv").read_text())
    words = ["--data", "other.csv", "--seeds", "2", "--fresh-seeds", "5"]
    done = here("study", "line.py", *words, "--directory", "out")
    assert done.returncode == 0, done.stderr
    result, story = read(folder / "out" / "result.json"), (folder / "out" / "study.md").read_text()
    line = 'The claim "R2 of 0.9" is about line.csv, not other.csv, so it is not decided here.'
    assert result["claim"] is None and result["unclaimed"] == line and line in done.stdout and line in story
    assert result["question"] == "line on other.csv" and "Is it a line?" not in done.stdout + story
    assert result["compared_by"] == "r2"  # settings are still compared by the claim's metric
    assert here("report", "out").returncode == 0
    page = (folder / "out" / "report.html").read_text()
    assert "is about line.csv" in page and "Is it a line?" not in page

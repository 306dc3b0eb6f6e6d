"""``jaxresearch study``: real processes, real files, an interruption."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxresearch.records import RunDirectory

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """An experiment file of a user's own: the main job, with a short study of its own."""
    path = tmp_path_factory.mktemp("own") / "own.py"
    text = (ROOT / "experiments" / "mnist.py").read_text()
    start, end = text.index("    adjust=adjust.grid("), text.rindex(")\n")
    path.write_text(
        text[:start] + "    adjust=adjust.grid(learning_rate=[2e-3, 1e30], hidden=[(8,), (4,)]),\n" + text[end:]
    )
    return path


SHORT = ["--epochs", "1", "--batch-size", "512"]


@pytest.fixture(scope="module")
def study(jaxresearch):
    return lambda path, *words: jaxresearch("study", path, *SHORT, *words)


def _has_round(directory):
    """Returns whether a round of a study is on record, and not its trials alone."""
    file = directory / "study.json"
    return file.exists() and bool(json.loads(file.read_text())["rounds"])


@pytest.mark.long
@pytest.mark.parametrize("signalled", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_study_is_told_recorded_and_gone_on_with_after_an_interruption(
    jaxresearch, study, house, tmp_path, signalled
):
    directory = tmp_path / "study"
    words = ["--seeds", "2", "--fresh-seeds", "5", "--rounds", "4", "--directory", str(directory)]
    command = [sys.executable, "-m", "jaxresearch", "study", str(house), *SHORT, *words]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 240
    while not _has_round(directory) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signalled)  # after the first round
    _, complaint = first.communicate()
    assert first.returncode == 75, complaint
    before = json.loads((directory / "study.json").read_text())
    assert not (directory / "result.json").exists()
    # A figure that no training gives: it is there at the end only if the round was not made again.
    before["rounds"][0]["trials"][0]["metrics"]["accuracy"] = [0.123, 0.125]
    (directory / "study.json").write_text(json.dumps(before))
    told = complaint.partition("go on with: ")[2].split()
    assert told[:2] == ["jaxresearch", "resume"]
    done = jaxresearch(*told[1:])
    assert done.returncode == 2 and "study.json must have the SHA-256 that it holds; it was altered" in done.stderr

    again = RunDirectory.again(directory)
    again.write_sealed("study.json", {name: value for name, value in before.items() if name != "sha256"})
    again.close()
    done = jaxresearch(*told[1:])
    assert done.returncode == 0, done.stderr
    after = json.loads((directory / "study.json").read_text())
    metrics = after["rounds"][0]["trials"][0]["metrics"]
    assert metrics == before["rounds"][0]["trials"][0]["metrics"] and len(after["rounds"]) == 2
    config = json.loads((directory / "config.json").read_text())
    assert config["study"] == {"rounds": 4, "seconds": 3600.0, "seeds": 2, "fresh_seeds": 5}
    assert len(json.loads((directory / "environment.json").read_text())["resumed"]) == 2  # the refused one too
    diverged = [trial["diverged"] for trial in after["rounds"][1]["trials"]]
    assert diverged == [False, False, True, True]
    result = json.loads((directory / "result.json").read_text())
    assert result["n_seeds"] == 5 and result["seeds"] == [2, 3, 4, 5, 6] and result["experiment"] == "own"
    assert len(result["metrics"]["test/accuracy"]["values"]) == 5
    story = (directory / "study.md").read_text()
    assert "Verdict: **refuted**" in story and "| 2 | a grid over learning_rate and hidden: 4, 2 diverged |" in story
    assert any((directory / "checkpoints").iterdir())

    ended = study(house, *words)
    assert ended.returncode == 2 and "has ended" in ended.stderr


@pytest.mark.long
def test_what_was_chosen_stays_chosen_once_the_test_part_may_have_been_read(study, house, tmp_path):
    own, directory = tmp_path / "own.py", tmp_path / "study"
    own.write_text(house.read_text().replace("hidden=[(8,), (4,)]", "hidden=[(8,)]"))
    words = ["--seeds", "2", "--fresh-seeds", "5", "--directory", str(directory)]
    done = study(own, *words, "--rounds", "2")
    assert done.returncode == 0, done.stderr
    for told in ("round 1 · epoch 1/1 · train ", "round 2 · epoch", "the chosen settings · epoch"):
        assert told in done.stdout
    story, result = ((directory / name).read_text() for name in ("study.md", "result.json"))
    again = next(line for line in story.splitlines() if line.startswith("Again"))
    assert "--epochs 1" in again and "--batch-size 512" in again  # given here, not in the file
    (directory / "result.json").unlink()  # as if the process had died before it was written

    own.write_text(own.read_text().replace("learning_rate=[2e-3, 1e30]", "learning_rate=[4e-3]"))  # another adjust
    done = study(own, *words, "--rounds", "9")
    assert done.returncode == 0, done.stderr
    assert (directory / "study.md").read_text() == story
    figures = [json.loads(text)["metrics"] for text in (result, (directory / "result.json").read_text())]
    assert figures[0] == figures[1]

    (directory / "result.json").unlink()
    own.write_text(own.read_text().replace("eps_root=1e-24", "eps_root=1e-20"))  # another program
    done = study(own, *words)
    assert done.returncode == 2 and "experiment must be as it was when the search" in done.stderr
    assert "Traceback" not in done.stderr and not (directory / "result.json").exists()


@pytest.mark.long
def test_the_story_tells_how_many_examples_it_is_about(jaxresearch, tmp_path):
    words = "--rounds 1 --seeds 2 --fresh-seeds 2 --epochs 5 --train-examples 1234 --directory".split()
    done = jaxresearch("study", "house_prices", *words, tmp_path / "study")
    assert done.returncode == 0, done.stderr
    story = (tmp_path / "study" / "study.md").read_text()
    assert "trained anew on 1,234 training examples" in story and "all training data" not in story
    again = next(line for line in story.splitlines() if line.startswith("Again"))
    assert "--train-examples 1234" in again


def test_a_signal_before_anything_is_recorded_leaves_no_directory(house, tmp_path):
    directory = tmp_path / "own" / "study"
    command = [sys.executable, "-m", "jaxresearch", "study", str(house), *SHORT, "--directory", str(directory)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 240
    while not (directory / "environment.json").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    first.send_signal(signal.SIGTERM)  # in the first round, or before it
    _, complaint = first.communicate()
    assert first.returncode == 75 and complaint == "jaxresearch: interrupted before anything was recorded\n"
    assert not list(tmp_path.iterdir())


def test_help_shows_the_options_that_a_study_has(study, house):
    done = study(house, "--help")
    assert done.returncode == 0 and done.stderr == ""
    for option in ("--rounds INT", "--seconds FLOAT", "--seeds INT", "--fresh-seeds INT", "--data", "--learning-rate"):
        assert option in done.stdout
    for option in ("--smoke", "--save-every", "--on-nonfinite", "--track"):
        assert option not in done.stdout


def test_a_directory_of_another_study_is_refused(study, house, tmp_path):
    directory = tmp_path / "study"
    directory.mkdir()
    (directory / "config.json").write_text('{"experiment": "other"}')
    done = study(house, "--directory", str(directory))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "must be that of a study of" in done.stderr and "it is that of a run of other. Name another" in done.stderr


def test_an_experiment_without_adjust_cannot_be_studied(study, house, tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(re.sub(r"    adjust=adjust.grid.*\n", "", house.read_text()))
    done = study(path, "--directory", str(tmp_path / "study"))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and not (tmp_path / "study").exists()
    assert f"experiment must declare adjust to be studied; {path} does not. Write: adjust=" in done.stderr


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("mnist", ["--batch-size", "55000"], "batch_size must be from 1 to the number of examples, 54000; got 55000"),
        ("mnist", ["--rounds", "many"], "Error parsing --rounds"),
        ("mnist", ["--rounds", "--seeds", "3"], "Missing value for argument '--rounds'"),
        ("mnist", ["--rounds", "0"], "rounds must be positive; got 0"),
        ("mnist", ["--seconds", "inf"], "seconds must be finite; got inf"),
        ("mnist", ["--smoke"], "option must be one that study has; got --smoke"),
        ("mnist", ["--round", "3"], "option must be one of the experiment's; got --round"),
    ],
)
def test_a_mistake_is_told_in_one_line(jaxresearch, name, words, message, tmp_path):
    done = jaxresearch("study", name, *words, "--directory", tmp_path / "study")
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "study").exists()

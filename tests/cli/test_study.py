"""``jaxresearch study``: its record, its ``study.md``, an interruption, and settings that stay chosen."""

import json
import shlex
import signal
import subprocess
import sys
import time

import pytest

from jaxresearch.records import RunDirectory

SHORT = ["--seeds", "2", "--fresh-seeds", "5", "--rounds", "4"]
NOTICE = (
    "jaxresearch: interrupted: finishing the current steps, then saving; a second signal ends now, and resumes from what is "
    "recorded\n"
)


@pytest.fixture(autouse=True)
def hard(edit):
    """Changes the claim to one that no setting supports, and gives the grid a setting that diverges."""
    edit("at_least=0.9", "at_least=0.99")
    edit("adjust.grid(learning_rate=[0.05, 0.2])", "adjust.grid(learning_rate=[0.05, 1e30], degree=[1, 2])")


def read(path):
    return json.loads(path.read_text())


def _has_round(directory):
    """Returns whether a round of a study is recorded, rather than its trials alone."""
    file = directory / "study.json"
    return file.exists() and bool(read(file)["rounds"])


def interrupted(folder, until, signalled, *words):
    """Starts a study, sends it a signal once the condition holds, and returns its exit code and message."""
    command = [sys.executable, "-m", "jaxresearch", "study", "line.py", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as first:
        deadline = time.monotonic() + 120
        while not until() and time.monotonic() < deadline and first.poll() is None:
            time.sleep(0.002)
        first.send_signal(signalled)
        _, complaint = first.communicate()
    return first.returncode, complaint


@pytest.mark.long
@pytest.mark.parametrize("signalled", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_study_is_recorded_and_resumed_after_an_interruption(here, folder, signalled):
    directory = folder / "out"
    words = [*SHORT, "--epochs", "400", "--directory", "out"]
    code, complaint = interrupted(folder, lambda: _has_round(directory), signalled, *words)
    assert code == 75 and complaint == f"{NOTICE}jaxresearch: interrupted; resume with: jaxresearch resume out\n"
    before = read(directory / "study.json")
    assert not (directory / "result.json").exists()
    # A value that no training gives: it remains only if the round was not rerun.
    before["rounds"][0]["trials"][0]["metrics"]["r2"] = [0.123, 0.125]
    (directory / "study.json").write_text(json.dumps(before))
    done = here("resume", "out")
    assert done.returncode == 1 and "study.json was altered: its SHA-256 does not match. Restore it" in done.stderr

    with RunDirectory.again(directory) as again:
        again.write_checksummed("study.json", {name: value for name, value in before.items() if name != "sha256"})
    done = here("resume", "out")
    assert done.returncode == 0, done.stderr
    after = read(directory / "study.json")
    assert after["rounds"][0]["trials"][0]["metrics"] == before["rounds"][0]["trials"][0]["metrics"]
    assert len(after["rounds"]) == 2
    config = read(directory / "config.json")
    assert config["study"] == {"rounds": 4, "seconds": 3600.0, "seeds": [0, 1], "fresh_seeds": [2, 3, 4, 5, 6]}
    assert len(read(directory / "environment.json")["resumed"]) == 2  # including the refused one
    # Settings that differ only in a field that the program does not read are trained once.
    assert [trial["diverged"] for trial in after["rounds"][1]["trials"]] == [False, False, True, True]
    result = read(directory / "result.json")
    named = {"search": [0, 1], "confirmation": [*range(7, 17)], "result": result["seeds"]}
    assert read(directory / "environment.json")["seeds"] == named and "The search ended because" in done.stdout
    assert result["seeds"] == [2, 3, 4, 5, 6] and result["experiment"] == "line"
    assert len(result["metrics"]["test/r2"]["values"]) == 5
    story = (directory / "study.md").read_text()
    assert (
        "with 5 fresh seeds (2 to 6)" in story
        and "Verdict: **refuted**" in story
        and "| 2 | a grid over learning_rate and degree (4 settings, 2 diverged) |" in story
    )
    assert (directory / "checkpoints" / "4000").is_dir()

    ended = here("study", "line.py", *words)
    assert (
        ended.returncode == 2
        and "the study in out has ended: there is nothing left to resume. Read it with jaxresearch report out"
        in ended.stderr
    )


@pytest.mark.long
def test_the_final_training_is_resumed_from_its_own_state(here, interrupted_here, folder):
    words = ["study", "line.py", *SHORT, "--epochs", "20", "--directory", "out"]
    n_chunks = 20 + 20 + 7  # of the baseline, of the grid (degree is not read by the program), of the final training
    done = interrupted_here(n_chunks, *words)
    assert done.returncode == 75, done.stderr
    assert done.stderr == "jaxresearch: interrupted; saved at step 80; resume with: jaxresearch resume out\n"
    done = here("resume", "out")
    assert done.returncode == 0 and read(folder / "out" / "result.json")["resumed_from"] == 80, done.stderr
    assert "round 1" not in done.stdout  # no further adjustment
    whole = here(*words[:-1], "whole")
    assert whole.returncode == 0, whole.stderr
    assert read(folder / "whole" / "result.json")["metrics"] == read(folder / "out" / "result.json")["metrics"]


@pytest.mark.long
def test_chosen_settings_stay_once_the_test_part_may_be_read(here, edit, folder):
    words = [*SHORT, "--epochs", "5", "--directory", "out"]
    done = here("study", "line.py", *words)
    assert done.returncode == 0, done.stderr
    for text in ("round 1 · epoch 1/5 · train ", "round 2 · epoch", "the chosen settings · epoch"):
        assert text in done.stdout
    story, result = (folder / "out" / "study.md").read_text(), read(folder / "out" / "result.json")
    (folder / "out" / "result.json").unlink()  # as if the process had died before it was written

    edit("learning_rate=[0.05, 1e30]", "learning_rate=[0.07]")  # a different adjust
    done = here("study", "line.py", *words, "--rounds", "9")
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "study.md").read_text() == story
    assert read(folder / "out" / "result.json")["metrics"] == result["metrics"]

    (folder / "out" / "result.json").unlink()
    edit("gradient_descent(h.learning_rate)", "gradient_descent(2 * h.learning_rate)")  # a different program
    done = here("study", "line.py", *words)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "the program of the experiment has changed since the search in out ended" in done.stderr
    assert not (folder / "out" / "result.json").exists()


@pytest.mark.long
def test_the_story_names_its_data_and_a_reproducing_command(here, folder):
    words = ["--rounds", "1", "--seeds", "2", "--fresh-seeds", "8,9", "--train-examples", "123", "--validation", "0.2"]
    done = here("study", "line.py", *words, "--epochs", "5", "--directory", "out")
    assert done.returncode == 0, done.stderr
    story, result = (folder / "out" / "study.md").read_text(), read(folder / "out" / "result.json")
    assert "trained on 123 training examples" in story and "all training data" not in story
    assert "with 2 fresh seeds (8, 9)" in story and "The search ended because the budget of 1 round was spent." in story
    (line,) = [line for line in story.splitlines() if line.startswith("To reproduce")]
    again = here(*shlex.split(line.partition("`jaxresearch ")[2].rstrip("`")), "--directory", "again")
    assert again.returncode == 0, again.stderr
    # The run splits off its validation part before preprocessing, the study afterwards, so the scales of the data differ.
    assert read(folder / "again" / "result.json")["seeds"] == result["seeds"] == [8, 9]
    seen = [json.loads(text) for text in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
    assert sum("validation/r2" in line for line in seen) == 5


def test_a_signal_before_the_first_record_leaves_no_directory(folder):
    words = ["--epochs", "4000", "--directory", "mine/out"]
    until = (folder / "mine" / "out" / "environment.json").exists
    code, complaint = interrupted(folder, until, signal.SIGTERM, *words)  # in the first round, or before it
    notice = "jaxresearch: interrupted: finishing the current steps, then saving; a second signal ends now, and resumes from "
    last = "jaxresearch: interrupted before anything was recorded\n"
    assert code == 75 and complaint in (last, f"{notice}what is recorded\n{last}", f"{notice}the start\n{last}")
    assert not (folder / "mine").exists()


def test_help_shows_the_options_that_a_study_has(here):
    done = here("study", "line.py", "--help")
    assert done.returncode == 0 and done.stderr == ""
    for option in ("--rounds INT", "--seconds FLOAT", "--seeds N|A,B,C", "--fresh-seeds N|A,B,C", "--learning-rate"):
        assert option in done.stdout
    for option in ("--smoke", "--on-nonfinite", "--track"):
        assert option not in done.stdout


def test_a_directory_of_something_else_is_refused(here, folder):
    (folder / "out").mkdir()
    (folder / "out" / "config.json").write_text('{"experiment": "other"}')
    done = here("study", "line.py", "--directory", "out")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    asked = folder / "line.py"
    assert f"directory out holds a run of other, not a study of {asked}. Name another with --directory." in done.stderr

"""``jaxresearch predict``: new rows in, a table or arrays out, from the directory of a run whose data have been deleted."""

import contextlib
import csv
import io
import json
import os
import re
import shutil

import numpy as np
import pytest

from jaxresearch import records

pytestmark = pytest.mark.long


@pytest.fixture
def trained(here, folder):
    """A folder with a run of the line experiment, whose data are replaced by new rows."""
    done = here("run", "line.py", "--seeds", "3", "--directory", "run")
    assert done.returncode == 0, done.stderr
    (folder / "line.csv").unlink()
    (folder / "new.csv").write_text("id,x\na,0.5\nb,-1\n")
    return folder


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_predictions_go_where_they_are_asked_for(here, trained):
    with contextlib.chdir(trained):  # the experiment's file is a relative path
        expected = records.read_run("run").predict("new.csv")
    done = here("predict", "run", "new.csv")
    assert done.returncode == 0 and not done.stderr, done.stderr
    rows = rows_of(done.stdout)
    assert [[*row] for row in rows] == [["id", "prediction y", "spread y"]] * 2 and [row["id"] for row in rows] == [
        "a",
        "b",
    ]
    assert [row["prediction y"] for row in rows] == [f"{value:.6g}" for value in expected.ensemble[:, 0]]
    assert [row["spread y"] for row in rows] == [f"{value:.6g}" for value in expected.spread[:, 0]]
    for ending in ("csv", "npz", "npy"):
        done = here("predict", "run", "new.csv", "--output", f"out.{ending}")
        assert done.returncode == 0 and done.stdout == f"predictions: out.{ending}\n"
    assert rows_of((trained / "out.csv").read_text()) == rows
    np.testing.assert_array_equal(np.load(trained / "out.npy"), expected.ensemble)
    with np.load(trained / "out.npz", allow_pickle=False) as arrays:
        assert arrays["id"].tolist() == ["a", "b"] and arrays["seeds"].tolist() == [0, 1, 2]
        np.testing.assert_array_equal(arrays["values_by_seed"], expected.by_seed)


def test_scores_are_printed_beside_the_predictions(here, trained):
    (trained / "new.csv").write_text("y,x\n2,0.5\n-2.5,-1\n0,\n")
    done = here("predict", "run", "new.csv", "--seeds", "0,2")
    assert len(rows_of(done.stdout)) == 3
    note, *scores = done.stderr.splitlines()
    assert note == "column x has 1 cell empty, but had none in training"
    assert [line.split(":")[0] for line in scores] == ["r2", "mean_absolute_error", "root_mean_squared_error"]
    pattern = r"\w+: -?[\d.]+ \(ensemble of 2\); single seeds: mean -?[\d.]+, range -?[\d.]+ to -?[\d.]+"
    assert all(re.fullmatch(pattern, line) for line in scores)
    assert [row["notes"] for row in rows_of(done.stdout)] == ["", "", "x is missing"]
    *_, last = here("predict", "run", "new.csv", "--seeds", "2").stderr.splitlines()
    assert last == "the spread over seeds is undefined, since only seed 2 predicts"


def test_types_of_the_experiment_hold_in_every_command(here, folder, edit):
    edit('target="y"', 'target="y", types={"z": "drop", "x": "category"}')
    rows = (folder / "line.csv").read_text().splitlines()
    (folder / "line.csv").write_text("\n".join(["z," + rows[0], *(f"{i % 3},{row}" for i, row in enumerate(rows[1:]))]))
    done = here("run", "line.py", "--types", "x=number", "--seeds", "2", "--directory", "run")
    assert done.returncode == 0 and "column z is left out: its type is drop" in done.stdout, done.stderr
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["types"] == [["z", "drop"], ["x", "number"]] and len(config["data_card"]["columns"]) == 1
    assert here("verify", "run", "--replay", "5").returncode == 0
    (folder / "run" / "result.json").unlink()
    assert here("resume", "run").returncode == 0
    (folder / "new.csv").write_text("x\n0.5\n")
    assert here("predict", "run", "new.csv").returncode == 0


MISTAKES = {
    "no data": (["run"], "predict needs a directory and data, got run. Write: jaxresearch predict DIR DATA"),
    "a wrong file": (["run", "nwe.csv"], "data must be a file that exists, got nwe.csv. Did you mean 'new.csv'?"),
    "a wrong run": (["rnu", "new.csv"], "rnu does not exist. Did you mean 'run'?"),
    "no run": (["nowhere", "new.csv"], "nowhere does not exist. Correct the path."),
    "no file": (["run", "no.csv"], "data must be a file that exists, got no.csv. Correct the path."),
    "another kind": (
        ["run", "line.py"],
        "data must be a table (.csv, .tsv, .xlsx or .parquet, packed (.gz, .xz) or not), .npz",
    ),
    "another column": (
        ["run", "other.csv"],
        "other.csv must have the columns that the model was trained on, got no 'x'.",
    ),
    "an ending": (
        ["run", "new.csv", "--output", "a.txt"],
        "--output must end in .csv, .npz, .npy, got a.txt. Write: --output",
    ),
    "a folder": (
        ["run", "new.csv", "--output", "no/a.csv"],
        "--output must name a file in an existing folder, got no/a.csv.",
    ),
    "an option": (
        ["run", "new.csv", "--out", "a.csv"],
        "predict has no option --out, only --output FILE, --seeds A,B,",
    ),
    "twice": (["run", "new.csv", "--seeds", "0,", "--seeds=1,"], "--seeds must be given once, got it 2 times."),
    "a seed": (["run", "new.csv", "--seeds", "0,7"], "seeds must be among 0, 1, 2, got 7. Leave the others out."),
    "no seeds": (
        ["run", "new.csv", "--seeds", "all"],
        "--seeds must be a list of seeds A,B, got all. Write: --seeds 0,2",
    ),
    "a name": (
        ["run", "taken.csv"],
        "columns of the data must not have the names of predictions, got 'spread y'. Rename it.",
    ),
    "a key in vain": (["run", "new.csv", "--encrypt-with", "key"], "is not encrypted. Leave --encrypt-with out."),
}


def test_a_mistake_is_one_line_and_leaves_nothing(here, trained, refused):
    (trained / "other.csv").write_text("z\n1\n")
    (trained / "taken.csv").write_text("x,spread y\n1,2\n")
    (trained / "key").write_bytes(bytes(32))
    kept = {path.name for path in trained.iterdir()} - {"__pycache__"}
    for words, message in MISTAKES.values():
        refused(here("predict", *words), message, kept)


def test_an_encrypted_run_takes_its_recorded_key_or_another(here, folder, refused):
    (folder / "key").write_bytes(os.urandom(32))
    done = here("run", "line.py", "--seeds", "1", "--encrypt-with", "key", "--directory", "run")
    assert done.returncode == 0, done.stderr
    (folder / "new.csv").write_text("x\n0.5\n")
    whole = here("predict", "run", "new.csv")
    assert whole.returncode == 0 and rows_of(whole.stdout)[0]["spread y"] == ""
    (folder / "key").rename(folder / "moved")
    assert here("predict", "run", "new.csv", "--encrypt-with", "moved").stdout == whole.stdout
    kept = ("line.py", "line.csv", "new.csv", "moved", "run")
    refused(
        here("predict", "run", "new.csv"), f"encrypt_with must name a readable key file, got {folder / 'key'}", kept
    )


def test_an_unfinished_run_predicts_from_its_newest_checkpoint(interrupted_here, here, folder, refused):
    done = interrupted_here(3, "run", "line.py", "--seeds", "2", "--directory", "run")
    assert done.returncode == 75, done.stderr
    (folder / "new.csv").write_text("x\n0.5\n")
    message = (
        "the run in run must have ended, got an unfinished one. Resume it: jaxresearch resume run, or use its newest"
    )
    refused(here("predict", "run", "new.csv"), message, ("line.py", "line.csv", "new.csv", "run"))
    done = here("predict", "run", "new.csv", "--unfinished")
    assert done.returncode == 0 and len(rows_of(done.stdout)) == 1
    assert "the models are from step " in done.stderr and "of an unfinished run" in done.stderr


def test_a_study_predicts_with_the_settings_that_it_chose(here, folder):
    done = here("study", "line.py", "--seeds", "2", "--fresh-seeds", "2", "--directory", "study")
    assert done.returncode == 0, done.stderr
    (folder / "line.csv").unlink()
    result = json.loads((folder / "study" / "result.json").read_text())
    (folder / "new.csv").write_text("x\n0.5\n")
    with contextlib.chdir(folder):
        run = records.read_run("study")
        made = run.predict("new.csv")
    assert (
        made.seeds == (2, 3) and run.model.hyperparameters.learning_rate == result["hyperparameters"]["learning_rate"]
    )
    assert made.ensemble[0, 0] == pytest.approx(2.0, abs=0.1)  # 3 x + 0.5, with noise of 0.3 on 200 rows


def test_a_sweep_and_an_experiment_of_the_directory_are_refused(here, trained, refused):
    done = here("predict", "run", "new.csv")
    assert done.returncode == 0
    shutil.copy(trained / "line.py", trained / "run" / "line.py")
    config = json.loads((trained / "run" / "config.json").read_text())
    (trained / "run" / "config.json").write_text(json.dumps({**config, "experiment": "run/line.py"}))
    kept = ("line.py", "new.csv", "run")
    refused(
        here("predict", "run", "new.csv"), "experiment must not be inside the run directory, got run/line.py.", kept
    )
    (trained / "run" / "config.json").write_text(json.dumps({**config, "axes": {}}))
    refused(here("predict", "run", "new.csv"), "got the sweep run, which keeps no models. Run the best settings.", kept)

"""The diagnosis of breast masses: penalised logistic regression as in scikit-learn, and tables that cannot be used."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxresearch import data, experiment, loading

DIAGNOSIS = loading.load("diagnosis", directory=Path(__file__).parents[2] / "experiments")


@pytest.mark.long
def test_the_model_equals_that_of_scikit_learn():
    dataset = DIAGNOSIS.prepare(data.fold(DIAGNOSIS.collect("wdbc"), 3, n_folds=10))
    program, h = experiment.program(DIAGNOSIS, dataset), DIAGNOSIS.hyperparameters
    state, _ = jax.jit(program.run)(jax.random.key(0), h, dataset.train)
    layer = state.params["Dense_0"]
    inputs, targets = dataset.train["inputs"], dataset.train["targets"]
    peer = LogisticRegression(C=1 / (h.penalty * len(targets)), tol=1e-8, max_iter=10_000).fit(inputs, targets)
    found = np.asarray(layer["kernel"])[:, 1] - np.asarray(layer["kernel"])[:, 0]
    np.testing.assert_allclose(found, peer.coef_[0], atol=0.01)  # of coefficients up to 1, after 2,000 steps
    log_odds = dataset.test["inputs"] @ found + float(layer["bias"][1] - layer["bias"][0])
    np.testing.assert_allclose(log_odds, peer.decision_function(dataset.test["inputs"]), atol=0.05)


@pytest.fixture
def table(tmp_path):
    """Writes a table of 40 patients with some rows replaced, and returns its path."""

    def write(changes, header="radius,texture,diagnosis"):
        rows = [f"{10 + i % 7}.5,{i % 5},{'M' if i % 3 else 'B'}" for i in range(40)]
        rows = [changes.get(place, row) for place, row in enumerate(rows)]
        (tmp_path / "my.csv").write_text("\n".join([header, *rows]) + "\n")
        return tmp_path / "my.csv"

    return write


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        (
            {},
            ("--target", "diagnosi"),
            "target must be a column of .*my.csv, got 'diagnosi'. Did you mean 'diagnosis'?",
        ),
        (
            {6: "wide,2,B"},
            (),
            "column radius must be numbers or words, got 39 of 40 cells as numbers and 'wide' in row 7",
        ),
        ({6: "10.5,2,"}, (), "target diagnosis must have a value in every row, got none in row 7"),
        ({6: "10.5,2"}, (), "row 7"),
        (
            {6: "10.5,2,C"},
            (),
            r"predictions must be of two classes, \(batch, 2\), for a specificity; got shape \(8, 3\)",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_a_line(command, table, tmp_path, changes, words, message):
    words = words or ("--target", "diagnosis")
    done = command("run", "diagnosis", "--data", table(changes), *words, "--directory", tmp_path / "run")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()
    assert re.search(message, done.stderr), done.stderr


@pytest.mark.long
def test_missing_values_and_a_class_of_one_patient_are_shown(command, table, tmp_path):
    rows = {place: f"{'' if place == 6 else 11},{place % 5},{'M' if place == 9 else 'B'}" for place in range(40)}
    words = ("--target", "diagnosis", "--folds", 4, "--epochs", 20)
    done = command("run", "diagnosis", "--data", table(rows), *words, "--directory", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "columns: 2 numbers (radius, texture)" in done.stdout.replace(" with 1 missing cell", ""), done.stdout
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert '"n_missing": 1' in json.dumps(config), config
    assert "no training example is of class 'M'" in done.stdout, done.stdout

"""Two processes with one command: what does not fit is refused by one of them, and a sweep is that of one process."""

import csv
import os
import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.long

WORDS = ("run", "line.py", "--seeds", "2")
NETWORK = ("models.linear(card.n_features, 1)", "models.mlp(card.n_features, (8,), 1)")
RULES = ("adjust=adjust.grid", "rules=(('Dense_1/kernel', (None, 'tensor')),), adjust=adjust.grid")


@pytest.fixture
def both_refused(joined, folder):
    """Asserts that two processes end with 2 and one line between them, and leave nothing behind."""

    def check(words, message, *, cwds=(folder, folder), **options):
        codes, lines = joined.carry_out(*WORDS, *words, "--directory", folder / "run", cwds=cwds, **options)
        assert codes == [2, 2], lines
        assert len(lines) == 1 and lines[0].startswith("jaxresearch: ") and message in lines[0], lines
        assert not [*folder.glob("run*"), *folder.glob(".run*")]

    return check


@pytest.fixture
def preceded_by(tmp_path_factory):
    """Returns the environment of a process that executes this code first."""

    def environment(code):
        path = tmp_path_factory.mktemp("first")
        (path / "sitecustomize.py").write_text(code)
        return {"PYTHONPATH": f"{path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    return environment


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mesh", "data=3"), "mesh must use all 2 devices, got data=3. Write -1 for an axis that takes those left"),
        (
            ("--mesh", "data=2", "--batch-size", "15"),
            "mesh must divide a batch of 15 examples, got data=2. Pass a batch",
        ),
        (("--seeds", "1"), "runs must be at least as many as the 2 devices of all processes, got 1. Train more seeds"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused_once(both_refused, words, message):
    both_refused(words, message)


def test_a_rule_that_does_not_fit_is_refused_once(both_refused, edit):
    edit(*NETWORK)
    edit(*RULES)
    message = "mesh must divide the dimension 1 of params/Dense_1/kernel, whose shape is (8, 1), got tensor=2. Change"
    both_refused(("--mesh", "tensor=2"), message)


def test_another_experiment_file_is_refused_once(both_refused, folder, edit, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for name in ("line.py", "line.csv"):
        shutil.copy(folder / name, other)
    edit("gradient_descent(h.learning_rate)", "gradient_descent(2 * h.learning_rate)")
    both_refused((), "line.py must be the same in all processes, got '", cwds=(folder, other))


def test_another_version_of_a_package_is_refused_once(both_refused, preceded_by):
    code = (
        "import importlib.metadata as metadata; version = metadata.version; "
        "metadata.version = lambda name: '0.0.1' if name == 'optax' else version(name)"
    )
    message = "and '0.0.1' in process 1. Start them with the same command, files and versions."
    both_refused((), message, environments=({}, preceded_by(code)))


def test_a_coordinator_that_does_not_answer_ends_the_job(joined, preceded_by, folder):
    first = preceded_by("from jaxresearch.cli import supervised; supervised.JOIN_WITHIN = 3")
    words = (*WORDS, "--directory", folder / "run", "--processes", "2", "--process", "1")
    codes, lines = joined.carry_out(*words, each=((),), cwds=(folder,), environments=(first,))
    assert codes == [75]
    assert lines == [
        "jaxresearch: interrupted: the processes have not joined within 3 seconds. Start all of them with the same command, "
        "or correct --coordinator HOST:PORT, --processes N or --process I (from 0 to N - 1, each once)."
    ]
    assert not (folder / "run").exists()


def test_a_process_out_of_range_is_a_mistake(joined, folder):
    words = (*WORDS, "--directory", folder / "run", "--processes", "2", "--process", "2")
    codes, lines = joined.carry_out(*words, each=((),), cwds=(folder,))
    message = "process must be between 0 and 1 for 2 processes, got 2. Number them from 0."
    assert (codes, lines) == ([2], [f"jaxresearch: {message}"])


def test_a_sweep_over_processes_is_that_of_one(joined, here, folder, tmp_path_factory):
    words = ("sweep", "line.py", "--learning-rate", "0.05,0.2", "--seeds", "3", "--epochs", "3")
    another_user = {"XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}  # as on a machine with its own files
    options = {"cwds": (folder, folder), "environments": ({}, another_user)}
    assert joined.carry_out(*words, "--directory", "both", **options) == ([0, 0], [])
    done = here(*words, "--directory", "one")
    assert done.returncode == 0, done.stderr
    tables = [(folder / name / "sweep.csv").read_text().splitlines() for name in ("both", "one")]
    both, one = ([*csv.DictReader(lines)] for lines in tables)
    assert len(one) == 3 and [row.keys() for row in both] == [row.keys() for row in one]
    for name in ("learning_rate", "r2", "mse", "mse_low"):
        values = [[float(row[name] or "nan") for row in rows] for rows in (both, one)]
        np.testing.assert_allclose(*values, rtol=1e-6)  # programs of other groups of runs

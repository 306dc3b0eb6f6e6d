"""``--init-from``: a run that starts from the parameters of another, resumed without it, from a state, encrypted."""

import json
import shutil

import jax
import numpy as np
import pytest

from jaxresearch import records

pytestmark = pytest.mark.long

SMALL = ("--hidden", 16)


@pytest.fixture(scope="module")
def run(command):
    return lambda *words: command("run", "mnist", "--smoke", *words)


@pytest.fixture(scope="module")
def first(run, tmp_path_factory):
    """Returns the directory of a run."""
    folder = tmp_path_factory.mktemp("first") / "run"
    done = run("--seeds", 1, *SMALL, "--directory", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_that_started_from_another_resumes_without_it(run, command, jaxresearch, first, tmp_path, flip_a_bit):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    shutil.copytree(first, theirs)
    done = run("--seeds", 2, "--init-from", theirs, *SMALL, "--directory", ours)
    assert done.returncode == 0, done.stderr
    expected = records.read_params(ours)
    shutil.rmtree(theirs)

    def undo_all_saves():
        (ours / "result.json").unlink()
        shutil.rmtree(ours / "checkpoints")

    undo_all_saves()
    done = command("resume", ours)
    assert done.returncode == 0, done.stderr
    jax.tree.map(np.testing.assert_array_equal, records.read_params(ours), expected)
    done = command("verify", ours)
    assert done.returncode == 0 and "initial parameters: " in done.stdout, done.stdout

    undo_all_saves()
    flip_a_bit(ours / "initial")
    done = command("verify", ours)
    assert done.returncode == 1 and "is altered" in done.stdout, done.stdout
    done = jaxresearch("resume", ours)  # in a process of its own, since pytest captures warnings
    warning, error = done.stderr.strip().splitlines()
    assert done.returncode == 2 and f"of {ours / 'initial'}" in warning and "is altered; moved to" in warning
    assert f"the initial parameters are neither in {ours / 'initial'} nor in {theirs}" in error
    done = command("verify", ours)
    assert done.returncode == 1 and "initial parameters: " in done.stdout, done.stdout

    done = run("--seeds", 1, *SMALL, "--learning-rate", 1e-4, "--directory", theirs)
    assert done.returncode == 0, done.stderr
    done = command("resume", ours)
    assert done.returncode == 2 and f"the parameters of {theirs} have changed since the run" in done.stderr

    shutil.rmtree(theirs)
    shutil.copytree(first, theirs)
    done = command("resume", ours)
    assert done.returncode == 0, done.stderr
    jax.tree.map(np.testing.assert_array_equal, records.read_params(ours), expected)
    assert command("verify", ours).returncode == 0


def test_a_run_that_started_from_another_resumes_from_its_state(run, command, first, tmp_path):
    theirs, ours, whole = (tmp_path / name for name in ("theirs", "ours", "whole"))
    shutil.copytree(first, theirs)
    words = ("--seeds", 2, "--init-from", theirs, "--save-every", 0, *SMALL)
    done = run(*words, "--directory", whole)
    assert done.returncode == 0, done.stderr
    done = run(*words, "--directory", ours)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(theirs)
    (ours / "result.json").unlink()
    earliest, *later = records.Checkpoints(ours).steps()
    assert later, "a state was saved before the last step"
    for step in later:
        shutil.rmtree(ours / "checkpoints" / str(step))
    done = command("resume", ours)
    assert done.returncode == 0, done.stderr
    assert json.loads((ours / "result.json").read_text())["resumed_from"] == earliest
    jax.tree.map(np.testing.assert_array_equal, records.read_params(ours), records.read_params(whole))


def test_an_encrypted_run_encrypts_its_copy_of_open_parameters(run, first, tmp_path):
    (tmp_path / "key").write_bytes(bytes(range(32)))
    words = ("--seeds", 2, "--init-from", first, "--encrypt-with", tmp_path / "key", *SMALL)
    done = run(*words, "--directory", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    content = np.asarray(records.read_params(first)["Dense_0"]["kernel"][0]).tobytes()
    assert not any(content in file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file())
    with pytest.raises(records.CheckpointError, match="is encrypted. Pass its key"):
        records.kept_params(tmp_path / "run" / "initial")


def test_only_settings_that_change_shapes_are_named(run, first, tmp_path):
    words = ("--seeds", 1, "--hidden", 8, "--dropout-rate", 0.5, "--init-from", first)
    done = run(*words, "--directory", tmp_path / "second")
    assert done.returncode == 2 and "was run with --hidden 16. Pass the same." in done.stderr, done.stderr

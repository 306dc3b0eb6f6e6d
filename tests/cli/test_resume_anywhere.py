"""A run is resumed from any folder, with its original experiment: from the file, or from the run's copy."""

import importlib.util
import json
import marshal
import shutil
import sys

import pytest

# The test metric is scaled by a constant from a module beside the experiment.
SCALED = """
import scale
plain = algorithm
def algorithm(h, card, plan, fitted):
    made = plain(h, card, plan, fitted)
    def evaluate(state, data, key):
        return {name: scale.factor() * value for name, value in made.evaluate(state, data, key).items()}
    return made._replace(evaluate=evaluate)
"""


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def original(command, interrupted_command, shared_folder, tmp_path_factory):
    """A folder with a whole and an interrupted run, and a copy of it."""
    path = shared_folder / "line.py"
    text = path.read_text()
    assert "\nreport = None\n" in text
    path.write_text(text.replace("\nreport = None\n", f"\nreport = None\n{SCALED}\n"))
    (shared_folder / "scale.py").write_text("def factor():\n    return 0.5\n")
    words = ["run", "line.py", "--seeds", "2", "--data", "line.csv", "--directory"]
    assert command(*words, "whole", cwd=shared_folder).returncode == 0
    done = interrupted_command(3, *words, "out", cwd=shared_folder)
    assert done.returncode == 75, done.stderr
    return shared_folder, shutil.copytree(shared_folder, tmp_path_factory.mktemp("copy") / "of")


@pytest.fixture
def interrupted(original):
    """The directory of an interrupted run, as it was left, and the result of the uninterrupted run."""
    folder, copy = original
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)  # to the recorded path
    return folder / "out", read(folder / "whole" / "result.json")["metrics"]


def test_a_run_resumes_from_any_folder(command, interrupted, tmp_path_factory):
    path, metrics = interrupted
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = command("resume", path, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert read(path / "result.json")["metrics"] == metrics and not any(elsewhere.iterdir())
    assert "using its copy" not in done.stdout  # nothing has changed
    config = read(path / "config.json")
    assert config["data"] == str(path.parent / "line.csv") and config["experiment"] == str(path.parent / "line.py")
    assert [*config["source"]] == ["line.py", "scale.py"]
    assert command("report", path, cwd=elsewhere).returncode == 0
    assert read(path / "result.json")["claim"] is not None  # the data are still the experiment's own


def test_paths_are_normalised(command, interrupted):
    path, _ = interrupted
    (path.parent / "sub").mkdir()
    done = command("resume", "../out", cwd=path.parent / "sub")
    assert done.returncode == 0 and f"run directory: {path}" in done.stdout.splitlines(), done.stderr
    ended = command("resume", "../out", cwd=path.parent / "sub")
    assert ended.returncode == 2 and "the run in ../out has ended: there is nothing left" in ended.stderr
    assert ".." not in (path / "config.json").read_text()


def test_a_relative_directory_is_that_of_the_caller(command, interrupted):
    path, metrics = interrupted
    shutil.copytree(path, path.parent / "below" / "out")
    done = command("resume", "below/out", cwd=path.parent)
    assert done.returncode == 0 and read(path.parent / "below" / "out" / "result.json")["metrics"] == metrics
    assert "run directory: below/out" in done.stdout.splitlines()
    shutil.move(path, path.parent / "below" / "other")
    done = command("resume", "other", cwd=path.parent / "below")
    assert "run directory: other" in done.stdout.splitlines()
    assert done.returncode == 0 and read(path.parent / "below" / "other" / "result.json")["metrics"] == metrics


@pytest.mark.parametrize("name", ["line.py", "scale.py"])
@pytest.mark.parametrize("change", ["has changed", "is gone"])
def test_resume_uses_the_kept_copy(command, interrupted, name, change):
    path, metrics = interrupted
    file = path.parent / name
    text = file.read_text()
    file.unlink()
    if change == "has changed":
        file.write_text(text.replace("0.5", "0.25") + "\n# another\n")
    done = command("resume", path, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    line = f"{file} {change} since the run started: using its copy in {path / 'source'}"
    assert line in done.stdout.splitlines()
    assert read(path / "result.json")["metrics"] == metrics


def test_an_altered_copy_is_not_run(command, interrupted):
    path, _ = interrupted
    (path.parent / "line.py").unlink()
    (path / "source" / "scale.py").write_text(f"open({str(path / 'fired')!r}, 'w')\n")
    done = command("resume", path, cwd=path.parent)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"{path / 'source' / 'scale.py'} is missing or was altered. Restore it, or name" in done.stderr
    assert not (path / "fired").exists()


def test_a_copy_from_elsewhere_is_run_only_if_it_is_named(command, interrupted, tmp_path_factory):
    """An attacker who writes the directory can write the digests too, but does not have this user's key."""
    path, metrics = interrupted
    (path.parent / "line.py").unlink()
    other = {"XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}
    refusal = (
        f"{path} was not recorded by this user, so the experiment that it names, {path.parent / 'line.py'}, does not"
    )
    done = command("resume", path, cwd=path.parent, **other)
    assert done.returncode == 2 and refusal in done.stderr and len(done.stderr.splitlines()) == 1
    shutil.copy(path.parent / "whole" / "result.json", path)
    done = command("report", path, cwd=path.parent, **other)
    assert done.returncode == 0 and refusal in done.stdout  # the page is written without it
    (path / "result.json").unlink()
    done = command("resume", path, "--experiment", path / "source" / "line.py", cwd=path.parent, **other)
    assert done.returncode == 0 and read(path / "result.json")["metrics"] == metrics, done.stderr


def test_planted_bytecode_is_not_run(command, interrupted):
    """Python would prefer it to the kept source, whose digest is right."""
    path, metrics = interrupted
    fired = path.parent / "fired"
    code = marshal.dumps(compile(f"open({str(fired)!r}, 'w')\ndef factor():\n    return 1.0\n", "scale.py", "exec"))
    cache = path / "source" / "__pycache__"
    cache.mkdir()
    (cache / f"scale.{sys.implementation.cache_tag}.pyc").write_bytes(
        importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + code  # never checked against its source
    )
    (path / "source" / "optax.py").write_text(f"open({str(fired)!r}, 'w')\n")  # nor anything else in the folder
    for name in ("line.py", "scale.py"):
        (path.parent / name).unlink()
    done = command("resume", path, cwd=path.parent)
    assert done.returncode == 0 and read(path / "result.json")["metrics"] == metrics, done.stderr
    assert not fired.exists()


@pytest.mark.parametrize("words", [["resume"], ["report"], ["verify", "--replay", "5"]])
def test_a_directory_does_not_run_code_beside_it(command, interrupted, tmp_path_factory, words):
    """A directory from elsewhere names its folder and an experiment in it: neither is trusted without this user's seal."""
    path, _ = interrupted
    archive = tmp_path_factory.mktemp("archive")
    shutil.copytree(path, archive / "out")
    shutil.copy(path.parent / "whole" / "result.json", archive / "out") if words[0] == "report" else None
    (archive / "evil.py").write_text(f"open({str(archive / 'fired')!r}, 'w')\n")
    config = read(archive / "out" / "config.json")
    for changes in ({"experiment": "evil.py", "folder": str(archive)}, {"experiment": str(archive / "evil.py")}):
        altered = {**config, **changes, "source": {}} if "folder" in changes else {**config, **changes}
        (archive / "out" / "config.json").write_text(json.dumps(altered))
        done = command(words[0], archive / "out", *words[1:], cwd=archive)
        assert "was not recorded by this user" in done.stderr + done.stdout
        assert not (archive / "fired").exists()


def test_another_claim_is_another_run(command, interrupted):
    path, _ = interrupted
    text = (path.parent / "line.py").read_text()
    assert "at_least=" in text
    (path.parent / "easier.py").write_text(text.replace("at_least=", "at_least=-1 + "))
    done = command("resume", "out", "--experiment", "easier.py", cwd=path.parent)
    assert done.returncode == 2 and "these settings differ: claim.at_least (" in done.stderr, done.stderr


def test_a_named_file_is_kept_under_the_recorded_name(here, edit, folder):
    edit(
        "def report(h, state, collected, dataset):\n"
        "    if len(dataset.test['targets']) > 100:\n        raise KeyError('x')"
    )
    rows = "".join(f"{i / 1000},{3 * i / 1000 + i % 2}\n" for i in range(1000))
    (folder / "line.csv").write_text(f"x,y\n{rows}")
    assert here("run", "line.py", "--seeds", "2", "--epochs", "2", "--directory", "out").returncode == 1
    text = (folder / "line.py").read_text()
    (folder / "fixed.py").write_text(text.replace("raise KeyError('x')", "return 'fine'"))
    assert here("resume", "out", "--experiment", "fixed.py").returncode == 0
    assert [*read(folder / "out" / "config.json")["source"]] == ["line.py"]
    assert "return 'fine'" in (folder / "out" / "source" / "line.py").read_text()
    (folder / "fixed.py").unlink()
    with pytest.warns(UserWarning, match="line.py has changed since the run started: using its copy in .*source"):
        done = here("predict", "out", "line.csv", "--output", "made.csv")
    assert done.returncode == 0, done.stderr


def test_a_fixed_file_finishes_a_run_whose_report_failed(here, edit, folder):
    edit(
        "def report(h, state, collected, dataset):\n"
        "    if len(dataset.test['targets']) > 100:\n        raise KeyError('x')"  # preflight calls it with 100 examples
    )
    rows = "".join(f"{i / 1000},{3 * i / 1000 + i % 2}\n" for i in range(1000))
    (folder / "line.csv").write_text(f"x,y\n{rows}")
    done = here("run", "line.py", "--seeds", "2", "--epochs", "2", "--directory", "out")
    assert done.returncode == 1 and "KeyError" in done.stderr
    edit("raise KeyError('x')", "return 'fine'")
    assert here("resume", "out").returncode == 1  # the original file
    done = here("resume", "out", "--experiment", "line.py")
    assert done.returncode == 0, done.stderr
    result = read(folder / "out" / "result.json")
    assert result["report"] == "fine" and result["resumed_from"] == result["steps"]
    assert "return 'fine'" in (folder / "out" / "source" / "line.py").read_text()


def test_a_changed_program_is_refused_however_it_is_named(command, interrupted):
    path, _ = interrupted
    (path.parent / "scale.py").write_text("def factor():\n    return 0.25\n")
    done = command("resume", "out", "--experiment", "line.py", cwd=path.parent)
    assert done.returncode == 2 and "the program of the experiment has changed since step" in done.stderr

"""A run is resumed from any folder, with the experiment as it was: from its file, or from the copy that the run kept."""

import json
import shutil

import pytest

# The metric of the test part is scaled by a number of a module beside the experiment.
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


@pytest.fixture
def interrupted(here, edit, interrupted_here, folder):
    """The directory of a run that was interrupted, and what the whole run gives."""
    edit(SCALED)
    (folder / "scale.py").write_text("def factor():\n    return 0.5\n")
    words = ["run", "line.py", "--seeds", "2", "--data", "line.csv", "--directory"]
    assert here(*words, "whole").returncode == 0
    done = interrupted_here(3, *words, "out")
    assert done.returncode == 75, done.stderr
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


def test_a_relative_directory_is_that_of_the_caller(command, interrupted):
    path, metrics = interrupted
    shutil.copytree(path, path.parent / "below" / "out")
    done = command("resume", "below/out", cwd=path.parent)
    assert done.returncode == 0 and read(path.parent / "below" / "out" / "result.json")["metrics"] == metrics
    shutil.move(path, path.parent / "below" / "other")
    done = command("resume", "other", cwd=path.parent / "below")
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
    """Whoever made the directory wrote the digests, too; the key of this user they do not have."""
    path, metrics = interrupted
    (path.parent / "line.py").unlink()
    other = {"XDG_STATE_HOME": str(tmp_path_factory.mktemp("state"))}
    refusal = f"{path.parent / 'line.py'} is gone, and the copy in {path} was not kept by this user, so it is not run. Review it"
    done = command("resume", path, cwd=path.parent, **other)
    assert done.returncode == 2 and refusal in done.stderr and len(done.stderr.splitlines()) == 1
    shutil.copy(path.parent / "whole" / "result.json", path)
    done = command("report", path, cwd=path.parent, **other)
    assert done.returncode == 0 and refusal in done.stdout  # the page stands without it
    (path / "result.json").unlink()
    done = command("resume", path, "--experiment", path / "source" / "line.py", cwd=path.parent, **other)
    assert done.returncode == 0 and read(path / "result.json")["metrics"] == metrics, done.stderr


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
    assert here("resume", "out").returncode == 1  # as it was
    done = here("resume", "out", "--experiment", "line.py")
    assert done.returncode == 0, done.stderr
    result = read(folder / "out" / "result.json")
    assert result["report"] == "fine" and result["resumed_from"] == result["steps"]
    assert "return 'fine'" in (folder / "out" / "source" / "line.py").read_text()


def test_a_changed_program_is_refused_however_it_is_named(here, interrupted, folder):
    path, _ = interrupted
    (folder / "scale.py").write_text("def factor():\n    return 0.25\n")
    done = here("resume", "out", "--experiment", "line.py")
    assert done.returncode == 1 and "the program of the experiment has changed since step" in done.stderr

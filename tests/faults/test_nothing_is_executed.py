"""Data is never executed: no pickle, no eval, no import by a name from a file, no path outside the folder."""

import ast
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxresearch.records import CheckpointError, Checkpoints

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "jaxresearch"
MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "yaml", "torch", "msgpack"}
CALLS = {"eval", "exec", "compile", "__import__"}


def names_of(call):
    """Returns the bare and the dotted name of a called function."""
    return call.func.id if isinstance(call.func, ast.Name) else "", ast.unparse(call.func)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_package_can_execute_nothing_that_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not {name.split(".")[0] for name in named} & MODULES, f"{path}:{node.lineno}"
        if isinstance(node, ast.Call):
            bare, dotted = names_of(node)
            assert bare not in CALLS, f"{path}:{node.lineno} calls {bare}"
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if dotted in ("np.load", "numpy.load"):
                assert options.get("allow_pickle") == "False", f"{path}:{node.lineno} may unpickle"
            assert options.get("shell", "False") == "False", f"{path}:{node.lineno} passes a line to a shell"
            if dotted == "importlib.import_module":  # the package's own models, from a table in its source
                assert path.relative_to(PACKAGE).as_posix() == "models/__init__.py"
            if dotted.endswith("exec_module"):  # the experiment named on the command line
                assert path.name == "loading.py"


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def archives(bomb):
    """Yields malicious data files by name."""
    content = io.BytesIO()
    np.savez(content, train_images=np.array([bomb], object), train_labels=np.zeros(1, np.int32))
    yield "objects.npz", content.getvalue()
    yield "pickle.npz", pickle.dumps(bomb)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("../../escaped.npy", b"x")
        archive.writestr("train_images.npy", pickle.dumps(bomb))
    yield "escape.npz", content.getvalue()
    yield "pickle.parquet", pickle.dumps(bomb)
    yield "formula.csv", b"x,y\n=cmd|'/c calc'!A1,1\n__import__('os').system('touch fired'),2\n"


def test_malicious_data_is_refused_and_not_run(command, tmp_path):
    fired = tmp_path / "fired"
    for name, content in archives(Bomb(fired)):
        (tmp_path / name).write_bytes(content)
        target = ["--target", "y"] if name.endswith((".csv", ".parquet")) else []
        words = ["run", ROOT / "experiments" / "mnist.py", "--data", tmp_path / name, *target, "--smoke"]
        done = command(*words, "--directory", tmp_path / f"run-{name}", cwd=tmp_path)
        assert not fired.exists() and not (tmp_path.parent / "escaped.npy").exists(), name
        assert done.returncode in ((0, 2) if name.endswith(".csv") else (2,)), (name, done.stderr)
        assert "Traceback" not in done.stderr, (name, done.stderr)


@pytest.mark.parametrize(
    "name", ["tfds:../../etc/passwd", "tfds:/etc/passwd", "tfds:mnist/../../x", "../../../etc/passwd"]
)
def test_a_name_that_would_lead_elsewhere_is_one_line(command, tmp_path, name):
    done = command("run", "mnist", "--data", name, "--directory", tmp_path / "run")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and not (tmp_path / "run").exists()


def test_a_checkpoint_that_names_files_elsewhere_is_not_trusted(tmp_path):
    import hashlib

    folder = Checkpoints(tmp_path).write(10, {"weights": np.ones(3)})
    manifest = json.loads((folder / "manifest.json").read_text())["manifest"]
    manifest["files"]["../../../etc/passwd"] = "0" * 64
    text = json.dumps(manifest, sort_keys=True)
    checksummed = {"manifest": manifest, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(checksummed, sort_keys=True))
    with pytest.raises(CheckpointError, match="etc/passwd of .* is missing"):
        Checkpoints(tmp_path).restore({"weights": np.zeros(3)})


@pytest.mark.parametrize("where", ["evil.py", "../run/evil.py"])
@pytest.mark.parametrize("name", ["resume", "report"])
def test_no_experiment_inside_a_directory_is_run(command, tmp_path, name, where):
    run = tmp_path / "run"
    run.mkdir()
    (run / "evil.py").write_text(f"open({str(tmp_path / 'fired')!r}, 'w')\n")
    config = {"experiment": str(run / where), "hyperparameters": {}}
    (run / "config.json").write_text(json.dumps(config))
    done = command(name, run)
    assert (
        done.returncode == 2
        and "must not be inside the run directory" in done.stderr
        and len(done.stderr.splitlines()) == 1
    )
    assert not (tmp_path / "fired").exists()


@pytest.mark.parametrize("name", ["resume", "report"])
def test_the_name_of_an_experiment_cannot_leave_its_folder(command, tmp_path, name):
    (tmp_path / "experiments").mkdir()
    run = tmp_path / "runs" / "run"
    run.mkdir(parents=True)
    (run / "evil.py").write_text(f"open({str(tmp_path / 'fired')!r}, 'w')\n")
    (run / "config.json").write_text(json.dumps({"experiment": "../runs/run/evil", "hyperparameters": {}}))
    for file in ("environment.json", "result.json"):
        (run / file).write_text("{}")
    done = command(name, run, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (tmp_path / "fired").exists()

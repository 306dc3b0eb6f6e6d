"""The built wheel, alone in a new environment and an empty folder, contains data and experiments and runs them."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
@pytest.mark.wheel
@pytest.mark.parametrize("is_lent", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["lent", "installed"])
def test_the_wheel_alone_runs_in_an_empty_folder(tmp_path, is_lent):
    """ "lent" uses the dependencies of this environment, "installed" (`slow`) those of its own metadata."""

    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*words):
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": ""}
        done = subprocess.run([*map(str, words)], cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("train-images-idx3-ubyte.gz", "LICENSE", "README.md"):
        assert f"jaxresearch/data/archives/mnist/{name}" in names
    for folder in (
        "ames",
        "chromosome_3",
        "credit",
        "gene_ontology",
        "image_segmentation",
        "mnist",
        "splice",
        "stop_words",
    ):
        held = {name.rsplit("/", 1)[1] for name in names if f"/archives/{folder}/" in name and "dist-info" not in name}
        assert {"LICENSE", "README.md"} < held, f"{folder} has no data file, or lacks its licence"
        assert any(name.endswith(f"licenses/jaxresearch/data/archives/{folder}/LICENSE") for name in names)
    assert {"jaxresearch/py.typed", "jaxresearch/reports/pages/layout.html"} <= set(names)
    shipped = {name.rsplit("/", 1)[1] for name in names if name.startswith("jaxresearch/_experiments/")}
    assert shipped == {path.name for path in (ROOT / "experiments").glob("*.py")}
    templates = {name.rsplit("/", 1)[1] for name in names if name.startswith("jaxresearch/templates/")}
    assert templates == {path.name for path in (ROOT / "jaxresearch" / "templates").glob("*.py")}
    assert not any(name.startswith(("tests", "experiments")) for name in names)

    venv.create(tmp_path / "environment")
    python = tmp_path / "environment" / "bin" / "python"
    how = ["--no-deps", "--no-index"] if is_lent else ["-c", ROOT / "constraints.txt"]
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *how, wheel)
    if is_lent:
        (own,) = (tmp_path / "environment").glob("lib/*/site-packages")
        (own / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    where = run(python, "-c", "import jaxresearch; print(jaxresearch.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path)
    jaxresearch = tmp_path / "environment" / "bin" / "jaxresearch"
    assert {line.split()[0] + ".py" for line in run(jaxresearch, "list").splitlines()} == shipped
    assert "test/accuracy" in run(jaxresearch, "run", "mnist", "--smoke")
    run(jaxresearch, "copy", "mnist", "mine.py")
    assert (empty / "mine.py").read_text() == (ROOT / "experiments" / "mnist.py").read_text()
    run(jaxresearch, "new", "my.py", "--for", "table")
    for name in ("mine", "my"):
        run(jaxresearch, "run", f"{name}.py", "--smoke", "--directory", name)
        assert json.loads((empty / name / "result.json").read_text())["experiment"] == name

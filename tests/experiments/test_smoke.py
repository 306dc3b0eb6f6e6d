"""Every published run carries out its smoke version: a few steps of each, with its evaluation and report."""

import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = tomllib.loads((ROOT / "docs" / "gallery" / "runs.toml").read_text())
X_RAYS = ROOT.parent / "shared" / "data" / "external" / "pneumoniamnist.npz"


# The features of all images take three minutes: test_private_mnist.py trains these on a few.
@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in RUNS if name not in ("private_mnist", "private_fashion")])
def test_a_published_run_has_a_smoke_version(command, tmp_path, name):
    words = [*shlex.split(RUNS[name]["command"]), "--smoke", "--directory", "out"]
    if words[0] == "study":  # has no smoke version itself
        words = ["run", words[1], *words[-3:]]
    if name == "chest_xray":
        if not X_RAYS.exists():
            pytest.skip(f"PneumoniaMNIST is not at {X_RAYS}")
        words += ["--data", str(X_RAYS)]
    if name == "drug_generation":
        words += ["--n-drawn", "20"]  # a thousand take a minute
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "result.json").exists()

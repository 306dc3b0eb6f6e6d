"""Loading an experiment's file: by name, with errors at its own lines and the modules beside it."""

import sys
from pathlib import Path

import pytest

from jaxresearch import loading

EXPERIMENTS = Path(__file__).parents[1] / "experiments"

# A complete experiment except for its bound.
SOURCE = """
from jaxresearch import losses, metrics, models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static
from jaxresearch.statistics import Claim
{more}

@hyperparameters
class Line:
    batch_size: int = static(4, "examples per step")
    epochs: int = static(30, "passes over the data")


def algorithm(h, card, plan, fitted):
    return training.supervised(models.linear(1, 1), losses.half_squared_error,
                               optimizer=training.gradient_descent(0.3), metrics={{"r2": metrics.r2()}})


experiment = Experiment(question="A line?", claim=Claim(text="R2", metric="test/r2", about="these examples", at_least={bound}),
                        hyperparameters=Line(), algorithm=algorithm)
"""


def test_load_finds_an_experiment_by_name():
    declared = loading.load("mnist", directory=EXPERIMENTS)
    assert declared is not loading.load(str(EXPERIMENTS / "mnist.py"))  # the file runs each time
    assert declared.question.endswith("?") and callable(declared.algorithm)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import jax\nx = undefined + 1\n", r"failed at line 2: 'x = undefined \+ 1': NameError: name 'undefined'"),
        ("def broken(:\n", r"failed at line 1: 'def broken\(:': invalid syntax"),
        ("x = f(a\n        b)\n", r"'x = f\(a': invalid syntax. Perhaps you forgot a comma\?$"),
        pytest.param(
            "from jaxresearch.experiment import Experiment\nExperiment(qestion='?')\n",
            r"^Experiment must be given some of question, .*, got 'qestion'\. Did you mean 'question'\? \(.*, line 2\)$",
            marks=pytest.mark.raises,
        ),
        pytest.param(
            "from jaxresearch.experiment import Experiment\nExperiment(\n    zzz=1)\n",
            r"got 'zzz'\. Leave it out\. \(experiment file .*mine\.py, line 2\)$",
            marks=pytest.mark.raises,
        ),
        (
            "from jaxresearch.hyperparameters import *\n@hyperparameters\nclass A:\n    epochs: int = static(20.5, 'passes')\n",
            r"^epochs must be a whole number, got 20\.5\. .* \(experiment file .*mine\.py, line 2\)$",
        ),
        (
            "from jaxresearch import metrics\n\nmetrics.acuracy()\n",
            r"failed at line 3: .*AttributeError: .* no attribute 'acuracy'\. Did you mean 'metrics.accuracy'\?$",
        ),
        ("from jaxresearch import metrics\nmetrics.zzz()\n", "AttributeError: .* has no attribute 'zzz'$"),
        ("import no_such_module\n", "failed at line 1: 'import no_such_module': ModuleNotFoundError"),
        ("def inner():\n    return 1 / 0\ninner()\n", "failed at line 2: 'return 1 / 0': ZeroDivisionError"),
        (
            "from jaxresearch import models\n\nmodels.mlp(0, (), 1)\n",
            r"^n_features must be .* \(experiment file .*mine\.py, line 3\)$",
        ),
        ("raise ValueError('rows must be 3; got 2.')\n", r"^rows must be 3; got 2\. \(experiment file .*, line 1\)$"),
        ("raise ValueError\n", "failed at line 1: 'raise ValueError': ValueError: $"),
        ("int('x')\n", r"failed at line 1: \"int\('x'\)\": ValueError: invalid literal"),
        ("x = 1\n", "must assign an Experiment to the name 'experiment', got none"),
        ("experiment = 3\n", "must assign an Experiment to the name 'experiment', got int"),
    ],
)
def test_load_blames_a_file_for_its_own_line(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        loading.load(str(tmp_path / "mine.py"))
    assert "\n" not in str(caught.value)


def test_load_suggests_the_nearest_name(tmp_path):
    (tmp_path / "housing.py").write_text("")
    for name, near in (("mnits", "mnist"), ("hosing", "housing")):
        with pytest.raises(FileNotFoundError, match=f"got '{name}'. Did you mean '{near}'"):
            loading.load(name, directory=tmp_path)
    with pytest.raises(FileNotFoundError, match="Choose one of abstract_sorting, .*, housing, .*, mnist"):
        loading.load("zzz", directory=tmp_path)


@pytest.mark.parametrize(("name", "near"), [("rsk.py", "risk.py"), ("a/rsk.py", "a/risk.py"), ("risk", "risk.py")])
def test_load_suggests_the_nearest_file(tmp_path, monkeypatch, name, near):
    (tmp_path / "a").mkdir()
    for file in ("risk.py", "a/risk.py"):
        (tmp_path / file).write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"got '{name}'. Did you mean '{near}'"):
        loading.load(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zzz.py", "^experiment must be a file that exists, got 'zzz.py'. Correct the path.$"),
        ("sales.csv", "got the file 'sales.csv'. Pass data with --data: jaxresearch run EXPERIMENT --data sales.csv$"),
    ],
)
def test_load_refuses_a_path_that_is_no_experiment(tmp_path, monkeypatch, name, message):
    (tmp_path / "sales.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=message):
        loading.load(name)


def test_load_keeps_files_of_one_name_apart(tmp_path):
    for folder, bound in (("a", 0.9), ("b", 0.5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(SOURCE.format(bound=bound, more=""))
    loaded = [loading.load(str(tmp_path / folder / "mine.py")) for folder in "ab"]
    assert [one.claim.at_least for one in loaded] == [0.9, 0.5]


@pytest.mark.parametrize("folder", [".", "sub folder"])
def test_load_imports_modules_beside_the_file(tmp_path, monkeypatch, folder):
    """By a relative and an absolute path, from any working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "mine.py").write_text(SOURCE.format(bound="bound", more="from mine_constants import bound"))
    (tmp_path / folder / "mine_constants.py").write_text("bound = 0.25\n")
    before = list(sys.path)
    for name in (f"{folder}/mine.py", str(tmp_path / folder / "mine.py")):
        assert loading.load(name).claim.at_least == 0.25
    assert sys.path == before


def test_load_keeps_the_modules_of_two_folders_apart(tmp_path):
    """Modules beside a file belong to it alone, even if they have changed since it was last loaded."""
    for folder, bound in (("a", 0.25), ("b", 0.5), ("a", 0.125)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "mine.py").write_text(
            SOURCE.format(bound="bound", more="from mine_constants import bound")
        )
        (tmp_path / folder / "mine_constants.py").write_text(f"bound = {bound}\n")
        assert loading.load(str(tmp_path / folder / "mine.py")).claim.at_least == bound
    assert "mine_constants" not in sys.modules


def test_load_blames_the_import_of_a_broken_module(tmp_path):
    (tmp_path / "mine_broken.py").write_text("x = 1\ny = x / 0\n")
    (tmp_path / "mine.py").write_text("import mine_broken\n")
    with pytest.raises(ValueError, match="failed at line 1: 'import mine_broken': ZeroDivisionError") as caught:
        loading.load(str(tmp_path / "mine.py"))
    assert "\n" not in str(caught.value)


def test_load_keeps_modules_from_elsewhere(tmp_path, monkeypatch):
    """For example, those of a virtual environment in the folder."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "mine_installed.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path / ".venv")
    (tmp_path / "mine.py").write_text(SOURCE.format(bound=0.9, more="import mine_installed"))
    loading.load(str(tmp_path / "mine.py"))
    assert sys.modules.pop("mine_installed").x == 1

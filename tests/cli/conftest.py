"""A small custom experiment, so that a command takes a second."""

import contextlib
import functools
import json
from unittest import mock

import numpy as np
import pytest

from jaxresearch.cli import session

LINE = """
import jax.numpy as jnp
import optax
from jaxresearch import adjust, algorithms, data, losses, metrics, models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

@hyperparameters
class Line:
    learning_rate: float = swept(0.1, "step size", above=0)
    degree: int = static(1, "of the polynomial", at_least=1)
    batch_size: int = static(16, "examples per step", at_least=1)
    epochs: int = static(20, "passes over the data", at_least=1)

def algorithm(h, card, plan, fitted):
    return training.supervised(
        models.linear(card.n_features, 1), losses.half_squared_error, estimator=plan.estimator,
        optimizer=training.gradient_descent(h.learning_rate),
        invert=lambda outputs: data.standard.invert(fitted, outputs),
        metrics={"r2": metrics.r2(), "mse": metrics.mean_squared_error()},
    )

report = None

experiment = Experiment(
    question="Is it a line?", claim=Claim(text="R2 of 0.9", metric="test/r2", about="these examples", at_least=0.9),
    hyperparameters=Line(), source="line.csv", target="y", algorithm=algorithm, report=report,
    adjust=adjust.grid(learning_rate=[0.05, 0.2]),
)
"""
END = "report = None\n"


def _written(folder):
    """Writes the experiment ``line.py`` and its data into a folder, and returns it."""
    (folder / "line.py").write_text(LINE)
    x = np.linspace(-1, 1, 200)
    noise = np.random.default_rng(0).normal(0, 0.3, 200)
    (folder / "line.csv").write_text(
        "x,y\n" + "".join(f"{a},{3 * a + 0.5 + b}\n" for a, b in zip(x, noise, strict=True))
    )
    return folder


@pytest.fixture
def folder(tmp_path):
    """A folder with the experiment ``line.py`` and its data."""
    return _written(tmp_path)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory):
    """The same, for all tests of a file."""
    return _written(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def edit(folder):
    """Changes the experiment: inserts lines before its end, or replaces a text."""

    def change(old, new=None):
        path = folder / "line.py"
        text = path.read_text()
        if new is None:
            old, new = END, f"{END}{old}\n"
        assert old in text
        path.write_text(text.replace(old, new))

    return change


@pytest.fixture
def here(command, folder):
    """Runs a command in the folder, in this process."""
    return functools.partial(command, cwd=folder)


@pytest.fixture
def refused(folder):
    """Asserts that a user's mistake prints one line, exits with 2 and leaves nothing behind."""

    def check(done, message, kept=("line.py", "line.csv")):
        assert done.returncode == 2, done.stderr
        assert message in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr, done.stderr
        assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {*kept}

    return check


@pytest.fixture
def replayed(here):
    """Asserts that a run is replayed bit for bit, to its final state."""

    def check(name):
        done = here("verify", name, "--replay", "100")
        assert done.returncode == 0 and "match metrics.jsonl bit for bit; the " in done.stdout, (
            done.stdout + done.stderr
        )

    return check


@pytest.fixture
def configs_with(here, folder):
    """Carries out a sweep and a study with an option, and returns their configurations."""

    def carry_out(*option):
        words = ["--epochs", "1", "--seeds", "2", *option]
        done = here("sweep", "line.py", "--learning-rate", "0.05,0.2", *words, "--directory", "swept")
        assert done.returncode == 0, done.stderr
        done = here("study", "line.py", *words, "--fresh-seeds", "2", "--rounds", "1", "--directory", "studied")
        assert done.returncode == 0, done.stderr
        return [json.loads((folder / name / "config.json").read_text()) for name in ("swept", "studied")]

    return carry_out


class _Signals(list):
    """Signals, the first of which arrives after n progress reports."""

    def __init__(self, n_looks):
        self.n_left = n_looks

    def __bool__(self):
        self.n_left -= 1
        return self.n_left < 0


@pytest.fixture(scope="session")
def interrupted_command(command):
    """Runs a command that receives a signal after n chunks of steps."""

    def carry_out(n_chunks, *words, cwd):
        signals = contextlib.nullcontext(_Signals(1 + n_chunks))  # the first report comes before all chunks
        with mock.patch.object(session, "saving", lambda *lines: signals):
            return command(*words, cwd=cwd)

    return carry_out


@pytest.fixture
def interrupted_here(interrupted_command, folder):
    """The same in the folder."""
    return functools.partial(interrupted_command, cwd=folder)

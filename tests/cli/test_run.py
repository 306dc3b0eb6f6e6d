"""The command line as a user meets it: real processes, real files, one line for a mistake and nothing left behind."""

import dataclasses
import functools
import gzip
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import loading, statistics
from jaxresearch.cli.options import parse
from jaxresearch.cli.run import _verdict

ROOT = Path(__file__).parents[2]
SHORT = ["--epochs", "1", "--seeds", "2"]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One compilation cache for all processes of a worker."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def folder(tmp_path):
    """An empty folder that holds the experiments alone."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def jaxresearch(jaxresearch, folder, cache):
    """Carries out a command in that folder."""
    return functools.partial(jaxresearch, cwd=folder, XDG_CACHE_HOME=str(cache))


def _refused(done, folder, message):
    """Holds a mistake of the user to its promise."""
    assert done.returncode == 2, done.stderr
    assert message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "runs").exists()


@pytest.mark.long
def test_a_run_writes_all_that_the_design_lists(folder, cache, tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONWARNINGS": "default", "COLUMNS": "200"}
    words = "run mnist --epochs 1 --seeds 5 --directory out".split()
    command = [sys.executable, "-m", "jaxresearch", *words]  # with its imports: none of them warns
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    config, environment, result = (
        json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("config", "environment", "result")
    )
    assert config["experiment"] == "mnist" and config["hyperparameters"]["epochs"] == 1 and config["seeds"] == 5
    assert dict(config["data_card"]["sha256"])["t10k-labels-idx1-ubyte.gz"].startswith("f7ae60f9")
    assert environment["seeds"] == [0, 1, 2, 3, 4] and environment["packages"]["jax"]
    assert result["n_seeds"] == 5 and result["claim"]["verdict"] == "refuted"
    assert set(result["metrics"]) == {"test/accuracy", "test/macro_f1", "test/macro_recall", "test/log_loss"}
    accuracy = result["metrics"]["test/accuracy"]
    assert len(accuracy["values"]) == 5 and 0.9 < accuracy["ci95"][0] <= accuracy["mean"] <= accuracy["ci95"][1] < 0.98
    assert set(result["seconds"]) == {"load", "compile", "train", "evaluate"}
    assert result["n_compilations"] == 3 and result["examples_per_second"] > 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 1875 and len(lines[-1]["train/loss"]) == 5
    assert (tmp_path / "out" / "checkpoints" / "1875").is_dir()
    assert "epoch 1/1 · " in done.stdout and "refuted" in done.stdout and "compile" in done.stdout
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [".lock"]


@pytest.mark.long
def test_a_single_seed_is_told_to_be_one(jaxresearch):
    done = jaxresearch("run", "mnist", "--smoke", "--seeds", "1")
    assert done.returncode == 0, done.stderr
    assert "single seed" in done.stdout and "undecided (a smoke run decides nothing)" in done.stdout


@pytest.mark.long
def test_smoke_takes_few_steps_and_claims_nothing(jaxresearch, tmp_path):
    done = jaxresearch("run", "experiments/mnist.py", "--smoke", "--epochs", "50", "--seeds", "100")
    assert done.returncode == 0, done.stderr
    (directory,) = (tmp_path / "runs").glob("mnist-*")
    result = json.loads((directory / "result.json").read_text())
    assert result["claim"]["verdict"] == "undecided" and result["n_seeds"] == 2
    assert json.loads((directory / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 20


def _idx_folder(folder, n_train=64, n_test=20):
    folder.mkdir()
    for prefix, n in (("train", n_train), ("t10k", n_test)):
        images = np.random.default_rng(0).integers(0, 256, (n, 28, 28)).astype(np.uint8)
        header = struct.pack(">BBBB3I", 0, 0, 8, 3, n, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        labels = (np.arange(n) % 10).astype(np.uint8)
        header = struct.pack(">BBBBI", 0, 0, 8, 1, n)
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))
    return folder


def _npz(path, **changes):
    arrays = {}
    for part, n in (("train", 80), ("val", 8), ("test", 20)):
        arrays[f"{part}_images"] = np.random.default_rng(0).integers(0, 256, (n, 28, 28)).astype(np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 2).astype(np.uint8)[:, None]
    np.savez(path, **{**arrays, **changes})
    return path


def _csv(path):
    rows = (f"{i % 7},{('red', 'blue', '')[i % 3]},{'ab'[i % 2]}\n" for i in range(80))
    path.write_text("age,colour,kind\n" + "".join(rows))
    return path


@pytest.mark.parametrize(
    ("changed", "verdict", "because"),
    [
        ({}, "supported", "over 10 seeds"),
        ({"data": "mine.csv"}, "undecided", "the claim is about mnist, this run about mine.csv"),
        ({"folds": 10}, "undecided", "the claim is about the test part, this run about 10 folds"),
        ({"train_examples": 100}, "undecided", "the claim is about all training examples, this run about 100"),
        ({"init_from": Path("other")}, "undecided", "the claim is about parameters drawn anew"),
        ({"smoke": True}, "undecided", "a smoke run decides nothing"),
    ],
)
def test_what_the_claim_is_not_about_decides_nothing(changed, verdict, because):
    mnist = loading.load("mnist", directory=ROOT / "experiments")
    asked = dataclasses.replace(parse(mnist, ["--seeds", "10"], prog="run"), **changed)
    summary = statistics.summary(np.linspace(0.99, 0.991, 10))
    found, why = _verdict(mnist, asked, summary)
    assert found == verdict and because in why
    if "folds" in changed:
        of_folds = dataclasses.replace(mnist, claim=dataclasses.replace(mnist.claim, n_folds=10))
        assert _verdict(of_folds, asked, summary)[0] == "supported"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["idx", "npz", "csv", "parquet"])
def test_a_users_own_data_runs_through_the_same_command(jaxresearch, tmp_path, kind):
    if kind == "idx":
        words = ["--data", _idx_folder(tmp_path / "fashion")]
    elif kind == "npz":
        words = ["--data", _npz(tmp_path / "chest.npz")]
    else:
        path = _csv(tmp_path / "mine.csv")
        if kind == "parquet":
            import pandas

            pandas.read_csv(path).to_parquet(tmp_path / "mine.parquet")
            path = tmp_path / "mine.parquet"
        words = ["--data", path, "--target", "kind"]
    done = jaxresearch("run", "mnist", *SHORT, *words, "--directory", "out")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert len(result["metrics"]["test/accuracy"]["values"]) == 2
    assert result["claim"]["verdict"] == "undecided" and "the claim is about mnist" in result["claim"]["because"]
    card = json.loads((tmp_path / "out" / "config.json").read_text())["data_card"]
    assert len(card["class_names"]) == (10 if kind == "idx" else 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "minst"], "got 'minst'. Did you mean 'mnist'?"),
        (["run", "nowhere/file.py"], "experiment must be a .py file or a name in experiments"),
        (["run", "mnist", "--learning-rat", "0.1"], "got --learning-rat. Did you mean --learning-rate?"),
        (["run", "mnist", "--learning-rate", "fast"], "--learning-rate"),
        (["run", "mnist", "--learning-rate"], "--learning-rate"),
        (["run", "mnist", "--learning-rate", "-1"], "learning_rate must be above 0; got -1"),
        (["run", "mnist", "--learning-rate", "nan"], "learning_rate must be finite; got nan"),
        (["run", "mnist", "--batch-size", "0"], "batch_size must be at least 1; got 0"),
        (["run", "mnist", "--batch-size", "-3"], "batch_size must be at least 1; got -3"),
        (["run", "mnist", "--batch-size", "60001"], "batch_size must be from 1 to the number of examples, 60000"),
        (["run", "mnist", "--epochs", "0"], "epochs must be at least 1; got 0"),
        (["run", "mnist", "--hidden", "0"], "hidden must be at least 1; got (0,)"),
        (["run", "mnist", "--schedule", "cosine"], "--schedule"),
        (["run", "mnist", "--seeds", "0"], "seeds must be 1 or more; got 0"),
        (["run", "mnist", "--save-every", "inf"], "save_every must be 0 or more seconds, and finite; got inf"),
        (["run", "mnist", "extra"], "extra"),
        (["run", "mnist", "--data", "minst"], "got 'minst'. Did you mean 'mnist'?"),
        (["run", "mnist", "--data", "nothing.npz"], "data must be a bundled name, tfds:NAME or a path that exists"),
        (["run", "mnist", "--directory", "experiments"], "directory must be new or empty; got experiments"),
        (["run", "mnist", "--directory", "experiments/mnist.py/below"], "directory must be one that can be written"),
        (["run", "mnist", "--directory", "/proc/nothing"], "directory must be one that can be written"),
        (["run", "--seeds", "3"], "the experiment must come first"),
        (
            ["rum", "mnist"],
            "command must be one of run, sweep, study, resume, report, verify, compare, list; got 'rum'. Did you mean 'run'?",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(jaxresearch, tmp_path, words, message):
    _refused(jaxresearch(*words), tmp_path, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": np.zeros((79, 1), np.uint8)}, "must be equally many; got 80 and 79"),
        ({"train_images": np.full((80, 28, 28), np.nan)}, "inputs of the train part must be finite; got nan"),
        ({"test_images": np.full((20, 28, 28), np.inf)}, "inputs of the test part must be finite; got inf"),
        ({"test_labels": np.full((20, 1), 9)}, "labels of the test part must be from 0 to 1; got 9 at example 0"),
        ({"train_images": np.array([object()] * 80)}, "Python objects, which are never loaded"),
        ({"train_labels": np.linspace(0, 1, 80)[:, None]}, "targets of chest must be classes; they are values"),
    ],
)
def test_a_mistake_in_the_data_is_one_line(jaxresearch, tmp_path, changes, message):
    path = _npz(tmp_path / "chest.npz", **changes)
    _refused(jaxresearch("run", "mnist", "--data", path), tmp_path, message)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("chest.npz", lambda raw: raw[: len(raw) // 2], "must be a whole .npz file"),
        ("chest.npz", lambda raw: b"", "must be a whole .npz file"),
        ("fashion/train-images-idx3-ubyte.gz", lambda raw: raw[:-50], "must be a whole gzip file"),
        ("fashion/t10k-labels-idx1-ubyte.gz", lambda raw: b"", "must not be empty"),
        ("mine.csv", lambda raw: b"", "must not be empty"),
    ],
)
def test_a_damaged_file_is_one_line(jaxresearch, tmp_path, name, damage, message):
    _npz(tmp_path / "chest.npz"), _idx_folder(tmp_path / "fashion"), _csv(tmp_path / "mine.csv")
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    source = path.parent if "fashion" in name else path
    words = ["--target", "kind"] if name.endswith(".csv") else []
    _refused(jaxresearch("run", "mnist", "--data", source, *words), tmp_path, message)


def test_a_batch_larger_than_the_users_data_is_one_line(jaxresearch, tmp_path):
    done = jaxresearch("run", "mnist", "--data", _npz(tmp_path / "chest.npz"), "--batch-size", "81")
    _refused(done, tmp_path, "batch_size must be from 1 to the number of examples, 80; got 81")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("import optax", "import optaks", "failed at line 13: 'import optaks': ModuleNotFoundError"),
        ("    return models.mlp(", "    return models.mlpp(", "'return models.mlpp("),
        ("    h = hyperparameters\n", "    h = hyperparameters / 0\n", "failed at line 34: 'h = hyperparameters / 0'"),
        ('"macro_f1": metrics.f1(', '"macro_f1": metrics.f2(', "failed at line 5"),
        ("test/accuracy", "test/acuracy", "claim must be about one of test/accuracy"),
    ],
)
def test_an_error_in_the_experiment_shows_its_own_line(jaxresearch, tmp_path, old, new, message):
    text = (tmp_path / "experiments" / "mnist.py").read_text()
    assert old in text
    (tmp_path / "mine.py").write_text(text.replace(old, new))
    _refused(jaxresearch("run", "mine.py", *SHORT), tmp_path, message)


def test_a_directory_given_by_the_user_is_left_as_it_was(jaxresearch, tmp_path):
    (tmp_path / "mine").mkdir()
    text = (tmp_path / "experiments" / "mnist.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace("    return models.mlp(", "    return models.mlpp("))
    _refused(jaxresearch("run", "mine.py", *SHORT, "--directory", "mine"), tmp_path, "models.mlpp")
    assert (tmp_path / "mine").is_dir() and not any((tmp_path / "mine").iterdir())


def test_help_shows_every_hyperparameter_with_type_default_and_meaning(jaxresearch):
    done = jaxresearch("run", "mnist", "--help")
    assert done.returncode == 0 and done.stderr == ""
    for expected in ("--learning-rate FLOAT", "0.001", "step size of Adam", "--schedule {constant,linear}", "--smoke"):
        assert expected in done.stdout
    for words in (["--help"], ["run", "--help"], []):
        done = jaxresearch(*words)
        assert done.returncode == 0 and "usage: jaxresearch" in done.stdout


REGRESSION = """
import optax
from jaxresearch import losses, metrics, models, training
from jaxresearch.experiment import Experiment, hyperparameters, static, swept
from jaxresearch.statistics import Claim

@hyperparameters
class Line:
    learning_rate: float = swept(0.1, "step size", above=0)
    batch_size: int = static(16, "examples a step", at_least=1)
    epochs: int = static(20, "passes", at_least=1)

experiment = Experiment(
    question="Is it a line?", claim=Claim(text="R2 of 0.9", metric="test/r2", at_least=0.9),
    hyperparameters=Line(), source="line.csv", target="y",
    model=lambda h, card: models.linear(card.n_features, 1),
    loss_fn=lambda model, h: training.supervised(model, losses.half_squared_error),
    optimizer=lambda h, n_steps: training.gradient_descent(h.learning_rate),
    metrics=lambda card: {"r2": metrics.r2()},
)
"""


@pytest.mark.long
def test_a_users_own_regression_decides_its_own_claim(jaxresearch, tmp_path):
    (tmp_path / "line.py").write_text(REGRESSION)
    x = np.linspace(-1, 1, 200)
    (tmp_path / "line.csv").write_text("x,y\n" + "".join(f"{a},{3 * a + 0.5}\n" for a in x))
    done = jaxresearch("run", "line.py", "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert "supported" in done.stdout and "over 5 seeds" in done.stdout
    few = jaxresearch("run", "line.py", "--seeds", "3")
    assert "undecided" in few.stdout and "fewer than 5 seeds decide nothing" in few.stdout
    wild = jaxresearch("run", "line.py", "--learning-rate", "1e30")
    assert wild.returncode == 1 and len(wild.stderr.splitlines()) == 1
    assert re.search(r"the loss must be finite; that of seed \d is not in step \d+; the first array", wild.stderr)
    skipped = jaxresearch(
        "run", "line.py", "--learning-rate", "1e30", "--on-nonfinite", "skip", "--directory", "skipped"
    )
    assert skipped.returncode == 0, skipped.stderr
    assert json.loads((tmp_path / "skipped" / "result.json").read_text())["nonfinite"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('    epochs: int = static(20, "passes", at_least=1)\n', "", "must have a static field 'epochs'"),
        ("batch_size: int = static(", "batch_size: int = swept(", "must have a static field 'batch_size'"),
        (
            "    learning_rate: float",
            "    seeds: int = static(3, 'n')\n    learning_rate: float",
            "got 'seeds'. Rename it",
        ),
        ("@hyperparameters\n", "", "must be an instance of a class under @hyperparameters"),
    ],
)
def test_hyperparameters_that_cannot_serve_are_one_line(jaxresearch, tmp_path, old, new, message):
    assert old in REGRESSION
    (tmp_path / "line.py").write_text(REGRESSION.replace(old, new))
    _refused(jaxresearch("run", "line.py"), tmp_path, message)


def test_help_imports_no_jax():
    script = (
        "import sys; from jaxresearch.cli import main; main(['--help']); main(['list']); "
        "print(sorted({'jax', 'numpy', 'tyro', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_list_names_the_experiments(jaxresearch):
    done = jaxresearch("list")
    assert done.returncode == 0
    assert "mnist" in done.stdout and "Does a 784-128-10 network reach 98.04 % on MNIST" in done.stdout


@pytest.mark.long
def test_the_compilation_cache_is_on(folder, tmp_path):
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    command = [sys.executable, "-m", "jaxresearch", "run", "mnist", "--smoke", "--seeds", "1"]
    subprocess.run(command, cwd=folder, env={**kept, "XDG_CACHE_HOME": str(tmp_path / "own")}, check=True)
    assert any((tmp_path / "own" / "jaxresearch" / "xla").iterdir())


@pytest.mark.parametrize("signalled", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_while_data_is_read_leaves_nothing_behind(tmp_path, signalled):
    slow = "collect=lambda source, *, target: (open('reading', 'w').close(), __import__('time').sleep(60)),"
    (tmp_path / "line.py").write_text(REGRESSION.replace("experiment = Experiment(", f"experiment = Experiment({slow}"))
    command = [sys.executable, "-m", "jaxresearch", "run", "line.py", "--directory", "out"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "reading").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signalled)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 75 and complaint == "jaxresearch: interrupted before anything was recorded\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_progress_on_a_terminal_is_a_bar(tmp_path, cache):
    """On a terminal: bar, loss, accuracy, examples a second, time left."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "TERM": "xterm-256color", "COLUMNS": "160"}
    command = [sys.executable, "-m", "jaxresearch", "run", ROOT / "experiments" / "mnist.py", *SHORT]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=follower, stderr=follower, close_fds=True)
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(leader)
    assert process.wait() == 0
    text = seen.decode(errors="replace")
    for expected in ("epoch", "━", "loss", "accuracy", "examples/s", "0:00:0"):
        assert expected in text


def poisoned(tmp_path, at):
    """Writes a line's experiment whose loss is not finite at one step of one of its seeds."""
    text = REGRESSION.replace(
        "experiment = Experiment(",
        f"""
def poisoned(estimator, optimizer):
    plain = training.step(estimator, optimizer)

    def step(state, batch, key):
        targets = jax.numpy.where(state.step == {at}, jax.numpy.inf, batch["targets"])
        return plain(state, {{**batch, "targets": targets}}, key)

    return step


experiment = Experiment(
    step=poisoned,""",
    )
    (tmp_path / "line.py").write_text("import jax\n" + text)
    x = np.linspace(-1, 1, 200)
    (tmp_path / "line.csv").write_text("x,y\n" + "".join(f"{a},{3 * a + 0.5}\n" for a in x))


@pytest.mark.long
def test_a_loss_that_is_not_finite_stops_the_run_and_tells_where(jaxresearch, tmp_path):
    poisoned(tmp_path, at=33)
    done = jaxresearch("run", "line.py", "--directory", "out")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "that of seed 0 is not in step 34" in done.stderr and "--on-nonfinite skip or rollback" in done.stderr
    with np.load(tmp_path / "out" / "nonfinite.npz", allow_pickle=False) as inputs:
        assert "['batch']['inputs']" in inputs and "['key']" in inputs
        assert inputs["['state'].step"] == 33
    assert not (tmp_path / "out" / "result.json").exists()


@pytest.mark.long
@pytest.mark.parametrize("how", ["skip", "rollback"])
def test_a_run_outlives_a_loss_that_is_not_finite(jaxresearch, tmp_path, how):
    poisoned(tmp_path, at=33)
    done = jaxresearch("run", "line.py", "--directory", "out", "--on-nonfinite", how)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    events = {"skip": [{"seed": seed, "step": 33, "done": how, "n_steps": 1} for seed in range(5)]}
    assert result["nonfinite"] == events.get(how, [{"seed": 0, "step": 33, "done": how}])
    # What came before the rollback counts: a start and a chunk, compiled once more after it; then the evaluation.
    assert result["n_compilations"] == {"skip": 3, "rollback": 5}[how] and result["resumed_from"] == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert np.all(np.diff([line["seconds"] for line in lines]) > 0)
    assert result["seconds"]["train"] >= lines[-1]["seconds"]
    assert min(result["metrics"]["test/r2"]["values"]) > 0.9


@pytest.mark.parametrize("how", ["skip", "rollback"])
def test_an_update_that_is_not_finite_is_on_record_though_its_loss_is(jaxresearch, tmp_path, how):
    poisoned(tmp_path, at=-1)
    text, plain = (tmp_path / "line.py").read_text(), 'return plain(state, {**batch, "targets": targets}, key)'
    assert plain in text
    update = """made, metrics = plain(state, batch, key)
        spoilt = jax.tree.map(lambda leaf: jax.numpy.where(state.step == 33, jax.numpy.nan, leaf), made.params)
        return made._replace(params=spoilt), metrics"""
    (tmp_path / "line.py").write_text(text.replace(plain, update))
    done = jaxresearch("run", "line.py", "--directory", "out", "--on-nonfinite", how, "--seeds", "2")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["nonfinite"] and {event["done"] for event in result["nonfinite"]} == {how}
    if how == "skip":
        assert [(event["seed"], event["step"], event["n_steps"]) for event in result["nonfinite"]] == [
            (0, 33, 1),
            (1, 33, 1),
        ]
    assert min(result["metrics"]["test/r2"]["values"]) > 0.9


def test_an_experiment_whose_report_fails_keeps_what_was_trained(jaxresearch, tmp_path):
    poisoned(tmp_path, at=-1)
    text = (tmp_path / "line.py").read_text().rstrip()
    (tmp_path / "line.py").write_text(
        f"{text}\nimport dataclasses\nfail = lambda *_: 1 / 0\n"
        "experiment = dataclasses.replace(experiment, report=fail)\n"
    )
    done = jaxresearch("run", "line.py", "--directory", "out")
    assert done.returncode == 0 and (tmp_path / "out" / "result.json").exists(), done.stderr
    assert (
        "warning: the experiment's report failed, and is left out" in done.stderr and "ZeroDivisionError" in done.stderr
    )


def test_a_run_that_is_never_finite_is_not_rolled_back_for_ever(jaxresearch, tmp_path):
    poisoned(tmp_path, at="state.step * (state.step > 30)")
    done = jaxresearch("run", "line.py", "--directory", "out", "--on-nonfinite", "rollback")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "the loss must be finite" in done.stderr


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # those of MLflow's own packages
def test_a_tracked_run_tells_its_trackers_what_stands_in_its_metrics(jaxresearch, tmp_path, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking", reason="needs the extra track")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    done = jaxresearch("run", "mnist", *SHORT, "--track", "tensorboard", "mlflow", "--directory", "out", "--smoke")
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "is deprecated" not in line]  # of MLflow's own packages
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    result, known = (json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("result", "mlflow"))
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'out' / 'mlflow.db'}")
    told = {metric.step: metric.value for metric in client.get_metric_history(known["run_id"], "train/loss")}
    assert told == {line["step"]: pytest.approx(np.mean(line["train/loss"]), rel=1e-6) for line in lines}
    accuracy = client.get_run(known["run_id"]).data.metrics["test/accuracy"]
    assert accuracy == pytest.approx(result["metrics"]["test/accuracy"]["mean"], rel=1e-6)
    assert len(list((tmp_path / "out" / "tensorboard").iterdir())) == 1


@pytest.mark.long
def test_a_tracker_that_cannot_be_reached_is_dropped_and_changes_no_figure(jaxresearch, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="needs the extra track")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://store")
    values = []
    for name, words in (("plain", []), ("tracked", ["--track", "mlflow"])):
        done = jaxresearch("run", "mnist", *SHORT, "--smoke", *words, "--directory", name)
        assert done.returncode == 0, done.stderr
        values.append(json.loads((tmp_path / name / "result.json").read_text())["metrics"])
    assert values[0] == values[1]
    assert "jaxresearch: warning: the tracker mlflow is dropped: " in done.stderr
    assert "Traceback" not in done.stderr


def test_trackers_are_of_runs_alone_and_known_by_name(jaxresearch, tmp_path):
    _refused(jaxresearch("run", "mnist", "--track", "paper"), tmp_path, "paper")
    sweep = jaxresearch("sweep", "mnist", "--learning-rate", "1e-3,1e-2", "--track", "mlflow", "--smoke")
    _refused(sweep, tmp_path, "option must be one that sweep has; got --track")

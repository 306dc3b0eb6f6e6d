"""``jaxresearch run``: files and output, mistakes in data, early stopping, non-finite steps, signals."""

import dataclasses
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

from jaxresearch import loading
from jaxresearch.cli.parsing import parse
from jaxresearch.cli.run import undecided

ROOT = Path(__file__).parents[2]
SHORT = ["--epochs", "1", "--seeds", "2"]


def read(path):
    return json.loads(path.read_text())


def lines_of(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def process(folder, *words, **environment):
    """Runs a command in a separate process."""
    command = [sys.executable, "-m", "jaxresearch", *map(str, words)]
    environment = {**os.environ, "COLUMNS": "200", **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_a_run_writes_all_that_the_design_lists(folder):
    done = process(
        folder, "run", "line.py", "--directory", "out", PYTHONWARNINGS="default"
    )  # none of its imports warns
    assert done.returncode == 0 and done.stderr == "", done.stderr
    config, environment, result = (
        read(folder / "out" / f"{name}.json") for name in ("config", "environment", "result")
    )
    assert config["experiment"] == str(folder / "line.py") and config["hyperparameters"]["epochs"] == 20
    assert config["seeds"] == environment["seeds"] == result["seeds"] == [0, 1, 2, 3, 4]
    assert dict(config["data_card"]["sha256"])["line.csv"] and environment["packages"]["jax"]
    assert result["claim"]["verdict"] == "supported" and "n_seeds" not in result
    r2 = result["metrics"]["test/r2"]
    assert len(r2["values"]) == 5 and 0.9 < r2["ci95"][0] <= r2["mean"] <= r2["ci95"][1] < 1
    assert set(result["seconds"]) == {"load", "compile", "train", "evaluate"}
    assert result["n_compilations"] == 3 and result["examples_per_second"] > 0
    assert (result["steps"], result["steps_per_epoch"], result["best_step"], result["resumed_from"]) == (
        200,
        10,
        None,
        0,
    )
    lines = lines_of(folder / "out")
    assert lines[-1]["step"] == 200 and len(lines[-1]["train/loss"]) == 5
    assert not any(name.startswith("validation/") for line in lines for name in line)
    assert [path.name for path in (folder / "out" / "checkpoints").iterdir()] == ["200"]
    assert "epoch 20/20 · train loss " in done.stdout and "supported" in done.stdout and "compile" in done.stdout
    assert [path.name for path in (folder / "out").glob(".*")] == [".lock"]


@pytest.mark.long
def test_seeds_are_those_that_were_named(here, folder):
    done = here("run", "line.py", "--seeds", "7,3", "--directory", "out")
    assert done.returncode == 0, done.stderr
    few = here("run", "line.py", "--seeds", "8", "--directory", "few")
    values, of_eight = (read(folder / name / "result.json")["metrics"]["test/r2"]["values"] for name in ("out", "few"))
    assert read(folder / "out" / "result.json")["seeds"] == [7, 3]
    np.testing.assert_allclose(values, [of_eight[7], of_eight[3]], rtol=1e-5)  # float32, runs side by side or not
    assert "; at least 5 seeds are needed to decide a claim)" in done.stdout and "over 8 seeds" in few.stdout


def test_smoke_takes_few_steps_and_claims_nothing(here, folder):
    done = here("run", "line.py", "--smoke", "--epochs", "50", "--seeds", "100", "--validation", "0.2")
    assert done.returncode == 0, done.stderr
    (directory,) = (folder / "runs").glob("line-*")
    result = read(directory / "result.json")
    assert result["claim"]["verdict"] == "undecided" and result["seeds"] == [0, 1] and result["steps"] == 8
    assert (
        "Smoke run: a few steps on a few examples, to check that everything works. It decides nothing." in done.stdout
    )
    assert "95 %" not in done.stdout and "Claim" not in done.stdout and "test/r2" in done.stdout


def test_a_single_seed_has_an_interval_over_examples_alone(here):
    done = here("run", "line.py", *SHORT, "--seeds", "3,")
    assert "95 % interval over 40 examples, one seed" in done.stdout and done.stdout.count("95 %") == 1
    assert "one seed; at least 5 seeds are needed to decide a claim" in done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "looks"),
    [
        (["--validation", "0.25"], range(7, 141, 7)),  # 120 examples are left: 7 batches per epoch
        (["--validation", "0.25", "--evaluate-every", "50"], (50, 100, 140)),
    ],
)
def test_validation_is_looked_at_on_lines_of_its_own(here, folder, words, looks):
    done = here("run", "line.py", "--seeds", "3", *words, "--directory", "out")
    assert done.returncode == 0, done.stderr
    lines = lines_of(folder / "out")
    seen = [line for line in lines if "validation/mse" in line]
    assert [line["step"] for line in seen] == list(looks)
    assert all(line.keys() == {"step", "seconds", "validation/mse", "validation/r2"} for line in seen)
    assert all(len(line["validation/mse"]) == 3 for line in seen)
    assert all(a["step"] <= b["step"] for a, b in zip(lines, lines[1:], strict=False))
    assert "· validation mse " in done.stdout and "best epoch" not in done.stdout
    plain = here("run", "line.py", "--seeds", "3", "--train-examples", "120", "--directory", "plain")
    assert plain.returncode == 0 and not [line for line in lines_of(folder / "plain") if "validation/mse" in line]


@pytest.mark.long
def test_folds_have_validation_parts_of_their_own(here, folder):
    done = here("run", "line.py", "--folds", "4", "--validation", "0.2", "--directory", "out")
    assert done.returncode == 0, done.stderr
    seen = [line["validation/mse"] for line in lines_of(folder / "out") if "validation/mse" in line]
    assert len(seen) == 20 and len({*seen[0]}) == 4
    result = read(folder / "out" / "result.json")
    assert result["seeds"] == [0, 1, 2, 3] and result["n_folds"] == 4
    assert "the claim is about the test part, this run about 4 folds" in done.stdout


def stopped(edit):
    """Wraps the experiment in early stopping; its learning rate makes each seed diverge, in different epochs."""
    edit("    return training.supervised(", "    made = training.supervised(")
    edit(
        "mean_squared_error()},\n    )",
        'mean_squared_error()},\n    )\n    return algorithms.stopped(made, metric="mse", patience=2)',
    )


@pytest.mark.long
def test_a_stopped_run_ends_with_the_best_state_of_each_seed(here, edit, folder):
    stopped(edit)
    words = ["--seeds", "3", "--validation", "0.25", "--epochs", "200", "--learning-rate", "0.3"]
    done = here("run", "line.py", *words, "--directory", "out")
    assert done.returncode == 0, done.stderr
    result, lines = read(folder / "out" / "result.json"), lines_of(folder / "out")
    seen = np.array([line["validation/mse"] for line in lines if "validation/mse" in line])
    assert result["steps"] == 7 * len(seen) < 1400 and (folder / "out" / "checkpoints" / str(result["steps"])).is_dir()
    # The best evaluation of each seed is better than the two after it, and than all before it.
    for seed, best in enumerate(result["best_step"]):
        of_seed = seen[: best // 7 + 2, seed]
        assert of_seed.argmin() == best // 7 - 1
    epochs = ", ".join(f"{step // 7} (seed {seed})" for seed, step in enumerate(result["best_step"]))
    assert f"best epoch on validation data: {epochs}\n" in done.stdout

    (folder / "out" / "result.json").unlink()  # as if it had been killed before it was written
    again = here("resume", "out")
    assert again.returncode == 0, again.stderr
    after = read(folder / "out" / "result.json")
    assert {name: after[name] for name in ("metrics", "best_step", "steps")} == {
        name: result[name] for name in ("metrics", "best_step", "steps")
    }
    assert after["resumed_from"] == after["steps"] and lines_of(folder / "out") == lines


def test_resume_after_a_failed_report_does_not_train(here, edit, folder):
    edit(
        "def report(h, state, collected, dataset):\n    from pathlib import Path\n"
        "    if len(dataset.test['targets']) == 400 and not Path('fixed').exists():\n        raise ValueError('too long')\n"
        "    return 'fine'"
    )  # preflight calls it with 100 examples
    x = np.linspace(-1, 1, 2000)
    (folder / "line.csv").write_text("x,y\n" + "".join(f"{a},{3 * a + 0.5}\n" for a in x))
    done = here("run", "line.py", "--epochs", "2", "--directory", "out")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "too long (experiment file line.py, line 28)" in done.stderr
    assert not (folder / "out" / "result.json").exists()
    manifest = read(folder / "out" / "checkpoints" / "200" / "manifest.json")["manifest"]
    assert manifest["about"]["ended"] is True
    before = (folder / "out" / "metrics.jsonl").read_text()
    (folder / "fixed").touch()
    done = here("resume", "out")
    assert done.returncode == 0, done.stderr
    result = read(folder / "out" / "result.json")
    assert result["report"] == "fine" and result["resumed_from"] == result["steps"] == 200
    assert (folder / "out" / "metrics.jsonl").read_text() == before and "epoch 1" not in done.stdout


MATRIX = """
plain = algorithm
def algorithm(h, card, plan, fitted):
    made = plain(h, card, plan, fitted)
    def evaluate(state, data, key):
        found = made.evaluate(state, data, key)
        return {**found, "errors": jnp.arange(4.0).reshape(2, 2), "recall": jnp.ones(3) / 2}
    return made._replace(evaluate=evaluate)
"""


@pytest.mark.long
def test_vectors_and_matrices_are_recorded_and_printed(here, edit, folder):
    edit(MATRIX)
    done = here("run", "line.py", "--seeds", "3", "--validation", "0.2", "--directory", "out")
    assert done.returncode == 0, done.stderr
    metrics = read(folder / "out" / "result.json")["metrics"]
    assert metrics["test/errors"]["values"] == [[[0, 1], [2, 3]]] * 3 and metrics["test/recall"]["mean"] == [0.5] * 3
    assert lines_of(folder / "out")[-1]["validation/errors"] == [[[0, 1], [2, 3]]] * 3
    assert "test/recall[2]" in done.stdout and "test/errors, mean over seeds" in done.stdout
    assert "validation recall" not in done.stdout  # the progress line shows only scalars
    assert here("sweep", "line.py", "--learning-rate", "0.1,0.2").returncode == 0


@pytest.mark.parametrize(
    ("changed", "because"),
    [
        ({}, None),
        ({"train_examples": 100}, "the claim is about all training examples, this run about 100"),
        (
            {"init_from": Path("other")},
            "the claim is about training from scratch, this run started from the parameters of another",
        ),
        ({"smoke": True}, "a smoke run decides nothing"),
        (
            {"types": (("age", "category"), ("zip", "drop"))},
            "the claim is about the columns as its experiment reads them, this run changes age, zip by --types",
        ),
        (
            {"image_size": 14},
            "the claim is about images as its experiment reads them, this run resizes them by --image-size",
        ),
    ],
)
def test_a_run_about_something_else_does_not_decide_the_claim(changed, because):
    mnist = loading.load("mnist", directory=ROOT / "experiments")
    options = dataclasses.replace(parse(mnist, ["--seeds", "10"]), **changed)
    assert undecided(options, mnist) == because


def test_types_of_the_experiment_itself_leave_the_claim_decided():
    mnist = loading.load("mnist", directory=ROOT / "experiments")
    declared = dataclasses.replace(mnist, types={"zip": "drop"})
    options = dataclasses.replace(parse(mnist, []), types=(("zip", "drop"),))
    assert undecided(options, declared) is None
    options = dataclasses.replace(options, types=(("zip", "category"),))
    assert "this run changes zip by --types" in undecided(options, declared)


def _idx_folder(folder, n_train=64, n_test=20):
    folder.mkdir()
    for prefix, n in (("train", n_train), ("t10k", n_test)):
        images = np.random.default_rng(n).integers(0, 256, (n, 28, 28)).astype(np.uint8)
        header = struct.pack(">BBBB3I", 0, 0, 8, 3, n, 28, 28)
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        labels = (np.arange(n) % 10).astype(np.uint8)
        header = struct.pack(">BBBBI", 0, 0, 8, 1, n)
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))
    return folder


def _npz(path, **changes):
    arrays = {}
    for part, n in (("train", 80), ("val", 8), ("test", 20)):
        arrays[f"{part}_images"] = np.random.default_rng(n).integers(0, 256, (n, 28, 28)).astype(np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 2).astype(np.uint8)[:, None]
    np.savez(path, **{**arrays, **changes})
    return path


def _csv(path):
    rows = (f"{i % 7},{('red', 'blue', '')[i % 3]},{'ab'[i % 2]}\n" for i in range(80))
    path.write_text("age,colour,kind\n" + "".join(rows))
    return path


@pytest.fixture
def mnist(folder):
    """The path of the main job's file."""
    return shutil.copy(ROOT / "experiments" / "mnist.py", folder)


@pytest.mark.parametrize(
    "kind", ["csv", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("idx", "npz", "parquet"))]
)
def test_a_users_own_data_runs_through_the_same_command(here, mnist, folder, kind):
    if kind == "idx":
        words = ["--data", _idx_folder(folder / "fashion")]
    elif kind == "npz":
        words = ["--data", _npz(folder / "chest.npz"), "--validation", "own"]
    else:
        path = _csv(folder / "mine.csv")
        if kind == "parquet":
            import polars

            polars.read_csv(path).write_parquet(folder / "mine.parquet")
            path = folder / "mine.parquet"
        words = ["--data", path, "--target", "kind"]
    done = here("run", mnist, *SHORT, *words, "--hidden", "8", "--directory", "out")
    assert done.returncode == 0, done.stderr
    result = read(folder / "out" / "result.json")
    assert len(result["metrics"]["test/accuracy"]["values"]) == 2
    name = words[1].name  # relative to the folder
    about = f'The claim "98.04 % test accuracy" is about mnist, not {name}, so it is not decided here.'
    assert result["claim"] is None and result["unclaimed"] == about and about in done.stdout
    assert result["question"] == f"mnist on {name}" and name in done.stdout and "Does a 784" not in done.stdout
    card = read(folder / "out" / "config.json")["data_card"]
    assert len(card["class_names"]) == (10 if kind == "idx" else 2)
    assert [line["step"] for line in lines_of(folder / "out") if "validation/accuracy" in line] == [2] * (kind == "npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_labels": np.zeros((79, 1), np.uint8)},
            "as many targets as inputs, got 79 in train_labels and 80 in train_images",
        ),
        ({"train_images": np.full((80, 28, 28), np.nan)}, "inputs of the train part must be finite, got nan"),
        ({"test_images": np.full((20, 28, 28), np.inf)}, "inputs of the test part must be finite, got inf"),
        ({"train_images": np.array([object()] * 80)}, "Python objects, which are never loaded"),
        (
            {"train_labels": np.linspace(0, 1, 80)[:, None]},
            "targets must have the same type and shape in all parts, got float and integers",
        ),
    ],
)
def test_a_mistake_in_the_data_is_one_line(here, mnist, folder, refused, changes, message):
    path = _npz(folder / "chest.npz", **changes)
    refused(here("run", mnist, "--data", path), message, kept=("line.py", "line.csv", "mnist.py", "chest.npz"))


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("chest.npz", lambda raw: raw[: len(raw) // 2], "must be an intact .npz file"),
        ("chest.npz", lambda raw: b"", "must be an intact .npz file"),
        ("fashion/train-images-idx3-ubyte.gz", lambda raw: raw[:-50], "must be an intact gzip file"),
        ("fashion/t10k-labels-idx1-ubyte.gz", lambda raw: b"", "must not be empty"),
        ("mine.csv", lambda raw: b"", "must not be empty"),
    ],
)
def test_a_damaged_file_is_one_line(here, mnist, folder, refused, name, damage, message):
    _npz(folder / "chest.npz"), _idx_folder(folder / "fashion"), _csv(folder / "mine.csv")
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    source = path.parent if "fashion" in name else path
    words = ["--target", "kind"] if name.endswith(".csv") else []
    done = here("run", mnist, "--data", source, *words)
    refused(done, message, kept=("line.py", "line.csv", "mnist.py", "chest.npz", "fashion", "mine.csv"))


WRONG = """
plain = algorithm
def algorithm(h, card, plan, fitted):
    made = plain(h, card, plan, fitted)
    def step(state, batch, key):
        targets = jnp.where(batch["targets"] == 77, jnp.inf, batch["targets"])
        return made.step(state, {**batch, "targets": targets}, key)
    return made._replace(step=step)
"""


@pytest.fixture
def poisoned(edit, folder):
    """Data with one training example whose target makes the loss infinite."""
    edit(WRONG)
    edit('source="line.csv"', 'source="line.npz"')
    edit(', target="y"', ", preprocess=data.Preprocessor()")
    x = np.linspace(-1, 1, 200)[:, None]
    y = 3 * x + 0.5
    y_train = y.copy()
    y_train[11] = 77
    np.savez(folder / "line.npz", x_train=x, y_train=y_train, x_test=x + 1e-3, y_test=y + 3e-3)


def test_an_infinite_loss_stops_the_only_seed_with_a_diagnosis(here, poisoned, folder):
    done = here("run", "line.py", "--seeds", "9,", "--directory", "out")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    found = re.search(
        r"loss of seed (\d) is not finite in step (\d+); the first bad array is (\S+) in step (\d+), whose inputs are in "
        r"out/nonfinite.npz. Lower the learning rate, clip the gradient, or pass --on-nonfinite skip.",
        done.stderr,
    )
    assert found and found[1] == "9" and found[2] == found[4] and found[3].startswith("gradient"), done.stderr
    with np.load(folder / "out" / "nonfinite.npz", allow_pickle=False) as inputs:
        assert 77 in inputs["['batch']['targets']"] and "['key']" in inputs
    assert not (folder / "out" / "result.json").exists()
    (line,) = [line for line in lines_of(folder / "out") if "nonfinite" in line]
    assert line["nonfinite"] == [{"seed": int(found[1]), "step": int(found[2]) - 1, "done": "stop"}]


def test_steps_that_are_not_finite_are_skipped(here, poisoned, folder):
    done = here("run", "line.py", "--seeds", "4,9", "--directory", "out", "--on-nonfinite", "skip")
    assert done.returncode == 0, done.stderr
    result = read(folder / "out" / "result.json")
    assert sum(event["n_steps"] for event in result["nonfinite"] if event["seed"] == 9) >= 15  # once in most epochs
    assert {event["seed"] for event in result["nonfinite"]} == {4, 9} and result["n_compilations"] == 3
    assert min(result["metrics"]["test/r2"]["values"]) > 0.9
    assert np.all(np.diff([line["seconds"] for line in lines_of(folder / "out")]) > 0)


def test_rollback_is_no_choice(here, refused):
    refused(here("run", "line.py", "--on-nonfinite", "rollback"), "on-nonfinite must be stop or skip, got rollback.")


def test_help_shows_type_default_and_meaning_of_hyperparameters(here):
    done = here("run", "line.py", "--help")
    assert done.returncode == 0 and done.stderr == ""
    for text in (
        "--learning-rate FLOAT",
        "(default: 0.1)",
        "step size",
        "--seeds N|A,B,C",
        "--smoke",
        "--validation FRACTION|own",
    ):
        assert text in done.stdout
    for words in (["--help"], ["run", "--help"], []):
        done = here(*words)
        assert done.returncode == 0 and "usage: jaxresearch" in done.stdout


@pytest.mark.parametrize("name", ["resume", "predict", "export", "report", "compare", "verify"])
def test_the_help_of_a_command_on_directories_explains_it(command, name):
    usage, empty, *lines = command(name, "--help").stdout.splitlines()
    assert usage.startswith(f"usage: jaxresearch {name} DIR") and empty == ""
    assert lines[-1].endswith(".") and all(len(line) <= 130 for line in lines)
    done = command(name)
    assert done.returncode == 2 and done.stderr == f"{usage}\n" and done.stdout == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "lin"], "experiment must be a .py file, a name in experiments or a shipped one; got 'lin'"),
        (
            ["run", "--seeds", "3"],
            "the experiment must come first, got '--seeds'. Write: jaxresearch run EXPERIMENT --seeds",
        ),
        (
            ["rum", "line.py"],
            "command must be one of run, sweep, study, audit, summary, plan, resume, report, verify, compare",
        ),
        *(
            ([command, "nowhere", *rest], "nowhere does not exist. Correct the path.")
            for command, *rest in (
                *(["resume"], ["report"], ["verify"], ["compare", "elsewhere"], ["predict", "new.csv"]),
                ["export", "--to", "stablehlo"],
            )
        ),
    ],
)
def test_a_mistake_in_the_command_is_one_line(here, refused, words, message):
    refused(here(*words), message)


def test_help_imports_no_jax():
    script = (
        "import sys; from jaxresearch.cli import main; main(['--help']); main(['list']); main(['new', '--help']); "
        "print(sorted({'jax', 'numpy', 'tyro', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_what_does_not_exist_is_refused_without_jax():
    words = [["run", "elsewhere.py"], ["plan", "elsewhere"], ["report", "elsewhere"], ["verify", "elsewhere"]]
    script = (
        f"import sys; from jaxresearch.cli import main; print([main(one) for one in {words}], 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[2, 2, 2, 2] False\n" and done.stderr.count("\n") == 4, done.stderr


@pytest.mark.long
def test_the_compilation_cache_is_on(folder, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert process(folder, "run", "line.py", "--smoke", XDG_CACHE_HOME=str(folder / "own")).returncode == 0
    assert any((folder / "own" / "jaxresearch" / "xla").iterdir())


@pytest.mark.parametrize("signalled", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_while_data_is_read_leaves_nothing_behind(edit, folder, signalled):
    edit("report=report,", "report=report, collect=collect,")
    edit("def collect(source, *, target):\n    open('reading', 'w').close(), __import__('time').sleep(60)")
    command = [sys.executable, "-m", "jaxresearch", "run", "line.py", "--directory", "out"]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as started:
        while not (folder / "reading").exists() and started.poll() is None:
            time.sleep(0.01)
        started.send_signal(signalled)
        _, complaint = started.communicate(timeout=30)
    assert started.returncode == 75 and complaint == "jaxresearch: interrupted before anything was recorded\n"
    assert not (folder / "out").exists()


@pytest.mark.long
def test_progress_on_a_terminal_is_a_bar(folder):
    """A terminal shows a bar, the metrics of both parts and the remaining time."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    command = [sys.executable, "-m", "jaxresearch", "run", "line.py", "--validation", "0.1"]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=follower, stderr=follower) as started:
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
    assert started.returncode == 0
    text = seen.decode(errors="replace")
    for expected in ("epoch", "━", "train loss", "validation mse", "0:00:0"):
        assert expected in text


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # those of MLflow's own packages
def test_a_tracked_run_sends_its_metrics_to_its_trackers(jaxresearch, folder, monkeypatch):
    tracking = pytest.importorskip("mlflow.tracking", reason="needs the extra track")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    words = [
        "run",
        "line.py",
        "--validation",
        "0.1",
        "--track",
        "tensorboard",
        "mlflow",
        "--directory",
        "out",
        "--smoke",
    ]
    done = jaxresearch(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "is deprecated" not in line]  # of MLflow's own packages
    result, known = (read(folder / "out" / f"{name}.json") for name in ("result", "mlflow"))
    client = tracking.MlflowClient(tracking_uri=f"sqlite:///{folder / 'out' / 'mlflow.db'}")
    for name in ("train/loss", "validation/mse"):
        sent = {metric.step: metric.value for metric in client.get_metric_history(known["run_id"], name)}
        lines = [line for line in lines_of(folder / "out") if name in line]
        assert sent == {line["step"]: pytest.approx(np.mean(line[name]), rel=1e-6) for line in lines}
    r2 = client.get_run(known["run_id"]).data.metrics["test/r2"]
    assert r2 == pytest.approx(result["metrics"]["test/r2"]["mean"], rel=1e-6)
    assert len(list((folder / "out" / "tensorboard").iterdir())) == 1


@pytest.mark.long
def test_an_unreachable_tracker_is_dropped_and_changes_no_metric(jaxresearch, folder, monkeypatch):
    pytest.importorskip("mlflow", reason="needs the extra track")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://store")
    values = []
    for name, words in (("plain", []), ("tracked", ["--track", "mlflow"])):
        done = jaxresearch("run", "line.py", *SHORT, *words, "--directory", name, cwd=folder)
        assert done.returncode == 0, done.stderr
        values.append(read(folder / name / "result.json")["metrics"])
    assert values[0] == values[1]
    assert "jaxresearch: warning: the tracker mlflow is dropped: " in done.stderr
    assert "Traceback" not in done.stderr

"""``jaxresearch sweep``: real processes, real files."""

import csv
import functools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, execution, loading

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sweep(jaxresearch):
    return functools.partial(jaxresearch, "sweep", "mnist")


@pytest.mark.long
def test_a_sweep_leaves_a_table_a_picture_and_what_was_asked(sweep, tmp_path):
    words = ["--learning-rate", "1e-4:1e-2:log:3", "--hidden=16,8x8", "--seeds", "2", "--smoke"]
    done = sweep(*words, "--directory", str(tmp_path / "sweep"))
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()))
    assert [(row["learning_rate"], row["hidden"]) for row in rows] == [
        (rate, hidden) for rate in ("0.0001", "0.001", "0.01") for hidden in ("16", "8x8")
    ]
    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    accuracies = [row["accuracy"] for row in record["rows"]]
    assert record["best"] == int(np.argmax(accuracies)) and record["metric"] == "validation/accuracy"
    assert (tmp_path / "sweep" / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    config = json.loads((tmp_path / "sweep" / "config.json").read_text())
    assert config["axes"] == {"learning_rate": [1e-4, 1e-3, 1e-2], "hidden": [[16], [8, 8]]}
    assert "the test part was not read" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learning-rate", "1e-1:1e-4:log:4"], "a range must go upwards; got --learning-rate 1e-1:1e-4:log:4"),
        (["--learning-rate", "1e-4:1e-1:log:0"], "a range must hold 1 value or more; got 0"),
        (["--learning-rate", "0:1:log:3"], "a log range must begin above 0"),
        (["--learning-rate", "1:2"], "a range must be low:high:n or low:high:log:n; got --learning-rate 1:2"),
        (["--learning-rate", "1:2:lin:3"], "a range must be low:high:n or low:high:log:n"),
        (["--learning-rate", "1e-3,1e-3"], "a list must hold values that differ"),
        (["--learning-rate", "-1:1:3"], "learning_rate must be above 0; got -1"),
        (["--epochs", "1:5:3"], "a range must be of a float field; epochs is not one"),
        (["--learning-rat", "1,2"], "Did you mean --learning-rate?"),
        (["--schedule", "constant,cosine"], "invalid choice 'cosine'"),
        (["--batch-size", "32,60001"], "batch_size"),
        (["--learning-rate", "1e-3"], "a sweep must go over a field at least; got none"),
        (["--learning-rate", "1,2", "--on-nonfinite", "skip"], "option must be one that sweep has; got --on-nonfinite"),
        ([], "a sweep must go over a field at least; got none"),
    ],
)
def test_a_mistake_is_told_in_one_line(sweep, words, message, tmp_path):
    done = sweep(*words, "--directory", str(tmp_path / "sweep"))
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "sweep").exists()


@pytest.fixture(scope="module")
def mnist():
    experiment = loading.load("mnist")
    dataset = data.encode_dataset(data.load("mnist"))
    small = dataset._replace(
        train={name: values[:640] for name, values in dataset.train.items()},
        test={name: values[:200] for name, values in dataset.test.items()},
    )
    return experiment, small


def of(experiment, **changes):
    import dataclasses

    return dataclasses.replace(experiment.hyperparameters, epochs=1, hidden=(16,), **changes)


GROUPS = ["--learning-rate", "1e-3,1e30", "--hidden=16,8", "--seeds", "2", "--epochs", "2", "--batch-size", "256"]


@pytest.fixture(scope="module")
def whole(sweep, tmp_path_factory):
    """A sweep of two groups that was not interrupted."""
    directory = tmp_path_factory.mktemp("whole") / "sweep"
    done = sweep(*GROUPS, "--directory", str(directory))
    assert done.returncode == 0, done.stderr
    return directory


@pytest.mark.long
@pytest.mark.parametrize(
    ("signalled", "group"),
    [
        (signal.SIGINT, 1),
        (signal.SIGKILL, 0),
        pytest.param(signal.SIGINT, 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, 1, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_sweep_goes_on_bit_for_bit(jaxresearch, sweep, whole, tmp_path, signalled, group):
    directory = tmp_path / "sweep"
    words = [*GROUPS, "--save-every", "0", "--directory", str(directory)]
    command = [sys.executable, "-m", "jaxresearch", "sweep", "mnist", *words]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 120
    awaited = f"group-{group}/checkpoints/*/manifest.json"
    while not list(directory.glob(awaited)) and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.005)
    first.send_signal(signalled)
    _, complaint = first.communicate()
    told = ["jaxresearch", "resume", str(directory)]
    if signalled == signal.SIGINT:
        assert first.returncode == 75 and complaint.partition("go on with: ")[2].split() == told, complaint
    else:
        assert first.returncode == -signal.SIGKILL
    # The last group may have ended before the signal is heard: its figures are in trials.json then, and its states gone.
    has_ended = group == 1 and (directory / "trials.json").exists()
    assert not (directory / "sweep.csv").exists() and (has_ended or list(directory.glob("group-*/checkpoints/*")))
    done = jaxresearch(*told[1:])
    assert done.returncode == 0, done.stderr
    for name in ("sweep.csv", "sweep.json", "trials.json"):
        assert (directory / name).read_text() == (whole / name).read_text()
    assert not list(directory.glob("group-*"))

    ended = sweep(*words)
    assert ended.returncode == 2 and "has ended; read its sweep.csv" in ended.stderr
    other = sweep(*words[:-1], str(whole), "--epochs", "3")
    assert other.returncode == 2


def test_a_sweep_over_a_single_value_can_be_typed_again(tmp_path):
    from jaxresearch.cli.axes import parse_sweep, words_of_axes

    mnist = loading.load("mnist", directory=ROOT / "experiments")
    for words in (["--learning-rate", "0.1:0.1:1"], ["--hidden", "16,8x8", "--learning-rate", "1e-4:1e-2:log:3"]):
        _, axes = parse_sweep(mnist, words, prog="sweep")
        plain = json.loads(json.dumps(axes))
        assert parse_sweep(mnist, words_of_axes(plain), prog="sweep")[1] == axes


@pytest.mark.long
def test_a_picture_that_cannot_be_made_costs_no_figures(sweep, tmp_path):
    words = ["--learning-rate", "1e-3,1e-2", "--smoke", "--directory", str(tmp_path / "sweep")]
    done = sweep(*words, MPLBACKEND="none")
    assert done.returncode == 0 and "best: " in done.stdout
    assert "warning: the picture of the sweep could not be made: " in done.stderr and len(done.stderr.splitlines()) == 1
    assert len(list(csv.DictReader((tmp_path / "sweep" / "sweep.csv").read_text().splitlines()))) == 2


@pytest.mark.long
def test_settings_side_by_side_give_what_each_gives_alone(mnist):
    experiment, dataset = mnist
    settings = [
        of(experiment, learning_rate=rate, schedule=how) for rate in (1e-3, 1e-2) for how in ("constant", "linear")
    ]
    trials = execution.execute_all(experiment, settings, dataset, seeds=[3, 5])
    assert [trial.hyperparameters for trial in trials] == settings
    for setting, trial in zip(settings, trials, strict=True):
        alone = execution.execute(experiment, setting, dataset, seeds=[3, 5])
        # 20 steps in float32: sums in another order.
        np.testing.assert_allclose(trial.metrics["log_loss"], alone.metrics["log_loss"], rtol=1e-4)
        assert not trial.diverged


def test_a_setting_that_diverges_is_marked_and_disturbs_no_other(mnist):
    experiment, dataset = mnist
    settings = [of(experiment, learning_rate=rate) for rate in (1e-3, 1e30)]
    fine, diverged = execution.execute_all(experiment, settings, dataset, seeds=[0])
    assert diverged.diverged and not fine.diverged
    assert np.isfinite(fine.metrics["log_loss"]).all()


def test_development_data_holds_nothing_of_the_test_part(mnist):
    _, dataset = mnist
    made = data.development(dataset, fraction=0.25)
    assert len(made.train["targets"]) == 480 and len(made.test["targets"]) == 160
    together = np.concatenate([made.train["inputs"], made.test["inputs"]]).reshape(640, -1)
    whole = dataset.train["inputs"].reshape(640, -1)
    assert {row.tobytes() for row in together} == {row.tobytes() for row in whole}
    own = dataset._replace(validation=jax.tree.map(lambda leaf: leaf[:7], dataset.train))
    assert len(data.development(own).test["targets"]) == 7


@pytest.mark.raises
def test_nothing_to_do_is_refused(mnist):
    experiment, dataset = mnist
    with pytest.raises(ValueError, match="settings must hold at least one"):
        execution.execute_all(experiment, [], dataset, seeds=[0])
    with pytest.raises(ValueError, match="seeds must hold at least one"):
        execution.execute_all(experiment, [of(experiment)], dataset, seeds=[])

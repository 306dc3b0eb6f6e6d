"""``jaxresearch resume`` and ``report`` reload the data of a run from its configuration: here, a run over folds."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import loading, records
from jaxresearch.cli.loaded import load_data
from jaxresearch.cli.parsing import parse
from jaxresearch.cli.report import _predicted

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def folded(command, tmp_path_factory):
    """The directory of a run over folds of a very small set of images, and its arguments."""
    folder = tmp_path_factory.mktemp("folds")
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28)).astype(np.uint8)
    np.savez(folder / "my.npz", x=images, y=np.arange(60) % 3)
    words = f"--data {folder / 'my.npz'} --folds 3 --train-examples 30 --epochs 30 --batch-size 10".split()
    done = command("run", "mnist", *words, "--directory", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run", words


@pytest.mark.long
def test_report_shows_the_test_parts_of_a_run_over_folds(folded):
    run = records.read_run(folded[0])
    predicted = _predicted(run, None)
    assert predicted["missing"] == [] and predicted["counts"].sum() == 20
    accuracy = run.result["metrics"]["test/accuracy"]["mean"]
    # Images of noise: training examples are memorised, others are guessed.
    assert accuracy < 0.7 and np.trace(predicted["counts"]) / 20 == pytest.approx(accuracy)  # of counts: float32


@pytest.mark.long
def test_report_reads_directories_that_have_the_number_of_seeds(folded, tmp_path):
    directory, _ = folded
    for name in ("config", "environment", "result"):
        content = json.loads((directory / f"{name}.json").read_text())
        if name != "environment":
            content["n_seeds" if name == "result" else "seeds"] = len(content["seeds"])
        if name == "result":
            del content["seeds"]
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    predicted = _predicted(records.read_run(tmp_path), None)
    missing = f"directory must hold the state of a run, got {tmp_path} without one. Train it first."
    assert predicted == {"missing": [f"Predictions for the test part are not shown: {missing}"]}


@pytest.mark.long
def test_resume_finishes_a_run_over_folds(command, folded):
    directory, _ = folded
    before = json.loads((directory / "result.json").read_text())
    (directory / "result.json").unlink()  # as if it had been killed after its final state was saved
    done = command("resume", directory)
    assert done.returncode == 0, done.stderr
    after = json.loads((directory / "result.json").read_text())
    assert after["metrics"] == before["metrics"] and after["n_folds"] == 3 and after["resumed_from"] == after["steps"]


@pytest.mark.long
def test_collected_data_is_that_of_the_first_fold(folded):
    experiment = loading.load("mnist", directory=EXPERIMENTS)
    collected, dataset, *_ = load_data(experiment, parse(experiment, folded[1]), None)
    np.testing.assert_array_equal(collected.train["inputs"].squeeze(), dataset.of_run(0).train["inputs"].squeeze())
    np.testing.assert_array_equal(collected.test["targets"], dataset.of_run(0).test["targets"])
    assert dataset.n_train == 30 and len({dataset.of_run(place).train["inputs"].tobytes() for place in range(3)}) == 3


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "sizes"),
    [
        ([], (30, None)),
        (["--validation", "0.1"], (27, 3)),  # class by class, of each fold's training examples
    ],
)
def test_validation_is_carved_from_each_folds_training_part(folded, words, sizes):
    experiment = loading.load("mnist", directory=EXPERIMENTS)
    dataset = load_data(experiment, parse(experiment, [*folded[1], *words]), None).dataset
    looked = dataset.validation and dataset.validation["targets"]
    assert (dataset.n_train, None if looked is None else looked.shape[1]) == sizes
    if looked is not None:
        assert (np.sort(looked) == [0, 1, 2]).all()
        for place in range(3):
            parts = [part["inputs"].reshape(-1, 784) for part in dataset.of_run(place).parts().values()]
            rows = [row.tobytes() for part in parts for row in part]
            assert len({*rows}) == len(rows)  # no example is in two parts


@pytest.mark.parametrize("n", ["40", "1000"])
def test_as_many_training_examples_as_there_are_must_be_left_out(folded, n):
    experiment = loading.load("mnist", directory=EXPERIMENTS)
    options = parse(experiment, [*folded[1], "--train-examples", n])
    with pytest.raises(ValueError, match=f"train_examples must be below 40, got {n}. Leave it out to use all."):
        load_data(experiment, options, None)


def test_verify_checks_every_file(command, folded, tmp_path, flip_a_bit):
    import shutil

    directory = shutil.copytree(folded[0], tmp_path / "run")
    done = command("verify", directory)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith("arrays, verified")
    flip_a_bit(directory / "checkpoints")
    done = command("verify", directory)
    assert done.returncode == 1 and " is altered" in done.stdout


LAYERS = "models.linear(card.n_features, 1)"
FIELD = '    degree: int = static(1, "of the polynomial", at_least=1)\n'


@pytest.fixture
def stopped(interrupted_here):
    """A run that was interrupted after three chunks."""
    done = interrupted_here(3, "run", "line.py", "--seeds", "2", "--directory", "out")
    assert done.returncode == 75, done.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            LAYERS,
            "models.mlp(card.n_features, (8,), 1)",
            "the state of the experiment has changed since step 40 of {}: params['Dense_0']['bias'] (float32[2, 1] on record, "
            "float32[2, 8] now), params['Dense_0']['kernel'] (float32[2, 1, 1] on record, float32[2, 1, 8] now), "
            "params['Dense_1']['bias'] (nothing on record, float32[2, 1] now) and 1 more. Restore the experiment's file, rerun",
        ),
        (
            "training.gradient_descent(h.learning_rate)",
            "optax.sgd(h.learning_rate, momentum=0.9)",
            "the state of the experiment has changed since step 40 of {}: opt_state[0].trace['Dense_0']['bias'] (nothing on",
        ),
        (
            "half_squared_error",
            "huber_loss",
            "the program of the experiment has changed since step 40 of {}: its model, loss, optimizer, metrics or data. Restore "
            "it, rerun with another --directory, or continue with the recorded copy: jaxresearch resume {}",
        ),
        (
            FIELD,
            f'{FIELD}    momentum: float = swept(0.5, "share")\n',
            "the ones with which out was started, but momentum is new.",
        ),
        (
            FIELD,
            "",
            "line.py must be the ones with which out was started, but degree is missing.",
        ),
    ],
)
def test_a_changed_experiment_is_refused_until_it_is_restored(stopped, here, edit, folder, old, new, message):
    before = (folder / "line.py").read_text()
    edit(old, new)
    done = here("resume", "out", "--experiment", "line.py")
    assert done.returncode == 2 and message.format(*[folder / "out"] * 2) in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (folder / "out/result.json").exists()
    (folder / "line.py").write_text(before)
    assert here("resume", "out").returncode == 0


def test_a_field_of_another_type_is_shown_as_such(stopped, here, edit):
    edit(FIELD, '    degree: str = static("1", "of the polynomial")\n')
    done = here("resume", "out", "--experiment", "line.py")
    assert done.returncode == 2 and "these settings differ: --degree (1 on record, '1' now)" in done.stderr


@pytest.fixture
def ended(here):
    """A finished run of 200 steps."""
    done = here("run", "line.py", "--seeds", "2", "--validation", "0.1", "--directory", "out")
    assert done.returncode == 0, done.stderr


def test_replay_repeats_the_first_steps_bit_for_bit(ended, here, folder):
    done = here("verify", "out", "--replay", "20")
    assert done.returncode == 0, done.stderr
    # The chunk of nine steps that contains step 20 ends at 27: three lines of one loss and two metrics of two seeds.
    assert done.stdout.splitlines()[-1] == (
        "replayed steps 1 to 27, since chunks are replayed whole: 18 values match metrics.jsonl bit for bit"
    )
    done = here("verify", "out", "--replay", "100000")
    assert done.returncode == 0 and "replayed steps 1 to 180: 120 values match" in done.stdout, done.stdout
    assert "bit for bit; the 2 arrays of the final state match checkpoints/180" in done.stdout


def test_replay_names_the_first_difference(ended, here, edit, folder):
    file = folder / "out/metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    before = lines[2]["train/loss"][1]
    lines[2]["train/loss"][1] = float(np.nextafter(np.float32(before), np.float32(1)))  # the next float32
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = here("verify", "out", "--replay", "100")
    assert (
        done.returncode == 1
        and "replayed: step 18: train/loss is [" in done.stdout
        and f"{before}] now." in done.stdout
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--replay"], "--replay must name a number of steps, got none. Write: --replay 100"),
        (["--replay", "some"], "--replay must be 1 step or more, got some. Write: --replay 100"),
        (["--replay", "0"], "--replay must be 1 step or more, got 0."),
        (["other"], "verify takes one directory and --replay STEPS, got out other. Write: jaxresearch verify DIR"),
    ],
)
def test_a_mistake_in_replay_is_one_line(here, words, message):
    done = here("verify", "out", *words)
    assert done.returncode == 2 and message in done.stderr, done.stderr


def test_a_resumed_run_prints_its_first_step(stopped, here):
    done = here("resume", "out")
    assert done.returncode == 0 and "\nresuming from step 40 of 200\n" in done.stdout
    assert "resuming" not in here("run", "line.py", "--smoke", "--directory", "new").stdout

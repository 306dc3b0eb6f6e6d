"""``jaxresearch resume`` and ``report`` make the data of a run again from its configuration: here, of folds."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import loading, records
from jaxresearch.cli.options import parse
from jaxresearch.cli.report import _predicted
from jaxresearch.cli.run import collected_and_preprocessed

pytestmark = pytest.mark.long

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def folded(jaxresearch, tmp_path_factory):
    """The directory of a run over folds of a set so small that each of its images counts, and the words of it."""
    folder = tmp_path_factory.mktemp("folds")
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28)).astype(np.uint8)
    np.savez(folder / "my.npz", x=images, y=np.arange(60) % 3)
    words = f"--data {folder / 'my.npz'} --folds 3 --train-examples 30 --epochs 30 --batch-size 10".split()
    done = jaxresearch("run", "mnist", *words, "--directory", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run", words


def test_report_shows_the_test_parts_of_a_run_over_folds(folded):
    run = records.read_run(folded[0])
    predicted = _predicted(run)
    assert predicted["missing"] == [] and predicted["counts"].sum() == 20
    accuracy = run.result["metrics"]["test/accuracy"]["mean"]
    # Images of noise: what was trained on is known by heart, what was not is guessed.
    assert accuracy < 0.7 and np.trace(predicted["counts"]) / 20 == pytest.approx(accuracy)  # of counts: float32


def test_resume_goes_on_with_a_run_over_folds(jaxresearch, folded):
    directory, _ = folded
    before = json.loads((directory / "result.json").read_text())
    (directory / "result.json").unlink()  # as if it had been interrupted after its last state
    done = jaxresearch("resume", directory)
    assert done.returncode == 0, done.stderr
    after = json.loads((directory / "result.json").read_text())
    assert after["metrics"] == before["metrics"] and after["n_folds"] == 3


def test_what_is_collected_is_what_was_preprocessed(folded):
    experiment = loading.load("mnist", directory=EXPERIMENTS)
    options = parse(experiment, folded[1], prog="run")
    collected, dataset = collected_and_preprocessed(experiment, options, None)
    np.testing.assert_array_equal(collected.train["inputs"].squeeze(), dataset.of_run(0).train["inputs"].squeeze())
    np.testing.assert_array_equal(collected.test["targets"], dataset.of_run(0).test["targets"])
    assert dataset.n_train == 30 and len({dataset.of_run(place).train["inputs"].tobytes() for place in range(3)}) == 3


@pytest.mark.parametrize("n", ["40", "1000"])
def test_as_many_training_examples_as_there_are_must_be_left_out(folded, n):
    experiment = loading.load("mnist", directory=EXPERIMENTS)
    options = parse(experiment, [*folded[1], "--train-examples", n], prog="run")
    with pytest.raises(ValueError, match=f"train_examples must be below the 40 that there are; got {n}. Leave it out"):
        collected_and_preprocessed(experiment, options, None)

"""The chest X-rays: the real file if it is there, and a tiny one through the run and its Grad-CAM maps."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import data, experiment, loading

ROOT = Path(__file__).parents[2]
FILE = ROOT.parent / "shared" / "data" / "external" / "pneumoniamnist.npz"
CHEST_XRAY = loading.load("chest_xray", directory=ROOT / "experiments")


@pytest.mark.skipif(not FILE.is_file(), reason=f"{FILE} is not there; it is at https://medmnist.com")
def test_the_file_is_read_as_medmnist_divides_it():
    dataset = data.load(str(FILE), task="classification")
    sizes = {name: len(part["targets"]) for name, part in dataset.parts().items()}
    assert sizes == {"train": 4708, "validation": 524, "test": 624}
    assert dataset.card.feature_shape == (28, 28, 1) and dataset.card.class_names == ("0", "1")
    assert dataset.train["inputs"].dtype == np.uint8
    assert np.bincount(dataset.test["targets"]).tolist() == [234, 390]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Returns a file in MedMNIST's layout whose positive images are bright in the middle; labels are (n, 1)."""
    path, generator = tmp_path_factory.mktemp("xray") / "tiny.npz", np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 60), ("val", 12), ("test", 24)):
        labels = (np.arange(n)[:, None] % 3 > 0).astype(np.uint8)
        images = generator.integers(0, 100, (n, 12, 12)).astype(np.uint8)
        images[labels[:, 0] == 1, 4:8, 4:8] += 120
        arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    np.savez(path, **arrays)
    return path


def test_frequencies_are_those_of_the_training_classes(tiny):
    dataset = CHEST_XRAY.prepare(CHEST_XRAY.collect(str(tiny), task="classification"))
    np.testing.assert_allclose(np.exp(dataset.fitted["log_frequencies"]), [1 / 3, 2 / 3])
    algorithm = experiment.program(CHEST_XRAY, dataset).algorithm(
        dataclasses.replace(CHEST_XRAY.hyperparameters, batch_size=20)
    )
    assert {"auc", "sensitivity", "accuracy"} <= set(
        algorithm.evaluate(None, {**dataset.test, "outputs": jnp.zeros((24, 2))}, None)
    )


@pytest.mark.long
def test_a_step_has_the_loss_adjusted_to_the_frequencies(tiny):
    dataset = CHEST_XRAY.prepare(CHEST_XRAY.collect(str(tiny), task="classification"))
    h = dataclasses.replace(CHEST_XRAY.hyperparameters, batch_size=60, channels=(2,), max_shift=0)
    algorithm = experiment.program(CHEST_XRAY, dataset).algorithm(h)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    _, values = jax.jit(algorithm.step)(state, dataset.train, jax.random.key(1))
    logits = np.asarray(jax.jit(algorithm.predict)(state, dataset.train["inputs"]))
    weighted = np.exp(logits) * [1 / 3, 2 / 3]  # Menon et al. (2021): the softmax weighs classes by their frequencies
    chances = (weighted / weighted.sum(axis=1, keepdims=True))[np.arange(60), dataset.train["targets"]]
    np.testing.assert_allclose(values["loss"], -np.log(chances).mean(), rtol=1e-5)  # float32


@pytest.mark.long
def test_a_run_is_explained_by_grad_cam(command, tiny, tmp_path):
    words = "--batch-size 20 --channels 4,8 --seeds 2 --epochs 8 --learning-rate 0.02 --max-shift 0".split()
    done = command("run", "chest_xray", "--data", tiny, *words, "--directory", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]["test/auc"]["mean"] > 0.9
    done = command("explain", tmp_path / "run", "--method", "grad_cam", "--layer", "block_1")
    assert done.returncode == 0, done.stderr
    assert "Grad-CAM" in (tmp_path / "run" / "report.html").read_text()
    done = command("explain", tmp_path / "run", "--method", "grad_cam", "--layer", "block_7")
    assert done.returncode == 2 and "layer must be one of the model's" in done.stderr


def test_a_missing_file_is_refused_in_a_line(command, tmp_path):
    done = command("run", "chest_xray", "--directory", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 2 and "got 'pneumoniamnist.npz'" in done.stderr and len(done.stderr.splitlines()) == 1

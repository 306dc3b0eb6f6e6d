"""The road scenes: the data, what the network reads, the report, and bad input on the command line."""

import json
import lzma
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, experiment, loading

FILE = Path(__file__).parents[2] / "experiments" / "road_scene.py"
ROAD = loading.load(str(FILE))
ARCHIVE = Path(data.__file__).parent / "archives" / "image_segmentation" / "image_segmentation.csv.xz"


def test_image_segmentation_has_its_card_and_its_classes():
    patches = ROAD.collect("image_segmentation")
    assert patches.card.n_classes == 7 and patches.card.licence == "CC BY 4.0"
    counts = sum(np.bincount(part["targets"]) for part in (patches.train, patches.test))
    assert counts.tolist() == [330] * 7
    rows = lzma.decompress(ARCHIVE.read_bytes()).splitlines()[1:]
    assert len(rows) == 2310 and len(rows) - len(set(rows)) == 224


def test_without_ranks_the_network_reads_the_features_alone():
    dataset = ROAD.prepare(ROAD.collect("image_segmentation"))
    assert dataset.card.n_features == 38
    for ranks, n_read in (("on", 38), ("off", 19)):
        h = ROAD.hyperparameters.__class__(hidden=(4,), ranks=ranks)
        algorithm = experiment.program(ROAD, dataset).algorithm(h)
        shapes = jax.eval_shape(algorithm.init, jax.random.key(0)).params["Dense_0"]["kernel"].shape
        assert shapes == (5, n_read, 4)


@pytest.mark.long
def test_a_run_reports_new_patches_and_latencies(command, tmp_path):
    done = command("run", FILE, "--smoke", "--folds", 2, "--hidden", 4, "--directory", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "error of patches that do not occur in the training part: 0." in result["report"]
    assert "1 in " in result["report"] and "99th percentile" in result["report"]
    assert {"test/error", "test/accuracy", "test/log_loss"} < result["metrics"].keys()


def test_a_class_that_occurs_once_is_one_line(command, tmp_path):
    lines = lzma.decompress(ARCHIVE.read_bytes()).decode().splitlines()[:40]
    rare = lines[-1].rsplit(",", 1)[0] + ",tunnel"
    (tmp_path / "rare.csv").write_text("\n".join([*lines, rare]) + "\n")
    words = ("--data", tmp_path / "rare.csv", "--target", "class", "--directory", tmp_path / "run")
    done = command("run", FILE, *words)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "each class must have 2 examples or more, got 1 of 'tunnel'. Add examples of it" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.raises
def test_values_are_no_classes():
    part = {"inputs": np.zeros((2, 1)), "targets": np.zeros((2, 1))}
    prices = data.Dataset(part, part, None, data.DataCard(name="prices", source="memory"))
    with pytest.raises(ValueError, match=r"targets must be classes, got values in prices\. Pass --task classification"):
        data.require_examples_of_classes(prices)

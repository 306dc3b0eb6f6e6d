"""MNIST is part of the package: verified, without network or TensorFlow."""

import shutil
import subprocess
import sys
from importlib import resources

import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import data, models


def test_mnist_has_its_published_statistics():
    dataset = data.load("mnist")
    pixels = dataset.train["inputs"] / np.float32(255)
    # The published mean and deviation have four digits.
    assert abs(pixels.mean(dtype=np.float64) - 0.1307) < 5e-5
    assert abs(pixels.std(dtype=np.float64) - 0.3081) < 5e-5
    assert dataset.train["inputs"].shape == (60_000, 28, 28, 1) and dataset.test["inputs"].shape == (10_000, 28, 28, 1)
    assert np.bincount(dataset.test["targets"]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert dataset.card.licence == "CC BY-SA 3.0" and len(dataset.card.sha256) == 4


def test_mnist_loads_without_tensorflow_or_jax():
    script = (
        "import sys; from jaxresearch import data; data.load('mnist'); "
        "print([name for name in ('tensorflow', 'tensorflow_datasets', 'jax', 'polars') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_encoded_images_stay_pixels_and_models_see_fractions():
    dataset = data.prepare(data.standard, data.load("mnist"))
    assert dataset.train["inputs"].dtype == np.uint8, "a quarter of the memory of float32"
    assert dataset.train["inputs"].shape == (60_000, 28, 28, 1) and dataset.card.n_features == 784
    seen = models.function(lambda key: 0.0, lambda params, inputs: inputs)
    shares, _ = seen.apply(0.0, {}, jnp.asarray(dataset.train["inputs"][:100]))
    np.testing.assert_array_equal(shares, dataset.train["inputs"][:100] * np.float32(1 / 255))
    assert shares.min() == 0 and shares.max() == 1


@pytest.fixture
def archives(tmp_path):
    for path in (resources.files("jaxresearch.data") / "archives" / "mnist").iterdir():
        if path.name.endswith(".gz"):
            shutil.copyfile(str(path), tmp_path / path.name)
    return tmp_path


@pytest.mark.raises
def test_another_archive_of_the_right_form_is_refused(archives):
    shutil.copyfile(archives / "t10k-labels-idx1-ubyte.gz", archives / "train-labels-idx1-ubyte.gz")
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte.gz must have SHA-256 3552534a.*, got f7ae60f9"):
        data.mnist(archives)


@pytest.mark.raises
def test_an_altered_archive_is_refused(archives):
    path = archives / "t10k-images-idx3-ubyte.gz"
    raw = bytearray(path.read_bytes())
    raw[4] ^= 1  # the time stamp of gzip's header: the content stays the same
    path.write_bytes(raw)
    with pytest.raises(
        ValueError, match="t10k-images-idx3-ubyte.gz must have SHA-256 8d422c7b.*The archive was altered"
    ):
        data.mnist(archives)


@pytest.mark.raises
def test_a_truncated_archive_is_refused(archives):
    path = archives / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="must be an intact gzip file, got a damaged one"):
        data.mnist(archives)

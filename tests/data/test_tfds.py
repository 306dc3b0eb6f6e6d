"""TFDS sets: read without TensorFlow, decoded once, verified; the bundled archives feed TFDS's own builder."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data.files import tfds as loader
from jaxresearch.records.encryption import Cipher

ROOT = Path(__file__).parents[2]
HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXRESEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path


@pytest.mark.tfds
@pytest.mark.skipif(
    not HAS_TENSORFLOW, reason='preparing an image set needs TensorFlow: pip install "jaxresearch[tfds]"'
)
@pytest.mark.filterwarnings("default")  # TensorFlow and TFDS warn of themselves
def test_the_bundled_archives_feed_the_builder_of_tfds(homes):
    ours = data.load("mnist")
    theirs = loader.load_tfds("mnist", seed=0, test_fraction=0.2, data_dir=str(homes / "tfds"))
    for part in ("train", "test"):
        # TFDS shuffles when it prepares: compare as sets, by the bytes of image and label.
        rows = [
            sorted(image.tobytes() + bytes([label]) for image, label in zip(p["inputs"], p["targets"], strict=True))
            for p in (getattr(ours, part), getattr(theirs, part))
        ]
        assert rows[0] == rows[1]
    assert theirs.card.class_names == ours.card.class_names


@pytest.mark.skipif(HAS_TENSORFLOW, reason="TensorFlow is installed here, so the set would be prepared")
def test_an_unprepared_set_without_tensorflow_names_the_extra(homes):
    with pytest.raises(
        ValueError, match=r'tfds:mnist must be prepared first.*pip install "jaxresearch\[tfds\]"'
    ) as caught:
        data.load("tfds:mnist")
    assert "\n" not in str(caught.value)


@pytest.mark.raises
def test_an_unknown_set_is_one_line(homes):
    with pytest.raises(ValueError, match="tfds:NAME must be a set of TensorFlow Datasets; got 'no_such_set'") as caught:
        data.load("tfds:no_such_set")
    assert "\n" not in str(caught.value)


@pytest.fixture
def prepared(homes):
    """Prepares a small table set by TFDS itself, which needs no TensorFlow where there are no images."""
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():  # so that it is read from its files alone, as in another process

        class Flowers(tfds.core.GeneratorBasedBuilder):
            """Two numbers and a name."""

            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = tfds.features.FeaturesDict(
                    {
                        "features": {"width": np.float32, "length": np.float32},
                        "label": tfds.features.ClassLabel(names=["daisy", "rose"]),
                    }
                )
                return self.dataset_info_from_configs(features=features, supervised_keys=("features", "label"))

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples(30), "test": self._generate_examples(10)}

            def _generate_examples(self, n):
                for i in range(n):
                    yield i, {"features": {"width": float(i), "length": float(2 * i)}, "label": i % 2}

    builder = Flowers(data_dir=str(homes / "tfds"), file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return str(homes / "tfds")


@pytest.mark.filterwarnings("default")  # TFDS warns of itself
def test_a_prepared_set_is_read_without_tensorflow_and_kept(homes, prepared):
    dataset = loader.load_tfds("flowers", seed=0, test_fraction=0.2, data_dir=prepared)
    assert dataset.card.class_names == ("daisy", "rose") and dataset.card.feature_names == ("length", "width")
    assert dataset.train["inputs"].shape == (30, 2) and len(dataset.test["targets"]) == 10
    np.testing.assert_array_equal(dataset.train["inputs"][:, 0], 2 * dataset.train["inputs"][:, 1])
    np.testing.assert_array_equal(dataset.train["inputs"][:, 1] % 2, dataset.train["targets"])
    assert isinstance(dataset.train["inputs"], np.memmap)
    again = loader.load_tfds("flowers", seed=0, test_fraction=0.2, data_dir=prepared)
    assert again.card == dataset.card
    np.testing.assert_array_equal(again.train["inputs"], dataset.train["inputs"])


@pytest.mark.filterwarnings("default")  # TFDS warns of itself
def test_a_kept_set_that_was_altered_is_refused(homes, prepared):
    loader.load_tfds("flowers", seed=0, test_fraction=0.2, data_dir=prepared)
    (path,) = (homes / "cache").rglob("train-inputs.npy")
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="train-inputs.npy must have SHA-256 .*; it was altered. Delete"):
        loader.load_tfds("flowers", seed=0, test_fraction=0.2, data_dir=prepared)


@pytest.mark.filterwarnings("default")  # TFDS warns of itself
def test_a_set_is_kept_encrypted_with_a_cipher_and_is_the_same(homes, prepared):
    def loaded(cipher=None):
        return loader.load_tfds("flowers", seed=0, test_fraction=0.2, data_dir=prepared, cipher=cipher)

    cipher = Cipher(os.urandom(32))
    made, again = loaded(cipher), loaded(cipher)  # decoded, then from what was kept
    files = [path for path in (homes / "cache").rglob("*") if path.is_file()]
    assert len(files) == 5 and all(path.suffix == ".sealed" for path in files)
    assert {path.parent.name for path in files} == {"flowers-1.0.0-sealed"}
    clear = loaded()
    assert (homes / "cache" / "tfds" / "flowers-1.0.0" / "manifest.json").is_file()
    for dataset in (made, again):
        assert dataset.card == clear.card  # digests are of the arrays: a run goes on with or without a key
        for name, part in dataset.parts().items():
            for key, values in part.items():
                np.testing.assert_array_equal(values, clear.parts()[name][key])
                assert values.dtype == clear.parts()[name][key].dtype and not isinstance(values, np.memmap)
    assert isinstance(loaded().train["inputs"], np.memmap)


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # TFDS warns of itself
def test_a_run_with_a_key_keeps_its_set_sealed_and_another_key_is_one_line(jaxresearch, homes, prepared):
    key = homes / "key"
    key.write_bytes(os.urandom(32))
    words = ["mnist", "--data", "tfds:flowers", "--batch-size", "8", "--encrypt-with", str(key)]
    done = jaxresearch("run", *words, "--epochs", "1", "--directory", homes / "run")
    assert done.returncode == 0, done.stderr
    kept = [path for path in (homes / "cache").rglob("*") if path.is_file()]
    assert len(kept) == 5 and all(path.suffix == ".sealed" for path in kept)
    done = jaxresearch(  # opened again
        "sweep", *words, "--smoke", "--learning-rate", "1e-3,1e-2", "--directory", homes / "sweep"
    )
    assert done.returncode == 0, done.stderr
    key.write_bytes(os.urandom(32))
    for command in ("run", "study"):
        other = jaxresearch(command, *words, "--directory", homes / "other")
        assert other.returncode == 2 and len(other.stderr.splitlines()) == 1 and not (homes / "other").exists()
        assert (
            "manifest.json-0.sealed could not be decrypted: it was altered, or encrypted with another key"
            in other.stderr
        )


def test_a_manifest_names_every_array(homes):
    part = {"inputs": np.zeros((3, 2), np.float32), "targets": np.zeros(3, np.int32)}
    card = data.DataCard(name="a", source="b", class_names=("x",))
    loader._store(homes / "cache" / "a", {"train": part, "test": part}, card)
    manifest = json.loads((homes / "cache" / "a" / "manifest.json").read_text())
    assert len(manifest["sha256"]) == 4 and manifest["feature_shape"] == [2]

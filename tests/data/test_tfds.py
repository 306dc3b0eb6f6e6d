"""TFDS sets: read without TensorFlow, decoded once, verified; the bundled archives feed TFDS's own builder."""

import importlib.util
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import data, loading
from jaxresearch.data import memory
from jaxresearch.data.files import tfds as loader
from jaxresearch.records.encryption import Cipher

ROOT = Path(__file__).parents[2]
HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


@pytest.fixture(autouse=True)
def homes(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXRESEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))  # of other processes; TFDS reads it once
    real = loader._builder
    monkeypatch.setattr(loader, "_builder", lambda name, folder: real(name, folder or str(tmp_path / "tfds")))
    return tmp_path


@pytest.mark.tfds
@pytest.mark.skipif(
    not HAS_TENSORFLOW, reason='preparing an image set needs TensorFlow: pip install "jaxresearch[tfds]"'
)
def test_the_bundled_archives_feed_the_builder_of_tfds(homes):
    ours = data.load("mnist")
    theirs = loader.load_tfds("mnist", data_dir=str(homes / "tfds"))
    for part in ("train", "test"):
        # TFDS shuffles during preparation: compare as sets of image and label bytes.
        rows = [
            sorted(image.tobytes() + bytes([label]) for image, label in zip(p["inputs"], p["targets"], strict=True))
            for p in (ours.parts()[part], theirs.parts[part])
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
    with pytest.raises(
        ValueError, match="tfds:NAME must be a data set of TensorFlow Datasets, got 'no_such_set'"
    ) as caught:
        data.load("tfds:no_such_set")
    assert "\n" not in str(caught.value)


def prepare(homes, name="flowers", *, features=None, keys=("features", "label"), parts=None, example=None):
    """Prepares a small set with TFDS itself, without TensorFlow since it has no images; returns its folder."""
    import tensorflow_datasets as tfds

    declared = features or {
        "features": {"width": np.float32, "length": np.float32},
        "label": tfds.features.ClassLabel(names=["daisy", "rose"]),
    }
    example = example or (lambda i: {"features": {"width": float(i), "length": float(2 * i)}, "label": i % 2})
    # So that it is read only from its files, as in another process.
    with tfds.core.registered.skip_registration():

        class Made(tfds.core.GeneratorBasedBuilder):
            """A few numbers and a label."""

            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return self.dataset_info_from_configs(
                    features=tfds.features.FeaturesDict(declared), supervised_keys=keys
                )

            def _split_generators(self, dl_manager):
                sizes = parts or {"train": range(30), "test": range(30, 40)}
                return {part: self._generate_examples(rows) for part, rows in sizes.items()}

            def _generate_examples(self, rows):
                for i in rows:
                    yield i, example(i)

    Made.name = name
    builder = Made(data_dir=str(homes / "tfds"), file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return str(homes / "tfds")


@pytest.fixture
def prepared(homes):
    """Prepares a small table."""
    return prepare(homes)


pytestmark = pytest.mark.filterwarnings("default")  # TFDS itself warns


def test_a_prepared_table_is_read_without_tensorflow_and_kept(homes, prepared):
    dataset = data.load("tfds:flowers")
    assert dataset.card.class_names == ("daisy", "rose") and {*dataset.card.feature_names} == {"length", "width"}
    assert [column.kind for column in dataset.card.columns] == ["number", "number"]
    assert dataset.card.target.note == "labels of the set: classes" and dataset.card.split.fraction is None
    inputs = dataset.train["inputs"]
    assert len(inputs["width"]) == 30 and len(dataset.test["targets"]) == 10
    np.testing.assert_array_equal(inputs["length"], 2 * inputs["width"])
    np.testing.assert_array_equal(inputs["width"] % 2, dataset.train["targets"])
    features = data.prepare(data.standard, dataset).train["inputs"]
    np.testing.assert_allclose(features.std(axis=0), 1, rtol=1e-5)
    again = data.load("tfds:flowers")
    assert again.card == dataset.card
    np.testing.assert_array_equal(again.train["inputs"]["width"], inputs["width"])


def test_what_a_killed_process_decoded_is_removed_after_a_day(homes, prepared):
    cache = homes / "cache" / "tfds"
    left, under_way = cache / ".new-left", cache / ".new-under-way"
    for folder in (left, under_way):
        folder.mkdir(parents=True)
    os.utime(left, (1, 1))
    data.load("tfds:flowers")
    assert not left.exists() and under_way.exists()
    assert [path.name for path in cache.glob(".new-*")] == [".new-under-way"]


def test_a_set_that_was_prepared_anew_is_decoded_anew(homes, prepared):
    first = data.load("tfds:flowers")
    shutil.rmtree(homes / "tfds" / "flowers")
    prepare(homes, example=lambda i: {"features": {"width": float(i), "length": float(2 * i)}, "label": 1 - i % 2})
    second = data.load("tfds:flowers")
    np.testing.assert_array_equal(second.train["inputs"]["width"] % 2, 1 - second.train["targets"])
    assert first.card.sha256 != second.card.sha256


def test_a_table_of_tfds_has_the_columns_of_any_table(homes):
    import tensorflow_datasets as tfds

    features = {
        "age": np.int64,
        "name": tfds.features.Text(),
        "port": tfds.features.ClassLabel(names=["south", "east"]),
        "alone": np.bool_,
        "fare": np.float32,
    }

    def example(i):
        return {"age": i, "name": f"name{i}", "port": i % 2, "alone": i % 3 == 0, "fare": i / 2}

    prepare(homes, "titan", features=features, keys=None, example=example, parts={"whole": range(40)})
    dataset = data.load("tfds:titan", target="fare", types={"name": "drop"})
    kinds = {column.name: (column.kind, column.levels) for column in dataset.card.columns}
    assert kinds == {
        "age": ("number", ()),
        "alone": ("category", ("false", "true")),
        "port": ("category", ("east", "south")),
    }
    assert dataset.train["targets"].shape == (32, 1) and len(dataset.test["targets"]) == 8
    np.testing.assert_array_equal(dataset.train["inputs"]["age"] / 2, dataset.train["targets"][:, 0])
    assert dataset.card.notes == ("column name is left out: its type is drop",)
    assert data.load("tfds:titan", target="port").card.class_names == ("south", "east")
    with pytest.raises(ValueError, match="tfds:titan must name inputs and labels, got none. Pass --target with one of"):
        data.load("tfds:titan")
    with pytest.raises(ValueError, match="target must be a feature of tfds:titan, got 'fair'. Its features are: "):
        data.load("tfds:titan", target="fair")


def test_arrays_of_a_set_go_straight_to_disk(homes):
    import tensorflow_datasets as tfds

    features = {"x": tfds.features.Tensor(shape=(3, 2), dtype=np.float32), "y": np.float32}
    prepare(
        homes,
        "waves",
        features=features,
        keys=("x", "y"),
        example=lambda i: {"x": np.full((3, 2), i, np.float32), "y": i / 3},
        parts={"train": range(30), "test": range(30, 40), "extra": range(5)},
    )
    dataset = data.load("tfds:waves")
    assert isinstance(dataset.train["inputs"], np.memmap) and dataset.train["inputs"].shape == (30, 3, 2)
    assert dataset.card.class_names == () and dataset.train["targets"].dtype == np.float64
    np.testing.assert_allclose(dataset.train["inputs"][:, 0, 0] / 3, dataset.train["targets"][:, 0], rtol=1e-6)
    assert dataset.card.notes == ("the part extra is left out",)


@pytest.mark.parametrize("stream", [False, True])
def test_the_xrays_of_tfds_are_those_of_the_file(homes, stream):
    import tensorflow_datasets as tfds
    from PIL import Image

    # As TFDS 4.9.10 declares pneumonia_mnist, whose own script needs TensorFlow and a network to prepare it.
    features = {
        "image": tfds.features.Image(shape=(28, 28, 1)),
        "label": tfds.features.ClassLabel(names=["Normal", "Pneumonia"]),
    }
    parts = {"train": range(20), "val": range(20, 26), "test": range(26, 35)}
    images = np.random.default_rng(0).integers(0, 256, (35, 28, 28), np.uint8)
    labels = np.arange(35)[:, None] % 3 % 2
    stored = {name: (images[rows], labels[rows]) for name, rows in parts.items()}
    arrays = {f"{name}_{kind}": of[i] for name, of in stored.items() for i, kind in enumerate(("images", "labels"))}
    np.savez(homes / "pneumoniamnist.npz", **arrays)

    def example(i):
        buffer = io.BytesIO()
        Image.fromarray(images[i]).save(buffer, format="png")
        return {"image": buffer.getvalue(), "label": int(labels[i, 0])}

    prepare(homes, "pneumonia_mnist", features=features, keys=("image", "label"), parts=parts, example=example)
    experiment = loading.load("chest_xray", directory=ROOT / "experiments")
    ours, theirs = (
        experiment.prepare(
            experiment.collect(source, task="classification", stream=stream and source.startswith("tfds"))
        )
        for source in (str(homes / "pneumoniamnist.npz"), "tfds:pneumonia_mnist")
    )
    assert theirs.card.feature_shape == (28, 28, 1) and theirs.card.class_names == ("Normal", "Pneumonia")
    assert not theirs.card.notes and theirs.parts().keys() == {"train", "validation", "test"}
    np.testing.assert_array_equal(theirs.fitted["log_frequencies"], ours.fitted["log_frequencies"])
    for name, part in theirs.parts().items():  # TFDS shuffles during preparation
        pixels = (ours.parts()[name]["inputs"], part["inputs"].read() if stream else part["inputs"])
        targets = (ours.parts()[name]["targets"], part["targets"])
        rows = [
            sorted(image.tobytes() + bytes([label]) for image, label in zip(*of, strict=True))
            for of in zip(pixels, targets, strict=True)
        ]
        assert rows[0] == rows[1]


def test_arrays_beyond_memory_are_refused_before_decoding(homes, monkeypatch):
    import tensorflow_datasets as tfds

    features = {"x": tfds.features.Tensor(shape=(3,), dtype=np.float32), "y": np.float32}
    prepare(
        homes, "wide", features=features, keys=("x", "y"), example=lambda i: {"x": np.zeros(3, np.float32), "y": 0.5}
    )
    monkeypatch.setattr(memory, "of_machine", lambda: 100.0)
    with pytest.raises(ValueError, match="tfds:wide must fit into memory .* Pass --stream"):
        data.load("tfds:wide")


def test_odd_parts_are_listed_in_one_line(homes):
    prepare(homes, "odd", parts={"one": range(30), "two": range(10)})
    with pytest.raises(
        ValueError, match="tfds:odd must have a part named train, or only one part, got one, two"
    ) as caught:
        data.load("tfds:odd")
    assert "\n" not in str(caught.value)


def test_no_home_is_one_line(monkeypatch):
    monkeypatch.delenv("JAXRESEARCH_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nowhere(cls=None):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    with pytest.raises(ValueError, match="the cache must have a folder, got no home directory. Set JAXRESEARCH_CACHE"):
        loader._cache()


def test_a_kept_set_that_was_altered_is_refused(homes, prepared):
    data.load("tfds:flowers")
    (path,) = (homes / "cache").rglob("train-targets.npy")
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="train-targets.npy must have SHA-256 .*, so it was altered. Delete"):
        data.load("tfds:flowers")


def test_a_set_is_kept_encrypted_with_a_cipher_and_is_the_same(homes, prepared):
    cipher = Cipher(os.urandom(32))
    made, again = (data.load("tfds:flowers", cipher=cipher) for _ in range(2))  # decoded, then from the cache
    files = [path for path in (homes / "cache").rglob("*") if path.is_file()]
    assert len(files) == 7 and all(path.suffix == ".sealed" for path in files)
    assert {path.parent.name for path in files} == {"flowers-1.0.0-sealed"}
    clear = data.load("tfds:flowers")
    assert (homes / "cache" / "tfds" / "flowers-1.0.0" / "manifest.json").is_file()
    for dataset in (made, again):
        assert dataset.card == clear.card  # digests cover the arrays, so a run resumes with or without a key
        for name, part in dataset.parts().items():
            for key, values in data.named_arrays(part):
                np.testing.assert_array_equal(values, dict(data.named_arrays(clear.parts()[name]))[key])


@pytest.mark.long
def test_a_run_with_a_key_encrypts_its_set(jaxresearch, homes, prepared):
    key = homes / "key"
    key.write_bytes(os.urandom(32))
    words = ["mnist", "--data", "tfds:flowers", "--batch-size", "8", "--encrypt-with", str(key)]
    done = jaxresearch("run", *words, "--epochs", "1", "--directory", homes / "run")
    assert done.returncode == 0, done.stderr
    kept = [path for path in (homes / "cache").rglob("*") if path.is_file()]
    assert len(kept) == 7 and all(path.suffix == ".sealed" for path in kept)
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

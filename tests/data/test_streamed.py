"""Arrays and sets on disk: read as by NumPy, refused in one line, and trained on as in memory."""

import importlib.util
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from jaxresearch import data, execution, losses, metrics, models, training
from jaxresearch.data import DataCard, Dataset, Rows
from jaxresearch.data.files.streamed import ArrayOnDisk, load_streamed_tfds
from jaxresearch.data.load import divide
from jaxresearch.execution import Feed
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

ROOT = Path(__file__).parents[2]
SEEDS = (0, 4, 7)
HAS_ARRAY_RECORD = importlib.util.find_spec("array_record") is not None
FEEDS = [Feed(1, 1), Feed(5000, 3), Feed()]


def values(n=20, dtype=np.float32, shape=(3, 2)):
    return np.random.default_rng(0).integers(0, 200, (n, *shape)).astype(dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", ">f4", "u1", "i8", "?"])
@pytest.mark.parametrize("places", [[0], [19], [3, 4, 5, 9, 8, 3, 3], range(20)])
def test_rows_are_those_of_numpy(tmp_path, dtype, places):
    array, places = values(dtype=dtype), np.array(places)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", before=np.zeros(7), x=array, after=np.zeros(3))
    for source in (ArrayOnDisk(tmp_path / "a.npy"), ArrayOnDisk(tmp_path / "a.npz", member="x")):
        assert len(source) == 20 and source.shape == array.shape
        made = source.read(places)
        assert made.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(made, array[places])
        np.testing.assert_array_equal(source[int(places[0])], array[places[0]])


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (lambda path: np.savez_compressed(path, x=values()), "x of .* must be uncompressed .* Save it with np.savez"),
        (lambda path: np.savez(path, y=values()), "x of .* must be an array of an intact .npz file"),
        (lambda path: np.savez(path, x=np.array(["a"])), "x of .* must hold numbers to be streamed, got <U1"),
        (lambda path: np.savez(path, x=np.array([{}])), "x of .* must hold numbers to be streamed, got object"),
        (lambda path: np.savez(path, x=np.asfortranarray(values(shape=(3,)))), "x of .* must be in C order"),
        (
            lambda path: np.savez(path, x=np.zeros((0, 3))),
            r"x of .* must hold at least one example, got shape \(0, 3\)",
        ),
        (lambda path: np.savez(path, x=np.float32(3)), r"x of .* must hold at least one example, got shape \(\)"),
        (lambda path: path.write_bytes(b"PK"), "x of .* must be an array of an intact .npz file"),
    ],
)
def test_what_cannot_be_streamed_is_refused_in_one_line(tmp_path, saved, message):
    saved(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=message) as caught:
        ArrayOnDisk(tmp_path / "a.npz", member="x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"no array at all"])
def test_a_file_that_is_no_array_is_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match="a.npy must be an array in NumPy's format"):
        ArrayOnDisk(tmp_path / "a.npy")


def test_an_array_that_is_cut_off_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", values())
    os.truncate(tmp_path / "a.npy", 300)
    with pytest.raises(ValueError, match="a.npy must be a complete array, got a truncated one"):
        ArrayOnDisk(tmp_path / "a.npy")


def test_an_array_that_changes_while_it_is_read_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", values())
    source = ArrayOnDisk(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", values() + 1)
    os.utime(tmp_path / "a.npy", ns=(0, 0))
    with pytest.raises(ValueError, match="must not change while it is read, but it was rewritten"):
        source.read(np.array([0]))
    os.truncate(tmp_path / "a.npy", 300)
    with pytest.raises(ValueError, match="must not change while it is read, but it was rewritten or cut off"):
        source.read(np.array([19]))


def part(n, seed=0, shape=(4,)):
    """Returns numbers and three learnable classes."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 3, n)
    return {"x": (generator.normal(size=(n, *shape)) + targets[:, None]).astype(np.float32), "y": targets}


def save_parts(path, **parts):
    """Saves parts by name; an empty name gives plain array names."""
    arrays = {f"{stem}_{name}".strip("_"): array for name, one in parts.items() for stem, array in one.items()}
    np.savez(path, **arrays)


def test_an_npz_of_parts_is_read(tmp_path):
    path, parts = tmp_path / "mine.npz", {"train": part(30), "val": part(9, 1), "test": part(12, 2)}
    save_parts(path, **parts)
    dataset = data.load(str(path), stream=True)
    data.check(dataset)
    for made, expected in zip((dataset.train, dataset.validation, dataset.test), parts.values(), strict=True):
        assert isinstance(made["inputs"], Rows) and made["targets"].dtype == np.int32
        np.testing.assert_array_equal(made["inputs"].read(), expected["x"])
        np.testing.assert_array_equal(made["targets"], expected["y"])
    assert dataset.card.class_names == ("0", "1", "2") and dataset.card.feature_shape == (4,)
    assert dataset.card.sha256 == data.load(str(path)).card.sha256


def test_a_split_is_that_of_data_in_memory(tmp_path):
    path = tmp_path / "mine.npz"
    arrays = part(50)
    np.savez(path, **arrays)
    made = data.load(str(path), stream=True, split=data.Split(fraction=0.3, seed=3))
    whole = {"inputs": arrays["x"], "targets": arrays["y"].astype(np.int32)}
    for one, other in zip((made.train, made.test), data.split(whole, fraction=0.3, seed=3), strict=True):
        np.testing.assert_array_equal(one["inputs"].read(), other["inputs"])
        np.testing.assert_array_equal(one["targets"], other["targets"])


def test_grey_images_have_a_channel_and_values_are_columns(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, train_images=values(dtype=np.uint8), train_labels=np.arange(20) / 3)
    dataset = data.load(str(path), stream=True)
    assert dataset.card.feature_shape == (3, 2, 1) and dataset.train["targets"].shape == (16, 1)
    assert dataset.train["inputs"].read().shape == (16, 3, 2, 1) and not dataset.card.class_names


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": values(), "y": np.arange(19)}, "must hold as many targets as inputs, got 19 in y and 20 in x"),
        ({**part(9), "y_tests": np.arange(3)}, "got 'y_tests', which would be ignored. Did you mean 'y_test'?"),
        (
            {"x": np.arange(9), "y": np.arange(9)},
            r"must hold numbers of shape \(n, ...\) as inputs, got int64 of shape \(9,\) in x",
        ),
        (
            {"x": values(), "y": values()[:, 0].astype(int)},
            r"target y must be classes \(n,\) or values, got whole numbers of shape \(20, 2\)",
        ),
    ],
)
def test_arrays_that_are_no_data_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.load(str(tmp_path / "mine.npz"), stream=True)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="mine.npz must be an intact .npz file"):
        data.load(str(tmp_path / "mine.npz"), stream=True)


def test_content_decides_the_digest_without_reading_rows(tmp_path, monkeypatch):
    first, second, changed = (tmp_path / name for name in ("a.npz", "b.npz", "c.npz"))
    arrays = part(30)
    np.savez(first, **arrays)
    second.write_bytes(first.read_bytes())
    np.savez(changed, **{**arrays, "x": arrays["x"] + 1})
    loaded = [data.load(str(path), stream=True) for path in (first, second, changed)]
    monkeypatch.setattr(ArrayOnDisk, "read", None)
    digests = [data.digest(dataset.train) for dataset in loaded]
    assert digests[0] == digests[1] != digests[2]


@hyperparameters
class Settings:
    learning_rate: float = swept(0.03, "step size of Adam", above=0)
    batch_size: int = static(16, "examples per step")
    epochs: int = static(2, "passes over the data")


def classify(h, card, plan, fitted):
    return training.supervised(
        models.mlp(card.n_features, (32,), card.n_classes, dropout_rate=0.1),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=optax.adam(h.learning_rate),
        metrics={"log_loss": metrics.log_loss(), "accuracy": metrics.accuracy()},
    )


CLAIM = Claim(text="it learns", metric="test/accuracy", about="these examples", at_least=0.1)
TASK = Experiment(question="?", claim=CLAIM, hyperparameters=Settings(), source="b", algorithm=classify)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def trained(dataset, **options):
    """Returns state, metrics and history of three seeds, with two evaluations."""
    seen = []
    every = None if dataset.validation is None else 8
    outcome = execution.execute(
        TASK, Settings(), TASK.prepare(dataset), seeds=SEEDS, evaluate_every=every, observe=seen.append, **options
    )
    return outcome.state, outcome.metrics, [(progress.metrics, progress.validation) for progress in seen]


def resident(dataset):
    """Returns the same data in memory."""
    read = {name: {**one, "inputs": one["inputs"].read()} for name, one in dataset.parts().items()}
    return dataset._replace(**read)


@pytest.mark.long
@pytest.mark.parametrize("feed", FEEDS)
def test_a_run_streamed_from_npz_is_the_resident_one(tmp_path, feed):
    path = tmp_path / "mine.npz"
    save_parts(path, train=part(200), val=part(40, 1), test=part(60, 2))
    dataset = data.load(str(path), stream=True)
    assert bits(trained(dataset, feed=feed)) == bits(trained(data.load(str(path))))


class Records:
    """Examples of an ArrayRecord file, decoded one by one: a minimal custom source."""

    def __init__(self, path):
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self._records = ArrayRecordDataSource([str(path)])

    def __len__(self):
        return len(self._records)

    def __getitem__(self, place):
        return np.frombuffer(self._records[place], np.float32)


@pytest.mark.long
@pytest.mark.skipif(not HAS_ARRAY_RECORD, reason="array_record is not installed: pip install array_record")
@pytest.mark.parametrize("feed", FEEDS)
def test_a_run_streamed_from_array_record_is_the_resident_one(tmp_path, feed):
    from array_record.python.array_record_module import ArrayRecordWriter

    parts = {}
    for seed, (name, n) in enumerate({"train": 200, "validation": 40, "test": 60}.items()):
        arrays, path = part(n, seed), tmp_path / f"{name}.array_record"
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for row in arrays["x"]:
            writer.write(row.tobytes())
        writer.close()
        parts[name] = {"inputs": Rows(Records(path)), "targets": arrays["y"].astype(np.int32)}
    card = DataCard(name="records", source="b", class_names=("a", "b", "c"), feature_shape=(4,))
    dataset = Dataset(**parts, card=card)
    assert bits(trained(dataset, feed=feed)) == bits(trained(resident(dataset)))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepares a small set with TFDS itself, which needs no TensorFlow for sets without images."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")

    def prepare(place, labels):
        with tfds.core.registered.skip_registration():

            class Flowers(tfds.core.GeneratorBasedBuilder):
                """Four numbers and a name."""

                VERSION = tfds.core.Version("1.0.0")

                def _info(self):
                    features = tfds.features.FeaturesDict(
                        {
                            "features": {name: np.float32 for name in "abcd"},
                            "label": tfds.features.ClassLabel(names=["daisy", "rose", "tulip"]),
                        }
                    )
                    return self.dataset_info_from_configs(features=features, supervised_keys=("features", "label"))

                def _split_generators(self, dl_manager):
                    return {"train": self._generate_examples(200, 0), "test": self._generate_examples(60, 2)}

                def _generate_examples(self, n, seed):
                    arrays = part(n, seed)
                    for i in range(n):
                        row = dict(zip("abcd", arrays["x"][i].tolist(), strict=True))
                        yield i, {"features": row, "label": int(labels(arrays["y"][i]))}

        builder = Flowers(data_dir=str(folder / place), file_format="array_record")
        builder.download_and_prepare(file_format="array_record")
        return str(folder / place)

    return prepare("first", lambda label: label), prepare("second", lambda label: 2 - label)


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # TFDS itself warns
@pytest.mark.parametrize("feed", FEEDS)
def test_a_run_streamed_from_tfds_is_the_resident_one(prepared, feed):
    dataset = divide(load_streamed_tfds("flowers", data_dir=prepared[0]), None)
    assert isinstance(dataset.train["inputs"], Rows) and dataset.card.class_names == ("daisy", "rose", "tulip")
    in_memory = resident(dataset)
    rows = [
        (*x, y) for x, y in zip(in_memory.train["inputs"].tolist(), in_memory.train["targets"].tolist(), strict=True)
    ]
    arrays = part(200)
    assert sorted(rows) == sorted((*x, y) for x, y in zip(arrays["x"].tolist(), arrays["y"].tolist(), strict=True))
    assert bits(trained(dataset, feed=feed)) == bits(trained(in_memory))


@pytest.mark.filterwarnings("default")  # TFDS itself warns
def test_a_set_that_is_prepared_anew_has_another_digest(prepared):
    first, second = (divide(load_streamed_tfds("flowers", data_dir=folder), None) for folder in prepared)
    assert data.digest(first.train) != data.digest(second.train)
    assert first.card.sha256 != second.card.sha256
    assert (first.train["targets"] != second.train["targets"]).any()


@pytest.mark.filterwarnings("default")  # TFDS itself warns
def test_images_are_decoded_when_they_are_read(tmp_path):
    import tensorflow_datasets as tfds
    from PIL import Image

    images = values(9, np.uint8, (6, 5, 3))
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    with tfds.core.registered.skip_registration():

        class Shapes(tfds.core.GeneratorBasedBuilder):
            """Small images."""

            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = {
                    "image": tfds.features.Image(shape=(6, 5, 3)),
                    "label": tfds.features.ClassLabel(num_classes=3),
                }
                features = tfds.features.FeaturesDict(features)
                return self.dataset_info_from_configs(features=features, supervised_keys=("image", "label"))

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                yield from ((i, {"image": str(tmp_path / f"{i}.png"), "label": i % 3}) for i in range(9))

    Shapes(data_dir=str(tmp_path), file_format="array_record").download_and_prepare(file_format="array_record")
    dataset = divide(load_streamed_tfds("shapes", data_dir=str(tmp_path)), data.Split(fraction=1 / 3))
    assert dataset.card.feature_shape == (6, 5, 3) and len(dataset.test["targets"]) == 3
    made = np.concatenate([dataset.train["inputs"].read(), dataset.test["inputs"].read()])
    assert sorted(image.tobytes() for image in made) == sorted(image.tobytes() for image in images)
    for one in dataset.parts().values():
        for image, target in zip(one["inputs"].read(), one["targets"], strict=True):
            assert next(i for i in range(9) if (images[i] == image).all()) % 3 == target


CHILD = textwrap.dedent(
    """
    import re, resource, sys
    from pathlib import Path
    import jax, numpy as np, optax
    from jaxresearch import data, execution, losses, metrics, models, training
    from jaxresearch.execution import Feed, Keeping, Start
    from jaxresearch.experiment import Experiment
    from jaxresearch.hyperparameters import hyperparameters, static
    from jaxresearch.statistics import Claim

    @hyperparameters
    class Settings:
        batch_size: int = static(100, "examples per step")
        n_steps: int = static(int(sys.argv[2]), "steps")

    def algorithm(h, card, plan, fitted):
        return training.supervised(
            models.mlp(card.n_features, (16,), card.n_classes, dropout_rate=0.1),
            losses.softmax_cross_entropy_with_integer_labels,
            optimizer=optax.adam(1e-3), metrics={"accuracy": metrics.accuracy()},
        )

    def peak():
        status = Path("/proc/self/status")  # getrusage counts what the process had that started this one, too
        if status.exists():
            return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    claim = Claim(text="a", metric="test/accuracy", about="these examples", at_least=0.0)
    task = Experiment(question="?", claim=claim, hyperparameters=Settings(), source="b", algorithm=algorithm)
    dataset = task.prepare(data.load(str(Path(sys.argv[1])), stream=True))
    data.check(dataset)
    """
)

MEASURED = CHILD + textwrap.dedent(
    """
    execution.preflight(task, Settings(), dataset, seeds=[0, 1, 2])
    data.digest(dataset.train)
    execution.execute(task, Settings(), dataset, seeds=[0, 1, 2], feed=Feed(2**23, 2))
    print(peak())
    """
)

KILLED = CHILD + textwrap.dedent(
    """
    import os, time
    folder = Path(sys.argv[3])

    def keep(step, state):
        leaves = jax.tree.leaves(state)
        np.savez(folder / "new.npz", *map(np.asarray, leaves))
        os.replace(folder / "new.npz", folder / f"{step}.npz")
        time.sleep(0.3)  # time to be killed

    kept = sorted(folder.glob("[0-9]*.npz"), key=lambda path: int(path.stem))
    start, seeds, feed = None, [0, 1, 2], Feed(int(sys.argv[4]), int(sys.argv[5]))
    if kept:
        structure = execution.blank_state(task, Settings(), dataset, n_runs=3)
        with np.load(kept[-1]) as file:
            leaves = [file[f"arr_{i}"] for i in range(len(file.files))]
        start = Start(int(kept[-1].stem), jax.tree.unflatten(jax.tree.structure(structure), leaves))
    keeping = Keeping(lambda: True, keep)
    outcome = execution.execute(task, Settings(), dataset, seeds=seeds, feed=feed, start=start, keeping=keeping)
    np.savez(folder / "end.npz", *map(np.asarray, jax.tree.leaves((outcome.state, outcome.metrics))))
    """
)


def child(program, *words, **compiled):
    """Starts a process that trains."""
    # Makes the allocator return large blocks at once; what it retains otherwise varies by tens of megabytes.
    alike = {"MALLOC_MMAP_THRESHOLD_": "1000000", **compiled}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": "", **alike}
    command = [sys.executable, "-c", program, *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def save_large(path, n, width, dtype=np.uint8):
    """Writes an uncompressed npz in chunks, whose rows hold their class in each entry."""
    import zipfile

    def member(archive, name, shape, dtype, rows):
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            description = np.lib.format.dtype_to_descr(np.dtype(dtype))
            np.lib.format.write_array_header_2_0(file, {"descr": description, "fortran_order": False, "shape": shape})
            for start in range(0, shape[0], 1000):
                file.write(rows(np.arange(start, min(start + 1000, shape[0]))).astype(dtype).tobytes())

    with zipfile.ZipFile(path, "w") as archive:
        for name, size in (("train", n), ("test", 1000)):
            member(
                archive,
                f"x_{name}",
                (size, *width),
                dtype,
                lambda i: np.broadcast_to((i % 7)[:, None], (len(i), int(np.prod(width)))),
            )
            member(archive, f"y_{name}", (size,), np.int64, lambda i: i % 7)


@pytest.mark.long
def test_memory_does_not_grow_with_the_data(tmp_path):
    """Files of 50 and 800 MB: resident memory grows only with indices and targets."""
    peaks = []
    for n in (3125, 50_000):
        path = tmp_path / f"{n}.npz"
        save_large(path, n, (4000,), np.float32)
        size = path.stat().st_size
        # Compiling takes memory, and differs from process to process: the second process finds the programs of the first.
        kept = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "xla"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        for _ in range(2):
            process = child(MEASURED, path, 60, **kept, JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1")
            out, complaint = process.communicate()
            assert process.returncode == 0, complaint
        peaks.append(int(out))
        path.unlink()
    assert size > 800e6
    # Only indices and targets grow 16 times, to a few hundred kilobytes. Processes vary by as much.
    assert max(peaks) - min(peaks) < 5e6, peaks
    print(f"peaks of resident memory: {peaks}")


@pytest.mark.long
def test_a_run_that_is_killed_is_resumed_bit_for_bit(tmp_path):
    path, alone, killed = tmp_path / "mine.npz", tmp_path / "alone", tmp_path / "killed"
    save_large(path, 2000, (50,), np.float32)
    for folder in (alone, killed):
        folder.mkdir()
    process = child(KILLED, path, 40, alone, 2**26, 4)
    _, complaint = process.communicate()
    assert process.returncode == 0, complaint
    process = child(KILLED, path, 40, killed, 200_000, 2)
    while process.poll() is None and not (killed / "14.npz").is_file():
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    process = child(KILLED, path, 40, killed, 500_000, 1)
    _, complaint = process.communicate()
    assert process.returncode == 0, complaint
    with np.load(alone / "end.npz") as one, np.load(killed / "end.npz") as other:
        assert bits([one[name] for name in one.files]) == bits([other[name] for name in other.files])

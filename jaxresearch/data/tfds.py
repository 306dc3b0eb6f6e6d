"""Sets of TensorFlow Datasets, read without TensorFlow, decoded once and kept as verified, memory-mapped arrays."""

import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch.data.dataset import DataCard, Dataset, Part
from jaxresearch.data.splits import split

_MANIFEST = "manifest.json"


def load_tfds(name: str, *, seed: int, test_fraction: float, data_dir: str | None = None) -> Dataset:
    """Returns a classification set of TensorFlow Datasets: images, or a table of numbers.

    A prepared set is read through ``as_data_source``, which needs no TensorFlow; preparing one needs the extra ``tfds``
    and, unless its archives lie in the package as MNIST's do, a network. The decoded arrays are kept in
    ``$JAXRESEARCH_CACHE`` (``~/.cache/jaxresearch``) under the set's version, with their SHA-256 digests, which are
    verified whenever they are read.

    Args:
        name: As ``mnist`` or ``fashion_mnist``, with or without version and configuration.
        seed: Of the split, where the set has no test part.
        test_fraction: Share of the test part, where one is split off.
        data_dir: Where TFDS keeps its sets; its own default unless given.

    Returns:
        Memory-mapped inputs, and labels.

    Raises:
        ValueError: If the set is unknown, not for classification, or not prepared while TensorFlow is missing.

    Example:
        >>> load_tfds("no_such_set", seed=0, test_fraction=0.2)
        Traceback (most recent call last):
        ...
        ValueError: tfds:NAME must be a set of TensorFlow Datasets; got 'no_such_set' ...

    References:
        TensorFlow Datasets, a collection of ready-to-use datasets. https://www.tensorflow.org/datasets
    """
    builder = _builder(name, data_dir)
    folder = _cache() / "tfds" / builder.info.full_name.replace("/", "-")
    if not (folder / _MANIFEST).is_file():
        _prepare(builder, name)
        _store(folder, _decoded(builder, name), _card(builder, name))
    parts, card = _stored(folder)
    if "test" not in parts:
        parts["train"], parts["test"] = split(parts["train"], fraction=test_fraction, seed=seed)
    return Dataset(parts["train"], parts["test"], parts.get("validation"), card)


def _builder(name: str, data_dir: str | None) -> Any:
    """Returns the builder of a set, of which TFDS may know no more than its files."""
    import tensorflow_datasets as tfds  # imported late: seconds

    try:
        return tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"tfds:NAME must be a set of TensorFlow Datasets; got {name!r} ({reason}). Check its name."
        ) from error


def _prepare(builder: Any, name: str) -> None:
    """Prepares a set that is not yet prepared."""
    import tensorflow_datasets as tfds

    with resources.as_file(resources.files("jaxresearch.data") / "archives") as archives:
        # Where the package carries a set's own archives, TFDS verifies and reads those instead of the network.
        bundled = archives / builder.name
        config = tfds.download.DownloadConfig(manual_dir=bundled if bundled.is_dir() else None)
        try:
            builder.download_and_prepare(download_config=config, file_format="array_record")
        except Exception as error:  # whatever the set's own script raises
            reason = (
                f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}"
            )
            if importlib.util.find_spec("tensorflow") is None:
                raise ValueError(
                    f"tfds:{name} must be prepared first, which needs TensorFlow; it is not installed ({reason}). "
                    'Run: pip install "jaxresearch[tfds]"'
                ) from error
            raise ValueError(
                f"tfds:{name} could not be prepared ({reason}). Prepare it where there is a network, and copy its folder."
            ) from error


def _decoded(builder: Any, name: str) -> dict[str, Part]:
    """Returns every part of a set as arrays."""
    if builder.info.supervised_keys is None or len(builder.info.supervised_keys) != 2:
        raise ValueError(f"tfds:{name} must be a classification set; it names no inputs and labels. Choose another.")
    inputs, label = builder.info.supervised_keys
    parts = {}
    for part in builder.info.splits:
        if part not in ("train", "validation", "test"):
            continue
        source = builder.as_data_source(split=part)
        examples = [source[i] for i in range(len(source))]
        values = [_features(example[inputs] if isinstance(inputs, str) else example) for example in examples]
        if len({value.shape for value in values}) > 1:
            raise ValueError(
                f"tfds:{name} must hold inputs of one shape; its images differ in size. Resize them first."
            )
        targets = np.asarray([example[label] for example in examples], np.int32)
        parts[part] = {"inputs": np.stack(values), "targets": targets}
    return parts


def _features(value: Any) -> np.ndarray:
    """Returns the inputs of one example: an image as it is, or the numbers of a table in the order of their names."""
    if isinstance(value, dict):
        return np.array([value[name] for name in sorted(value)], np.float32)
    return np.asarray(value)


def _card(builder: Any, name: str) -> DataCard:
    """Returns what TFDS knows of a set."""
    info = builder.info
    inputs, label = info.supervised_keys
    columns = getattr(info.features[inputs], "keys", tuple) if isinstance(inputs, str) else tuple
    return DataCard(
        name=builder.name,
        source=f"tfds:{info.full_name}",
        licence=(info.redistribution_info.license if info.redistribution_info else "") or "",
        citation=" ".join(info.citation.split()),
        class_names=tuple(info.features[label].names),
        feature_names=tuple(sorted(columns())),
    )


def _cache() -> Path:
    """Returns the folder of decoded sets."""
    named = os.environ.get("JAXRESEARCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "jaxresearch"


def _store(folder: Path, parts: dict[str, Part], card: DataCard) -> None:
    """Writes the arrays and their digests beside the folder's place, then puts them there in one move."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        digests = {}
        for part, arrays in parts.items():
            for key, values in arrays.items():
                path = new / f"{part}-{key}.npy"
                np.save(path, values, allow_pickle=False)
                digests[path.name] = _digest(path)
        shape = parts["train"]["inputs"].shape[1:]
        card = dataclasses.replace(card, sha256=tuple(digests.items()), feature_shape=shape)
        (new / _MANIFEST).write_text(json.dumps(dataclasses.asdict(card), indent=2))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _stored(folder: Path) -> tuple[dict[str, Part], DataCard]:
    """Returns the arrays of a folder, memory-mapped, after verifying their digests."""
    manifest = json.loads((folder / _MANIFEST).read_text())
    tuples = {name: tuple(manifest[name]) for name in ("class_names", "feature_shape", "feature_names")}
    digests = tuple((name, digest) for name, digest in manifest["sha256"])
    parts: dict[str, Part] = {}
    for name, digest in digests:
        if Path(name).name != name or _digest(folder / name) != digest:
            raise ValueError(
                f"{folder / name} must have SHA-256 {digest}; it was altered. Delete {folder} to make it anew."
            )
        part, key = name.removesuffix(".npy").split("-")
        parts.setdefault(part, {})[key] = np.load(folder / name, mmap_mode="r", allow_pickle=False)
    return parts, DataCard(**{**manifest, **tuples, "sha256": digests})


def _digest(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

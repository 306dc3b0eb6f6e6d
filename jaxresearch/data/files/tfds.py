"""Sets of TensorFlow Datasets, read without TensorFlow, decoded once and kept as verified arrays: memory-mapped, or encrypted."""

import dataclasses
import hashlib
import importlib.util
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch.data.dataset import DataCard, Dataset, Part
from jaxresearch.data.splits import split

_MANIFEST = "manifest.json"
_PART = 2**30  # bytes encrypted at once: AES-GCM takes no more than 2**31 - 1


def load_tfds(
    name: str, *, seed: int, test_fraction: float, data_dir: str | None = None, cipher: Any = None
) -> Dataset:
    """Returns a classification set of TensorFlow Datasets: images, or a table of numbers.

    A prepared set is read through ``as_data_source``, which needs no TensorFlow; preparing one needs the extra ``tfds``
    and, unless its archives lie in the package as MNIST's do, a network. The decoded arrays are kept in
    ``$JAXRESEARCH_CACHE`` (``~/.cache/jaxresearch``) under the set's version, with their SHA-256 digests, which are
    verified whenever they are read. With a cipher, no decoded array touches the disk in the clear, and the arrays have a
    folder of their own; what TFDS itself prepared, and arrays kept without a cipher before, stay as they are.

    Args:
        name: As ``mnist`` or ``fashion_mnist``, with or without version and configuration.
        seed: Of the split, where the set has no test part.
        test_fraction: Share of the test part, where one is split off.
        data_dir: Where TFDS keeps its sets; its own default unless given.
        cipher: Encrypts the decoded arrays that are kept, as `jaxresearch.records.encryption.Cipher`; None keeps them in
            the clear.

    Returns:
        Memory-mapped inputs and labels; arrays in memory where they are kept encrypted.

    Raises:
        ValueError: If the set is unknown, not for classification, or not prepared while TensorFlow is missing; if its kept
            arrays were altered, or encrypted with another key.

    Example:
        >>> load_tfds("no_such_set", seed=0, test_fraction=0.2)
        Traceback (most recent call last):
        ...
        ValueError: tfds:NAME must be a set of TensorFlow Datasets; got 'no_such_set' ...

    References:
        TensorFlow Datasets, a collection of ready-to-use datasets. https://www.tensorflow.org/datasets
    """
    builder = _builder(name, data_dir)
    of_set = builder.info.full_name.replace("/", "-")
    folder = _cache() / "tfds" / (of_set if cipher is None else f"{of_set}-sealed")
    if not (folder / (_MANIFEST if cipher is None else _part(_MANIFEST, 0))).is_file():
        _prepare(builder, name)
        _store(folder, _decoded(builder, name), _card(builder, name), cipher)
    parts, card = _stored(folder, cipher)
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


def _store(folder: Path, parts: dict[str, Part], card: DataCard, cipher: Any = None) -> None:
    """Writes the arrays and their digests beside the folder's place, then puts them there in one move."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent))

    def put(name: str, content: bytes) -> None:
        for file, written in _files(name, content, of=folder.name, cipher=cipher):
            (new / file).write_bytes(written)

    try:
        digests = {}
        for part, arrays in parts.items():
            for key, values in arrays.items():
                name, content = f"{part}-{key}.npy", _npy(values)
                digests[name] = hashlib.sha256(content).hexdigest()
                put(name, content)
        shape = parts["train"]["inputs"].shape[1:]
        card = dataclasses.replace(card, sha256=tuple(digests.items()), feature_shape=shape)
        put(_MANIFEST, json.dumps(dataclasses.asdict(card), indent=2).encode())
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _stored(folder: Path, cipher: Any = None) -> tuple[dict[str, Part], DataCard]:
    """Returns the arrays of a folder after verifying their digests, which are those of the clear arrays, and the card."""
    text = (folder / _MANIFEST).read_bytes() if cipher is None else _opened(folder, _MANIFEST, cipher)
    manifest = json.loads(text)
    named = ("class_names", "feature_shape", "feature_names", "vocabulary")
    tuples = {name: tuple(manifest.get(name, ())) for name in named}
    digests = tuple((name, digest) for name, digest in manifest["sha256"])
    parts: dict[str, Part] = {}
    for name, digest in digests:
        array = _array(folder, name, digest, cipher)
        part, key = name.removesuffix(".npy").split("-")
        parts.setdefault(part, {})[key] = array
    return parts, DataCard(**{**manifest, **tuples, "sha256": digests})


def _array(folder: Path, name: str, digest: str, cipher: Any) -> np.ndarray:
    """Returns an array after verifying its digest: memory-mapped, or in memory where it is encrypted."""
    path, content = folder / name, b"" if cipher is None else _opened(folder, name, cipher)
    if path.parent != folder or digest != (_digest(path) if cipher is None else hashlib.sha256(content).hexdigest()):
        raise ValueError(f"{path} must have SHA-256 {digest}; it was altered. Delete {folder} to decode the set again.")
    if cipher is None:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(content), allow_pickle=False)


def _files(name: str, content: bytes, *, of: str, cipher: Any) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of what is written: the content itself, or its parts, each encrypted under its set and name."""
    if cipher is None:
        yield name, content
        return
    for number, start in enumerate(range(0, len(content), _PART)):
        part = _part(name, number)
        yield part, cipher.encrypt(content[start : start + _PART], name=f"{of}/{part}")


def _opened(folder: Path, name: str, cipher: Any) -> bytes:
    """Returns the decrypted content of the parts of a name; its digest shows whether one is missing."""
    parts: list[bytes] = []
    while (path := folder / _part(name, len(parts))).is_file():
        try:
            parts.append(cipher.decrypt(path.read_bytes(), name=f"{folder.name}/{path.name}"))
        except ValueError as error:
            raise ValueError(
                f"{path} could not be decrypted: it was altered, or encrypted with another key. Pass its key, or delete "
                f"{folder} to decode the set again."
            ) from error
    return b"".join(parts)


def _part(name: str, number: int) -> str:
    """Returns the file name of an encrypted part."""
    return f"{name}-{number}.sealed"


def _npy(values: np.ndarray) -> bytes:
    """Returns an array in NumPy's own format."""
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def _digest(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

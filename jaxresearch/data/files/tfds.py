"""Sets of TensorFlow Datasets, read without TensorFlow, decoded once and kept as verified arrays: memory-mapped, or encrypted."""

import dataclasses
import hashlib
import importlib.util
import io
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch.data import memory
from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import Column, DataCard, Split, file_digest
from jaxresearch.data.files.cells import Cells, cells_of
from jaxresearch.data.files.columns import read_columns
from jaxresearch.data.files.examples import decode, names_of, parts_of, roles_of
from jaxresearch.data.files.tables import collected_of
from jaxresearch.data.files.targets import Targets, Task, classes_of, divided, joined_labels, targets_of
from jaxresearch.data.files.words import Rows
from jaxresearch.data.parts import Part

_MANIFEST = "manifest.json"
_NEW, _DAY = ".new-", 86_400.0  # of a set that is being decoded; seconds
_PART = 2**30  # bytes encrypted at once: AES-GCM accepts at most 2**31 - 1
_STREAM = "Pass --stream to read examples as they are needed."
Manifest = dict[str, Any]


def load_tfds(
    name: str,
    *,
    target: str | None = None,
    types: Mapping[str, str] | None = None,
    task: Task | None = None,
    data_dir: str | None = None,
    cipher: Any = None,
) -> Collected:
    """Returns a set of TensorFlow Datasets: images, arrays, or a table, whose columns are read as those of any table.

    A prepared set is read through ``as_data_source``, which needs no TensorFlow; preparing one needs the extra ``tfds``
    and, unless its archives come with the package, as for MNIST, a network. The decoded arrays are kept in
    ``$JAXRESEARCH_CACHE`` (``~/.cache/jaxresearch``) under the set's version, with their SHA-256 digests, which are
    verified whenever they are read. A set that was prepared again is decoded again. With a cipher, no decoded array touches the
    disk in the clear, and the arrays have a folder of their own; what TFDS itself prepared, and arrays kept without a cipher
    before, stay as they are.

    Args:
        name: Such as ``mnist`` or ``fashion_mnist``, with or without version and configuration.
        target: The feature to predict; by default the one that the set declares.
        types: Kinds of columns, if the set is a table.
        task: What whole numbers as targets are.
        data_dir: The folder of TFDS sets; by default that of TFDS.
        cipher: Encrypts the decoded arrays that are kept, as `jaxresearch.records.encryption.Cipher`; None keeps them in
            the clear.

    Returns:
        Memory-mapped inputs; arrays in memory where they are kept encrypted, and of tables.

    Raises:
        ValueError: If the set is unknown, has no parts or features to learn from, or is not prepared while TensorFlow is
            missing; if its kept arrays were altered, or encrypted with another key.

    Example:
        >>> load_tfds("no_such_set")
        Traceback (most recent call last):
        ...
        ValueError: tfds:NAME must be a data set of TensorFlow Datasets, got 'no_such_set' ...
    """
    builder = _builder(name, data_dir)
    of_set = builder.info.full_name.replace("/", "-") + (f"-{_safe(target)}" if target else "")
    folder = _cache() / "tfds" / (of_set if cipher is None else f"{of_set}-sealed")
    manifest = _manifest(folder, cipher)
    if manifest is None or _fingerprint(builder) not in (None, manifest.get("fingerprint")):
        _prepare(builder, name)
        manifest = _kept(builder, name, target, folder, cipher)
    parts = _stored(folder, manifest, cipher)
    return _collected(parts, manifest, types=types, task=task)


def _safe(target: str) -> str:
    """Returns the name of a feature as part of the name of a folder."""
    return hashlib.sha256(target.encode()).hexdigest()[:8]


def _fingerprint(builder: Any) -> str | None:
    """Returns a digest of what TFDS prepared: names, sizes and times of its files, and what it says of the set."""
    folder = Path(builder.data_dir)
    info = folder / "dataset_info.json"
    if not info.is_file():
        return None
    sha256 = hashlib.sha256(info.read_bytes())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        stat = path.stat()
        sha256.update(f"{path.relative_to(folder)} {stat.st_size} {stat.st_mtime_ns};".encode())
    return sha256.hexdigest()


def _builder(name: str, data_dir: str | None) -> Any:
    """Returns the builder of a set, which may be known to TFDS only by its files."""
    import tensorflow_datasets as tfds  # imported late: seconds

    try:
        return tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"tfds:NAME must be a data set of TensorFlow Datasets, got {name!r} ({reason}). Check its name."
        ) from error


def _prepare(builder: Any, name: str) -> None:
    """Prepares a set unless it is prepared."""
    import tensorflow_datasets as tfds

    with resources.as_file(resources.files("jaxresearch.data") / "archives") as archives:
        # If the package contains the archives of a set, TFDS verifies and reads those instead of downloading.
        bundled = archives / builder.name
        config = tfds.download.DownloadConfig(manual_dir=bundled if bundled.is_dir() else None)
        try:
            builder.download_and_prepare(download_config=config, file_format="array_record")
        except Exception as error:  # whatever the script of the set raises
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


def _origin(builder: Any) -> dict[str, str]:
    """Returns the origin of a set according to TFDS, as entries of a card."""
    info = builder.info
    return {
        "name": builder.name,
        "source": f"tfds:{info.full_name}",
        "licence": (info.redistribution_info.license if info.redistribution_info else "") or "",
        "citation": " ".join((info.citation or "").split()),
    }


def _kept(builder: Any, name: str, target: str | None, folder: Path, cipher: Any) -> Manifest:
    """Decodes a set into a temporary folder, renames that to the final one, and returns its manifest."""
    info = builder.info
    roles = roles_of(info, target=target, name=name)
    named, notes = parts_of(list(info.splits), name=name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(folder.parent)
    new = Path(tempfile.mkdtemp(prefix=_NEW, dir=folder.parent))
    try:
        written = []
        for part, split in named.items():
            source = builder.as_data_source(split=split)
            written += _written(new, part, source, roles=roles, name=name, of=folder.name, cipher=cipher)
        manifest = {
            **_origin(builder),
            "notes": notes,
            "label": roles.label[-1],
            "class_names": names_of(info, roles.label),
            "levels": {column: names_of(info, leaf) for column, leaf in roles.columns.items()},
            "arrays": written,
            "fingerprint": _fingerprint(builder),
        }
        _put(new, _MANIFEST, json.dumps(manifest, indent=2).encode(), of=folder.name, cipher=cipher)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(new, folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return json.loads(json.dumps(manifest))


def _remove_unfinished(cache: Path) -> None:
    """Removes temporary folders that processes interrupted while decoding left a day ago or earlier."""
    for unfinished in cache.glob(f"{_NEW}*"):
        if time.time() - unfinished.stat().st_mtime > _DAY:
            shutil.rmtree(unfinished, ignore_errors=True)


def _written(
    folder: Path, part: str, source: Any, *, roles: Any, name: str, of: str, cipher: Any
) -> list[dict[str, str]]:
    """Writes the arrays of a part and returns their entries of the manifest; without a cipher, straight to disk."""
    columns = list(roles.columns)

    def file_of(key: str) -> str:
        column = key.removeprefix("inputs.")
        return f"{part}-inputs-{columns.index(column)}.npy" if column != key else f"{part}-{key}.npy"

    def allocate(key: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        memory.require_room(math.prod(shape) * np.dtype(dtype).itemsize, of=f"tfds:{name}", remedy=_STREAM)
        if cipher is None and not key.startswith("inputs."):
            return np.lib.format.open_memmap(folder / file_of(key), mode="w+", dtype=dtype, shape=shape)
        return np.empty(shape, dtype)

    decoded = decode(source, roles, name=name, allocate=allocate)
    inputs = decoded["inputs"]
    arrays = {f"inputs.{column}": values for column, values in inputs.items()} if columns else {"inputs": inputs}
    written = []
    for key, values in {**arrays, "targets": decoded["targets"]}.items():
        file = file_of(key)
        if isinstance(values, np.memmap):
            values.flush()
            digest = file_digest(folder / file)
        else:
            content = _npy(values)
            digest = hashlib.sha256(content).hexdigest()
            _put(folder, file, content, of=of, cipher=cipher)
        written.append({"part": part, "key": key, "file": file, "sha256": digest})
    return written


def _put(folder: Path, name: str, content: bytes, *, of: str, cipher: Any) -> None:
    """Writes a file, in encrypted parts if there is a cipher."""
    for file, written in _files(name, content, of=of, cipher=cipher):
        (folder / file).write_bytes(written)


def _cache() -> Path:
    """Returns the folder of decoded sets."""
    named, base = os.environ.get("JAXRESEARCH_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named)
    try:
        return Path(base or Path.home() / ".cache") / "jaxresearch"
    except RuntimeError as error:
        raise ValueError(
            "the cache must have a folder, got no home directory. Set JAXRESEARCH_CACHE to a folder."
        ) from error


def _manifest(folder: Path, cipher: Any) -> Manifest | None:
    """Returns the manifest of cached arrays; None if there are none, or they have an older format."""
    if not (folder / (_MANIFEST if cipher is None else _part(_MANIFEST, 0))).is_file():
        return None
    text = (folder / _MANIFEST).read_bytes() if cipher is None else _opened(folder, _MANIFEST, cipher)
    manifest = json.loads(text)
    return manifest if "arrays" in manifest else None


def _stored(folder: Path, manifest: Manifest, cipher: Any) -> dict[str, Part]:
    """Returns the arrays of a folder after verifying their digests, which are of the unencrypted arrays."""
    parts: dict[str, Part] = {}
    for entry in manifest["arrays"]:
        array = _array(folder, entry["file"], entry["sha256"], cipher)
        part, column = parts.setdefault(entry["part"], {}), entry["key"].removeprefix("inputs.")
        if column == entry["key"]:
            part[column] = array
        else:
            part.setdefault("inputs", {})[column] = array
    return parts


def _collected(
    parts: dict[str, Part], manifest: Manifest, *, types: Mapping[str, str] | None, task: Task | None
) -> Collected:
    """Returns parts and card: of a table, with columns as those of any table."""
    label, class_names = manifest["label"], tuple(manifest["class_names"])
    labels, lengths = [part["targets"] for part in parts.values()], [len(part["targets"]) for part in parts.values()]
    targets = _targets(joined_labels(labels), label, class_names, task)
    sha256 = tuple((entry["file"], entry["sha256"]) for entry in manifest["arrays"])
    named = {name: manifest[name] for name in ("name", "source", "licence", "citation")}
    card = DataCard(**named, sha256=sha256, notes=tuple(manifest["notes"]))
    if not isinstance(parts["train"]["inputs"], dict):
        return _of_arrays(parts, targets, card, types)
    columns = {
        name: _cells(np.concatenate([part["inputs"][name] for part in parts.values()]), manifest["levels"][name])
        for name in parts["train"]["inputs"]
    }
    asked = {name: "category" for name, names in manifest["levels"].items() if names} | dict(types or {})
    read = read_columns(columns, asked, Rows(sum(lengths)))
    return collected_of(read, targets, lengths=lengths, card=card, names=list(parts))


def _of_arrays(parts: dict[str, Part], targets: Targets, card: DataCard, types: Mapping[str, str] | None) -> Collected:
    """Returns parts and card of images and other arrays."""
    if types:
        raise ValueError(f"types must come with a table, got {card.source} of arrays. Leave them out.")
    of_parts = divided(targets.values, [len(part["targets"]) for part in parts.values()])
    made = {
        part: {"inputs": arrays["inputs"], "targets": values}
        for (part, arrays), values in zip(parts.items(), of_parts, strict=True)
    }
    card = dataclasses.replace(
        card,
        class_names=targets.class_names,
        feature_shape=parts["train"]["inputs"].shape[1:],
        target=targets.column,
        split=Split(fraction=None) if "test" in parts else Split(),
        notes=card.notes,
    )
    return Collected(made, card)


def _targets(labels: np.ndarray, name: str, class_names: tuple[str, ...], task: Task | None) -> Targets:
    """Returns labels as classes or values."""
    if class_names:
        if task == "regression":
            raise ValueError(
                f"target {name} must be numbers, got the classes {', '.join(class_names[:5])}. Choose another data set."
            )
        column = Column(name=name, kind="category", levels=class_names, note="labels of the set: classes")
        return Targets(labels.astype(np.int32), column)
    if labels.dtype.kind == "U":
        return classes_of(labels, name=name, task=task)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.argmax(~np.isfinite(labels).reshape(len(labels), -1).all(axis=1)))
        raise ValueError(f"target {name} must be finite, got {labels[row]} at example {row}. Choose another target.")
    return targets_of(labels, name=name, task=task)


def _cells(values: np.ndarray, names: list[str]) -> Cells | np.ndarray:
    """Returns a column in the form that the reader of tables expects."""
    if names:
        return cells_of((names[code] if code >= 0 else "" for code in values.tolist()), is_typed=True)
    if values.dtype.kind == "b":
        return cells_of(("true" if value else "false" for value in values.tolist()), is_typed=True)
    if values.dtype.kind == "U" or (
        values.dtype.kind in "iu" and np.abs(values.astype(np.float64)).max(initial=0) >= 2.0**53
    ):
        return cells_of(map(str, values.tolist()), is_typed=True)
    return values.astype(np.float64)


def _array(folder: Path, name: str, digest: str, cipher: Any) -> np.ndarray:
    """Returns an array after verifying its digest: memory-mapped, or in memory if it is encrypted."""
    path, content = folder / name, b"" if cipher is None else _opened(folder, name, cipher)
    found = file_digest(path) if cipher is None else hashlib.sha256(content).hexdigest()
    if path.parent != folder or digest != found:
        raise ValueError(
            f"{path} must have SHA-256 {digest}, got {found}, so it was altered. Delete {folder} to decode the data again."
        )
    if cipher is None:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    return np.load(io.BytesIO(content), allow_pickle=False)


def _files(name: str, content: bytes, *, of: str, cipher: Any) -> Iterator[tuple[str, bytes]]:
    """Yields the names and contents to write: the content itself, or its parts, each encrypted under its set and name."""
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

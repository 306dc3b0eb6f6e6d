"""The user's own arrays: `.npz` files in MedMNIST's layout, or with plain names."""

import difflib
import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxresearch.data import memory
from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import DataCard, Split, file_digest
from jaxresearch.data.files.streamed import ArrayOnDisk
from jaxresearch.data.files.targets import Task, classes_of, divided, joined_labels, targets_of
from jaxresearch.data.rows import Rows

_INPUTS = ("images", "x", "X", "inputs", "data")
_TARGETS = ("labels", "y", "Y", "targets", "target", "label")
_PARTS = {"train": "train", "test": "test", "val": "validation"}
_PAIRS = "train_images and train_labels, x_train and y_train, or x and y"


class Pair(NamedTuple):
    """The names of the arrays of a part."""

    inputs: str
    targets: str


def load_npz(path: Path, *, task: Task | None = None, stream: bool = False) -> Collected:
    """Returns the data of an ``.npz`` file.

    ===========================================================  ==================================================
    names in the file                                            parts
    ===========================================================  ==================================================
    train_images, train_labels, val_..., test_... (MedMNIST)     as they are
    x_train, y_train, x_test, y_test (x_val, y_val)              as they are
    x, y (X, inputs, data, images; Y, targets, labels)           one, to be divided
    ===========================================================  ==================================================

    Args:
        path: The file; nothing in it is executed.
        task: How to read whole numbers as targets, as in `jaxresearch.data.files.targets.targets_of`.
        stream: Whether inputs stay on disk, as `jaxresearch.data.Rows`; the file has to be uncompressed then.

    Returns:
        Inputs unchanged, except for a channel axis on grey images and booleans as float32; int32 classes, or float64 values
        ``(n, outputs)``.

    Raises:
        ValueError: If the file is damaged, holds Python objects or unknown names, or does not fit into memory.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.npz"
        >>> np.savez(path, x=np.zeros((10, 3)), y=np.arange(10) % 2)
        >>> load_npz(path).parts["train"]["inputs"].shape
        (10, 3)

    References:
        Yang et al. (2023), MedMNIST v2, Sci. Data 10. https://doi.org/10.1038/s41597-022-01721-8
    """
    sizes = _sizes(path)
    pairs = pairs_of(sizes, path)
    if stream:
        arrays, digest = _on_disk(path, pairs)
    else:
        memory.require_room(
            sum(sizes.values()), of=str(path), remedy="Pass --stream to read examples as they are needed."
        )
        arrays, digest = _arrays(path), file_digest(path)
    inputs = {part: _inputs(arrays[pair.inputs], pair.inputs, path) for part, pair in pairs.items()}
    labels = [_labels(arrays, pair, path) for pair in pairs.values()]
    name, lengths = pairs["train"].targets, [len(values) for values in labels]
    whole = joined_labels(labels)
    if whole.dtype.kind in "UT":
        made = classes_of(whole, name=name, task=task)
    else:
        made = targets_of(whole, name=name, task=task, is_declared="label" in name and whole.dtype.kind in "iu")
    of_parts = divided(made.values, lengths)
    parts = {part: {"inputs": inputs[part], "targets": values} for part, values in zip(pairs, of_parts, strict=True)}
    card = DataCard(
        name=path.stem,
        source=str(path),
        sha256=((path.name, digest),),
        class_names=made.class_names,
        feature_shape=parts["train"]["inputs"].shape[1:],
        target=made.column,
        split=Split(fraction=None) if "test" in parts else Split(),
    )
    return Collected(parts, card)


def read_new_arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None, dict[str, list[str]]]:
    """Returns the inputs of a file for a trained model, its targets if it has any, and its other columns.

    Args:
        path: An ``.npy`` file of inputs; or an ``.npz`` file with the names of `load_npz`, where targets may be missing. Of
            several parts, the test part is read. Further vectors of one entry for each example are columns to carry along.

    Returns:
        Inputs as from `load_npz`, targets unchanged or None, and words by name.

    Raises:
        ValueError: If the file is damaged, or holds no inputs or several.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new.npz"
        >>> np.savez(path, x=np.zeros((2, 3)), id=np.array(["a", "b"]))
        >>> inputs, targets, others = read_new_arrays(path)
        >>> inputs.shape, targets, others
        ((2, 3), None, {'id': ['a', 'b']})
    """
    if path.suffix.lower() == ".npy":
        with _guarded(path):
            return _inputs(np.load(path, allow_pickle=False), "x", path), None, {}
    arrays = _arrays(path)
    found = {part: [name for name in _spellings(_INPUTS, part) if name in arrays] for part in ("test", "")}
    part = "test" if found["test"] else ""
    if len(found[part]) != 1:
        raise ValueError(
            f"{path} must hold inputs under one of the names {', '.join(_INPUTS)}, got {', '.join(arrays) or 'no array'}. "
            "Rename its arrays."
        )
    (name,) = found[part]
    target = next((one for one in _spellings(_TARGETS, part) if one in arrays), None)
    n, used = len(arrays[name]), {name, target}
    labels = None if target is None else _labels(arrays, Pair(name, target), path)
    is_column = {one: one not in used and array.shape == (n,) for one, array in arrays.items()}
    others = {one: [str(cell) for cell in array] for one, array in arrays.items() if is_column[one]}
    return _inputs(arrays[name], name, path), labels, others


def pairs_of(names: Iterable[str], path: Path) -> dict[str, Pair]:
    """Returns the arrays that are inputs and targets of each part; every array must be one of them.

    Args:
        names: Of the arrays.
        path: Names the file in errors.

    Returns:
        Names by part, ``train`` first.

    Raises:
        ValueError: If an array has an unknown name, or a part lacks its inputs or targets.

    Example:
        >>> pairs_of(["x", "y"], Path("mine.npz"))
        {'train': Pair(inputs='x', targets='y')}
    """
    names = list(names)
    found: dict[str, Pair] = {}
    for part, own in (("train", "train"), ("train", ""), ("test", "test"), ("validation", "val")):
        pair = [next((name for name in _spellings(stems, own) if name in names), None) for stems in (_INPUTS, _TARGETS)]
        if part not in found and pair[0] and pair[1]:
            found[part] = Pair(pair[0], pair[1])
    if "train" not in found:
        raise ValueError(f"{path} must hold {_PAIRS}, got {', '.join(names) or 'no array'}. Rename its arrays.")
    used = {name for pair in found.values() for name in pair}
    unused = [name for name in names if name not in used]
    if unused:
        raise ValueError(_not_understood(unused, used, path))
    return found


def _spellings(stems: Iterable[str], part: str) -> list[str]:
    """Returns the accepted names of an array."""
    return [spelt for stem in stems for spelt in ((f"{part}_{stem}", f"{stem}_{part}") if part else (stem,))]


def _not_understood(names: list[str], used: set[str], path: Path) -> str:
    """Returns the message for arrays that would be ignored; misspelt ones first."""
    known = [spelt for part in (*_PARTS, "") for stems in (_INPUTS, _TARGETS) for spelt in _spellings(stems, part)]
    name = next((name for name in names if name not in known), names[0])
    if name in known:
        return f"{path} must hold inputs and targets once for each part, got {name} without the other or twice. Complete it."
    near = difflib.get_close_matches(name, [one for one in known if one not in used], n=1)
    advice = f"Did you mean {near[0]!r}?" if near else "Delete it, or rename it."
    return f"{path} must hold arrays such as {_PAIRS}, got {name!r}, which would be ignored. {advice}"


def _sizes(path: Path) -> dict[str, int]:
    """Returns the size of each array in bytes, from their headers."""
    with _guarded(path), zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): _size(archive, name) for name in names}


def _size(archive: zipfile.ZipFile, name: str) -> int:
    """Returns the size of an array in bytes."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return math.prod(shape) * dtype.itemsize


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns all arrays of the file."""
    with _guarded(path), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _on_disk(path: Path, pairs: dict[str, Pair]) -> tuple[dict[str, Any], str]:
    """Returns inputs that stay on disk and targets that do not, by name, and the digest of the file."""
    arrays: dict[str, Any] = {}
    digest = file_digest(path)
    for pair in pairs.values():
        inputs, targets = (ArrayOnDisk(path, member=name, digest=digest) for name in pair)
        if len(inputs.shape) == 3 and "images" in pair.inputs:
            inputs.shape = (*inputs.shape, 1)
        arrays |= {pair.inputs: Rows(inputs), pair.targets: targets.read(np.arange(len(targets)))}
    return arrays, digest


class _guarded:
    """Turns the exceptions of a damaged file into one line."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ValueError | EOFError | zipfile.BadZipFile | zlib.error | KeyError | NotImplementedError):
            pickled = "pickle" in str(error).lower()
            reason = "Python objects, which are never loaded" if pickled else f"a damaged one ({error})"
            raise ValueError(
                f"{self.path} must be an intact .npz file of plain arrays, got {reason}. Save it again."
            ) from error


def _inputs(values: Any, name: str, path: Path) -> Any:
    """Returns inputs in the form that models accept."""
    if values.dtype.kind not in "biuf" or values.ndim < 2:
        raise ValueError(
            f"{path} must hold numbers of shape (n, ...) as inputs, got {values.dtype} of shape {values.shape} in {name}. "
            "Convert them first."
        )
    if values.ndim == 3 and "images" in name:
        values = values[..., None]
    if values.dtype.kind != "b":
        return values
    return values.mapped(_floats) if isinstance(values, Rows) else _floats(values)


def _floats(values: np.ndarray) -> np.ndarray:
    """Returns booleans as 0 and 1."""
    return values.astype(np.float32)


def _labels(arrays: dict[str, Any], pair: Pair, path: Path) -> np.ndarray:
    """Returns targets, one row for each row of inputs."""
    inputs, labels = arrays[pair.inputs], arrays[pair.targets]
    if labels.dtype.kind not in "biufU":
        raise ValueError(
            f"{path} must hold numbers or words as targets, got {labels.dtype} in {pair.targets}. Convert them first."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.dtype.kind in "bU"):
        raise ValueError(
            f"{path} must hold targets (n,) or values (n, outputs), got shape {labels.shape} in {pair.targets}. Reshape them."
        )
    if len(inputs) != len(labels):
        raise ValueError(
            f"{path} must hold as many targets as inputs, got {len(labels)} in {pair.targets} and {len(inputs)} in "
            f"{pair.inputs}. Give each input one target."
        )
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = int(np.argmax(~np.isfinite(labels).reshape(len(labels), -1).all(axis=1)))
        raise ValueError(
            f"targets in {pair.targets} must be finite, got {labels[row]} at example {row}. Drop the example."
        )
    return labels

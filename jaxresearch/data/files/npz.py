"""The user's own arrays: `.npz` files in MedMNIST's layout, or with plain names."""

import hashlib
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from jaxresearch.data.dataset import DataCard, Dataset, Part
from jaxresearch.data.splits import split

_INPUTS = ("images", "x", "X", "inputs", "data")
_TARGETS = ("labels", "y", "Y", "targets", "target", "label")


def load_npz(path: Path, *, seed: int, test_fraction: float) -> Dataset:
    """Returns the data of an ``.npz`` file.

    ===========================================================  ==================================================
    names in the file                                            parts
    ===========================================================  ==================================================
    train_images, train_labels, val_..., test_... (MedMNIST)     as they are
    x_train, y_train, x_test, y_test (x_val, y_val)              as they are
    x, y (X, inputs, data, images; Y, targets, labels)           split, stratified by class
    ===========================================================  ==================================================

    Args:
        path: The file; nothing in it is executed.
        seed: Of the split, where one is made.
        test_fraction: Share of the test part, where one is made.

    Returns:
        Inputs as they are, integer targets as int32 classes, others as float32 values ``(n, outputs)``.

    Raises:
        ValueError: If the file is damaged, holds Python objects, or names that are not understood.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.npz"
        >>> np.savez(path, x=np.zeros((10, 3)), y=np.arange(10) % 2)
        >>> load_npz(path, seed=0, test_fraction=0.2).test["inputs"].shape
        (2, 3)

    References:
        Yang et al. (2023), MedMNIST v2, Sci. Data 10. https://doi.org/10.1038/s41597-022-01721-8
    """
    raw = path.read_bytes()
    arrays = _read(raw, path)
    parts = {part: _part(arrays, part, path) for part in ("train", "val", "test")}
    if parts["train"] is None:
        parts["train"] = _part(arrays, "", path)
    if parts["train"] is None:
        raise ValueError(
            f"{path} must hold train_images and train_labels, x_train and y_train, or x and y; got {', '.join(arrays)}. "
            "Rename its arrays."
        )
    if parts["test"] is None:
        _require_pairs(parts["train"], path)
        parts["train"], parts["test"] = split(parts["train"], fraction=test_fraction, seed=seed)
    targets = parts["train"]["targets"]
    is_classes = targets.dtype.kind in "iu"
    n_classes = int(targets.max(initial=0)) + 1 if is_classes else 0
    card = DataCard(
        name=path.stem,
        source=str(path),
        sha256=((path.name, hashlib.sha256(raw).hexdigest()),),
        class_names=tuple(str(label) for label in range(n_classes)),
        feature_shape=parts["train"]["inputs"].shape[1:],
    )
    return Dataset(parts["train"], parts["test"], parts["val"], card)


def _read(raw: bytes, path: Path) -> dict[str, np.ndarray]:
    """Returns all arrays of the file."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array, not named ones")
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        pickled = "it holds Python objects, which are never loaded" if raw[:2] == b"PK" else "it is no zip archive"
        what = pickled if "pickle" in str(error).lower() else error
        raise ValueError(
            f"{path} must be a whole .npz file of plain arrays; it is not ({what}). Save it again."
        ) from error


def _part(arrays: dict[str, np.ndarray], part: str, path: Path) -> Part | None:
    """Returns the part of this name, in one of the spellings; None if it is not there."""
    found = [
        next((arrays[name] for stem in stems for name in _spellings(stem, part) if name in arrays), None)
        for stems in (_INPUTS, _TARGETS)
    ]
    inputs, targets = found
    if inputs is None or targets is None:
        return None
    if targets.dtype.kind not in "biuf":
        raise ValueError(f"{path} must hold numbers as targets; got {targets.dtype}. Number the classes from 0.")
    is_classes = targets.dtype.kind in "biu"
    if is_classes and targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if not is_classes and targets.ndim == 1:
        targets = targets[:, None]
    if targets.ndim != (1 if is_classes else 2) or inputs.ndim < 2:
        raise ValueError(
            f"{path} must hold inputs (n, ...) and targets (n,); got {inputs.shape} and {targets.shape}. Reshape them."
        )
    if part and inputs.ndim == 3:
        inputs = inputs[..., None]  # grey images
    targets = targets.astype(np.int32 if is_classes else np.float32)
    return {"inputs": inputs, "targets": targets}


def _spellings(stem: str, part: str) -> tuple[str, ...]:
    """Returns how an array may be called."""
    return (f"{part}_{stem}", f"{stem}_{part}") if part else (stem,)


def _require_pairs(part: Part, path: Path) -> None:
    """Raises where inputs and targets differ in number, before they are split."""
    if len(part["inputs"]) != len(part["targets"]):
        raise ValueError(
            f"{path} must hold as many targets as inputs; got {len(part['targets'])} and {len(part['inputs'])}. "
            "Give each input one target."
        )

"""The IDX format of MNIST: arrays with a short header, gzipped or not."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import Column, DataCard, Split
from jaxresearch.data.files.targets import divided

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_PARTS = {"train": "train", "test": "t10k"}


def parse_idx(content: bytes, *, name: str) -> np.ndarray:
    """Returns the array in an IDX file.

    The header is two zero bytes, the type, the number of axes, and the length of each as a big-endian 32-bit number;
    the values follow. The file must have exactly the length in the header, which is checked before creating an array.

    Args:
        content: The bytes of the file, decompressed.
        name: Name of the file for errors.

    Returns:
        A read-only array in the machine's byte order.

    Raises:
        ValueError: If the content is not an IDX file, or its length differs from the header.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]), name="two")
        array([7, 9], dtype=uint8)

    References:
        LeCun, Cortes and Burges, The MNIST database of handwritten digits, "File formats".
        http://yann.lecun.com/exdb/mnist/
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _DTYPES:
        raise ValueError(
            f"{name} must be an IDX file, got {content[:4].hex() or 'nothing'} at its start. Download it again."
        )
    dtype, n_axes = np.dtype(_DTYPES[content[2]]), content[3]
    if len(content) < 4 + 4 * n_axes:
        raise ValueError(f"{name} must hold a header of {4 + 4 * n_axes} bytes, got {len(content)}. Download it again.")
    shape = struct.unpack_from(f">{n_axes}I", content, 4)
    expected = 4 + 4 * n_axes + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(
            f"{name} must hold {expected} bytes for its shape {shape}, got {len(content)}. Download it again."
        )
    values = np.frombuffer(content, dtype, offset=4 + 4 * n_axes).reshape(shape)
    return values if dtype.isnative else values.astype(dtype.newbyteorder("="))


def read_bytes(path: Path) -> tuple[bytes, str]:
    """Returns the decompressed content of a file, and the SHA-256 digest of the file itself.

    Args:
        path: The file.

    Returns:
        The bytes, and the digest in hexadecimal.

    Raises:
        ValueError: If the file is empty, or its compression is damaged.
        OSError: If it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.gz"
        >>> _ = path.write_bytes(gzip.compress(b"abc"))
        >>> read_bytes(path)[0]
        b'abc'
    """
    raw = path.read_bytes()
    if not raw:
        raise ValueError(f"{path} must not be empty, got no bytes. Download it again.")
    digest = hashlib.sha256(raw).hexdigest()
    if raw[:2] != b"\x1f\x8b":
        return raw, digest
    try:
        return gzip.decompress(raw), digest
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path} must be an intact gzip file, got a damaged one ({error}). Download it again."
        ) from error


def load_idx_folder(folder: Path) -> Collected:
    """Returns the data of a folder with the four files of MNIST's layout, gzipped or not.

    Args:
        folder: Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
            ``t10k-labels-idx1-ubyte``, each with or without ``.gz``, or with a dot for the last hyphen but one.

    Returns:
        Images ``(n, height, width, 1)``, unchanged, and labels.

    Raises:
        ValueError: If a file is damaged or has another layout.
        FileNotFoundError: If one is missing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for part in ("train", "t10k"):
        ...     _ = (folder / f"{part}-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, *[0, 0, 0, 2] * 3, *range(8)]))
        ...     _ = (folder / f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1]))
        >>> load_idx_folder(folder).parts["train"]["inputs"].shape
        (2, 2, 2, 1)
    """
    parts, digests = {}, []
    for part, prefix in _PARTS.items():
        for key, kind, n_axes in (("inputs", "images-idx3-ubyte", 3), ("targets", "labels-idx1-ubyte", 1)):
            path = _find(folder, f"{prefix}-{kind}")
            content, digest = read_bytes(path)
            values = parse_idx(content, name=str(path))
            if values.ndim != n_axes:
                raise ValueError(f"{path} must have {n_axes} axes, got shape {values.shape}. Name the right file.")
            parts.setdefault(part, {})[key] = values[..., None] if n_axes == 3 else values
            digests.append((path.name, digest))
    labels = [part["targets"] for part in parts.values()]
    distinct, classes = np.unique(np.concatenate(labels), return_inverse=True)
    of_parts = divided(classes.astype(np.int32), [len(values) for values in labels])
    for part, values in zip(parts.values(), of_parts, strict=True):
        part["targets"] = values
    names = tuple(f"{label:g}" for label in distinct.tolist())
    card = DataCard(
        name=folder.resolve().name,
        source=str(folder),
        sha256=tuple(digests),
        class_names=names,
        feature_shape=parts["train"]["inputs"].shape[1:],
        target=Column(name="labels", kind="category", levels=names, note="labels of the files: classes"),
        split=Split(fraction=None),
    )
    return Collected(parts, card)


def _find(folder: Path, name: str) -> Path:
    """Returns the file of this name, in any of its spellings."""
    dotted = name.replace("-idx", ".idx")
    for spelling in (f"{name}.gz", name, f"{dotted}.gz", dotted):
        if (folder / spelling).is_file():
            return folder / spelling
    raise FileNotFoundError(f"data folder {folder} must hold {name} or {name}.gz, got neither. Name the right folder.")

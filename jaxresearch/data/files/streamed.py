"""Data that stays on disk: arrays of ``.npy`` and ``.npz`` files and sets of TensorFlow Datasets, read row by row.

Each read maps the file into memory, copies its rows and drops the map: a system call for each row would take some times as long,
and the pages of a lasting map count as memory of the process, which would grow with the data.
"""

import mmap
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxresearch.data.collected import Collected
from jaxresearch.data.dataset import DataCard, Part, Split, file_digest
from jaxresearch.data.files import tfds as sets
from jaxresearch.data.files.examples import parts_of
from jaxresearch.data.rows import Rows

_CAN_ADVISE = hasattr(mmap, "MADV_RANDOM") and hasattr(mmap, "MADV_DONTNEED")  # not on Windows
_MAPPED_BYTES = 2**18  # of rows read before their pages are dropped, which are up to some times as many
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, and lengths of name and extra field


class ArrayOnDisk:
    """An array in a ``.npy`` file, or an uncompressed member of a ``.npz`` file, as a source of `jaxresearch.data.Rows`.

    Args:
        path: The file.
        member: Name of the array, if the file holds several.
        digest: Of the file, if known; rows are then digested without being read.

    Attributes:
        shape: Of the array.
        dtype: Of an entry.
        digest: Text that changes with the content; None if none was given.

    Raises:
        ValueError: If there is no such array, or it is compressed, truncated, empty, in Fortran order or not numeric.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.npz"
        >>> np.savez(path, x=np.arange(6.0).reshape(3, 2))
        >>> source = ArrayOnDisk(path, member="x")
        >>> len(source), source.read(np.array([2, 0])).tolist()
        (3, [[4.0, 5.0], [0.0, 1.0]])

    References:
        NumPy documentation, the NPY format. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
        PKWARE (2022), .ZIP file format specification, 4.3.7 (local file header).
        https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
    """

    def __init__(self, path: Path, *, member: str | None = None, digest: str | None = None):
        self._path, self._name = path, f"{path}" if member is None else f"{member} of {path}"
        self.digest = None if digest is None else f"{digest} {member}"
        with open(path, "rb") as file:
            start, size = (0, path.stat().st_size) if member is None else _member(file, member, self._name)
            file.seek(start)
            self.shape, self.dtype = _header(file, self._name)
            self._start = file.tell()
        self._end = self._start + int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        if self._end != start + size:
            raise ValueError(f"{self._name} must be a complete array, got a truncated one. Save it again.")
        self._version = self._versioned()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, place: int) -> np.ndarray:
        return self.read(np.array([place]))[0]

    def read(self, places: np.ndarray) -> np.ndarray:
        """Returns the rows at these indices."""
        self._require_unchanged()  # before the map: its pages beyond the end of a shortened file cannot be read
        with open(self._path, "rb") as file:
            mapped = mmap.mmap(file.fileno(), self._end, access=mmap.ACCESS_READ)
        if _CAN_ADVISE and np.any(np.diff(places) != 1):
            mapped.madvise(mmap.MADV_RANDOM)  # else the disk reads the neighbours of each row as well
        whole = np.ndarray(self.shape, self.dtype, mapped, self._start)
        rows = np.empty((len(places), *self.shape[1:]), self.dtype)
        n_rows = max(1, _MAPPED_BYTES // max(1, whole[0].nbytes))
        for start in range(0, len(places), n_rows):
            rows[start : start + n_rows] = whole[places[start : start + n_rows]]
            if _CAN_ADVISE:
                mapped.madvise(mmap.MADV_DONTNEED)  # the pages read so far are no longer memory of the process
        self._require_unchanged()
        return rows.astype(self.dtype.newbyteorder("="), copy=False)

    def _require_unchanged(self) -> None:
        """Raises if the file has been rewritten since it was opened first."""
        if self._versioned() != self._version:
            raise ValueError(
                f"{self._name} must not change while it is read, but it was rewritten or cut off. Start again."
            )

    def _versioned(self) -> tuple[int, int]:
        """Returns a value that changes if the file is rewritten."""
        status = self._path.stat()
        return status.st_size, status.st_mtime_ns


class SetOnDisk:
    """The inputs of a prepared part of a TensorFlow Datasets set, decoded when read: a source of rows.

    Args:
        source: From ``as_data_source`` of its builder.
        decode: Returns the inputs of an example.
        digest: Of the files of the part.

    Attributes:
        digest: Text that changes with the content.

    Example:
        >>> source = SetOnDisk([{"x": 1.0}, {"x": 2.0}], lambda example: np.array([example["x"]]), "of its files")
        >>> len(source), source[1].tolist()
        (2, [2.0])
    """

    def __init__(self, source: Sequence[Any], decode: Callable[[Any], np.ndarray], digest: str):
        self._source, self._decode, self.digest = source, decode, digest

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, place: int) -> np.ndarray:
        return self._decode(self._source[place])


def load_streamed_tfds(name: str, *, data_dir: str | None = None) -> Collected:
    """Returns a classification set of TensorFlow Datasets with inputs that stay on disk, decoded when read.

    A set that is not prepared is prepared first, as `jaxresearch.data.files.tfds.load_tfds` does; no decoded array is kept.
    Labels are read into memory. The files are read once for their SHA-256, which changes if a set is prepared again.

    Args:
        name: As for `jaxresearch.data.files.tfds.load_tfds`.
        data_dir: The folder of TFDS sets; by default that of TFDS.

    Returns:
        Inputs as `jaxresearch.data.Rows`, and labels in memory.

    Raises:
        ValueError: As for `jaxresearch.data.files.tfds.load_tfds`.

    Example:
        >>> load_streamed_tfds("no_such_set")
        Traceback (most recent call last):
        ...
        ValueError: tfds:NAME must be a data set of TensorFlow Datasets, got 'no_such_set' ...
    """
    builder = sets._builder(name, data_dir)
    sets._prepare(builder, name)
    keys = builder.info.supervised_keys
    if keys is None or len(keys) != 2:
        raise ValueError(f"tfds:{name} must name inputs and labels, got {keys}. Choose another data set.")
    if not hasattr(builder.info.features[keys[1]], "names"):
        raise ValueError(f"tfds:{name} must have classes to be streamed, got values in {keys[1]}. Leave out --stream.")
    parts: dict[str, Part] = {}
    digests: list[tuple[str, str]] = []
    named, notes = parts_of(list(builder.info.splits), name=name)
    for part, split in named.items():
        files = [Path(file) for file in builder.info.splits[split].filepaths]
        of_files = [(file.name, file_digest(file)) for file in files]
        digests += of_files
        parts[part] = _part_of_set(builder, split, *keys, digest=f"{of_files} {keys[0]}")
    rule = Split(fraction=None) if "test" in parts else Split()
    shape = parts["train"]["inputs"].shape[1:]
    fields = {"sha256": tuple(digests), "feature_shape": shape, "split": rule, "notes": notes}
    return Collected(parts, _card_of_set(builder, *keys, **fields))


def _part_of_set(builder: Any, split: str, inputs: Any, label: str, *, digest: str) -> Part:
    """Returns a part of a set: rows, with labels in memory."""
    import tensorflow_datasets as tfds  # imported late: seconds

    def decoded(example: Any) -> np.ndarray:
        values = example[inputs] if isinstance(inputs, str) else example
        if isinstance(values, dict):
            return np.array([values[name] for name in sorted(values)], np.float32)
        return np.asarray(values)

    is_table = not isinstance(inputs, str) or hasattr(builder.info.features[inputs], "keys")
    undecoded = {} if is_table else {inputs: tfds.decode.SkipDecoding()}
    labels = builder.as_data_source(split=split, decoders=undecoded)
    targets = np.asarray([labels[place][label] for place in range(len(labels))], np.int32)
    return {"inputs": Rows(SetOnDisk(builder.as_data_source(split=split), decoded, digest)), "targets": targets}


def _card_of_set(builder: Any, inputs: Any, label: str, **fields: Any) -> DataCard:
    """Returns what TFDS knows of a set."""
    info = builder.info
    columns = getattr(info.features[inputs], "keys", tuple) if isinstance(inputs, str) else tuple
    return DataCard(
        **sets._origin(builder),
        class_names=tuple(info.features[label].names),
        feature_names=tuple(sorted(columns())),
        **fields,
    )


def _member(file: BinaryIO, member: str, name: str) -> tuple[int, int]:
    """Returns the offset and size of an uncompressed member of a zip archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            info = archive.getinfo(f"{member}.npy")
    except (zipfile.BadZipFile, KeyError, NotImplementedError) as error:
        raise ValueError(
            f"{name} must be an array of an intact .npz file, got a damaged one ({error}). Save it again."
        ) from error
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise ValueError(f"{name} must be uncompressed to be streamed, got a compressed array. Save it with np.savez.")
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\3\4"):
        raise ValueError(f"{name} must be an array of an intact .npz file, got a damaged header. Save it again.")
    _, n_name, n_extra = _LOCAL_HEADER.unpack(header)
    return info.header_offset + _LOCAL_HEADER.size + n_name + n_extra, info.file_size


def _header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and type of an array in NumPy's format, from the header at this position."""
    try:
        version = np.lib.format.read_magic(file)
        reads = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = reads[version](file)
    except (ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"{name} must be an array in NumPy's format, got something else ({error}). Save it again."
        ) from error
    if dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers to be streamed, got {dtype}. Convert it first.")
    if is_fortran and len(shape) > 1:
        raise ValueError(
            f"{name} must be in C order to be streamed, got Fortran order. Save np.ascontiguousarray(array)."
        )
    if not shape or 0 in shape:
        raise ValueError(f"{name} must hold at least one example, got shape {shape}. Leave it out.")
    return shape, dtype

"""Files written completely or not at all, and JSON that is checked when read."""

import csv
import errno
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import catalogue, statistics

_EXACT = ("axes", "best", "hyperparameters", "private", "privacy")


def write_file(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all: under another name, synced, and renamed."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(content)
        sync(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync(path.parent)


def written_table(columns: Mapping[str, Iterable[Any]]) -> bytes:
    r"""Returns columns of one length as the content of a CSV file.

    Example:
        >>> written_table({"id": [1, 2], "place": ["Oslo, N", ""]})
        b'id,place\n1,"Oslo, N"\n2,\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


def append_text(path: Path, text: str) -> None:
    """Appends text to a file, completely or not at all."""
    with open(path, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            file.write(text.encode())
            if file.tell() - size < len(text.encode()):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(size)
            raise


def require_exists(path: Path) -> None:
    """Raises for the directory of a run that does not exist, with the nearest name."""
    if not path.exists():
        raise ValueError(f"{path} does not exist. {catalogue.path_advice(path)}")


def make_folder(path: Path) -> None:
    """Creates a folder if it does not exist, and syncs its parent, which must exist."""
    if not path.is_dir():
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Flushes a file or folder to the disk. Windows flushes no folders, and only files open for writing."""
    is_windows = os.name == "nt"
    if is_windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the entries of a JSON file, which another process may have written."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must hold valid JSON, got an error: {error}. Restore it.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object, got {json.dumps(content)[:20]}. Restore it.")
    return content


def read_checksummed(path: Path) -> dict[str, Any]:
    """Returns the content of a file of `RunDirectory.write_checksummed`; raises if it was altered."""
    content = read_json(path)
    if content.pop("sha256", None) != digest_of_json(content):
        raise ValueError(
            f"{path} was altered: its SHA-256 does not match. Restore it, or rerun with another --directory."
        )
    return content


def json_types(value: Any, *, exact: bool = False) -> Any:
    """Returns the value in JSON's types; a number that is not finite becomes null.

    Settings keep full precision; measurements have that of float32.
    """
    if isinstance(value, dict):
        return {str(name): json_types(entry, exact=exact or name in _EXACT) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_types(entry, exact=exact) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return json_types(value.tolist(), exact=exact)
    if isinstance(value, float):
        return None if not math.isfinite(value) else value if exact else statistics.shortest(value)
    return str(value) if isinstance(value, Path) else value


def digest_of_json(content: dict[str, Any]) -> str:
    """Returns the SHA-256 of content in JSON's types."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()

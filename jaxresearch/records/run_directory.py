"""The directory of one run: what was asked, where it ran, how it went, what came out."""

import csv
import fcntl
import hashlib
import io
import json
import math
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

_LOCK = ".lock"
_LONGEST = 60  # letters of a value in a message
_EXACT = ("axes", "best", "hyperparameters")


class RunDirectory:
    """A directory with ``config.json``, ``environment.json``, ``metrics.jsonl``, ``checkpoints/`` and ``result.json``.

    A file is either whole or not there: each is written beside its place, synced, and renamed. One process at a time may
    use a directory; its lock ends with the process, however that ends.

    Args:
        path: Where to make it; a directory that is there already has to be empty.

    Raises:
        FileExistsError: If the path is a file, or a directory with something in it.
        PermissionError: If it cannot be written.
        BusyError: If another process uses it.

    Example:
        >>> import tempfile
        >>> directory = RunDirectory(Path(tempfile.mkdtemp()) / "run")
        >>> directory.write("config.json", {"seeds": [0, 1]})
        >>> json.loads((directory.path / "config.json").read_text())
        {'seeds': [0, 1]}

    References:
        Pillai et al. (2014), All file systems are not created equal, OSDI (why sync, then rename, then sync).
        https://www.usenix.org/conference/osdi14/technical-sessions/presentation/pillai
    """

    _has_metrics = False

    def __init__(self, path: Path):
        if path.exists() and not (path.is_dir() and all(_is_ours(entry.name) for entry in path.iterdir())):
            raise FileExistsError(f"directory must be new or empty; got {path}. Name another one with --directory.")
        self._made: list[Path] | None = [parent for parent in (path, *path.parents) if not parent.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock: int | None = _locked(path)
        except BusyError:
            raise
        except OSError as error:
            raise PermissionError(
                f"directory must be one that can be written; got {path} ({error.strerror}). "
                "Name another one with --directory."
            ) from error
        self.path = path

    @classmethod
    def again(cls, path: Path) -> "RunDirectory":
        """Returns a directory that is there already, to go on with."""
        directory = cls.__new__(cls)
        directory.path, directory._made, directory._lock = path, None, _locked(path)
        return directory

    def close(self) -> None:
        """Lets other processes use the directory; the end of this one does the same."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def is_new(self) -> bool:
        """Whether this process made it."""
        return self._made is not None

    def read(self, name: str) -> dict[str, Any]:
        """Returns the content of one JSON file."""
        return read_json(self.path / name)

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes one JSON file, whole or not at all."""
        self.write_text_file(name, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")

    def write_sealed(self, name: str, content: dict[str, Any]) -> None:
        """Writes one JSON file with the SHA-256 of what it holds, whole or not at all."""
        plain = _plain(content)
        self.write(name, {"sha256": _digest(plain), **content})

    def add_environment(self, environment: dict[str, Any]) -> None:
        """Writes ``environment.json``; what is there already stays first, and this is one more under ``resumed``."""
        name = "environment.json"
        if (self.path / name).is_file():
            first = self.read(name)
            environment = {**first, "resumed": [*first.get("resumed", []), environment]}
        self.write(name, environment)

    def write_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Writes rows with the same keys as one CSV file, whole or not at all."""
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        self.write_text_file(name, text.getvalue())

    def write_text_file(self, name: str, text: str) -> None:
        """Writes one file, whole or not at all."""
        write_file(self.path / name, text.encode())

    def write_arrays(self, name: str, tree: Any, *, cipher: Any = None) -> str:
        """Returns the name of one .npz file that now holds the arrays of a tree by their paths; sealed, it ends in .sealed."""
        named = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **named)
        if cipher is None:
            write_file(self.path / name, content.getvalue())
            return name
        write_file(self.path / f"{name}.sealed", cipher.seal(content.getvalue(), name=name))
        return f"{name}.sealed"

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Appends one line to ``metrics.jsonl``."""
        self._has_metrics = True
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(_plain(line), allow_nan=False) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """Returns what ``metrics.jsonl`` tells of losses that were not finite."""
        return [event for line in self.metrics() for event in line.get("nonfinite", [])]

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of ``metrics.jsonl``."""
        return read_metrics(self.path / "metrics.jsonl")

    def cut_metrics(self, step: int) -> None:
        """Drops the lines of ``metrics.jsonl`` beyond a step, and one that was not written whole."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
            self.write_text_file(path.name, "".join(line for line in lines if json.loads(line)["step"] <= step))

    @property
    def has_metrics(self) -> bool:
        """Whether anything of the training was recorded, be the directory removed since."""
        return self._has_metrics or (self.path / "metrics.jsonl").exists()

    def folder(self, name: str) -> Path:
        """Returns a folder of this name, made if it is not there."""
        make_folder(self.path / name)
        return self.path / name

    def remove(self, name: str) -> None:
        """Removes one folder, renamed first, so that no half of it is taken for the whole."""
        if (self.path / name).exists():
            trash = self.path / f".trash-{name}"
            if trash.exists():
                shutil.rmtree(trash)
            os.replace(self.path / name, trash)
            sync(self.path)
            shutil.rmtree(trash)

    def discard(self) -> None:
        """Removes what was made: a run that could not begin leaves nothing behind. What others put there stays."""
        if not self.path.is_dir():
            return self.close()
        for entry in list(self.path.iterdir()):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.close()  # not before: another process would begin in what is being removed
        for folder in self._made or []:
            try:
                folder.rmdir()
            except OSError:  # not empty: another run began in it meanwhile
                break


class BusyError(ValueError):
    """A directory that another process uses; the message is one line."""


def command_of(config: dict[str, Any]) -> str:
    """Returns the command that a configuration is of: run, sweep or study."""
    return "study" if "study" in config else "sweep" if "axes" in config else "run"


def differences(config: dict[str, Any], content: dict[str, Any]) -> dict[str, str]:
    """Returns the entries of a configuration that are not as in the content: what is on record and what was asked.

    The keys are those of nested entries, joined by dots.
    """
    recorded, asked = _flat(config), _flat(_plain(content))
    return {
        key: f"{_short(recorded.get(key, 'nothing'))} on record, {_short(asked.get(key, 'nothing'))} asked"
        for key in sorted(recorded.keys() | asked)
        if recorded.get(key) != asked.get(key)
    }


def read_json(path: Path) -> dict[str, Any]:
    """Returns the entries of one JSON file of a directory, which may be another process's."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} must be whole JSON; it is not ({error}). Restore it.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold entries by name; it holds {json.dumps(content)[:20]}. Restore it.")
    return content


def read_sealed(path: Path) -> dict[str, Any]:
    """Returns the content of a file that `RunDirectory.write_sealed` wrote; raises where a digit of it is another."""
    content = read_json(path)
    if content.pop("sha256", None) != _digest(content):
        raise ValueError(
            f"{path} must have the SHA-256 that it holds; it was altered. Restore it, or name another --directory."
        )
    return content


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of ``metrics.jsonl``; none where it is not there, as in a study."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write_file(path: Path, content: bytes) -> None:
    """Writes one file, whole or not at all: beside its place, synced, and renamed."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(content)
        sync(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Makes a folder if it is not there, and syncs its parent, which it does not make."""
    if not path.is_dir():
        path.mkdir(exist_ok=True)
        sync(path.parent)


def sync(path: Path) -> None:
    """Brings one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _short(value: Any) -> str:
    """Returns a value as text of one line's size."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _digest(content: dict[str, Any]) -> str:
    """Returns the SHA-256 of a content in JSON's types."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _locked(path: Path) -> int:
    """Returns the lock of a directory, held until it is closed or the process ends; what a dead process left is no lock."""
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 200).decode(errors="replace").strip() or "another process"
        os.close(lock)
        raise BusyError(
            f"directory must be used by one process at a time; {path} is used by {holder}. Wait for it, or name another "
            "one with --directory."
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"process {os.getpid()} on {platform.node()}\n".encode())
    return lock


def _is_ours(name: str) -> bool:
    """Returns whether a file is one that a process leaves which was killed before it had recorded anything."""
    return name == _LOCK or (name.startswith(".") and name.endswith(".new"))


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """Returns the entries of nested dicts, their names joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        below = _flat(value) if isinstance(value, dict) else None
        flat |= {name: value} if below is None else {f"{name}.{key}": entry for key, entry in below.items()}
    return flat


def _shortest(value: float) -> float:
    """Returns a number in full, or, if float32 holds it exactly, with the digits that tell it from any other float32."""
    with np.errstate(over="ignore"):
        single = np.float32(value)
    return float(str(single)) if float(single) == value else value


def _cell(value: Any) -> Any:
    """Returns the value as a cell of a table."""
    plain = _plain(value)
    return "x".join(map(str, plain)) if isinstance(plain, list) else "" if plain is None else plain


def _plain(value: Any, *, exact: bool = False) -> Any:
    """Returns the value in JSON's types; a number that is not finite becomes null.

    What is given to a run stands to its last digit; what is measured, in the digits of its float32.
    """
    if isinstance(value, dict):
        return {str(name): _plain(entry, exact=exact or name in _EXACT) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, exact=exact) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist(), exact=exact)
    if isinstance(value, float):
        return None if not math.isfinite(value) else value if exact else _shortest(value)
    return str(value) if isinstance(value, Path) else value

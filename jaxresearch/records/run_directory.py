"""The directory of a run, sweep or study: its configuration, its environment, its progress and its result."""

import contextlib
import csv
import io
import itertools
import json
import os
import platform
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from jaxresearch.records.commands import flag, value_text
from jaxresearch.records.files import (
    append_text,
    digest_of_json,
    json_types,
    make_folder,
    read_json,
    sync,
    write_file,
)

SWEEP_TABLE = "sweep.csv"
FITTED = "fitted.npz"  # what preprocessing estimated on the training part
TRIALS = "trials.json"
STUDY = "study.json"
_METRICS = "metrics.jsonl"
_LAST = {"run": "result.json", "study": "result.json", "sweep": SWEEP_TABLE}  # written last, when the command has ended
_PROGRESS = (_METRICS, TRIALS, STUDY, "checkpoints/[0-9]*", "group-*/checkpoints/[0-9]*")
_CHANGEABLE = (
    "directory",
    "save_every",
    "mesh",
    "encrypt_with",
    "track",
    "fail_fast",
    "study.rounds",
    "study.seconds",
    # Earlier versions record fewer features, and word notes otherwise.
    *(f"data_card.{name}" for name in ("feature_dtype", "feature_arrays", "notes", "target.note")),
    "claim.text",
)
_OF_SOURCE = ("source", "folder", "seal")  # the experiment's file may change, but not its program
_OF_DATA = ("data_card", "parts", "claim", "privacy")  # follow from the options; named only if no option differs
_MOST_DIFFERENCES = 6  # in one message
_LOCK = ".lock"
_LONGEST = 60  # characters of a value in a message


class RunDirectory:
    """A directory with ``config.json``, ``environment.json``, ``metrics.jsonl``, ``checkpoints/`` and ``result.json``.

    Every file is complete or absent: it is written under another name, synced, and renamed. Only one process at a time may use
    a directory; its lock ends with the object or the process, even one that is killed. As a context manager, it releases the
    lock.

    Args:
        path: The directory to create; an existing one must be empty.

    Raises:
        FileExistsError: If the path is a file, or a directory that is not empty.
        PermissionError: If it cannot be written.
        BusyError: If another process uses it.

    Example:
        >>> import tempfile
        >>> directory = RunDirectory(Path(tempfile.mkdtemp()) / "run")
        >>> directory.write("config.json", {"seeds": [0, 1]})
        >>> json.loads((directory.path / "config.json").read_text())
        {'seeds': [0, 1]}
    """

    _has_metrics = False
    _unwritten = ""  # lines of metrics.jsonl
    _is_discarded = False

    def __init__(self, path: Path):
        if path.exists() and not (path.is_dir() and all(_is_ours(entry.name) for entry in path.iterdir())):
            raise FileExistsError(f"directory must be new or empty, got {path}. Name another with --directory.")
        self._made: list[Path] | None = [parent for parent in (path, *path.parents) if not parent.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock: FileLock | None = _locked(path)
        except BusyError:
            raise
        except OSError as error:
            raise PermissionError(
                f"directory must be writable, got {path} ({error.strerror}). Name another with --directory."
            ) from error
        self.path = path

    @classmethod
    def unused(cls, path: Path) -> "RunDirectory":
        """Returns a new directory of this name, with -2, -3 ... appended if another run has it."""
        for number in itertools.count(1):
            candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
            if not candidate.exists():
                with contextlib.suppress(FileExistsError, BusyError):  # taken by another process meanwhile
                    return cls(candidate)
        raise AssertionError  # itertools.count never ends

    @classmethod
    def again(cls, path: Path) -> "RunDirectory":
        """Returns an existing directory to resume from."""
        directory = cls.__new__(cls)
        directory.path, directory._made, directory._lock = path, None, _locked(path)
        return directory

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the lock, as the end of the process does."""
        if self._lock is not None:
            self._lock.release(force=True)
            self._lock = None

    @property
    def is_new(self) -> bool:
        """Whether this process created it."""
        return self._made is not None

    def read(self, name: str) -> dict[str, Any]:
        """Returns the content of one JSON file."""
        return read_json(self.path / name)

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes one JSON file, completely or not at all."""
        self.write_text_file(name, json.dumps(json_types(content), indent=2, allow_nan=False) + "\n")

    def write_checksummed(self, name: str, content: dict[str, Any]) -> None:
        """Writes one JSON file with the SHA-256 of its content, completely or not at all."""
        content = json_types(content)
        self.write(name, {"sha256": digest_of_json(content), **content})

    def add_environment(self, environment: dict[str, Any]) -> None:
        """Writes ``environment.json``; the first entry stays, and later ones are appended to ``resumed``."""
        name = "environment.json"
        if (self.path / name).is_file():
            first = self.read(name)
            environment = {**first, "resumed": [*first.get("resumed", []), environment]}
        self.write(name, environment)

    def write_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Writes rows with the same keys as one CSV file, completely or not at all."""
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        self.write_text_file(name, text.getvalue())

    def write_text_file(self, name: str, text: str) -> None:
        """Writes one file, completely or not at all."""
        write_file(self.path / name, text.encode())

    def write_arrays(self, name: str, named: Mapping[str, Any], *, cipher: Any = None) -> str:
        """Writes arrays by their names and returns the file's name: .npz, or .npz.sealed with a cipher."""
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **named)
        if cipher is None:
            write_file(self.path / name, content.getvalue())
            return name
        write_file(self.path / f"{name}.sealed", cipher.encrypt(content.getvalue(), name=name))
        return f"{name}.sealed"

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Appends one line to ``metrics.jsonl``; if the write fails, the line waits for the next call or `sync_metrics`."""
        self._has_metrics = True
        self._unwritten += json.dumps(json_types(line), allow_nan=False) + "\n"
        with contextlib.suppress(OSError):
            self._append_metrics()

    def sync_metrics(self) -> None:
        """Writes and syncs all lines of ``metrics.jsonl``."""
        self._append_metrics()
        if (self.path / _METRICS).exists():
            sync(self.path / _METRICS)

    def _append_metrics(self) -> None:
        """Writes all waiting lines or none."""
        if self._unwritten:
            append_text(self.path / _METRICS, self._unwritten)
            self._unwritten = ""

    def events(self) -> list[dict[str, Any]]:
        """Returns the events of ``metrics.jsonl``: steps that were not finite."""
        return [event for line in self.metrics() for event in line.get("nonfinite", [])]

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of ``metrics.jsonl``."""
        return read_metrics(self.path / _METRICS)

    def cut_metrics(self, step: int) -> None:
        """Removes the lines of ``metrics.jsonl`` beyond a step, and a partial last line."""
        path = self.path / _METRICS
        if path.exists():
            lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
            self.write_text_file(path.name, "".join(line for line in lines if json.loads(line)["step"] <= step))

    @property
    def has_progress(self) -> bool:
        """Whether anything resumable was recorded, even if the directory has been removed."""
        return self._has_metrics or any(next(self.path.glob(pattern), None) for pattern in _PROGRESS)

    def folder(self, name: str) -> Path:
        """Returns a folder of this name, created if it does not exist."""
        make_folder(self.path / name)
        return self.path / name

    def remove(self, name: str) -> None:
        """Renames and removes one folder, so that a partial one is not mistaken for a complete one."""
        if (self.path / name).exists():
            trash = self.path / f".trash-{name}"
            if trash.exists():
                shutil.rmtree(trash)
            os.replace(self.path / name, trash)
            sync(self.path)
            shutil.rmtree(trash)

    def discard(self) -> None:
        """Removes what this process created, so that a run that could not start leaves nothing behind; once."""
        if self._is_discarded or not self.path.is_dir():
            return self.close()
        self._is_discarded = True
        for entry in list(self.path.iterdir()):  # a hanging tracker may still write
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
        self.close()  # only now: another process could start in a directory being removed
        for folder in self._made or []:
            try:
                folder.rmdir()
            except OSError:  # not empty: another run has started in it
                break


class BusyError(ValueError):
    """Another process uses the directory; the message is one line."""


class EndedError(ValueError):
    """The run, sweep or study in a directory has ended; the message is one line."""


def open_directory(
    path: Path, config: dict[str, Any], environment: dict[str, Any], *, is_new: bool = False
) -> RunDirectory:
    """Returns a new directory, or an unfinished one of the same configuration to resume from.

    ``config.json`` and ``environment.json`` are written before anything is trained. An existing directory keeps what it has on
    record of the experiment's files: whether others are of the same program is not known yet.

    Args:
        path: The directory.
        config: The configuration, including ``experiment``.
        environment: From `environment`; a resumed directory keeps its first.
        is_new: Whether to leave an existing directory alone and use the next free name, with -2, -3 ...

    Raises:
        ValueError: If the directory holds another experiment, command or configuration.
        EndedError: If it has ended.
        BusyError: If another process uses it.
        OSError: If it cannot be created or written.
    """
    if is_new:
        directory = RunDirectory.unused(path)
    elif (path / "config.json").is_file():
        recorded = read_json(path / "config.json")
        _require_same(path, recorded, config)
        directory, config = RunDirectory.again(path), {**config, **{name: recorded.get(name) for name in _OF_SOURCE}}
    else:
        directory = RunDirectory(path)
    try:
        directory.write("config.json", config)
        directory.add_environment(environment)
    except BaseException:  # a signal too
        if directory.is_new:
            directory.discard()
        raise
    return directory


def _require_same(path: Path, recorded: dict[str, Any], config: dict[str, Any]) -> None:
    """Raises if a directory belongs to another experiment, command or configuration, or has ended."""
    command, kind = command_of(config), command_of(recorded)
    if (kind, recorded.get("experiment")) != (command, config["experiment"]):
        raise ValueError(
            f"directory {path} holds a {kind} of {recorded.get('experiment')}, not a {command} of {config['experiment']}. "
            "Name another with --directory."
        )
    may_change = {*_CHANGEABLE}
    if None in (recorded.get("encrypt_with"), config.get("encrypt_with")):
        may_change.discard("encrypt_with")  # the key file may have moved, but encryption stays on or off
    differ = differences(recorded, config).items()
    changes = {key: values for key, values in differ if key not in may_change and key.split(".")[0] not in _OF_SOURCE}
    if not {"data", "test", "query", "parameters"} & {*changes}:
        require_same_files(path, recorded, config)
    if changes:
        asked = {flag(key.rpartition(".")[2]): now for key, now in changes.items() if key.split(".")[0] not in _OF_DATA}
        named = [f"{key} ({values})" for key, values in (asked or changes).items()]
        more = f" and {len(named) - _MOST_DIFFERENCES} more" if len(named) > _MOST_DIFFERENCES else ""
        raise ValueError(
            f"directory {path} holds another {command}; these settings differ: {', '.join(named[:_MOST_DIFFERENCES])}{more}. "
            "Name another with --directory."
        )
    require_unfinished(path, recorded)


def last_file(config: dict[str, Any]) -> str:
    """Returns the name of the file that a run, sweep or study writes last.

    Args:
        config: Its configuration.
    """
    return _LAST[command_of(config)]


def require_unfinished(path: Path, config: dict[str, Any]) -> None:
    """Raises if the run, sweep or study in a directory has ended.

    Args:
        path: The directory.
        config: Its configuration.

    Raises:
        EndedError: If it has; the message names what can be done with it.
    """
    if not (path / last_file(config)).is_file():
        return
    command, name = command_of(config), shlex.quote(str(path))
    use = f"Read it with jaxresearch report {name}, use it with jaxresearch predict {name} DATA"
    if command == "sweep":
        use = f"Read {path / SWEEP_TABLE}"
    raise EndedError(
        f"the {command} in {path} has ended: there is nothing left to resume. {use}, or start another {command}, for instance "
        "with more epochs, in a new directory."
    )


def require_same_files(path: Path, recorded: dict[str, Any], config: dict[str, Any]) -> None:
    """Raises if the data of a run, sweep or study have changed since its start; the message names the files, or the query.

    Args:
        path: The directory.
        recorded: Its configuration.
        config: A configuration with the card of the data as they are now.
    """
    if files := _changed_files(recorded, config):
        more = f" and {len(files) - _MOST_DIFFERENCES} more" if len(files) > _MOST_DIFFERENCES else ""
        raise ValueError(
            f"the data of the {command_of(recorded)} in {path} must stay as they were at its start, got "
            f"{', '.join(files[:_MOST_DIFFERENCES])}{more}. Restore them, or rerun with another --directory."
        )


def _changed_files(recorded: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Returns which files of the data differ from the record, in words."""
    cards = (content.get("data_card", {}) for content in (recorded, json_types(config)))
    before, now = (dict(card.get("sha256") or ()) for card in cards)
    names = (name for name in sorted(before.keys() | now) if before.get(name) != now.get(name))
    return [f"{name} {'new' if name not in before else 'missing' if name not in now else 'changed'}" for name in names]


def command_of(config: dict[str, Any]) -> str:
    """Returns the command of a configuration: run, sweep or study."""
    return "study" if "study" in config else "sweep" if "axes" in config else "run"


def differences(config: dict[str, Any], content: dict[str, Any]) -> dict[str, str]:
    """Returns the entries in which a recorded configuration differs from a new one, by dotted key."""
    recorded, new = _flat(_without_notes(config)), _flat(_without_notes(json_types(content)))
    return {
        key: f"{before} on record, {now} now"
        for key in sorted(recorded.keys() | new)
        if recorded.get(key) != new.get(key)
        for before, now in [_distinct(recorded.get(key, "nothing"), new.get(key, "nothing"))]
    }


def _without_notes(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a configuration without the notes on columns, whose wording may change between versions."""
    card = config.get("data_card") or {}
    if not card.get("columns"):
        return config
    return {**config, "data_card": {**card, "columns": [{**column, "note": ""} for column in card["columns"]]}}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of ``metrics.jsonl``; none without the file, as in a study."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _distinct(before: Any, now: Any) -> tuple[str, str]:
    """Returns two values as distinct strings: the number 1 and the string '1' would look the same."""
    texts = str(before), str(now)
    before, now = texts if texts[0] != texts[1] else (repr(before), repr(now))
    return _short(before), _short(now)


def _short(value: Any) -> str:
    """Returns a value as a string short enough for a message."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _locked(path: Path) -> FileLock:
    """Returns the lock of a directory, held until it is released or the process ends."""
    file = path / _LOCK
    lock = FileLock(file, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        holder = ""
        with contextlib.suppress(OSError):  # on Windows, no other process can read it
            holder = file.read_text(errors="replace")[:200].strip()
        raise BusyError(
            f"directory {path} is used by {holder or 'another process'}. Wait for it, or name another with --directory."
        ) from None
    with contextlib.suppress(OSError):
        file.write_text(f"process {os.getpid()} on {platform.node()}\n")
    return lock


def _is_ours(name: str) -> bool:
    """Returns whether this is a file that a process killed before any record leaves behind."""
    return name == _LOCK or (name.startswith(".") and name.endswith(".new"))


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """Returns the entries of nested dicts by dotted key."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        below = _flat(value) if isinstance(value, dict) else None
        flat |= {name: value} if below is None else {f"{name}.{key}": entry for key, entry in below.items()}
    return flat


def _cell(value: Any) -> Any:
    """Returns the value as a cell of a table."""
    cell = json_types(value)
    return value_text(cell) if isinstance(cell, list) else "" if cell is None else cell

"""The directory of one run: what was asked, where it ran, how it went, what came out."""

import csv
import io
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np


class RunDirectory:
    """A directory with ``config.json``, ``environment.json``, ``metrics.jsonl``, ``checkpoints/`` and ``result.json``.

    A file is either whole or not there: each is written beside its place, synced, and renamed.

    Args:
        path: Where to make it; a directory that is there already has to be empty.

    Raises:
        FileExistsError: If the path is a file, or a directory with something in it.
        PermissionError: If it cannot be written.

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

    def __init__(self, path: Path):
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise FileExistsError(f"directory must be new or empty; got {path}. Name another one with --directory.")
        self._made = [parent for parent in (path, *path.parents) if not parent.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "checkpoints").mkdir()
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
        directory.path, directory._made = path, []
        return directory

    def read(self, name: str) -> dict[str, Any]:
        """Returns the content of one JSON file."""
        try:
            return json.loads((self.path / name).read_text())
        except ValueError as error:
            raise ValueError(f"{self.path / name} must be whole JSON; it is not ({error}). Restore it.") from error

    def differing(self, name: str, content: dict[str, Any]) -> list[str]:
        """Returns the names of the entries of a JSON file that are not as in the content, or in one of them alone."""
        recorded, asked = self.read(name), _plain(content)
        return sorted(key for key in recorded.keys() | asked if recorded.get(key) != asked.get(key))

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Writes one JSON file, whole or not at all."""
        self.write_text_file(name, json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")

    def write_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Writes rows with the same keys as one CSV file, whole or not at all."""
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        self.write_text_file(name, text.getvalue())

    def write_text_file(self, name: str, text: str) -> None:
        """Writes one file beside its place, synced and renamed."""
        beside = self.path / f".{name}.new"
        try:
            with open(beside, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path / name)
        finally:
            beside.unlink(missing_ok=True)
        folder = os.open(self.path, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Appends one line to ``metrics.jsonl``."""
        with open(self.path / "metrics.jsonl", "a") as file:
            file.write(json.dumps(_plain(line), allow_nan=False) + "\n")

    @property
    def has_metrics(self) -> bool:
        """Whether anything of the training is recorded."""
        return (self.path / "metrics.jsonl").exists()

    def discard(self) -> None:
        """Removes what was made: a run that could not begin leaves nothing behind. What others put there stays."""
        for entry in list(self.path.iterdir()):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:  # not empty: another run began in it meanwhile
                break


def _cell(value: Any) -> Any:
    """Returns the value as a cell of a table."""
    plain = _plain(value)
    return "x".join(map(str, plain)) if isinstance(plain, list) else "" if plain is None else plain


def _plain(value: Any) -> Any:
    """Returns the value in JSON's types; a number that is not finite becomes null."""
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        # Nine digits tell any two float32 numbers apart; more would show the noise of their conversion.
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value

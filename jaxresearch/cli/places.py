"""Paths that mean the same from any folder."""

import contextlib
import contextvars
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from jaxresearch import data
from jaxresearch.cli.options import Options
from jaxresearch.data.files.databases import sqlite_path
from jaxresearch.experiment import Experiment
from jaxresearch.fields import dna

_NAMES = (*data.BUNDLED, dna.CHROMOSOME_3.name)
_PATHS = ("test", "init_from", "encrypt_with")
_started_in: contextvars.ContextVar[Path | None] = contextvars.ContextVar("started_in", default=None)


def located_source(source: str | None) -> str | None:
    """Returns the absolute path of a file or folder that exists, also of ``sqlite:PATH``, else the name of the data as it is."""
    file = None if source is None else sqlite_path(source)
    if file is not None and file.exists():
        return f"sqlite:{os.path.abspath(file)}"
    if source is None or source in _NAMES or not Path(source).exists():
        return source
    return os.path.abspath(source)


def located(experiment: Experiment, options: Options) -> tuple[Experiment, Options]:
    """Returns an experiment and options whose paths are absolute, so that a run can be resumed from any folder.

    A path that does not exist stays as typed, for the error message.
    """
    given = {name: path for name in _PATHS if (path := getattr(options, name)) is not None and Path(path).exists()}
    absolute = {name: type(path)(os.path.abspath(path)) for name, path in given.items()}
    experiment = dataclasses.replace(experiment, source=located_source(experiment.source))
    return experiment, dataclasses.replace(options, **absolute, data=located_source(options.data))


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Works in another folder than the one in which the command was started, from which `from_start` counts."""
    token = _started_in.set(Path.cwd())
    try:
        with contextlib.chdir(folder):
            yield
    finally:
        _started_in.reset(token)


def from_start(path: Path) -> Path:
    """Returns a path for display: below the folder in which the command was started, it is relative to that folder."""
    start = _started_in.get() or Path.cwd()
    return path.relative_to(start) if path.is_relative_to(start) else path


def shown(source: str) -> str:
    """Returns a source for display: a path below the current folder is relative to it."""
    file = sqlite_path(source)
    if file is not None:
        return f"sqlite:{shown(str(file))}"
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else source

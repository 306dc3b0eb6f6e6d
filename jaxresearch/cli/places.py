"""Paths that mean the same from any folder, and the experiment that a run's directory was made with."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from jaxresearch import catalogue, data, records
from jaxresearch.cli.options import Options, UsageError
from jaxresearch.experiment import Experiment
from jaxresearch.fields import dna

_NAMES = (*data.BUNDLED, dna.CHROMOSOME_3.name)
_PATHS = ("test", "init_from", "encrypt_with")


def located_source(source: str | None) -> str | None:
    """Returns where data come from: the absolute path of a file or a folder that exists, else the name as it is."""
    if source is None or source in _NAMES or not Path(source).exists():
        return source
    return os.path.abspath(source)


def located(experiment: Experiment, options: Options) -> tuple[Experiment, Options]:
    """Returns an experiment and options whose paths are absolute, so that a run can be resumed from any folder.

    A path that leads nowhere stays as it was typed, for the message that refuses it.
    """
    given = {name: path for name in _PATHS if (path := getattr(options, name)) is not None and Path(path).exists()}
    absolute = {name: type(path)(os.path.abspath(path)) for name, path in given.items()}
    experiment = dataclasses.replace(experiment, source=located_source(experiment.source))
    return experiment, dataclasses.replace(options, **absolute, data=located_source(options.data))


def shown(source: str) -> str:
    """Returns a source as a person reads it: the path of a file below the present folder is relative to it."""
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else source


def folder_of(path: Path) -> Path:
    """Returns the folder in which a run was begun; the present one where that is not known, or gone."""
    file = path / "environment.json"
    folder = records.read_json(file).get("folder") if file.is_file() else None
    return Path(folder) if isinstance(folder, str) and Path(folder).is_dir() else Path.cwd()


def experiment_of(path: Path, config: dict[str, Any]) -> tuple[str, str | None]:
    """Returns the name of the file to load a run's experiment from, and a line where it is the copy that the run kept.

    The file that the run was begun with is taken while it and those beside it are as they were.

    Raises:
        UsageError: If the copy was altered, or was not kept by this user.
    """
    name, file = config["experiment"], catalogue.file_of(config["experiment"])
    kept = config.get(records.SOURCE)
    if not kept:
        return name, None  # a record of version 0.1
    changed = [one for one, digest in kept.items() if records.differs(file.parent / one, digest)]
    if not changed:
        return name, None
    what = f"{file.parent / changed[0]} {'has changed' if (file.parent / changed[0]).is_file() else 'is gone'}"
    copy = records.kept_source(path, config)
    if not records.is_sealed(config):
        raise UsageError(
            f"{what}, and the copy in {path} was not kept by this user: it is not run unseen. Read it, then pass "
            f"--experiment {copy}"
        )
    return str(copy), f"{what} since the run began: its copy in {copy.parent} is used"

"""Paths that mean the same from any folder."""

import dataclasses
import os
from pathlib import Path

from jaxresearch import data
from jaxresearch.cli.options import Options
from jaxresearch.experiment import Experiment
from jaxresearch.fields import dna

_NAMES = (*data.BUNDLED, dna.CHROMOSOME_3.name)
_PATHS = ("test", "init_from", "encrypt_with")


def located_source(source: str | None) -> str | None:
    """Returns the absolute path of a file or folder that exists, else the name of the data as it is."""
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


def shown(source: str) -> str:
    """Returns a source for display: a path below the current folder is relative to it."""
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else source

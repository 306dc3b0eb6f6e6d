"""``jaxresearch resume DIR``: what its own configuration says, from where it stopped; ``jaxresearch verify DIR``."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from jaxresearch import loading, records
from jaxresearch.cli.axes import words_of_axes
from jaxresearch.cli.options import REFUSED, Options, UsageError
from jaxresearch.cli.run import run, told
from jaxresearch.reports.wording import words_of


def resume(path: Path) -> int:
    """Carries out ``jaxresearch resume DIR``; returns the exit code."""
    try:
        config = config_in(path)
        words = words_in(config, path)
    except Exception as error:
        return told(error, str(path), code=2)
    command = records.command_of(config)
    if command == "study":
        from jaxresearch.cli.study import study

        return study(config["experiment"], [*words, *words_of(config["study"])])
    if command == "sweep":
        from jaxresearch.cli.sweep import sweep

        return sweep(config["experiment"], [*words, *words_of_axes(config["axes"])])
    return run(config["experiment"], words)


def verify(path: Path) -> int:
    """Carries out ``jaxresearch verify DIR``; returns the exit code: 1 where a checkpoint does not verify."""
    states = records.Checkpoints(path)
    is_begun = (path / records.INITIAL_DIGEST).exists()
    if not states.steps() and not is_begun:
        print(f"jaxresearch: directory must hold checkpoints; {path} holds none. Name that of a run.", file=sys.stderr)
        return 2
    steps = {f"step {step}": states.folder / str(step) for step in states.steps()}
    if is_begun:
        steps["what it began with"] = records.kept_state(path / records.INITIAL)
    failed = 0
    for name, folder in steps.items():
        try:
            manifest = records.verify(folder)
            print(f"{name}: {len(manifest['files'])} files, {len(manifest['arrays'])} arrays, verified")
        except records.CheckpointError as error:
            failed += 1
            print(f"{name}: {error}")
    return 1 if failed else 0


def config_in(path: Path) -> dict[str, Any]:
    """Returns the configuration of a run's directory."""
    file, config = path / "config.json", {}
    try:
        config = json.loads(file.read_text())
        is_whole = isinstance(config["experiment"], str) and isinstance(config["hyperparameters"], dict)
    except OSError as error:
        raise UsageError(f"directory must be that of a run; {file} is not there ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise UsageError(f"{file} must be the configuration of a run; it is not whole. Restore it.")
    if loading.file_of(config["experiment"]).resolve().is_relative_to(path.resolve()):
        # A directory may come from elsewhere: what it brings along is data, and is not run.
        raise UsageError(
            f"experiment must not lie in the directory to resume; got {config['experiment']}. Move it out."
        )
    return config


def words_in(config: dict[str, Any], path: Path) -> list[str]:
    """Returns the command line that a configuration came from; it is parsed and checked like any other."""
    names = {field.name for field in dataclasses.fields(Options)} - {"directory", "hyperparameters"}
    absent = {*REFUSED[records.command_of(config)], *config.get("study", ()), *config.get("axes", ())}
    if config.get("folds"):
        absent.add("seeds")  # as many as folds, and asked for with them
    values = {name: config.get(name) for name in sorted(names)} | config["hyperparameters"]
    given = {name: value for name, value in values.items() if name not in absent}
    for name in ("smoke", "track"):  # are not written where they are not asked for
        if not given.get(name):
            given.pop(name, None)
    return words_of({"directory": path, **given})

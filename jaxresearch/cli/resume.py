"""``jaxresearch resume DIR``: continue by its own configuration from where it stopped; ``jaxresearch verify DIR``."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from jaxresearch import devices, loading, records
from jaxresearch.cli import display
from jaxresearch.cli.axes import words_of_axes
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.options import names_of
from jaxresearch.cli.places import inside
from jaxresearch.cli.session import one_line
from jaxresearch.cli.spelling import pairs_text, private_text, seeds_text

_SWITCHES = (
    "smoke",
    "track",
    "contiguous",
    "stream",
    "types",
    "parameters",
    "resplit",
    "fail_fast",
    "mesh",
    "private",
)  # omitted if unset


def resume(path: Path, experiment: str | None = None) -> int:
    """Carries out ``jaxresearch resume DIR [--experiment FILE]``, in the folder of the run; returns the exit code."""
    with one_line(str(path), code=2):
        config = config_in(path)
        records.require_unfinished(path, config)
        folder = records.folder_of(config)
        if folder != Path.cwd():
            path, experiment = Path(os.path.abspath(path)), experiment and os.path.abspath(experiment)
    with inside(folder):
        return _resumed(path, experiment)


def _resumed(path: Path, experiment: str | None) -> int:
    """Resumes the run in a directory, from the folder in which it was started."""
    with one_line(str(path), code=2):
        config = config_in(path)
        file, line = records.experiment_of(path, config, named=experiment)
        _require_same_fields(file, config, path)
        words = words_in(config, path)
        set_up_as_before(path)
    if line is not None:
        display.console().print(line, soft_wrap=True)
    command = records.command_of(config)
    if command == "study":
        from jaxresearch.cli.study import study as carry_out
    elif command == "sweep":
        from jaxresearch.cli.sweep import sweep as carry_out
    else:
        from jaxresearch.cli.run import run as carry_out
    return carry_out(config["experiment"], words, file=file)


def _require_same_fields(file: str, config: dict[str, Any], path: Path) -> None:
    """Raises if the experiment's file declares other hyperparameters than the record."""
    declared = loading.load(file).hyperparameters
    now, recorded = [field.name for field in dataclasses.fields(declared)], config["hyperparameters"]
    changes = [f"{name} is new" for name in now if name not in recorded]
    changes += [f"{name} is missing" for name in recorded if name not in now]
    if changes:
        raise UsageError(
            f"hyperparameters of {config['experiment']} must be the ones with which {path} was started, but "
            f"{', '.join(changes)}. Restore the experiment's file, or run it with another --directory."
        )


def set_up_as_before(path: Path) -> None:
    """Uses as many CPU devices as at the start of the run; raises if a JAX setting that changes results differs."""
    file = path / "environment.json"
    started = records.read_json(file) if file.is_file() else {}
    kinds = started.get("devices", [])
    if kinds and all(kind.startswith("cpu:") for kind in kinds):
        devices.split_cpu(len(kinds))
    for name, now in records.jax_settings().items():
        if (before := started.get("jax", {}).get(name, now)) != now:
            raise UsageError(f"{name} must be {before}, as at the start of the run, got {now}. Set {name.upper()}.")


def verify(path: Path) -> int:
    """Carries out ``jaxresearch verify DIR``; returns the exit code: 1 if a checkpoint does not verify."""
    states = records.Checkpoints(path)
    has_initial = (path / records.INITIAL_DIGEST).exists()
    with one_line(str(path), code=2):
        records.require_exists(path)
        if not states.steps() and not has_initial:
            raise UsageError(f"directory must hold checkpoints, got {path} without any. Name the directory of a run.")
    steps = {f"step {step}": states.folder / str(step) for step in states.steps()}
    if has_initial:
        steps["initial parameters"] = records.kept_state(path / records.INITIAL)
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
    """Returns the configuration of a run, after checking that it is complete and names an experiment outside the directory."""
    file = path / "config.json"
    records.require_exists(path)
    try:
        config = records.read_json(file)
    except OSError as error:
        raise UsageError(
            f"directory must hold a run, got {path} without config.json ({error.strerror}). Correct the path."
        ) from error
    if not isinstance(config.get("experiment"), str) or not isinstance(config.get("hyperparameters"), dict):
        raise UsageError(f"{file} must be the configuration of a run, got an incomplete one. Restore it.")
    records.require_outside(config["experiment"], path)
    return config


def words_in(config: dict[str, Any], path: Path) -> list[str]:
    """Returns the command line of a configuration, to be parsed and checked like any other."""
    values = {**config, **config.get("study", {})}
    given = {name: values.get(name) for name in names_of(records.command_of(config))}
    for name in ("seeds", "fresh_seeds"):
        if (seeds := given.pop(name, None)) is not None:
            given[name] = seeds_text(seeds)
    for name in ("types", "parameters", "mesh"):
        if pairs := given.get(name):
            given[name] = pairs_text(pairs)
    if "private" in given:
        given["private"] = private_text(given["private"] or ())
    if given.get("folds"):
        given["seeds"] = None  # given by the folds
    given |= {name: None for name in _SWITCHES if not given.get(name)}
    swept = config.get("axes", {})
    plain = {name: value for name, value in config["hyperparameters"].items() if name not in swept}
    return [*records.words_of({**given, "directory": path, **plain}), *words_of_axes(swept)]

"""The models that predict and export use: their shared options, and the file to write."""

from pathlib import Path
from typing import Any, NamedTuple

from jaxresearch import loading, records
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.flags import taken


class Chosen(NamedTuple):
    """The options that the two commands share.

    Attributes:
        output: The file to write; None for the default.
        seeds: Of the models to use; None for all.
        key: The key file of an encrypted run; None for that of its configuration.
        experiment: The experiment's file; None for that of the run.
    """

    output: str | None
    seeds: tuple[int, ...] | None
    key: str | None
    experiment: str | None


def chosen(rest: list[str], *, example: str) -> Chosen:
    """Returns the shared options, and removes them from the words.

    Args:
        rest: The words of the command.
        example: Of a file to write, for messages.

    Raises:
        UsageError: If an option lacks its value, or the seeds cannot be read.
    """
    output, written = taken(rest, "--output", "a file", example), taken(rest, "--seeds", "seeds", "0,1,2")
    key, experiment = (
        taken(rest, "--encrypt-with", "a key file", "KEYFILE"),
        taken(rest, "--experiment", "a file", "my.py"),
    )
    try:
        seeds = None if written is None else tuple(map(int, written.rstrip(",").split(",")))
    except ValueError:
        raise UsageError(f"--seeds must be a list of seeds A,B, got {written}. Write: --seeds 0,2") from None
    return Chosen(output, seeds, key, experiment)


def ensemble_of(directory: Path, options: Chosen, *, unfinished: bool = False) -> tuple[records.Ensemble, Any]:
    """Returns the models of a run, and their cipher or None."""
    cipher = _cipher_of(directory, options.key)
    experiment = None if options.experiment is None else loading.load(options.experiment)
    return records.read_ensemble(directory, cipher=cipher, experiment=experiment, unfinished=unfinished), cipher


def file_in_folder(output: str, *, option: str = "--output") -> Path:
    """Returns the file to write, after checking its folder and that it is new."""
    if not Path(output).parent.is_dir():
        raise UsageError(f"{option} must name a file in an existing folder, got {output}. Create the folder first.")
    return new_file(Path(output), option=option)


def new_file(file: Path, *, option: str = "--output") -> Path:
    """Returns the file to write, after checking that none is overwritten."""
    if file.exists():
        raise UsageError(f"{option} must name a new file, got {file}, which exists. Name another, or remove it.")
    return file


def _cipher_of(directory: Path, key: str | None) -> Any:
    """Returns the cipher of a run, from the given key or that of its configuration; None if it is not encrypted."""
    file = directory / "config.json"
    recorded = records.read_json(file).get("encrypt_with") if file.is_file() else None
    key = recorded if key is None else key
    if key is None:
        return None
    from jaxresearch.records.encryption import read_key

    return read_key(Path(key))

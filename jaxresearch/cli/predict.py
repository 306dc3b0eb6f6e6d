"""``jaxresearch predict DIR DATA``: predictions for new rows by the models of a run, from its directory alone."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import loading, records
from jaxresearch.cli.flags import require_known, switched, taken
from jaxresearch.cli.options import UsageError
from jaxresearch.cli.session import configure, one_line
from jaxresearch.cli.spelling import seeds_of
from jaxresearch.execution import Predictions

_OPTIONS = "--output FILE, --seeds A,B, --encrypt-with FILE, --experiment FILE and --unfinished"


def predict(words: list[str]) -> int:
    """Carries out ``jaxresearch predict WORDS...``; returns the exit code."""
    configure()
    with one_line(words[0], code=2):
        rest = list(words)
        output, seeds = taken(rest, "--output", "a file", "predictions.csv"), taken(rest, "--seeds", "seeds", "0,1,2")
        key, unfinished = taken(rest, "--encrypt-with", "a key file", "KEYFILE"), switched(rest, "--unfinished")
        experiment = taken(rest, "--experiment", "a file", "my.py")
        require_known("predict", rest, _OPTIONS)
        if len(rest) != 2:
            raise UsageError(
                f"predict needs a directory and data, got {' '.join(rest)}. Write: jaxresearch predict DIR DATA"
            )
        file = None if output is None else _file(output)
        directory = Path(rest[0])
        ensemble = records.read_ensemble(
            directory,
            cipher=cipher_of(directory, key),
            experiment=None if experiment is None else loading.load(experiment),
            unfinished=unfinished,
        )
        predictions = ensemble.predict(Path(rest[1]), seeds=chosen_seeds(seeds))
        content = records.written_predictions(predictions, ".csv" if file is None else file.suffix.lower())
        if file is not None:
            records.write_file(file, content)
    if file is None:
        sys.stdout.write(content.decode())
    lines = [*predictions.notes, *_score_lines(predictions)]
    if unfinished and not (directory / "result.json").is_file():
        lines.insert(0, f"the models are from step {ensemble.step:,} of an unfinished run")
    for line in lines:  # to standard error if the predictions may be piped
        print(line, file=sys.stderr if file is None else sys.stdout)
    if file is not None:
        print(f"predictions: {file}")
    return 0


def chosen_seeds(written: str | None) -> tuple[int, ...] | None:
    """Returns the requested seeds; None for all."""
    try:
        return None if written is None else seeds_of(written)
    except ValueError:
        raise UsageError(f"--seeds must be a number N or a list A,B, got {written}. Write: --seeds 0,2") from None


def cipher_of(directory: Path, key: str | None) -> Any:
    """Returns the cipher of a run, from the given key or that of its configuration; None if it is not encrypted."""
    file = directory / "config.json"
    recorded = records.read_json(file).get("encrypt_with") if file.is_file() else None
    key = recorded if key is None else key
    if key is None:
        return None
    from jaxresearch.records.encryption import read_key

    return read_key(Path(key))


def _file(output: str) -> Path:
    """Returns the file to write, after checking its suffix and its folder."""
    file = Path(output)
    if file.suffix.lower() not in records.ENDINGS:
        raise UsageError(
            f"--output must end in {', '.join(records.ENDINGS)}, got {output}. Write: --output predictions.csv"
        )
    return file_in_folder(output)


def file_in_folder(output: str) -> Path:
    """Returns the file to write, after checking its folder and that it is new."""
    if not Path(output).parent.is_dir():
        raise UsageError(f"--output must name a file in an existing folder, got {output}. Create the folder first.")
    return new_file(Path(output))


def new_file(file: Path) -> Path:
    """Returns the file to write, after checking that none is overwritten."""
    if file.exists():
        raise UsageError(f"--output must name a new file, got {file}, which exists. Name another, or remove it.")
    return file


def _score_lines(predictions: Predictions) -> Iterator[str]:
    """Yields a line for each score: the ensemble's, and separately those of its seeds."""
    for name, value in predictions.scores.get("ensemble", {}).items():
        alone = predictions.scores["seeds"][name]
        n = len(alone)
        single = f"; single seeds: {np.mean(alone):.4f} ({min(alone):.4f} to {max(alone):.4f})" if n > 1 else ""
        yield (
            f"{name}: {value:.4f} (ensemble of {n}){single}"
            if n > 1
            else f"{name}: {value:.4f} (seed {predictions.seeds[0]})"
        )

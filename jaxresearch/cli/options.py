"""The options of a command, typed: those of every run, and one for each hyperparameter of the experiment."""

import contextlib
import dataclasses
import difflib
import io
import typing
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxresearch.experiment import Experiment


class UsageError(ValueError):
    """A mistake on the command line; the message is one line."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What ``run`` was asked for."""

    seeds: int
    folds: int
    train_examples: int | None
    init_from: Path | None
    data: str
    target: str | None
    directory: Path | None
    smoke: bool
    save_every: float
    on_nonfinite: Literal["stop", "skip", "rollback"]
    encrypt_with: Path | None
    track: tuple[Literal["tensorboard", "mlflow"], ...]
    hyperparameters: Any


def parse(experiment: Experiment, words: list[str], *, prog: str) -> Options:
    """Returns the options that the words give, and the experiment's own values for the rest.

    Args:
        experiment: Gives the hyperparameters and the default source of data.
        words: The command line after the name of the experiment.
        prog: What the help calls the command.

    Returns:
        The options.

    Raises:
        UsageError: If a word is unknown (with the nearest name) or a value is not of its type.
        SystemExit: After printing help.

    Example:
        See ``jaxresearch run mnist --help``.

    References:
        tyro documentation. https://brentyi.github.io/tyro/
    """
    fields = _run_fields(experiment) | _hyperparameter_fields(experiment)
    _refuse_unknown(words, list(fields))
    command = dataclasses.make_dataclass(
        "Run",
        [(name, Annotated[kind, tyro.conf.arg(help=help)], default) for name, (kind, default, help) in fields.items()],
        kw_only=True,
    )
    # The help opens with the docstring, which would else be the signature that dataclasses makes.
    command.__doc__ = experiment.question
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            values = vars(
                tyro.cli(
                    command, args=words, prog=prog, config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
                )
            )
    except SystemExit as exit:
        if exit.code in (0, None):
            raise
        raise UsageError(_first_sentence(stderr.getvalue())) from None
    names = [field.name for field in dataclasses.fields(experiment.hyperparameters)]
    chosen = dataclasses.replace(experiment.hyperparameters, **{name: values.pop(name) for name in names})
    values["seeds"] = values["folds"] or values["seeds"]
    return Options(**values, hyperparameters=chosen)


def flag(name: str) -> str:
    """Returns a field as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def as_words(values: dict[str, Any]) -> str:
    """Returns fields and their values as one would write them on the command line."""
    return " ".join(words_of(values))


def words_of(values: dict[str, Any]) -> list[str]:
    """Returns fields and their values as the words of a command line; the entries of a tuple are words of their own."""
    words = []
    for name, value in values.items():
        words += [flag(name), *map(str, value if isinstance(value, tuple | list) else (value,))]
    return words


def options_among(words: list[str], names: Container[str]) -> Iterator[tuple[str | None, str, str]]:
    """Yields name, flag and value of each option of these names, and None, the word and "" for all other words."""
    pending = list(words)
    while pending:
        word = pending.pop(0)
        written, equals, value = word.partition("=")
        name = written.removeprefix("--").replace("-", "_")
        if written.startswith("--") and name in names:
            yield name, written, value if equals else (pending.pop(0) if pending else "")
        else:
            yield None, word, ""


def _run_fields(experiment: Experiment) -> dict[str, tuple[Any, Any, str]]:
    """Returns type, default and help of the options that every run has."""
    return {
        "seeds": (int, 5, "number of seeds: 0 to N - 1, trained side by side"),
        "folds": (
            int,
            0,
            "cross-validation instead of seeds: run i is tested on fold i of all examples, with seed i; 0: none",
        ),
        "train_examples": (int | None, None, "training examples of a run, drawn at random (default: all)"),
        "init_from": (
            Path | None,
            None,
            "directory of another run: parameters of the same name begin as its first seed's end",
        ),
        "data": (str, experiment.source, "bundled name, tfds:NAME, .npz, .csv, .parquet or a folder of IDX files"),
        "target": (str | None, experiment.target, "column to predict, where the data is a table"),
        "directory": (Path | None, None, "where the run is recorded (default: runs/NAME-TIME)"),
        "smoke": (bool, False, "a few steps on a few examples, to see that everything works"),
        "save_every": (float, 60.0, "seconds between two states that are saved on the way, to go on from"),
        "encrypt_with": (
            Path | None,
            None,
            "file of a 32-byte key: states and decoded TFDS sets are kept encrypted by AES-GCM",
        ),
        "track": (
            tuple[Literal["tensorboard", "mlflow"], ...],
            (),
            "where figures are sent besides metrics.jsonl: tensorboard, mlflow, or both; extra track",
        ),
        "on_nonfinite": (
            Literal["stop", "skip", "rollback"],
            "stop",
            "where a loss is not finite: stop; skip the step; or go back to the last state saved, and skip the steps since",
        ),
    }


def _hyperparameter_fields(experiment: Experiment) -> dict[str, tuple[Any, Any, str]]:
    """Returns type, default and help of each hyperparameter."""
    types = typing.get_type_hints(type(experiment.hyperparameters))
    return {
        field.name: (types[field.name], getattr(experiment.hyperparameters, field.name), field.metadata.get("help", ""))
        for field in dataclasses.fields(experiment.hyperparameters)
    }


def _refuse_unknown(words: list[str], names: list[str]) -> None:
    """Raises for the first option that does not exist, with the nearest name."""
    known = [flag(name) for name in names]
    for word in words:
        written = word.split("=", 1)[0].replace("_", "-")
        if word.startswith("--") and written not in (*known, "--help"):
            near = difflib.get_close_matches(written, known, n=1)
            advice = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise UsageError(f"option must be one of the experiment's; got {word}. {advice}")


def _first_sentence(box: str) -> str:
    """Returns what the parser's framed message says, on one line, without the frame and the help below its rule."""
    lines = [line.strip(" │╭╮╰╯") for line in box.splitlines()]
    said = []
    for line in lines[1:]:
        if line.startswith("─"):
            break
        said.append(line)
    return " ".join(" ".join(said).split()).rstrip(".") + ". See --help."

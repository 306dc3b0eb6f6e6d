"""The options of a command, typed: those of every run, and one for each hyperparameter of the experiment."""

import contextlib
import dataclasses
import difflib
import io
import math
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxresearch.experiment import Experiment
from jaxresearch.reports.wording import flag
from jaxresearch.studies import Budget

Fields = dict[str, tuple[Any, Any, str]]  # type, default and help by name

# The options of run that a command does not have.
_OF_RUN = ("folds", "init_from", "on_nonfinite", "track")
REFUSED = {"run": (), "sweep": _OF_RUN, "study": ("smoke", "save_every", *_OF_RUN)}


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


def parse(experiment: Experiment, words: list[str], *, prog: str, command: str = "run") -> Options:
    """Returns the options that the words give, and the experiment's own values for the rest.

    Args:
        experiment: Gives the hyperparameters and the default source of data.
        words: The command line after the name of the experiment.
        prog: What the help calls the command.
        command: Whose options there are: run, or sweep, which has fewer.

    Returns:
        The options.

    Raises:
        UsageError: If a word is unknown (with the nearest name), a value is not of its type, there are too few folds, or
            both folds and seeds are given.
        SystemExit: After printing help.

    Example:
        See ``jaxresearch run mnist --help``.

    References:
        tyro documentation. https://brentyi.github.io/tyro/
    """
    fields = {name: field for name, field in _run_fields(experiment).items() if name not in REFUSED[command]}
    values = _values(experiment, words, prog, command, fields)
    _refuse_seeds_of_folds(words, values.get("folds", 0))
    return _options(experiment, values)


def parse_study(experiment: Experiment, words: list[str], *, prog: str) -> tuple[Options, Budget]:
    """Returns the options and the budget of a study; the words are as for `parse`."""
    plain = Budget()
    budget: Fields = {
        "rounds": (int, plain.rounds, "rounds at most, that of the plain settings among them"),
        "seconds": (float, plain.seconds, "seconds after which no further round begins"),
        "seeds": (int, plain.seeds, "seeds that each setting is tried with"),
        "fresh_seeds": (int, plain.fresh_seeds, "further seeds, of the last training, that decide the claim"),
    }
    of_run = {name: field for name, field in _run_fields(experiment).items() if name not in REFUSED["study"]}
    values = _values(experiment, words, prog, "study", of_run | budget)
    for name in budget:
        if not 0 < values[name] < math.inf:
            rule = "finite" if values[name] == math.inf else "positive"
            raise UsageError(f"{name} must be {rule}; got {values[name]}. Write: {flag(name)} {budget[name][1]}")
    chosen = Budget(**{name: values[name] for name in budget})
    return _options(experiment, values), chosen


def _values(experiment: Experiment, words: list[str], prog: str, command: str, fields: Fields) -> dict[str, Any]:
    """Returns the value of each field and of each hyperparameter; prints the help if it is asked for."""
    fields = fields | _hyperparameter_fields(experiment)
    _refuse_unknown(words, fields, command)
    made = dataclasses.make_dataclass(
        "Run",
        [(name, Annotated[kind, tyro.conf.arg(help=help)], default) for name, (kind, default, help) in fields.items()],
        kw_only=True,
    )
    # The help opens with the docstring, which would else be the signature that dataclasses makes.
    made.__doc__ = experiment.question
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return vars(tyro.cli(made, args=words, prog=prog, config=(tyro.conf.OmitArgPrefixes,)))
    except SystemExit as exit:
        if exit.code in (0, None):
            raise
        raise UsageError(_first_sentence(stderr.getvalue())) from None


def _options(experiment: Experiment, values: dict[str, Any]) -> Options:
    """Returns the options with these values; what a command does not have is as run has it unless asked."""
    names = [field.name for field in dataclasses.fields(experiment.hyperparameters)]
    chosen = dataclasses.replace(experiment.hyperparameters, **{name: values[name] for name in names})
    given = {name: values.get(name, default) for name, (_, default, _) in _run_fields(experiment).items()}
    if given["folds"] < 0 or given["folds"] == 1:
        raise UsageError(f"folds must be 2 or more, or 0 for none; got {given['folds']}. Ask for 10.")
    given["seeds"] = given["folds"] or given["seeds"]
    return Options(**given, hyperparameters=chosen)


def _run_fields(experiment: Experiment) -> Fields:
    """Returns type, default and help of the options that every run has."""
    return {
        "seeds": (int, 5, "number of seeds: 0 to N - 1, trained side by side"),
        "folds": (
            int,
            0,
            "cross-validation instead of seeds: run i is tested on fold i of all examples, with seed i; 0: none",
        ),
        "train_examples": (
            int | None,
            None,
            "training examples of a run, fewer than there are, drawn at random; all unless given",
        ),
        "init_from": (
            Path | None,
            None,
            "directory of another run: parameters of the same name begin as its first seed's end",
        ),
        "data": (
            str,
            experiment.source,
            "bundled name, tfds:NAME, .npz, .csv, .parquet, a folder of IDX files, or what the experiment itself reads",
        ),
        "target": (str | None, experiment.target, "column to predict, where the data is a table"),
        "directory": (Path | None, None, "where the run is recorded; runs/NAME-TIME unless given"),
        "smoke": (
            tyro.conf.FlagCreatePairsOff[bool],
            False,
            "a few steps on a few examples, to see that everything works",
        ),
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


def _hyperparameter_fields(experiment: Experiment) -> Fields:
    """Returns type, default and help of each hyperparameter."""
    types = typing.get_type_hints(type(experiment.hyperparameters))
    return {
        field.name: (types[field.name], getattr(experiment.hyperparameters, field.name), field.metadata.get("help", ""))
        for field in dataclasses.fields(experiment.hyperparameters)
    }


def _refuse_unknown(words: list[str], fields: Fields, command: str) -> None:
    """Raises for the first option that does not exist, with the nearest name."""
    known = [flag(name) for name in fields]
    known += [flag(f"no_{name}") for name, (kind, _, _) in fields.items() if kind is bool]
    for word in words:
        written = word.split("=", 1)[0].replace("_", "-")
        if written in map(flag, REFUSED[command]):
            raise UsageError(f"option must be one that {command} has; got {written}, which it has not. Leave it out.")
        if word.startswith("--") and written not in (*known, "--help"):
            near = difflib.get_close_matches(written, known, n=1)
            advice = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}."
            raise UsageError(f"option must be one of the experiment's; got {word}. {advice}")


def _refuse_seeds_of_folds(words: list[str], folds: int) -> None:
    """Raises where seeds are written beside folds, of which each has a seed of its own."""
    if folds and any(word.split("=", 1)[0] == "--seeds" for word in words):
        raise UsageError(f"seeds must be left out with folds; got both. Run i of --folds {folds} has seed i.")


def _first_sentence(box: str) -> str:
    """Returns what the parser's framed message says, on one line, without the frame and the help below its rule."""
    lines = [line.strip(" │╭╮╰╯") for line in box.splitlines()]
    said = []
    for line in lines[1:]:
        if line.startswith("─"):
            break
        said.append(line)
    return " ".join(" ".join(said).split()).rstrip(".") + ". See --help."

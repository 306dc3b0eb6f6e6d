"""The options of the commands, declared once: type, default, meaning, and the commands that have them."""

import contextlib
import dataclasses
import difflib
import io
import math
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxresearch.cli.axes import spelled
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.spelling import Seeds, Types, Validation, seeds_text
from jaxresearch.data import RunsOf, Split
from jaxresearch.experiment import Experiment
from jaxresearch.records.commands import flag
from jaxresearch.studies import Budget
from jaxresearch.studies.comparison import other_seeds
from jaxresearch.studies.plan import confirmation_seeds

Fields = dict[str, tuple[Any, Any, str]]  # type, default and help by name

COMMANDS = ("run", "sweep", "study")
_MANY_SEEDS = 2**32  # keys are made from 32 bits


def _option(
    default: Any, help: str, *, commands: tuple[str, ...] = COMMANDS, metavar: str | None = None, **defaults: Any
) -> Any:
    """Returns a field of `Options`; further keywords are defaults of single commands."""
    metadata = {"default": default, "help": help, "commands": commands, "metavar": metavar, "defaults": defaults}
    return dataclasses.field(metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a command was asked for; options that it does not have are at their defaults.

    ``hyperparameters`` are the settings, and ``axes`` the values of each hyperparameter that a sweep varies.
    """

    seeds: Seeds = _option(5, "one run for each: N for 0 to N - 1, or a list like 3,7,11 (7, for one)", study=3)
    fresh_seeds: Seeds = _option(
        10, "seeds of the final training, which decide the claim: the next N, or a list", commands=("study",)
    )
    folds: int = _option(
        0, "cross-validation instead of seeds: run i is tested on fold i, with seed i; 0 for none", commands=("run",)
    )
    rounds: int = _option(Budget().rounds, "maximum number of rounds, the plain settings included", commands=("study",))
    seconds: float = _option(
        float(Budget().seconds), "seconds after which no further round starts", commands=("study",)
    )
    validation: Validation = _option(
        None,
        "what to look at while training: a fraction of the training part, or own for the data's own; none by default",
    )
    evaluate_every: int = _option(0, "steps between two looks at the validation data; 0 for once per epoch")
    train_examples: int | None = _option(
        None, "number of training examples, drawn at random for each seed anew; all by default", metavar="N"
    )
    init_from: Path | None = _option(
        None,
        "directory of another run: parameters of the same name start as its first seed ended",
        commands=("run",),
        metavar="DIR",
    )
    data: str | None = _option(
        None,
        "bundled name, tfds:NAME, .npz, a table (.csv, .tsv, .xlsx, .parquet), a folder of images or IDX files, or what the "
        "experiment reads itself",
        metavar="SOURCE",
    )
    target: str | None = _option(None, "column to predict, if the data is a table", metavar="COLUMN")
    types: Types = _option((), "kinds of columns: number, category, date, text, id, or drop to leave one out")
    task: Literal["classification", "regression"] | None = _option(
        None,
        "what whole numbers as targets are: classes or values; as the experiment declares, or as shown, by default",
    )
    test: str | None = _option(None, "a second table, whose rows are the test part", metavar="FILE")
    test_fraction: float | None = _option(
        None,
        "fraction of the examples held out as the test part, where the data has none of its own",
        metavar="FRACTION",
    )
    split_seed: int = _option(0, "seed of the draw of the test part")
    resplit: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False, "divide the data anew for each seed, which is its split seed; --split-seed for all", commands=("run",)
    )
    group: str | None = _option(
        None, "column of groups: examples of one (a patient, a pupil) are never in two parts or folds", metavar="COLUMN"
    )
    time: str | None = _option(None, "column of times: the latest examples are held out", metavar="COLUMN")
    contiguous: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False, "hold out the last examples in the order of the data, and make folds of stretches"
    )
    image_size: int | None = _option(None, "height and width that a folder of images is resized to", metavar="N")
    stream: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False, "read examples from disk when a step needs them: for data that does not fit into memory"
    )
    directory: Path | None = _option(None, "where to record; runs/NAME-TIME by default", metavar="DIR")
    smoke: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False, "take a few steps on a few examples, to check that everything works", commands=("run", "sweep")
    )
    save_every: float = _option(60.0, "seconds between two checkpoints; 0 saves as often as possible")
    on_nonfinite: Literal["stop", "skip"] = _option(
        "stop",
        "on a training metric that is not finite: mask the seed and train the others on (once all have diverged, stop), or skip "
        "the step",
        commands=("run",),
    )
    fail_fast: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False,
        "end the run with exit code 1 as soon as a seed diverges, while the others would train on",
        commands=("run",),
    )
    encrypt_with: Path | None = _option(
        None, "file with a 32-byte key: checkpoints and decoded TFDS sets are encrypted with AES-GCM", metavar="FILE"
    )
    track: tuple[Literal["tensorboard", "mlflow"], ...] = _option(
        (), "trackers to send metrics to: tensorboard, mlflow, or both; needs the extra track", commands=("run",)
    )
    command: str
    hyperparameters: Any
    axes: dict[str, list[Any]] = dataclasses.field(default_factory=dict)

    @property
    def budget(self) -> Budget:
        """The budget of a study."""
        return Budget(self.rounds, self.seconds, self.seeds, self.fresh_seeds)

    @property
    def named_seeds(self) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """The seeds of the command; of a sweep or a study, by what they are for."""
        if self.command == "run":
            return self.seeds
        if self.command == "sweep":
            return {"settings": self.seeds, "noise floor": other_seeds(self.seeds)}
        return {"search": self.seeds, "confirmation": confirmation_seeds(self.budget), "result": self.fresh_seeds}

    @property
    def split(self) -> Split | None:
        """How the user wants the data divided; None where nothing is asked for."""
        rule = Split(fraction=self.test_fraction, seed=self.split_seed)
        if self.group is not None:
            rule = dataclasses.replace(rule, by="group", column=self.group)
        elif self.time is not None:
            rule = dataclasses.replace(rule, by="time", column=self.time)
        elif self.contiguous:
            rule = dataclasses.replace(rule, by="stretch")
        return None if rule == Split(fraction=None) else rule

    @property
    def reading(self) -> dict[str, Any]:
        """What the user asks of how data are read, as `jaxresearch.data.load` takes it."""
        asked = {"types": dict(self.types), "task": self.task, "test": self.test, "split": self.split}
        asked |= {"image_size": self.image_size, "stream": self.stream}
        return {name: value for name, value in asked.items() if value}

    @property
    def runs_of(self) -> RunsOf | None:
        """What data of their own the runs have; None where they share them."""
        if self.folds:
            return "folds"
        return "splits" if self.resplit else "subsets" if self.train_examples is not None else None

    @property
    def looks_every(self) -> int | None:
        """``evaluate_every`` of a run: None without validation data."""
        return None if self.validation is None else self.evaluate_every


DECLARED = {field.name: field for field in dataclasses.fields(Options) if field.metadata}


def names_of(command: str) -> list[str]:
    """Returns the names of the options that a command has."""
    return [name for name, field in DECLARED.items() if command in field.metadata["commands"]]


def parse(experiment: Experiment, words: list[str], *, command: str = "run", prog: str | None = None) -> Options:
    """Returns the options in the words of a command line, and the defaults and the experiment's own values for the rest.

    In a sweep, a value with colons is a range, ``low:high:n`` or ``low:high:log:n``, of a float field. A value with commas is a
    list, in which x joins the entries of a tuple (``--hidden 64,128x64``). `jaxresearch.cli.axes` has all spellings.

    Args:
        experiment: Gives the hyperparameters and the default source of data.
        words: The command line after the name of the experiment.
        command: run, sweep or study.
        prog: The command's name in its help.

    Returns:
        The options. Seeds are explicit from here on.

    Raises:
        UsageError: If a word is unknown, a value is out of range or not of its type, or options exclude each other.
        SystemExit: After printing help.

    Example:
        See ``jaxresearch run mnist --help``.
    """
    _refuse_clash(experiment)
    if sum(word.split("=", 1)[0] == "--types" for word in words) > 1:
        raise UsageError("types must be given once, got it twice. Write all kinds in one: --types age=number,id=drop")
    prog = prog or f"jaxresearch {command}"
    kinds = typing.get_type_hints(type(experiment.hyperparameters))
    words, axes = spelled(
        kinds, words, prog=prog, read=lambda name, given: _values(experiment, given, command, prog)[name]
    )
    values = _values(experiment, words, command, prog)
    if command == "sweep" and not axes and "--help" not in words:
        raise UsageError(
            "a sweep must vary at least one hyperparameter, got none. Write: --learning-rate 1e-4:1e-1:log:8"
        )
    return _resolved(experiment, values, axes, command, words)


def _resolved(
    experiment: Experiment, values: dict[str, Any], axes: dict[str, list[Any]], command: str, words: list[str]
) -> Options:
    """Returns the options with these values, after checking them; counts of seeds become seeds here and nowhere else."""
    names = [field.name for field in dataclasses.fields(experiment.hyperparameters)]
    chosen = dataclasses.replace(experiment.hyperparameters, **{name: values.pop(name) for name in names})
    given = {name: values.get(name, _default(experiment, name, command)) for name in DECLARED}
    folds = given["folds"]
    if folds < 0 or folds == 1:
        raise UsageError(f"folds must be 2 or more, or 0 for none, got {folds}. Pass --folds 10.")
    if folds and any(word.split("=", 1)[0] == "--seeds" for word in words):
        raise UsageError(f"seeds and folds exclude each other, got both. Run i of --folds {folds} has seed i.")
    given["seeds"] = _seeds("seeds", folds or given["seeds"])
    given["fresh_seeds"] = _seeds("fresh_seeds", given["fresh_seeds"], first=max(given["seeds"]) + 1)
    if common := sorted({*given["seeds"]} & {*given["fresh_seeds"]}) if command == "study" else []:
        raise UsageError(f"fresh_seeds must not be among seeds, got {common[0]} in both. Pass other ones.")
    if experiment.source is None and given["data"] is not None:
        raise UsageError(f"data must be left out, got {given['data']}: the experiment needs none.")
    options = Options(**given, command=command, hyperparameters=chosen, axes=axes)
    _check(options)
    return options


def _seeds(name: str, given: int | tuple[int, ...], *, first: int = 0) -> tuple[int, ...]:
    """Returns the seeds of a list, or so many from the first one on."""
    seeds = tuple(range(first, first + given)) if isinstance(given, int) else given
    if not seeds:
        raise UsageError(f"{name} must be 1 or more, got {given}. Pass {flag(name)} 10 for a narrow interval.")
    wrong = next((seed for seed in seeds if not 0 <= seed < _MANY_SEEDS), None)
    if wrong is not None:
        raise UsageError(
            f"{name} must be between 0 and {_MANY_SEEDS - 1}, got {wrong}. Pass {flag(name)} 10 for 0 to 9."
        )
    if len({*seeds}) < len(seeds):
        raise UsageError(f"{name} must differ from each other, got {seeds_text(seeds)}. Write each once.")
    return seeds


def _check(options: Options) -> None:
    """Raises for values that are out of range, or that do not go together."""
    if not 0 <= options.save_every < math.inf:
        raise UsageError(f"save_every must be 0 or more seconds and finite, got {options.save_every}. Pass 60.")
    for name in ("rounds", "seconds"):
        value = getattr(options, name)
        if not 0 < value < math.inf:
            raise UsageError(f"{name} must be positive and finite, got {value}. Pass {getattr(Budget(), name)}.")
    rules = [name for name in ("group", "time", "contiguous") if getattr(options, name)]
    if len(rules) > 1:
        raise UsageError(f"{rules[0]} and {rules[1]} exclude each other, got both. Pass one rule of the split.")
    if options.split_seed and (options.time is not None or options.contiguous):
        raise UsageError(
            f"split_seed and {rules[0]} exclude each other, got both. The last examples are held out, none is drawn."
        )
    if options.test_fraction is not None and not 0 < options.test_fraction < 1:
        raise UsageError(f"test_fraction must be between 0 and 1, got {options.test_fraction:g}. Pass 0.2.")
    if options.test is not None and options.test_fraction is not None:
        raise UsageError(
            "test and test_fraction exclude each other, got both. The rows of the second file are the test part."
        )
    if options.resplit:
        _check_resplit(options)
    if options.data is None:
        for name in ("folds", "resplit", "train_examples", "target", *options.reading):
            if getattr(options, name):
                raise UsageError(f"{name} must be left out, got {getattr(options, name)}: the experiment has no data.")
    if options.evaluate_every and options.validation is None:
        raise UsageError(f"evaluate_every needs validation data, got {options.evaluate_every}. Pass --validation 0.1.")
    if options.validation is None:
        return
    if options.validation == "own":
        if options.command == "study" or (options.command == "sweep" and options.data is not None):
            raise UsageError(
                f"a {options.command} compares settings on the data's own validation part. Pass --validation 0.1."
            )
        if options.folds:
            raise UsageError(
                "validation must be a fraction of each fold's training part, got own. Pass --validation 0.1."
            )
    elif not 0 < options.validation < 1:
        raise UsageError(
            f"validation must be own or between 0 and 1, got {options.validation:g}. Pass --validation 0.1."
        )


def _check_resplit(options: Options) -> None:
    """Raises for options that leave nothing for each seed to draw."""
    reasons = {
        "folds": "Folds test each example once; --resplit draws a test part for each seed",
        **dict.fromkeys(("time", "contiguous"), "The last examples are held out, none is drawn"),
        "test": "The rows of the second file are the test part of all seeds",
        "split_seed": "Seed i is the split seed of run i",
    }
    for name, reason in reasons.items():
        if getattr(options, name):
            raise UsageError(f"resplit and {name} exclude each other, got both. {reason}. Leave one of them out.")


def _default(experiment: Experiment, name: str, command: str) -> Any:
    """Returns the default of an option."""
    if name in ("data", "target"):
        return experiment.source if name == "data" else experiment.target
    metadata = DECLARED[name].metadata
    return metadata["defaults"].get(command, metadata["default"])


def _refuse_clash(experiment: Experiment) -> None:
    """Raises if a hyperparameter has the name of an option."""
    for field in dataclasses.fields(experiment.hyperparameters):
        if field.name in DECLARED:
            raise UsageError(f"hyperparameter {field.name!r} has the name of an option of the command line. Rename it.")


def _values(experiment: Experiment, words: list[str], command: str, prog: str) -> dict[str, Any]:
    """Returns the value of each option and hyperparameter; prints the help if it is asked for."""
    kinds = typing.get_type_hints(Options, include_extras=True)
    fields: Fields = {name: _field(kinds[name], experiment, name, command) for name in names_of(command)}
    fields |= _hyperparameter_fields(experiment)
    _refuse_unknown(words, fields, command)
    made = dataclasses.make_dataclass(
        "Words",
        [(name, Annotated[kind, tyro.conf.arg(help=help)], default) for name, (kind, default, help) in fields.items()],
        kw_only=True,
    )
    # The help opens with the docstring, which would otherwise be the signature that dataclasses writes.
    made.__doc__ = experiment.question
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return vars(tyro.cli(made, args=words, prog=prog, config=(tyro.conf.OmitArgPrefixes,)))
    except SystemExit as exit:
        if exit.code in (0, None):
            raise
        raise UsageError(_first_sentence(stderr.getvalue())) from None


def _field(kind: Any, experiment: Experiment, name: str, command: str) -> tuple[Any, Any, str]:
    """Returns type, default and help of an option."""
    metadata, default = DECLARED[name].metadata, _default(experiment, name, command)
    if metadata["metavar"] is not None:
        kind = Annotated[
            kind, tyro.conf.arg(metavar=metadata["metavar"], help_behavior_hint="" if default is None else None)
        ]
    return kind, default, metadata["help"]


def _hyperparameter_fields(experiment: Experiment) -> Fields:
    """Returns type, default and help of each hyperparameter."""
    types = typing.get_type_hints(type(experiment.hyperparameters))
    return {
        field.name: (types[field.name], getattr(experiment.hyperparameters, field.name), field.metadata.get("help", ""))
        for field in dataclasses.fields(experiment.hyperparameters)
    }


def _refuse_unknown(words: list[str], fields: Fields, command: str) -> None:
    """Raises for the first option that does not exist, with the nearest name."""
    names = [*fields, *(f"no_{name}" for name, (kind, _, _) in fields.items() if kind is bool), "help", "traceback"]
    known = [flag(name) for name in names]
    for word in words:
        written = word.split("=", 1)[0].replace("_", "-")
        if written.startswith("-") and f"-{written}" in known:
            raise UsageError(f"{command} has no option {written}. Write -{written}.")
        if not word.startswith("--") or written in known:
            continue
        elsewhere = next((name for name in DECLARED if flag(name) == written), None)
        if elsewhere is not None:
            owners = " and ".join(DECLARED[elsewhere].metadata["commands"])
            raise UsageError(f"{command} has no option {written}, which belongs to {owners}. Leave it out.")
        near = difflib.get_close_matches(written.lstrip("-"), [option[2:] for option in known], n=1)
        own = ", ".join(flag(name) for name in fields if name not in DECLARED)
        advice = f"Did you mean --{near[0]}?" if near else f"The hyperparameters are {own}; --help shows all options."
        raise UsageError(f"{command} has no option {written}. {advice}")


def _first_sentence(box: str) -> str:
    """Returns the parser's framed message on one line, without the frame and the help below its rule."""
    lines = [line.strip(" │╭╮╰╯") for line in box.splitlines()]
    message = []
    for line in lines[1:]:
        if line.startswith("─"):
            break
        message.append(line)
    return " ".join(" ".join(message).split()).rstrip(".") + ". See --help."

"""The options of the commands, declared once: type, default, meaning, and the commands that have them."""

import contextlib
import dataclasses
import difflib
import io
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxresearch.cli.axes import spelled
from jaxresearch.cli.checks import check_options
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.refusals import Fields, explained
from jaxresearch.cli.spelling import Mesh, Private, Seeds, Size, Types, Validation, seeds_text
from jaxresearch.cli.supervised import DISTRIBUTED, HANG_AFTER
from jaxresearch.data import RunsOf, Split
from jaxresearch.experiment import Experiment
from jaxresearch.records.commands import flag, value_text
from jaxresearch.scale.chips import ChipName
from jaxresearch.studies import Budget
from jaxresearch.studies.comparison import other_seeds
from jaxresearch.studies.plan import confirmation_seeds

COMMANDS = ("run", "sweep", "study")
_STEPPING = (*COMMANDS, "summary", "plan")  # the commands about one step or many
_READING = (*_STEPPING, "audit")  # the commands that read the experiment's data
_MANY_SEEDS = 2**32  # keys are derived from 32 bits


def _option(
    default: Any, help: str, *, commands: tuple[str, ...] = COMMANDS, metavar: str | None = None, **defaults: Any
) -> Any:
    """Returns a field of `Options`; further keywords are defaults for single commands."""
    metadata = {"default": default, "help": help, "commands": commands, "metavar": metavar, "defaults": defaults}
    return dataclasses.field(metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a command; those that it does not have keep their defaults.

    ``hyperparameters`` are the settings, ``axes`` the values of each hyperparameter that a sweep varies.
    """

    seeds: Seeds = _option(
        5, "one run per seed: N for seeds 0 to N - 1, or a list such as 3,7,11 (7, for a single one)", study=3
    )
    fresh_seeds: Seeds = _option(
        10,
        "seeds of the final training, which decide the claim: N for the next N seeds, or a list",
        commands=("study",),
    )
    folds: int = _option(
        0, "cross-validation instead of seeds: run i is tested on fold i, with seed i; 0 for none", commands=("run",)
    )
    rounds: int = _option(Budget().rounds, "maximum number of rounds, including the baseline", commands=("study",))
    seconds: float = _option(
        float(Budget().seconds), "no further round starts after this many seconds", commands=("study",)
    )
    validation: Validation = _option(
        None,
        "validation data while training: a fraction of the training part, or own for the data's own part; none by default",
    )
    evaluate_every: int = _option(0, "steps between evaluations on the validation data; 0 for once per epoch")
    accumulate: int | None = _option(
        None,
        "micro batches per step, computed one after another to save memory; must divide the batch size",
        metavar="N",
        commands=_STEPPING,
    )
    at_once: int | None = _option(
        None,
        "runs trained at a time on each device, to save memory; by default as many as fit, on a CPU groups of small ones",
        metavar="N",
        commands=(*COMMANDS, "audit"),
    )
    private: Private = _option(
        (),
        "train with differential privacy, such as epsilon=3,delta=1e-5,clip=1: the gradient of each example is clipped to the "
        "norm clip, with noise for this epsilon, or of the given noise multiplier (noise=1.1 in place of epsilon); none for "
        "training without privacy; by default as the experiment declares",
        commands=("run", "sweep", "study", "audit"),
    )
    unit: str | None = _option(
        None,
        "column of users, patients or the like, all examples of each of which --private protects, with at most per_unit of them: "
        "--private epsilon=3,delta=1e-5,clip=1,per_unit=8; parts are split as by --group",
        metavar="COLUMN",
        commands=("run", "sweep", "study"),
    )
    runs: int = _option(500, "number of runs with a canary, and of runs without it", commands=("audit",), metavar="N")
    canaries: int | None = _option(
        None,
        "canaries of the one run, each included by a fair coin; by default 1000, at most half of the examples and one for each "
        "parameter",
        commands=("audit",),
        metavar="N",
    )
    guesses: int | None = _option(None, "guesses about them; by default half as many", commands=("audit",), metavar="N")
    observe: Literal["states", "final"] = _option(
        "states",
        "what the attack sees: the states of all steps, or the initial and the final model",
        commands=("audit",),
    )
    audit_seed: int = _option(0, "seed from which all runs of the audit are drawn", commands=("audit",))
    train_examples: int | None = _option(
        None, "number of training examples, drawn at random anew for each seed; all by default", metavar="N"
    )
    init_from: Path | None = _option(
        None,
        "directory of another run: parameters of the same name start at the final values of its first seed",
        commands=("run",),
        metavar="DIR",
    )
    data: str | None = _option(
        None,
        "bundled name, tfds:NAME, .npz, a table (.csv, .tsv, .xlsx, .parquet), a folder of images or IDX files, or another "
        "source that the experiment can read",
        metavar="SOURCE",
        commands=_READING,
    )
    target: str | None = _option(None, "column to predict, if the data is a table", metavar="COLUMN", commands=_READING)
    types: Types = _option(
        (),
        "kinds of columns: number, category, date, text, id, or drop to leave a column out; added to those that the experiment "
        "declares",
        commands=_READING,
    )
    task: Literal["classification", "regression"] | None = _option(
        None,
        "whether whole numbers in the target are classes or values; by default as declared, else inferred and printed",
        commands=_READING,
    )
    test: str | None = _option(None, "a second table, whose rows are the test part", metavar="FILE", commands=_READING)
    test_fraction: float | None = _option(
        None,
        "fraction of the examples held out as the test part, if the data has none",
        metavar="FRACTION",
        commands=_READING,
    )
    split_seed: int = _option(0, "seed for drawing the test part", commands=_READING)
    resplit: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False,
        "split the data anew for each seed, which is also its split seed, instead of once by --split-seed",
        commands=("run",),
    )
    group: str | None = _option(
        None,
        "column of groups: examples of a group (a patient, a pupil) stay in one part or fold",
        metavar="COLUMN",
        commands=_READING,
    )
    time: str | None = _option(
        None, "column of times: the latest examples are held out", metavar="COLUMN", commands=_READING
    )
    contiguous: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False, "hold out the last examples in the order of the data, and use contiguous folds", commands=_READING
    )
    image_size: int | None = _option(
        None, "height and width to which a folder of images is resized", metavar="N", commands=_READING
    )
    stream: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False, "read examples from disk as steps need them, for data that does not fit into memory", commands=_STEPPING
    )
    directory: Path | None = _option(
        None, "where to record the run; runs/NAME-TIME by default", metavar="DIR", commands=(*COMMANDS, "audit")
    )
    smoke: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False, "train a few steps on a few examples, to check that everything works", commands=("run", "sweep")
    )
    save_every: float = _option(60.0, "seconds between checkpoints; 0 saves as often as possible")
    on_nonfinite: Literal["stop", "skip"] = _option(
        "stop",
        "if a training metric is not finite: stop this seed and train the others (until all have diverged), or skip the step",
        commands=("run",),
    )
    fail_fast: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False,
        "end the run with exit code 1 as soon as a seed diverges, instead of training the others",
        commands=("run",),
    )
    encrypt_with: Path | None = _option(
        None, "file with a 32-byte key: checkpoints and decoded TFDS sets are encrypted with AES-GCM", metavar="FILE"
    )
    track: tuple[Literal["tensorboard", "mlflow"], ...] = _option(
        (), "trackers that receive the metrics: tensorboard, mlflow, or both; needs the extra track", commands=("run",)
    )
    mesh: Mesh = _option(
        (),
        "axes over which the devices split each run, such as data=2,fsdp=-1: data (examples of a batch), fsdp (examples and "
        "state), tensor (state), and runs; by default all devices split the runs",
        commands=("run", "sweep", "plan"),
    )
    chip: ChipName | None = _option(
        None,
        "kind of chip, whose peaks give the least time of a step and whose memory is the limit",
        commands=("plan",),
    )
    topology: str | None = _option(
        None,
        "TPU slice to compile for by libtpu, such as v5e:4x4 or v5p:2x2x1; by default, XLA for CPUs compiles the step",
        commands=("plan",),
        metavar="CHIP:SHAPE",
    )
    hbm: Size = _option(None, "memory of each device, such as 95GiB; by default that of the chip", commands=("plan",))
    largest_batch: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False,
        "find the largest batch that fits into the memory, for each choice of remat if the experiment has one",
        commands=("plan",),
    )
    distributed: tyro.conf.FlagCreatePairsOff[bool] = _option(
        False,
        "be one of several processes with the same command, which JAX joins into one program; needs --directory",
        commands=DISTRIBUTED,
    )
    coordinator: str | None = _option(
        None, "address of process 0, if JAX cannot detect it", commands=DISTRIBUTED, metavar="HOST:PORT"
    )
    processes: int | None = _option(
        None, "number of processes, if JAX cannot detect it", commands=DISTRIBUTED, metavar="N"
    )
    process: int | None = _option(
        None, "number of this process, from 0, if JAX cannot detect it", commands=DISTRIBUTED, metavar="I"
    )
    hang_after: float = _option(
        HANG_AFTER,
        "seconds without a sign of life from a process after which the job ends with exit code 75",
        commands=DISTRIBUTED,
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
        """The seeds of the command; of a sweep or a study, by purpose."""
        if self.command == "run":
            return self.seeds
        if self.command == "sweep":
            return {"settings": self.seeds, "noise floor": other_seeds(self.seeds)}
        return {"search": self.seeds, "confirmation": confirmation_seeds(self.budget), "result": self.fresh_seeds}

    @property
    def split(self) -> Split | None:
        """The rule of the split from the options; None without any."""
        rule = Split(fraction=self.test_fraction, seed=self.split_seed)
        if (column := self.group or self.unit) is not None:
            rule = dataclasses.replace(rule, by="group", column=column)
        elif self.time is not None:
            rule = dataclasses.replace(rule, by="time", column=self.time)
        elif self.contiguous:
            rule = dataclasses.replace(rule, by="stretch")
        return None if rule == Split(fraction=None) else rule

    @property
    def reading(self) -> dict[str, Any]:
        """The options for reading data, as `jaxresearch.data.load` takes them."""
        asked = {"types": dict(self.types), "task": self.task, "test": self.test, "split": self.split}
        asked |= {"image_size": self.image_size, "stream": self.stream}
        return {name: value for name, value in asked.items() if value}

    @property
    def runs_of(self) -> RunsOf | None:
        """How the data differ between runs; None if runs share them."""
        if self.folds:
            return "folds"
        return "splits" if self.resplit else "subsets" if self.train_examples is not None else None

    @property
    def looks_every(self) -> int | None:
        """``evaluate_every`` of a run: None without validation data."""
        return None if self.validation is None else self.evaluate_every


OF_PROCESSES = (
    "distributed",
    "coordinator",
    "processes",
    "process",
    "hang_after",
)  # not recorded: any number may resume
DECLARED = {field.name: field for field in dataclasses.fields(Options) if field.metadata}


def names_of(command: str) -> list[str]:
    """Returns the names of the options that a command has."""
    return [name for name, field in DECLARED.items() if command in field.metadata["commands"]]


def parse(experiment: Experiment, words: list[str], *, command: str = "run", prog: str | None = None) -> Options:
    """Returns the options of a command line, with defaults and the experiment's own values for the rest.

    In a sweep, a value with colons is a range, ``low:high:n`` or ``low:high:log:n``, of a float field. A value with commas is a
    list, in which x joins the entries of a tuple (``--hidden 64,128x64``). `jaxresearch.cli.axes` has all spellings.

    Args:
        experiment: Has the hyperparameters and the default data source.
        words: The command line after the name of the experiment.
        command: run, sweep or study.
        prog: The command's name in its help.

    Returns:
        The options, with explicit seeds.

    Raises:
        UsageError: If a word is unknown, a value has the wrong type or range, or options are mutually exclusive.
        SystemExit: After printing help.

    Example:
        See ``jaxresearch run mnist --help``.
    """
    _refuse_clash(experiment)
    if sum(word.split("=", 1)[0] == "--types" for word in words) > 1:
        raise UsageError("types must be given once, got it twice. Write all kinds together: --types age=number,id=drop")
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
    """Returns the checked options with these values. Only here, a number of seeds becomes a list of seeds."""
    names = [field.name for field in dataclasses.fields(experiment.hyperparameters)]
    chosen = dataclasses.replace(experiment.hyperparameters, **{name: values.pop(name) for name in names})
    given = {name: values.get(name, _default(experiment, name, command)) for name in DECLARED}
    folds = given["folds"]
    if folds < 0 or folds == 1:
        raise UsageError(f"folds must be 2 or more, or 0 for none, got {folds}. Pass --folds 10.")
    if folds and any(word.split("=", 1)[0] == "--seeds" for word in words):
        raise UsageError(f"seeds and folds are mutually exclusive, got both. Run i of --folds {folds} has seed i.")
    given["types"] = tuple(({**(experiment.types or {}), **dict(given["types"])}).items())
    given["seeds"] = _seeds("seeds", folds or given["seeds"])
    given["fresh_seeds"] = _seeds("fresh_seeds", given["fresh_seeds"], first=max(given["seeds"]) + 1)
    if common := sorted({*given["seeds"]} & {*given["fresh_seeds"]}) if command == "study" else []:
        raise UsageError(f"fresh_seeds must not be among seeds, got {common[0]} in both. Pass others.")
    if experiment.source is None and given["data"] is not None:
        raise UsageError(f"data must be left out, got {given['data']}: the experiment needs none.")
    options = Options(**given, command=command, hyperparameters=chosen, axes=axes)
    check_options(options)
    return options


def _seeds(name: str, given: int | tuple[int, ...], *, first: int = 0) -> tuple[int, ...]:
    """Returns the seeds of a list, or as many seeds as given from the first one on."""
    seeds = tuple(range(first, first + given)) if isinstance(given, int) else given
    if not seeds:
        raise UsageError(f"{name} must be 1 or more, got {given}. Pass {flag(name)} 10 for a narrow interval.")
    wrong = next((seed for seed in seeds if not 0 <= seed < _MANY_SEEDS), None)
    if wrong is not None:
        raise UsageError(
            f"{name} must be between 0 and {_MANY_SEEDS - 1}, got {wrong}. Pass {flag(name)} 10 for 0 to 9."
        )
    if len({*seeds}) < len(seeds):
        raise UsageError(f"{name} must be distinct, got {seeds_text(seeds)}. Write each once.")
    return seeds


def _default(experiment: Experiment, name: str, command: str) -> Any:
    """Returns the default of an option."""
    if name in ("data", "target"):
        return experiment.source if name == "data" else experiment.target
    if name == "types":
        return tuple((experiment.types or {}).items())
    if name == "private" and command in DECLARED[name].metadata["commands"]:
        return private_default(experiment)
    metadata = DECLARED[name].metadata
    return metadata["defaults"].get(command, metadata["default"])


def private_default(experiment: Experiment) -> tuple[tuple[str, str], ...]:
    """Returns the parameters of the mechanism that an experiment declares, as ``--private`` reads them."""
    return tuple((name, str(value)) for name, value in (experiment.private or {}).items())


def _refuse_clash(experiment: Experiment) -> None:
    """Raises if a hyperparameter has the same name as an option."""
    for field in dataclasses.fields(experiment.hyperparameters):
        if field.name in DECLARED:
            raise UsageError(f"hyperparameters must not be named like options, got {field.name!r}. Rename it.")


def _values(experiment: Experiment, words: list[str], command: str, prog: str) -> dict[str, Any]:
    """Returns the value of each option and hyperparameter; prints help on ``--help``."""
    kinds = typing.get_type_hints(Options, include_extras=True)
    fields: Fields = {name: _field(kinds[name], experiment, name, command) for name in names_of(command)}
    fields |= _hyperparameter_fields(experiment)
    _refuse_unknown(words, fields, command)
    made = dataclasses.make_dataclass(
        "Words",
        [(name, Annotated[kind, tyro.conf.arg(help=help)], default) for name, (kind, default, help) in fields.items()],
        kw_only=True,
    )
    # The help opens with the docstring, which would otherwise be the signature generated by dataclasses.
    made.__doc__ = experiment.question
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return vars(tyro.cli(made, args=words, prog=prog, config=(tyro.conf.OmitArgPrefixes,)))
    except SystemExit as exit:
        if exit.code in (0, None):
            raise
        raise UsageError(explained(stderr.getvalue(), words, fields)) from None


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
    fields = {}
    for field in dataclasses.fields(experiment.hyperparameters):
        kind, default = types[field.name], getattr(experiment.hyperparameters, field.name)
        if typing.get_origin(kind) is tuple:
            hint = f"(default: {value_text(default)})"
            kind = Annotated[kind, tyro.conf.arg(help_behavior_hint=hint)]
        fields[field.name] = kind, default, field.metadata.get("help", "")
    return fields


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
            *others, last = DECLARED[elsewhere].metadata["commands"]
            owners = f"{', '.join(others)} and {last}" if others else last
            raise UsageError(f"{command} has no option {written}, which belongs to {owners}. Leave it out.")
        near = difflib.get_close_matches(written.lstrip("-"), [option[2:] for option in known], n=1)
        own = ", ".join(flag(name) for name in fields if name not in DECLARED)
        advice = f"Did you mean --{near[0]}?" if near else f"The hyperparameters are {own}; --help shows all options."
        raise UsageError(f"{command} has no option {written}. {advice}")

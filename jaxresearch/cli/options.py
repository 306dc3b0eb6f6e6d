"""The options of the commands, declared once: type, default, meaning, and the commands that have them."""

import dataclasses
from pathlib import Path
from typing import Any, Literal, get_args

import tyro

from jaxresearch.cli.spelling import Mesh, Parameters, Private, Seeds, Size, Types, Validation
from jaxresearch.cli.supervised import DISTRIBUTED, HANG_AFTER
from jaxresearch.data import RunsOf, Split
from jaxresearch.experiment import Experiment
from jaxresearch.scale.chips import ChipName
from jaxresearch.studies import Budget
from jaxresearch.studies.comparison import other_seeds
from jaxresearch.studies.plan import confirmation_seeds

COMMANDS = ("run", "sweep", "study")
_STEPPING = (*COMMANDS, "summary", "plan")  # the commands about one step or many
_READING = (*_STEPPING, "audit")  # the commands that read the experiment's data


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
        "bundled name, tfds:NAME, .npz, a table (.csv, .tsv, .xlsx, .parquet), a folder of images or IDX files, a database "
        "(sqlite:PATH, postgresql://USER@HOST/DATABASE) with --query, or another source that the experiment can read",
        metavar="SOURCE",
        commands=_READING,
    )
    target: str | None = _option(
        None, "column to predict, if the data is a table or a query", metavar="COLUMN", commands=_READING
    )
    query: str | None = _option(
        None,
        "a single SELECT, if the data is a database, which is only read; its password comes from the environment variable "
        "JAXRESEARCH_DATABASE_PASSWORD, or PGPASSWORD for PostgreSQL",
        metavar="SELECT",
        commands=_READING,
    )
    parameters: Parameters = _option(
        (), "values of the parameters of the query, which it names :NAME; the database binds them", commands=_READING
    )
    types: Types = _option(
        (),
        "kinds of columns: number, category, date, text, id, or drop to leave a column out; added to those that the experiment "
        "declares",
        commands=_READING,
    )
    task: Literal["classification", "regression"] | None = _option(
        None,
        "whether whole numbers in the target are classes or values; by default as declared, else inferred and printed",
        metavar="classification|regression",
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
        metavar="|".join(get_args(ChipName)),
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
        asked |= {"query": self.query, "parameters": dict(self.parameters)}
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


def private_default(experiment: Experiment) -> tuple[tuple[str, str], ...]:
    """Returns the parameters of the mechanism that an experiment declares, as ``--private`` reads them."""
    return tuple((name, str(value)) for name, value in (experiment.private or {}).items())

"""The common parts of run, sweep and study: from the command line to an open directory, and from errors to one line."""

import contextlib
import dataclasses
import inspect
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxresearch import adjust, catalogue, data, devices, loading, recording, records, studies
from jaxresearch import experiment as experiments
from jaxresearch.cli import compiled, display
from jaxresearch.cli.errors import CommandError, UsageError, described
from jaxresearch.cli.interrupts import saving
from jaxresearch.cli.options import Options, names_of, parse
from jaxresearch.cli.places import located, shown
from jaxresearch.data import Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check
from jaxresearch.interruption import EXIT_CODE, Interrupted
from jaxresearch.recording import Job
from jaxresearch.statistics import Claim

_SMOKE_STEPS = 20
_SMOKE_TEST_EXAMPLES = 500
_OF_STUDY = ("rounds", "seconds", "fresh_seeds")  # config.json has them in the budget


class Loaded(NamedTuple):
    """The data of a command: as collected (the first of folds, splits or subsets), and as trained on and tested.

    ``whole`` is the collected data before any fold or subset is taken.
    """

    collected: Dataset
    dataset: Dataset
    seconds: float
    whole: Dataset


class Session(NamedTuple):
    """A command that is ready to train.

    ``declared`` is the experiment as its file declares it, without its claim on other data (``unclaimed`` is the reason).
    ``job`` is what is trained; in a sweep or study, the baseline on the selection data. ``settings`` are those of a
    sweep, ``config`` is the content of ``config.json``, ``received`` the signals so far.
    """

    name: str
    declared: Experiment
    unclaimed: str | None
    options: Options
    cipher: Any
    loaded: Loaded
    job: Job
    settings: tuple[Any, ...]
    tracked: records.Tracking
    directory: records.RunDirectory
    config: dict[str, Any]
    received: list[int]

    @property
    def path(self) -> Path:
        """The directory's path."""
        return self.directory.path

    def recorder(self, observe: Callable[[Any], None]) -> recording.Recorder:
        """Returns the recorder that saves, observes and interrupts this command."""
        return recording.Recorder(
            self.options.save_every, self.cipher, self.tracked, observe, lambda: bool(self.received)
        )


def carry_out(
    command: str, name: str, words: list[str], work: Callable[[Session], None], *, file: str | None = None
) -> int:
    """Carries out a command that trains, and returns the exit code 0.

    Args:
        command: run, sweep or study.
        name: Of the experiment.
        words: Its options.
        work: Trains, records and prints.
        file: The file to load the experiment from, if it is not the one of that name.

    Raises:
        CommandError: After a failure (1), a user's mistake (2) or a signal (75).
        Interrupted: At a signal before anything was recorded.
    """
    configure()
    file = file or name
    with one_line(file, code=2):
        _require_backend()
        with opened(command, name, words, file) as session, one_line(file, code=1, directory=session.directory):
            _work_on(session, work)
    return 0


def _work_on(session: Session, work: Callable[[Session], None]) -> None:
    """Carries out the work of a command; once something is recorded, an interruption reports how to resume."""
    try:
        with recording.guarded(session.directory):
            if session.loaded.dataset.train:
                display.print_data(session.config)
            work(session)
    except Interrupted:
        if session.directory.is_new and not session.directory.has_progress:
            raise
        steps = records.Checkpoints(session.path).steps()
        saved = f"saved at step {steps[-1]}; " if steps else ""
        resume = records.resume_command(session.path)
        raise CommandError(f"interrupted; {saved}resume with: {resume}", code=EXIT_CODE) from None


@contextlib.contextmanager
def one_line(name: str, *, code: int, directory: records.RunDirectory | None = None) -> Iterator[None]:
    """Raises every error as a `CommandError`.

    The code is 2 if the directory was removed because nothing was recorded, or if it holds the state of another program.
    """
    try:
        yield
    except CommandError:
        raise
    except Exception as error:
        has_nothing = directory is not None and directory.is_new and not directory.has_progress
        code = 2 if has_nothing or isinstance(error, records.MismatchError) else code
        raise CommandError(_message(error, name), code=code) from error


def _message(error: Exception, name: str) -> str:
    """Returns an error on one line: as raised by this package or the experiment's file, or with its type."""
    blamed = loading.blame(error, name)
    return blamed or (str(error) if isinstance(error, ValueError | OSError) and str(error) else described(error))


def configure() -> None:
    """Sets JAX up for a command: one CPU device per core, a compilation cache on disk. Both must precede any array."""
    devices.split_cpu()
    compiled.keep()
    warnings.showwarning = lambda message, *_, **__: print(f"jaxresearch: warning: {message}", file=sys.stderr)


def _require_backend() -> None:
    """Raises if JAX is configured for a kind of device that this machine lacks."""
    try:
        jax.devices()
    except Exception as error:  # plugins raise anything, including assertions
        reason = f"{type(error).__name__}: {str(error) or 'no reason given'}"
        platforms = jax.config.values["jax_platforms"]
        raise UsageError(
            f"JAX_PLATFORMS must name a kind of device of this machine, got {platforms!r} ({reason}). Leave it out, or "
            "install the JAX plugin of that device."
        ) from error


@contextlib.contextmanager
def opened(command: str, name: str, words: list[str], file: str) -> Iterator[Session]:
    """Yields the session of a command with its directory open, after tracing everything that can fail.

    Until the end of the block, a failure removes a new directory without records, and signals wait until the run is saved.
    """
    declared, sources = loading.load_with_sources(file)
    if command == "study" and declared.adjust is None:
        raise UsageError(
            f"experiment must declare adjust for a study, got {name} without it. Write: adjust=adjust.grid(...)"
        )
    options = parse(declared, words, command=command, prog=f"jaxresearch {command} {name}")
    options = shortened(options) if options.smoke else options
    declared, options = located(declared, options)
    declared, unclaimed = _about(declared, options, name)
    if command == "study":
        studies.objective_of(declared)
    experiment = dataclasses.replace(declared, hyperparameters=options.hyperparameters)
    settings = adjust.combinations(options.hyperparameters, options.axes) if options.axes else ()
    for setting in (options.hyperparameters, *settings):
        check(setting)
    cipher = cipher_of(options)
    loaded = load_data(experiment, options, cipher, to_choose=command != "run")
    _require_plans(loaded.dataset, options, settings)
    job = job_of(experiment, options, loaded)
    dataclasses.replace(job, hyperparameters=settings[0] if settings else options.hyperparameters).preflight(
        is_compared=command != "run"
    )
    kind = "" if command == "run" else f"-{command}"
    path = options.directory or Path("runs") / f"{Path(name).stem}{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    name = catalogue.located(name)
    own, *beside = sources  # kept under the recorded name, whichever file was passed with --experiment
    sources = {catalogue.file_of(name).name: sources[own], **{one: sources[one] for one in beside}}
    config = {**_config(name, options, loaded.dataset, declared.claim), **records.sealed(name, sources)}
    environment = records.environment(seeds=options.named_seeds)
    with contextlib.ExitStack() as held:
        received = held.enter_context(saving())
        directory = records.open_directory(path, config, environment, is_new=options.directory is None)
        held.enter_context(directory)
        held.enter_context(recording.guarded(directory))
        if directory.is_new:
            records.keep_sources(directory, sources)
        tracked = records.tracking(options.track, directory.path, experiment=Path(name).stem)
        if options.init_from is not None and not received:
            job = recording.start_from(options.init_from, job, directory, cipher=cipher, smoke=options.smoke)
        if received:
            raise Interrupted
        yield Session(
            name, declared, unclaimed, options, cipher, loaded, job, settings, tracked, directory, config, received
        )
        if not directory.is_new:  # it was the same program
            records.keep_sources(directory, sources)
            directory.write("config.json", config)


def job_of(experiment: Experiment, options: Options, loaded: Loaded) -> Job:
    """Returns the job that options ask for."""
    if options.accumulate is not None:
        experiment = experiments.accumulated(experiment, n_micro_batches=options.accumulate, name="--accumulate")
    return Job(
        experiment=experiment,
        hyperparameters=options.hyperparameters,
        dataset=loaded.dataset,
        seeds=options.seeds,
        evaluate_every=options.looks_every,
        collected=loaded.collected,
    )


def _about(experiment: Experiment, options: Options, name: str) -> tuple[Experiment, str | None]:
    """Returns the experiment for the data of a command, and why its claim does not apply, or None."""
    pairs = ((experiment.source, options.data), (experiment.target, options.target))
    other = next(((claimed, asked) for claimed, asked in pairs if asked != claimed), None)
    if other is None:
        return experiment, None
    question = f"{Path(name).stem} on {shown(str(options.data))}"
    about, other_data = (shown(one) if one else "the data as its experiment reads them" for one in other)
    claim = experiment.claim
    line = claim and f'The claim "{claim.text}" is about {about}, not {other_data}, so it is not decided here.'
    return experiments.without_claim(experiment, question=question), line


def _sizes(command: str, dataset: Dataset) -> dict[str, int]:
    """Returns the number of examples of each part; in a sweep or study, the selection part replaces the test part."""
    sizes = {part: dataset.sizes(part)[0] for part in dataset.parts()}
    return sizes if command == "run" else {{"test": "selection"}.get(part, part): n for part, n in sizes.items()}


def _require_plans(dataset: Dataset, options: Options, settings: tuple[Any, ...]) -> None:
    """Raises if a setting does not fit the data; the message mentions data held out to compare settings."""
    try:
        for setting in settings or (options.hyperparameters,):
            size = experiments.plan(setting, dataset.n_train).batch_size
            if size % (options.accumulate or 1):
                raise UsageError(
                    f"accumulate must divide the batch of {size} examples, got {options.accumulate}. Pass one of its divisors."
                )
    except ValueError as error:
        if options.command == "run":
            raise
        held_out = "Part of the training data is held out to compare settings."
        raise UsageError(f"{error} {held_out}") from error


def _config(name: str, options: Options, dataset: Dataset, claim: Claim | None) -> dict[str, Any]:
    """Returns ``config.json``."""
    names = [option for option in names_of(options.command) if option not in ("directory", *_OF_STUDY)]
    asked = {"study": {"study": options.budget._asdict()}, "sweep": {"axes": options.axes}}.get(options.command, {})
    return {
        "experiment": name,
        **asked,
        **{option: getattr(options, option) for option in names},
        "hyperparameters": dataclasses.asdict(options.hyperparameters),
        "claim": claim and dataclasses.asdict(claim),
        "data_card": dataclasses.asdict(dataset.card),
        "parts": _sizes(options.command, dataset),
    }


def cipher_of(options: Options) -> Any:
    """Returns the cipher of the checkpoints, or None."""
    if options.encrypt_with is None:
        return None
    from jaxresearch.records.encryption import read_key

    return read_key(options.encrypt_with)


def shortened(options: Options) -> Options:
    """Returns the options of a smoke run: few steps and at most two seeds or folds; loading cuts the data to match."""
    plain = options.hyperparameters
    lengths = {"n_steps": _SMOKE_STEPS} if hasattr(plain, "n_steps") else {"epochs": 1}
    short = {name: min(limit, getattr(plain, name)) for name, limit in lengths.items()}
    return dataclasses.replace(
        options,
        seeds=options.seeds[:2],
        folds=min(2, options.folds),
        hyperparameters=dataclasses.replace(plain, **short),
    )


def load_data(experiment: Experiment, options: Options, cipher: Any, *, to_choose: bool = False) -> Loaded:
    """Returns the data of a command: split, then fitted on the training part, then transformed in every part.

    Args:
        experiment: As declared.
        options: Of the command.
        cipher: Encrypts cached data.
        to_choose: Whether settings are compared; then a fraction of the training part replaces the test part.
    """
    start = time.perf_counter()
    whole = _collected(experiment, options, cipher)
    collected, dataset = prepare_runs(experiment, options, cipher, whole, to_choose=to_choose)
    return Loaded(collected, dataset, time.perf_counter() - start, whole)


def prepare_runs(
    experiment: Experiment, options: Options, cipher: Any, whole: Dataset, *, to_choose: bool = False
) -> tuple[Dataset, Dataset]:
    """Returns the data of the first run as collected, and the data of all runs as trained on and tested.

    Each fold, each seed of ``--resplit`` and each seed of ``--train-examples`` has its own data. If settings are compared, all
    seeds share the same examples.

    Args:
        experiment: As declared.
        options: Of the command.
        cipher: Encrypts cached data.
        whole: As collected.
        to_choose: As for `load_data`.
    """
    of_runs = _of_runs(experiment, options, cipher, whole, to_choose=to_choose)
    collected = next(of_runs)
    seen = _development(collected) if to_choose else collected
    dataset = _prepared(experiment, options, _with_validation(options, seen))
    own = None if to_choose else options.runs_of
    if own is not None:  # one at a time: besides the first, only one run's collected data is in memory
        prepared = (_prepared(experiment, options, _with_validation(options, one)) for one in of_runs)
        dataset = data.stacked([dataset, *prepared], runs_of=own, seeds=options.seeds)
    return collected, dataset


def _collected(experiment: Experiment, options: Options, cipher: Any) -> Dataset:
    """Returns the collected data; ``collect`` receives the options for reading, and a cipher for what it caches."""
    if options.data is None:
        return experiments.without_data(experiment)
    asked = options.reading | ({} if cipher is None else {"cipher": cipher})
    known = inspect.signature(experiment.collect).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for name in () if takes_all else (name for name in [*asked] if name not in known):
        if name != "cipher" or options.data.startswith("tfds:"):
            raise UsageError(
                f"collect must take {name} for this command, got one that does not. Write: "
                "collect(source, *, target=None, **reading), and pass reading on to data.load."
            )
        asked = {key: value for key, value in asked.items() if key != name}
    if experiment.task is not None and "task" not in asked and (takes_all or "task" in known):
        asked["task"] = experiment.task
    return experiment.collect(options.data, target=options.target, **asked)


def _of_runs(
    experiment: Experiment, options: Options, cipher: Any, whole: Dataset, *, to_choose: bool
) -> Iterator[Dataset]:
    """Yields the collected data of each run: its fold or split, with its training examples."""
    if options.folds:
        for place in range(options.folds):
            yield _few(options, data.fold(whole, place, n_folds=options.folds), 0)
    elif options.resplit:
        _require_drawn(whole.card)
        for seed in options.seeds:
            asked = dataclasses.replace(options, split_seed=seed)
            yield _few(options, _collected(experiment, asked, cipher) if seed else whole, seed)
    elif options.train_examples is None or to_choose:
        yield _few(options, whole, 0)
    else:
        for seed in options.seeds:
            yield _few(options, whole, seed)


def _few(options: Options, collected: Dataset, seed: int) -> Dataset:
    """Returns the data with the requested number of training examples, drawn with a seed."""
    n, n_all = options.train_examples, collected.n_train
    if n is not None and n >= n_all:
        raise UsageError(f"train_examples must be below {n_all}, got {n}. Leave it out to use all.")
    if n is not None:
        collected = collected._replace(train=data.sample(collected.train, n, seed=seed))
    return collected


def _require_drawn(card: data.DataCard) -> None:
    """Raises if the test part was not drawn, so that seeds cannot draw others."""
    if card.in_sample:
        raise UsageError(f"resplit must have a test part to draw, got {card.name}, which holds none out. Leave it out.")
    if card.split.fraction is None:
        raise UsageError(
            f"resplit must have a test part to draw, got {card.name}, which has its own. Leave it out: all seeds share it."
        )
    if card.split.by in ("time", "stretch"):
        raise UsageError(
            f"resplit must have a test part to draw, got {card.name}, which holds out its last examples. Leave it out."
        )


def _with_validation(options: Options, collected: Dataset) -> Dataset:
    """Returns the data with the validation part for training, if requested."""
    if options.validation is None:
        return collected
    if options.validation == "own":
        if collected.validation is None:
            name = collected.card.name
            raise UsageError(
                f"validation must be a fraction for {name}, which has no validation part, got own. Pass --validation 0.1."
            )
        return collected
    if options.data is None:
        raise UsageError(f"validation must be own without data, got {options.validation:g}. Pass --validation own.")
    return data.with_validation(collected, fraction=options.validation)


def _prepared(experiment: Experiment, options: Options, collected: Dataset) -> Dataset:
    """Returns the prepared data of one run; for a smoke run, a few examples."""
    dataset = experiment.prepare(collected)
    if not options.smoke or not dataset.train:
        return dataset
    n_train = _SMOKE_STEPS * (getattr(options.hyperparameters, "batch_size", 0) or dataset.n_train)
    limits = {"train": n_train, "validation": _SMOKE_TEST_EXAMPLES, "test": _SMOKE_TEST_EXAMPLES}
    return dataset._replace(**{name: _drawn(part, limits[name]) for name, part in dataset.parts().items()})


def _drawn(part: Any, n: int) -> Any:
    """Returns n examples of a part, drawn class by class since they may be sorted by class."""
    if isinstance(part, data.Streams):
        return data.Streams({name: _drawn(stream, n) for name, stream in part.items()})
    return data.sample(part, n)


def _development(collected: Dataset) -> Dataset:
    """Returns the data on which settings are compared, without the test part; unchanged without data."""
    return data.development(collected) if collected.train else collected

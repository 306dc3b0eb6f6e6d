"""The common parts of run, sweep and study: from the command line to an open directory, and from errors to one line."""

import contextlib
import dataclasses
import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxresearch import adjust, catalogue, devices, execution, loading, processes, recording, records, studies, variants
from jaxresearch import experiment as experiments
from jaxresearch.cli import compiled, display, workers
from jaxresearch.cli.errors import CommandError, UsageError, described
from jaxresearch.cli.interrupts import NOTHING_RECORDED, saving
from jaxresearch.cli.loaded import Loaded, cipher_of, load_data, meshed, shortened
from jaxresearch.cli.options import OF_PROCESSES, Options, names_of
from jaxresearch.cli.parsing import parse
from jaxresearch.cli.places import from_start, located, shown
from jaxresearch.cli.private import by_unit, privately, statement_of
from jaxresearch.data import Dataset
from jaxresearch.execution import provenance
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check
from jaxresearch.interruption import EXIT_CODE, Interrupted
from jaxresearch.recording import Job
from jaxresearch.statistics import Claim

_ADDED = ("at_once", "query", "parameters")  # configurations of earlier versions lack them
_OF_STUDY = ("rounds", "seconds", "fresh_seeds")  # config.json has them in the budget


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

    def recorder(self, observe: Callable[[Any], None], *, resuming: Callable[[int, int], None]) -> recording.Recorder:
        """Returns the recorder that saves, observes and interrupts this command."""
        observe, interrupted = workers.beating(observe), lambda: bool(self.received)
        return recording.Recorder(self.options.save_every, self.cipher, self.tracked, observe, interrupted, resuming)


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
    configure(words)
    file = file or name
    with one_line(file, code=2):
        _require_backend()
        with workers.connected(), opened(command, name, words, file) as session:
            with workers.connected(), one_line(file, code=1, directory=session.directory):
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
        # Of all processes but the first, the directory of the session is temporary.
        path = session.options.directory or session.path
        raise CommandError(_interruption(path, from_start(path)), code=EXIT_CODE) from None


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


def configure(words: Sequence[str] = ()) -> None:
    """Sets JAX up for a command: one CPU device per core, a compilation cache on disk, other processes; before any array."""
    devices.split_cpu()
    compiled.keep()
    if workers.is_worker():
        with one_line("the processes", code=1):
            workers.join(words)
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
    with contextlib.ExitStack() as held:
        with processes.agreeing():
            declared, sources = loading.load_with_sources(file)
            if command == "study" and declared.adjust is None:
                raise UsageError(
                    f"experiment must declare adjust for a study, got {name} without it. Write: adjust=adjust.grid(...)"
                )
            options = parse(declared, words, command=command, prog=f"jaxresearch {command} {name}")
            options = shortened(options) if options.smoke else options
            held.enter_context(meshed(options))
            declared, options = located(declared, options)
            declared, unclaimed = _about(declared, options, name)
            experiment = dataclasses.replace(by_unit(declared, options), hyperparameters=options.hyperparameters)
            settings = adjust.combinations(options.hyperparameters, options.axes) if options.axes else ()
            for setting in (options.hyperparameters, *settings):
                check(setting)
            cipher = cipher_of(options)
            loaded = load_data(experiment, options, cipher, to_choose=command != "run")
            experiment = experiment.for_data(loaded.dataset)
            if command == "study":
                studies.objective_of(experiment)
            try:
                _require_plans(loaded.dataset, options, settings, declared.hyperparameters)
            except ValueError:
                if loaded.dataset.train:
                    display.print_data(_config(name, options, loaded.dataset, declared.claim))
                raise
            _require_runs(options, settings)
            job = job_of(experiment, options, loaded)
            first = settings[0] if settings else options.hyperparameters
            dataclasses.replace(job, hyperparameters=first).preflight()
            if options.private:
                execution.require_mean(experiment, first, loaded.dataset, name="--private")
            kind = "" if command == "run" else f"-{command}"
            path = options.directory or Path("runs") / f"{Path(name).stem}{kind}-{datetime.now():%Y%m%d-%H%M%S}"
            name = catalogue.located(name)
            own, *beside = sources  # kept under the recorded name, whichever file was passed with --experiment
            sources = {catalogue.file_of(name).name: sources[own], **{one: sources[one] for one in beside}}
            config = {**_config(name, options, loaded.dataset, declared.claim), **records.sealed(name, sources)}
            if options.private:
                baseline = (options.hyperparameters,)
                trained = (*settings, *baseline * (2 - (baseline[0] in settings))) if settings else baseline
                config["privacy"] = statement_of(options, experiment, loaded, trained)
            environment = records.environment(seeds=options.named_seeds)
        workers.require_same(config, job)
        lines = (
            functools.partial(_resumes_from, path, command),
            functools.partial(_interruption, path, from_start(path)),
        )
        received = held.enter_context(saving(*lines))
        opening = workers.directory(path, config, environment, is_new=options.directory is None)
        directory = held.enter_context(opening)
        held.enter_context(recording.guarded(directory))
        if directory.is_new:
            records.keep_sources(directory, sources)
        track = options.track if processes.is_main() else ()
        tracked = records.tracking(track, directory.path, experiment=Path(name).stem)
        if options.private:
            is_new = not directory.has_progress
            found, _ = processes.from_main(
                lambda: (records.noise_secret(directory.path, cipher=cipher, is_new=is_new), None), None
            )
            secret = (found[0], found[1])  # through JSON, if there are several processes
            job = job_of(experiment, options, loaded, secret=secret)
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


def _resumes_from(path: Path, command: str) -> str:
    """Returns from where a command would resume if it ended now."""
    steps = records.Checkpoints(path).steps()
    return f"step {steps[-1]:,}" if steps else "the start" if command == "run" else "what is recorded"


def _interruption(path: Path, shown_path: Path) -> str:
    """Returns the last line of an interrupted command, with its directory as it is shown."""
    if not path.exists():
        return NOTHING_RECORDED
    steps = records.Checkpoints(path).steps()
    saved = f"saved at step {steps[-1]:,}; " if steps else ""
    is_alone = jax.process_count() == 1
    resume = f"resume with: {records.resume_command(shown_path)}" if is_alone else "repeat the command to resume"
    return f"interrupted; {saved}{resume}"


def job_of(experiment: Experiment, options: Options, loaded: Loaded, *, secret: tuple[int, int] | None = None) -> Job:
    """Returns the job that options ask for; a private one draws its noise with the secret."""
    if options.private:
        experiment = privately(experiment, options, secret=secret)
    elif options.accumulate is not None:
        experiment = variants.accumulated(experiment, n_micro_batches=options.accumulate, name="--accumulate")
    if options.at_once is not None:
        experiment = dataclasses.replace(experiment, at_once=options.at_once)
    return Job(
        experiment=experiment,
        hyperparameters=options.hyperparameters,
        dataset=loaded.dataset,
        seeds=options.seeds,
        evaluate_every=options.looks_every,
        collected=loaded.collected,
    )


def untrained(command: str, name: str, words: list[str]) -> tuple[Options, Job]:
    """Returns the options of a command that trains nothing, and the job it is about, with its data."""
    experiment, options, loaded = read(command, name, words)
    return options, job_of(experiment, options, loaded)


def read(command: str, name: str, words: list[str]) -> tuple[Experiment, Options, Loaded]:
    """Returns the experiment as declared, the options of a command that keeps no states, and the data."""
    declared, _ = loading.load_with_sources(name)
    options = parse(declared, words, command=command, prog=f"jaxresearch {command} {name}")
    experiment, options = located(declared, options)
    check(options.hyperparameters)
    loaded = load_data(experiment, options, None)
    _require_plans(loaded.dataset, options, (), declared.hyperparameters)
    return experiment, options, loaded


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
    return variants.without_claim(experiment, question=question), line


def _sizes(command: str, dataset: Dataset) -> dict[str, int]:
    """Returns the number of examples of each part; in a sweep or study, the selection part replaces the test part."""
    sizes = {part: dataset.sizes(part)[0] for part in dataset.parts()}
    return sizes if command == "run" else {{"test": "selection"}.get(part, part): n for part, n in sizes.items()}


def _require_plans(dataset: Dataset, options: Options, settings: tuple[Any, ...], default: Any) -> None:
    """Raises if a setting does not fit the data; the message mentions data held out to compare settings."""
    try:
        for setting in settings or (options.hyperparameters,):
            _require_default_batch(setting, default, dataset.n_train)
            size = experiments.plan(setting, dataset.n_train).batch_size
            if size % (options.accumulate or 1) and not options.private:  # places of a private batch are padded
                raise UsageError(
                    f"accumulate must divide the batch of {size} examples, got {options.accumulate}. Pass a divisor of {size}."
                )
    except ValueError as error:
        if options.command not in ("sweep", "study"):
            raise
        held_out = "Part of the training data is held out to compare settings."
        raise UsageError(f"{error} {held_out}") from error


def _require_runs(options: Options, settings: tuple[Any, ...]) -> None:
    """Raises if more runs are to be trained at a time than a device has; the rounds of a study differ in their runs."""
    if options.at_once is None or options.smoke or options.command == "study":
        return
    baseline = [options.hyperparameters] * (2 if settings else 1)  # a sweep trains it with other seeds, too
    n_runs = len(options.seeds) * max(map(len, provenance.groups([*settings, *baseline])))
    if options.at_once > (n_each := devices.runs_per_device(n_runs)):
        raise UsageError(
            f"at_once must be between 1 and {n_each}, the runs of a device, got {options.at_once}. Leave it out to choose."
        )


def _require_default_batch(hyperparameters: Any, default: Any, n_train: int) -> None:
    """Raises if the training part is smaller than the batch size that the experiment declares."""
    size = getattr(hyperparameters, "batch_size", 0)
    if 0 < n_train < size == default.batch_size:
        fitting = 2 ** (max(n_train // 2, 1).bit_length() - 1)
        raise UsageError(
            f"batch_size must be between 1 and {n_train}, the examples of the training part, got the default {size}. Pass "
            f"--batch-size {fitting}."
        )


def _config(name: str, options: Options, dataset: Dataset, claim: Claim | None) -> dict[str, Any]:
    """Returns ``config.json``."""
    left_out = ("directory", *_OF_STUDY, *OF_PROCESSES)
    left_out = (*left_out, *(name for name in _ADDED if not getattr(options, name)))
    names = [option for option in names_of(options.command) if option not in left_out]
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

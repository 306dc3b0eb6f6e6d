"""A run that is saved on the way, resumed from its newest state, and written down at its end."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxresearch import algorithms, data, execution, records
from jaxresearch.data import Dataset
from jaxresearch.execution import Keeping, Outcome, Progress, Start, diagnosis, provenance
from jaxresearch.experiment import Experiment
from jaxresearch.interruption import Interrupted
from jaxresearch.recording.influences import EXAMPLES, influences_of
from jaxresearch.records import Checkpoints, RunDirectory
from jaxresearch.records.checkpoints import Restored
from jaxresearch.training import State

FITTED = "fitted.npz"
OnNonFinite = Literal["stop", "skip"]


class NonFiniteError(ValueError):
    """A training metric that is not finite; the message is one line.

    Attributes:
        run: Index of the seed.
        step: Steps made before.
        metric: Its name.
    """

    def __init__(self, run: int, step: int, metric: str, message: str = ""):
        super().__init__(message)
        self.run, self.step, self.metric = run, step, metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained: an experiment with its settings, its preprocessed data and its seeds.

    ``evaluate_every`` is that of `jaxresearch.execution.execute`; ``collected`` is the data as collected, for the experiment's
    report.
    """

    experiment: Experiment
    hyperparameters: Any
    dataset: Dataset
    seeds: tuple[int, ...]
    evaluate_every: int | None = None
    collected: Dataset | None = None

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of program, numbers, seeds and data."""
        found = provenance.digests(
            self.experiment,
            [self.hyperparameters],
            self.dataset,
            seeds=self.seeds,
            evaluate_every=self.evaluate_every,
        )
        return found[0]

    @functools.cached_property
    def fitted(self) -> dict[str, np.ndarray]:
        """What was estimated on the training part (of each fold), as named arrays."""
        fitted = self.dataset.fitted
        return data.flat({str(place): one for place, one in enumerate(fitted)} if self.dataset.n_runs else fitted)

    def preflight(self) -> None:
        """Raises what would fail in this job, as `jaxresearch.execution.preflight`."""
        execution.preflight(
            self.experiment,
            self.hyperparameters,
            self.dataset,
            seeds=self.seeds,
            evaluate_every=self.evaluate_every,
            collected=self.collected,
        )


class Recorder(NamedTuple):
    """How often a run is saved, with which cipher, and who observes and interrupts it.

    ``interrupted()`` is asked after each chunk of steps; once it is true, the run is saved and `Interrupted` raised.
    """

    save_every: int | float = 60.0
    cipher: Any = None
    tracked: records.Tracking = records.Tracking({})
    observe: Callable[[Progress], None] = lambda progress: None
    interrupted: Callable[[], bool] = lambda: False


class Trained(NamedTuple):
    """The outcome of a run, and its steps that were not finite."""

    outcome: Outcome
    events: list[dict[str, Any]]


def train(directory: RunDirectory, job: Job, recorder: Recorder, *, on_nonfinite: OnNonFinite = "stop") -> Trained:
    """Trains a job from its newest saved state and returns the outcome, which is saved before it is evaluated.

    Args:
        directory: Gets the lines of ``metrics.jsonl`` and the checkpoints.
        job: What is trained.
        recorder: How it is saved and observed.
        on_nonfinite: Whether to stop at a step that is not finite, or to skip it.

    Raises:
        NonFiniteError: At a step that is not finite; its inputs are in ``nonfinite.npz`` then.
        CheckpointError: If no state that was saved verifies, or one cannot be written.
        ValueError: If the saved state belongs to another program.
        Interrupted: After saving, if the recorder is interrupted.
    """
    if on_nonfinite == "skip":
        job = dataclasses.replace(job, experiment=_skipping(job.experiment))
    checkpoints = Checkpoints(directory.path, cipher=recorder.cipher)
    like = execution.blank_state(
        job.experiment, job.hyperparameters, job.dataset, n_runs=len(job.seeds), evaluate_every=job.evaluate_every
    )
    about = {"fitted": data.digest(job.fitted)}
    with resumed(checkpoints, like, recorder, program=lambda: job.digest, about=about) as (start, keeping, seconds):
        if job.fitted:
            directory.write_arrays(FITTED, job.fitted, cipher=recorder.cipher)
        step = start.step if start else 0
        directory.cut_metrics(step)
        recorder.tracked.begin(dataclasses.asdict(job.hyperparameters), step=step)
        observer = _Observer(directory, job, recorder, on_nonfinite, seconds)
        try:
            outcome = execution.execute(
                job.experiment,
                job.hyperparameters,
                job.dataset,
                seeds=job.seeds,
                evaluate_every=job.evaluate_every,
                observe=observer,
                start=start,
                keeping=keeping,
            )
        except NonFiniteError as error:
            checkpoints.wait()
            saved = _restored(checkpoints, like, lambda: job.digest)
            raise _explained(directory, job, recorder.cipher, error, saved) from None
    if held := influences_of(job.dataset, job.seeds, outcome):
        directory.write_arrays(EXAMPLES, held, cipher=recorder.cipher)
    return Trained(outcome, observer.events)


def _skipping(experiment: Experiment) -> Experiment:
    """Returns the experiment whose steps are skipped where they are not finite."""
    plain = experiment.algorithm
    return dataclasses.replace(experiment, algorithm=lambda *args: algorithms.skipping(plain(*args)))


class _Observer:
    """Writes each chunk of steps and each look at validation data into ``metrics.jsonl``, and to the trackers."""

    def __init__(
        self, directory: RunDirectory, job: Job, recorder: Recorder, on_nonfinite: OnNonFinite, seconds: float
    ):
        self._directory, self._job, self._recorder = directory, job, recorder
        self._on_nonfinite, self._seconds = on_nonfinite, seconds
        self.events: list[dict[str, Any]] = directory.events()

    def __call__(self, progress: Progress) -> None:
        """Records the chunk; raises `NonFiniteError` at a step that is not finite, unless it was skipped."""
        self._recorder.observe(progress)
        means = {f"train/{name}": values.mean(axis=-1) for name, values in progress.metrics.items()}
        seen = {f"validation/{name}": values for name, values in progress.validation.items()}
        at = {"step": progress.step, "seconds": self._seconds + progress.seconds}
        events, error = self._nonfinite(progress)
        self._directory.append_metrics({**at, **means, **({"nonfinite": events} if events else {})})
        if seen:
            self._directory.append_metrics({**at, **seen})
        scalars = {name: values for name, values in seen.items() if np.ndim(values) == 1}
        self._recorder.tracked.log(progress.step, means | scalars)
        self.events += events
        if error is not None:
            raise error

    def _nonfinite(self, progress: Progress) -> tuple[list[dict[str, Any]], NonFiniteError | None]:
        """Returns the events of a chunk: the first step that is not finite, or the skipped steps of each seed."""
        seeds, n_steps = self._job.seeds, next(iter(progress.metrics.values())).shape[1] if progress.metrics else 0
        first = progress.step - n_steps
        if self._on_nonfinite == "skip":
            skipped = enumerate(progress.metrics["skipped"] > 0)
            return [
                {"seed": seeds[run], "step": first + int(np.argmax(steps)), "done": "skip", "n_steps": int(steps.sum())}
                for run, steps in skipped
                if steps.any()
            ], None
        bad = diagnosis.first_nonfinite(progress.metrics)
        if bad is None:
            return [], None
        run, place, metric = bad
        step = first + place
        return [{"seed": seeds[run], "step": step, "done": "stop"}], NonFiniteError(run, step, metric)


class _Saver:
    """Saves a state in the background once the last one is old enough, and at an interruption, to end the run."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        recorder: Recorder,
        program: Callable[[], str],
        seconds: float,
        about: dict[str, Any],
    ):
        self._checkpoints, self._recorder, self._program, self._of_job = checkpoints, recorder, program, about
        self._start, self._last = time.monotonic() - seconds, time.monotonic()
        self._is_interrupted = False

    def due(self) -> bool:
        """Returns whether it is time to save."""
        self._is_interrupted = self._recorder.interrupted()
        waited = time.monotonic() - self._last
        return self._is_interrupted or (waited >= self._recorder.save_every and not self._checkpoints.is_saving)

    def keep(self, step: int, state: State) -> None:
        """Saves the state; raises `Interrupted` once it is saved if the run was interrupted."""
        if self._is_interrupted:
            self._checkpoints.wait()
            self._checkpoints.write(step, state, about=self._about())
            raise Interrupted
        self._checkpoints.write_in_background(step, state, about=self._about)
        self._last = time.monotonic()

    def end(self, step: int, state: State) -> None:
        """Saves the outcome; its program may change afterwards, so that a mistake in its evaluation can be fixed."""
        self._checkpoints.wait()
        self._checkpoints.write(step, state, about={**self._of_job, "seconds": self._seconds(), "ended": True})

    def _about(self) -> dict[str, Any]:
        """Returns the entries of a manifest."""
        return {**self._of_job, "seconds": self._seconds(), "program": self._program()}

    def _seconds(self) -> float:
        """Returns the seconds of all processes of the run."""
        return time.monotonic() - self._start


@contextlib.contextmanager
def resumed(
    checkpoints: Checkpoints,
    like: State,
    recorder: Recorder,
    *,
    program: Callable[[], str],
    about: dict[str, Any] | None = None,
) -> Iterator[tuple[Start | None, Keeping, float]]:
    """Gives the newest saved state (None at the start), how states are kept, and the seconds spent before.

    A state that is being written in the background is waited for at the end of the block.
    """
    found = _restored(checkpoints, like, program)
    if found is not None and "fitted" in found.about and found.about["fitted"] != (about or {}).get("fitted"):
        raise ValueError(
            f"what is fitted to the training part has changed since step {found.step} of {checkpoints.folder.parent}: its data, "
            "or its preprocessing. Restore them, or name another --directory."
        )
    seconds = found.about.get("seconds", 0.0) if found else 0.0
    has_ended = bool(found and found.about.get("ended"))
    saver = _Saver(checkpoints, recorder, program, seconds, about or {})
    end = (lambda step, state: None) if has_ended else saver.end
    try:
        yield Start(found.step, found.state, has_ended) if found else None, Keeping(saver.due, saver.keep, end), seconds
    except BaseException:
        with contextlib.suppress(records.CheckpointError):
            checkpoints.wait()
        raise
    checkpoints.wait()


def _restored(checkpoints: Checkpoints, like: State, program: Callable[[], str]) -> Restored | None:
    """Returns the newest state that verifies; raises if it belongs to another program."""
    found = checkpoints.restore(like)
    if found is not None and found.about.get("program", "") not in ("", program()):
        raise ValueError(
            f"the program of the experiment has changed since step {found.step} of {checkpoints.folder.parent}: its model, "
            "loss, optimizer, metrics or data. Restore it, or name another --directory."
        )
    return found


@contextlib.contextmanager
def guarded(directory: RunDirectory) -> Iterator[None]:
    """Removes a new directory if the block fails before anything was recorded; names the safe step if the disk fails."""
    try:
        yield
    except BaseException as error:
        if directory.is_new and not directory.has_progress:
            directory.discard()
            raise
        if not isinstance(error, OSError | records.CheckpointError):
            raise
        steps = Checkpoints(directory.path).steps()
        resume = records.resume_command(directory.path)
        safe = f"step {steps[-1]} is safe; resume with: {resume}" if steps else "no step was saved"
        raise OSError(f"{directory.path} could not be read or written ({error}); {safe}") from error


def _explained(
    directory: RunDirectory, job: Job, cipher: Any, error: NonFiniteError, saved: Restored | None
) -> NonFiniteError:
    """Returns the error with the first bad array, after writing the inputs of its step to ``nonfinite.npz``."""
    start = Start(saved.step, saved.state) if saved is not None and saved.step <= error.step else None
    found = diagnosis.diagnose(
        job.experiment,
        job.hyperparameters,
        job.dataset,
        seeds=job.seeds,
        run=error.run,
        step=error.step,
        evaluate_every=job.evaluate_every,
        start=start,
    )
    paths = jax.tree_util.tree_leaves_with_path(found.inputs)
    named = {jax.tree_util.keystr(path): leaf for path, leaf in paths}
    name = directory.write_arrays("nonfinite.npz", named, cipher=cipher)
    bad = f"the first bad array is {found.leaf}" if found.leaf else "no array is bad when the step is rerun alone"
    message = (
        f"{error.metric} of seed {job.seeds[error.run]} is not finite in step {error.step + 1:,}; {bad} in step "
        f"{found.step + 1:,}, whose inputs are in {directory.path / name}. Lower the learning rate, clip the gradient, or pass "
        "--on-nonfinite skip."
    )
    return NonFiniteError(error.run, error.step, error.metric, message)

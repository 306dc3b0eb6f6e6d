"""Run an experiment with checkpoints, and resume it from the newest one."""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxresearch import algorithms, data, execution, records
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset
from jaxresearch.execution import Divergence, Keeping, Outcome, Progress, Start, diagnosis, divergence, provenance
from jaxresearch.experiment import Experiment
from jaxresearch.recording.influences import EXAMPLES, influences_of
from jaxresearch.recording.lines import values_of
from jaxresearch.recording.saving import Recorder, restored, resumed
from jaxresearch.records import FITTED, Checkpoints, RunDirectory
from jaxresearch.records.checkpoints import Restored
from jaxresearch.training import State

OnNonFinite = Literal["stop", "skip"]


class NonFiniteError(ValueError):
    """A training metric is not finite; the message is one line.

    Attributes:
        run: Index of the seed.
        step: Number of steps before.
        metric: Its name.
    """

    def __init__(self, run: int, step: int, metric: str, message: str = ""):
        super().__init__(message)
        self.run, self.step, self.metric = run, step, metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained: an experiment with its settings, its preprocessed data and its seeds.

    ``evaluate_every`` is as for `jaxresearch.execution.execute`; ``collected`` is the data as collected, for the experiment's
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

    @property
    def blank_state(self) -> State:
        """The shapes and types of the state of all seeds; nothing is computed."""
        n_runs = len(self.seeds)
        return execution.blank_state(
            self.experiment, self.hyperparameters, self.dataset, n_runs=n_runs, evaluate_every=self.evaluate_every
        )

    def preflight(self) -> None:
        """Raises the errors of this job before training: `jaxresearch.execution.preflight`."""
        execution.preflight(
            self.experiment,
            self.hyperparameters,
            self.dataset,
            seeds=self.seeds,
            evaluate_every=self.evaluate_every,
            collected=self.collected,
        )


class Trained(NamedTuple):
    """The outcome of a run, its steps that were not finite, and the SHA-256 of ``examples.npz``, if there is one.

    ``unsaved`` lists what could not be written, and why.
    """

    outcome: Outcome
    events: list[dict[str, Any]]
    examples: str | None = None
    unsaved: tuple[str, ...] = ()


def train(
    directory: RunDirectory,
    job: Job,
    recorder: Recorder,
    *,
    on_nonfinite: OnNonFinite = "stop",
    fail_fast: bool = False,
) -> Trained:
    """Trains a job from its newest saved state and returns the outcome, which is saved before it is evaluated.

    An outcome that cannot be saved is still evaluated and returned.

    Args:
        directory: Gets the lines of ``metrics.jsonl`` and the checkpoints.
        job: What is trained.
        recorder: How it is saved and observed.
        on_nonfinite: What to do if a step is not finite: stop its seed and train the others, or skip the step.
        fail_fast: Whether the first seed that diverges ends the run.

    Raises:
        NonFiniteError: Once all seeds have diverged, or the first with ``fail_fast``. The inputs of the first step that was not
            finite are in ``nonfinite.npz``.
        CheckpointError: If no saved state verifies, or an intermediate one cannot be written.
        MismatchError: If the saved state belongs to another program.
        Interrupted: After saving, if the recorder is interrupted.
    """
    if on_nonfinite == "skip":
        job = dataclasses.replace(job, experiment=skipping(job.experiment))
    checkpoints = Checkpoints(directory.path, cipher=recorder.cipher)
    like = job.blank_state
    fitted = records.fitted_arrays(job.dataset)
    about = {"fitted": data.digest(fitted)}
    n_steps = experiments.plan(job.hyperparameters, job.dataset.n_train).n_steps
    with resumed(checkpoints, like, recorder, n_steps=n_steps, program=lambda: job.digest, about=about) as resumption:
        start, keeping, seconds, recorder = resumption
        if fitted:
            directory.write_arrays(FITTED, fitted, cipher=recorder.cipher)
        step = start.step if start else 0
        directory.cut_metrics(step)
        recorder.tracked.begin(dataclasses.asdict(job.hyperparameters), step=step)

        def diagnosed(bad: Divergence) -> str:
            checkpoints.wait()
            saved = restored(checkpoints, like, lambda: job.digest)
            return _diagnosed(directory, job, recorder.cipher, bad, saved)

        unsaved: list[str] = []

        def attempt(write: Callable[..., Any], *args: Any, **options: Any) -> None:
            try:
                write(*args, **options)
            except (OSError, records.CheckpointError) as error:
                unsaved.append(str(error))

        def keep(step: int, state: State) -> None:
            directory.sync_metrics()  # the lines before a state reach the disk before it
            keeping.keep(step, state)

        def end(step: int, state: State) -> None:
            attempt(directory.sync_metrics)
            attempt(keeping.end, step, state)

        observer = _Observer(directory, job, recorder, on_nonfinite, seconds, diagnosed, fail_fast=fail_fast)
        observer.add_lost(start.diverged if start else ())
        try:
            outcome = execution.execute(
                job.experiment,
                job.hyperparameters,
                job.dataset,
                seeds=job.seeds,
                evaluate_every=job.evaluate_every,
                observe=observer,
                start=start,
                keeping=Keeping(keeping.due, keep, end),
            )
            observer.close(outcome)
        except NonFiniteError as error:
            raise observer.explained(error) from None
    held = influences_of(job.dataset, job.seeds, outcome)
    if held:
        attempt(directory.write_arrays, EXAMPLES, held, cipher=recorder.cipher)
    attempt(directory.sync_metrics)
    return Trained(outcome, observer.events, data.digest(held) if held else None, tuple(dict.fromkeys(unsaved)))


def skipping(experiment: Experiment) -> Experiment:
    """Returns the experiment with steps that are not finite skipped."""
    plain = experiment.algorithm
    return dataclasses.replace(experiment, algorithm=lambda *args: algorithms.skipping(plain(*args)))


class _Observer:
    """Writes each chunk of steps and each validation to ``metrics.jsonl`` and to the trackers.

    A seed that diverges adds an event there and a warning; its metrics are undefined from then on.
    """

    def __init__(
        self,
        directory: RunDirectory,
        job: Job,
        recorder: Recorder,
        on_nonfinite: OnNonFinite,
        seconds: float,
        diagnosed: Callable[[Divergence], str],
        *,
        fail_fast: bool,
    ):
        self._fail_fast = fail_fast
        self._directory, self._job, self._recorder = directory, job, recorder
        self._on_nonfinite, self._seconds, self._diagnosed = on_nonfinite, seconds, diagnosed
        self.events: list[dict[str, Any]] = directory.events()

    def add_lost(self, diverged: tuple[Divergence, ...]) -> None:
        """Adds the events of seeds that diverged before a checkpoint, if their lines of ``metrics.jsonl`` were lost."""
        self.events += self._masked(self._new(diverged))

    def __call__(self, progress: Progress) -> None:
        """Records the chunk; raises `NonFiniteError` once all seeds have diverged, or the first with ``fail_fast``."""
        self._recorder.observe(progress)
        diverged = divergence.among(progress.diverged, len(self._job.seeds))
        trained, validated = values_of(progress, len(self._job.seeds))
        at = {"step": progress.step, "seconds": self._seconds + progress.seconds}
        new = self._new(progress.diverged)
        has_ended = bool(new) and (self._fail_fast or bool(diverged.all()))
        events = self._skipped(progress) if self._on_nonfinite == "skip" else self._masked(new, has_ended=has_ended)
        if not has_ended:
            self._warn(new, len(progress.diverged))
        self._directory.append_metrics({**at, **trained, **({"nonfinite": events} if events else {})})
        if validated:
            self._directory.append_metrics({**at, **validated})
        scalars = {name: values for name, values in validated.items() if np.ndim(values) == 1}
        self._recorder.tracked.log(progress.step, trained | scalars)
        self.events += events
        if has_ended:
            raise NonFiniteError(*new[0])

    def close(self, outcome: Outcome) -> None:
        """Records the seeds whose outcome is not finite although their training metrics were; raises as for a chunk."""
        if new := self._new(outcome.diverged):
            if not self._fail_fast:
                self._warn(new, len(outcome.diverged))
            events, seconds = self._masked(new, has_ended=self._fail_fast), self._seconds + outcome.seconds["train"]
            self._directory.append_metrics({"step": outcome.step, "seconds": seconds, "nonfinite": events})
            self.events += events
            if self._fail_fast:
                raise NonFiniteError(*new[0])

    def explained(self, error: NonFiniteError) -> NonFiniteError:
        """Returns the error with a one-line explanation."""
        bad = Divergence(error.run, error.step, error.metric)
        all_have = f"all {len(self._job.seeds)} {self._kind}s have diverged"
        why = all_have if self._is_diagnosed else self._diagnosed(bad)
        others = "leave out --fail-fast to train the others" if self._fail_fast else "pass --on-nonfinite skip"
        message = f"{self._description(bad)}; {why}. Lower the learning rate, clip the gradient, or {others}."
        return NonFiniteError(*bad, message)

    @property
    def _kind(self) -> str:
        """The noun for a run: seed, fold ..."""
        return "fold" if self._job.dataset.n_folds else "seed"

    @property
    def _is_diagnosed(self) -> bool:
        """Whether a seed has diverged before, which was diagnosed."""
        return any(event["done"] == "masked" for event in self.events)

    def _new(self, diverged: tuple[Divergence, ...]) -> list[Divergence]:
        """Returns the divergences that are not on record."""
        known = {event["seed"] for event in self.events if event["done"] in ("masked", "stop")}
        return [one for one in diverged if self._job.seeds[one.run] not in known]

    def _masked(self, diverged: list[Divergence], *, has_ended: bool = False) -> list[dict[str, Any]]:
        """Returns the events of seeds that diverged."""
        done = "stop" if has_ended else "masked"
        return [{"seed": self._job.seeds[one.run], "step": one.step, "done": done} for one in diverged]

    def _skipped(self, progress: Progress) -> list[dict[str, Any]]:
        """Returns the events of seeds with skipped steps."""
        first = progress.step - progress.metrics["skipped"].shape[1]
        return [
            {"seed": seed, "step": first + int(np.argmax(steps)), "done": "skip", "n_steps": int(steps.sum())}
            for seed, steps in zip(self._job.seeds, progress.metrics["skipped"] > 0, strict=True)
            if steps.any()
        ]

    def _warn(self, new: list[Divergence], n_diverged: int) -> None:
        """Warns of each seed that diverged; the first of the whole run is diagnosed."""
        n_left, is_diagnosed = len(self._job.seeds) - n_diverged, self._is_diagnosed
        unaffected = f"the other {n_left} {self._kind}s are" if n_left > 1 else f"the other {self._kind} is"
        others = f"; {unaffected} not affected" if n_left else ""
        for place, bad in enumerate(new):
            why = ""
            if not is_diagnosed and not place:
                try:
                    why = f"; {self._diagnosed(bad)}"
                except records.CheckpointError:  # from saving a state, or from a failing disk
                    raise
                except Exception as error:  # a failed diagnosis must not stop the other seeds
                    why = f"; its diagnosis failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
            seed = f"{self._kind} {self._job.seeds[bad.run]}"
            warnings.warn(f"{self._description(bad)}{why}. The results of {seed} are undefined{others}.", stacklevel=3)

    def _description(self, bad: Divergence) -> str:
        """Returns what was not finite, in which seed and step."""
        return f"{bad.metric} of {self._kind} {self._job.seeds[bad.run]} is not finite in step {bad.step + 1:,}"


def _diagnosed(directory: RunDirectory, job: Job, cipher: Any, bad: Divergence, saved: Restored | None) -> str:
    """Returns the cause of a non-finite step, after writing its inputs to ``nonfinite.npz``."""
    start = Start(saved.step, saved.state) if saved is not None and saved.step <= bad.step else None
    found = diagnosis.diagnose(
        job.experiment,
        job.hyperparameters,
        job.dataset,
        seeds=job.seeds,
        run=bad.run,
        step=bad.step,
        evaluate_every=job.evaluate_every,
        start=start,
    )
    paths = jax.tree_util.tree_leaves_with_path(found.inputs)
    named = {jax.tree_util.keystr(path): leaf for path, leaf in paths}
    name = directory.write_arrays("nonfinite.npz", named, cipher=cipher)
    leaf = f"the first bad array is {found.leaf}" if found.leaf else "no array is bad when the step is rerun alone"
    return f"{leaf} in step {found.step + 1:,}, whose inputs are in {directory.path / name}"

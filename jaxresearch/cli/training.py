"""The training of a run: shown, recorded, saved on the way, gone on with, and stopped or mended where it is not finite."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxresearch import execution, records, training
from jaxresearch.cli import display
from jaxresearch.cli.options import Options
from jaxresearch.cli.saving import going_on, restored
from jaxresearch.data import Dataset
from jaxresearch.execution import Keeping, Outcome, Progress, diagnosis, provenance
from jaxresearch.experiment import Experiment
from jaxresearch.training import TrainState

_MOST_ROLLBACKS = 3  # to the same state, one after another: beyond that nothing is gained


class NonFiniteError(ValueError):
    """A loss that is not finite: of which run, after how many steps, seen in which chunk; the message is one line."""

    def __init__(self, run: int, step: int, progress: Progress, message: str = ""):
        super().__init__(message)
        self.run, self.step, self.progress = run, step, progress


def train(
    experiment: Experiment,
    options: Options,
    dataset: Dataset,
    directory: records.RunDirectory,
    checkpoints: records.Checkpoints,
    tracked: records.Tracking,
    came: list[int],
) -> tuple[Outcome, list[dict[str, Any]]]:
    """Returns the outcome, from the newest state that was saved, and the steps that were not finite and what was done."""
    settings, seeds = options.hyperparameters, range(options.seeds)
    if options.on_nonfinite == "skip":
        experiment = dataclasses.replace(experiment, step=_skipping(experiment.step))

    @functools.cache
    def program() -> str:
        return provenance.digests(experiment, [settings], dataset, seeds=seeds)[0]

    like = execution.blank_state(experiment, settings, dataset, n_runs=len(seeds))
    every = 0.0 if options.on_nonfinite == "rollback" else options.save_every
    with (
        going_on(checkpoints, like, program=program, every=every, came=came) as (found, keeping),
        display.Display(display.console()) as shown,
    ):
        if options.on_nonfinite == "rollback":
            keeping = _waiting(keeping, checkpoints)
        directory.cut_metrics(found.step if found else 0)
        tracked.begin(dataclasses.asdict(settings), step=found.step if found else 0)
        seconds = found.about.get("seconds", 0.0) if found else 0.0
        events: list[dict[str, Any]] = directory.events()
        undone: list[Progress] = []  # the last chunk before each rollback

        def observe(progress: Progress) -> None:
            shown.show(progress)
            means = {f"train/{name}": values.mean(axis=-1) for name, values in progress.metrics.items()}
            spent = seconds + sum(chunk.seconds for chunk in undone) + progress.seconds
            line = {"step": progress.step, "seconds": spent, **means}
            tracked.log(progress.step, means)
            found = _events(progress, options.on_nonfinite)
            directory.append_metrics({**line, "nonfinite": found} if found else line)
            events.extend(found)
            if found and options.on_nonfinite != "skip":
                raise NonFiniteError(found[0]["seed"], found[0]["step"], progress)

        start = (found.step, found.state) if found else None
        rolled_back: list[int] = []
        while True:
            try:
                outcome = execution.execute(
                    experiment, settings, dataset, seeds=seeds, observe=observe, start=start, keeping=keeping
                )
                return _of_all_stretches(outcome, undone, found.step if found else 0), events
            except NonFiniteError as error:
                checkpoints.wait()
                saved = restored(checkpoints, like, program=program)
                if (
                    options.on_nonfinite == "stop"
                    or saved is None
                    or rolled_back[-_MOST_ROLLBACKS:] == [saved.step] * _MOST_ROLLBACKS
                ):
                    before = (saved.step, saved.state) if saved is not None and saved.step <= error.step else None
                    raise _explained(experiment, options, dataset, directory, checkpoints, error, before) from None
                rolled_back.append(saved.step)
                undone.append(error.progress)
                start = (error.progress.step, _moved(saved.state, error.progress.step))


def _of_all_stretches(outcome: Outcome, undone: list[Progress], resumed_from: int) -> Outcome:
    """Returns the outcome with what was spent before its last rollback too."""
    seconds = {
        **outcome.seconds,
        "compile": outcome.seconds["compile"] + sum(chunk.compile_seconds for chunk in undone),
        "train": outcome.seconds["train"] + sum(chunk.seconds for chunk in undone),
    }
    n_compilations = outcome.n_compilations + sum(chunk.n_compilations for chunk in undone)
    return outcome._replace(seconds=seconds, n_compilations=n_compilations, resumed_from=resumed_from)


def _events(progress: Progress, how: str) -> list[dict[str, Any]]:
    """Returns the steps of a chunk that were not finite: the first of all, or of each seed whose steps were skipped."""
    first = progress.step - progress.metrics["loss"].shape[1]
    if how == "skip":
        skipped = progress.metrics["skipped"] > 0
        return [
            {"seed": seed, "step": first + int(np.argmax(steps)), "done": how, "n_steps": int(steps.sum())}
            for seed, steps in enumerate(skipped)
            if steps.any()
        ]
    bad = diagnosis.first_nonfinite(progress.metrics["loss"])
    return [] if bad is None else [{"seed": bad[0], "step": first + bad[1], "done": how}]


def _skipping(step: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the stage whose steps are skipped where they are not finite."""
    return lambda estimator, optimizer: training.skipping(step(estimator, optimizer))


def _waiting(keeping: Keeping, checkpoints: records.Checkpoints) -> Keeping:
    """Returns the keeping that saves every finite state, so that what is gone back to does not depend on the clock."""

    def due() -> bool:
        checkpoints.wait()
        return keeping.due()

    def keep(step: int, state: TrainState) -> None:
        if diagnosis.is_finite(state):  # else an update was not, whose loss the next step would have shown
            keeping.keep(step, state)

    return Keeping(due, keep)


def _moved(state: TrainState, step: int) -> TrainState:
    """Returns the state as if the steps up to this one had changed nothing."""
    return state._replace(step=np.full_like(state.step, step))


def _explained(
    experiment: Experiment,
    options: Options,
    dataset: Dataset,
    directory: records.RunDirectory,
    checkpoints: records.Checkpoints,
    error: NonFiniteError,
    start: tuple[int, TrainState] | None,
) -> NonFiniteError:
    """Returns the error with the step and its first bad array, after writing the step's inputs to ``nonfinite.npz``."""
    found = diagnosis.diagnose(
        experiment,
        options.hyperparameters,
        dataset,
        seeds=range(options.seeds),
        run=error.run,
        step=error.step,
        start=start,
    )
    name = directory.write_arrays("nonfinite.npz", found.inputs, cipher=checkpoints.cipher)
    message = (
        f"the loss must be finite; that of seed {error.run} is not in step {error.step + 1:,}; the first array that is bad "
        f"is {found.leaf or 'none, made again alone'} in step {found.step + 1:,}, whose inputs are in "
        f"{directory.path / name}. Lower the learning rate, clip, or pass --on-nonfinite skip or rollback."
    )
    return NonFiniteError(error.run, error.step, error.progress, message)

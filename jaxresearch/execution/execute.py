"""One experiment carried out: compiled once for all runs, advanced in chunks, looked at, evaluated at the end.

It neither prints nor writes; whoever calls sees each chunk through ``observe``.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxresearch import sweeps
from jaxresearch.adjust import Trial
from jaxresearch.data import Dataset
from jaxresearch.execution import divergence, provenance
from jaxresearch.execution.divergence import Divergence
from jaxresearch.execution.feeding import Evaluation, advancing
from jaxresearch.execution.reading import Feed
from jaxresearch.execution.stages import Runs, Stages, runs_of
from jaxresearch.experiment import Experiment
from jaxresearch.gradients import Metrics
from jaxresearch.hyperparameters import check
from jaxresearch.training import Algorithm, State


class Start(NamedTuple):
    """Where runs resume: the steps made, their state, whether that is the outcome of all their steps, and which diverged."""

    step: int
    state: State
    ended: bool = False
    diverged: tuple[Divergence, ...] = ()


class Keeping(NamedTuple):
    """When a state is kept and how.

    ``due()`` is asked after each chunk but the last; ``keep(step, state)`` then copies the state, whose memory the next chunk
    reuses; ``end(step, state)`` gets the outcome before anything is evaluated. What they raise ends the run.
    """

    due: Callable[[], bool]
    keep: Callable[[int, State], None]
    end: Callable[[int, State], None] = lambda step, state: None


_NOTHING_KEPT = Keeping(lambda: False, lambda step, state: None)
_FEED = Feed()


class Progress(NamedTuple):
    """The chunk of steps just made: training metrics are ``(runs, steps of the chunk)``, seconds without compiling.

    ``validation`` holds the metrics of the look at its end, ``(runs, ...)``; it is empty where there was none. ``n_examples``
    counts those that all runs have seen since this process began with them; compiling is counted from there as well.
    ``done`` is which runs were done at its start: what they train after that is no part of their outcome. ``diverged`` holds the
    runs that diverged in this chunk or before. ``steps_per_epoch`` is 0 without data. ``what`` names what a study trains.
    """

    step: int
    n_steps: int
    steps_per_epoch: int
    metrics: dict[str, np.ndarray]
    seconds: float
    n_examples: int
    compile_seconds: float
    n_compilations: int
    done: np.ndarray
    diverged: tuple[Divergence, ...] = ()
    what: str = ""
    validation: dict[str, np.ndarray] = {}


class Outcome(NamedTuple):
    """The result, with a leading axis of seeds: the outcome of each run, and the evaluation metrics by name.

    ``influences`` holds, for the metrics that have them, those of the test examples: ``(seeds, examples, ...)``.
    The metrics of a run that diverged are nan, whatever its last state scores; ``diverged`` has its first bad step.
    ``seconds`` separates compiling, training and evaluating; ``examples_per_second`` counts the examples of all seeds;
    ``resumed_from`` is the step that this process began with, ``step`` the one it ended with.
    """

    state: State
    metrics: dict[str, np.ndarray]
    seconds: dict[str, float]
    examples_per_second: float
    n_compilations: int
    resumed_from: int = 0
    step: int = 0
    influences: dict[str, np.ndarray] = {}
    diverged: tuple[Divergence, ...] = ()


def execute(
    experiment: Experiment,
    hyperparameters: Any,
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    evaluate_every: int | None = None,
    observe: Callable[[Progress], None] = lambda progress: None,
    start: Start | None = None,
    keeping: Keeping = _NOTHING_KEPT,
    feed: Feed = _FEED,
) -> Outcome:
    """Returns the outcome of an experiment for several seeds, trained side by side.

    Args:
        experiment: What is asked.
        hyperparameters: The settings, the same for all seeds.
        dataset: Preprocessed data. Its test part is read once, after the last step.
        seeds: One run for each; where each run has data of its own (folds, splits, subsets), as many as there are of these.
        evaluate_every: Steps between two looks at the validation part, 0 for once per epoch; None for no look.
        observe: Called after each chunk of steps, while the next one is already under way.
        start: Where to resume, as from a checkpoint; at step 0 of the seeds unless given.
        keeping: Which states are kept, as `Keeping` says.
        feed: How parts that stay on disk (`jaxresearch.data.Rows`) are read.

    Returns:
        State and metrics of all seeds, and where the time went. A resumed run reproduces the uninterrupted one bit for bit. A
        seed that diverges stops no other.

    Raises:
        ValueError: If there is no seed, not one for each fold, a hyperparameter is out of its bounds or does not fit the
            data, or the algorithm reacts to validation metrics and there are none.

    Example:
        >>> from jaxresearch import losses, metrics, models, training
        >>> from jaxresearch.data import DataCard
        >>> from jaxresearch.hyperparameters import hyperparameters, static
        >>> from jaxresearch.statistics import Claim
        >>> @hyperparameters
        ... class Line:
        ...     batch_size: int = static(4, "examples per step")
        ...     epochs: int = static(30, "passes over the data")
        >>> def algorithm(h, card, plan, fitted):
        ...     return training.supervised(models.linear(card.n_features, 1), losses.half_squared_error,
        ...                                optimizer=training.gradient_descent(0.3), metrics={"r2": metrics.r2()})
        >>> claim = Claim(text="R2", metric="test/r2", about="these examples", at_least=0.9)
        >>> experiment = Experiment(question="A line?", claim=claim, hyperparameters=Line(), algorithm=algorithm)
        >>> x = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
        >>> part = {"inputs": x, "targets": 2 * x}
        >>> dataset = Dataset(part, part, None, DataCard(name="line", source="", feature_shape=(1,)))
        >>> outcome = execute(experiment, Line(), dataset, seeds=range(3))
        >>> outcome.metrics["r2"].round(2).tolist(), outcome.n_compilations
        ([1.0, 1.0, 1.0], 3)
    """
    provenance.seeds_of(seeds, 1)
    if dataset.n_runs not in (0, len(seeds)):
        raise ValueError(
            f"seeds must be as many as the {dataset.runs_of}, {dataset.n_runs}, got {len(seeds)}. Pass one for each."
        )
    check(hyperparameters)
    runs = runs_of(experiment, hyperparameters, None, sweeps.keys(seeds), dataset, evaluate_every)
    return _carry_out(runs, observe, start, keeping, feed, with_influences=True)


def execute_all(
    experiment: Experiment,
    settings: Sequence[Any],
    dataset: Dataset,
    *,
    seeds: Sequence[int] | Sequence[Sequence[int]],
    evaluate_every: int | None = None,
    observe: Callable[[Progress], None] = lambda progress: None,
    start: Start | None = None,
    keeping: Keeping = _NOTHING_KEPT,
    feed: Feed = _FEED,
) -> list[Trial]:
    """Returns the metrics of several settings, every one of them with every seed.

    Settings that differ in leaves alone are trained side by side by one program; each choice of static fields is a group,
    and a program, of its own. A setting that diverges is marked, and disturbs no other.

    Args:
        experiment: What is asked.
        settings: Hyperparameters, one or more.
        dataset: Preprocessed data; the metrics are of its test part. To choose among settings, pass `data.development`.
        seeds: One run of each setting for each; or such a list for each setting, all of one length.
        evaluate_every: As in `execute`.
        observe: Called after each chunk of steps, as in `execute`; the first axis is settings times seeds of a group.
        start: As in `execute`, for settings of one group.
        keeping: As in `execute`, for settings of one group.
        feed: As in `execute`. Settings of a group share what is read for a seed.

    Returns:
        One trial per setting, in their order.

    Raises:
        ValueError: If there is no setting or no seed, a hyperparameter is out of its bounds or does not fit the data, or
            a state is to be kept or resumed with settings of several groups.

    Example:
        See ``jaxresearch sweep mnist --learning-rate 1e-4:1e-1:log:4 --smoke``.

        >>> from jaxresearch import experiment, loading
        >>> mnist = loading.load("mnist")
        >>> execute_all(mnist, [], experiment.without_data(mnist), seeds=[0])
        Traceback (most recent call last):
        ...
        ValueError: settings must hold at least one, got none. Pass hyperparameters.
    """
    if not settings:
        raise ValueError("settings must hold at least one, got none. Pass hyperparameters.")
    each = provenance.seeds_of(seeds, len(settings))
    n_seeds = len(each[0])
    if dataset.n_runs:
        raise ValueError(
            f"dataset must have no {dataset.runs_of} for several settings, got {dataset.n_runs}. Execute one at a time."
        )
    groups = provenance.groups(settings)
    if len(groups) > 1 and (start is not None or keeping is not _NOTHING_KEPT):
        raise ValueError(f"settings must be of one group to keep its state, got {len(groups)}. Pass one of `groups`.")
    trials: dict[int, Trial] = {}
    for places in groups:
        chosen = [settings[place] for place in places]
        stacked = jax.tree.map(functools.partial(_repeated, n=n_seeds), *chosen)
        keys = sweeps.keys([seed for place in places for seed in each[place]])
        runs = runs_of(experiment, stacked, 0, keys, dataset, evaluate_every)
        of_group = _trials(chosen, runs, n_seeds, observe, start, keeping, feed)
        trials |= dict(zip(places, of_group, strict=True))
    return [trials[place] for place in range(len(settings))]


def _repeated(*leaves: Any, n: int) -> Array:
    """Returns numbers of several settings, each as often as there are seeds; weakly typed, as those of one setting are."""
    return jnp.repeat(jnp.stack([jnp.asarray(leaf) for leaf in leaves]), n, axis=0)


def _trials(
    settings: list[Any],
    runs: Runs,
    n_seeds: int,
    observe: Callable[[Progress], None],
    start: Start | None,
    keeping: Keeping,
    feed: Feed,
) -> list[Trial]:
    """Returns the trials of settings that differ in leaves alone, made by one program."""
    outcome, shape = _carry_out(runs, observe, start, keeping, feed), (len(settings), n_seeds)
    metrics = {name: values.reshape(*shape, *values.shape[1:]) for name, values in outcome.metrics.items()}
    diverged = np.reshape(divergence.among(outcome.diverged, len(runs.keys)), shape)
    return [
        Trial(setting, {name: values[i] for name, values in metrics.items()}, bool(diverged[i].any()))
        for i, setting in enumerate(settings)
    ]


class _Chunk(NamedTuple):
    """What came out of a chunk of steps, its metrics in pieces; arrays may still be under way.

    ``done`` is which runs were done before it, ``is_done`` whether all are after it.
    """

    step: int
    state: State
    metrics: list[Metrics]
    validation: Metrics
    done: np.ndarray
    is_done: bool


def _chunks(runs: Runs, stages: Stages, start: Start, feed: Feed) -> Generator[_Chunk, None, None]:
    """Gives the chunks of runs side by side, one after another; each reuses the memory of the state before."""
    plan = runs.program.plan(runs.hyperparameters)
    every = plan.evaluate_every or plan.n_steps
    validation = Evaluation(runs, stages, runs.dataset.validation, feed) if plan.evaluate_every else None
    can_end = runs.algorithm.done is not Algorithm._field_defaults["done"]
    step, state = start.step, start.state
    done = np.zeros(len(runs.keys), bool)
    if can_end and step and validation is not None:
        done = np.asarray(stages.done(runs.hyperparameters, runs.fitted, state))
    ends = [end for end in runs.ends if end > step]
    with advancing(runs, stages, step, ends, feed) as advance:
        for end in ends:
            state, metrics = advance(state, step, end)
            step, seen, were_done = end, {}, done
            if validation is not None and (step % every == 0 or step == plan.n_steps):
                state, seen, now_done = validation.look(state, step)
                done = np.asarray(now_done) if can_end else done
            yield _Chunk(step, state, metrics, seen, were_done, bool(done.all()))
            if done.all():
                return


def _carry_out(
    runs: Runs,
    observe: Callable[[Progress], None],
    start: Start | None,
    keeping: Keeping,
    feed: Feed,
    *,
    with_influences: bool = False,
) -> Outcome:
    """Returns the outcome of runs side by side."""
    stages, plan, n_runs = Stages(runs), runs.program.plan(runs.hyperparameters), len(runs.keys)
    per_epoch = runs.dataset.n_train // plan.batch_size if plan.batch_size else 0
    fresh = jax.block_until_ready(stages.init(*runs.given))
    first = start or Start(0, fresh)
    _require_end_of_chunk(first, runs.ends)
    state = jax.tree.map(lambda leaf, own: jax.device_put(leaf, own.sharding), first.state, fresh)
    state = state if start is None else jax.tree.map(jnp.copy, state)  # the caller's own is not donated
    first, compiled, began = first._replace(state=state), stages.seconds, time.perf_counter()
    diverged, diagnosing = [*first.diverged], [0.0]

    def training_seconds() -> float:
        return time.perf_counter() - began - (stages.seconds - compiled) - sum(diagnosing)

    def watch(chunk: _Chunk) -> None:
        pieces, seen = jax.tree.map(np.asarray, (chunk.metrics, chunk.validation))  # waits for the chunk
        values = {name: np.concatenate([piece[name] for piece in pieces], axis=1) for name in pieces[0]}
        n_examples = (chunk.step - first.step) * plan.batch_size * n_runs
        begin = chunk.step - max((of_one.shape[1] for of_one in values.values()), default=0)
        counted = ~(divergence.among(diverged, n_runs) | chunk.done)
        new = divergence.in_metrics(values, start=begin, counted=counted)
        diverged.extend(new)
        made = (chunk.step, plan.n_steps, per_epoch, values, training_seconds(), n_examples)
        compiling = (stages.seconds, stages.n_compilations)
        now = time.perf_counter()
        observe(Progress(*made, *compiling, chunk.done, tuple(diverged), validation=seen))
        diagnosing.append(time.perf_counter() - now if new else 0.0)

    step, waiting = first.step, []
    with contextlib.closing(_chunks(runs, stages, first, feed)) as chunks:
        for chunk in () if first.ended else chunks:
            step, state = chunk.step, chunk.state
            waiting.append(chunk)
            is_kept = not chunk.is_done and step < plan.n_steps and keeping.due()
            while len(waiting) > (not is_kept):
                watch(waiting.pop(0))  # the device is at the next chunk meanwhile, unless a state is kept
            if is_kept:
                keeping.keep(step, state)
    for last in waiting:
        watch(last)
    if runs.algorithm.outcome is not Algorithm._field_defaults["outcome"]:
        state = stages.outcome(runs.hyperparameters, runs.fitted, state)
    jax.block_until_ready(state)
    trained = training_seconds()
    keeping.end(step, state)
    diverged += divergence.in_outcome(state, step, counted=~divergence.among(diverged, n_runs))
    metrics, influences, evaluated = _evaluated(runs, stages, state, feed, with_influences)
    metrics = divergence.masked(metrics, divergence.among(diverged, n_runs))
    seconds = {"compile": stages.seconds, "train": trained, "evaluate": evaluated}
    speed = (step - first.step) * plan.batch_size * n_runs / trained
    made = (stages.n_compilations, first.step, step, influences, tuple(diverged))
    return Outcome(state, metrics, seconds, speed, *made)


def _evaluated(
    runs: Runs, stages: Stages, state: State, feed: Feed, with_influences: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], float]:
    """Returns the metrics of the test part, the influences of its examples, and the seconds it took without compiling."""
    began, compiled = time.perf_counter(), stages.seconds
    evaluation = Evaluation(runs, stages, runs.dataset.test, feed)
    made = evaluation.examine(state) if with_influences else (evaluation.evaluate(state), {})
    metrics, influences = jax.tree.map(np.asarray, made)
    return metrics, influences, time.perf_counter() - began - (stages.seconds - compiled)


def _require_end_of_chunk(start: Start, ends: Sequence[int]) -> None:
    """Raises where a run cannot be resumed from."""
    if not start.ended and start.step not in (0, *ends):
        raise ValueError(
            f"start must be at the end of a chunk ({', '.join(map(str, (0, *ends)))}), got step {start.step}. "
            "Start from a state that was kept."
        )

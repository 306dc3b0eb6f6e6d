"""Execute an experiment: compile once for all runs, advance in chunks, validate on the way, evaluate at the end.

Nothing here prints or writes; the caller sees each chunk through ``observe``.
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

from jaxresearch import devices
from jaxresearch.adjust import Trial
from jaxresearch.data import Dataset
from jaxresearch.execution import divergence, provenance
from jaxresearch.execution.divergence import Divergence
from jaxresearch.execution.feeding import Evaluation, advancing
from jaxresearch.execution.reading import Feed
from jaxresearch.execution.stages import Runs, Stages, keys_of, runs_of
from jaxresearch.experiment import Experiment
from jaxresearch.gradients import Metrics
from jaxresearch.hyperparameters import check
from jaxresearch.training import Algorithm, State


class Start(NamedTuple):
    """Where runs resume: the step, their state, whether it is the final outcome, and which runs diverged."""

    step: int
    state: State
    ended: bool = False
    diverged: tuple[Divergence, ...] = ()


class Keeping(NamedTuple):
    """When and how states are kept.

    ``due()`` is called after each chunk but the last; if true, ``keep(step, state)`` copies the state, whose memory the next
    chunk reuses. ``end(step, state)`` receives the outcome before it is evaluated. An exception in any of them ends the run.
    """

    due: Callable[[], bool]
    keep: Callable[[int, State], None]
    end: Callable[[int, State], None] = lambda step, state: None


_NOTHING_KEPT = Keeping(lambda: False, lambda step, state: None)
_FEED = Feed()


class Progress(NamedTuple):
    """The latest chunk of steps: training metrics ``(runs, steps of the chunk)``, and seconds without compiling.

    ``validation`` holds the validation metrics at its end, ``(runs, ...)``, and is empty without validation. ``n_examples`` is
    the number of examples that all runs have seen in this process; compiling is counted from the same point. ``done`` marks the
    runs that were done before the chunk: further steps do not change their outcome. ``diverged`` holds the runs that have
    diverged so far. ``steps_per_epoch`` is 0 without data. ``what`` names what a study trains. ``is_timed`` is False if the
    chunk had ended before ``seconds`` of the previous one was read: then both have the same seconds.
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
    is_timed: bool = True


class Outcome(NamedTuple):
    """The result, with a leading axis of seeds: the outcome of each run, and the evaluation metrics by name.

    ``influences`` holds the influence of each test example on the metrics that have one: ``(seeds, examples, ...)``.
    The metrics of a run that diverged are nan, whatever its last state scores; ``diverged`` has its first bad step.
    ``seconds`` separates compiling, training and evaluating; ``examples_per_second`` counts the examples of all seeds;
    ``resumed_from`` is the step at which this process started, ``step`` the one at which it ended.
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
        experiment: As declared.
        hyperparameters: The settings, the same for all seeds.
        dataset: Preprocessed data. Its test part is read once, after the last step.
        seeds: One per run; if each run has its own data (folds, splits, subsets), one for each of these.
        evaluate_every: Steps between evaluations on the validation part; 0 for once per epoch, None for never.
        observe: Called after each chunk of steps, while the next one is already running.
        start: Where to resume, such as a checkpoint; step 0 by default.
        keeping: When and how states are kept.
        feed: How parts that stay on disk (`jaxresearch.data.Rows`) are read.

    Returns:
        State, metrics and timings of all seeds. A resumed run reproduces the uninterrupted one bit for bit. A seed that
        diverges does not stop the others.

    Raises:
        ValueError: If there is no seed, or not one per fold; if a hyperparameter is out of bounds or does not fit the data;
            if the algorithm reacts to validation metrics and there are none.

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
            f"seeds must be {dataset.n_runs}, one for each of the {dataset.runs_of}, got {len(seeds)}. Pass one for each."
        )
    check(hyperparameters)
    keys = keys_of(experiment, [hyperparameters] * len(seeds), dataset, seeds=seeds)
    runs = runs_of(experiment, hyperparameters, None, keys, dataset, evaluate_every)
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
    """Returns the metrics of several settings, each trained with every seed.

    Settings that differ only in leaves are trained side by side by one program; each choice of static fields is a separate
    group with its own program. A setting that diverges is marked and does not affect the others.

    Args:
        experiment: As declared.
        settings: Hyperparameters, one or more.
        dataset: Preprocessed data; the metrics are of its test part. To choose among settings, pass `data.development`.
        seeds: The seeds of every setting, or one list for each setting, all of the same length.
        evaluate_every: As in `execute`.
        observe: Called after each chunk of steps, as in `execute`; the first axis is settings times seeds of a group.
        start: As in `execute`, for settings of one group.
        keeping: As in `execute`, for settings of one group.
        feed: As in `execute`. Settings of a group share what is read for a seed.

    Returns:
        One trial per setting, in their order.

    Raises:
        ValueError: If there is no setting or no seed, a hyperparameter is out of bounds or does not fit the data, or a state
            is to be kept or resumed with settings of several groups.

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
            f"dataset must have no {dataset.runs_of} for several settings, got {dataset.n_runs}. Execute one setting at a time."
        )
    groups = provenance.groups(settings)
    if len(groups) > 1 and (start is not None or keeping is not _NOTHING_KEPT):
        raise ValueError(
            f"settings must be one group to keep or resume a state, got {len(groups)} groups. Pass one of `groups`."
        )
    trials: dict[int, Trial] = {}
    for places in groups:
        chosen = [settings[place] for place in places]
        stacked = jax.tree.map(functools.partial(_repeated, n=n_seeds), *chosen)
        of_runs = [(settings[place], seed) for place in places for seed in each[place]]
        keys = keys_of(experiment, [one for one, _ in of_runs], dataset, seeds=[seed for _, seed in of_runs])
        runs = runs_of(experiment, stacked, 0, keys, dataset, evaluate_every)
        of_group = _trials(chosen, runs, n_seeds, observe, start, keeping, feed)
        trials |= dict(zip(places, of_group, strict=True))
    return [trials[place] for place in range(len(settings))]


def _repeated(*leaves: Any, n: int) -> Array:
    """Returns numbers of several settings, each repeated for every seed; weakly typed, as those of one setting are."""
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
    """Returns the trials of settings that differ only in leaves, trained by one program."""
    outcome, shape = _carry_out(runs, observe, start, keeping, feed), (len(settings), n_seeds)
    metrics = {name: values.reshape(*shape, *values.shape[1:]) for name, values in outcome.metrics.items()}
    diverged = np.reshape(divergence.among(outcome.diverged, len(runs.keys)), shape)
    return [
        Trial(setting, {name: values[i] for name, values in metrics.items()}, bool(diverged[i].any()))
        for i, setting in enumerate(settings)
    ]


class _Chunk(NamedTuple):
    """The result of a chunk of steps, with its metrics in pieces; arrays may still be in computation.

    ``done`` marks the runs that were done before it, ``is_done`` is whether all are done after it.
    """

    step: int
    state: State
    metrics: list[Metrics]
    validation: Metrics
    done: np.ndarray
    is_done: bool


def _has_ended(chunk: _Chunk) -> bool:
    """Returns whether the metrics of a chunk are computed."""
    return all(leaf.is_ready() for leaf in jax.tree.leaves((chunk.metrics, chunk.validation)))


def _chunks(runs: Runs, stages: Stages, start: Start, feed: Feed) -> Generator[_Chunk, None, None]:
    """Yields the chunks of runs side by side, one after another; each reuses the memory of the state before."""
    plan = runs.program.plan(runs.hyperparameters)
    every = plan.evaluate_every or plan.n_steps
    validation = Evaluation(runs, stages, runs.dataset.validation, feed) if plan.evaluate_every else None
    can_end = runs.algorithm.done is not Algorithm._field_defaults["done"]
    step, state = start.step, start.state
    done = np.zeros(len(runs.keys), bool)
    if can_end and step and validation is not None:
        done = devices.fetch(stages.done(runs.hyperparameters, runs.fitted, state))
    ends = [end for end in runs.ends if end > step]
    with advancing(runs, stages, step, ends, feed) as advance:
        for end in ends:
            state, metrics = advance(state, step, end)
            step, look_metrics, done_before = end, {}, done
            if validation is not None and (step % every == 0 or step == plan.n_steps):
                state, look_metrics, now_done = validation.look(state, step)
                done = devices.fetch(now_done) if can_end else done
            # Before the next chunk starts: the exchange would wait for its end.
            metrics, look_metrics = devices.gathered((metrics, look_metrics))
            yield _Chunk(step, state, metrics, look_metrics, done_before, bool(done.all()))
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
    state = jax.tree.map(lambda leaf, own: devices.put(leaf, own.sharding), first.state, fresh)
    state = state if start is None else jax.tree.map(jnp.copy, state)  # the caller's own is not donated
    first, compiled, start_time = first._replace(state=state), stages.seconds, time.perf_counter()
    diverged, diagnosing = [*first.diverged], [0.0]

    def training_seconds() -> float:
        return time.perf_counter() - start_time - (stages.seconds - compiled) - sum(diagnosing)

    def watch(chunk: _Chunk, *, is_timed: bool) -> None:
        pieces, look_metrics = devices.fetch((chunk.metrics, chunk.validation))  # waits for the chunk
        values = {name: np.concatenate([piece[name] for piece in pieces], axis=1) for name in pieces[0]}
        n_examples = (chunk.step - first.step) * plan.batch_size * n_runs
        begin = chunk.step - max((of_one.shape[1] for of_one in values.values()), default=0)
        counted = ~(divergence.among(diverged, n_runs) | chunk.done)
        new = divergence.in_metrics(values, start=begin, counted=counted)
        diverged.extend(new)
        position = (chunk.step, plan.n_steps, per_epoch, values, training_seconds(), n_examples)
        compiling = (stages.seconds, stages.n_compilations)
        now = time.perf_counter()
        shown = Progress(*position, *compiling, chunk.done, tuple(diverged), validation=look_metrics, is_timed=is_timed)
        observe(shown)
        diagnosing.append(time.perf_counter() - now if new else 0.0)

    step, waiting = first.step, []
    with contextlib.closing(_chunks(runs, stages, first, feed)) as chunks:
        for chunk in () if first.ended else chunks:
            step, state = chunk.step, chunk.state
            waiting.append(chunk)
            is_kept = not chunk.is_done and step < plan.n_steps and keeping.due()
            is_timed = True
            while len(waiting) > (not is_kept):
                # Meanwhile the device computes the next chunk, unless a state is kept.
                watch(waiting.pop(0), is_timed=is_timed)
                is_timed = not (waiting and _has_ended(waiting[0]))
            if is_kept:
                keeping.keep(step, _held(state))
    for last in waiting:
        watch(last, is_timed=not _has_ended(last))
    if runs.algorithm.outcome is not Algorithm._field_defaults["outcome"]:
        state = stages.outcome(runs.hyperparameters, runs.fitted, state)
    jax.block_until_ready(state)
    trained, held = training_seconds(), _held(state)
    keeping.end(step, held)
    diverged += divergence.in_outcome(held, step, counted=~divergence.among(diverged, n_runs))
    metrics, influences, evaluated = _evaluated(runs, stages, state, feed, with_influences)
    metrics = divergence.masked(metrics, divergence.among(diverged, n_runs))
    seconds = {"compile": stages.seconds, "train": trained, "evaluate": evaluated}
    speed = (step - first.step) * plan.batch_size * n_runs / trained
    counts = (stages.n_compilations, first.step, step, influences, tuple(diverged))
    return Outcome(held, metrics, seconds, speed, *counts)


def _held(state: State) -> State:
    """Returns a state for use outside compiled programs: on the host, if several processes hold it in parts."""
    return state if jax.process_count() == 1 else devices.fetch(state)


def _evaluated(
    runs: Runs, stages: Stages, state: State, feed: Feed, with_influences: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], float]:
    """Returns the metrics of the test part, the influences of its examples, and the seconds without compiling."""
    start_time, compiled = time.perf_counter(), stages.seconds
    evaluation = Evaluation(runs, stages, runs.dataset.test, feed)
    examined = evaluation.examine(state) if with_influences else (evaluation.evaluate(state), {})
    metrics, influences = devices.fetch(examined)
    return metrics, influences, time.perf_counter() - start_time - (stages.seconds - compiled)


def _require_end_of_chunk(start: Start, ends: Sequence[int]) -> None:
    """Raises unless the start is at the end of a chunk."""
    if not start.ended and start.step not in (0, *ends):
        raise ValueError(
            f"start must be at the end of a chunk ({', '.join(map(str, (0, *ends)))}), got step {start.step}. "
            "Pass a state that was kept."
        )

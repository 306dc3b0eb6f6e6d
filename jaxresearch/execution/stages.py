"""Runs side by side as compiled functions, and the steps after which they are observed."""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from jaxresearch import data, devices, gradients, sweeps, training
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset, Fitted
from jaxresearch.execution.compilation import CompiledFunction, Grouping
from jaxresearch.execution.influences import examined
from jaxresearch.experiment import Experiment, Program
from jaxresearch.partitioning import Rule, constrained
from jaxresearch.training import Algorithm, EstimatorOf

_CHUNKS = 20  # at most: enough for a progress bar, too few to cost time

_FEWEST_CHUNKS = 5  # rather than fewer of equal length, allow a shorter last one and its program


class Runs(NamedTuple):
    """Runs side by side, ready to be compiled: their program and its arguments."""

    program: Program
    program_of: Callable[..., Program]  # of the traced numbers estimated on the training part
    algorithm: Algorithm  # of the first run, to see which of its functions are the defaults
    hyperparameters: Any
    axis: int | None  # of the hyperparameters: 0 if each run has its own
    keys: Key[Array, " runs"]
    dataset: Dataset
    fitted: Fitted  # of each run, if each has its own data
    ends: tuple[int, ...]  # the steps after which they are observed
    rules: tuple[Rule, ...] = ()  # how a mesh splits their state
    at_once: int | None = None  # at most so many at a time on each device; None to choose

    @property
    def given(self) -> tuple[Key[Array, " runs"], Any, Fitted]:
        """The first arguments of every function of a run: keys, hyperparameters and fitted numbers."""
        given = self.keys, self.hyperparameters, self.fitted
        if jax.process_count() == 1:
            return given
        # Several processes share arrays that are placed as such; numbers of one setting stay weakly typed.
        return jax.tree.map(lambda leaf: self._shared(leaf) if isinstance(leaf, jax.Array) else leaf, given)

    def _shared(self, leaf: Array) -> Array:
        """Returns an array that all processes hold as a whole."""
        return devices.place(leaf, n_runs=len(self.keys))


def runs_of(
    experiment: Experiment,
    hyperparameters: Any,
    axis: int | None,
    keys: Key[Array, " runs"],
    dataset: Dataset,
    evaluate_every: int | None,
) -> Runs:
    """Returns runs side by side, after checking that an algorithm that reacts to validation metrics has some.

    Args:
        experiment: As declared.
        hyperparameters: The settings; with an ``axis`` of 0, stacked over runs.
        axis: As in `jax.vmap`.
        keys: One per run.
        dataset: Preprocessed data.
        evaluate_every: Steps between evaluations on the validation part; 0 for once per epoch, None for never.

    Returns:
        The argument of `Stages`.

    Raises:
        ValueError: If required validation data are missing, the plan does not fit the data, or the current mesh does not fit
            the number of runs.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> runs_of(house, house.hyperparameters, None, sweeps.keys([0]), dataset, 0)
        Traceback (most recent call last):
        ...
        ValueError: dataset must have a validation part for evaluate_every, got none. Split one off with data.with_validation.
    """
    devices.mesh_for(len(keys))  # raises if the current mesh does not fit
    program = experiments.program(experiment, dataset, evaluate_every=evaluate_every)
    first = hyperparameters if axis is None else jax.tree.map(lambda leaf: leaf[0], hyperparameters)
    algorithm = program.algorithm(first)
    if evaluate_every is None and reacts(algorithm):
        raise ValueError(
            "validation data must be given to an algorithm that reacts to it (algorithms.stopped does), got none. "
            "Pass --validation 0.1."
        )
    if evaluate_every is not None and dataset.validation is None:
        raise ValueError(
            "dataset must have a validation part for evaluate_every, got none. Split one off with data.with_validation."
        )
    plan = program.plan(hyperparameters)
    ends = chunk_ends(plan.n_steps, evaluate_every=plan.evaluate_every)
    program_of = functools.partial(_program_of, experiment, dataset, evaluate_every)
    return Runs(
        *(program, program_of, algorithm, hyperparameters, axis, keys, dataset, fitted_of(dataset), ends),
        rules=experiment.rules,
        at_once=experiment.at_once,
    )


def keys_of(
    experiment: Experiment, settings: Sequence[Any], dataset: Dataset, *, seeds: Sequence[int]
) -> Key[Array, " runs"]:
    """Returns the keys of runs side by side.

    Args:
        experiment: As declared.
        settings: The hyperparameters of each run.
        dataset: Preprocessed data.
        seeds: One per run.

    Returns:
        The keys of the seeds; for an experiment with ``independent`` runs, derived from seed, settings and size of the data.

    Raises:
        ValueError: As `jaxresearch.sweeps.keys`.

    Example:
        >>> import dataclasses
        >>> from jaxresearch import loading
        >>> house = dataclasses.replace(loading.load("house_prices"), independent=True)
        >>> settings = [dataclasses.replace(house.hyperparameters, learning_rate=rate) for rate in (0.1, 0.2, 0.2)]
        >>> one, other, same = keys_of(house, settings, experiments.without_data(house), seeds=[0, 0, 0])
        >>> bool(one == other), bool(other == same)
        (False, True)
    """
    keys = sweeps.keys(seeds)
    if not experiment.independent:
        return keys
    words = np.array([_words_of(setting, dataset.n_train) for setting in settings])
    return jax.vmap(lambda key, words: jax.random.fold_in(jax.random.fold_in(key, words[0]), words[1]))(keys, words)


def _words_of(setting: Any, n_train: int) -> np.ndarray:
    """Returns two 32-bit words that differ between settings, and between data of different sizes."""
    leaves, structure = jax.tree.flatten(setting)
    text = f"{np.array(leaves, np.float64).tolist()} {structure} {n_train}"
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[:8], "<u4").astype(np.uint32)


def fitted_of(dataset: Dataset) -> Fitted:
    """Returns the numbers estimated on the training part; with folds, stacked.

    Args:
        dataset: Prepared data.

    Returns:
        Arrays in nested dicts; with folds, on a leading axis, narrower ones padded with zeros.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> fitted_of(Dataset({}, {}, None, DataCard(name="a", source="b"), 2, ({"mean": 1.0}, {"mean": 2.0})))
        {'mean': array([1., 2.])}
    """
    if not dataset.n_runs:
        return data.numbers(dataset.fitted)
    return data.map_arrays(lambda *arrays: np.stack(arrays), *data.padded([*map(data.numbers, dataset.fitted)]))


def _program_of(
    experiment: Experiment,
    dataset: Dataset,
    evaluate_every: int | None,
    fitted: Fitted,
    estimator: EstimatorOf = gradients.plain,
) -> Program:
    """Returns the program of an experiment with these fitted numbers."""
    return experiments.program(experiment, dataset, evaluate_every=evaluate_every, estimator=estimator, fitted=fitted)


def placed(runs: Runs, part: Any, *, axis: int | None) -> Any:
    """Returns a part of the data on the devices of the runs.

    Args:
        runs: Side by side.
        part: Of their dataset.
        axis: The axis of runs in it, as from `jaxresearch.data.Dataset.axis_of`.

    Returns:
        Device arrays, shared by all runs or split with the runs over devices.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> runs = runs_of(house, house.hyperparameters, None, sweeps.keys([0]), dataset, None)
        >>> placed(runs, dataset.test, axis=None)["targets"].shape
        (2930, 1)
    """
    return devices.place(part, n_runs=len(runs.keys), axis=axis)


def reacts(algorithm: Algorithm) -> bool:
    """Returns whether an algorithm reacts to validation metrics.

    Args:
        algorithm: Any.

    Returns:
        False for the default ``observe``.

    Example:
        >>> reacts(Algorithm(lambda key: 0, lambda s, b, k: (s, {}), lambda s, d, k: {}))
        False
    """
    return algorithm.observe is not Algorithm._field_defaults["observe"]


class Stages:
    """The compiled functions of runs side by side; each is compiled at its first call."""

    def __init__(self, runs: Runs):
        axis, of_data = runs.axis, runs.dataset.axis
        of_test, of_validation = map(runs.dataset.axis_of, (runs.dataset.test, runs.dataset.validation))
        self._runs, self._of_test, self._of_validation = runs, of_test, of_validation
        self.advances = functools.cache(self._advance_by)
        self._compiled: list[CompiledFunction] = []
        self._elsewhere = 0.0
        self.init = self._swept(self._init, (0, axis, of_data))
        self.look = self._swept(self._look, (0, axis, of_data, 0, of_validation, None), donate_argnums=(3,))
        self.outcome = self._swept(self._outcome, (axis, of_data, 0), donate_argnums=(2,))
        self.evaluate = self._swept(self._evaluate, (0, axis, of_data, 0, of_test))
        self.examine = self._swept(self._examine, (0, axis, of_data, 0, of_test))
        self.done = self._swept(self._done, (axis, of_data, 0))
        # For data on disk; n_bytes as for `sweeps.sweep`.
        self.advances_over = functools.cache(self._advance_over)
        self.predicts = functools.cache(self._predict)
        self.looks_over = functools.cache(self._look_over)
        self.evaluates_over = functools.cache(self._evaluate_over)
        self.examines_over = functools.cache(self._examine_over)

    def _advance_by(self, n_steps: int) -> CompiledFunction:
        """Returns the program of n steps."""

        def chunk(key, hyperparameters, fitted, state, data, step):
            program = self._runs.program_of(fitted)
            return self._split(*program.advance(key, hyperparameters, state, data, step, n_steps))

        return self._compile(chunk, (self._runs.dataset.axis, None), donate_argnums=(3,))

    def _advance_over(self, n_steps: int, n_bytes: int) -> CompiledFunction:
        """Returns the program of n steps over batches that runs share, each run at its index."""

        def piece(key, hyperparameters, fitted, state, batches, place, step):
            algorithm = self._runs.program_of(fitted).algorithm(hyperparameters)
            return self._split(*training.advance_over(key, state, batches, step, place, algorithm=algorithm))

        del n_steps  # one program for each number of steps
        return self._compile(piece, (None, 0, None), donate_argnums=(3,), n_bytes=n_bytes)

    def _predict(self, n_examples: int, n_bytes: int, axis: int | None) -> CompiledFunction:
        """Returns the program that predicts for n examples at a time, of a part with this axis of runs."""
        del n_examples  # one program for each

        def predict(key, hyperparameters, fitted, state, inputs):
            del key
            outputs_of = self._runs.program_of(fitted).algorithm(hyperparameters).predict
            assert outputs_of is not None  # otherwise require_outputs raised
            return outputs_of(state, inputs)

        return self._compile(predict, (axis,), n_bytes=n_bytes)

    def _look_over(self, n_bytes: int) -> CompiledFunction:
        """Returns the program that validates outputs."""

        def look(key, hyperparameters, fitted, state, outputs, others, step):
            return self._look(key, hyperparameters, fitted, state, {**others, "outputs": outputs}, step)

        return self._compile(look, (0, self._of_validation, None), donate_argnums=(3,), n_bytes=n_bytes)

    def _evaluate_over(self, n_bytes: int) -> CompiledFunction:
        """Returns the program that evaluates outputs."""

        def evaluate(key, hyperparameters, fitted, state, outputs, others):
            return self._evaluate(key, hyperparameters, fitted, state, {**others, "outputs": outputs})

        return self._compile(evaluate, (0, self._of_test), n_bytes=n_bytes)

    def _examine_over(self, n_bytes: int) -> CompiledFunction:
        """Returns the program that evaluates outputs, with the influences of examples."""

        def examine(key, hyperparameters, fitted, state, outputs, others):
            return self._examine(key, hyperparameters, fitted, state, {**others, "outputs": outputs})

        return self._compile(examine, (0, self._of_test), n_bytes=n_bytes)

    def _compile(
        self, fun: Callable[..., Any], axes: tuple, *, donate_argnums: tuple[int, ...] = (), n_bytes: int = 0
    ) -> CompiledFunction:
        """Returns the compiled function of key, hyperparameters, fitted, state and further arguments with these axes."""
        all_axes = (0, self._runs.axis, self._runs.dataset.axis, 0, *axes)
        return self._swept(fun, all_axes, donate_argnums=donate_argnums, n_bytes=n_bytes)

    def _swept(
        self, fun: Callable[..., Any], axes: tuple, *, donate_argnums: tuple[int, ...] = (), n_bytes: int = 0
    ) -> CompiledFunction:
        """Returns the compiled function of all runs, as many at a time as asked for or as fit into memory."""
        n_each, asked = devices.runs_per_device(len(self._runs.keys)), self._runs.at_once

        def function_of(at_once: int | None) -> Callable[..., Any]:
            return sweeps.sweep(fun, axes, n_bytes=n_bytes, at_once=at_once)

        whole = function_of(None if asked is None else min(asked, n_each))
        grouping = Grouping(n_each, function_of) if asked is None else None
        self._compiled.append(CompiledFunction(whole, donate_argnums=donate_argnums, grouping=grouping))
        return self._compiled[-1]

    def _init(self, key, hyperparameters, fitted):
        """Returns the state before the first step."""
        return self._runs.program_of(fitted).init(key, hyperparameters)

    def _look(self, key, hyperparameters, fitted, state, validation, step):
        """Returns the state, its validation metrics and whether the run is done."""
        program = self._runs.program_of(fitted)
        state, metrics = program.look(key, hyperparameters, state, validation, step)
        return *self._split(state, metrics), program.algorithm(hyperparameters).done(state)

    def _done(self, hyperparameters, fitted, state):
        """Returns whether a run is done."""
        return self._runs.program_of(fitted).algorithm(hyperparameters).done(state)

    def _outcome(self, hyperparameters, fitted, state):
        """Returns the outcome of a run."""
        return self._split(self._runs.program_of(fitted).algorithm(hyperparameters).outcome(state))[0]

    def _split(self, state, metrics=None):
        """Returns a state and metrics, the state split over the current mesh as all states of the run are."""
        return constrained(state, rules=self._runs.rules), metrics

    def _evaluate(self, key, hyperparameters, fitted, state, data):
        """Returns the metrics of an outcome."""
        return self._runs.program_of(fitted).evaluate(key, hyperparameters, state, data)

    def _examine(self, key, hyperparameters, fitted, state, data):
        """Returns the metrics of an outcome, and the influences of examples on them."""
        return examined(functools.partial(self._evaluate, key, hyperparameters, fitted, state), data)

    @property
    def seconds(self) -> float:
        """Seconds spent compiling."""
        return sum(stage.seconds for stage in self._compiled) + self._elsewhere

    def compiled_elsewhere(self, seconds: float) -> None:
        """Counts seconds in which a function that is none of these was compiled."""
        self._elsewhere += seconds

    @property
    def n_compilations(self) -> int:
        """Programs compiled."""
        return sum(stage.n_compilations for stage in self._compiled)


def chunk_ends(n_steps: int, *, evaluate_every: int | None = None) -> tuple[int, ...]:
    """Returns the steps after which a run is observed and may be saved: about 20, every validation, and the end.

    Chunks have the same length, so that they share a program; the last one before a validation may be shorter. Chunked and
    whole runs agree bit for bit, so this choice changes no result.

    Args:
        n_steps: Steps of the whole run, 1 or more.
        evaluate_every: Steps between validations; None for never.

    Returns:
        The step at the end of each chunk.

    Example:
        >>> chunk_ends(9375)[:3], len(chunk_ends(9375)), chunk_ends(7), chunk_ends(10_007)[-3:]
        ((625, 1250, 1875), 15, (1, 2, 3, 4, 5, 6, 7), (9018, 9519, 10007))
        >>> chunk_ends(100, evaluate_every=30)
        (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100)
    """
    period = evaluate_every or n_steps
    most = max(1, _CHUNKS * period // n_steps)
    parts = max(parts for parts in range(1, most + 1) if period % parts == 0)
    is_too_few = parts * n_steps < _FEWEST_CHUNKS * period
    length = -(-period // most) if is_too_few else period // parts
    ends = [min(start + period, n_steps) for start in range(0, n_steps, period)]
    starts = [0, *ends[:-1]]
    return tuple(
        end for start, stop in zip(starts, ends, strict=True) for end in (*range(start, stop, length)[1:], stop)
    )

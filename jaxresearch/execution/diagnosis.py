"""Where a run first became non-finite: the step, the first bad array, and the inputs of that step."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch import devices, gradients, sweeps
from jaxresearch.data import Dataset
from jaxresearch.execution import reading
from jaxresearch.execution.compilation import CompiledFunction
from jaxresearch.execution.execute import Start
from jaxresearch.execution.feeding import Evaluation, advancing
from jaxresearch.execution.reading import Feed, is_on_disk
from jaxresearch.execution.stages import Runs, Stages, keys_of, placed, runs_of
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check
from jaxresearch.training import State, step_inputs

_FEED = Feed()
_GRADIENT = "gradient "  # prefix of the metrics that carry the arrays of a gradient


class Diagnosis(NamedTuple):
    """A step of one run: the number of steps before it, the name of its first array that is not finite, and its inputs.

    ``inputs`` has ``state``, ``batch`` and ``key`` (as its numbers); they reproduce the step.
    """

    step: int
    leaf: str
    inputs: dict[str, Any]


def is_finite(state: State) -> bool:
    """Returns whether every number of a state is finite.

    Args:
        state: Of one run or of several.

    Returns:
        False if any array holds a nan or an infinity.

    Example:
        >>> is_finite({"w": jnp.ones(2)}), is_finite({"w": jnp.inf})
        (True, False)
    """
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact)]
    return all(bool(jnp.isfinite(leaf).all()) for leaf in floats)


def diagnose(
    experiment: Experiment,
    hyperparameters: Any,
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    run: int,
    step: int,
    evaluate_every: int | None = None,
    start: Start | None = None,
    feed: Feed = _FEED,
) -> Diagnosis:
    """Returns the cause of a non-finite step of one run, found by repeating the steps before it.

    Args:
        experiment: As declared.
        hyperparameters: The settings of the run.
        dataset: Preprocessed data.
        seeds: Of all runs trained side by side.
        run: Index of the run's seed.
        step: Number of steps before the one with a metric that was not finite.
        evaluate_every: As in `jaxresearch.execution.execute`; validations before the step are repeated too.
        start: Where to start, such as a checkpoint; the beginning of the run by default.
        feed: How parts that stay on disk are read.

    Returns:
        The step and its first array that is not finite, in the order batch, state, gradient (if the algorithm uses the
        estimator of its plan), metrics, new state. If the state was already bad, the step is the one whose update made it so.
        An infinity in the initial state, such as the best value so far, is not bad.

    Raises:
        ValueError: If the step is before the start, or a hyperparameter is out of bounds.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> dataset.train["inputs"][7, 0] = np.nan
        >>> diagnose(house, house.hyperparameters, dataset, seeds=[0], run=0, step=0).leaf
        "batch['inputs']"
    """
    check(hyperparameters)
    keys = keys_of(experiment, [hyperparameters] * len(seeds), dataset, seeds=seeds)
    runs = runs_of(experiment, hyperparameters, None, keys, dataset, evaluate_every)
    stages, given = Stages(runs), (runs.keys, hyperparameters, runs.fitted)
    fresh = stages.init(*given)
    first = start or Start(0, fresh)
    if step < first.step:
        raise ValueError(f"step must be {first.step} or more, where the run starts, got {step}. Pass an earlier start.")
    initial = jax.tree.map(lambda leaf: _on_host(leaf[run]), fresh)
    state, current, found = jax.tree.map(jnp.copy, first.state), first.step, None
    for now in range(max(step - 1, first.step), step + 1):
        state, current = _advanced(runs, stages, state, current, now, feed), now
        looked, key = jax.tree.map(lambda leaf: _on_host(leaf[run]), _probed(runs, state, now))
        found = Diagnosis(
            now, _first_bad(looked, initial), {"state": looked["state"], "batch": looked["batch"], "key": key}
        )
        if found.leaf and not found.leaf.startswith("new state"):
            return found
        if found.leaf and now < step:
            return found
    assert found is not None
    return found


def _advanced(runs: Runs, stages: Stages, state: State, step: int, until: int, feed: Feed) -> State:
    """Returns the state of all runs some steps later, with the validations in between."""
    if step == until:
        return state
    every = runs.program.plan(runs.hyperparameters).evaluate_every
    ends = [*range((step // every + 1) * every, until, every), until] if every else [until]
    with advancing(runs, stages, step, ends, feed) as advance:
        for end in ends:
            state, _ = advance(state, step, end)
            if every and end % every == 0:
                state, *_ = Evaluation(runs, stages, runs.dataset.validation, feed).look(state, end)
            step = end
    return state


def _probed(runs: Runs, state: State, step: int) -> Any:
    """Returns the arrays of a step of all runs, in the order in which they are computed, and its key data."""
    dataset, plan = runs.dataset, runs.program.plan(runs.hyperparameters)
    on_disk, axis = is_on_disk(dataset.train), dataset.axis
    read_keys, places = reading.places_of(runs.keys, axis=axis)
    if on_disk:
        (read,) = reading.batches(read_keys, dataset.train, [1], step, axis=axis, batch_size=plan.sampling)
        with ThreadPoolExecutor(1) as threads:
            train = read(threads).batches
    else:
        train = placed(runs, dataset.train, axis=axis)

    def probe(key, hyperparameters, fitted, state, train, place, step):
        held, drawn = ({}, plan.batch_size) if on_disk else (train, plan.sampling)
        batch, step_key = step_inputs(key, held, step, batch_size=drawn)
        batch = jax.tree.map(lambda leaf: leaf[place, 0], train) if on_disk else batch
        algorithm = runs.program_of(fitted, _with_gradient_metrics).algorithm(hyperparameters)
        after, metrics = algorithm.step(state, batch, step_key)
        gradient = {name: value for name, value in metrics.items() if name.startswith(_GRADIENT)}
        metrics = {name: value for name, value in metrics.items() if name not in gradient}
        gradient = {name.removeprefix(_GRADIENT): value for name, value in gradient.items()}
        return {"batch": batch, "state": state, "gradient": gradient, "metrics": metrics, "new state": after}, (
            jax.random.key_data(step_key)
        )

    axes = (0, runs.axis, axis, 0, None if on_disk else axis, 0, None)
    over_runs = CompiledFunction(sweeps.sweep(probe, axes))
    return over_runs(*runs.given, state, train, places, np.int32(step))


def _on_host(leaf: Any) -> np.ndarray:
    """Returns an array on the host, a typed key as its key data."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return devices.fetch(jax.random.key_data(leaf) if is_key else leaf)


def _with_gradient_metrics(loss_fn: gradients.LossFn) -> gradients.GradientEstimator:
    """Returns the plain estimator, with the arrays of the gradient among its metrics."""
    plain = gradients.plain(loss_fn)

    def estimator(params, model_state, batch, key):
        gradient, metrics, model_state = plain(params, model_state, batch, key)
        leaves = jax.tree_util.tree_leaves_with_path(gradient)
        return gradient, metrics | {_GRADIENT + jax.tree_util.keystr(path): leaf for path, leaf in leaves}, model_state

    return estimator


def _first_bad(looked: dict[str, Any], initial: State) -> str:
    """Returns the name of the first array with an entry that is not finite, or an empty string."""
    initial_leaves = {"state": jax.tree.leaves(initial), "new state": jax.tree.leaves(initial)}
    for name in (
        "batch",
        "state",
        "gradient",
        "metrics",
        "new state",
    ):  # in order of computation; JAX sorts the keys of a dict
        leaves = jax.tree_util.tree_leaves_with_path(looked[name])
        for (path, leaf), start in zip(leaves, initial_leaves.get(name, [0.0] * len(leaves)), strict=True):
            if jnp.issubdtype(leaf.dtype, jnp.inexact) and (np.isnan(leaf) | np.isinf(leaf) & ~np.isinf(start)).any():
                inside = "".join(str(part.key) for part in path) if name == "gradient" else jax.tree_util.keystr(path)
                return f"{name}{inside}"
    return ""

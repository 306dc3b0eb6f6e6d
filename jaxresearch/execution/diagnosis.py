"""Where a run stopped being finite: the step, the first bad array, and the inputs of that step."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch import devices, gradients, sweeps
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset
from jaxresearch.execution.compilation import CompiledFunction
from jaxresearch.execution.execute import Start
from jaxresearch.execution.stages import fitted_of
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check
from jaxresearch.training import EstimatorOf, State, step_inputs

_GRADIENT = "gradient "  # begins the names of the metrics that carry the arrays of a gradient


class Diagnosis(NamedTuple):
    """A step of one run: how many were made before it, the name of its first array that is not finite, and its inputs.

    ``inputs`` has ``state``, ``batch`` and ``key`` (as its numbers); they reproduce the step.
    """

    step: int
    leaf: str
    inputs: dict[str, Any]


def first_nonfinite(metrics: dict[str, np.ndarray]) -> tuple[int, int, str] | None:
    """Returns run, step and name of the earliest training metric that is not finite, or None.

    Args:
        metrics: By name, each ``(runs, steps)``.

    Returns:
        Indices into the metrics.

    Example:
        >>> first_nonfinite({"loss": np.array([[1.0, 2.0, np.nan], [1.0, np.inf, 2.0]])})
        (1, 1, 'loss')
    """
    found = []
    for place, (name, values) in enumerate(metrics.items()):
        bad = ~np.isfinite(values)
        if bad.any():
            step = int(bad.any(axis=0).argmax())
            found.append((step, place, int(bad[:, step].argmax()), name))
    if not found:
        return None
    step, _, run, name = min(found)
    return run, step, name


def is_finite(state: State) -> bool:
    """Returns whether every number of a state is finite.

    Args:
        state: Of one run or of several.

    Returns:
        False where one array holds a number that is not.

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
) -> Diagnosis:
    """Returns what was wrong in a step of one run, by repeating the steps before it.

    Args:
        experiment: What is asked.
        hyperparameters: The settings of the run.
        dataset: Preprocessed data.
        seeds: Those of the runs side by side.
        run: The index of the seed whose run it is.
        step: Steps made before the one with a metric that was not finite.
        evaluate_every: As in `jaxresearch.execution.execute`; the looks before the step are repeated too.
        start: Where to begin, as from a checkpoint; at the beginning of the run unless given.

    Returns:
        The step and its first array that is not finite, in the order batch, state, gradient (where the algorithm uses the
        estimator of its plan), metrics, new state. Where the state was bad already, it is the step before, whose update made
        it so.

    Raises:
        ValueError: If the step lies before the start, or a hyperparameter is out of its bounds.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> dataset.train["inputs"][7, 0] = np.nan
        >>> diagnose(house, house.hyperparameters, dataset, seeds=[0], run=0, step=0).leaf
        "batch['inputs']"
    """
    check(hyperparameters)

    def program_of(fitted: Any, estimator: EstimatorOf = gradients.plain) -> experiments.Program:
        made = {"evaluate_every": evaluate_every, "estimator": estimator, "fitted": fitted}
        return experiments.program(experiment, dataset, **made)

    keys, fitted, axis = sweeps.keys(seeds), fitted_of(dataset), dataset.axis
    plan = program_of({}).plan(hyperparameters)
    data = {name: devices.place(part, n_runs=len(seeds), axis=dataset.axis) for name, part in dataset.parts().items()}

    def init(key, hyperparameters, fitted):
        return program_of(fitted).init(key, hyperparameters)

    first = start or Start(0, CompiledFunction(sweeps.sweep(init, (0, None, axis)))(keys, hyperparameters, fitted))
    if step < first.step:
        raise ValueError(f"step must not lie before the start, {first.step}, got {step}. Begin with an earlier state.")

    def swept(fun: Callable[..., Any], part: str, made: int, state: State) -> Any:
        over_runs = CompiledFunction(sweeps.sweep(fun, (0, None, axis, 0, axis, None)))
        return over_runs(keys, hyperparameters, fitted, state, data[part], np.int32(made))

    def advanced(state: State, made: int, until: int) -> State:
        while made < until:
            every = plan.evaluate_every
            end = until if every is None else min(until, (made // every + 1) * every)
            n_steps = end - made
            state, _ = swept(functools.partial(_advance, program_of, n_steps), "train", made, state)
            if every is not None and end % every == 0:
                state, _ = swept(functools.partial(_look, program_of), "validation", end, state)
            made = end
        return state

    def probe(key, hyperparameters, fitted, state, train, made):
        batch, step_key = step_inputs(key, train, made, batch_size=plan.batch_size)
        after, metrics = program_of(fitted, _telling_gradient).algorithm(hyperparameters).step(state, batch, step_key)
        gradient = {name: value for name, value in metrics.items() if name.startswith(_GRADIENT)}
        metrics = {name: value for name, value in metrics.items() if name not in gradient}
        gradient = {name.removeprefix(_GRADIENT): value for name, value in gradient.items()}
        return {"batch": batch, "state": state, "gradient": gradient, "metrics": metrics, "new state": after}, (
            jax.random.key_data(step_key)
        )

    state, made, found = first.state, first.step, None
    for now in range(max(step - 1, first.step), step + 1):
        state = advanced(state, made, now)
        made = now
        looked, key = jax.tree.map(lambda leaf: _on_host(leaf[run]), swept(probe, "train", now, state))
        found = Diagnosis(now, _first_bad(looked), {"state": looked["state"], "batch": looked["batch"], "key": key})
        if found.leaf and not found.leaf.startswith("new state"):
            return found
        if found.leaf and now < step:
            return found
    assert found is not None
    return found


def _on_host(leaf: Any) -> np.ndarray:
    """Returns an array on the host, a typed key as its numbers."""
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def _advance(program_of: Any, n_steps: int, key, hyperparameters, fitted, state, train, step) -> Any:
    """Returns the state so many steps later, and their metrics."""
    return program_of(fitted).advance(key, hyperparameters, state, train, step, n_steps)


def _look(program_of: Any, key, hyperparameters, fitted, state, validation, step) -> Any:
    """Returns the state after a look at the validation data, and its metrics."""
    return program_of(fitted).look(key, hyperparameters, state, validation, step)


def _telling_gradient(loss_fn: gradients.LossFn) -> gradients.GradientEstimator:
    """Returns the plain estimator whose metrics hold the arrays of the gradient as well."""
    plain = gradients.plain(loss_fn)

    def estimator(params, model_state, batch, key):
        gradient, metrics, model_state = plain(params, model_state, batch, key)
        leaves = jax.tree_util.tree_leaves_with_path(gradient)
        return gradient, metrics | {_GRADIENT + jax.tree_util.keystr(path): leaf for path, leaf in leaves}, model_state

    return estimator


def _first_bad(looked: dict[str, Any]) -> str:
    """Returns the name of the first array with an entry that is not finite, or nothing."""
    for name in (
        "batch",
        "state",
        "gradient",
        "metrics",
        "new state",
    ):  # as they are computed; a dict of JAX sorts its keys
        for path, leaf in jax.tree_util.tree_leaves_with_path(looked[name]):
            if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(leaf).all():
                inside = "".join(str(part.key) for part in path) if name == "gradient" else jax.tree_util.keystr(path)
                return f"{name}{inside}"
    return ""

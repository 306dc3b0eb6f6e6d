"""Everything that can fail after training, traced before it starts."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxresearch import data, sweeps
from jaxresearch.data import Dataset
from jaxresearch.execution.feeding import require_outputs
from jaxresearch.execution.influences import examined
from jaxresearch.execution.reading import blank, is_on_disk
from jaxresearch.execution.stages import runs_of
from jaxresearch.experiment import Experiment, Objective
from jaxresearch.hyperparameters import check
from jaxresearch.statistics import Claim
from jaxresearch.training import step_inputs

_EXAMPLES = 100  # of the test part, on which a report is tried


def preflight(
    experiment: Experiment,
    hyperparameters: Any,
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    evaluate_every: int | None = None,
    collected: Dataset | None = None,
) -> None:
    """Raises before training what a run would raise at its end; it only traces the run.

    It traces the steps, validation, outcome and evaluation. The claim must be about a scalar metric of the evaluation.
    The report is called with the initial state and a few test examples.

    Args:
        experiment: As declared.
        hyperparameters: The settings.
        dataset: Preprocessed data.
        seeds: As for `execute`.
        evaluate_every: As for `execute`.
        collected: The data as collected, for the report, which is not called without it.

    Raises:
        ValueError: If a hyperparameter is out of bounds, a step's metric is not a scalar, a state changes its shape, or the
            metric of the claim, or by which settings are compared, is missing or not a scalar.
        Exception: Whatever the experiment's own functions raise.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> collected = house.collect(house.source)
        >>> preflight(house, house.hyperparameters, house.prepare(collected), seeds=[0], collected=collected)
    """
    check(hyperparameters)
    runs = runs_of(experiment, hyperparameters, None, sweeps.keys(seeds), dataset, evaluate_every)
    plan, of_run = runs.program.plan(hyperparameters), dataset.of_run(0)
    key, parts = jax.random.key(0), blank(of_run.parts())
    on_disk = {name for name, part in of_run.parts().items() if name != "train" and is_on_disk(part)}
    for name in on_disk:
        require_outputs(runs.algorithm, of_run.parts()[name])

    def whole(hyperparameters, fitted, parts):
        program = runs.program_of(fitted)
        algorithm, train = program.algorithm(hyperparameters), parts["train"]
        state = program.init(key, hyperparameters)
        if not jax.tree.leaves(state):
            raise ValueError("init must return a state with at least one array, got none. Return the parameters.")
        batch, step_key = step_inputs(key, train, 0, batch_size=plan.sampling)
        after, of_step = algorithm.step(state, batch, step_key)
        _require_same_state(state, after, "step")
        _require_scalars(of_step)
        if evaluate_every is not None:
            validation = _seen(algorithm, state, parts["validation"], is_on_disk="validation" in on_disk)
            observed, _ = _evaluated("validation", program.look, key, hyperparameters, state, validation, 0)
            _require_same_state(state, observed, "observe")
        _require_same_state(state, algorithm.outcome(state), "outcome")
        test = _seen(algorithm, algorithm.outcome(state), parts["test"], is_on_disk="test" in on_disk)
        metrics = _evaluated("test", program.evaluate, key, hyperparameters, state, test)
        if not isinstance(metrics, dict):
            raise ValueError(
                f"evaluate must return a dict of metrics, got {type(metrics).__name__}. Return them by name."
            )
        claim = experiment.claim
        if claim is not None and claim.about == "new examples" and not dataset.n_folds:
            evaluate = functools.partial(program.evaluate, key, hyperparameters, state)
            _require_weighed(claim, metrics, lambda: examined(evaluate, test)[1])
        return metrics

    data.flat(of_run.fitted)  # raises if it cannot be saved
    fitted = data.numbers(of_run.fitted)
    traced, metrics = jax.make_jaxpr(whole, return_shape=True)(hyperparameters, fitted, parts)
    scalars = [f"test/{name}" for name, value in metrics.items() if not value.shape]
    if experiment.claim is not None:
        _require_claimed(experiment.claim, metrics, scalars)
    elif (objective := experiment.for_data(dataset).objective) is not None:
        _require_compared(objective, scalars)
    if experiment.preprocess.has_units and "targets" in fitted:
        _require_units(traced.jaxpr, (hyperparameters, fitted, parts))
    if experiment.report is not None and collected is not None:
        init = jax.jit(jax.vmap(runs.program.init, (0, None)))
        state = init(sweeps.keys(seeds), hyperparameters)
        experiment.report_on(hyperparameters, jax.device_get(state), _shortened(collected), _shortened(dataset))


def _seen(algorithm: Any, state: Any, part: Any, *, is_on_disk: bool) -> Any:
    """Returns the part on which a state is evaluated; on disk, with outputs in place of inputs."""
    if not is_on_disk:
        return part
    others = {name: entry for name, entry in part.items() if name != "inputs"}
    return {**others, "outputs": algorithm.predict(state, part["inputs"])}


def _evaluated(name: str, fun: Any, key: Any, hyperparameters: Any, state: Any, part: Any, *step: int) -> Any:
    """Returns the result of a validation or evaluation; raises if it needs inputs that are on disk."""
    try:
        return fun(key, hyperparameters, state, part, *step)
    except KeyError as error:
        if error.args == ("inputs",) and "outputs" in part:
            raise ValueError(
                f"evaluate must take outputs in place of inputs if the {name} part is on disk, got one that reads inputs. "
                "Read that part into memory."
            ) from error
        raise


def _require_same_state(before: Any, after: Any, name: str) -> None:
    """Raises if a function of the algorithm returns a state of another structure, shape or type."""
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ValueError(
            f"{name} must return a state of the same structure as init, got another. Return the same tuple or dict."
        )
    pairs = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    for (path, leaf), other in pairs:
        old, new = jax.typeof(leaf), jax.typeof(other)  # covers Python numbers, too
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise ValueError(
                f"{name} must return a state of the same shapes as init, got state{jax.tree_util.keystr(path)} changed from "
                f"{old.dtype}{list(old.shape)} to {new.dtype}{list(new.shape)}. Keep its shape and type."
            )


def _require_units(traced: Any, arguments: tuple[Any, Any, Any]) -> None:
    """Raises if a run ignores how its targets were standardised: its metrics would be in other units."""
    used = {id(variable) for equation in traced.eqns for variable in equation.invars}
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(arguments)]
    names = [jax.tree_util.keystr(path) for path in paths]
    of_targets = [v for name, v in zip(names, traced.invars, strict=True) if name.startswith("[1]['targets']")]
    if not any(id(variable) in used for variable in of_targets):
        raise ValueError(
            "metrics must be in the target's own units, got standardised ones. Pass invert to the algorithm, as in "
            "training.supervised(..., invert=functools.partial(data.standard.invert, fitted))."
        )


def _require_scalars(metrics: dict[str, Any]) -> None:
    """Raises if a step reports a metric that is not a scalar."""
    for name, value in metrics.items():
        if np.shape(value):
            raise ValueError(
                f"metrics of a step must be scalars, got {name} of shape {np.shape(value)}. Report it by evaluate instead."
            )


def _require_weighed(claim: Claim, metrics: dict[str, Any], influences: Callable[[], dict[str, Any]]) -> None:
    """Raises if a claim about new examples has a metric without influences of examples."""
    if claim.evaluated in metrics and claim.evaluated not in influences():
        raise ValueError(
            f"claim about new examples must have a metric that depends on data['weights'], got {claim.metric}. Weight examples "
            "in evaluate, or pass about='these examples'."
        )


def _require_compared(objective: Objective, scalars: list[str]) -> None:
    """Raises if settings would be compared by a metric that is not evaluated."""
    names = [name.removeprefix("test/") for name in scalars]
    if objective.metric not in names:
        option = "maximise" if objective.higher else "minimise"
        example = 'maximise="accuracy"' if "accuracy" in names else f'{option}="{names[0] if names else "loss"}"'
        raise ValueError(
            f"{option} must name a scalar metric ({', '.join(names)}), got {objective.metric!r}. Write in the experiment's file, "
            f"for instance: {example}"
        )


def _require_claimed(claim: Claim, metrics: dict[str, Any], scalars: list[str]) -> None:
    """Raises if the claim's metric is not evaluated."""
    if f"test/{claim.metric}" in scalars:
        raise ValueError(
            f"claim must name its metric with the part, got {claim.metric!r}. Write 'test/{claim.metric}'."
        )
    if claim.evaluated in metrics and claim.metric not in scalars:
        shape = metrics[claim.evaluated].shape
        raise ValueError(
            f"claim must be about a scalar metric ({', '.join(scalars)}), got {claim.metric!r} of shape {shape}. Choose one."
        )
    if claim.metric not in scalars:
        raise ValueError(f"claim must be about one of {', '.join(scalars)}, got {claim.metric!r}. Correct its name.")


def _shortened(dataset: Dataset) -> Dataset:
    """Returns the data with a few test examples."""
    if dataset.axis_of(dataset.test) == 0:
        parts = jax.tree.map(lambda leaf: leaf[:, :_EXAMPLES], dataset.test)
    elif not dataset.test:
        parts = dataset.test
    else:
        parts = data.take(dataset.test, np.arange(min(_EXAMPLES, data.n_examples(dataset.test))))
    return dataset._replace(test=parts)

"""States of trained runs: their shapes, their predictions, and derivatives of their metrics."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from jaxresearch import data, devices, hypergradients, sweeps
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset, Fitted
from jaxresearch.execution import reading
from jaxresearch.execution.compilation import CompiledFunction
from jaxresearch.execution.reading import is_on_disk
from jaxresearch.execution.stages import fitted_of
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check
from jaxresearch.training import State

OutputsFn = Callable[[Fitted, State, Any], Array]


def blank_state(
    experiment: Experiment, hyperparameters: Any, dataset: Dataset, *, n_runs: int, evaluate_every: int | None = None
) -> State:
    """Returns the shapes and types of the state of several runs; nothing is computed.

    Args:
        experiment: As declared.
        hyperparameters: The settings.
        dataset: Preprocessed data.
        n_runs: Length of the leading axis.
        evaluate_every: As in `execute`.

    Returns:
        The structure of `Outcome.state`, with `jax.ShapeDtypeStruct` as leaves.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> blank_state(house, house.hyperparameters, dataset, n_runs=3).params["Dense_0"]["kernel"].shape
        (3, 1, 1)
    """
    program = experiments.program(experiment, dataset, evaluate_every=evaluate_every)
    init = jax.vmap(program.init, (0, None))
    return jax.eval_shape(init, sweeps.keys(range(n_runs)), hyperparameters)


def predict(
    experiment: Experiment,
    hyperparameters: Any,
    dataset: Dataset,
    state: State,
    *,
    batch_size: int = 100,
    evaluate_every: int | None = None,
    runs: Sequence[int] | None = None,
    outputs_fn: OutputsFn | None = None,
) -> np.ndarray:
    """Returns the outputs of the models of several seeds for the test part.

    Batches have one size, the last one padded, so that the outputs for an example depend neither on the others nor on their
    number.

    Args:
        experiment: As declared.
        hyperparameters: The settings, the same for all seeds.
        dataset: Preprocessed data.
        state: The outcome, with a leading axis of seeds, as in `Outcome.state`.
        batch_size: Examples at a time.
        evaluate_every: As in `execute`.
        runs: Indices of the runs that are asked; all unless given.
        outputs_fn: What `outputs_fn_of` returned for the same experiment, settings and looks: it compiles once for several
            calls.

    Returns:
        ``(runs, examples, outputs)``: values in the target's own units, or logits, where there are classes.

    Raises:
        ValueError: If the algorithm has no ``predict``.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> import jax, numpy as np
        >>> state = jax.tree.map(lambda leaf: np.zeros(leaf.shape), blank_state(house, house.hyperparameters, dataset, n_runs=2))
        >>> predict(house, house.hyperparameters, dataset, state).shape == (2, len(dataset.test["targets"]), 1)
        True
    """
    program = experiments.program(experiment, dataset, evaluate_every=evaluate_every)
    if program.algorithm(hyperparameters).predict is None:
        raise ValueError(
            "algorithm must have predict to compute outputs, got none. Write: algorithm._replace(predict=...)"
        )
    of_seed = outputs_fn or outputs_fn_of(experiment, hyperparameters, dataset, evaluate_every=evaluate_every)

    def of_run(place: int) -> np.ndarray:
        one, of_state = dataset.of_run(place), jax.tree.map(lambda leaf: leaf[place], state)
        fitted = jax.tree.map(lambda leaf: leaf[place], fitted_of(dataset)) if dataset.n_runs else fitted_of(dataset)
        inputs = one.test["inputs"]
        n_all = data.n_examples({"inputs": inputs})
        starts = range(0, n_all, batch_size)
        index = [np.minimum(start + np.arange(batch_size), n_all - 1) for start in starts]  # one program for all pieces
        with ThreadPoolExecutor(1) as threads:
            outputs = [np.asarray(of_seed(fitted, of_state, reading.read(inputs, places, threads))) for places in index]
        return experiment.preprocess.invert(one.fitted, np.concatenate(outputs)[:n_all])

    return np.stack([of_run(place) for place in (range(len(jax.tree.leaves(state)[0])) if runs is None else runs)])


def outputs_fn_of(
    experiment: Experiment, hyperparameters: Any, dataset: Dataset, *, evaluate_every: int | None = None
) -> OutputsFn:
    """Returns the jitted function of what is fitted, the state of one run and inputs, which gives the model's outputs.

    Args:
        experiment: What is asked.
        hyperparameters: The settings.
        dataset: Its card and the number of its training examples count.
        evaluate_every: As in `execute`.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> outputs_fn = outputs_fn_of(house, house.hyperparameters, dataset)
        >>> state = experiments.program(house, dataset).init(jax.random.key(0), house.hyperparameters)
        >>> outputs_fn(fitted_of(dataset), state, jnp.ones((3, 1))).shape
        (3, 1)
    """

    @jax.jit
    def of_seed(fitted: Fitted, state: State, inputs: Any) -> Array:
        program = experiments.program(experiment, dataset, evaluate_every=evaluate_every, fitted=fitted)
        predict_ = program.algorithm(hyperparameters).predict
        assert predict_ is not None  # `predict` asks first

        def of_example(inputs: Any) -> Array:
            return predict_(state, jax.tree.map(lambda leaf: leaf[None], inputs))[0]

        return jax.vmap(of_example)(inputs)

    return of_seed


def differentiate(
    experiment: Experiment,
    hyperparameters: Any,
    dataset: Dataset,
    *,
    seeds: Sequence[int],
    metric: str,
    evaluate_every: int | None = None,
) -> Any:
    """Returns the hypergradient of an evaluation metric through whole runs, by forward mode, for several seeds at once.

    Args:
        experiment: As declared.
        hyperparameters: The point at which to differentiate.
        dataset: As in `execute_all`.
        seeds: One run for each.
        metric: A smooth metric of the experiment.
        evaluate_every: As in `execute`: an algorithm that reacts to validation metrics is differentiated through its
            evaluations on the validation part.

    Returns:
        The structure of the hyperparameters; each leaf has an axis of seeds.

    Raises:
        ValueError: If there is no seed, the experiment does not report the metric, or a swept field is not a float.

    Example:
        See ``jaxresearch study schedule``.

        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> differentiate(house, house.hyperparameters, dataset, seeds=[0], metric="r2").learning_rate.shape
        (1,)
    """
    if not len(seeds):
        raise ValueError("seeds must hold at least one number, got none. Pass range(3).")
    check(hyperparameters)
    if any(is_on_disk(part) for part in dataset.parts().values()):
        raise ValueError("data must be in memory to be differentiated through, got rows on disk. Leave out --stream.")
    program = experiments.program(experiment, dataset, evaluate_every=evaluate_every)
    plan = program.plan(hyperparameters)
    unroll = hypergradients.unroll_of(program, metric=metric, look_every=plan.evaluate_every)
    loss, look = unroll.loss, unroll.look
    # Validation data steer the training; the derivative is of the metric on the test part.
    unroll = unroll._replace(loss=lambda key, h, state, parts: loss(key, h, state, parts["test"]))
    if look is not None:
        unroll = unroll._replace(look=lambda key, h, state, parts, step: look(key, h, state, parts["validation"], step))
    hypergradient = hypergradients.forward(unroll, n_steps=plan.n_steps)
    over_seeds = CompiledFunction(sweeps.sweep(hypergradient, (0, None, None, None)))
    looked = {} if look is None else {"validation": dataset.validation}
    train, parts = devices.place((dataset.train, {"test": dataset.test, **looked}), n_runs=len(seeds))
    _, gradient = over_seeds(sweeps.keys(seeds), hyperparameters, train, parts)
    return jax.tree.map(np.asarray, gradient)

"""A run as the pieces from which hypergradients are composed."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxresearch.gradients import Batch
from jaxresearch.training import State

Hypergradient = Callable[[Key[Array, ""], Any, Batch, Batch], tuple[Float[Array, ""], Any]]


class Unroll(NamedTuple):
    """A run as the pieces from which hypergradients are composed: its start, steps, looks and final loss.

    ``init(key, hyperparameters, train) -> state``, ``advance(key, hyperparameters, state, train, step, n_steps) -> state``
    after ``step`` earlier steps, ``loss(key, hyperparameters, state, validation) -> loss``. If the run reacts to validation
    metrics, ``look(key, hyperparameters, state, validation, step) -> state`` every ``look_every`` steps and at the end.
    `unroll_of` builds it from an experiment's program.
    """

    init: Callable[[Any, Any, Batch], State]
    advance: Callable[[Any, Any, State, Batch, Any, int], State]
    loss: Callable[[Any, Any, State, Batch], Float[Array, ""]]
    look: Callable[[Any, Any, State, Batch, Any], State] | None = None
    look_every: int = 0


def unroll_of(program: Any, *, metric: str, look_every: int | None = None) -> Unroll:
    """Returns the `Unroll` of an experiment, with one of its metrics as the validation loss.

    Args:
        program: The pure functions of an experiment, from `jaxresearch.experiment.program`.
        metric: The metric to differentiate: smooth, and lower is better.
        look_every: Steps between looks at the validation data, for an algorithm that reacts to them (such as
            `jaxresearch.algorithms.stopped`); None for no looks.

    Returns:
        The pieces of the run.

    Raises:
        ValueError: If ``look_every`` is not positive; when its loss is called, if the experiment does not evaluate the metric.

    Example:
        >>> from jaxresearch import experiment, hypergradients, loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> unrolled = unroll_of(experiment.program(house, dataset), metric="r2")
        >>> hypergradient = hypergradients.forward(unrolled, n_steps=100)  # compile it with jax.jit, vmap it over seeds
    """
    if look_every is not None and look_every < 1:
        raise ValueError(f"look_every must be 1 or more steps, got {look_every}. Pass the plan's evaluate_every.")

    def loss(key, hyperparameters, state, validation):
        metrics = program.evaluate(key, hyperparameters, state, validation)
        if metric not in metrics:
            raise ValueError(f"metric must be one of {', '.join(metrics)}, got {metric!r}. Choose a smooth one.")
        return metrics[metric]

    return Unroll(
        lambda key, hyperparameters, train: program.init(key, hyperparameters),
        lambda *args: program.advance(*args)[0],
        loss,
        None if look_every is None else lambda *args: program.look(*args)[0],
        look_every or 0,
    )


def _segments(unroll: Unroll, key, hyperparameters, state, train, steps: tuple[int, int], segment: int | None) -> State:
    """Returns the state after ``steps`` (first, number); the backward pass recomputes each segment from its start."""
    first, n_steps = steps
    length = min(segment or math.isqrt(n_steps), n_steps)

    def advance(state: State, step: Any, n: int) -> State:
        def steps(state):
            return unroll.advance(key, hyperparameters, state, train, step, n)

        return jax.checkpoint(steps)(state)

    starts = first + length * jnp.arange(n_steps // length)
    state, _ = jax.lax.scan(lambda state, step: (advance(state, step, length), None), state, starts)
    rest = n_steps % length
    return advance(state, first + n_steps - rest, rest) if rest else state


def _periods(
    unroll: Unroll, key, hyperparameters, state, train, validation, n_steps: int, *, checkpoint: bool = False
) -> State:
    """Returns the state after all steps and looks at the validation data."""
    look = unroll.look
    if look is None:
        return unroll.advance(key, hyperparameters, state, train, 0, n_steps)

    def period(state: State, step: Any, n: int) -> State:
        def steps(state):
            state = unroll.advance(key, hyperparameters, state, train, step, n)
            return look(key, hyperparameters, state, validation, step + n)

        return (jax.checkpoint(steps) if checkpoint else steps)(state)

    every = min(unroll.look_every, n_steps)
    starts = every * jnp.arange(n_steps // every)
    state, _ = jax.lax.scan(lambda state, step: (period(state, step, every), None), state, starts)
    rest = n_steps % every
    return period(state, n_steps - rest, rest) if rest else state


def _without_looks(unroll: Unroll, name: str) -> None:
    """Raises if the run looks at validation data, which some methods do not support."""
    if unroll.look is not None:
        raise ValueError(
            f"unroll must not look at validation data for {name}, got look_every={unroll.look_every}. Use forward."
        )


def _floats(hyperparameters: Any) -> Any:
    """Returns the hyperparameters with arrays as leaves; raises if one is not a float."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(hyperparameters):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"hyperparameters{jax.tree_util.keystr(path)} must be a float to be differentiated; got {leaf!r}. "
                "Write it with a decimal point, or make it static."
            )
    return jax.tree.map(jnp.asarray, hyperparameters)


def _require_positive(**numbers: int | float) -> None:
    """Raises for the first number that is not positive."""
    for name, number in numbers.items():
        if not number > 0:
            raise ValueError(f"{name} must be positive; got {number}. Pass 1 or more steps, terms or draws.")

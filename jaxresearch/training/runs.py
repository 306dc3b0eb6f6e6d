"""A run as pure functions: its start, its steps, its looks at validation data, and the whole."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Key

from jaxresearch import devices, sampling
from jaxresearch.data.parts import n_examples
from jaxresearch.gradients import Batch, Metrics
from jaxresearch.training.algorithm import Algorithm, Plan, State


def init(key: Key[Array, ""], *, algorithm: Algorithm) -> State:
    """Returns the state before the first step of the run with this key.

    Args:
        key: The key of the run, as in `advance`.
        algorithm: The algorithm.

    Returns:
        The state of the algorithm.

    Example:
        >>> import jax
        >>> from jaxresearch import losses, models
        >>> from jaxresearch.training import gradient_descent, plan_of, supervised
        >>> descent = supervised(models.linear(3, 1), losses.half_squared_error, optimizer=gradient_descent(0.1), metrics={})
        >>> sum(leaf.size for leaf in jax.tree.leaves(init(jax.random.key(0), algorithm=descent).params))
        4
    """
    # Strong types, as in every later state: otherwise the second step would be compiled separately.
    return jax.tree.map(_strong, algorithm.init(_streams(key).init))


def advance(
    key: Key[Array, ""],
    state: State,
    data: Batch,
    step: int | Int[ArrayLike, ""],
    *,
    algorithm: Algorithm,
    batch_size: int | sampling.Poisson,
    n_steps: int,
) -> tuple[State, Metrics]:
    """Returns the state after ``n_steps`` more steps, and the metrics of these steps.

    The batch and the key of a step depend only on the key of the run and the step number: advancing by ``a`` and then by
    ``b`` equals advancing by ``a + b``, bit for bit.

    Args:
        key: The key of the run, the same on every call.
        state: The state to resume from.
        data: Arrays with equal leading axes; `jaxresearch.data.Streams` of them; ``{}`` for an algorithm without data.
        step: Number of steps taken so far, 0 at the start; leave it unbatched under `jax.vmap`.
        algorithm: The algorithm.
        batch_size: Examples per step, 1 to the length of the data; or Poisson sampling: `Plan.sampling`.
        n_steps: Number of steps to take, 1 or more; static.

    Returns:
        The new state, and the metrics by name, each with a leading axis of ``n_steps``.

    Raises:
        ValueError: If ``n_steps`` or ``batch_size`` is out of range, or the arrays of ``data`` differ in length.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import losses, models
        >>> from jaxresearch.training import gradient_descent, plan_of, supervised
        >>> descent = supervised(models.linear(1, 1), losses.half_squared_error, optimizer=gradient_descent(0.1), metrics={})
        >>> data = {"inputs": jnp.ones((8, 1)), "targets": jnp.ones((8, 1))}
        >>> state = init(jax.random.key(0), algorithm=descent)
        >>> _, history = advance(jax.random.key(0), state, data, 0, algorithm=descent, batch_size=4, n_steps=3)
        >>> history["loss"].shape
        (3,)
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be 1 or more, got {n_steps}. Pass at least one epoch and one batch.")
    order = _streams(key).order

    def batch_at(step: Array) -> Batch:
        return sampling.batch_of(order, data, step, batch_size=batch_size)

    return _advance(key, state, step, batch_at, algorithm=algorithm, n_steps=n_steps)


def advance_over(
    key: Key[Array, ""],
    state: State,
    batches: Batch,
    step: int | Int[ArrayLike, ""],
    place: int | Int[ArrayLike, ""] = 0,
    *,
    algorithm: Algorithm,
) -> tuple[State, Metrics]:
    """Returns the state after one step on each of the given batches, and the metrics of these steps.

    With the batches from `step_inputs`, it equals `advance` bit for bit. Use it for data that do not fit into memory, which
    the host reads a few steps at a time.

    Args:
        key: The key of the run, the same on every call.
        state: The state to resume from.
        batches: Arrays ``(runs, steps, batch, ...)``; parallel runs on the same batches share them.
        step: Number of steps taken so far; unbatched under `jax.vmap`.
        place: Index of this run along the axis of runs.
        algorithm: The algorithm.

    Returns:
        As `advance`.

    Raises:
        ValueError: If there are no batches.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def step(state, batch, key):
        ...     return state + batch["inputs"].sum(), {"sum": state}
        >>> adding = Algorithm(lambda key: jnp.zeros(()), step, lambda state, data, key: {})
        >>> batches = {"inputs": jnp.ones((1, 3, 4))}
        >>> state, history = advance_over(jax.random.key(0), jnp.zeros(()), batches, 0, algorithm=adding)
        >>> float(state), history["sum"].tolist()
        (12.0, [0.0, 4.0, 8.0])
    """
    shapes = [jnp.shape(leaf)[:3] for leaf in jax.tree.leaves(batches)]
    if not shapes:
        raise ValueError("batches must hold arrays, got none. Call advance for an algorithm without data.")
    n_steps, first = shapes[0][1], jnp.asarray(step, jnp.int32)

    def examples(leaf: Array, step: Array) -> Array:
        if devices.n_shards() > 1:  # each device has its examples of every step: nothing is exchanged
            return leaf.at[place, step - first].get(mode="promise_in_bounds")
        # One gather from a flat axis of examples, as from resident data, so that XLA compiles the rest identically.
        size = leaf.shape[2]
        indices = (place * n_steps + step - first) * size + jnp.arange(size)
        return jnp.reshape(leaf, (-1, *leaf.shape[3:])).at[indices].get(mode="promise_in_bounds")

    def batch_at(step: Array) -> Batch:
        return jax.tree.map(lambda leaf: examples(jnp.asarray(leaf), step), batches)

    return _advance(key, state, step, batch_at, algorithm=algorithm, n_steps=n_steps)


def _advance(
    key: Key[Array, ""],
    state: State,
    step: int | Int[ArrayLike, ""],
    batch_at: Callable[[Array], Batch],
    *,
    algorithm: Algorithm,
    n_steps: int,
) -> tuple[State, Metrics]:
    """Returns the state after ``n_steps`` more steps on the batches of ``batch_at``, and the metrics of these steps."""
    step_key = _streams(key).step

    def body(carry: tuple[Array, State], _) -> tuple[tuple[Array, State], Any]:
        step, state = carry
        state, metrics = algorithm.step(state, batch_at(step), jax.random.fold_in(step_key, step))
        return (step + 1, jax.tree.map(_strong, state)), metrics

    (_, state), history = jax.lax.scan(body, (jnp.asarray(step, jnp.int32), state), length=n_steps)
    return state, history


def step_inputs(
    key: Key[Array, ""], data: Batch, step: int | Int[ArrayLike, ""], *, batch_size: int | sampling.Poisson
) -> tuple[Batch, Key[Array, ""]]:
    """Returns the batch and the key of a step.

    Args:
        key: The key of the run.
        data: As in `advance`.
        step: Number of steps taken so far.
        batch_size: Examples per step, or Poisson sampling.

    Returns:
        The arguments of `Algorithm.step` after the state.

    Raises:
        ValueError: As `advance`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> batch, _ = step_inputs(jax.random.key(0), {"inputs": jnp.arange(8)}, 3, batch_size=4)
        >>> batch["inputs"].shape
        (4,)
    """
    streams = _streams(key)
    batch = sampling.batch_of(streams.order, data, jnp.asarray(step, jnp.int32), batch_size=batch_size)
    return batch, jax.random.fold_in(streams.step, step)


def look(
    key: Key[Array, ""], state: State, validation: Batch, step: int | Int[ArrayLike, ""], *, algorithm: Algorithm
) -> tuple[State, Metrics]:
    """Evaluates a state on validation data, and returns the state after it has observed the metrics, and the metrics.

    Args:
        key: The key of the run.
        state: The state after ``step`` steps.
        validation: Data for `Algorithm.evaluate`.
        step: Number of steps taken so far.
        algorithm: The algorithm.

    Returns:
        The state from `Algorithm.observe`, and the metrics by name.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> counter = Algorithm(lambda key: jnp.zeros(()), lambda s, batch, key: (s + 1, {}), lambda s, data, key: {"count": s})
        >>> _, metrics = look(jax.random.key(0), jnp.ones(()), {}, 1, algorithm=counter)
        >>> float(metrics["count"])
        1.0
    """
    metrics = algorithm.evaluate(state, validation, jax.random.fold_in(_streams(key).look, step))
    return algorithm.observe(state, metrics), metrics


def evaluate(key: Key[Array, ""], state: State, data: Batch, *, algorithm: Algorithm) -> Metrics:
    """Returns the metrics of a run's outcome on held-out data.

    Args:
        key: The key of the run.
        state: The final state.
        data: Data for `Algorithm.evaluate`.
        algorithm: The algorithm.

    Returns:
        Metrics by name.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> counter = Algorithm(lambda key: jnp.zeros(()), lambda s, batch, key: (s + 1, {}), lambda s, data, key: {"count": s})
        >>> float(evaluate(jax.random.key(0), jnp.ones(()), {}, algorithm=counter)["count"])
        1.0
    """
    return algorithm.evaluate(algorithm.outcome(state), data, _streams(key).evaluate)


def run(
    key: Key[Array, ""], data: Batch, validation: Batch | None = None, *, algorithm: Algorithm, plan: Plan
) -> tuple[State, Metrics]:
    """Returns the final state of a whole run, and the metrics of every step and of every look at the validation data.

    It takes all steps even if the algorithm is done earlier, which does not change the outcome.

    Args:
        key: The source of all randomness: parameters, data order, dropout.
        data: As in `advance`. Pass it as an argument of the jitted function, never as a closure: captured data becomes a
            constant of the program, which costs seconds of compilation.
        validation: Evaluated every ``plan.evaluate_every`` steps (by default, every epoch) and at the end.
        algorithm: The algorithm.
        plan: The length and batch size.

    Returns:
        The final state, and the metrics: of steps by name, with a leading axis of steps; of looks as ``validation/NAME``, with
        a leading axis of looks.

    Raises:
        ValueError: If a size is out of range, or the arrays of ``data`` differ in length.

    Example:
        A run is an ordinary function. Here, the derivative of its last loss:

        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import losses, models
        >>> from jaxresearch.training import gradient_descent, plan_of, supervised
        >>> data = {"inputs": jnp.ones((8, 1)), "targets": jnp.ones((8, 1))}
        >>> def last_loss(rate):
        ...     descent = supervised(models.linear(1, 1), losses.half_squared_error, optimizer=gradient_descent(rate), metrics={})
        ...     _, history = run(jax.random.key(0), data, algorithm=descent, plan=plan_of(8, batch_size=4, epochs=2))
        ...     return history["loss"][-1]
        >>> bool(jax.grad(last_loss)(0.1) < 0)
        True
    """
    start, arguments = init(key, algorithm=algorithm), {"algorithm": algorithm, "batch_size": plan.sampling}
    if validation is None:
        return advance(key, start, data, 0, n_steps=plan.n_steps, **arguments)
    every = min(plan.evaluate_every or _steps_per_epoch(data, plan), plan.n_steps)

    def period(carry: tuple[Array, State], n_steps: int) -> tuple[tuple[Array, State], tuple[Metrics, Metrics]]:
        step, state = carry
        state, of_steps = advance(key, state, data, step, n_steps=n_steps, **arguments)
        state, of_look = look(key, state, validation, step + n_steps, algorithm=algorithm)
        return (step + n_steps, state), (of_steps, of_look)

    whole, rest = divmod(plan.n_steps, every)
    carry = jnp.zeros((), jnp.int32), start
    carry, (of_steps, of_looks) = jax.lax.scan(lambda carry, _: period(carry, every), carry, length=whole)
    of_steps = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), of_steps)
    if rest:
        carry, (last_steps, last_look) = period(carry, rest)
        of_steps = jax.tree.map(lambda *parts: jnp.concatenate(parts), of_steps, last_steps)
        of_looks = jax.tree.map(lambda before, one: jnp.concatenate([before, one[None]]), of_looks, last_look)
    return carry[1], {**of_steps, **{f"validation/{name}": values for name, values in of_looks.items()}}


def _strong(leaf: ArrayLike) -> Array:
    """Returns an array, or a Python number, as an array without a weak type."""
    array = jnp.asarray(leaf)
    return jax.lax.convert_element_type(array, array.dtype) if getattr(jax.typeof(array), "weak_type", False) else array


class _Streams(NamedTuple):
    """The independent keys of a run."""

    init: Key[Array, ""]
    order: Key[Array, ""]
    step: Key[Array, ""]
    look: Key[Array, ""]
    evaluate: Key[Array, ""]


def _streams(key: Key[Array, ""]) -> _Streams:
    """Returns the independent keys of a run, from its key."""
    return _Streams(*(jax.random.fold_in(key, stream) for stream in range(5)))


def _steps_per_epoch(data: Batch, plan: Plan) -> int:
    """Returns the steps of one pass over the data; without data, all steps of the run."""
    n_all = n_examples(data)
    return sampling.steps_per_epoch(n_all, batch_size=plan.batch_size) if n_all else plan.n_steps

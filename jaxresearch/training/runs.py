"""A run as pure functions: its start, its steps, its looks at validation data, and all of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Int, Key

from jaxresearch import sampling
from jaxresearch.data.parts import n_examples
from jaxresearch.gradients import Batch, Metrics
from jaxresearch.training.algorithm import Algorithm, Plan, State


def init(key: Key[Array, ""], *, algorithm: Algorithm) -> State:
    """Returns the state before the first step of the run with this key.

    Args:
        key: The key of the run, the same that `advance` receives.
        algorithm: What is trained.

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
    # Arrays of strong types, as every later state has: else the second step would need another program than the first.
    return jax.tree.map(_strong, algorithm.init(_streams(key).init))


def advance(
    key: Key[Array, ""],
    state: State,
    data: Batch,
    step: int | Int[ArrayLike, ""],
    *,
    algorithm: Algorithm,
    batch_size: int,
    n_steps: int,
) -> tuple[State, Metrics]:
    """Returns the state ``n_steps`` later, and the metrics of these steps.

    Step ``t`` sees the examples `batch_of` gives for it and the key ``fold_in(step key, t)``, whoever calls: advancing by
    ``a`` and then by ``b`` is advancing by ``a + b``, bit for bit.

    Args:
        key: The key of the run, the same at every call.
        state: Where to resume.
        data: Arrays with equal leading axes; `jaxresearch.data.Streams` of them; ``{}`` for an algorithm without data.
        step: Steps made before, 0 at the start. Runs side by side share it: leave it unbatched under `jax.vmap`.
        algorithm: What is trained.
        batch_size: Examples per step, 1 to the length of the data.
        n_steps: Steps to make, 1 or more; static.

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

    return _advanced(key, state, step, batch_at, algorithm=algorithm, n_steps=n_steps)


def advance_over(
    key: Key[Array, ""],
    state: State,
    batches: Batch,
    step: int | Int[ArrayLike, ""],
    place: int | Int[ArrayLike, ""] = 0,
    *,
    algorithm: Algorithm,
) -> tuple[State, Metrics]:
    """Returns the state after a step on each of the given batches, and the metrics of these steps.

    With the batches that `step_inputs` gives for these steps, it is `advance`, bit for bit: data that do not fit into memory
    are read by the host, and brought some steps at a time.

    Args:
        key: The key of the run, the same at every call.
        state: Where to resume.
        batches: Arrays ``(runs, steps, batch, ...)``. Runs side by side that see the same batches share them.
        step: Steps made before; unbatched under `jax.vmap`.
        place: Which of the runs of the batches this one is.
        algorithm: What is trained.

    Returns:
        As `advance`.

    Raises:
        ValueError: If there is no batch.

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
        # One gather from examples in a row, as from resident data: so XLA makes the same program of what follows.
        size = leaf.shape[2]
        indices = (place * n_steps + step - first) * size + jnp.arange(size)
        return jnp.reshape(leaf, (-1, *leaf.shape[3:])).at[indices].get(mode="promise_in_bounds")

    def batch_at(step: Array) -> Batch:
        return jax.tree.map(lambda leaf: examples(jnp.asarray(leaf), step), batches)

    return _advanced(key, state, step, batch_at, algorithm=algorithm, n_steps=n_steps)


def _advanced(
    key: Key[Array, ""],
    state: State,
    step: int | Int[ArrayLike, ""],
    batch_at: Callable[[Array], Batch],
    *,
    algorithm: Algorithm,
    n_steps: int,
) -> tuple[State, Metrics]:
    """Returns the state so many steps later, and the metrics of these steps, each on the batch that a function gives for it."""
    of_steps = _streams(key).step

    def body(carry: tuple[Array, State], _) -> tuple[tuple[Array, State], Any]:
        step, state = carry
        state, metrics = algorithm.step(state, batch_at(step), jax.random.fold_in(of_steps, step))
        return (step + 1, jax.tree.map(_strong, state)), metrics

    (_, state), history = jax.lax.scan(body, (jnp.asarray(step, jnp.int32), state), length=n_steps)
    return state, history


def step_inputs(
    key: Key[Array, ""], data: Batch, step: int | Int[ArrayLike, ""], *, batch_size: int
) -> tuple[Batch, Key[Array, ""]]:
    """Returns the batch and the key that a step of the run with this key is given.

    Args:
        key: The key of the run.
        data: As in `advance`.
        step: Steps made before it.
        batch_size: Examples per step.

    Returns:
        What `Algorithm.step` takes besides the state.

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
    """Returns the state after it has observed its metrics on the validation data, and these.

    Args:
        key: The key of the run.
        state: After ``step`` steps.
        validation: The data that `Algorithm.evaluate` takes.
        step: Steps made.
        algorithm: What is trained.

    Returns:
        The state that `Algorithm.observe` gives, and the metrics by name.

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
    """Returns the metrics of a run's outcome on data that it was not trained on.

    Args:
        key: The key of the run.
        state: At its end.
        data: What `Algorithm.evaluate` takes.
        algorithm: What was trained.

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
    """Returns the state after training from scratch, and the metrics of every step and of every look at the validation data.

    All steps are taken, whether the algorithm is done before or not: what it keeps as its outcome does not change then.

    Args:
        key: All the randomness of the run: parameters, order of the data, dropout.
        data: As in `advance`. Pass it as an argument of the jitted function, never as a closure: captured data is folded
            into the program, which costs seconds of compilation.
        validation: Looked at every ``plan.evaluate_every`` steps and at the end; once per epoch unless the plan says.
        algorithm: What is trained.
        plan: How long, and with which batches.

    Returns:
        The last state, and the metrics: those of steps by name, with a leading axis of all steps; those of looks as
        ``validation/NAME``, with a leading axis of looks.

    Raises:
        ValueError: If a size is out of range, or the arrays of ``data`` differ in length.

    Example:
        A run is a function like any other: here one derivative of its last loss.

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
    start, arguments = init(key, algorithm=algorithm), {"algorithm": algorithm, "batch_size": plan.batch_size}
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
    """Returns an array, or a Python number as one, whose type does not adapt to others."""
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
    """Returns the keys of a run for its parameters, the order of its data, its steps, its looks and its evaluation."""
    return _Streams(*(jax.random.fold_in(key, stream) for stream in range(5)))


def _steps_per_epoch(data: Batch, plan: Plan) -> int:
    """Returns the steps of one pass over the data; all of the run's where there is none."""
    n_all = n_examples(data)
    return sampling.steps_per_epoch(n_all, batch_size=plan.batch_size) if n_all else plan.n_steps

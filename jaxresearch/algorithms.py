"""Transformations of algorithms: each turns an `Algorithm` into another, as Optax chains optimizers.

They compose: ``stopped(averaged(supervised(...), decay=0.999), metric="log_loss", patience=5)``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxresearch import models
from jaxresearch.training import Algorithm, State


class Averaged(NamedTuple):
    """The state of `averaged`: the trained state, and the averaged params and float model state of each of its parts."""

    inner: State
    average: PyTree[Array]


class Stopped(NamedTuple):
    """The state of `stopped`: the trained state, the best one so far, and counts of the looks at validation data.

    ``best_look`` counts from 1; it is 0 until a look has a finite metric.
    """

    inner: State
    best: State
    best_value: Float[Array, ""]
    n_looks: Int[Array, ""]
    best_look: Int[Array, ""]


def averaged(algorithm: Algorithm, *, decay: float | Float[Array, ""]) -> Algorithm:
    r"""Returns the algorithm that evaluates and predicts with an exponential moving average of its parameters.

    .. math:: \bar\theta_t = d \bar\theta_{t-1} + (1 - d) \theta_t, \qquad \bar\theta_0 = \theta_0

    Every part of the state that has ``params`` (one or more `jaxresearch.training.TrainState`) is averaged, together with the
    float arrays of its ``model_state``; 16-bit arrays are averaged in float32. Training itself uses the current parameters.

    Args:
        algorithm: The algorithm to average.
        decay: Weight of the past, 0 to below 1; may be swept. It averages over about ``1 / (1 - decay)`` steps.

    Returns:
        The algorithm; its state is `Averaged`, and its outcome holds the average in place of the parameters.

    Raises:
        ValueError: If ``decay`` is out of range; at initialisation, if the state has no ``params`` or is that of `stopped`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import losses, models, training
        >>> sgd = training.supervised(models.linear(1, 1), losses.half_squared_error,
        ...                           optimizer=training.gradient_descent(0.5), metrics={})
        >>> smooth = averaged(sgd, decay=0.9)
        >>> batch = {"inputs": jnp.ones((1, 1)), "targets": jnp.ones((1, 1))}
        >>> state, _ = smooth.step(smooth.init(jax.random.key(0)), batch, jax.random.key(1))
        >>> bool(state.average[0].params["Dense_0"]["bias"] == 0.1 * state.inner.params["Dense_0"]["bias"])
        True
    """
    if isinstance(decay, int | float) and not 0 <= decay < 1:
        raise ValueError(f"decay must be at least 0 and below 1, got {decay}. Pass 0.999 to average over 1,000 steps.")

    def wrap(inner):
        return Averaged(inner, jax.tree.map(_wide, _averageable(inner)))

    def step(state, batch, key):
        inner, metrics = algorithm.step(state.inner, batch, key)
        new = jax.tree.map(_wide, _averageable(inner))
        new = optax.incremental_update(new, state.average, 1 - decay)
        return Averaged(inner, jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), new, state.average)), metrics

    return wrapped(algorithm, wrap, step, seen=lambda state: _with_averages(state.inner, state.average))


def stopped(algorithm: Algorithm, *, metric: str, patience: int, higher: bool = False) -> Algorithm:
    """Returns the algorithm that stops early: its outcome is the best state on validation data.

    Steps are unchanged: a `jax.numpy.where` in each would cost more than running the steps after the end, which do not affect
    the best state. Without a look at validation data, the outcome is the last state.

    Args:
        algorithm: The algorithm to stop.
        metric: The validation metric that decides, a scalar of `Algorithm.evaluate`.
        patience: Number of looks without improvement after which the algorithm is done, 1 or more.
        higher: Whether higher values are better; by default lower ones are.

    Returns:
        The algorithm; its state is `Stopped`.

    Raises:
        ValueError: If ``patience`` is not positive; at a look, if the metric is missing or not a scalar.

    Example:
        The third state is the best, with the smallest square.

        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import training
        >>> step = lambda state, batch, key: (state + 1, {})
        >>> count = Algorithm(lambda key: jnp.float32(-3), step, lambda state, data, key: {"square": state**2})
        >>> early = stopped(count, metric="square", patience=2)
        >>> state, _ = training.run(jax.random.key(0), {}, {}, algorithm=early, plan=training.Plan(0, 5, evaluate_every=1))
        >>> float(early.outcome(state).inner), int(state.best_look), bool(early.done(state))
        (0.0, 3, True)

    References:
        Prechelt (1998), Early stopping - but when?, section 2 (the criterion UP).
        https://doi.org/10.1007/3-540-49430-8_3
    """
    if patience < 1:
        raise ValueError(
            f"patience must be 1 or more, got {patience}. Pass the number of looks to wait for an improvement."
        )
    worst = -jnp.inf if higher else jnp.inf

    def wrap(inner):
        zero = jnp.zeros((), jnp.int32)
        return Stopped(
            inner, jax.tree.map(jnp.copy, inner), jnp.asarray(worst, jnp.result_type(float)), zero, jnp.copy(zero)
        )

    def step(state, batch, key):
        inner, metrics = algorithm.step(state.inner, batch, key)
        return state._replace(inner=inner), metrics

    def done(state):
        return state.n_looks - state.best_look >= patience

    def observe(state, metrics):
        value, was_done = _scalar(metrics, metric), done(state)
        inner = algorithm.observe(state.inner, metrics)
        is_better = (value > state.best_value if higher else value < state.best_value) & jnp.isfinite(value) & ~was_done
        best = jax.tree.map(lambda new, old: jnp.where(is_better, new, old), inner, state.best)
        n_looks = jnp.where(was_done, state.n_looks, state.n_looks + 1)
        best_value = jnp.where(is_better, value, state.best_value).astype(state.best_value.dtype)
        return Stopped(inner, best, best_value, n_looks, jnp.where(is_better, n_looks, state.best_look))

    def outcome(state):
        best = jax.tree.map(lambda new, old: jnp.where(state.best_look > 0, new, old), state.best, state.inner)
        best = algorithm.outcome(best)
        return state._replace(inner=best, best=jax.tree.map(jnp.copy, best))

    return wrapped(algorithm, wrap, step)._replace(observe=observe, done=done, outcome=outcome)


def wrapped(
    algorithm: Algorithm,
    wrap: Callable[[State], Any],
    step: Callable[..., Any],
    *,
    seen: Callable[[Any], State] = lambda state: state.inner,
) -> Algorithm:
    """Returns the algorithm whose state is the ``inner`` one of another, for transformations that keep something beside it.

    Args:
        algorithm: Of the inner state.
        wrap: ``inner -> state``, a named tuple.
        step: ``(state, batch, key) -> (state, metrics)``.
        seen: ``state -> inner``, the inner state that is evaluated and predicts.

    Returns:
        The algorithm, without what ``algorithm`` lacks.

    Example:
        >>> step = lambda state, batch, key: (state, {})
        >>> idle = Algorithm(lambda key: 0.0, step, lambda *_: {})
        >>> wrapped(idle, lambda inner: Averaged(inner, []), step).init(None)
        Averaged(inner=0.0, average=[])
    """
    predict, start, defaults = algorithm.predict, algorithm.start, Algorithm._field_defaults

    def unless_default(name: str, fun: Callable[..., Any]) -> Callable[..., Any]:
        return defaults[name] if getattr(algorithm, name) is defaults[name] else fun

    return Algorithm(
        lambda key: wrap(algorithm.init(key)),
        step,
        lambda state, data, key: algorithm.evaluate(seen(state), data, key),
        None if predict is None else lambda state, inputs: predict(seen(state), inputs),
        unless_default("observe", lambda s, metrics: s._replace(inner=algorithm.observe(s.inner, metrics))),
        unless_default("done", lambda state: algorithm.done(state.inner)),
        lambda state: state._replace(inner=algorithm.outcome(seen(state))),
        None if start is None else lambda params, model_state: wrap(start(params, model_state)),
    )


def skipping(algorithm: Algorithm) -> Algorithm:
    """Returns the algorithm that skips any step that would make a finite part of its state non-finite.

    It also skips a step that reports a non-finite ``loss``.

    Args:
        algorithm: The algorithm whose steps to check.

    Returns:
        The algorithm; its steps report ``skipped``, 1 for a skipped step, else 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import losses, models, training
        >>> sgd = training.supervised(models.linear(1, 1), losses.half_squared_error,
        ...                           optimizer=training.gradient_descent(0.5), metrics={})
        >>> before = skipping(sgd).init(jax.random.key(0))
        >>> batch = {"inputs": jnp.ones((1, 1)), "targets": jnp.array([[jnp.inf]])}
        >>> after, metrics = skipping(sgd).step(before, batch, jax.random.key(1))
        >>> float(metrics["skipped"]), bool((after.params["Dense_0"]["kernel"] == before.params["Dense_0"]["kernel"]).all())
        (1.0, True)
    """

    def step(state, batch, key):
        new, metrics = algorithm.step(state, batch, key)
        pairs = zip(jax.tree.leaves(new), jax.tree.leaves(state), strict=True)
        is_kept = [_is_finite(after) | ~_is_finite(before) for after, before in pairs if _is_float(after)]
        is_fine = jnp.stack([*is_kept, _is_finite(metrics.get("loss", jnp.zeros(())))]).all()
        kept = jax.tree.map(lambda after, before: jnp.where(is_fine, after, before), new, state)
        return kept, {**metrics, "skipped": 1.0 - is_fine}

    return algorithm._replace(step=step)


def warm_started(algorithm: Algorithm, initial: PyTree) -> Algorithm:
    """Returns the algorithm that starts from the parameters and batch statistics of another, wherever the names match.

    They replace those of the first part of the state that has ``params``, as in `jaxresearch.models.warm_started`, and of every
    copy of that part (an average, the best state so far). The optimizer state is initialised for them by `Algorithm.start`. A
    custom algorithm without ``start`` keeps the optimizer state of fresh parameters: right for Adam or momentum, which start at
    0, wrong for an optimizer that holds a copy of the parameters.

    Args:
        algorithm: The algorithm to start.
        initial: A state of the other algorithm, such as the outcome of its run, of which the first part with ``params`` is
            used; or the parameters alone, if the model has no batch statistics. ``TrainState(params, {}, ())`` keeps fresh
            statistics.

    Returns:
        The algorithm with a different ``init``.

    Raises:
        ValueError: At initialisation: if the state has no ``params``, no name matches, shapes of the same name differ, a model
            with batch statistics gets parameters alone, or the states of ``start`` and ``init`` differ in structure.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import losses, models, training
        >>> sgd = training.supervised(models.linear(1, 1), losses.half_squared_error,
        ...                           optimizer=training.gradient_descent(0.5), metrics={})
        >>> other = {"Dense_0": {"kernel": jnp.full((1, 1), 3.0)}}
        >>> state = warm_started(averaged(sgd, decay=0.9), other).init(jax.random.key(0))
        >>> float(state.inner.params["Dense_0"]["kernel"][0, 0]), float(state.average[0].params["Dense_0"]["kernel"][0, 0])
        (3.0, 3.0)
    """
    part = first_part(initial)
    params, model_state = (initial, None) if part is None else (part.params, getattr(part, "model_state", {}))

    def init(key):
        state = algorithm.init(key)
        fresh = params_of(state), getattr(first_part(state), "model_state", {})
        model = models.warm_started(models.Model(lambda _: fresh, _no_outputs), params, model_state)
        initial_part = jax.tree.map(jnp.copy, model.init(key))
        if algorithm.start is None:
            return _with_part(state, *initial_part)
        whole = algorithm.start(*initial_part)
        if jax.tree.structure(whole) != jax.tree.structure(state):
            raise ValueError(
                "start must return a state of the same structure as init, got a different one. Change both, or pass start=None."
            )
        return whole

    return algorithm._replace(init=init)


def params_of(state: State) -> PyTree:
    """Returns the ``params`` of the first part of a state that has them.

    Args:
        state: Arrays, or their shapes.

    Returns:
        Its parameters.

    Raises:
        ValueError: If no part of the state has ``params``.

    Example:
        >>> from jaxresearch.training import TrainState
        >>> params_of([TrainState({"w": 1.0}, {}, ()), TrainState({"w": 2.0}, {}, ())])
        {'w': 1.0}
    """
    first = first_part(state)
    if first is None:
        raise ValueError(
            "the state of an algorithm must have params to be warm-started, got none. Keep them in a TrainState."
        )
    return first.params


def first_part(state: State) -> Any:
    """Returns the first part of a state that has ``params``: in an outcome, the part that is evaluated.

    Args:
        state: Of one run, or of several with leading axes.

    Returns:
        A `jaxresearch.training.TrainState` or a similar tuple; None if no part has ``params``.

    Example:
        >>> first_part({"no": 1.0}) is None
        True
    """
    return next(iter(parts_of(state)), None)


def parts_of(state: State) -> list[Any]:
    """Returns every part of a state that has ``params``, without the copies that `averaged` and `stopped` keep.

    Example:
        >>> [part.params for part in parts_of(Averaged((_Part(1.0, {}), _Part(2.0, {})), [_Part(3.0, {})]))]
        [1.0, 2.0]
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda node: _has_params(node) or isinstance(node, Averaged | Stopped))
    found = (parts_of(node.inner) if isinstance(node, Averaged | Stopped) else [node] for node in nodes)
    return [part for parts in found for part in parts if _has_params(part)]


def best_look(state: State) -> Int[Array, "..."] | None:
    """Returns the number of the look at which `stopped` found the outcome of each run, counted from 1.

    Args:
        state: Of one run, or of several with leading axes.

    Returns:
        ``Stopped.best_look`` of the outermost `stopped`, 0 if no look had a finite metric; None without `stopped`.

    Example:
        >>> best_look({"no": 1.0}) is None
        True
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, Stopped))
    return next((node.best_look for node in nodes if isinstance(node, Stopped)), None)


def _with_part(state: State, params: PyTree[Array], model_state: PyTree[Array]) -> State:
    """Returns a state with new params and model state in its first part with ``params`` and in every copy of that part."""
    if isinstance(state, Stopped):
        inner, best = (_with_part(kept, params, model_state) for kept in (state.inner, state.best))
        return state._replace(inner=inner, best=best)
    if isinstance(state, Averaged):
        copied = jax.tree.map(_wide, _Part(_floats(params), _floats(model_state)))
        return state._replace(inner=_with_part(state.inner, params, model_state), average=[copied, *state.average[1:]])
    nodes, structure = jax.tree.flatten(state, is_leaf=_has_params)
    place = next(i for i, node in enumerate(nodes) if _has_params(node))
    values = {"params": params, "model_state": model_state}
    part = {name: jax.tree.map(jnp.copy, value) for name, value in values.items() if hasattr(nodes[place], name)}
    nodes[place] = nodes[place]._replace(**part)
    return jax.tree.unflatten(structure, nodes)


def _has_params(node: Any) -> bool:
    """Returns whether a node of a state is a part with parameters."""
    return hasattr(node, "params")


def _no_outputs(*_: Any) -> Any:
    """Raises: only the parameters of this model are drawn."""
    raise NotImplementedError


def _is_part(node: Any) -> bool:
    """Returns whether a node of a state is a part that `averaged` averages."""
    if isinstance(node, Stopped):
        raise ValueError(
            "averaged must come inside stopped, which keeps the best average. Write stopped(averaged(...))."
        )
    return _has_params(node)


def _averageable(state: State) -> list[Any]:
    """Returns params and the float arrays of model_state of every part of a state."""
    parts = [node for node in jax.tree.leaves(state, is_leaf=_is_part) if _is_part(node)]
    if not parts:
        raise ValueError(
            "averaged must wrap an algorithm whose state has params, got one without. Keep them in a TrainState."
        )
    return [_Part(_floats(part.params), _floats(getattr(part, "model_state", {}))) for part in parts]


class _Part(NamedTuple):
    """The averaged arrays of one part of a state, None in place of the others."""

    params: PyTree[Array]
    model_state: PyTree[Array]


def _floats(tree: PyTree[Array]) -> PyTree[Array]:
    """Returns the float arrays of a tree, and None in place of the others."""
    return jax.tree.map(lambda leaf: leaf if _is_float(leaf) else None, tree)


def _with_averages(state: State, averages: list[_Part]) -> State:
    """Returns a state with the averages in their places."""
    rest = iter(averages)

    def replaced(node: Any) -> Any:
        if not _is_part(node):
            return node
        part = next(rest)
        if not hasattr(node, "model_state"):
            return node._replace(params=_merged(node.params, part.params))
        model_state = _merged(node.model_state, part.model_state)
        return node._replace(params=_merged(node.params, part.params), model_state=model_state)

    return jax.tree.map(replaced, state, is_leaf=_is_part)


def _wide(leaf: Array) -> Array:
    """Returns a copy in float32 or wider: 16 bits would round away small updates of an average."""
    return jnp.array(leaf, jnp.promote_types(leaf.dtype, jnp.float32))


def _merged(own: PyTree[Array], average: PyTree[Array]) -> PyTree[Array]:
    """Returns a tree with averages in place of the averaged arrays, in the tree's own types."""
    leaves = jax.tree.leaves(average, is_leaf=lambda leaf: leaf is None)
    merged = [
        old if new is None else new.astype(old.dtype) for old, new in zip(jax.tree.leaves(own), leaves, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(own), merged)


def _scalar(metrics: dict[str, Array], name: str) -> Array:
    """Returns the validation metric that decides."""
    if name not in metrics or jnp.ndim(metrics[name]):
        names = ", ".join(metric for metric, value in metrics.items() if not jnp.ndim(value))
        raise ValueError(f"metric must be one of {names}, got {name!r}. Choose a scalar validation metric.")
    return metrics[name]


def _is_float(leaf: Array) -> bool:
    """Returns whether an array can hold non-finite values."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _is_finite(leaf: Array) -> Array:
    """Returns whether all entries are finite."""
    return jnp.isfinite(leaf).all()

"""Training as a pure function: ``init``, ``step``, ``advance`` (a scan of steps), ``run`` (all of them).

Nothing here compiles, prints or draws a seed: wrap a run in `jax.jit`, `jax.vmap`, `jax.grad` or `jax.export` yourself,
or let `jaxresearch.sweeps` and the command line do it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxresearch import sampling
from jaxresearch.gradients import Batch, GradientEstimator, LossFn, Metrics
from jaxresearch.losses import weighted_mean
from jaxresearch.metrics import Metric
from jaxresearch.models import Model


class TrainState(NamedTuple):
    """All that a run carries from step to step: arrays alone, so it can be vmapped, saved and compared bit for bit."""

    step: Int[Array, ""]
    params: PyTree[Array]
    model_state: PyTree[Array]
    opt_state: PyTree[Array]


Step = Callable[[TrainState, Batch, Key[Array, ""]], tuple[TrainState, Metrics]]


def supervised(model: Model, loss: Callable[..., Array], *, metrics: dict[str, Metric] | None = None) -> LossFn:
    """Returns the loss_fn that joins a model to a loss: the mean loss of the model's outputs for a batch.

    Args:
        model: Gives outputs for ``batch["inputs"]``.
        loss: ``(outputs, targets) -> loss per example``, for ``batch["targets"]``.
        metrics: Further figures of each training batch by name.

    Returns:
        ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``. Where the batch carries ``weights``, the
        mean is weighted by them.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import losses, models
        >>> model = models.linear(1, 1)
        >>> loss_fn = supervised(model, losses.half_squared_error)
        >>> params, model_state = model.init(jax.random.key(0))
        >>> batch = {"inputs": jnp.zeros((4, 1)), "targets": jnp.ones((4, 1))}
        >>> loss, _ = loss_fn(params, model_state, batch, jax.random.key(1))
        >>> float(loss)
        0.5

    References:
        Vapnik (1991), Principles of risk minimization for learning theory, NeurIPS 4, equation 3 (empirical risk).
        https://papers.nips.cc/paper/1991/hash/ff4d5fbbafdf976cfdc032e3bde78de5-Abstract.html
    """
    metrics = metrics or {}

    def loss_fn(params, model_state, batch, key):
        outputs, model_state = model.apply(params, model_state, batch["inputs"], key)
        weights = batch.get("weights")
        figures = {name: metric(outputs, batch["targets"], weights) for name, metric in metrics.items()}
        return weighted_mean(loss(outputs, batch["targets"]), weights), (figures, model_state)

    return loss_fn


def gradient_descent(learning_rate: float | Float[Array, ""]) -> optax.GradientTransformation:
    r"""Returns plain gradient descent as an update rule.

    .. math:: \theta \leftarrow \theta - \alpha \nabla_\theta L

    Args:
        learning_rate: The step size :math:`\alpha`, in units of parameter squared per loss; may be swept.

    Returns:
        An Optax transformation without state.

    Example:
        >>> import jax.numpy as jnp
        >>> rule = gradient_descent(0.5)
        >>> update, _ = rule.update(jnp.array([2.0]), rule.init(jnp.array([1.0])))
        >>> update.tolist()
        [-1.0]

    References:
        Cauchy (1847), Méthode générale pour la résolution des systèmes d'équations simultanées, C. R. Acad. Sci. 25.
        https://gallica.bnf.fr/ark:/12148/bpt6k2982c/f540
    """

    def update(updates, state, params=None):
        del params
        return jax.tree.map(lambda g: -learning_rate * g, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def init(key: Key[Array, ""], *, model: Model, optimizer: optax.GradientTransformation) -> TrainState:
    """Returns the state before the first step of the run with this key.

    Args:
        key: The key of the run, the same that `advance` receives.
        model: Draws the parameters.
        optimizer: Makes its state for them.

    Returns:
        The state at step 0.

    Example:
        >>> import jax
        >>> from jaxresearch import models
        >>> state = init(jax.random.key(0), model=models.linear(3, 1), optimizer=gradient_descent(0.1))
        >>> int(state.step), sum(leaf.size for leaf in jax.tree.leaves(state.params))
        (0, 4)

    References:
        Glorot and Bengio (2010), Understanding the difficulty of training deep feedforward neural networks, AISTATS.
        https://proceedings.mlr.press/v9/glorot10a.html
    """
    params, model_state = model.init(_streams(key).init)
    return TrainState(jnp.zeros((), jnp.int32), params, model_state, optimizer.init(params))


def step(estimator: GradientEstimator, optimizer: optax.GradientTransformation) -> Step:
    r"""Returns the step that joins a gradient estimator to an update rule.

    .. math:: \theta \leftarrow \theta + u(g), \quad g = \text{estimator}(\theta, \text{batch})

    Args:
        estimator: ``(params, model_state, batch, key) -> (gradient, metrics, model_state)``.
        optimizer: Any Optax transformation; `gradient_descent` for the plain rule.

    Returns:
        ``(state, batch, key) -> (state, metrics)``, with the metrics of the estimator.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import gradients, losses, models
        >>> model, rule = models.linear(1, 1), gradient_descent(0.1)
        >>> one_step = step(gradients.plain(supervised(model, losses.half_squared_error)), rule)
        >>> batch = {"inputs": jnp.ones((4, 1)), "targets": jnp.ones((4, 1))}
        >>> state, metrics = one_step(init(jax.random.key(0), model=model, optimizer=rule), batch, jax.random.key(1))
        >>> int(state.step), sorted(metrics)
        (1, ['loss'])

    References:
        Robbins and Monro (1951), A stochastic approximation method, Ann. Math. Stat. 22(3).
        https://doi.org/10.1214/aoms/1177729586
    """

    def step_fn(state: TrainState, batch: Batch, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        gradient, metrics, model_state = estimator(state.params, state.model_state, batch, key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, model_state, opt_state), metrics

    return step_fn


def skipping(step: Step) -> Step:
    """Returns the step that leaves all but its count as it was, where the loss or the new state is not finite.

    Args:
        step: ``(state, batch, key) -> (state, metrics)``, with a metric ``loss``.

    Returns:
        The same with a metric ``skipped``, 1 where nothing was changed, else 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import gradients, losses, models
        >>> model, rule = models.linear(1, 1), gradient_descent(0.1)
        >>> one_step = skipping(step(gradients.plain(supervised(model, losses.half_squared_error)), rule))
        >>> before = init(jax.random.key(0), model=model, optimizer=rule)
        >>> after, metrics = one_step(before, {"inputs": jnp.ones((1, 1)), "targets": jnp.array([[jnp.inf]])}, jax.random.key(1))
        >>> float(metrics["skipped"]), bool((after.params["Dense_0"]["kernel"] == before.params["Dense_0"]["kernel"]).all())
        (1.0, True)

    References:
        Micikevicius et al. (2018), Mixed precision training, ICLR, section 3.2. https://arxiv.org/abs/1710.03740
    """

    def step_fn(state: TrainState, batch: Batch, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        made, metrics = step(state, batch, key)
        floats = [leaf for leaf in jax.tree.leaves((metrics["loss"], made)) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        is_fine = jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()
        kept = jax.tree.map(lambda new, old: jnp.where(is_fine, new, old), made, state)
        return kept._replace(step=made.step), {**metrics, "skipped": 1.0 - is_fine}

    return step_fn


def advance(
    key: Key[Array, ""], state: TrainState, data: Batch, *, step: Step, batch_size: int, n_steps: int
) -> tuple[TrainState, Metrics]:
    """Returns the state ``n_steps`` later, and the metrics of these steps.

    Step ``t`` sees the examples `sampling.batch_indices` gives for it and the key ``fold_in(step key, t)``, whoever
    calls: advancing by ``a`` and then by ``b`` is advancing by ``a + b``, bit for bit.

    Args:
        key: The key of the run, the same at every call.
        state: Where to go on from.
        data: Arrays with equal leading axes.
        step: ``(state, batch, key) -> (state, metrics)``.
        batch_size: Examples a step, 1 to the length of the data.
        n_steps: Steps to make, 1 or more; static.

    Returns:
        The new state, and the metrics by name, each with a leading axis of ``n_steps``.

    Raises:
        ValueError: If ``n_steps`` or ``batch_size`` is out of range, or the arrays of ``data`` differ in length.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import gradients, losses, models
        >>> model, rule = models.linear(1, 1), gradient_descent(0.1)
        >>> one_step = step(gradients.plain(supervised(model, losses.half_squared_error)), rule)
        >>> data = {"inputs": jnp.ones((8, 1)), "targets": jnp.ones((8, 1))}
        >>> state = init(jax.random.key(0), model=model, optimizer=rule)
        >>> state, history = advance(jax.random.key(0), state, data, step=one_step, batch_size=4, n_steps=3)
        >>> int(state.step), history["loss"].shape
        (3, (3,))

    References:
        Bottou, Curtis and Nocedal (2018), Optimization methods for large-scale machine learning, SIAM Review 60(2),
        algorithm 4.1. https://arxiv.org/abs/1606.04838
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be 1 or more; got {n_steps}. Pass at least one epoch and one batch.")
    streams, n_examples = _streams(key), _length(data)

    def body(state: TrainState, _) -> tuple[TrainState, Metrics]:
        indices = sampling.batch_indices(streams.order, state.step, n_examples=n_examples, batch_size=batch_size)
        # The indices are in bounds by construction: no clamping.
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf).at[indices].get(mode="promise_in_bounds"), data)
        return step(state, batch, jax.random.fold_in(streams.step, state.step))

    return jax.lax.scan(body, state, length=n_steps)


def run(
    key: Key[Array, ""],
    data: Batch,
    *,
    model: Model,
    estimator: GradientEstimator,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    epochs: int,
) -> tuple[TrainState, Metrics]:
    """Returns the state after training from scratch, and the metrics of every step.

    Args:
        key: All the randomness of the run: parameters, order of the data, dropout.
        data: Arrays with equal leading axes. Pass them as an argument of the jitted function, never as a closure:
            captured data is folded into the program, which costs seconds of compilation.
        model: What is trained.
        estimator: ``(params, model_state, batch, key) -> (gradient, metrics, model_state)``.
        optimizer: Any Optax transformation; build it from the run's own arguments, so that its numbers can be swept.
        batch_size: Examples a step, 1 to the length of the data.
        epochs: Passes over the data, 1 or more.

    Returns:
        The last state, and the metrics by name, each with a leading axis of all steps.

    Raises:
        ValueError: If a size is out of range, or the arrays of ``data`` differ in length.

    Example:
        A run is a function like any other: here one derivative of its last loss.

        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import gradients, losses, models
        >>> model = models.linear(1, 1)
        >>> estimator = gradients.plain(supervised(model, losses.half_squared_error))
        >>> data = {"inputs": jnp.ones((8, 1)), "targets": jnp.ones((8, 1))}
        >>> def last_loss(learning_rate):
        ...     _, history = run(jax.random.key(0), data, model=model, estimator=estimator,
        ...                      optimizer=gradient_descent(learning_rate), batch_size=4, epochs=2)
        ...     return history["loss"][-1]
        >>> bool(jax.grad(last_loss)(0.1) < 0)
        True

    References:
        Bottou, Curtis and Nocedal (2018), Optimization methods for large-scale machine learning, SIAM Review 60(2),
        algorithm 4.1. https://arxiv.org/abs/1606.04838
    """
    n_steps = epochs * sampling.steps_per_epoch(_length(data), batch_size=batch_size)
    state = init(key, model=model, optimizer=optimizer)
    return advance(key, state, data, step=step(estimator, optimizer), batch_size=batch_size, n_steps=n_steps)


def evaluate(
    state: TrainState, data: Batch, *, model: Model, metrics: dict[str, Metric], batch_size: int
) -> dict[str, Array]:
    """Returns the metrics of a state over whole data, seen in batches so that memory is bounded.

    The model is applied without a key: no dropout, running statistics. The last batch is filled up with examples of
    weight zero, so every example counts once.

    Args:
        state: Gives the parameters and the model's state.
        data: ``inputs`` and ``targets``, and ``weights`` where examples count differently.
        model: Gives outputs for the inputs.
        metrics: What to compute, by name.
        batch_size: Examples at a time, 1 or more.

    Returns:
        The value of each metric by name.

    Raises:
        ValueError: If ``batch_size`` is not positive, or the arrays of ``data`` differ in length.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import metrics, models
        >>> model = models.linear(1, 1)
        >>> state = init(jax.random.key(0), model=model, optimizer=gradient_descent(0.1))
        >>> data = {"inputs": jnp.zeros((5, 1)), "targets": jnp.ones((5, 1))}
        >>> values = evaluate(state, data, model=model, metrics={"mse": metrics.mean_squared_error()}, batch_size=2)
        >>> float(values["mse"])
        1.0

    References:
        Hastie, Tibshirani and Friedman (2009), The Elements of Statistical Learning, section 7.2 (test error).
        https://hastie.su.domains/ElemStatLearn/
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; got {batch_size}. Pass the examples that fit in memory.")
    n_examples = _length(data)
    batch_size = min(batch_size, n_examples)

    def summaries(start: Int[Array, ""]) -> dict[str, Any]:
        position = start + jnp.arange(batch_size)
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[jnp.minimum(position, n_examples - 1)], data)
        weights = (position < n_examples) * batch.get("weights", jnp.ones(batch_size))
        outputs, _ = model.apply(state.params, state.model_state, batch["inputs"])
        return {name: metric.summarise(outputs, batch["targets"], weights) for name, metric in metrics.items()}

    stacked = jax.lax.map(summaries, jnp.arange(0, n_examples, batch_size))
    return {name: metric.compute(metric.merge(stacked[name])) for name, metric in metrics.items()}


class _Streams(NamedTuple):
    """The independent keys of a run."""

    init: Key[Array, ""]
    order: Key[Array, ""]
    step: Key[Array, ""]


def _streams(key: Key[Array, ""]) -> _Streams:
    """Returns the keys of a run for its parameters, the order of its data and its steps."""
    return _Streams(*(jax.random.fold_in(key, stream) for stream in range(3)))


def _length(data: Batch) -> int:
    """Returns the number of examples."""
    lengths = {jax.tree_util.keystr(path): leaf.shape[0] for path, leaf in jax.tree_util.tree_leaves_with_path(data)}
    if not lengths or len(set(lengths.values())) > 1:
        raise ValueError(
            f"data must hold arrays with equal leading axes; got {lengths}. Give each example one row in every array."
        )
    return next(iter(lengths.values()))

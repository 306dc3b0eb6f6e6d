"""Gradient-based algorithms: from a model and a loss, or from a loss_fn."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxresearch import devices, gradients
from jaxresearch.data.parts import n_examples
from jaxresearch.gradients import Batch, LossFn
from jaxresearch.losses import weighted_mean
from jaxresearch.metrics import Metric
from jaxresearch.models import Model
from jaxresearch.signatures import require_arguments
from jaxresearch.training.algorithm import Algorithm, EstimatorOf

_AUGMENT = 2**31 - 1  # folded into a step's key, to make augmentation independent of dropout


def _identity(values: Array) -> Array:
    """Returns outputs or targets unchanged: they have the target's own units."""
    return values


def _in_own_units(metric: Metric, invert: Callable[[Array], Array]) -> Metric:
    """Returns the metric, computed in the target's own units."""
    if invert is _identity:
        return metric

    def summarise(outputs, targets, weights=None):
        return metric.summarise(invert(outputs), invert(targets), weights)

    return dataclasses.replace(metric, summarise=summarise)


class TrainState(NamedTuple):
    """The state of a gradient-based algorithm."""

    params: PyTree[Array]
    model_state: PyTree[Array]
    opt_state: PyTree[Array]


def supervised(
    model: Model,
    loss: Callable[..., Array],
    *,
    optimizer: optax.GradientTransformation,
    metrics: dict[str, Metric],
    train_metrics: dict[str, Metric] | None = None,
    estimator: EstimatorOf = gradients.plain,
    invert: Callable[[Array], Array] = _identity,
    augment: Callable[[Key[Array, ""], Batch], Batch] | None = None,
    evaluation_batch: int = 1000,
) -> Algorithm:
    """Returns the algorithm that minimises the mean loss of a model over the training data.

    Args:
        model: Computes outputs from ``inputs``.
        loss: ``(outputs, targets) -> loss per example``, as in `mean_loss`.
        optimizer: Any Optax transformation; build it inside the function to sweep, so that its numbers can be swept.
        metrics: Metrics of `Algorithm.evaluate`, by name.
        train_metrics: Further metrics of the batch that each step reports.
        estimator: Builds the gradient estimator from the loss_fn; `Plan.estimator` in an experiment.
        invert: Converts outputs and targets to the target's own units for ``metrics`` (not for the loss).
        augment: ``(key, batch) -> batch`` of the same shapes, applied to each training batch: `jaxresearch.augmentations`.
        evaluation_batch: Examples evaluated at a time, 1 or more; reduce it if outputs are large.

    Returns:
        An algorithm with a `TrainState`. Its steps report ``loss``, the train metrics and the estimator's metrics.

    Raises:
        ValueError: If ``evaluation_batch`` is not positive; in training, if the loss does not return one value per example.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import losses, metrics, models, training
        >>> algorithm = supervised(models.linear(1, 1), losses.half_squared_error, optimizer=gradient_descent(0.5),
        ...                        metrics={"mse": metrics.mean_squared_error()})
        >>> x = jnp.linspace(-1, 1, 8)[:, None]
        >>> data = {"inputs": x, "targets": 2 * x}
        >>> plan = training.plan_of(8, batch_size=8, epochs=40)
        >>> state, _ = training.run(jax.random.key(0), data, algorithm=algorithm, plan=plan)
        >>> float(algorithm.evaluate(state, data, jax.random.key(1))["mse"]) < 1e-4
        True
    """
    loss_fn = mean_loss(model, loss, metrics=train_metrics)
    algorithm = gradient_based(
        model,
        loss_fn,
        optimizer=optimizer,
        metrics=metrics,
        estimator=estimator,
        invert=invert,
        evaluation_batch=evaluation_batch,
    )
    if augment is None:
        return algorithm

    def step(state, batch, key):
        return algorithm.step(state, augment(jax.random.fold_in(key, _AUGMENT), batch), key)

    return algorithm._replace(step=step)


def gradient_based(
    model: Model,
    loss_fn: LossFn,
    *,
    optimizer: optax.GradientTransformation,
    metrics: dict[str, Metric],
    estimator: EstimatorOf = gradients.plain,
    invert: Callable[[Array], Array] = _identity,
    evaluation_batch: int = 1000,
) -> Algorithm:
    r"""Returns the algorithm that minimises a loss_fn by gradient steps, and evaluates the outputs of a model.

    .. math:: \theta \leftarrow \theta + u(g), \quad g = \text{estimator}(\theta, \text{batch})

    Args:
        model: Draws the parameters, and computes the outputs to evaluate.
        loss_fn: ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``, the training loss.
        optimizer: As in `supervised`.
        metrics: As in `supervised`.
        estimator: As in `supervised`.
        invert: As in `supervised`.
        evaluation_batch: As in `supervised`.

    Returns:
        An algorithm with a `TrainState`. It evaluates without a key (no dropout, running statistics), in batches, padding
        the last one with examples of weight zero.

    Raises:
        ValueError: If ``evaluation_batch`` is not positive.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import models
        >>> model = models.function(lambda key: jnp.zeros(()), lambda params, inputs: params + inputs)
        >>> def loss_fn(params, model_state, batch, key):
        ...     return (params - batch["inputs"].mean()) ** 2, ({}, model_state)
        >>> algorithm = gradient_based(model, loss_fn, optimizer=gradient_descent(0.5), metrics={})
        >>> state, _ = algorithm.step(algorithm.init(jax.random.key(0)), {"inputs": jnp.ones(2)}, jax.random.key(1))
        >>> float(state.params)
        1.0
    """
    if evaluation_batch < 1:
        raise ValueError(
            f"evaluation_batch must be 1 or more, got {evaluation_batch}. Pass the number of examples that fit in memory."
        )
    gradient_of = estimator(loss_fn)

    def start(params, model_state):
        return TrainState(params, model_state, optimizer.init(params))

    def step(state, batch, key):
        gradient, values, model_state = gradient_of(state.params, state.model_state, batch, key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        return TrainState(optax.apply_updates(state.params, updates), model_state, opt_state), values

    def predict(state, inputs):
        return model.apply(state.params, state.model_state, inputs)[0]

    def evaluate(state, data, key):
        del key  # nothing is drawn
        converted = {name: _in_own_units(metric, invert) for name, metric in metrics.items()}
        return _in_batches(lambda inputs: predict(state, inputs), data, metrics=converted, batch_size=evaluation_batch)

    return Algorithm(lambda key: start(*model.init(key)), step, evaluate, predict, start=start)


def mean_loss(model: Model, loss: Callable[..., Array], *, metrics: dict[str, Metric] | None = None) -> LossFn:
    r"""Returns the loss_fn of a model: the mean loss of its outputs for a batch.

    .. math:: L(\theta) = \frac{1}{n} \sum_i \ell(f_\theta(x_i), y_i)

    Args:
        model: Computes outputs from ``batch["inputs"]``.
        loss: ``(outputs, targets) -> loss per example``, with ``batch["targets"]``: of shape ``(batch,)``, or with trailing axes
            (outputs, tokens) that do not depend on the size of the batch and are averaged. For other losses, such as one over
            pairs of examples, write a loss_fn.
        metrics: Further metrics of each training batch, by name.

    Returns:
        ``(params, model_state, batch, key) -> (loss, (metrics, model_state))``; a weighted mean if the batch has
        ``weights``.

    Raises:
        ValueError: If the loss takes other arguments. When called, if its result has another shape: a mean, or a matrix of all
            pairs, as from broadcasting ``(batch, 1)`` against ``(batch,)``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxresearch import losses, models
        >>> model = models.linear(1, 1)
        >>> loss_fn = mean_loss(model, losses.half_squared_error)
        >>> params, model_state = model.init(jax.random.key(0))
        >>> batch = {"inputs": jnp.zeros((4, 1)), "targets": jnp.ones((4, 1))}
        >>> loss, _ = loss_fn(params, model_state, batch, jax.random.key(1))
        >>> float(loss)
        0.5
    """
    metrics = metrics or {}
    require_arguments("loss", loss, "outputs", "targets")

    def loss_fn(params, model_state, batch, key):
        outputs, model_state = model.apply(params, model_state, batch["inputs"], key)
        targets, weights = jnp.asarray(batch["targets"]), batch.get("weights")
        values = {name: metric(outputs, targets, weights) for name, metric in metrics.items()}
        return weighted_mean(_per_example(loss, outputs, targets), weights), (values, model_state)

    return loss_fn


def _per_example(loss: Callable[..., Array], outputs: Any, targets: Array) -> Array:
    """Returns the losses; raises unless there is one per example."""
    losses, n = loss(outputs, targets), len(targets)
    shape, doubled = jnp.shape(losses), None
    if shape[:1] == (n,):
        # For one batch size alone, a matrix of pairs has the shape of n outputs per example; so try twice the size.
        twice = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((2 * n, *leaf.shape[1:]), leaf.dtype), (outputs, targets)
        )
        try:
            doubled = jax.eval_shape(loss, *twice).shape
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"loss must return one value per example for any batch size; with {2 * n} examples in place of {n} it "
                f"raised: {str(error).splitlines()[0]}. Compare outputs and targets of the same shape."
            ) from error
    if doubled != (2 * n, *shape[1:]):
        raise ValueError(
            f"loss must return one value for each of {n} examples, ({n},) or with trailing axes; got {shape} for outputs "
            f"{jax.tree.map(jnp.shape, outputs)} and targets {targets.shape}. {_remedy_of_loss(shape, outputs, targets)}"
        )
    return losses


def _remedy_of_loss(shape: tuple[int, ...], outputs: Any, targets: Array) -> str:
    """Returns the remedy for a loss of the wrong shape: it took the mean, or broadcast outputs with targets."""
    if not shape:
        return (
            "It returned one number, such as a mean: return one value per example, and leave the mean to the algorithm."
        )
    of_outputs = getattr(outputs, "shape", targets.shape)
    try:
        is_broadcast = of_outputs != targets.shape and jnp.broadcast_shapes(of_outputs, targets.shape) == shape
    except ValueError:
        is_broadcast = False
    if is_broadcast:
        return f"{of_outputs} and {targets.shape} were broadcast inside the loss: give both the same shape."
    return "Give both the same shape, and leave the mean to the algorithm."


def gradient_descent(learning_rate: float | Float[Array, ""]) -> optax.GradientTransformation:
    r"""Returns plain gradient descent as an update rule.

    .. math:: \theta \leftarrow \theta - \alpha \nabla_\theta L

    Args:
        learning_rate: The step size :math:`\alpha`, in units of squared parameter per loss; may be swept.

    Returns:
        An Optax transformation without state.

    Example:
        >>> import jax.numpy as jnp
        >>> rule = gradient_descent(0.5)
        >>> update, _ = rule.update(jnp.array([2.0]), rule.init(jnp.array([1.0])))
        >>> update.tolist()
        [-1.0]
    """

    def update(updates, state, params=None):
        del params
        return jax.tree.map(lambda g: -learning_rate * g, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _in_batches(
    predict: Callable[[Any], Array], data: Batch, *, metrics: dict[str, Metric], batch_size: int
) -> dict[str, Array]:
    """Returns the metrics of predictions for whole data, computed in batches to bound memory."""
    n_all = n_examples(data)
    batch_size = devices.padded_size(min(batch_size, n_all))

    @jax.checkpoint  # derivatives in the weights recompute the outputs instead of storing all of them
    def summaries(start: Int[Array, ""]) -> dict[str, Any]:
        position = start + jnp.arange(batch_size)
        batch = devices.spread(jax.tree.map(lambda leaf: jnp.asarray(leaf)[jnp.minimum(position, n_all - 1)], data))
        weights = (position < n_all) * batch.get("weights", jnp.ones(batch_size))
        outputs = batch["outputs"] if "outputs" in batch else predict(batch["inputs"])
        return {name: metric.summarise(outputs, batch["targets"], weights) for name, metric in metrics.items()}

    stacked = jax.lax.map(summaries, jnp.arange(0, n_all, batch_size))
    return {name: metric.compute(metric.merge(stacked[name])) for name, metric in metrics.items()}

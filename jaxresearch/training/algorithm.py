"""The interface between algorithms and the functions that train them: `Algorithm`, and the `Plan` of a run."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Key, PyTree

from jaxresearch import gradients, sampling
from jaxresearch.gradients import Batch, GradientEstimator, LossFn, Metrics

State = PyTree  # of arrays; of their shapes, where nothing is computed

EstimatorOf = Callable[[LossFn], GradientEstimator]


def _ignore(state: State, metrics: Metrics) -> State:
    """Returns the state unchanged: the algorithm does not react to validation metrics."""
    del metrics
    return state


def _never_done(state: State) -> Bool[Array, ""]:
    """Returns False: the algorithm takes all its steps."""
    del state
    return jnp.zeros((), bool)


def _last(state: State) -> State:
    """Returns the state itself: the outcome is the last state."""
    return state


class Algorithm(NamedTuple):
    """A training algorithm: pure functions over a state that is any pytree of arrays.

    ============  ===========================================  ============================================================
    function      signature                                    contract
    ============  ===========================================  ============================================================
    ``init``      ``(key) -> state``                           the state before the first step
    ``step``      ``(state, batch, key) -> (state, metrics)``  scalars by name; a ``loss`` is optional
    ``evaluate``  ``(state, data, key) -> metrics``            scalars, vectors or matrices; batches internally, honours
                                                               ``data["weights"]``
    ``predict``   ``(state, inputs) -> outputs``               None if the algorithm does not predict
    ``observe``   ``(state, metrics) -> state``                reacts to validation metrics
    ``done``      ``(state) -> bool``                          a runner may stop once all of its runs are done
    ``outcome``   ``(state) -> state``                         the state to evaluate, predict with and save; idempotent
    ``start``     ``(params, model_state) -> state``           ``init`` with given parameters; None if ``init`` draws
                                                               anything else
    ============  ===========================================  ============================================================

    `supervised` and `gradient_based` build the usual ones; write others directly. `jaxresearch.algorithms` has transformations
    from one algorithm to another.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> def step(state, batch, key):
        ...     return 0.5 * state + 0.5 * batch["inputs"].mean(), {"size": state}
        >>> halving = Algorithm(lambda key: jnp.zeros(()), step, lambda state, data, key: {"mean": state})
        >>> from jaxresearch import training
        >>> state, history = training.run(jax.random.key(0), {"inputs": jnp.ones(4)}, algorithm=halving, plan=Plan(2, 3))
        >>> float(state), history["size"].tolist()
        (0.875, [0.0, 0.5, 0.75])
    """

    init: Callable[[Key[Array, ""]], State]
    step: Callable[[State, Batch, Key[Array, ""]], tuple[State, Metrics]]
    evaluate: Callable[[State, Batch, Key[Array, ""]], Metrics]
    predict: Callable[[State, Any], Any] | None = None
    observe: Callable[[State, Metrics], State] = _ignore
    done: Callable[[State], Bool[Array, ""]] = _never_done
    outcome: Callable[[State], State] = _last
    start: Callable[[PyTree[Array], PyTree[Array]], State] | None = None


class Plan(NamedTuple):
    """The length and batch size of a run; `plan_of` and `jaxresearch.experiment.plan` build it.

    Attributes:
        batch_size: Examples per step; 0 if the algorithm needs no data.
        n_steps: Number of steps of the run.
        evaluate_every: Steps between looks at the validation data; None for no looks, or (in `run`) for one per epoch. The
            last look is at the end, so the last period may be shorter.
        estimator: Builds the gradient estimator from a loss_fn.
        poisson: Draws the batches, whose expected size is ``batch_size``; None for batches of exactly ``batch_size``.
    """

    batch_size: int
    n_steps: int
    evaluate_every: int | None = None
    estimator: EstimatorOf = gradients.plain
    poisson: sampling.Poisson | None = None

    @property
    def sampling(self) -> int | sampling.Poisson:
        """How the examples of a step are drawn: the ``batch_size`` argument of `advance` and `step_inputs`."""
        return self.batch_size if self.poisson is None else self.poisson


def plan_of(
    n_examples: int,
    *,
    batch_size: int,
    epochs: int,
    evaluate_every: int | None = None,
    estimator: EstimatorOf = gradients.plain,
) -> Plan:
    """Returns the plan of a run over a number of epochs.

    Args:
        n_examples: Number of training examples.
        batch_size: Examples per step, 1 to ``n_examples``.
        epochs: Passes over the data, 1 or more.
        evaluate_every: As in `Plan`.
        estimator: As in `Plan`.

    Returns:
        The plan; an epoch has only whole batches.

    Raises:
        ValueError: If a size is out of range.

    Example:
        >>> plan_of(60_000, batch_size=32, epochs=5).n_steps
        9375
    """
    if epochs < 1:
        raise ValueError(f"epochs must be 1 or more, got {epochs}. Pass the number of passes over the data.")
    n_steps = epochs * sampling.steps_per_epoch(n_examples, batch_size=batch_size)
    return Plan(batch_size, n_steps, evaluate_every, estimator)

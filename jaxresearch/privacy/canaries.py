"""Canaries: examples that an auditor plants in private runs, and the evidence of them that the runs release."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key

from jaxresearch import sampling
from jaxresearch.experiment import Experiment, Program
from jaxresearch.gradients import GradientEstimator, LossFn
from jaxresearch.privacy.estimator import clipped_sum, private
from jaxresearch.privacy.experiments import private_experiment
from jaxresearch.privacy.mechanism import Mechanism
from jaxresearch.training import Plan, State

View = Literal["states", "final"]
PrivateOf = Callable[[LossFn, Mechanism], GradientEstimator]

_MARK = "canary"  # the entry of the data with the marks, and the metric with the evidence
_STRENGTH = 1e4  # norm of a canary's gradient in units of the clipping norm: clipping must reduce it


def with_canaries(
    experiment: Experiment,
    mechanism_of: Callable[[Plan, int], Mechanism],
    *,
    n_canaries: int = 1,
    private_of: PrivateOf = private,
    name: str = "audit",
) -> Experiment:
    r"""Returns the private experiment with canaries among its examples, whose steps report the evidence of each.

    Canary j takes the place of training example j. Its loss is linear in one parameter of its own, so that its gradient is
    clipped to :math:`-c v_j`, a whole clipping norm in this direction. One that is left out has a gradient of zero, as in the
    relation ``zero-out``. Sampling, clipping and noise are those of the experiment. With ``clipping="per-array"`` and k arrays, a
    canary has only :math:`c / \sqrt k`, so the evidence is weaker and `scores` are not the best ones.

    The observer knows all other examples and which of them take part, so the evidence of a step is what remains of the released
    gradient :math:`\tilde g` without their part, in units of the clipping norm:

    .. math:: e_j = \Big\langle v_j, \sum_{i \text{ ordinary}} \text{clip}(g_i) / c - \tfrac{b}{c} \tilde g \Big\rangle

    Args:
        experiment: As declared.
        mechanism_of: As for `private_experiment`.
        n_canaries: Number of canaries, at most that of the parameters and of the training examples.
        private_of: ``(loss_fn, mechanism) -> estimator``, the estimator that is audited.
        name: As for `private_experiment`.

    Returns:
        The experiment. The data of its runs need the marks of `marked`; their metrics have ``"canary"``.

    Raises:
        ValueError: In its first step, if there are more canaries than parameters; and as `private_experiment`.

    Example:
        >>> from jaxresearch import loading
        >>> def mechanism_of(plan, n):
        ...     sizes = {"n_examples": n, "batch_size": plan.batch_size, "n_steps": plan.n_steps}
        ...     return Mechanism(noise_multiplier=1.0, clip=1.0, delta=1e-6, **sizes)
        >>> with_canaries(loading.load("mnist"), mechanism_of).replan(Plan(600, 1000), 60_000).sampling.rate
        0.01

    References:
        Nasr et al. (2023), Tight auditing of differentially private machine learning, USENIX Security, section 4 (Dirac canary).
        https://arxiv.org/abs/2302.07956
    """
    guarded = private_experiment(experiment, mechanism_of, name=name)

    def replan(plan: Plan, n_examples: int) -> Plan:
        assert guarded.replan is not None  # set by private_experiment
        planned = guarded.replan(plan, n_examples)
        mechanism = mechanism_of(planned, n_examples)

        def estimator(loss_fn: LossFn) -> GradientEstimator:
            planted = _planted(loss_fn, n_canaries, strength=_STRENGTH * mechanism.clip)
            return _observed(private_of(planted, mechanism), loss_fn, mechanism, n_canaries)

        return planned._replace(estimator=estimator)

    return dataclasses.replace(guarded, replan=replan)


def marked(data: dict[str, Any], included: Bool[Array, " canaries"]) -> dict[str, Any]:
    """Returns training data whose first examples are canaries.

    Args:
        data: Arrays with equal leading axes.
        included: Whether each canary is included; one that is left out has a gradient of zero.

    Returns:
        The data with an entry ``"canary"``: j or -j for canary j, counted from 1, if it is included or left out; 0 for the rest.

    Example:
        >>> marked({"inputs": jnp.ones((4, 2))}, jnp.array([True, False]))["canary"].tolist()
        [1, -2, 0, 0]
    """
    n, m = jax.tree.leaves(data)[0].shape[0], included.shape[0]
    numbers = jnp.arange(1, m + 1, dtype=jnp.int32)
    return {**data, _MARK: jnp.zeros(n, jnp.int32).at[:m].set(jnp.where(included, numbers, -numbers))}


def evidence(
    key: Key[Array, ""],
    state: State,
    data: dict[str, Any],
    included: Bool[Array, " canaries"],
    *,
    program: Program,
    hyperparameters: Any,
    view: View = "states",
) -> Float[Array, "canaries observations"]:
    """Returns what a whole run reveals about each canary.

    ==============  =======================================================================================================
    view            the observer sees
    ==============  =======================================================================================================
    ``"states"``    all states, and so the gradient of each step: one observation for each step
    ``"final"``     the initial and the final model: how much training lowered the loss of the canary, one observation
    ==============  =======================================================================================================

    Args:
        key: Of the run.
        state: Before the first step. Give all runs the same: the observer knows it.
        data: The training part.
        included: Whether each canary is included.
        program: Of an experiment from `with_canaries`.
        hyperparameters: The settings.
        view: See the table.

    Returns:
        Observations that are higher, in the mean, for canaries that are included.

    Raises:
        ValueError: If the algorithm drops the metrics of ``plan.estimator`` or, for ``"final"``, its state has no ``params``.

    Example:
        >>> from jaxresearch import experiment, loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> def mechanism_of(plan, n):
        ...     return Mechanism(noise_multiplier=0.0, clip=1.0, delta=1e-6, n_examples=n, batch_size=n, n_steps=plan.n_steps)
        >>> program = experiment.program(with_canaries(house, mechanism_of, n_canaries=2), dataset)
        >>> h = dataclasses.replace(house.hyperparameters, epochs=3)
        >>> state = program.init(jax.random.key(0), h)
        >>> included = jnp.array([True, False])
        >>> found = evidence(jax.random.key(1), state, dataset.train, included, program=program, hyperparameters=h)
        >>> found.shape, bool((abs(found - jnp.array([[1.0], [0.0]])) < 1e-2).all())
        ((2, 3), True)
    """
    n_steps = program.plan(hyperparameters).n_steps
    final, history = program.advance(key, hyperparameters, state, marked(data, included), 0, n_steps)
    if _MARK not in history:
        raise ValueError(
            "experiment must report the metrics of plan.estimator for an audit, got an algorithm that drops them. Return them "
            "from its step."
        )
    if view == "states":
        return history[_MARK].T
    start, end = (getattr(one, "params", None) for one in (state, final))
    if start is None or end is None:
        raise ValueError("state must have params to observe the final model, got none. Observe the states.")
    change = ravel_pytree(end)[0] - ravel_pytree(start)[0]
    return change[_places(included.shape[0], change.size)][:, None]


def scores(
    observations: Float[np.ndarray, "*runs observations"], mechanism: Mechanism
) -> Float[np.ndarray, "*runs columns"]:
    r"""Returns scores of the presence of a canary, for `jaxresearch.privacy.audit`.

    ==========  ========================================================================================================
    column      score
    ==========  ========================================================================================================
    0           the log likelihood ratio under the claimed mechanism,
                :math:`\sum_t \log(1 - q + q \exp((e_t - 1/2) / \sigma^2))`, than which no score is better if the claim holds
    1           the standard deviation between steps, which reveals noise that repeats
    ==========  ========================================================================================================

    Args:
        observations: From `evidence`; with one observation, there is no second column and it is the score itself.
        mechanism: As claimed, with noise.

    Returns:
        The scores.

    Example:
        >>> mechanism = Mechanism(noise_multiplier=1.0, clip=1.0, n_examples=4, batch_size=4, n_steps=2, delta=1e-5)
        >>> scores(np.array([[1.0, 1.0], [0.0, 1.0]]), mechanism).tolist()
        [[1.0, 0.0], [0.0, 0.5]]
    """
    e, q = np.asarray(observations, np.float64), mechanism.rate
    if e.shape[-1] == 1:
        return e
    of_included = (e - 0.5) / mechanism.noise_multiplier**2
    log_ratios = of_included if q == 1 else np.logaddexp(np.log1p(-q), np.log(q) + of_included)
    return np.stack([log_ratios.sum(axis=-1), e.std(axis=-1)], axis=-1)


def _places(n_canaries: int, n_parameters: int) -> Int[np.ndarray, " canaries"]:
    """Returns the indices of the parameters in which the canaries are linear, spread over all of them."""
    if n_canaries > n_parameters:
        raise ValueError(
            f"n_canaries must be at most {n_parameters}, the number of parameters, got {n_canaries}. Pass {n_parameters}."
        )
    return np.arange(n_canaries) * (n_parameters // n_canaries)


def _planted(loss_fn: LossFn, n_canaries: int, *, strength: float) -> LossFn:
    """Returns the loss_fn for batches of one example, which may be a canary."""

    def planted(params, model_state, batch, key):
        (mark,) = batch[_MARK]
        ordinary = {name: entry for name, entry in batch.items() if name != _MARK}
        loss, rest = loss_fn(params, model_state, ordinary, key)
        flat, _ = ravel_pytree(params)
        places = jnp.asarray(_places(n_canaries, flat.size))
        own = flat[places[jnp.maximum(jnp.abs(mark) - 1, 0)]] * jnp.where(mark > 0, strength, 0)
        return jnp.where(mark == 0, loss, -own.astype(loss.dtype)), rest

    return planted


def _observed(
    estimator: GradientEstimator, loss_fn: LossFn, mechanism: Mechanism, n_canaries: int
) -> GradientEstimator:
    """Returns the estimator that also reports the evidence of each canary."""

    def observed(params, model_state, batch, key):
        own_key = sampling.keyed(jax.random.clone(key), secret=mechanism.secret)  # as in the estimator, on purpose
        example_key = jax.random.split(own_key)[0]
        gradient, metrics, updated = estimator(params, model_state, batch, key)
        others = {name: entry for name, entry in batch.items() if name != _MARK}
        others["weights"] = jnp.where(batch[_MARK] == 0, batch["weights"], 0)
        known = clipped_sum(
            lambda params, batch, key: loss_fn(params, model_state, batch, key)[0],
            params,
            others,
            key=example_key,
            clip=mechanism.clip,
            clipping=mechanism.clipping,
        )
        flat, of_others = (ravel_pytree(tree)[0].astype(jnp.float32) for tree in (gradient, known))
        left = of_others - flat * (mechanism.batch_size / mechanism.clip)  # the gradient of a canary is negative
        return gradient, {**metrics, _MARK: left[_places(n_canaries, flat.size)]}, updated

    return observed

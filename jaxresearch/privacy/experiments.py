"""Experiments whose runs are private."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state
from jaxtyping import Array, Key

from jaxresearch import devices
from jaxresearch.experiment import Experiment
from jaxresearch.gradients import Batch, GradientEstimator, LossFn, Metrics, Params
from jaxresearch.privacy.estimator import private
from jaxresearch.privacy.mechanism import Mechanism
from jaxresearch.signatures import require_estimator
from jaxresearch.training import Algorithm, Plan, State


def private_experiment(
    experiment: Experiment,
    mechanism_of: Callable[[Plan, int], Mechanism],
    *,
    n_micro_batches: int = 4,
    name: str = "private",
) -> Experiment:
    """Returns an experiment whose batches and gradients are those of a mechanism.

    The algorithm receives zeros in place of each batch. Only ``plan.estimator`` reads the batch, so nothing else of it can reach
    the state or the metrics. It must be called with the batch and the key of the step, once, and in the step itself: a call in
    a loop, a condition or a transformed function might be carried out several times, with the same noise.

    Runs with different settings draw their batches and their noise independently, even with equal seeds
    (`Experiment.independent`): with the same noise in two models, it could be subtracted.

    Args:
        experiment: As declared.
        mechanism_of: ``(plan, n_examples) -> mechanism`` for a run with this plan on this number of training examples.
        n_micro_batches: As in `private`.
        name: The option that asks for it, for errors.

    Returns:
        The experiment; its algorithm raises a ValueError, in its first step, unless it calls ``plan.estimator`` so: two
        gradients per step would spend more than is accounted for, and so would steps with one noise.

    Raises:
        ValueError: When planned, if there is no data, or the mechanism accounts for fewer steps than the run takes.

    Example:
        >>> from jaxresearch import loading
        >>> def mechanism_of(plan, n):
        ...     sizes = {"n_examples": n, "batch_size": plan.batch_size, "n_steps": plan.n_steps}
        ...     return Mechanism(noise_multiplier=1.0, clip=1.0, delta=1e-6, **sizes)
        >>> private_experiment(loading.load("mnist"), mechanism_of).replan(Plan(600, 1000), 60_000).sampling.rate
        0.01
    """
    declared, earlier = experiment.algorithm, experiment.replan

    def replan(plan: Plan, n_examples: int) -> Plan:
        planned = plan if earlier is None else earlier(plan, n_examples)
        if not n_examples:
            raise ValueError(f"experiment must train on examples for {name}, got one without data. Leave it out.")
        mechanism = mechanism_of(planned, n_examples)
        if mechanism.n_steps < planned.n_steps:
            raise ValueError(
                f"n_steps of the mechanism must be at least the {planned.n_steps} steps of the run, got {mechanism.n_steps}. "
                "Account for all steps."
            )

        def estimator(loss_fn: LossFn) -> GradientEstimator:
            return private(loss_fn, mechanism, n_micro_batches=n_micro_batches)

        capacity = devices.padded_size(mechanism.sampling.capacity)  # each device has as many places
        return planned._replace(poisson=dataclasses.replace(mechanism.sampling, capacity=capacity), estimator=estimator)

    def algorithm(h: Any, card: Any, plan: Plan, fitted: Any) -> Algorithm:
        steps: list[_Step] = []
        own = plan._replace(estimator=lambda loss_fn: _reading(steps, plan.estimator(loss_fn), name))
        made = declared(h, card, own, fitted)
        return made._replace(step=_blind(made, steps, name)) if isinstance(made, Algorithm) else made

    return dataclasses.replace(experiment, algorithm=algorithm, replan=replan, independent=True)


class _Step(NamedTuple):
    """A step while it is traced: its batch, the zeros that the algorithm receives instead, and the calls of the estimator."""

    batch: Batch
    zeros: Batch
    key: Key[Array, ""]
    trace: Any  # a function inside the step that is compiled, transformed or in a loop has another
    calls: list[None]


def _reading(steps: list[_Step], estimator: GradientEstimator, name: str) -> GradientEstimator:
    """Returns the estimator that reads the batch of the current step, of which its caller has zeros."""

    def reading(params, model_state, batch, key):
        if not steps:
            raise ValueError(
                f"plan.estimator must be called in a step for {name}, got a call outside. Call it in step."
            )
        current = steps[-1]
        leaves, zeros = jax.tree.leaves(batch), jax.tree.leaves(current.zeros)
        if len(leaves) != len(zeros) or any(leaf is not zero for leaf, zero in zip(leaves, zeros, strict=True)):
            raise ValueError(
                f"batch must reach plan.estimator unchanged for {name}, got another (augmentations may mix examples). "
                "Augment each example in the loss_fn."
            )
        if key is not current.key:
            raise ValueError(
                f"key must reach plan.estimator unchanged for {name}, got another: two steps with one key would have the same "
                "noise. Pass the key of the step, and derive others with jax.random.fold_in."
            )
        if get_opaque_trace_state() != current.trace:
            raise ValueError(
                f"plan.estimator must be called in the step itself for {name}, got a call in a loop, a condition or a "
                "transformed or compiled function, which may repeat it. Call it outside."
            )
        current.calls.append(None)
        gradient, metrics, model_state = estimator(params, model_state, current.batch, key)
        return _underivable(gradient, name), metrics, model_state

    return reading


def _underivable(gradient: Params, name: str) -> Params:
    """Returns a gradient whose derivative is an error: noise is constant, so its derivative would reveal examples."""

    @jax.custom_jvp
    def unchanged(gradient):
        return gradient

    @unchanged.defjvp
    def _derivative(primals, tangents):
        raise ValueError(
            f"a run must not be differentiated for {name}, got a derivative of its gradient: it has no noise. Compare the "
            "results of several runs."
        )

    return unchanged(gradient)


def _blind(algorithm: Algorithm, steps: list[_Step], name: str) -> Callable[..., tuple[State, Metrics]]:
    """Returns the step in which only the estimator reads the batch; it raises unless the estimator is called once."""

    def step(state, batch, key):
        current = _Step(batch, jax.tree.map(jnp.zeros_like, batch), key, get_opaque_trace_state(), [])
        steps.append(current)
        try:
            stepped = algorithm.step(state, current.zeros, key)
        finally:
            steps.pop()
        n = len(current.calls)
        require_estimator(n > 0, name=name)
        if n > 1:
            raise ValueError(
                f"experiment must compute one gradient per step for {name}; got {n}, of which each would spend as much as is "
                "accounted for. Use another algorithm."
            )
        return stepped

    return step

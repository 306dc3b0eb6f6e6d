"""Experiments whose runs are private."""

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxresearch.experiment import Experiment
from jaxresearch.gradients import GradientEstimator, LossFn, Metrics
from jaxresearch.privacy.estimator import private
from jaxresearch.privacy.mechanism import Mechanism
from jaxresearch.training import Algorithm, Plan, State


def private_experiment(
    experiment: Experiment,
    mechanism_of: Callable[[Plan, int], Mechanism],
    *,
    n_micro_batches: int = 1,
    name: str = "private",
) -> Experiment:
    """Returns an experiment whose batches and gradients are those of a mechanism.

    Only what passes through ``plan.estimator`` is private. An algorithm that uses its batch in any other way, or calls the
    estimator in a loop or under `jax.vmap`, is not covered.

    Args:
        experiment: As declared.
        mechanism_of: ``(plan, n_examples) -> mechanism`` for a run with this plan on this number of training examples.
        n_micro_batches: As in `private`.
        name: The option that asks for it, for errors.

    Returns:
        The experiment; its algorithm raises a ValueError, in its first step, unless it calls ``plan.estimator`` once: two
        gradients per step would spend more than is accounted for.

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

        return planned._replace(poisson=mechanism.sampling, estimator=estimator)

    def algorithm(h: Any, card: Any, plan: Plan, fitted: Any) -> Algorithm:
        calls: list[LossFn] = []

        def counted(loss_fn: LossFn) -> GradientEstimator:
            gradient_of = plan.estimator(loss_fn)

            def estimator(*arguments):
                calls.append(loss_fn)
                return gradient_of(*arguments)

            return estimator

        made = declared(h, card, plan._replace(estimator=counted), fitted)
        return made._replace(step=_once(made, calls, name)) if isinstance(made, Algorithm) else made

    return dataclasses.replace(experiment, algorithm=algorithm, replan=replan)


def _once(algorithm: Algorithm, calls: list[LossFn], name: str) -> Callable[..., tuple[State, Metrics]]:
    """Returns the step, which raises unless it calls the estimator once."""

    def step(state, batch, key):
        before = len(calls)
        stepped = algorithm.step(state, batch, key)
        if not calls:
            raise ValueError(
                f"experiment must use plan.estimator for {name}; got an algorithm that does not call it. "
                "Pass estimator=plan.estimator to training.supervised."
            )
        if len(calls) > before + 1:
            raise ValueError(
                f"experiment must compute one gradient per step for {name}; got {len(calls) - before}, of which each would spend "
                "as much as is accounted for. Use another algorithm."
            )
        return stepped

    return step

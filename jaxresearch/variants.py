"""Experiments made from other experiments: without a claim, or with another estimator of gradients."""

import dataclasses
from collections.abc import Callable

from jaxresearch import gradients
from jaxresearch.experiment import Experiment
from jaxresearch.gradients import GradientEstimator, LossFn, Metrics
from jaxresearch.signatures import require_estimator
from jaxresearch.training import Algorithm, EstimatorOf, State


def without_claim(experiment: Experiment, *, question: str) -> Experiment:
    """Returns an experiment with another question, no claim, and the same metric for comparing settings.

    Args:
        experiment: As declared.
        question: The question about other data.

    Returns:
        The experiment without its claim.

    Example:
        >>> from jaxresearch import loading
        >>> explored = without_claim(loading.load("mnist"), question="mnist on my.npz")
        >>> explored.question, explored.claim, explored.objective
        ('mnist on my.npz', None, Objective(metric='accuracy', higher=True))
    """
    compared = {}
    if experiment.claim is not None:
        metric, higher = experiment.claim.evaluated, experiment.claim.at_least is not None
        compared = {"maximise" if higher else "minimise": metric}
    return dataclasses.replace(experiment, question=question, claim=None, **compared)


def with_estimator(experiment: Experiment, change: Callable[[EstimatorOf], EstimatorOf], *, name: str) -> Experiment:
    """Returns an experiment whose algorithm gets another ``plan.estimator``.

    Args:
        experiment: As declared.
        change: Builds the new estimator from the one that the plan has.
        name: The option that asks for it, for the error.

    Returns:
        The experiment; its algorithm raises a ValueError, in its first step, if it does not use ``plan.estimator``: the option
        would silently do nothing.

    Example:
        >>> from jaxresearch import gradients, loading
        >>> def clipped(estimator):
        ...     return lambda loss_fn: gradients.clipped(estimator(loss_fn), max_norm=1.0)
        >>> with_estimator(loading.load("mnist"), clipped, name="clipped").question == loading.load("mnist").question
        True
    """
    declared = experiment.algorithm

    def algorithm(h, card, plan, fitted):
        built = []

        def estimator(loss_fn: LossFn) -> GradientEstimator:
            built.append(loss_fn)
            return change(plan.estimator)(loss_fn)

        made = declared(h, card, plan._replace(estimator=estimator), fitted)
        return made if built or not isinstance(made, Algorithm) else made._replace(step=_requiring(made, built, name))

    return dataclasses.replace(experiment, algorithm=algorithm)


def _requiring(algorithm: Algorithm, built: list[LossFn], name: str) -> Callable[..., tuple[State, Metrics]]:
    """Returns the step, which raises unless an estimator has been built by the end of it."""

    def step(state, batch, key):
        stepped = algorithm.step(state, batch, key)
        require_estimator(bool(built), name=name)
        return stepped

    return step


def accumulated(experiment: Experiment, *, n_micro_batches: int, name: str = "accumulated") -> Experiment:
    """Returns an experiment whose gradients are accumulated over micro batches: `jaxresearch.gradients.accumulated`.

    Args:
        experiment: As declared.
        n_micro_batches: Number of equal parts of each batch, processed one after another to save memory.
        name: As for `with_estimator`.

    Returns:
        The experiment; it raises a ValueError, in its first step, if the number does not divide the batch.

    Raises:
        ValueError: If the number is below 1.

    Example:
        >>> import jax
        >>> from jaxresearch import experiment, loading
        >>> house = loading.load("house_prices")
        >>> dataset = house.prepare(house.collect(house.source))
        >>> whole, parts = (experiment.program(each, dataset) for each in (house, accumulated(house, n_micro_batches=2)))
        >>> h, key = house.hyperparameters, jax.random.key(0)
        >>> state = whole.init(key, h)
        >>> losses = [each.advance(key, h, state, dataset.train, 0, 1)[1]["loss"] for each in (whole, parts)]
        >>> bool(abs(losses[0] - losses[1]) < 1e-5)
        True
    """
    if n_micro_batches < 1:
        raise ValueError(f"n_micro_batches must be 1 or more; got {n_micro_batches}. Pass a divisor of the batch size.")

    def change(estimator: EstimatorOf) -> EstimatorOf:
        return lambda loss_fn: gradients.accumulated(estimator(loss_fn), n_micro_batches=n_micro_batches)

    return with_estimator(experiment, change, name=name)

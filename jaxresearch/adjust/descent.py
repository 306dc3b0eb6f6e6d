"""Gradient descent on hyperparameters, as a search strategy."""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
import optax

from jaxresearch.adjust.history import Adjust, History, Proposal
from jaxresearch.adjust.strategies import replaced


def descend(*fields: str, metric: str, step_size: int | float = 0.3) -> Adjust:
    """Returns gradient descent on hyperparameters: one Adam step per round, with the hypergradient of whole runs.

    Adam works on logarithms, as suits rates and factors: values stay positive, and a step size of 0.3 changes them by about
    a third at most. Values stay within the bounds of their fields. The gradient is averaged over the seeds of a round. The
    study ends if a run diverges, the gradient is not finite, or a setting repeats.

    Args:
        *fields: The swept fields to adjust, positive numbers or tuples of them; other fields keep their first value.
        metric: The metric of the experiment to minimise; it must be smooth.
        step_size: Of Adam, in logarithms.

    Returns:
        A strategy.

    Raises:
        ValueError: If no field is named, or the step size is not positive; when called, if a field does not exist or its
            value is not positive.

    Example:
        >>> from jaxresearch.hyperparameters import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> from jaxresearch.adjust import Round, Trial
        >>> baseline = Round("baseline", (Trial(Rates(), {}, False),), (0.5,))
        >>> descend("learning_rate", metric="log_loss")((baseline,)).differentiate
        'log_loss'
        >>> known = Round("slope", (Trial(Rates(), {}, False, Rates(learning_rate=np.array([2.0, 4.0]))),), (0.5,))
        >>> descend("learning_rate", metric="log_loss")((baseline, known)).settings[0].learning_rate  # 0.1 exp(-0.3)
        0.074082

    References:
        Maclaurin, Duvenaud and Adams (2015), Gradient-based hyperparameter optimization through reversible learning,
        ICML, section 3.1 (learning-rate schedules). https://arxiv.org/abs/1502.03492
    """
    if not fields:
        raise ValueError('fields must name at least one; got none. Write: descend("learning_rate", metric="log_loss")')
    if not step_size > 0:
        raise ValueError(f"step_size must be positive; got {step_size}. Pass 0.3.")
    # Steps are few and expensive, so the averages decay faster than in training.
    adam = optax.adam(step_size, b1=0.8, b2=0.9)

    def adjust(history: History) -> Proposal | None:
        baseline = history[0].trials[0].hyperparameters
        replaced(baseline, dict.fromkeys(fields))
        if any(entry.trials[0].diverged for entry in history):
            return None
        start = {name: getattr(baseline, name) for name in fields}
        if not all(value > 0 for value in jax.tree.leaves(start)):
            raise ValueError(f"{' and '.join(fields)} must be positive to be adjusted on a log scale; got {start}.")
        bounds = {name: _bounds(baseline, name) for name in fields}
        logs = jax.tree.map(math.log, start)
        state, n_updates = adam.init(logs), 0
        for trial in (entry.trials[0] for entry in history if entry.trials[0].gradient is not None):
            values = {name: getattr(trial.hyperparameters, name) for name in fields}
            slopes = {name: getattr(trial.gradient, name) for name in fields}
            of_logs = jax.tree.map(lambda value, slope: value * np.mean(slope, dtype=np.float64), values, slopes)
            if not np.isfinite(jax.tree.leaves(of_logs)).all():
                return None
            updates, state = adam.update(of_logs, state)
            moved: Any = optax.apply_updates(jax.tree.map(np.float32, logs), updates)
            logs, n_updates = {name: _clipped(moved[name], *np.log(bounds[name])) for name in fields}, n_updates + 1
        if not n_updates:
            return Proposal((baseline,), f"the gradient of {metric} at the first setting", metric)
        digits = jax.tree.map(lambda log: float(f"{math.exp(log):.5g}"), logs)
        chosen = dataclasses.replace(baseline, **{name: _clipped(digits[name], *bounds[name]) for name in fields})
        if any(chosen == entry.trials[0].hyperparameters for entry in history):
            return None
        return Proposal((chosen,), f"step {n_updates} against the gradient of {metric}", metric)

    return adjust


def _bounds(baseline: Any, name: str) -> tuple[float, float]:
    """Returns the smallest and the largest positive value allowed for a field, within the range of float32."""
    (rules,) = (field.metadata.get("bounds", {}) for field in dataclasses.fields(baseline) if field.name == name)
    bounds = {rule: bound for rule, bound in rules.items() if bound is not None}
    lows = [1e-37, bounds.get("at least", 0), np.nextafter(np.float32(bounds.get("above", 0)), np.float32(np.inf))]
    highs = [1e37, bounds.get("at most", 1e37), np.nextafter(np.float32(bounds.get("below", 1e37)), np.float32(0))]
    return float(max(lows)), float(min(highs))


def _clipped(values: Any, low: float, high: float) -> Any:
    """Returns a number, or a tuple of them, within bounds."""
    return jax.tree.map(lambda value: float(min(max(value, low), high)), values)

"""Which of several runs diverged, judged by training metrics and outcome, never by test data."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch.training import State


class Divergence(NamedTuple):
    """A run that diverged: its index, the number of steps before the bad one, and the metric that was not finite.

    The metric is ``"state"`` if all metrics were finite and the outcome is not.
    """

    run: int
    step: int
    metric: str


def in_metrics(
    metrics: dict[str, np.ndarray], *, start: int = 0, counted: np.ndarray | None = None
) -> tuple[Divergence, ...]:
    """Returns the first step of each run with a loss that is not finite, earliest first.

    Without a metric named ``loss``, any training metric counts. Other metrics may be undefined for a batch: the area under
    the ROC curve is, for a batch without positives.

    An algorithm that reports ``skipped`` (`jaxresearch.algorithms.skipping`) skips such steps: none of its runs diverges.

    Args:
        metrics: By name, each ``(runs, steps)``.
        start: Number of steps before the first of these.
        counted: Which runs to check; all by default.

    Returns:
        One for each run that diverged; within a step, in the order of the metrics.

    Example:
        >>> in_metrics({"loss": np.array([[1.0, 2.0, np.nan], [1.0, np.inf, 2.0]])}, start=100)
        (Divergence(run=1, step=101, metric='loss'), Divergence(run=0, step=102, metric='loss'))
    """
    if not metrics or "skipped" in metrics:
        return ()
    if "loss" in metrics:
        metrics = {"loss": metrics["loss"]}
    bad = np.stack([~np.isfinite(values) for values in metrics.values()])
    if counted is not None:
        bad &= counted[None, :, None]
    runs, names = np.flatnonzero(bad.any(axis=(0, 2))), [*metrics]
    steps = [int(bad[:, run].any(axis=0).argmax()) for run in runs]
    firsts = [int(bad[:, run, step].argmax()) for run, step in zip(runs, steps, strict=True)]
    ordered = sorted(zip(steps, firsts, runs.tolist(), strict=True))
    return tuple(Divergence(run, start + step, names[place]) for step, place, run in ordered)


def in_outcome(state: State, step: int, *, counted: np.ndarray) -> tuple[Divergence, ...]:
    """Returns the runs whose outcome has parameters that are not finite, which the last step may have caused.

    A state without ``params`` must have no nan; infinities may be part of it.

    Args:
        state: Of all runs.
        step: Number of steps.
        counted: Which runs to check.

    Returns:
        One for each run that diverged.

    Example:
        >>> in_outcome({"w": jnp.array([1.0, jnp.nan, jnp.nan])}, 30, counted=np.array([True, True, False]))
        (Divergence(run=1, step=29, metric='state'),)
    """
    nodes = jax.tree.leaves(state, is_leaf=_has_params)
    params = [node.params for node in nodes if _has_params(node)]
    is_good = np.isfinite if params else lambda leaf: ~np.isnan(leaf)
    good = np.ones(len(counted), bool)
    for leaf in jax.tree.leaves(params or state):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            good &= is_good(_on_host(leaf)).reshape(len(good), -1).all(axis=1)
    return tuple(Divergence(int(run), step - 1, "state") for run in np.flatnonzero(counted & ~good))


def among(diverged: Iterable[Divergence], n_runs: int) -> np.ndarray:
    """Returns a mask of the runs that diverged.

    Args:
        diverged: The runs that diverged.
        n_runs: Number of all runs.

    Returns:
        ``(runs,)``, boolean.

    Example:
        >>> among([Divergence(1, 20, "loss")], 3).tolist()
        [False, True, False]
    """
    return np.isin(np.arange(n_runs), [one.run for one in diverged])


def masked(metrics: dict[str, np.ndarray], runs: np.ndarray) -> dict[str, np.ndarray]:
    """Returns metrics with the values of some runs set to nan.

    Args:
        metrics: By name, each with a leading axis of runs.
        runs: ``(runs,)``, the mask of runs to set to nan.

    Returns:
        The metrics, unchanged if the mask is empty.

    Example:
        >>> masked({"accuracy": np.array([0.9, 0.1])}, np.array([False, True]))
        {'accuracy': array([0.9, nan])}
    """
    if not runs.any():
        return metrics
    return {name: _masked(np.asarray(values), runs) for name, values in metrics.items()}


def _masked(values: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Returns one metric with the values of some runs set to nan."""
    is_float = jnp.issubdtype(values.dtype, jnp.inexact)
    values = np.array(values, values.dtype if is_float else np.float64)
    values[runs] = np.nan
    return values


def _has_params(node: Any) -> bool:
    """Returns whether a node of a state is a part with parameters."""
    return hasattr(node, "params")


def _on_host(leaf: Any) -> np.ndarray:
    """Returns an array that NumPy can test: bfloat16 as float32."""
    values = np.asarray(leaf)
    return values if np.issubdtype(values.dtype, np.inexact) else values.astype(np.float32)

"""Which of several runs diverged, by their training metrics and by their outcome; never by what they are tested on."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch.training import State


class Divergence(NamedTuple):
    """A run that diverged: its index, the steps made before the bad one, and the training metric that was not finite.

    The metric is ``"state"`` where all metrics were finite and the outcome is not.
    """

    run: int
    step: int
    metric: str


def in_metrics(
    metrics: dict[str, np.ndarray], *, start: int = 0, counted: np.ndarray | None = None
) -> tuple[Divergence, ...]:
    """Returns the first step of each run with a loss that is not finite, the earliest first.

    Without a metric named ``loss``, any training metric counts. A metric beside it may be undefined of a batch, as an area
    under the ROC curve is without positives.

    An algorithm that reports ``skipped`` (`jaxresearch.algorithms.skipping`) leaves such steps out: none of its runs diverges.

    Args:
        metrics: By name, each ``(runs, steps)``.
        start: Steps made before the first of these.
        counted: Which runs are looked at; all unless given.

    Returns:
        One for each run that diverged. Of one step, runs are in the order of the metrics that are not finite.

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
    """Returns the runs whose outcome holds parameters that are not finite, as after a last step that made them so.

    A state without ``params`` must hold no nan; infinities may be part of it.

    Args:
        state: Of all runs.
        step: Steps made.
        counted: Which runs are looked at.

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
    """Returns which of so many runs diverged.

    Args:
        diverged: Those that did.
        n_runs: All of them.

    Returns:
        ``(runs,)``, boolean.

    Example:
        >>> among([Divergence(1, 20, "loss")], 3).tolist()
        [False, True, False]
    """
    return np.isin(np.arange(n_runs), [one.run for one in diverged])


def masked(metrics: dict[str, np.ndarray], runs: np.ndarray) -> dict[str, np.ndarray]:
    """Returns metrics that are undefined (nan) for some runs, whatever was computed for them.

    Args:
        metrics: By name, each with a leading axis of runs.
        runs: ``(runs,)``, which of them.

    Returns:
        The metrics; unchanged if there is no such run.

    Example:
        >>> masked({"accuracy": np.array([0.9, 0.1])}, np.array([False, True]))
        {'accuracy': array([0.9, nan])}
    """
    if not runs.any():
        return metrics
    return {name: _masked(np.asarray(values), runs) for name, values in metrics.items()}


def _masked(values: np.ndarray, runs: np.ndarray) -> np.ndarray:
    """Returns one metric, undefined for some runs."""
    is_float = jnp.issubdtype(values.dtype, jnp.inexact)
    values = np.array(values, values.dtype if is_float else np.float64)
    values[runs] = np.nan
    return values


def _has_params(node: Any) -> bool:
    """Returns whether a node of a state is a part with parameters."""
    return hasattr(node, "params")


def _on_host(leaf: Any) -> np.ndarray:
    """Returns an array as NumPy can test it: bfloat16 as float32."""
    values = np.asarray(leaf)
    return values if np.issubdtype(values.dtype, np.inexact) else values.astype(np.float32)

"""What ``metrics.jsonl`` has of a chunk of steps."""

from typing import Any

from jaxresearch.execution import Progress, divergence


def values_of(progress: Progress, n_runs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the values that ``metrics.jsonl`` has of a chunk of steps and of the look at its end, by name."""
    diverged = divergence.among(progress.diverged, n_runs)
    means = {name: values.mean(axis=-1) for name, values in progress.metrics.items()}
    trained = {f"train/{name}": values for name, values in divergence.masked(means, diverged).items()}
    seen = {f"validation/{name}": values for name, values in divergence.masked(progress.validation, diverged).items()}
    return trained, seen

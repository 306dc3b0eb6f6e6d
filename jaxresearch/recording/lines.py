"""The values of a chunk of steps in ``metrics.jsonl``."""

from typing import Any

from jaxresearch.execution import Progress, divergence


def values_of(progress: Progress, n_runs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the training and validation values of a chunk of steps for ``metrics.jsonl``, by name."""
    diverged = divergence.among(progress.diverged, n_runs)
    means = {name: values.mean(axis=-1) for name, values in progress.metrics.items()}
    trained = {f"train/{name}": values for name, values in divergence.masked(means, diverged).items()}
    validated = {
        f"validation/{name}": values for name, values in divergence.masked(progress.validation, diverged).items()
    }
    return trained, validated

"""Runs that differ only in their seeds are pooled as the seeds of one configuration."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import statistics
from jaxresearch.records.recorded import Recorded


class Group(NamedTuple):
    """A run or several pooled runs, with the content of their ``examples.npz``."""

    run: Recorded
    examples: dict[str, Any]


def grouped(runs: Sequence[Recorded], settings: Sequence[Any]) -> list[tuple[Group, Any]]:
    """Returns the runs, pooled if they differ only in their seeds, each with its settings.

    Folds, splits and subsets are of one run. Runs of other or unrecorded code, or with a seed in common, stay apart.

    Args:
        runs: Of the same data.
        settings: Of each run; only runs with equal settings are pooled.
    """
    members: list[list[int]] = []
    for place, run in enumerate(runs):
        for group in members:
            first = runs[group[0]]
            seeds = {seed for other in group for seed in runs[other].seeds}
            is_same = settings[place] == settings[group[0]] and _code(run) == _code(first) and bool(_sources(run))
            if is_same and _has_shared_data(run) and not seeds & {*run.seeds}:
                group.append(place)
                break
        else:
            members.append([place])
    return [(_pooled([runs[place] for place in group]), settings[group[0]]) for group in members]


def _code(run: Recorded) -> tuple[Any, ...]:
    """Returns what is known of the code of a run."""
    claim = run.result.get("claim") or {}
    versions = run.environment.get("git"), run.environment.get("packages")
    return *versions, claim.get("text"), claim.get("metric"), _sources(run)


def _sources(run: Recorded) -> list[str]:
    """Returns the digests of the experiment's file and the modules beside it; none where they were not recorded."""
    return [*(run.config.get("source") or {}).values()]


def _has_shared_data(run: Recorded) -> bool:
    """Returns whether all seeds of a run have the same data."""
    return not run.result.get("n_folds") and run.result.get("runs_of") is None and not run.result.get("resplit")


def _pooled(runs: list[Recorded]) -> Group:
    """Returns several runs as one with all of their seeds."""
    first, held = runs[0], [run.examples() for run in runs]
    if len(runs) == 1:
        return Group(first, held[0])
    examples: dict[str, Any] = {}
    if all(held) and len({of_run["rows"].tobytes() for of_run in held}) == 1:
        common = [name for name in held[0] if all(name in of_run for of_run in held)]
        examples = {name: np.concatenate([of_run[name] for of_run in held]) for name in common}
        examples |= {name: held[0][name] for name in ("rows", "groups") if name in held[0]}
    metrics = {}
    for name in first.result["metrics"]:
        of_runs = [run.result["metrics"].get(name) for run in runs]
        if len({None if one is None else np.shape(one["mean"]) for one in of_runs}) == 1:
            values = np.concatenate([np.array(one["values"], np.float64) for one in of_runs])
            metrics[name] = statistics.summary(values, examples.get(name), groups=examples.get("groups"))
    seeds = [seed for run in runs for seed in run.seeds]
    path = Path(" + ".join(str(run.path) for run in runs))
    return Group(
        dataclasses.replace(first, path=path, result={**first.result, "seeds": seeds, "metrics": metrics}), examples
    )

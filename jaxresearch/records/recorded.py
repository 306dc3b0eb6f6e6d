"""A finished run or study, read back from its directory."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import data, statistics
from jaxresearch.execution import Predictions
from jaxresearch.experiment import Experiment
from jaxresearch.records.commands import resume_command
from jaxresearch.records.files import read_checksummed, read_json, require_exists
from jaxresearch.records.run_directory import command_of, read_metrics
from jaxresearch.records.trained import Ensemble, read_ensemble
from jaxresearch.training import State

# Required entries of each file of a run. Older records have the number of seeds, n_seeds, instead of a list.
_HELD = {
    "config.json": ("experiment", "hyperparameters", "data_card"),
    "environment.json": ("command", "started", "devices", "platform", "packages", "git", "python"),
    "result.json": ("experiment", "question", "metrics", "claim", "seconds", "smoke"),
}


EXPLANATIONS = "explain.json"


class Curve(NamedTuple):
    """The mean over seeds of a metric at several steps of training, with the 95 % interval of Student's t.

    At a step with a seed that is not finite, the mean is nan, which leaves a gap; a single seed has no interval.
    """

    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclasses.dataclass(frozen=True, repr=False)
class Recorded:
    """The record of a finished run or study: its files by name, and the lines of metrics.jsonl.

    ``rounds`` are the rounds of a study, except those set aside. To display the record in a notebook, pass it to
    `jaxresearch.reports.page.show`. ``model``, ``state``, ``params`` and ``predict`` use the trained models, which are read at
    the first access.
    """

    path: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    result: dict[str, Any]
    lines: list[dict[str, Any]]
    rounds: list[dict[str, Any]]
    cipher: Any = None
    experiment: Experiment | None = None

    def __repr__(self) -> str:
        claim = self.result["claim"]
        decided = "no claim" if claim is None else f"claim {claim['text']!r}: {claim['verdict']}"
        return f"Recorded({str(self.path)!r}, {len(self.seeds)} seeds, {decided})"

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters of the run, or those chosen by the study."""
        return self.result.get("hyperparameters") or self.config["hyperparameters"]

    @functools.cached_property
    def model(self) -> Ensemble:
        """The trained models of all seeds, read by `jaxresearch.records.read_ensemble`, which may raise."""
        return read_ensemble(self.path, cipher=self.cipher, experiment=self.experiment)

    @property
    def state(self) -> State:
        """The outcome of all seeds, on a leading axis: averaged weights and batch statistics included."""
        return self.model.state

    @property
    def params(self) -> Any:
        """The parameters of all seeds, on a leading axis."""
        return self.model.params

    def predict(self, rows: Any, *, seeds: Sequence[int] | None = None) -> Predictions:
        """Returns predictions for rows, with scores where these have targets: `jaxresearch.records.Ensemble.predict`.

        Args:
            rows: A path, a dict of columns or an array of examples, as `jaxresearch.data.new_rows` takes them.
            seeds: The seeds of the models to use; all by default.
        """
        return self.model.predict(rows, seeds=seeds)

    @property
    def command(self) -> list[str]:
        """The words of the command that started it."""
        return self.environment["command"]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the result, in the order of its values."""
        return tuple(self.result["seeds"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; empty if the targets are values."""
        return tuple(self.config["data_card"].get("class_names", ()))

    @property
    def best_steps(self) -> dict[int, int]:
        """The step of the best validation metric, by seed; empty without early stopping."""
        steps = self.result.get("best_step") or [None] * len(self.seeds)
        return {seed: step for seed, step in zip(self.seeds, steps, strict=True) if step is not None}

    def values(self, metric: str, *index: int) -> dict[int, float]:
        """Returns a metric of the result by seed; nan if it is undefined, as for a seed that diverged.

        Args:
            metric: Its name, such as ``"test/accuracy"``.
            index: The entry, for a vector or matrix metric.
        """
        entries = {}
        for seed, value in zip(self.seeds, self.result["metrics"][metric]["values"], strict=True):
            for place in index:
                value = value[place]
            entries[seed] = math.nan if value is None else value
        return entries

    def examples(self) -> dict[str, np.ndarray]:
        """Returns the verified content of ``examples.npz``: the influences of test examples, ``(seeds, examples)``, by metric.

        It is empty if the record has no such file, or an encrypted one.

        Raises:
            ValueError: If the file was altered.
        """
        path, digest = self.path / "examples.npz", self.result.get("examples")
        if digest is None or not path.is_file():
            return {}
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
        if data.digest(held) != digest:
            raise ValueError(f"{path} was altered: its SHA-256 does not match. Restore it, or delete it.")
        return held

    def explanations(self) -> dict[str, Any] | None:
        """Returns the content of ``explain.json``, which ``jaxresearch explain`` writes; None without it."""
        file = self.path / EXPLANATIONS
        return read_json(file) if file.is_file() else None

    def curves(self) -> dict[str, Curve]:
        """Returns the learning curve of each scalar metric by name, such as ``train/loss`` or ``validation/loss``.

        A study has none.
        """
        found: dict[str, list[tuple[int, np.ndarray]]] = {}
        for line in self.lines:
            if "nonfinite" not in line:
                for name, values in line.items():
                    if name.startswith(("train/", "validation/")):
                        found.setdefault(name, []).append((line["step"], np.array(values, np.float64)))
        return {name: _curve(points) for name, points in found.items() if points[0][1].ndim == 1}


def read_run(path: str | Path, *, cipher: Any = None, experiment: Experiment | None = None) -> Recorded:
    """Returns the record of a finished run or study; nothing in its directory is executed or locked.

    Args:
        path: The directory.
        cipher: Decrypts the trained models of an encrypted run when they are read.
        experiment: The trained experiment, if it has no file, as in a notebook.

    Raises:
        ValueError: If a file of a finished run is missing or incomplete.

    Example:
        >>> read_run("nowhere")
        Traceback (most recent call last):
        ...
        ValueError: nowhere does not exist. Correct the path.
    """
    path = Path(path)
    require_exists(path)
    missing = [name for name in _HELD if not (path / name).is_file()]
    if missing:
        advice = " Correct the path." if len(missing) == len(_HELD) else ""
        if missing == ["result.json"]:
            is_sweep = command_of(read_json(path / "config.json")) == "sweep"
            advice = " A sweep has sweep.csv and sweep.png." if is_sweep else f" Resume it: {resume_command(path)}"
        raise ValueError(f"directory must hold a finished run or study, got {path} without {missing[0]}.{advice}")
    config, environment, result = (_whole(path / name) for name in _HELD)
    study = path / "study.json"
    rounds = [one for one in read_checksummed(study)["rounds"] if not one["set_aside"]] if study.exists() else []
    return Recorded(path, config, environment, result, read_metrics(path / "metrics.jsonl"), rounds, cipher, experiment)


def _whole(path: Path) -> dict[str, Any]:
    """Returns the content of one file of a run, after checking its entries."""
    content = read_json(path)
    if "seeds" not in content and "n_seeds" in content:
        content["seeds"] = list(range(content["n_seeds"]))
    needed = (*_HELD[path.name], "seeds") if path.name == "result.json" else _HELD[path.name]
    missing = [name for name in needed if name not in content]
    if missing:
        raise ValueError(f"{path} must be complete, got it without {missing[0]}. Restore it.")
    return content


def _curve(points: list[tuple[int, np.ndarray]]) -> Curve:
    """Returns the curve through values of all seeds at several steps."""
    ends = [statistics.t_interval(values) for _, values in points]
    means = [float(values.mean()) for _, values in points]
    return Curve([step for step, _ in points], means, [low for low, _ in ends], [high for _, high in ends])

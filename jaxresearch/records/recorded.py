"""A run or study that has ended, read back from its directory; in a notebook it shows itself."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import statistics
from jaxresearch.records.run_directory import command_of, read_json, read_metrics, read_sealed
from jaxresearch.reports.wording import resume_command

# What each file of a run holds at least.
_HELD = {
    "config.json": ("experiment", "hyperparameters", "data_card"),
    "environment.json": ("command", "started", "devices", "platform", "packages", "git", "python"),
    "result.json": ("experiment", "question", "n_seeds", "metrics", "claim", "seconds", "smoke"),
}


class Curve(NamedTuple):
    """The mean over seeds of a metric of the training, chunk by chunk, and the ends of its 95 % interval of Student's t.

    A seed that is not finite leaves a gap; a single seed has no interval.
    """

    steps: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


class Recorded(NamedTuple):
    """What a run or study that has ended left in its directory: the files of that name, and the lines of metrics.jsonl.

    ``rounds`` are those of a study, but for what was set aside.

    As the last value of a notebook's cell it is shown as its verdict, its table of metrics and its learning curves.
    """

    path: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    result: dict[str, Any]
    lines: list[dict[str, Any]]
    rounds: list[dict[str, Any]]

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The settings that the result is of: those of a run, or those that a study chose."""
        return self.result.get("hyperparameters") or self.config["hyperparameters"]

    @property
    def command(self) -> list[str]:
        """The words that made it."""
        return self.environment["command"]

    def values(self, metric: str) -> dict[int, float]:
        """Returns a metric of the result by seed; a seed that diverged has none."""
        values = self.result["metrics"][metric]["values"]
        seeds = self.result.get("seeds") or range(self.result["n_seeds"])
        return {seed: value for seed, value in zip(seeds, values, strict=True) if value is not None}

    def curves(self) -> dict[str, Curve]:
        """Returns the learning curve of each metric of the training; a study has none."""
        lines = [line for line in self.lines if "nonfinite" not in line]
        names = [name for name in (lines[0] if lines else {}) if name.startswith("train/")]
        return {name: _curve(name, lines) for name in names}

    def _repr_html_(self) -> str:
        """Returns what a notebook shows."""
        from jaxresearch.reports.page import fragment

        return fragment(self)


def read_run(path: str | Path) -> Recorded:
    """Returns what the directory of a run or study that has ended holds; nothing of it is run, and nothing is locked.

    Args:
        path: The directory.

    Raises:
        ValueError: If the directory lacks a file of a run that has ended, or one is not whole.

    Example:
        >>> read_run("nowhere")
        Traceback (most recent call last):
        ...
        ValueError: directory must be that of a run or study that has ended; nowhere holds no config.json.
    """
    path = Path(path)
    missing = [name for name in _HELD if not (path / name).is_file()]
    if missing:
        advice = ""
        if missing == ["result.json"]:
            is_sweep = command_of(read_json(path / "config.json")) == "sweep"
            advice = " A sweep has its sweep.csv and sweep.png." if is_sweep else f" Go on: {resume_command(path)}"
        raise ValueError(
            f"directory must be that of a run or study that has ended; {path} holds no {missing[0]}.{advice}"
        )
    config, environment, result = (_whole(path / name) for name in _HELD)
    study = path / "study.json"
    rounds = [made for made in read_sealed(study)["rounds"] if not made["set_aside"]] if study.exists() else []
    return Recorded(path, config, environment, result, read_metrics(path / "metrics.jsonl"), rounds)


def _whole(path: Path) -> dict[str, Any]:
    """Returns the content of one file of a run, after checking that it holds what such a file does."""
    content = read_json(path)
    missing = [name for name in _HELD[path.name] if name not in content]
    if missing:
        raise ValueError(f"{path} must be that of a run; it holds no {missing[0]}. Restore it.")
    return content


def _curve(name: str, lines: list[dict[str, Any]]) -> Curve:
    """Returns one curve."""
    values = [np.array(line[name], np.float64) for line in lines]
    whole = (len(of_seeds) > 1 and bool(np.isfinite(of_seeds).all()) for of_seeds in values)
    ends = [
        statistics.t_interval(v) if is_whole else (np.nan, np.nan) for v, is_whole in zip(values, whole, strict=True)
    ]
    means = [float(of_seeds.mean()) for of_seeds in values]
    return Curve([line["step"] for line in lines], means, [low for low, _ in ends], [high for _, high in ends])

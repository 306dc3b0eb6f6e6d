"""Trackers beside metrics.jsonl: TensorBoard and MLflow, each in a thread of its own that cannot hold a run up."""

import importlib.util
import json
import math
import os
import queue
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxresearch import statistics
from jaxresearch.records.run_directory import read_json, write_file

TRACKERS = {"tensorboard": ("tensorboardX",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}  # and what each imports
_MOST_WAITING = 64  # lines; a run has some twenty
_PATIENCE = 30.0  # seconds that a tracker is waited for at the end of a run; the first start of MLflow takes some
_MLFLOW_RUN = "mlflow.json"


@runtime_checkable
class Tracker(Protocol):
    """Where figures are sent; each method may take its time, raise or hang."""

    def begin(self, settings: dict[str, Any], step: int) -> None:
        """Opens it, with what the run was asked for; lines beyond this step, of an earlier process, count no more."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Takes the figures of one step."""

    def end(self, step: int, figures: dict[str, float], verdict: str | None) -> None:
        """Takes what came out, and closes; no verdict is given of a run that was interrupted or failed."""


class Tracking:
    """Sends what a run tells to its trackers; one that raises or does not keep up is dropped with one warning.

    A context manager: at its end, trackers that have not been told how the run ended are told that it stopped, and each
    is waited for a few seconds at most.

    Args:
        trackers: By name.
        patience: Seconds that one is waited for at the end, counted from where it began to hang if that was before.

    Example:
        >>> with Tracking({}) as tracking:
        ...     tracking.begin({"learning_rate": 0.1}, step=0)
        ...     tracking.log(10, {"loss": np.array([1.0, 2.0])})
    """

    def __init__(self, trackers: Mapping[str, Tracker], *, patience: int | float = _PATIENCE):
        self._trackers, self._patience = trackers, patience
        self._lines: list[_Line] = []
        self._has_ended = False
        self._step = 0

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(self, *_: object) -> None:
        if not self._has_ended:
            self._send(lambda tracker: tracker.end(self._step, {}, None))
        for line in self._lines:
            line.close()

    def begin(self, settings: dict[str, Any], *, step: int) -> None:
        """Tells what the run was asked for, and the step that it goes on from."""
        self._step = step
        self._lines = [_Line(name, tracker, self._patience) for name, tracker in self._trackers.items()]
        self._send(lambda tracker: tracker.begin(settings, step))

    def log(self, step: int, metrics: dict[str, np.ndarray]) -> None:
        """Tells metrics with one value a seed, as their mean and the ends of their interval."""
        self._step = step
        figures = {name: value for metric, of_seeds in metrics.items() for name, value in _figures(metric, of_seeds)}
        self._send(lambda tracker: tracker.log(step, figures))

    def end(self, result: dict[str, Any]) -> None:
        """Tells ``result.json``."""
        figures = {}
        for metric, summary in result["metrics"].items():
            ends = dict(zip((f"{metric}_low", f"{metric}_high"), summary["ci95"], strict=True))
            figures |= {name: value for name, value in {metric: summary["mean"], **ends}.items() if value is not None}
        verdict = f"{result['claim']['text']}: {result['claim']['verdict']}"
        step, self._has_ended = self._step, True
        self._send(lambda tracker: tracker.end(step, figures, verdict))

    def _send(self, call: Callable[[Tracker], None]) -> None:
        """Hands a call to every tracker."""
        for line in self._lines:
            line.put(call)


def tracking(names: Sequence[str], path: Path, *, experiment: str) -> Tracking:
    """Returns the trackers of these names for a run's directory; nothing is opened yet.

    Args:
        names: Some of `TRACKERS`.
        path: The directory: TensorBoard's files lie in it, and MLflow's database unless MLFLOW_TRACKING_URI names a store.
        experiment: What the runs of the same question are gathered under.

    Raises:
        ValueError: If a name is unknown, or what it needs is not installed.

    Example:
        >>> tracking(["paper"], Path("run"), experiment="mnist")
        Traceback (most recent call last):
        ...
        ValueError: track must be of tensorboard, mlflow; got 'paper'.
    """
    made: dict[str, Tracker] = {}
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"track must be of {', '.join(TRACKERS)}; got {name!r}.")
        missing = [package for package in TRACKERS[name] if importlib.util.find_spec(package) is None]
        if missing:
            raise ValueError(
                f'track {name} needs {", ".join(missing)}, which is not installed. Run: pip install "jaxresearch[track]"'
            )
        made[name] = TensorBoard(path / name) if name == "tensorboard" else MLflow(path, experiment)
    return Tracking(made)


class TensorBoard:
    """Event files of TensorBoard in a folder of the run.

    References:
        tensorboardX documentation, SummaryWriter. https://tensorboardx.readthedocs.io/en/latest/tensorboard.html
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def begin(self, settings: dict[str, Any], step: int) -> None:
        """Opens a new file; TensorBoard leaves out what older ones tell of later steps."""
        from tensorboardX import SummaryWriter

        purge = step + 1 if step else None
        self._writer = SummaryWriter(str(self._folder), purge_step=purge, filename_suffix=f".{step}")
        self._writer.add_text("settings", f"```\n{json.dumps(settings, indent=2)}\n```", step)

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Adds a scalar for each figure."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, step: int, figures: dict[str, float], verdict: str | None) -> None:
        """Adds what came out and closes the file."""
        self.log(step, figures)
        if verdict is not None:
            self._writer.add_text("claim", verdict, step)
        self._writer.close()


class MLflow:
    """A run of MLflow, gone on with where the directory was: its id stands in ``mlflow.json``.

    References:
        MLflow documentation, MlflowClient. https://mlflow.org/docs/latest/api_reference/python_api/mlflow.client.html
    """

    def __init__(self, path: Path, experiment: str):
        self._path, self._experiment = path, experiment

    def begin(self, settings: dict[str, Any], step: int) -> None:
        """Begins a run, or takes up the one of an earlier process."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # a run tells nobody of itself unasked
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(self._path / 'mlflow.db').resolve()}"
        self._client = MlflowClient(tracking_uri=uri)
        known = self._path / _MLFLOW_RUN
        if known.is_file():
            self._run = _run_id(known)
            self._client.set_terminated(self._run, status="RUNNING", end_time=None)
            return
        found = self._client.get_experiment_by_name(self._experiment)
        of = found.experiment_id if found else self._client.create_experiment(self._experiment)
        self._run = self._client.create_run(of, run_name=self._path.name).info.run_id
        write_file(known, json.dumps({"run_id": self._run}).encode())
        self._client.log_batch(self._run, params=[Param(name, str(value)) for name, value in settings.items()])

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Adds a metric for each figure."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in figures.items()])

    def end(self, step: int, figures: dict[str, float], verdict: str | None) -> None:
        """Adds what came out and ends the run."""
        self.log(step, figures)
        if verdict is not None:
            self._client.set_tag(self._run, "claim", verdict)
        self._client.set_terminated(self._run, status="FINISHED" if verdict is not None else "KILLED")


class _Line:
    """The thread of one tracker, and what waits for it."""

    def __init__(self, name: str, tracker: Tracker, patience: int | float):
        self._name, self._tracker, self._patience = name, tracker, patience
        self._waiting: queue.Queue[Callable[[Tracker], None] | None] = queue.Queue(_MOST_WAITING)
        self._why: str | None = None
        self._is_dropped = False
        self._busy_since = math.inf  # since when it is at one call
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def put(self, call: Callable[[Tracker], None] | None) -> None:
        """Hands a call over, or the word that no more come, and does not wait for it."""
        if self._why is None:
            try:
                self._waiting.put_nowait(call)
            except queue.Full:
                self._why = "it does not keep up"
        self._tell()

    def close(self) -> None:
        """Waits until all is told; of one that hangs, no longer than its patience counts from where it began to hang."""
        self.put(None)
        start = time.monotonic()
        while self._why is None and self._thread.is_alive():
            if time.monotonic() - min(start, self._busy_since) >= self._patience:
                self._why = f"it was not done in {self._patience:g} seconds"
            self._thread.join(0.02)
        self._tell()

    def _work(self) -> None:
        while self._why is None:
            call = self._waiting.get()
            if call is None:
                return
            self._busy_since = time.monotonic()
            try:
                call(self._tracker)
            except BaseException as error:  # whatever it is, it must not reach the run
                said = " ".join(str(error).split())
                self._why = f"it raised {type(error).__name__}: {said}"[:300]
            self._busy_since = math.inf

    def _tell(self) -> None:
        """Warns once that the tracker is dropped."""
        if self._why is not None and not self._is_dropped:
            self._is_dropped = True
            warnings.warn(f"the tracker {self._name} is dropped: {self._why}", stacklevel=4)


def _figures(name: str, of_seeds: np.ndarray) -> list[tuple[str, float]]:
    """Returns the mean over seeds, and the ends of its interval of Student's t where it has one."""
    values = np.asarray(of_seeds, np.float64)
    found = [(name, float(values.mean()))]
    if len(values) > 1 and np.isfinite(values).all():
        found += zip((f"{name}_low", f"{name}_high"), statistics.t_interval(values), strict=True)
    return [(named, value) for named, value in found if math.isfinite(value)]


def _run_id(path: Path) -> str:
    """Returns the id that a file names, which may be altered."""
    run_id = read_json(path).get("run_id")
    if not isinstance(run_id, str) or not re.fullmatch("[0-9a-f]{32}", run_id):
        raise ValueError(f"{path} must name a run of MLflow by 32 hexadecimal digits; it does not. Delete it.")
    return run_id

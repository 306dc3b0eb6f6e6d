"""Trackers besides metrics.jsonl: TensorBoard and MLflow, each in its own thread, so that none delays a run."""

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
from jaxresearch.records.commands import value_text
from jaxresearch.records.files import read_json, write_file

TRACKERS = {
    "tensorboard": ("tensorboardX",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}  # and the packages that each needs
_MOST_WAITING = 1024  # calls; a run makes about twenty, and one for each validation
_PATIENCE = 30.0  # seconds to wait for a tracker at the end of a run; the first start of MLflow takes several
_MLFLOW_RUN = "mlflow.json"


@runtime_checkable
class Tracker(Protocol):
    """A receiver of scalars; each method may be slow, raise or hang."""

    def begin(self, settings: dict[str, Any], step: int) -> None:
        """Opens it with the hyperparameters of a run; entries of an earlier process beyond this step are void."""

    def log(self, step: int, scalars: dict[str, float]) -> None:
        """Logs the scalars of one step."""

    def end(self, step: int, scalars: dict[str, float], verdict: str | None) -> None:
        """Logs the results, and closes; the verdict is None for a run that was interrupted or failed."""


class Tracking:
    """Sends the metrics of a run to its trackers; one that raises or falls behind is dropped with one warning.

    Trackers get scalars alone: the mean over seeds, and the ends of its interval as ``NAME_low`` and ``NAME_high``.
    Vector and matrix metrics are only in metrics.jsonl and result.json.

    As a context manager, it ends trackers without a verdict if the run did not end, and waits for each for a limited time.

    Args:
        trackers: By name.
        patience: Seconds to wait for a tracker at the end, counted from the call at which it hangs.

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
        """Sends the hyperparameters of the run, and the step from which it starts or resumes."""
        self._step = step
        self._lines = [_Line(name, tracker, self._patience) for name, tracker in self._trackers.items()]
        self._send(lambda tracker: tracker.begin(settings, step))

    def log(self, step: int, metrics: dict[str, np.ndarray]) -> None:
        """Sends metrics by name, such as ``train/loss`` or ``validation/loss``, each with one value per seed."""
        self._step = step
        scalars = {name: value for metric, values in metrics.items() for name, value in _scalars(metric, values)}
        if scalars:
            self._send(lambda tracker: tracker.log(step, scalars))

    def end(self, result: dict[str, Any]) -> None:
        """Sends ``result.json``."""
        scalars = {}
        for metric, summary in result["metrics"].items():
            low, high = summary["ci95"]
            values = {metric: summary["mean"], f"{metric}_low": low, f"{metric}_high": high}
            scalars |= {name: value for name, value in values.items() if isinstance(value, int | float)}
        claim = result["claim"]
        verdict = "none" if claim is None else f"{claim['text']}: {claim['verdict']}"
        step, self._has_ended = self._step, True
        self._send(lambda tracker: tracker.end(step, scalars, verdict))

    def _send(self, call: Callable[[Tracker], None]) -> None:
        """Queues a call for every tracker."""
        for line in self._lines:
            line.put(call)


def tracking(names: Sequence[str], path: Path, *, experiment: str) -> Tracking:
    """Returns the trackers of these names for a run's directory; nothing is opened yet.

    Args:
        names: Some of `TRACKERS`.
        path: The directory; it holds the files of TensorBoard, and MLflow's database unless MLFLOW_TRACKING_URI is set.
        experiment: The name that groups the runs of one experiment.

    Raises:
        ValueError: If a name is unknown, or a package that it needs is not installed.

    Example:
        >>> tracking(["paper"], Path("run"), experiment="mnist")
        Traceback (most recent call last):
        ...
        ValueError: track must be among tensorboard, mlflow; got 'paper'.
    """
    trackers: dict[str, Tracker] = {}
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"track must be among {', '.join(TRACKERS)}; got {name!r}.")
        missing = [package for package in TRACKERS[name] if importlib.util.find_spec(package) is None]
        if missing:
            raise ValueError(
                f'--track {name} needs {", ".join(missing)}, which is not installed. Run: pip install "jaxresearch[track]"'
            )
        trackers[name] = TensorBoard(path / name) if name == "tensorboard" else MLflow(path, experiment)
    return Tracking(trackers)


class TensorBoard:
    """Writes event files of TensorBoard into a folder of the run."""

    def __init__(self, folder: Path):
        self._folder = folder

    def begin(self, settings: dict[str, Any], step: int) -> None:
        """Opens a new file; TensorBoard drops later steps of older files."""
        from tensorboardX import SummaryWriter

        purge = step + 1 if step else None
        self._writer = SummaryWriter(str(self._folder), purge_step=purge, filename_suffix=f".{step}")
        self._writer.add_text("settings", f"```\n{json.dumps(settings, indent=2)}\n```", step)

    def log(self, step: int, scalars: dict[str, float]) -> None:
        """Adds the scalars."""
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def end(self, step: int, scalars: dict[str, float], verdict: str | None) -> None:
        """Adds the results and closes the file."""
        self.log(step, scalars)
        if verdict is not None:
            self._writer.add_text("claim", verdict, step)
        self._writer.close()


class MLflow:
    """Logs to an MLflow run, whose id is in ``mlflow.json``, so that a resumed run continues it.

    A resumed run repeats some steps with the same values; steps that an earlier process logged are left out.
    """

    def __init__(self, path: Path, experiment: str):
        self._path, self._experiment = path, experiment
        self._logged: dict[str, int] = {}  # the last step of each metric from an earlier process

    def begin(self, settings: dict[str, Any], step: int) -> None:
        """Begins a run, or continues that of an earlier process."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # send nothing by default
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(self._path / 'mlflow.db').resolve()}"
        self._client = MlflowClient(tracking_uri=uri)
        known = self._path / _MLFLOW_RUN
        if known.is_file():
            self._run = _run_id(known)
            self._client.set_terminated(self._run, status="RUNNING", end_time=None)
            names = self._client.get_run(self._run).data.metrics
            self._logged = {name: self._last_step(name) for name in names}
            return
        found = self._client.get_experiment_by_name(self._experiment)
        of = found.experiment_id if found else self._client.create_experiment(self._experiment)
        self._run = self._client.create_run(of, run_name=self._path.name).info.run_id
        write_file(known, json.dumps({"run_id": self._run}).encode())
        self._client.log_batch(self._run, params=[Param(name, value_text(value)) for name, value in settings.items()])

    def log(self, step: int, scalars: dict[str, float]) -> None:
        """Adds a metric for each scalar."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        new = {name: value for name, value in scalars.items() if step > self._logged.get(name, -1)}
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in new.items()])

    def _last_step(self, name: str) -> int:
        """Returns the last step of a metric on record."""
        return max(metric.step for metric in self._client.get_metric_history(self._run, name))

    def end(self, step: int, scalars: dict[str, float], verdict: str | None) -> None:
        """Adds the results and ends the run."""
        self.log(step, scalars)
        if verdict is not None:
            self._client.set_tag(self._run, "claim", verdict)
        self._client.set_terminated(self._run, status="FINISHED" if verdict is not None else "KILLED")


class _Line:
    """The thread of one tracker, and its queue of calls."""

    def __init__(self, name: str, tracker: Tracker, patience: int | float):
        self._name, self._tracker, self._patience = name, tracker, patience
        self._waiting: queue.Queue[Callable[[Tracker], None] | None] = queue.Queue(_MOST_WAITING)
        self._why: str | None = None
        self._is_dropped = False
        self._busy_since = math.inf  # when the current call started
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def put(self, call: Callable[[Tracker], None] | None) -> None:
        """Queues a call without waiting for it; None ends the thread."""
        if self._why is None:
            try:
                self._waiting.put_nowait(call)
            except queue.Full:
                self._why = "it fell behind"
        self._warn()

    def close(self) -> None:
        """Waits for the queued calls; if one hangs, for as long as the patience counted from its start."""
        self.put(None)
        start = time.monotonic()
        while self._why is None and self._thread.is_alive():
            if time.monotonic() - min(start, self._busy_since) >= self._patience:
                self._why = f"it did not finish within {self._patience:g} seconds"
            self._thread.join(0.02)
        self._warn()

    def _work(self) -> None:
        while self._why is None:
            call = self._waiting.get()
            if call is None:
                return
            self._busy_since = time.monotonic()
            try:
                call(self._tracker)
            except BaseException as error:  # no error may reach the run
                message = " ".join(str(error).split())
                self._why = f"it raised {type(error).__name__}: {message}"[:300]
            self._busy_since = math.inf

    def _warn(self) -> None:
        """Warns once if the tracker is dropped."""
        if self._why is not None and not self._is_dropped:
            self._is_dropped = True
            warnings.warn(f"the tracker {self._name} is dropped: {self._why}", stacklevel=4)


def _scalars(name: str, values: np.ndarray) -> list[tuple[str, float]]:
    """Returns the mean over seeds and the ends of its Student's t interval, if finite; nothing for vectors."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1:
        return []
    low, high = statistics.t_interval(values)
    named = ((name, float(values.mean())), (f"{name}_low", low), (f"{name}_high", high))
    return [(label, value) for label, value in named if math.isfinite(value)]


def _run_id(path: Path) -> str:
    """Returns the id in a file, which may have been altered."""
    run_id = read_json(path).get("run_id")
    if not isinstance(run_id, str) or not re.fullmatch("[0-9a-f]{32}", run_id):
        raise ValueError(
            f"{path} must hold the id of an MLflow run, 32 hexadecimal digits, got something else. Delete it."
        )
    return run_id

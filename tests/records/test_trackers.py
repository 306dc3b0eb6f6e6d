"""Trackers: their files hold the logged values, and none of them can delay a run or make it fail."""

import json
import threading
import time
import warnings

import numpy as np
import pytest

from jaxresearch import records, statistics
from jaxresearch.records import trackers

RESULT = {
    "metrics": {"test/accuracy": statistics.summary([0.5, 0.7]), "test/loss": statistics.summary([0.3])},
    "claim": {"text": "60 %", "verdict": "undecided"},
}


class Noted:
    """A tracker that records its calls."""

    def __init__(self):
        self.calls = []

    def begin(self, settings, step):
        self.calls.append(("begin", settings, step))

    def log(self, step, scalars):
        self.calls.append(("log", step, scalars))

    def end(self, step, scalars, verdict):
        self.calls.append(("end", step, scalars, verdict))


class Faulty(Noted):
    """A tracker one of whose methods is replaced."""

    def __init__(self, method, fault):
        super().__init__()
        setattr(self, method, lambda *_: fault())


def log_a_run(tracking):
    """Logs a whole run."""
    with tracking:
        tracking.begin({"learning_rate": 0.1}, step=0)
        for step in (10, 20):
            tracking.log(step, {"train/loss": np.array([1.0, 3.0]) / step})
        tracking.end(RESULT)


def test_tracking_sends_means_and_intervals_in_order():
    noted = Noted()
    log_a_run(records.Tracking({"noted": noted}))
    low, high = statistics.t_interval([0.1, 0.3])
    assert noted.calls[0] == ("begin", {"learning_rate": 0.1}, 0)
    assert noted.calls[1] == (
        "log",
        10,
        pytest.approx({"train/loss": 0.2, "train/loss_low": low, "train/loss_high": high}),
    )
    kind, step, scalars, verdict = noted.calls[-1]
    assert (kind, step, verdict) == ("end", 20, "60 %: undecided") and len(noted.calls) == 4
    assert scalars["test/accuracy"] == 0.6 and scalars["test/loss"] == 0.3 and "test/loss_low" not in scalars


def test_a_run_that_stops_is_ended_once_without_a_verdict():
    noted = Noted()
    with pytest.raises(KeyboardInterrupt), records.Tracking({"noted": noted}) as tracking:
        tracking.begin({}, step=5)
        raise KeyboardInterrupt
    assert noted.calls == [("begin", {}, 5), ("end", 5, {}, None)]


def test_a_scalar_that_is_not_finite_is_left_out():
    noted = Noted()
    with records.Tracking({"noted": noted}) as tracking:
        tracking.begin({}, step=0)
        tracking.log(1, {"loss": np.array([np.nan, 1.0]), "accuracy": np.array([0.5])})
    assert noted.calls[1] == ("log", 1, {"accuracy": 0.5})


def test_validation_is_sent_and_vectors_are_not():
    noted, recall = Noted(), statistics.summary([[0.5, 1.0], [0.7, 1.0]])
    with records.Tracking({"noted": noted}) as tracking:
        tracking.begin({}, step=0)
        tracking.log(5, {"validation/loss": np.array([1.0, 3.0]), "validation/recall": np.ones((2, 10))})
        tracking.log(6, {"validation/recall": np.ones((2, 10))})
        tracking.end({**RESULT, "metrics": {**RESULT["metrics"], "test/recall": recall}})
    _, logged, ended = noted.calls
    assert logged[1] == 5 and list(logged[2]) == [f"validation/loss{end}" for end in ("", "_low", "_high")]
    assert logged[2]["validation/loss"] == 2.0 and ended[1] == 6
    assert set(ended[2]) == {"test/accuracy", "test/accuracy_low", "test/accuracy_high", "test/loss"}


@pytest.mark.parametrize("method", ["begin", "log", "end"])
def test_a_raising_tracker_is_dropped_and_the_others_continue(method):
    def fault():
        raise RuntimeError("the server\nis gone")

    noted = Noted()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log_a_run(records.Tracking({"faulty": Faulty(method, fault), "noted": noted}))
    assert [str(warning.message) for warning in caught] == [
        "the tracker faulty is dropped: it raised RuntimeError: the server is gone"
    ]
    assert len(noted.calls) == 4


@pytest.mark.parametrize("method", ["begin", "log", "end"])
def test_a_hanging_tracker_delays_the_end_by_its_patience(method):
    released, noted = threading.Event(), Noted()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log_a_run(records.Tracking({"hanging": Faulty(method, released.wait), "noted": noted}, patience=0.2))
    released.set()
    (warning,) = caught
    assert "the tracker hanging is dropped: it did not finish within 0.2 seconds" in str(warning.message)
    assert len(noted.calls) == 4


def test_a_slow_tracker_is_dropped_during_the_run():
    released = threading.Event()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with records.Tracking({"slow": Faulty("log", released.wait)}, patience=60.0) as tracking:
            tracking.begin({}, step=0)
            for step in range(trackers._MOST_WAITING + 3):
                tracking.log(step, {"loss": np.array([1.0])})
            assert [str(warning.message) for warning in caught] == ["the tracker slow is dropped: it fell behind"]
    released.set()


def test_a_tracker_that_finishes_in_time_receives_everything():
    noted = Noted()
    slow = Faulty("begin", lambda: time.sleep(0.3))
    slow.log = noted.log
    log_a_run(records.Tracking({"slow": slow}, patience=30.0))
    assert len(noted.calls) == 2


def test_tensorboard_holds_scalars_and_drops_repeated_steps(tmp_path):
    board = pytest.importorskip("tensorboardX.proto.event_pb2", reason="needs the extra track")
    log_a_run(records.tracking(["tensorboard"], tmp_path, experiment="line"))
    with records.tracking(["tensorboard"], tmp_path, experiment="line") as tracking:
        tracking.begin({}, step=10)
        tracking.log(20, {"train/loss": np.array([7.0])})
    events = [
        _events(board, file)
        for file in sorted((tmp_path / "tensorboard").iterdir(), key=lambda file: int(file.suffix[1:]))
    ]
    scalars = {
        (v.tag, e.step): v.simple_value for e in events[0] for v in e.summary.value if v.HasField("simple_value")
    }
    assert scalars["train/loss", 10] == pytest.approx(0.2) and scalars["test/accuracy", 20] == pytest.approx(0.6)
    assert ("train/loss_low", 10) in scalars and ("test/loss_low", 20) not in scalars
    starts = [event.step for event in events[1] if event.HasField("session_log")]
    assert starts == [11]  # from here on, TensorBoard drops the steps of the folder's other files


def _events(board, file):
    """Returns the events of a file: each is framed by its length and two checksums."""
    content, events = file.read_bytes(), []
    while content:
        length = int.from_bytes(content[:8], "little")
        events.append(board.Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return events


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # those of MLflow's own packages
def test_mlflow_holds_the_scalars_and_continues_its_run(tmp_path, monkeypatch):
    tracking_api = pytest.importorskip("mlflow.tracking", reason="needs the extra track")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "run-1"
    path.mkdir()
    with records.tracking(["mlflow"], path, experiment="line") as first:
        first.begin({"learning_rate": 0.1}, step=0)
        first.log(10, {"train/loss": np.array([0.1, 0.3])})
    client = tracking_api.MlflowClient(tracking_uri=f"sqlite:///{path / 'mlflow.db'}")
    run_id = json.loads((path / "mlflow.json").read_text())["run_id"]
    assert client.get_run(run_id).info.status == "KILLED"
    with records.tracking(["mlflow"], path, experiment="line") as again:
        again.begin({"learning_rate": 0.1}, step=10)
        again.log(10, {"train/loss": np.array([0.1, 0.3])})  # repeated, as from a state before it
        again.log(20, {"train/loss": np.array([0.1])})
        again.end(RESULT)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "run-1"
    assert run.data.params == {"learning_rate": "0.1"} and run.data.tags["claim"] == "60 %: undecided"
    history = [(metric.step, metric.value) for metric in client.get_metric_history(run_id, "train/loss")]
    assert history == [(10, pytest.approx(0.2)), (20, 0.1)]
    (found,) = client.search_experiments(filter_string="name = 'line'")
    assert len(client.search_runs([found.experiment_id])) == 1 and run.data.metrics["test/accuracy"] == 0.6


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_a_record_of_mlflow_that_was_altered_drops_it(tmp_path):
    pytest.importorskip("mlflow", reason="needs the extra track")
    (tmp_path / "mlflow.json").write_text(json.dumps({"run_id": "../elsewhere"}))
    with pytest.warns(UserWarning, match="must hold the id of an MLflow run, 32 hexadecimal digits"):
        log_a_run(records.tracking(["mlflow"], tmp_path, experiment="line"))


def test_unknown_and_missing_trackers_are_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="track must be among tensorboard, mlflow; got 'paper'"):
        records.tracking(["paper"], tmp_path, experiment="line")
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'--track tensorboard needs tensorboardX.*pip install "jaxresearch\[track\]"'):
        records.tracking(["tensorboard"], tmp_path, experiment="line")

"""Trackers: what they are told stands in their own files, and none of them can hold a run up or fail it."""

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
    """A tracker that notes what it is told."""

    def __init__(self):
        self.told = []

    def begin(self, settings, step):
        self.told.append(("begin", settings, step))

    def log(self, step, figures):
        self.told.append(("log", step, figures))

    def end(self, step, figures, verdict):
        self.told.append(("end", step, figures, verdict))


class Faulty(Noted):
    """A tracker that does something else in one of its methods."""

    def __init__(self, method, fault):
        super().__init__()
        setattr(self, method, lambda *_: fault())


def tell(tracking):
    """Tells a whole run."""
    with tracking:
        tracking.begin({"learning_rate": 0.1}, step=0)
        for step in (10, 20):
            tracking.log(step, {"train/loss": np.array([1.0, 3.0]) / step})
        tracking.end(RESULT)


def test_tracking_tells_means_and_ends_of_intervals_in_order():
    noted = Noted()
    tell(records.Tracking({"noted": noted}))
    low, high = statistics.t_interval([0.1, 0.3])
    assert noted.told[0] == ("begin", {"learning_rate": 0.1}, 0)
    assert noted.told[1] == (
        "log",
        10,
        pytest.approx({"train/loss": 0.2, "train/loss_low": low, "train/loss_high": high}),
    )
    kind, step, figures, verdict = noted.told[-1]
    assert (kind, step, verdict) == ("end", 20, "60 %: undecided") and len(noted.told) == 4
    assert figures["test/accuracy"] == 0.6 and figures["test/loss"] == 0.3 and "test/loss_low" not in figures


def test_a_run_that_stops_is_told_once_and_without_a_verdict():
    noted = Noted()
    with pytest.raises(KeyboardInterrupt), records.Tracking({"noted": noted}) as tracking:
        tracking.begin({}, step=5)
        raise KeyboardInterrupt
    assert noted.told == [("begin", {}, 5), ("end", 5, {}, None)]


def test_a_figure_that_is_not_finite_is_left_out():
    noted = Noted()
    with records.Tracking({"noted": noted}) as tracking:
        tracking.begin({}, step=0)
        tracking.log(1, {"loss": np.array([np.nan, 1.0]), "accuracy": np.array([0.5])})
    assert noted.told[1] == ("log", 1, {"accuracy": 0.5})


@pytest.mark.parametrize("method", ["begin", "log", "end"])
def test_one_that_raises_is_dropped_with_one_warning_and_the_others_go_on(method):
    def fault():
        raise RuntimeError("the server\nis gone")

    noted = Noted()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tell(records.Tracking({"faulty": Faulty(method, fault), "noted": noted}))
    assert [str(warning.message) for warning in caught] == [
        "the tracker faulty is dropped: it raised RuntimeError: the server is gone"
    ]
    assert len(noted.told) == 4


@pytest.mark.parametrize("method", ["begin", "log", "end"])
def test_one_that_hangs_is_not_waited_for_beyond_its_patience(method):
    released, noted = threading.Event(), Noted()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tell(records.Tracking({"hanging": Faulty(method, released.wait), "noted": noted}, patience=0.2))
    released.set()
    (warning,) = caught
    assert "the tracker hanging is dropped: it was not done in 0.2 seconds" in str(warning.message)
    assert len(noted.told) == 4


def test_one_that_does_not_keep_up_is_dropped_while_the_run_goes_on():
    released = threading.Event()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with records.Tracking({"slow": Faulty("log", released.wait)}, patience=60.0) as tracking:
            tracking.begin({}, step=0)
            for step in range(trackers._MOST_WAITING + 3):
                tracking.log(step, {"loss": np.array([1.0])})
            assert [str(warning.message) for warning in caught] == ["the tracker slow is dropped: it does not keep up"]
    released.set()


def test_one_that_is_slow_but_done_in_time_is_told_all():
    noted = Noted()
    slow = Faulty("begin", lambda: time.sleep(0.3))
    slow.log = noted.log
    tell(records.Tracking({"slow": slow}, patience=30.0))
    assert len(noted.told) == 2


def test_tensorboard_reads_back_what_was_told_and_leaves_out_what_came_after_the_step_gone_on_from(tmp_path):
    board = pytest.importorskip("tensorboardX.proto.event_pb2", reason="needs the extra track")
    tell(records.tracking(["tensorboard"], tmp_path, experiment="line"))
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
    assert starts == [11]  # TensorBoard drops what other files of the folder say from here on


def _events(board, file):
    """Returns the events of a file: each is framed by its length and two checksums."""
    content, events = file.read_bytes(), []
    while content:
        length = int.from_bytes(content[:8], "little")
        events.append(board.Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return events


@pytest.mark.filterwarnings("ignore")  # those of MLflow's own packages
def test_mlflow_reads_back_what_was_told_and_goes_on_with_its_run(tmp_path, monkeypatch):
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
        again.log(20, {"train/loss": np.array([0.1])})
        again.end(RESULT)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.info.run_name == "run-1"
    assert run.data.params == {"learning_rate": "0.1"} and run.data.tags["claim"] == "60 %: undecided"
    history = [(metric.step, metric.value) for metric in client.get_metric_history(run_id, "train/loss")]
    assert history == [(10, pytest.approx(0.2)), (20, 0.1)]
    (found,) = client.search_experiments(filter_string="name = 'line'")
    assert len(client.search_runs([found.experiment_id])) == 1 and run.data.metrics["test/accuracy"] == 0.6


@pytest.mark.filterwarnings("ignore")
def test_a_record_of_mlflow_that_was_altered_drops_it(tmp_path):
    pytest.importorskip("mlflow", reason="needs the extra track")
    (tmp_path / "mlflow.json").write_text(json.dumps({"run_id": "../elsewhere"}))
    with pytest.warns(UserWarning, match="must name a run of MLflow by 32 hexadecimal digits"):
        tell(records.tracking(["mlflow"], tmp_path, experiment="line"))


def test_what_is_not_there_is_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="track must be of tensorboard, mlflow; got 'paper'"):
        records.tracking(["paper"], tmp_path, experiment="line")
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'track tensorboard needs tensorboardX.*pip install "jaxresearch\[track\]"'):
        records.tracking(["tensorboard"], tmp_path, experiment="line")

"""Run directories: files are written completely or not at all, and other files are left alone."""

import json
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxresearch.records import EndedError, RunDirectory, command_of, differences, environment, open_directory
from jaxresearch.records.files import append_text
from jaxresearch.records.run_directory import BusyError


def test_json_is_plain_and_whole(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.write(
        "result.json", {"a": np.float32(0.5), "b": np.arange(2), "c": float("nan"), "d": tmp_path, "e": None}
    )
    content = json.loads((tmp_path / "run" / "result.json").read_text())
    assert content == {"a": 0.5, "b": [0, 1], "c": None, "d": str(tmp_path), "e": None}
    assert [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")] == [".lock"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.write("result.json", {"a": 1})
    with pytest.raises(TypeError):
        directory.write("result.json", {"a": object})
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == {"a": 1}
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "result.json"]


def test_metrics_are_appended_line_by_line(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    assert not directory.has_progress
    for step in (1, 2):
        directory.append_metrics({"step": step, "train/loss": np.array([0.5, np.inf], np.float32)})
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2] and directory.has_progress
    assert json.loads(lines[0])["train/loss"] == [0.5, None]


def test_metrics_that_cannot_be_written_are_written_later(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    (directory.path / "metrics.jsonl").mkdir()
    directory.append_metrics({"step": 1})
    with pytest.raises(IsADirectoryError):
        directory.sync_metrics()
    (directory.path / "metrics.jsonl").rmdir()
    directory.append_metrics({"step": 2})
    directory.sync_metrics()
    assert directory.metrics() == [{"step": 1}, {"step": 2}]


def test_append_text_writes_all_or_nothing(tmp_path):
    path, (soft, hard) = tmp_path / "lines", resource.getrlimit(resource.RLIMIT_FSIZE)
    append_text(path, "one\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="No space left|File too large"):
            append_text(path, "another line\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    append_text(path, "two\n")
    assert path.read_text() == "one\ntwo\n"


def test_discard_removes_only_new_directories(tmp_path):
    first, second = (RunDirectory(tmp_path / "runs" / name) for name in ("a", "b"))
    first.discard()
    assert not (tmp_path / "runs" / "a").exists() and (tmp_path / "runs" / "b").is_dir()
    second.discard()
    assert list((tmp_path / "runs").iterdir()) == []
    alone = RunDirectory(tmp_path / "x" / "y" / "z")
    alone.discard()
    assert not (tmp_path / "x").exists()


def test_discard_leaves_a_folder_that_was_there(tmp_path):
    (tmp_path / "mine").mkdir()
    directory = RunDirectory(tmp_path / "mine")
    directory.write("config.json", {})
    directory.discard()
    assert (tmp_path / "mine").is_dir() and not any((tmp_path / "mine").iterdir())


def test_a_nonempty_or_unwritable_directory_is_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    with pytest.raises(
        FileExistsError, match="directory must be new or empty, got .*full. Name another with --directory."
    ):
        RunDirectory(tmp_path / "full")
    with pytest.raises(FileExistsError, match="directory must be new or empty"):
        RunDirectory(tmp_path / "full" / "a")
    with pytest.raises(PermissionError, match="directory must be writable, got"):
        RunDirectory(tmp_path / "full" / "a" / "b")


def test_environment_has_versions_and_no_variables(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    found = environment(seeds=[0, 1])
    assert found["seeds"] == [0, 1] and found["packages"]["jax"] and found["devices"]
    assert "hunter2" not in json.dumps(found)


def test_the_command_on_record_holds_no_secret(monkeypatch):
    words = ["jaxresearch", "run", "mnist", "--api-token=hunter2", "--password", "hunter2", "--keys", "7"]
    monkeypatch.setattr("sys.argv", [*words, "--data", "https://me:hunter2@host/x", "--monkey", "9"])
    found = environment(seeds=[0])["command"]
    assert "hunter2" not in json.dumps(found)
    assert found[3:] == [
        "--api-token=***",
        "--password",
        "***",
        "--keys",
        "7",
        "--data",
        "https://***@host/x",
        "--monkey",
        "9",
    ]


def test_only_a_live_process_locks_a_directory(tmp_path):
    code = "from pathlib import Path; from jaxresearch.records import RunDirectory; import sys, time\n"
    code += f"directory = RunDirectory(Path({str(tmp_path / 'run')!r})); print('locked', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(BusyError, match=f"run is used by process {other.pid} on .*. Wait for it, or name"):
            RunDirectory(tmp_path / "run")
        other.kill()
    assert RunDirectory(tmp_path / "run").is_new  # it holds only the lock of a dead process


def test_metrics_beyond_a_step_and_half_a_line_are_dropped(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    for step in (10, 20, 30):
        directory.append_metrics({"step": step})
    with open(directory.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "train')
    directory.cut_metrics(20)
    lines = (directory.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20]


def test_differences_have_both_values():
    recorded = {"seeds": 3, "hyperparameters": {"learning_rate": 0.1, "hidden": [128]}, "old": 1}
    asked = {"seeds": 3, "hyperparameters": {"learning_rate": 0.2, "hidden": (128,)}, "new": None}
    assert differences(recorded, asked) == {
        "hyperparameters.learning_rate": "0.1 on record, 0.2 now",
        "old": "1 on record, nothing now",
    }


def test_numbers_are_read_back_exactly(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    singles = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    exact = [0.1, 1 / 3, 1.0000000000000002, 5e-324, 1e300, 123456789012.0, -0.0]
    directory.write("numbers.json", {"exact": exact, "singles": singles, "single": float(np.float32(0.1))})
    back = directory.read("numbers.json")
    assert back["exact"] == exact and back["single"] == 0.1  # rather than 0.10000000149011612
    np.testing.assert_array_equal(np.array(back["singles"], np.float32), singles)


def test_each_process_that_resumes_adds_its_environment(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    for number in range(3):
        directory.add_environment({"jax": number})
    assert directory.read("environment.json") == {"jax": 0, "resumed": [{"jax": 1}, {"jax": 2}]}


def test_settings_keep_all_digits_and_metrics_those_of_float32(tmp_path):
    directory, value = RunDirectory(tmp_path / "run"), float(np.float32(0.003))
    directory.write("a.json", {"hyperparameters": {"rates": [value]}, "metrics": {"mean": value}})
    read = directory.read("a.json")
    assert read["hyperparameters"]["rates"] == [value] and read["metrics"]["mean"] == 0.003 != value


@pytest.mark.parametrize(
    ("asked", "command"),
    [({}, "run"), ({"axes": {"learning_rate": [0.1]}}, "sweep"), ({"study": {"rounds": 3}}, "study")],
)
def test_command_of_depends_on_the_configuration(asked, command):
    assert command_of({"experiment": "mnist", **asked}) == command


def test_the_recorded_command_can_be_typed(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/jaxresearch/__main__.py", "run", "mnist"])
    assert environment(seeds=[0])["command"] == ["jaxresearch", "run", "mnist"]
    monkeypatch.setattr("sys.argv", ["/somewhere/benchmarks/__main__.py", "--case", "a"])
    assert environment(seeds=[0])["command"] == ["benchmarks", "--case", "a"]


CONFIG = {
    "experiment": "mnist",
    "seeds": [0, 1],
    "save_every": 60,
    "hyperparameters": {"rate": 0.1},
    "encrypt_with": None,
}


def opened(path, **changes):
    """Opens a directory and closes it again; returns whether it was new."""
    with open_directory(path, {**CONFIG, **changes}, {"jax": 1}) as directory:
        return directory.is_new


def test_a_directory_is_opened_again_with_the_same_configuration(tmp_path):
    assert opened(tmp_path / "run") and not opened(tmp_path / "run")
    assert not opened(tmp_path / "run", save_every=5, directory="elsewhere", track=["mlflow"])
    environments = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environments == {"jax": 1, "resumed": [{"jax": 1}] * 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"seeds": [0, 2]},
            r"holds another run; these settings differ: --seeds \(\[0, 1\] on record, \[0, 2\] now\)\. Name",
        ),
        ({"hyperparameters": {"rate": 0.2}}, r"these settings differ: --rate \(0.1 on record, 0.2 now\)"),
        ({"encrypt_with": "key"}, r"these settings differ: --encrypt-with \(None on record, key now\)"),
        ({"experiment": "house"}, "run holds a run of mnist, not a run of house. Name another with --directory."),
        ({"axes": {"rate": [1, 2]}}, "run holds a run of mnist, not a sweep of mnist"),
        (
            {"validation": 0.1, "parts": {"train": 9}, "data_card": {"name": "b"}, "claim": {"at_least": 0.5}},
            r"these settings differ: --validation \(nothing on record, 0.1 now\)\. Name another",
        ),
        ({"parts": {"train": 9}}, r"these settings differ: parts.train \(nothing on record, 9 now\)\. Name"),
        ({str(i): i for i in range(9)}, r"--0 \(nothing on record, 0 now\), .* and 3 more. Name another"),
    ],
)
def test_a_directory_of_another_configuration_is_refused(tmp_path, changes, message):
    opened(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / "run", **changes)


def card(*files):
    """Returns the data card of a configuration."""
    return {"sha256": [[name, digest] for name, digest in files], "columns": [{"n_missing": len(files)}]}


def test_the_wording_of_notes_may_change():
    columns, target = [{"name": "a", "note": "old", "kind": "number"}], {"name": "t", "note": "old"}
    before = {"data_card": {"columns": columns, "target": target}}
    assert differences(before, {"data_card": {"columns": [{**columns[0], "note": "new"}], "target": target}}) == {}
    changed = differences(before, {"data_card": {"columns": [{**columns[0], "kind": "date"}], "target": target}})
    assert [*changed] == ["data_card.columns"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("a.csv", "1"), ("b.csv", "3")], "got b.csv changed. Restore them, or rerun with another --directory.$"),
        ([("a.csv", "1")], "got b.csv missing. Restore"),
        ([("c.csv", "1"), ("a.csv", "1"), ("b.csv", "1")], "got b.csv changed, c.csv new. Restore"),
        ([(f"{i}.png", "1") for i in range(7)], "got 0.png new, .*, 5.png new and 3 more. Restore"),
    ],
)
def test_changed_data_are_named_by_their_files(tmp_path, files, message):
    opened(tmp_path / "run", data="a", data_card=card(("a.csv", "1"), ("b.csv", "2")))
    rule = "^the data of the run in .*run must stay as they were at its start, "
    with pytest.raises(ValueError, match=rule + message):
        opened(tmp_path / "run", data="a", data_card=card(*files))
    with pytest.raises(ValueError, match=r"these settings differ: --data \(a on record, b now\)"):
        opened(tmp_path / "run", data="b", data_card=card(*files))


@pytest.mark.parametrize(
    ("changes", "last", "use"),
    [
        ({}, "result.json", "Read it with jaxresearch report .*run, use it with jaxresearch predict .*run DATA"),
        ({"axes": {}}, "sweep.csv", "Read .*run/sweep.csv"),
        (
            {"study": {}},
            "result.json",
            "Read it with jaxresearch report .*run, use it with jaxresearch predict .*run DATA",
        ),
    ],
)
def test_the_directory_of_a_finished_run_is_not_opened(tmp_path, changes, last, use):
    opened(tmp_path / "run", **changes)
    (tmp_path / "run" / last).write_text("{}")
    with pytest.raises(
        EndedError,
        match=f"in .*run has ended: there is nothing left to resume. {use}, or start another .*new directory",
    ):
        opened(tmp_path / "run", **changes)


@pytest.mark.parametrize(
    "made", ["metrics.jsonl", "trials.json", "study.json", "checkpoints/10/", "group-0/checkpoints/10/"]
)
def test_progress_is_what_can_be_resumed(tmp_path, made):
    with open_directory(tmp_path / "run", CONFIG, {}) as directory:
        for path in ("initial/checkpoints/0", "checkpoints/.new-10"):
            (directory.path / path).mkdir(parents=True)
        assert not directory.has_progress
        path = directory.path / made
        path.mkdir(parents=True) if made.endswith("/") else path.touch()
        assert directory.has_progress


def test_an_altered_file_is_noticed(tmp_path):
    from jaxresearch.records import read_checksummed

    directory = RunDirectory(tmp_path / "run")
    directory.write_checksummed("a.json", {"rate": 0.1, "values": [np.float32(0.1), np.nan]})
    assert read_checksummed(directory.path / "a.json") == {"rate": 0.1, "values": [0.1, None]}
    text = (directory.path / "a.json").read_text()
    (directory.path / "a.json").write_text(text.replace("0.1", "0.2", 1))
    with pytest.raises(
        ValueError, match="a.json was altered: its SHA-256 does not match. Restore it, or rerun with another"
    ):
        read_checksummed(directory.path / "a.json")


def test_a_closed_directory_may_be_opened_by_the_same_process(tmp_path):
    with RunDirectory(tmp_path / "run"):
        with pytest.raises(BusyError, match="is used by process"):
            RunDirectory.again(tmp_path / "run")
    RunDirectory.again(tmp_path / "run").close()


def test_runs_started_together_get_different_names(tmp_path):
    barrier = threading.Barrier(4)

    def begun(number):
        barrier.wait()
        return open_directory(tmp_path / "runs" / "mine", {"experiment": "mine", "seeds": [number]}, {}, is_new=True)

    with ThreadPoolExecutor(4) as pool:
        directories = [*pool.map(begun, range(4))]
    assert sorted(one.path.name for one in directories) == ["mine", "mine-2", "mine-3", "mine-4"]
    assert sorted(one.read("config.json")["seeds"] for one in directories) == [[0], [1], [2], [3]]
    for one in directories:
        one.close()
    with open_directory(tmp_path / "runs" / "mine", {"experiment": "mine", "seeds": [0]}, {}, is_new=True) as fifth:
        assert fifth.path.name == "mine-5"  # a finished or resumable run is left alone

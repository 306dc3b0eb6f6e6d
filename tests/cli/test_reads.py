"""How often a test part was read: counted over the runs of a folder, recorded, and shown where a run may be chosen."""

import json
import os

import pytest

pytestmark = pytest.mark.long

SHORT = ["--epochs", "1", "--seeds", "2"]
LINE = "choosing the best of them by these results overestimates it"


def read(path):
    return json.loads((path / "result.json").read_text())


@pytest.fixture
def ran(here, folder):
    """Does a run in ``runs/NAME`` and returns its result and its output."""

    def run(name, *words):
        done = here("run", "line.py", *SHORT, *words, "--directory", f"runs/{name}")
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return read(folder / "runs" / name), done.stdout

    return run


@pytest.mark.long
def test_runs_on_the_same_test_part_are_counted(ran, here, folder):
    first, shown = ran("first")
    assert first["test_reads"] == 1 and LINE not in shown
    second, shown = ran("second", "--learning-rate", "0.2", "--train-examples", "60")
    assert second["test_reads"] == 2 and second["test_part"] == first["test_part"]
    assert shown.index("Claim") < shown.index(f"this test part has been read by 2 runs in runs/: {LINE}\n")
    sweep = ["sweep", "line.py", *SHORT, "--learning-rate", "0.1,0.2", "--directory", "runs/sweep"]
    assert here(*sweep).returncode == 0  # on validation data alone
    for name, words in {
        "smoke": ["--smoke"],
        "seed": ["--split-seed", "3"],
        "fraction": ["--test-fraction", "0.3"],
        "folds": ["--folds", "2"],
        "resplit": ["--resplit"],
    }.items():
        done = here("run", "line.py", "--epochs", "1", *words, "--directory", f"runs/{name}")
        assert done.returncode == 0 and LINE not in done.stdout, done.stderr
        assert read(folder / "runs" / name)["test_reads"] == (None if name == "smoke" else 1)
    done = here("study", "line.py", "--rounds", "1", *SHORT, "--fresh-seeds", "2", "--directory", "runs/study")
    assert done.returncode == 0 and "has been read by 3 runs in runs/" in done.stdout, done.stderr
    sentence = f"This test part has been read by 3 runs in runs/: {LINE}."
    assert sentence in (folder / "runs" / "study" / "study.md").read_text()
    assert here("report", "runs/first").returncode == 0  # counted again
    assert sentence in (folder / "runs" / "first" / "report.html").read_text()
    done = here("compare", "runs/first", "runs/second", "--page", "page.html")
    assert f"this test part has been read by 3 runs in runs/: {LINE}\n" in done.stdout, done.stderr
    assert sentence in (folder / "page.html").read_text()


def test_what_lies_beside_a_run_is_passed_over(ran, folder):
    runs = folder / "runs"
    contents = {
        "broken": b"{",
        "list": b"[]",
        "text": b"\xff\xfe no json",
        "deep": b"[" * 100_000,
        "foreign": b'{"metrics": 3}',
        "other": b'{"test_part": "12"}',
        "config": b"{}",
    }
    for name, content in contents.items():
        (runs / name).mkdir(parents=True)
        (runs / name / "result.json").write_bytes(content)
    (runs / "config" / "config.json").write_text('{"data_card": []}')
    (runs / "folder" / "result.json").mkdir(parents=True)
    (runs / "pipe").mkdir()
    os.mkfifo(runs / "pipe" / "result.json")  # nobody writes to it, so opening it would block forever
    (runs / "a file").write_text("")
    (runs / "gone").symlink_to(runs / "nowhere")
    result, shown = ran("run")
    assert result["test_reads"] == 1 and LINE not in shown


def test_runs_from_before_test_parts_were_recorded_count(ran, folder):
    first, _ = ran("first")
    before = {name: entry for name, entry in first.items() if not name.startswith("test_")}
    (folder / "runs" / "first" / "result.json").write_text(json.dumps(before))
    assert ran("second")[0]["test_reads"] == 2


def test_a_run_in_the_folder_itself_is_named_by_it(here):
    for name in ("a", "b"):
        done = here("run", "line.py", *SHORT, "--directory", name)
        assert done.returncode == 0, done.stderr
    assert f"this test part has been read by 2 runs in ./: {LINE}\n" in done.stdout


@pytest.mark.long
def test_data_that_describe_themselves_have_no_test_part(command, tmp_path):
    for name in ("a", "b"):
        done = command("run", "house_prices", *SHORT, "--directory", tmp_path / name)
        assert done.returncode == 0 and LINE not in done.stdout, done.stderr
    assert read(tmp_path / "b")["test_part"] is None and read(tmp_path / "b")["test_reads"] is None

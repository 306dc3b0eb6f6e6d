"""The benchmark harness: a failing peer is reported in its row, and metrics are read from real processes."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cases():
    sys.path.insert(0, str(ROOT))
    try:
        yield importlib.import_module("benchmarks.cases")
    finally:
        sys.path.remove(str(ROOT))


def program(cases, name, code):
    return cases.Program(name, (sys.executable, "-c", code))


PRINTS = "print('warming up'); print('{\"train_us\": %s, \"accuracy\": [0.9, 0.8]}')"


def test_ratios_are_theirs_over_ours(cases):
    ours, peer = program(cases, "ours", PRINTS % 2), program(cases, "peer", PRINTS % 8)
    (row,) = cases._ratios("case", ours, peer, 3, (("train_us", "training", 4.5),))
    assert row.values == (4.0, 4.0, 4.0) and row.holds is False and "accuracy 0.8500" in row.note
    (row,) = cases._ratios("case", ours, peer, 1, (("process_seconds", "process", None),))
    assert row.median > 0 and row.holds is None


@pytest.mark.parametrize(
    ("code", "error"),
    [("import no_such_framework", "No module named 'no_such_framework'"), ("raise SystemExit(3)", "exit code 3")],
)
def test_a_failing_peer_is_reported_in_its_row(cases, code, error):
    ours, peer = program(cases, "ours", PRINTS % 2), program(cases, "peer", code)
    (row,) = cases._ratios("case", ours, peer, 2, (("train_us", "training", 5),))
    assert row.values == () and row.median is None and row.holds is None and error in row.note
    from benchmarks.__main__ import table

    assert table("case", [row]).row_count == 1


def test_row_holds_if_its_median_meets_the_bound(cases):
    assert cases.Row("c", "w", (1.0, 3.0, 9.0), at_least=3).holds
    assert not cases.Row("c", "w", (1.0, 3.0, 9.0), at_most=2.9).holds


def test_measured_reports_our_own_failure_and_continues(cases, monkeypatch):
    from benchmarks import __main__ as harness

    def failing(pairs):
        yield cases.Row("c", "first", (1.0,))
        program(cases, "ours", "raise SystemExit(3)").measure()

    monkeypatch.setitem(cases.CASES, "c", failing)
    first, second = harness.measured("c", 1)
    assert first.median == 1 and second.values == () and "exit code 3" in second.note


WRITES = 'print(\'{"step_ms": %s, "tokens_per_second": %s, "train_loss": 2.5, "validation_loss": 2.25}\')'


def test_decoder_reports_tokens_per_second_and_losses(cases, monkeypatch, tmp_path):
    code = {"decoder": WRITES % (20, 300), "torch_decoder": WRITES % (40, 200)}
    monkeypatch.setattr(cases, "text_file", lambda: tmp_path)
    monkeypatch.setattr(cases, "python", lambda name, *words: (sys.executable, "-c", code[name]))
    speed, *losses = cases.decoder(2)
    assert speed.values == (1.5, 1.5) and speed.holds and speed.note == "40 / 20 ms per step"
    assert [row.values for row in losses] == [(2.5, 2.5)] * 2 + [(2.25, 2.25)] * 2


def test_decoder_reports_a_failing_peer(cases, monkeypatch, tmp_path):
    code = {"decoder": WRITES % (20, 300), "torch_decoder": "raise SystemExit(3)"}
    monkeypatch.setattr(cases, "text_file", lambda: tmp_path)
    monkeypatch.setattr(cases, "python", lambda name, *words: (sys.executable, "-c", code[name]))
    (row,) = cases.decoder(1)
    assert row.holds is None and "exit code 3" in row.note


def test_explain_compares_three_methods_with_captum(cases, monkeypatch, tmp_path):
    prints = 'print(\'{"attribute_seconds": %s, "total": 3.5}\')'
    code = {
        "explain": prints % 0.5,
        "captum_explain": "import sys; assert sys.argv[1] != 'shapley', 'none'; " + prints % 2.75,
    }
    monkeypatch.setattr(cases, "network_file", lambda: tmp_path)
    monkeypatch.setattr(cases, "python", lambda name, file, method: (sys.executable, "-c", code[name], method))
    integrated, shapley, occlusion = cases.explain(2)
    assert integrated.values == (5.5, 5.5) and integrated.holds is False  # the bound is 6
    assert occlusion.holds and occlusion.note == "2.75 / 0.5 seconds; total 3.5 / 3.5"
    assert shapley.values == () and "AssertionError: none" in shapley.note


LARGE = "decoder, 32 windows of 128, one sum per step"
RATE = "import json, sys; print(json.dumps({'examples_per_second': %s, 'in_step': 190}))"


def test_processes_compares_joined_with_independent_ones(cases, monkeypatch, tmp_path):
    rates = {("joined", "1"): 99, ("independent", "1"): 100, ("joined", "2"): 180, ("independent", "2"): 200}
    monkeypatch.setattr(cases, "text_file", lambda: tmp_path)
    monkeypatch.setattr(cases, "python", lambda name, work, how, n, text: (sys.executable, "-c", RATE % rates[how, n]))
    rows = [*cases.processes(1)]
    assert [(row.what, row.values, row.holds) for row in rows] == [
        ("sweep: 1 joined / independent", (0.99,), None),
        ("sweep: 2 joined / independent", (0.9,), False),  # the bound is 0.94
        (f"{LARGE}: 1 joined / independent", (0.99,), None),
        (f"{LARGE}: 2 joined / independent", (0.9,), True),  # and 0.85 here
        (f"{LARGE}: 2 independent, if each waited for the slower after every step", (0.95,), None),
        ("decoder, 12 windows of 64, one sum per step: 1 joined / independent", (0.99,), None),
        ("decoder, 12 windows of 64, one sum per step: 2 joined / independent", (0.9,), None),
        ("decoder, 12 windows of 64: 1 joined / independent", (0.99,), None),
        ("decoder, 12 windows of 64: 2 joined / independent", (0.9,), None),
    ]
    assert rows[1].note == "200 / 180 examples per second"


def test_processes_reports_too_few_cores(cases, monkeypatch, tmp_path):
    code = "raise SystemExit('processes must be at most the 1 cores, got 2')"
    monkeypatch.setattr(cases, "text_file", lambda: tmp_path)
    monkeypatch.setattr(cases, "python", lambda *words: (sys.executable, "-c", code))
    assert all("at most the 1 cores, got 2" in row.note and row.holds is None for row in cases.processes(1))


def test_streaming_leaves_out_a_loader_that_is_missing(cases, monkeypatch, tmp_path):
    code = {"grain": "import no_such_loader", "tf.data": PRINTS % 8}
    monkeypatch.setattr(cases, "mnist_file", lambda: tmp_path)
    monkeypatch.setattr(cases, "python", lambda name, loader, file: (sys.executable, "-c", code[loader]))
    monkeypatch.setattr(
        cases, "command", lambda *words, cache: program(cases, cache, PRINTS % (4.0 if "--stream" in words else 3.9))
    )
    resident, grain, tf_data = cases.streaming(2)
    assert resident.values == (3.9 / 4.0,) * 2 and resident.holds
    assert grain.values == () and "No module named 'no_such_loader'" in grain.note
    assert tf_data.values == (2.0, 2.0) and tf_data.holds


@pytest.mark.long
def test_two_processes_are_joined_and_measured(cases):
    """The programs of the case, on a hundredth of the work."""
    text = str(cases.text_file())
    words = cases.python("processes", "sweep", "joined", "2", text, "--size", "0.01")
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[-1])["examples_per_second"] > 0, done.stderr


@pytest.mark.long
def test_accelerator_without_one_runs_its_checks_on_the_cpu(tmp_path):
    """The script for a GPU runs a few steps of everything without one."""
    out = tmp_path / "accelerator.json"
    words = [sys.executable, "-m", "benchmarks.accelerator", "--part", "promises", "--out", str(out)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("no accelerator found")
    record = json.loads(out.read_text())
    assert record["smoke"] and len(record["rows"]) == 12
    assert {row["holds"] for row in record["rows"]} == {True, None}  # None: a measurement


def test_accelerator_exits_with_1_if_a_guarantee_fails(cases, monkeypatch, tmp_path):
    from benchmarks import accelerator

    def broken(smoke, platform):
        yield accelerator.Seen("promises", "two and two are five", False, "4")

    monkeypatch.setattr(accelerator, "PARTS", {"promises": broken})
    monkeypatch.setattr(sys, "argv", ["accelerator", "--out", str(tmp_path / "seen.json")])
    assert accelerator.main() == 1
    assert json.loads((tmp_path / "seen.json").read_text())["rows"][0]["what"] == "two and two are five"


def test_private_reports_the_time_without_the_noise(cases, monkeypatch, tmp_path):
    ours = 'print(\'{"step_ms": 10, "noise_ms": 4, "plain_ms": 4, "accuracy": 0.5}\')'
    code = {"private": ours, "opacus_private": ours.replace("10", "200")}
    for name in ("text_file", "mnist_file"):
        monkeypatch.setattr(cases, name, lambda: tmp_path)
    monkeypatch.setattr(cases, "python", lambda name, *words: (sys.executable, "-c", code[name]))
    share, *rows = cases.private(1)
    assert share.values == (1.5,) and share.holds and share.note.startswith("10 / 4 / 4 ms per step")
    assert [row.at_least for row in rows] == [10] * 3 + [5] * 3 + [3] * 2 and {row.values for row in rows} == {(20.0,)}

"""The lines of progress: means over the active runs, and a speed once it is measured."""

import io
import os
import shutil
import sys
import time

import numpy as np
import pytest
from rich.console import Console

from jaxresearch import statistics
from jaxresearch.cli import display
from jaxresearch.cli.display import Display, console, print_table
from jaxresearch.execution import Divergence, Progress


@pytest.mark.parametrize("width", [*range(1, 60), 200])
def test_print_table_cuts_no_value(width):
    headings, rows = ("metric", "95 % interval over 5 seeds"), [("test/mse", "0.0958 to 0.0984"), ("test/r2", "")]
    out = io.StringIO()
    print_table(Console(file=out, width=width), headings, rows, title="A title that is longer than its table is")
    title, *lines = out.getvalue().splitlines()
    assert title == "A title that is longer than its table is"
    words = " ".join(lines).split()
    assert {"test/mse", "0.0958", "to", "0.0984", "test/r2"} <= {*words}
    if "│" in words:
        assert max(map(len, lines)) <= width
        assert any("0.0958 to 0.0984" in line for line in lines) or width < 36
    else:
        assert width < 8 + 8 + 7  # the longest word of each column, and borders
        assert " ".join(words) == "metric: test/mse 95 % interval over 5 seeds: 0.0958 to 0.0984 metric: test/r2"
        assert all(len(line) <= max(width, 5) or len(line.split()) == 1 for line in lines)


def test_print_table_measures_wide_characters():
    out = io.StringIO()
    print_table(Console(file=out, width=22), ("class", "n"), [("東京東京東京東京", "10")])
    assert "東京東京東京東京" in out.getvalue()


@pytest.mark.parametrize(("columns", "width"), [("0", 80), ("00", 80), ("33", 33), ("", 80)])
def test_console_has_room_whatever_columns_is(monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert console().width == width


def chunk(step, **changed):
    """Returns a chunk of ten steps of three runs."""
    made = Progress(
        step, 100, 10, {"loss": np.full((3, 10), 0.5, np.float32)}, 1.0, step * 48, 0.0, 1, np.zeros(3, bool)
    )
    return made._replace(**changed)


def shown(*chunks, **options):
    """Returns the progress lines of chunks."""
    out = io.StringIO()
    with Display(Console(file=out, width=200), **options) as display:
        for one in chunks:
            display.show(one)
    return out.getvalue().splitlines()


def test_no_speed_is_shown_before_a_second_of_steps_is_measured():
    """The first chunk includes the one-time costs of a run."""
    lines = shown(*(chunk(step, seconds=seconds) for step, seconds in ((10, 5.0), (20, 5.5), (30, 6.0), (40, 6.5))))
    assert lines == [
        "epoch 1/10 · train loss 0.5000",
        "epoch 2/10 · train loss 0.5000",
        "epoch 3/10 · train loss 0.5000 · 960 examples/s",
        "epoch 4/10 · train loss 0.5000 · 960 examples/s",
    ]


def test_a_long_epoch_is_shown_once_per_minute():
    times = ((10, 30.0), (20, 59.0), (30, 61.0), (40, 120.0), (50, 121.0), (60, 122.0))
    chunks = [chunk(step, seconds=seconds, steps_per_epoch=50, n_examples=0) for step, seconds in times]
    places = ["step 30/100", "epoch 1/2"]
    assert [line.split(" · ")[0] for line in shown(*chunks)] == places
    again = shown(*chunks[:3], *(one._replace(what="round 2") for one in chunks[:3]))
    assert again == ["step 30/100 · train loss 0.5000", "round 2 · step 30/100 · train loss 0.5000"]


def test_each_run_is_measured_by_itself():
    lines = shown(chunk(10), chunk(20, seconds=3.0), chunk(10, seconds=9.0), chunk(20, seconds=9.5))
    assert [line.split(" · ")[0] for line in lines] == ["epoch 1/10", "epoch 2/10"] * 2  # each from the first
    assert ["examples/s" in line for line in lines] == [False, True, False, False]
    assert lines[1].endswith("· 240 examples/s")


def test_a_chunk_without_its_own_time_repeats_the_speed():
    times = ((10, 1.0, True), (20, 3.0, True), (30, 3.0, False), (40, 5.0, True), (50, 5.0, False))
    lines = shown(*(chunk(step, seconds=seconds, is_timed=is_timed) for step, seconds, is_timed in times))
    assert [line.split(" · ")[-1] for line in lines[1:]] == ["240 examples/s"] * 2 + ["360 examples/s"] * 2


def test_a_chunk_trained_while_compiling_is_not_measured():
    """The seconds of compiling are not counted, so the chunk of step 30 seems to take none."""
    counts = ((10, 1.0, 1), (20, 3.0, 1), (30, 3.0, 2), (40, 3.5, 2), (50, 5.0, 2))
    lines = shown(*(chunk(step, seconds=seconds, n_compilations=n) for step, seconds, n in counts))
    assert [line.split(" · ")[-1] for line in lines[1:]] == ["240 examples/s"] * 3 + ["480 examples/s"]


def test_means_are_of_the_runs_that_still_train():
    losses = {"loss": np.array([[0.1, 0.2], [np.nan, 0.2], [np.nan, np.nan]])}
    seen = {"r2": np.array([0.8, 0.9, np.nan]), "recall": np.ones((3, 2))}
    diverged, done = (Divergence(1, 9, "loss"),), np.array([False, False, True])
    (line,) = shown(chunk(10, metrics=losses, validation=seen, diverged=diverged, done=done), runs="folds")
    assert line == "epoch 1/10 · train loss 0.1500 · validation r2 0.8000 · 1 of 3 folds diverged"
    everyone = tuple(Divergence(run, 9, "loss") for run in range(3))
    assert shown(chunk(10, metrics=losses, diverged=everyone))[0].endswith("loss nan · 3 of 3 runs diverged")
    assert shown(chunk(10, metrics=losses, done=np.ones(3, bool)))[0].endswith("loss nan")
    assert shown(chunk(10, metrics={})) == ["epoch 1/10"]


def test_a_mean_is_that_of_float64():
    """In float32 the sum of many values near 0.83 is off by more than the last digit shown."""
    values = np.random.default_rng(0).uniform(0.8, 0.9, (200_000, 1)).astype(np.float32)
    made = chunk(10, metrics={"loss": values}, done=np.zeros(len(values), bool))
    assert shown(made) == [f"epoch 1/10 · train loss {statistics.number_text(float(values.astype(np.float64).mean()))}"]


@pytest.mark.parametrize("value", [0.83225, 0.97615, 12.34565, 1e-5, 0.00005, 123.45675, -0.83225])
def test_a_number_and_its_recorded_digits_are_shown_alike(value):
    single = float(np.float32(value))
    assert statistics.number_text(single) == statistics.number_text(value)
    mean = float(np.mean(np.array([value - 1e-2, value + 1e-2], np.float32), dtype=np.float64))
    assert abs(value) > 100 or statistics.number_text(mean) == statistics.number_text(value)


def test_long_work_is_named_on_standard_error(monkeypatch, capsys):
    with display.working("attacks"):
        pass
    assert capsys.readouterr() == ("", "")  # in less than ten seconds
    monkeypatch.setattr(display, "_PATIENCE", 0.01)
    monkeypatch.setattr(display, "_SILENCE", 0.01)
    lines = ""
    with display.working("attacks"):
        for _ in range(1000):  # at most ten seconds on a busy machine
            time.sleep(0.01)
            lines += capsys.readouterr().err
            if lines.count("\n") > 1:
                break
    assert lines.startswith("attacks · 0 s so far\nattacks · ")

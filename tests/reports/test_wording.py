"""Figures and settings in a few words."""

import numpy as np

from jaxresearch import statistics
from jaxresearch.reports import wording


def test_round_rows_tell_what_was_tried_the_best_of_it_and_what_was_chosen():
    def trial(rate, values, diverged=False):
        return {"hyperparameters": {"rate": rate, "widths": [8]}, "metrics": {"r2": values}, "diverged": diverged}

    first = {"why": "the plain settings", "trials": [trial(0.1, [0.5, 0.7])], "scores": [0.6]}
    tried = [trial(1.0, [None, 0.1], diverged=True), trial(0.2, [0.8, 0.9]), trial(0.3, [0.7, 0.8])]
    second = {"why": "a grid over rate", "trials": tried, "scores": [None, 0.85, 0.75]}
    third = {"why": "more", "trials": tried[:1], "scores": [-np.inf]}
    plain, chosen = (trial(rate, [])["hyperparameters"] for rate in (0.1, 0.2))
    rows = wording.round_rows([first, second, third], "r2", plain=plain, chosen=chosen)
    low, high = statistics.summary([0.8, 0.9])["ci95"]
    assert rows[0][:4] == ("1", "the plain settings: 1", "plain", "0.6000") and rows[0][-1] == ""
    best = ("--rate 0.2", "0.8500", f"{low:.4f} to {high:.4f}", "chosen")
    assert rows[1] == ("2", "a grid over rate: 3, 1 diverged", *best)
    assert rows[2] == ("3", "more: 1, 1 diverged", "--rate 1.0", "diverged", "", "")
    assert {len(row) for row in rows} == {len(wording.round_headings("r2"))}


def test_a_speed_is_told_where_steps_were_made():
    result = {"seconds": {"load": 0.5, "train": 2.0}, "examples_per_second": 30_000.4}
    assert wording.seconds_line(result) == "load 0.50 s · train 2.00 s · 30,000 examples/s in training"
    assert wording.seconds_line({**result, "examples_per_second": 0.0}) == "load 0.50 s · train 2.00 s"


def test_settings_are_written_as_they_are_typed():
    words = wording.as_words(
        {"schedule": "exponential", "hidden": (128, 64), "rate": 0.00630957, "a_b": False, "c": True}
    )
    assert words == "--schedule exponential --hidden 128 64 --rate 0.00630957 --no-a-b --c"


def test_control_characters_are_not_printed():
    said = "a\tb\n\x1b[31mred\x1b[0m \x00\x85é🙂"
    assert (
        wording.printable(said)
        == "a\tb\n\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}[0m "
        + 2 * "\N{REPLACEMENT CHARACTER}"
        + "é🙂"
    )

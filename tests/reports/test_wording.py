"""Metrics and settings as text."""

import numpy as np
import pytest

from jaxresearch import statistics
from jaxresearch.reports import wording


def test_round_rows_hold_what_was_tried_the_best_and_the_choice():
    def trial(rate, values, diverged=False):
        return {"hyperparameters": {"rate": rate, "widths": [8]}, "metrics": {"r2": values}, "diverged": diverged}

    first = {"why": "the baseline", "trials": [trial(0.1, [0.5, 0.7])], "scores": [0.6]}
    tried = [trial(1.0, [None, 0.1], diverged=True), trial(0.2, [0.8, 0.9]), trial(0.3, [0.7, 0.8])]
    second = {"why": "a grid over rate", "trials": tried, "scores": [None, 0.85, 0.75]}
    third = {"why": "more", "trials": tried[:1], "scores": [-np.inf]}
    baseline, chosen = (trial(rate, [])["hyperparameters"] for rate in (0.1, 0.2))
    rows = wording.round_rows([first, second, third], "r2", baseline=baseline, chosen=chosen)
    low, high = statistics.summary([0.8, 0.9])["ci95"]
    assert rows[0][:4] == ("1", "the baseline", "baseline", "0.6000")
    best = ("--rate 0.2 (chosen)", "0.8500", f"{low:.4f} to {high:.4f}")
    assert rows[1] == ("2", "a grid over rate (3 settings, 1 diverged)", *best)
    assert rows[2] == ("3", "more (1 diverged)", "--rate 1.0", "diverged", "")
    again = wording.round_rows([first, first], "r2", baseline=baseline, chosen=baseline)
    assert [row[2] for row in again] == ["baseline (chosen)", "baseline"]
    assert {len(row) for row in rows} == {len(wording.round_headings("r2"))}


@pytest.mark.parametrize(
    ("bound", "needs"),
    [({"at_least": 0.9804}, "at least 0.9804"), ({"at_least": None, "at_most": 2e6}, "at most 2000000")],
)
def test_a_verdict_states_its_bound(bound, needs):
    claim = {"text": "so", "metric": "test/x", "verdict": "refuted", "because": "mean 1", **bound}
    assert wording.verdict_line({"claim": claim}) == f'Claim "so": refuted (test/x needs {needs}; mean 1).'


def test_a_smoke_run_has_means_and_no_verdict():
    result = {**_result(error=[0.1, 0.3]), "claim": {"text": "so"}, "smoke": True}
    assert wording.metric_headings(result) == ("metric", "mean")
    assert wording.metric_rows(result) == [("test/error", "0.2000")] and wording.verdict_line(result) == wording.SMOKE


def test_the_speed_is_shown_where_steps_were_made():
    result = {"seconds": {"load": 0.5, "train": 2.0}, "examples_per_second": 30_000.4}
    assert wording.seconds_line(result) == "load 0.50 s · train 2.00 s · 30,000 examples/s in training"
    short = {**result, "seconds": {"train": 0.03}}  # overhead and timers weigh more than the steps
    assert wording.seconds_line(short) == "train 0.03 s"
    assert wording.seconds_line({**result, "examples_per_second": 0.0}) == "load 0.50 s · train 2.00 s"


def _result(**values):
    """Returns a result with these values of its metrics, seeds first."""
    metrics = {f"test/{name}": statistics.summary(value) for name, value in values.items()}
    return {"metrics": metrics, "seeds": list(range(len(next(iter(values.values())))))}


def test_few_seeds_are_said_to_show_little_of_the_spread():
    (line,) = wording.spread_lines(_result(accuracy=[0.44, 0.54]))
    assert line.startswith("2 seeds show almost nothing of the spread over seeds") and "--seeds 5 or more" in line
    assert wording.spread_lines({**_result(accuracy=[0.4, 0.5, 0.6]), "n_folds": 3})[0].startswith(
        "3 folds show little"
    )
    assert wording.spread_lines(_result(accuracy=[0.4, 0.5, 0.6, 0.5, 0.5])) == []
    assert wording.spread_lines(_result(accuracy=[0.4])) == []
    assert wording.spread_lines({**_result(accuracy=[0.4, 0.5]), "smoke": True}) == []


def test_groups_of_examples_are_explained():
    summary = statistics.summary([0.5], np.array([[0.5, -0.5, 0.25, -0.25]]), groups=[0, 0, 1, 1])
    (line,) = wording.spread_lines({"metrics": {"test/accuracy": summary}, "seeds": [0], "n_groups": 2})
    assert line.startswith("A group is all test examples that belong together, such as those of one patient")
    assert (
        wording.spread_lines({"metrics": {"test/accuracy": summary}, "seeds": [0], "n_groups": 2, "smoke": True}) == []
    )


def test_a_narrower_interval_over_both_is_explained():
    hits = np.array([[1.0] * 80 + [0.0] * 20, [0.0] * 25 + [1.0] * 75])
    summary = statistics.summary(hits.mean(axis=1), hits - hits.mean(axis=1, keepdims=True))
    both, alone = (np.ptp(summary["intervals"][over]) for over in ("seeds and examples", "seeds"))
    assert both < alone
    _, line = wording.spread_lines({"metrics": {"test/accuracy": summary}, "seeds": [0, 1]})
    assert "narrower than over seeds alone" in line and "the 1 degree of freedom that 2 seeds leave" in line


def test_a_private_run_says_why_it_has_no_majority_class():
    private = {"metrics": {"test/accuracy": {}}, "majority": None, "privacy": {"runs": []}}
    line = wording.majority_line(private)
    assert line is not None and "would reveal private training examples" in line
    assert wording.majority_line({**private, "metrics": {"test/r2": {}}}) is None
    assert wording.majority_line({"metrics": {"test/accuracy": {}}, "majority": None}) is None


def test_a_vector_metric_has_a_row_for_each_entry():
    result = _result(error=[0.1, 0.1], recall=[[0.5, 1.0], [0.5, np.nan]], confusion=np.ones((2, 2, 2)))
    rows = wording.metric_rows(result, ("cat", "dog"))
    assert rows == [
        ("test/error", "0.1000", "no spread"),
        ("test/recall[cat]", "0.5000", "no spread"),
        ("test/recall[dog]", "undefined", "undefined"),
    ]
    assert wording.metric_headings(result) == ("metric", "mean", "95 % interval over 2 seeds")
    for names in ((), ("one", "of", "three")):
        assert [row[0] for row in wording.metric_rows(result, names)][1:] == ["test/recall[0]", "test/recall[1]"]


def test_a_matrix_metric_is_a_table_of_means():
    values = np.array([[[1500.0, 2], [3, 4]], [[1501.0, 3], [np.nan, 4.5]]])
    (table,) = wording.matrix_tables(_result(error=[0.1, 0.1], confusion=values), ("cat", "dog"))
    assert table.name == "test/confusion" and table.headings == ("", "cat", "dog")
    assert table.rows == [("cat", "1500", "2.5"), ("dog", "undefined", "4.25")]


def test_a_matrix_too_large_for_a_screen_is_named_with_its_shape():
    tables = wording.matrix_tables(_result(wide=np.ones((2, 3, 50)), cube=np.ones((1, 2, 2, 2))))
    assert [(table.name, *table.rows[0]) for table in tables] == [
        ("test/wide", "3 x 50", "result.json"),
        ("test/cube", "2 x 2 x 2", "result.json"),
    ]


def test_the_best_epoch_of_each_seed_is_named():
    result = {"seeds": [3, 4, 7], "best_step": [1000, 1250, None], "steps_per_epoch": 500}
    assert wording.best_line(result) == "best epoch on validation data: 2 (seed 3), 2.5 (seed 4), none (seed 7)"
    del result["steps_per_epoch"]
    assert wording.best_line(result) == "best step on validation data: 1,000 (seed 3), 1,250 (seed 4), none (seed 7)"
    assert wording.best_line({**result, "best_step": None}) is None and wording.best_line({"seeds": [0]}) is None


def test_settings_are_written_as_they_are_typed():
    words = wording.as_words(
        {"schedule": "exponential", "hidden": (128, 64), "rate": 0.00630957, "a_b": False, "c": True}
    )
    assert words == "--schedule exponential --hidden 128x64 --rate 0.00630957 --no-a-b --c"


def test_control_characters_are_not_printed():
    text = "a\tb\n\x1b[31mred\x1b[0m \x00\x85é🙂"
    assert (
        wording.printable(text)
        == "a\tb\n\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}[0m "
        + 2 * "\N{REPLACEMENT CHARACTER}"
        + "é🙂"
    )


def test_an_interval_without_width_is_no_spread():
    assert wording.interval_text(0.71875, 0.71875) == wording.confidence_text(0.5, 0.5) == "no spread"
    assert wording.interval_text(None, None, missing="single seed") == "single seed"
    assert wording.confidence_text(-0.5, 0.25) == "95 % interval -0.5000 to +0.2500"
    assert wording.confidence_text(None, None) == wording.confidence_text(np.nan, np.nan) == "no interval is known"
    gain = {"metric": "test/r2", "mean": 0.5, "ci95": [0.5, 0.5], "over": "seeds"}
    assert wording.gain_line(gain) == "test/r2 +0.5000 over the baseline (no spread, paired by seed)"


def test_the_selection_data_is_named_with_its_origin():
    assert wording.selection_text(1600, is_own=False) == "1,600 selection examples (held out of the training part)"
    assert wording.selection_text(7, is_own=True) == "7 selection examples (the data's own validation part)"
    assert wording.selection_text(0, is_own=False) == "the experiment's own evaluation, which has no data"


def test_a_row_of_large_numbers_has_the_digits_of_its_intervals():
    """The mean lies inside the narrower interval as shown."""
    intervals = {"seeds": [23056.2, 23857.2], "seeds and examples": [21411.2, 25502.2]}
    summary = {"values": [23400.0, 23513.4], "mean": 23456.7, "intervals": intervals}
    result = {"seeds": [0, 1], "metrics": {"test/error": summary}, "n_examples": 50}
    row = ("test/error", "23460", "23060 to 23860", "21400 to 25500")
    assert wording.metric_rows(result) == [row]
    assert wording.metric_rows({**result, "smoke": True}) == [("test/error", "23460")]
    assert wording.confidence_text(*intervals["seeds and examples"]) == "95 % interval +21400 to +25500"
    gain = {"metric": "test/error", "mean": -2034.6, "ci95": [-4051.3, -18.2]}
    assert wording.gain_line(gain).startswith("test/error -2000 over the baseline (95 % interval -4100 to +0,")

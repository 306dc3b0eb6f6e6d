"""Runs side by side: the settings that differ, entries of vectors, and no pairs of a fold with a seed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import data, statistics
from jaxresearch.records.recorded import Recorded
from jaxresearch.reports.comparison import compare

CARD = {"name": "splice", "source": "splice", "sha256": [], "class_names": ["EI", "IE", "N"], "feature_shape": [20]}
SUMMARY = {"values": [0.05, 0.04], "mean": 0.045, "ci95": [0.04, 0.05]}


def recorded(name, *, n_folds=2, **asked):
    config = {"experiment": "genome", "hyperparameters": {"rate": 0.1}, "data_card": CARD, **asked}
    result = {"experiment": "genome", "seeds": [0, 1], "metrics": {"test/error": SUMMARY}, "smoke": False}
    return Recorded(Path(name), config, {}, {**result, "n_folds": n_folds}, [], [])


def guarantee(*epsilons, total, n_runs):
    """Returns the record of runs with these epsilons each; JSON has null for an infinite one."""
    runs = [{"epsilon": {"pld": pld, "rdp": 9.0}, "delta": 1e-5, "unit": "one patient"} for pld in epsilons]
    return {"runs": runs, "all_runs": {"epsilon": total, "delta": 2e-5, "n_runs": n_runs}, "not_covered": []}


def test_options_that_change_training_are_settings_that_differ():
    fresh = recorded("fresh", train_examples=1000, init_from=None)
    begun = recorded("begun", train_examples=1000, init_from="runs/chr3")
    compared = compare((fresh, begun))
    assert compared.different == ("init_from",) and compared.settings == [("fresh", "none"), ("begun", "runs/chr3")]
    compared = compare((recorded("all"), fresh))
    assert compared.different == ("train_examples",) and compared.settings == [("all", "not given"), ("fresh", "1000")]
    assert compare((fresh, fresh)).different == ()
    elsewhere = recorded("elsewhere", train_examples=1000, init_from=None, folder="/other", claim={"at_least": 0.5})
    assert compare((fresh, elsewhere)).different == ()  # where it was started and what it claims change no number


@pytest.mark.parametrize(
    ("name", "asked", "shown"),
    [
        ("on_nonfinite", {"on_nonfinite": "skip"}, ["stop", "skip"]),
        ("evaluate_every", {"validation": 0.2, "evaluate_every": 5}, ["0", "5"]),
        ("stream", {"stream": True}, ["not given", "True"]),
        ("types", {"types": [["ring", "category"]]}, ["none", "ring=category"]),
        ("mesh", {"mesh": [["data", 2], ["fsdp", -1]]}, ["none", "data=2,fsdp=-1"]),
        (
            "private",
            {"private": [["noise", "1"], ["clip", "2"]], "privacy": guarantee(2.0, total=2.0, n_runs=1)},
            ["none", "noise=1,clip=2"],
        ),
        ("", {"save_every": 5.0, "track": ["mlflow"], "fail_fast": True, "data": "a.csv"}, ["", ""]),
    ],
)
def test_any_option_that_changes_numbers_differs(name, asked, shown):
    plain = {"validation": 0.2, "evaluate_every": 0, "on_nonfinite": "stop", "save_every": 60.0, "stream": False}
    compared = compare((recorded("a", **plain), recorded("b", **plain | asked)))
    assert compared.different == ((name,) if name else ())
    assert not name or [row[1] for row in compared.settings] == shown


def test_the_epsilon_of_each_run_is_shown():
    one = recorded("one", privacy=guarantee(2.125, total=2.125, n_runs=1))
    study = recorded("study", privacy=guarantee(3.375, total=3.375, n_runs=2))
    study.result["privacy"] = guarantee(2.125, 3.375, total=7.625, n_runs=6)
    infinite = recorded("infinite", privacy=guarantee(None, 2.125, total=None, n_runs=2))
    compared = compare((one, study, infinite, recorded("open")))
    assert compared.privacy is not None and compared.privacy.rows == [
        ("one", "2.125 at 1e-05", "2.125 at 2e-05 (1 run)", "one patient"),
        ("study", "3.375 at 1e-05", "7.625 at 2e-05 (6 runs)", "one patient"),
        ("infinite", "infinite at 1e-05", "infinite at 2e-05 (2 runs)", "one patient"),
        ("open", "not private", "", ""),
    ]
    assert compare((recorded("open"), recorded("other"))).privacy is None


def test_a_run_that_is_split_by_group_names_its_option():
    def split(name, part, **rule):
        run = recorded(name, n_folds=0, data_card={**CARD, "split": {"by": "random", "column": None, **rule}})
        return dataclasses.replace(run, result={**run.result, "n_folds": 0, "test_part": part})

    by_row, by_patient = split("row", "1"), split("patient", "2", by="group", column="patient")
    message = "differ in test part. patient keeps whole groups of patient in one part: rerun row with --group patient."
    for pair in ((by_row, by_patient), (by_patient, by_row)):
        with pytest.raises(ValueError, match=message):
            compare(pair)
    with pytest.raises(ValueError, match="differ in test part. Runs of different data cannot be compared."):
        compare((by_row, split("other", "2")))


def test_looks_without_validation_data_are_no_setting():
    first, second = (recorded(name, validation=None, evaluate_every=every) for name, every in (("a", 0), ("b", 5)))
    assert compare((first, second)).different == ()


@pytest.mark.parametrize("n_folds", [0, 5])
def test_runs_over_other_numbers_of_folds_are_refused(n_folds):
    with pytest.raises(ValueError, match=f"same number of folds, got 2 in first and {n_folds} in other. Rerun one"):
        compare((recorded("first"), recorded("other", n_folds=n_folds)))


def _with_metrics(name, **values):
    """Returns a run with these values of its metrics, seeds first."""
    run = recorded(name, n_folds=0)
    metrics = {f"test/{metric}": statistics.summary(value) for metric, value in values.items()}
    return dataclasses.replace(run, result={**run.result, "metrics": metrics})


def test_vectors_are_compared_entry_by_entry():
    first = _with_metrics("first", recall=[[0.5, 0.25, 0.0], [0.75, 0.5, 0.0]])
    second = _with_metrics("second", recall=[[0.75, 0.25, 0.0], [1.0, None, 0.0]])
    compared = compare((first, second))
    assert list(compared.figures) == ["test/recall[EI]", "test/recall[IE]", "test/recall[N]"]
    rows = compared.figures["test/recall[EI]"].rows
    assert rows[0][:2] == ("first", "0.6250") and rows[0][4:] == ("", "", "")
    assert rows[1][:2] == ("second", "0.8750") and rows[1][4:] == ("+0.2500", "no spread", "")
    # A diverged seed makes the difference undefined; it is not left out.
    assert compared.figures["test/recall[IE]"].rows[1][4:] == ("undefined", "undefined", "")
    assert compared.notes == ()


def test_what_is_not_compared_is_named():
    first = _with_metrics("first", error=[0.1, 0.2], recall=np.ones((2, 3)), confusion=np.ones((2, 3, 3)), f1=[1, 1])
    second = _with_metrics("second", error=[0.1, 0.2], recall=np.ones((2, 2)), confusion=np.ones((2, 3, 3)))
    compared = compare((first, second))
    assert list(compared.figures) == ["test/error"]
    assert compared.notes == (
        "test/recall is not compared: its shapes are (3,), (2,)",
        "test/confusion is not compared: a matrix of 3 x 3, recorded in result.json",
        "test/f1 is not compared: reported by first only",
    )


def test_runs_without_a_metric_in_common_are_refused():
    with pytest.raises(
        ValueError, match="runs must have a metric in common, got none of test/f1 of first in all. Leave"
    ):
        compare((_with_metrics("first", f1=[1, 1]), _with_metrics("second", error=[1, 1])))


def test_a_run_from_before_there_were_folds_is_one_of_seeds():
    old = recorded("old")
    del old.result["n_folds"]
    assert compare((old, recorded("new", n_folds=0))).different == ()


def test_examples_are_paired_only_where_they_are_the_same(tmp_path):
    """Different examples of the same number are not paired: the difference is over seeds."""
    rng, runs = np.random.default_rng(0), []
    for name, rows in (("first", range(20)), ("second", range(20)), ("other", range(1, 21))):
        (tmp_path / name).mkdir()
        held = {"test/error": rng.normal(size=(2, 20)), "rows": np.array(rows), "seeds": np.array([0, 1])}
        np.savez(tmp_path / name / "examples.npz", **held)
        run = _with_metrics(tmp_path / name, error=[0.1, 0.2])
        runs.append(dataclasses.replace(run, result={**run.result, "examples": data.digest(held)}))
    headings = [compare((runs[0], run)).figures["test/error"].headings for run in runs[1:]]
    assert "95 % interval, paired by seed and example" in headings[0] and "95 % interval, paired by seed" in headings[1]


def _of_seeds(name, seeds, values, **changes):
    run = _with_metrics(name, error=values)
    config = {**run.config, "hyperparameters": {"rate": 0.1, **changes}, "source": {f"{name}/genome.py": "12ab"}}
    return dataclasses.replace(run, config=config, result={**run.result, "seeds": seeds})


def test_runs_that_differ_in_their_seeds_alone_are_pooled():
    first, more = _of_seeds("a", [0, 1], [0.1, 0.2]), _of_seeds("b", [3, 2], [0.4, 0.3])
    other = _of_seeds("c", [0, 1, 2, 3], [0.2, 0.2, 0.5, 0.3], rate=0.5)
    compared = compare((first, other, more))
    assert compared.settings == [("a + b", "0.1"), ("c", "0.5")] and compared.runs == (first, other, more)
    pooled, alone = compared.figures["test/error"].rows
    summary = statistics.summary([0.1, 0.2, 0.4, 0.3])
    interval = " to ".join(map(statistics.number_text, summary["ci95"]))
    assert pooled[:4] == ("a + b", "0.2500", interval, "4")
    found = statistics.difference([0.2, 0.2, 0.5, 0.3], [0.1, 0.2, 0.3, 0.4])  # in pairs of the same seed
    assert alone[4] == statistics.number_text(found.mean, is_signed=True) == "+0.0500"
    assert alone[6] == "undecided"  # four pairs


def test_p_values_need_five_pairs_and_state_what_they_are_over(tmp_path):
    """Two seeds that happen to agree would have p < 0.0001 over seeds and 2,000 examples."""
    hits, runs = np.random.default_rng(0).random((2000,)) < 0.7, []
    for n_seeds in (2, 5):
        for name, right in (("first", hits), ("second", hits | (np.arange(2000) % 20 == 0))):
            path = tmp_path / f"{name}-{n_seeds}"
            path.mkdir()
            values = right.mean() + 1e-4 * np.arange(n_seeds)
            influences = np.tile(right - right.mean(), (n_seeds, 1))
            held = {"test/accuracy": influences, "rows": np.arange(2000), "seeds": np.arange(n_seeds)}
            np.savez(path / "examples.npz", **held)
            run = _with_metrics(path, accuracy=values)
            seen = {"examples": data.digest(held), "seeds": [*range(n_seeds)]}
            runs.append(dataclasses.replace(run, result={**run.result, **seen}))
    few, enough = (compare(tuple(pair)).figures["test/accuracy"] for pair in (runs[:2], runs[2:]))
    assert few.headings[6] == enough.headings[6] == "p (Holm), paired by seed and example"
    assert few.rows[1][6] == "undecided" and enough.rows[1][6] == "< 0.0001"


def test_a_difference_over_some_of_the_seeds_says_so():
    """Whichever run has more."""
    many, few = _of_seeds("a", [0, 1, 2], [0.1, 0.2, 0.6]), _of_seeds("b", [0, 1], [0.2, 0.2], rate=0.5)
    for runs in ((many, few), (few, many)):
        rows = compare(runs).figures["test/error"].rows
        assert rows[1][4].endswith("0.0500 (2 of 3 seeds)"), rows


def test_runs_without_a_claim_are_pooled():
    runs = _of_seeds("a", [0, 1], [0.1, 0.2]), _of_seeds("b", [2, 3], [0.3, 0.4])
    for run in runs:
        run.result["claim"] = None
    assert [row[0] for row in compare(runs).settings] == ["a + b"]


@pytest.mark.parametrize("change", ["seeds", "git", "folds", "source", "no source"])
def test_runs_of_common_seeds_or_other_code_stay_apart(change):
    first, more = _of_seeds("a", [0, 1], [0.1, 0.2]), _of_seeds("b", [2, 3], [0.3, 0.4])
    if change == "seeds":
        more.result["seeds"] = [1, 2]
    elif change == "git":
        more = dataclasses.replace(more, environment={"git": {"commit": "12", "dirty": False}})
    elif change == "source":
        more.config["source"] = {"a/genome.py": "34cd"}  # edited between the runs
    elif change == "no source":
        for run in (first, more):
            del run.config["source"]
    else:
        first, more = (
            recorded("a"),
            dataclasses.replace(recorded("b"), result={**recorded("b").result, "seeds": [2, 3]}),
        )
    assert [row[0] for row in compare((first, more)).settings] == ["a", "b"]

"""Runs side by side: what they were asked for that differs, and no pairs of a fold with a seed."""

from pathlib import Path

import pytest

from jaxresearch.records.recorded import Recorded
from jaxresearch.reports.comparison import compare

CARD = {"name": "splice", "sha256": [], "class_names": ["EI", "IE", "N"], "feature_shape": [20]}
SUMMARY = {"values": [0.05, 0.04], "mean": 0.045, "ci95": [0.04, 0.05]}


def recorded(name, *, n_folds=2, **asked):
    config = {"experiment": "genome", "hyperparameters": {"rate": 0.1}, "data_card": CARD, **asked}
    result = {"experiment": "genome", "n_seeds": 2, "metrics": {"test/error": SUMMARY}, "smoke": False}
    return Recorded(Path(name), config, {}, {**result, "n_folds": n_folds}, [], [])


def test_what_a_run_was_asked_for_besides_hyperparameters_is_a_setting_that_differs():
    fresh = recorded("fresh", train_examples=1000, init_from=None)
    begun = recorded("begun", train_examples=1000, init_from="runs/chr3")
    made = compare((fresh, begun))
    assert made.different == ("init_from",) and made.settings == [("fresh", ""), ("begun", "runs/chr3")]
    made = compare((recorded("all"), fresh))
    assert made.different == ("train_examples",) and made.settings == [("all", ""), ("fresh", "1000")]
    assert compare((fresh, fresh)).different == ()


@pytest.mark.parametrize("n_folds", [0, 5])
def test_a_run_over_folds_is_compared_with_one_over_as_many_alone(n_folds):
    with pytest.raises(ValueError, match=f"as many folds; first has n_folds 2, other {n_folds}. Run it again"):
        compare((recorded("first"), recorded("other", n_folds=n_folds)))


def test_a_run_from_before_there_were_folds_is_one_of_seeds():
    old = recorded("old")
    del old.result["n_folds"]
    assert compare((old, recorded("new", n_folds=0))).different == ()

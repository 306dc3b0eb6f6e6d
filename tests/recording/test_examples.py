"""The reference for an accuracy: always the most frequent class of the training part."""

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data import DataCard, Dataset
from jaxresearch.recording import examples
from jaxresearch.reports import wording

CARD = DataCard(name="mine", source="memory", class_names=("no", "yes", "maybe"))


def part(targets, **more):
    return {"inputs": np.zeros((len(targets), 1)), "targets": np.array(targets), **more}


def test_the_class_of_training_is_scored_on_the_test_part():
    dataset = Dataset(part([0, 0, 0, 1]), part([1, 1, 0, 2]), None, CARD)
    assert examples.majority_of(dataset) == {"class": "no", "accuracy": 0.25}


def test_examples_count_by_their_weights():
    train, test = part([0, 0, 1], weights=np.array([1.0, 1, 5])), part([1, 0, 0], weights=np.array([3.0, 1, 0]))
    assert examples.majority_of(Dataset(train, test, None, CARD)) == {"class": "yes", "accuracy": 0.75}


def test_folds_are_averaged_without_their_padding():
    whole = Dataset(part([0] * 12 + [1] * 11), part([0, 1]), None, CARD)
    folded = [data.fold(whole, place, n_folds=2) for place in range(2)]
    shares = [np.mean(one.test["targets"] == np.bincount(one.train["targets"]).argmax()) for one in folded]
    found = examples.majority_of(data.stacked(folded))
    assert len({len(one.test["targets"]) for one in folded}) == 2 and found is not None
    np.testing.assert_allclose(found["accuracy"], np.mean(shares))


def test_runs_that_differ_in_the_class_name_none():
    whole = [Dataset(part(classes), part([0, 1, 1, 1]), None, CARD) for classes in ([0, 0, 1], [0, 1, 1])]
    found = examples.majority_of(data.stacked(whole, runs_of="subsets"))
    assert found == {"class": None, "accuracy": 0.5}
    line = wording.majority_line({"metrics": {"test/accuracy": {}}, "majority": found})
    assert line == "always the most frequent class: accuracy 0.5"


@pytest.mark.parametrize("targets", [[[0], [1]], [0.5, 1.0], [-1, 1]])
def test_other_targets_have_no_majority(targets):
    assert examples.majority_of(Dataset(part(targets), part(targets), None, CARD)) is None


def test_there_is_no_line_without_an_accuracy():
    majority = {"class": "no", "accuracy": 0.5}
    assert wording.majority_line({"metrics": {"test/error": {}}, "majority": majority}) is None
    assert wording.majority_line({"metrics": {"test/accuracy": {}}}) is None

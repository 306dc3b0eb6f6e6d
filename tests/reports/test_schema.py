"""The description of how data were read."""

import dataclasses
import math

import pytest

from jaxresearch import records
from jaxresearch.data import Column, DataCard, Split
from jaxresearch.reports import schema
from jaxresearch.reports.schema import data_lines, privacy_lines


def test_data_lines_count_the_missing_cells_of_each_column():
    columns = tuple(Column(name=f"c{i}", kind="number", n_missing=1000 * i) for i in range(11))
    card = DataCard(name="mine", source="mine.csv", columns=columns, class_names=("a", "b"))
    lines = dict(data_lines(dataclasses.asdict(card), {"train": 80, "test": 20}))
    assert lines["missing cells"].startswith("10,000 of c10, 9,000 of c9,")
    assert lines["missing cells"].endswith("3,000 of c3, and 2 columns more")


def test_data_lines_of_an_older_record_have_no_count():
    column = {"name": "age", "kind": "number", "levels": [], "has_missing": True, "note": ""}
    card = {**dataclasses.asdict(DataCard(name="mine", source="mine.csv")), "columns": [column]}
    assert [name for name, _ in data_lines(card, {"train": 80, "test": 20})] == ["data", "columns"]


def test_data_lines_name_the_array_of_targets():
    card = DataCard(
        name="mine", source="mine.npz", class_names=("a", "b"), target=Column(name="y_train", kind="category")
    )
    lines = dict(data_lines(dataclasses.asdict(card), {"train": 80, "test": 20}))
    assert lines["target"] == "2 classes, from the array y_train"
    lines = dict(
        data_lines(dataclasses.asdict(dataclasses.replace(card, source="mine.csv")), {"train": 80, "test": 20})
    )
    assert lines["target"] == "y_train: 2 classes"


@pytest.mark.parametrize(
    ("classes", "line"),
    [(("a", "b"), "branch: 2 classes"), (("t", "a", "of"), "branch: replaced by the preprocessing; 3 classes")],
)
def test_data_lines_say_if_the_preprocessing_sets_the_targets(classes, line):
    target = Column(name="branch", kind="category", levels=("a", "b"))
    card = DataCard(name="mine", source="mine.csv", class_names=classes, target=target)
    assert dict(data_lines(dataclasses.asdict(card), {"train": 80, "test": 20}))["target"] == line


def test_data_lines_give_the_fraction_that_was_asked_for():
    """8 of 40 examples were held out, and the others cut to 10."""
    card = DataCard(name="mine", source="mine.csv", class_names=("a", "b"), split=Split(by="stretch", fraction=0.2))
    lines = dict(data_lines(dataclasses.asdict(card), {"train": 10, "test": 8}))
    assert lines["test part"] == "20 % of the examples, the last in the order of the data"


def test_a_split_without_a_target_is_random():
    """Though the preprocessing makes classes, such as the next token."""
    card = DataCard(
        name="mine",
        source="mine.csv",
        columns=(Column(name="note", kind="text"),),
        class_names=("a", "b"),
        split=Split(),
    )
    lines = dict(data_lines(dataclasses.asdict(card), {"train": 80, "test": 20}))
    assert lines["test part"] == "20 % of the examples, drawn at random (seed 0)"


@pytest.mark.parametrize(
    "epsilon, text",
    [
        (1e-4, "0.0001"),
        (9.99871e-5, "0.00009999"),
        (0.86441, "0.8645"),
        (2.9981, "2.999"),
        (14.9702, "14.98"),
        (3.0, "3.0"),
    ],
)
def test_privacy_lines_round_epsilon_up(epsilon, text):
    assert schema._above(epsilon) == text


@pytest.mark.parametrize("recorded", [False, True])
def test_privacy_lines_state_an_infinite_epsilon(recorded):
    """Many runs of epsilon 8 have no bound together; JSON has no infinity, so that the record says null."""
    bounds = {"pld": 7.9983, "rdp": 9.572}
    one = {
        "epsilon": bounds,
        "epsilon_of_all_runs": {"pld": math.inf, "rdp": math.inf},
        "n_runs": 26,
        "delta": 1e-4,
        "unit": "one training example",
        "relation": "zero-out",
        "sampling": "all examples in every step",
        "n_steps": 12,
        "noise_multiplier": 0.65,
        "clip": 1.0,
        "generator": "the run's key",
    }
    other = {**one, "epsilon_of_all_runs": bounds, "n_runs": 1, "clip": 2.0}
    total = {"epsilon": math.inf, "delta": 2e-4, "n_runs": 27}
    stated = {"runs": [one, other], "all_runs": total, "not_covered": ["noise.key"]}
    lines = privacy_lines(records.json_types(stated) if recorded else stated)
    assert lines[0][1].startswith("epsilon 7.999 per run, infinite for all 26 runs together, at delta 0.0001 ")
    assert ("privacy", "epsilon infinite at delta 0.0002 for all 27 runs") in lines

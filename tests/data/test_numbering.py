"""Numbers of examples: they follow an example from its row of the source into every part."""

import types
from typing import Any

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.cli.reopened import Reopened
from jaxresearch.data import Split


@pytest.fixture
def table(tmp_path):
    """A table in which a column holds the number of each row, in the order of no other column."""
    random = np.random.default_rng(0)
    rows = [f"{i},p{i % 7},{random.integers(1_000_000)},{'ab'[random.integers(2)]}" for i in range(60)]
    (tmp_path / "mine.csv").write_text("\n".join(["line,patient,day,k", *rows]) + "\n")
    return tmp_path / "mine.csv"


def loaded(path, **options):
    with data.numbered():
        return data.load(str(path), target="k", types={"line": "number", "day": "number"}, **options)


def require_own_rows(dataset):
    for part in dataset.parts().values():
        np.testing.assert_array_equal(part["row_numbers"], part["inputs"]["line"])


@pytest.mark.parametrize(
    "rule", [Split(), Split(by="stretch"), Split(by="group", column="patient"), Split(by="time", column="day")]
)
def test_numbers_follow_examples_through_every_split(table, rule):
    dataset = loaded(table, split=rule)
    require_own_rows(dataset)
    require_own_rows(data.with_validation(dataset, fraction=0.3))
    require_own_rows(dataset._replace(train=data.sample(dataset.train, 20, seed=3)))
    if rule.by != "time":
        require_own_rows(data.fold(dataset, 1, n_folds=3))


def test_numbers_are_there_only_where_they_are_asked_for(table):
    plain = data.load(str(table), target="k", types={"line": "number", "day": "number"})
    found = data.without_numbers(loaded(table))
    assert data.digest(plain.train) == data.digest(found.train) and plain.card == found.card


def reopened(dataset, whole=None, *, test=None, folds=0):
    options: Any = types.SimpleNamespace(test=test, folds=folds)
    held: Any = types.SimpleNamespace(dataset=dataset)
    none: Any = None
    return Reopened(none, none, options, none, held, dataset, dataset, dataset if whole is None else whole, none)


def test_a_row_of_the_file_is_named_and_found(table):
    dataset = loaded(table)
    few = dataset._replace(train=data.sample(dataset.train, 20, seed=3))
    opened = reopened(few, dataset)
    for part in ("train", "test"):
        line = int(few.parts()[part]["inputs"]["line"][5])
        assert opened.name(part, 5) == f"row {line + 1}"
        found = opened.row(part, 5)
        assert found is not None and found[0]["inputs"]["line"][found[1]] == line


def test_rows_of_a_second_table_have_its_name(table, tmp_path):
    (tmp_path / "more.csv").write_text("line,patient,day,k\n0,p1,5,a\n1,p2,6,b\n")
    opened = reopened(loaded(table, test=str(tmp_path / "more.csv")), test="folder/more.csv")
    assert opened.name("test", 1) == "row 2 of more.csv" and opened.name("train", 1) == "row 2"


def test_examples_of_unknown_rows_are_named_by_their_part(table):
    dataset = loaded(table)
    unknown = reopened(data.without_numbers(dataset))
    assert unknown.name("test", 3) == "example 3 of the test part" and unknown.row("test", 3) is None
    assert unknown.name("train", 3) == "example 3 of the training part"


def test_arrays_with_a_test_part_keep_their_own_numbers(tmp_path):
    arrays: Any = {
        f"{axis}_{part}": np.arange(20.0) % (2 if axis == "y" else 99) for part in ("train", "test") for axis in "xy"
    }
    arrays |= {"x_train": np.arange(20.0)[:, None], "x_test": np.arange(50.0, 70.0)[:, None]}
    np.savez(tmp_path / "mine.npz", **arrays)
    with data.numbered():
        dataset = data.load(str(tmp_path / "mine.npz"), task="classification")
    few = dataset._replace(train=data.take(dataset.train, np.array([4, 7])))
    assert reopened(few).name("train", 1) == "example 7 of the training part"
    assert reopened(few, folds=2).name("train", 1) == "example 1 of the training part"  # both parts were joined

"""``data.load``: splits of sources, second tables as test parts, and regressions."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data import memory

CASES = Path(__file__).parents[3] / "shared" / "cases.py"


def table(path, rows, head="patient,day,x,k"):
    path.write_text(head + "\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    return str(path)


@pytest.fixture
def visits(tmp_path):
    """Ten patients of six visits each, not ordered by day."""
    rows = [(f"p{i % 10}", f"2024-01-{1 + (7 * i) % 30:02d}", i / 2, "ab"[i % 2]) for i in range(60)]
    return table(tmp_path / "visits.csv", rows)


def test_groups_stay_together_and_are_no_input(visits):
    rule = data.Split(by="group", column="patient", fraction=0.3)
    dataset = data.load(visits, target="k", split=rule)
    assert dataset.card.split == rule and [*dataset.train["inputs"]] == ["day", "x"]
    assert dataset.train["groups"].dtype == np.int32 and dataset.train["groups"].shape == (42,)
    assert not {*dataset.train["groups"].tolist()} & {*dataset.test["groups"].tolist()}
    carved = data.with_validation(dataset, fraction=0.3)
    assert not {*carved.train["groups"].tolist()} & {*carved.validation["groups"].tolist()}


@pytest.mark.parametrize(("by", "column"), [("group", "patient"), ("time", "day")])
def test_a_dropped_column_still_divides(visits, by, column):
    rule = data.Split(by=by, column=column)
    kept, dropped = (data.load(visits, target="k", split=rule, types=types) for types in (None, {column: "drop"}))
    assert dropped.card == kept.card and column not in dropped.train["inputs"]
    np.testing.assert_array_equal(dropped.train["groups"], kept.train["groups"])


def test_times_are_in_order_and_the_latest_are_held_out(visits):
    dataset = data.load(visits, target="k", split=data.Split(by="time", column="day", fraction=None))
    assert dataset.card.split == data.Split(by="time", column="day", fraction=0.2)
    assert [*dataset.train["inputs"]] == ["patient", "x"]
    groups = np.concatenate([dataset.train["groups"], dataset.test["groups"]])
    assert (np.diff(groups) >= 0).all() and dataset.train["groups"].max() < dataset.test["groups"].min()
    x = np.concatenate([dataset.train["inputs"]["x"], dataset.test["inputs"]["x"]])
    rows = (2 * x).astype(int)
    assert groups.tolist() == [(7 * row) % 30 for row in rows]
    assert (np.diff(rows)[np.diff(groups) == 0] > 0).all()  # rows of one time stay in their order


def test_a_stretch_is_the_last_rows(visits):
    dataset = data.load(visits, target="k", split=data.Split(by="stretch"))
    assert dataset.train["inputs"]["x"].tolist() == [i / 2 for i in range(48)]


@pytest.mark.raises
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"by": "group", "column": "patiant"},
            "group must be a column of visits besides the target, got 'patiant'. Did you mean",
        ),
        (
            {"by": "group", "column": "k"},
            "group must be a column of visits besides the target, got the target 'k'. Name another column.",
        ),
        (
            {"by": "time", "column": "patient"},
            "time must be a column of dates or numbers, got patient, a column of kind category",
        ),
    ],
)
def test_wrong_columns_of_a_split_are_refused(visits, rule, message):
    with pytest.raises(ValueError, match=message):
        data.load(visits, target="k", split=data.Split(**rule))


@pytest.mark.raises
def test_a_missing_group_is_refused_by_its_row(tmp_path):
    path = table(tmp_path / "a.csv", [("" if i == 6 else i % 3, i, "ab"[i % 2]) for i in range(30)], "g,x,k")
    with pytest.raises(ValueError, match="column g must have a value in every row to split by it, got none in row 7"):
        data.load(path, target="k", split=data.Split(by="group", column="g"))
    with pytest.raises(
        ValueError, match="group must be a column of mnist besides the target, got data that is not a table"
    ):
        data.load("mnist", split=data.Split(by="group", column="g", fraction=None))


def test_a_second_table_is_the_test_part_with_one_schema(tmp_path):
    first = table(tmp_path / "a.csv", [(("red", "blue")[i % 2], i, "ab"[i % 2]) for i in range(20)], "c,x,k")
    second = table(tmp_path / "b.csv", [("ab"[i % 2], i + 100, ("green", "")[i % 2]) for i in range(6)], "k,x,c")
    dataset = data.load(first, target="k", test=second)
    assert dataset.card.columns[0].levels == ("blue", "green", "red") and dataset.card.columns[0].has_missing
    assert dataset.card.columns[0].n_missing == 3
    (note,) = data.prepare(data.standard, dataset).card.notes
    assert note == "levels that no training example has are encoded as unknown: c (1 of 3)"
    assert dataset.test["inputs"]["c"].tolist() == [1, -1] * 3 and dataset.test["inputs"]["x"][0] == 100
    assert dataset.card.split == data.Split(fraction=None) and [name for name, _ in dataset.card.sha256] == [
        "a.csv",
        "b.csv",
    ]
    with pytest.raises(ValueError, match="a has a test part of its own, got a fraction"):
        data.load(first, target="k", test=second, split=data.Split(fraction=0.3))


@pytest.mark.raises
@pytest.mark.parametrize(
    ("rows", "head", "message"),
    [
        ([(1, "a")] * 4, "x,k", "b.csv must have the columns of .*a.csv, got no column 'c'"),
        ([("red", 1, 2, "a")] * 4, "c,x,z,k", "got the extra column 'z'"),
        (
            [("red", "-", "a")] * 4,
            "c,x,k",
            "column x must be numbers or words, got 20 of 24 cells as numbers and '-' in row 1 of .*b.csv",
        ),
        ([("red", 1, "")] * 4, "c,x,k", "target k must have a value in every row, got none in row 1 of .*b.csv"),
        ([("red", 2 * i, "a") for i in range(4)], "c,x,k", "parts of a must not overlap, got 4 of 4 test examples"),
    ],
)
def test_a_second_table_that_does_not_fit_is_refused(tmp_path, rows, head, message):
    first = table(tmp_path / "a.csv", [(("red", "blue")[i % 2], i, "ab"[i % 2]) for i in range(20)], "c,x,k")
    with pytest.raises(ValueError, match=message) as caught:
        data.load(first, target="k", test=table(tmp_path / "b.csv", rows, head))
    assert "\n" not in str(caught.value)


def test_examples_that_stand_twice_are_counted(tmp_path):
    path = table(tmp_path / "a.csv", [(i % 4, "ab"[i % 2]) for i in range(40)], "x,k")
    assert data.load(path, target="k").card.notes == ("8 of 8 test examples occur in the training part as well",)


def test_classes_of_one_row_each_leave_a_test_part(tmp_path):
    path = table(tmp_path / "a.csv", [(i, f"c{i}") for i in range(10)], "x,k")
    dataset = data.load(path, target="k")
    assert (len(dataset.train["targets"]), len(dataset.test["targets"])) == (8, 2)
    notes = data.prepare(data.standard, dataset).card.notes
    assert notes[0].startswith("no training example is of class 'c")


@pytest.mark.raises
def test_arrays_beyond_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.zeros((40, 3)), y=np.arange(40) % 2)
    monkeypatch.setattr(memory, "of_machine", lambda: 1000.0)
    with pytest.raises(ValueError, match="a.npz must fit into memory .* got arrays of .* Pass --stream"):
        data.load(str(tmp_path / "a.npz"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Inputs of former bugs."""
    if not CASES.is_file():
        pytest.skip("the script that writes them is not here")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, CASES, folder], check=True)
    return folder


def loaded(folder, name, target=None, **options):
    dataset = data.load(str(folder / name), target=target, **options)
    return dataset, data.prepare(data.standard, dataset)


def classes(dataset):
    return dataset.card.class_names


def test_labels_are_the_classes_that_there_are(cases):
    for name, expected in (
        ("labels_1_2.npz", ("1", "2")),
        ("labels_7_100.npz", ("7", "100")),
        ("wide_labels.npz", ("0", str(2**32))),
    ):
        dataset, _ = loaded(cases, name)
        assert classes(dataset) == expected and np.bincount(dataset.train["targets"]).tolist() == [160, 160]


def test_bits_are_the_same_in_both_types(cases):
    (_, wide), (_, narrow) = loaded(cases, "binary_uint8.npz"), loaded(cases, "binary_bool.npz")
    for one in (wide, narrow):
        assert one.train["inputs"].dtype == np.float32 and len(np.unique(one.train["inputs"][:, 0])) == 2
    assert np.array_equal(wide.train["inputs"] > 0, narrow.train["inputs"] > 0)


def test_a_misspelt_array_is_named(cases):
    with pytest.raises(ValueError, match="got 'y_tests', which would be ignored. Did you mean 'y_test'"):
        loaded(cases, "misspelt.npz")


def test_a_thousand_classes_are_classes_where_that_is_asked(cases):
    assert len(classes(loaded(cases, "thousand_classes.npz", task="classification")[0])) == 1000
    assert classes(loaded(cases, "thousand_classes.npz")[0]) == ()


def test_words_that_float_takes_for_one_number_stay_two(cases):
    assert classes(loaded(cases, "merged.csv", "k")[0]) == ("10", "1_0")


def test_an_index_is_left_out_with_a_line(cases):
    dataset, made = loaded(cases, "index.csv", "k")
    assert made.card.feature_names == ("noise",)
    assert dataset.card.notes == ("column (without a name) is left out: it counts the rows",)


def test_a_dash_is_refused_and_thousands_are_read(cases):
    with pytest.raises(
        ValueError, match="column price must be numbers or words, got 599 of 600 cells as numbers and '-' in row 6"
    ):
        loaded(cases, "dash.csv", "k")
    dataset, made = loaded(cases, "thousands.csv", "k")
    assert made.card.feature_names == ("price",) and dataset.train["inputs"]["price"].max() > 900_000


def test_an_offset_leaves_a_line_a_line(cases):
    dataset, made = loaded(cases, "offset.csv", "y")
    x, y = made.train["inputs"][:, 0], made.train["targets"][:, 0]
    np.testing.assert_allclose(x, y, atol=1e-6)  # both are standardised, in float64, and lie on one line
    np.testing.assert_array_equal(dataset.train["targets"][:, 0] - 1_700_000_000, dataset.train["inputs"]["x"])
    restored = data.standard.invert(made.fitted, made.train["targets"])
    np.testing.assert_allclose(restored, dataset.train["targets"], atol=1e-3)


def test_ratings_are_what_the_task_says_or_shown(cases):
    assert classes(loaded(cases, "rating.csv", "y")[0]) == tuple(str(i) for i in range(1, 11))
    assert classes(loaded(cases, "rating.csv", "y", task="regression")[0]) == ()


def test_a_missing_cell_and_ids_are_noted(cases):
    dataset, made = loaded(cases, "missing.csv", "k")
    assert made.card.feature_names == ("a", "a is missing", "b") and dataset.card.columns[0].has_missing
    dataset = data.load(str(cases / "ids.csv"), target="k")
    assert [column.kind for column in dataset.card.columns] == ["number", "id"]
    with pytest.raises(ValueError, match="column 'id' must be numbers, dates or categories .*--types id=drop"):
        data.prepare(data.standard, dataset)
    with pytest.raises(ValueError, match="features must fit into half of the memory"):
        loaded(cases, "ids.csv", "k", types={"id": "category"})
    assert loaded(cases, "ids.csv", "k", types={"id": "drop"})[1].card.feature_names == ("a",)


def test_a_table_may_have_no_target(tmp_path):
    """If the preprocessing makes the targets; a target that is named must still be a column."""
    path = tmp_path / "texts.csv"
    path.write_text("note,patient\n" + "".join(f"she came {i} times,p{i // 2}\n" for i in range(10)))
    rule = data.Split(by="group", column="patient")
    dataset = data.load(str(path), needs_target=False, split=rule)
    assert dataset.card.target is None and dataset.card.class_names == () and dataset.card.feature_names == ("note",)
    assert dataset.train["targets"].tolist() == [[0.0]] * 8 and dataset.test["targets"].shape == (2, 1)
    (tmp_path / "test.csv").write_text("note,patient\nshe left,q\nhe came,q\n")
    tested = data.load(str(path), needs_target=False, test=str(tmp_path / "test.csv"))
    assert tested.n_train == 10 and tested.test["targets"].tolist() == [[0.0]] * 2
    with pytest.raises(ValueError, match="^target must be a column of .*texts.csv, got 'notes'. Did you mean 'note'?"):
        data.load(str(path), target="notes", needs_target=False)
    with pytest.raises(ValueError, match="^target must be a column of .*texts.csv, got None"):
        data.load(str(path))
    with pytest.raises(ValueError, match="texts.csv must hold a column, got none"):
        data.load(str(path), needs_target=False, types={"note": "drop", "patient": "drop"})


def test_events_need_a_target_of_times(tmp_path):
    """Times that are zeros in its place would be a result of nothing."""
    path = tmp_path / "patients.csv"
    path.write_text("age,days,died\n" + "".join(f"{50 + i},{i},{i % 2}\n" for i in range(20)))
    with pytest.raises(ValueError, match="^target must be a column of .*patients.csv, got None"):
        data.load(str(path), event="died", needs_target=False)

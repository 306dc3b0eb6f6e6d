"""New rows for a trained model, read by the schema of the training data."""

import dataclasses

import numpy as np
import pytest

from jaxresearch.data import Column, DataCard, NewRows, far_notes, new_rows, require_asked_column

TABLE = DataCard(
    name="birds",
    source="birds.csv",
    columns=(
        Column(name="mass", kind="number"),
        Column(name="price", kind="number", note="the $ is removed"),
        Column(name="ring", kind="category", levels=("007", "12")),
        Column(name="seen", kind="date", n_missing=1),
        Column(name="note", kind="text", note="'NA' is read as missing, 2 cells"),
    ),
    class_names=("0", "1"),
    target=Column(name="sex", kind="category", levels=("0", "1")),
)
IMAGES = DataCard(
    name="images", source="images.npz", class_names=("cat", "dog"), feature_shape=(2, 2, 1), feature_dtype="uint8"
)
HEADER, LINE = "note,seen,ring,price,mass,sex,extra\n", "NA,1970-01-03,007,$5,1.5,1,e\n"


def read(tmp_path, content, card=TABLE):
    (tmp_path / "new.csv").write_text(content)
    return new_rows(tmp_path / "new.csv", card)


def test_columns_are_found_by_name_and_the_target_is_apart(tmp_path):
    rows = read(tmp_path, HEADER + LINE + "a b,,12,$6,,,\n")
    assert [*rows.inputs] == ["mass", "price", "ring", "seen", "note"] and [*rows.others] == ["sex", "extra"]
    np.testing.assert_array_equal(rows.inputs["mass"], [1.5, np.nan])
    np.testing.assert_array_equal(rows.inputs["seen"], [2, np.nan])
    assert rows.inputs["price"].tolist() == [5, 6] and rows.inputs["ring"].tolist() == [0, 1]
    assert rows.inputs["note"].tolist() == ["", "a b"]  # NA was missing in training
    assert rows.targets.tolist() == [1, -1] and rows.others == {"sex": ["1", ""], "extra": ["e", ""]}
    assert rows.notes == ("column mass has 1 cell empty, but had none in training",)
    assert rows.notes_by_row == ("", "mass is missing; seen is missing")


def test_missing_cells_and_unknown_categories_are_noted_by_row(tmp_path):
    rows = read(
        tmp_path, HEADER + LINE + "a,1970-01-03,013,$5,2,1,e\n" + LINE.replace("007", "") + LINE.replace("$5", "")
    )
    assert rows.notes_by_row == ("", "ring '013' is unknown", "ring is missing", "price is missing")
    assert rows.notes == (
        "column price has 1 cell empty, but had none in training",
        "column ring has 1 cell empty, but had none in training",
        "column ring has 1 cell with a category unseen in training, such as '013' in row 2: treated as missing",
    )
    assert read(tmp_path, HEADER + LINE).notes_by_row == ()
    assert new_rows(np.zeros((1, 2, 2, 1), np.uint8), IMAGES).notes_by_row == ()


def test_a_column_of_words_is_missed_only_when_it_is_asked_for(tmp_path):
    rows = read(tmp_path, "seen,ring,price,mass\n1970-01-03,007,$5,1.5\n")
    assert rows.targets is None and rows.inputs["mass"].tolist() == [1.5] and type(rows.inputs) is dict  # a tree to JAX
    require_asked_column("mass", rows, TABLE)
    require_asked_column("ears", rows, TABLE)  # a mistake of the preprocessor's own
    with pytest.raises(
        ValueError, match="new.csv must have the columns that the model was trained on, got no 'note'. Add it"
    ):
        require_asked_column("note", rows, TABLE)


def test_missing_columns_are_named_together():
    card = DataCard(name="n", source="n", columns=tuple(Column(name=name, kind="number") for name in "abcdefgh"))
    with pytest.raises(
        ValueError, match="got no 'a', 'b', 'c', 'd', 'e', 'f' and 2 more. Add them; cells may be empty"
    ):
        new_rows({"other": [1.0]}, card)
    with pytest.raises(ValueError, match="got no 'g' or 'h'. Add them"):
        new_rows({name: [1.0] for name in "abcdef"}, card)


def test_a_target_without_its_unit_may_be_left_out():
    target = Column(name="price", kind="number", note="the $ is removed")
    card = DataCard(name="n", source="n", columns=(Column(name="x", kind="number"),), target=target)
    for prices, remedy in ((["5"], "Write [$] in the cells, or leave"), (["€5"], "Convert it, or leave")):
        with pytest.raises(ValueError, match=f"{remedy} the column out: it is only needed for scores"):
            new_rows({"x": [1.0], "price": prices}, card)
    noted_before = dataclasses.replace(target, note="read without its $")
    read = new_rows({"x": [1.0], "price": ["$5"]}, dataclasses.replace(card, target=noted_before))
    assert read.targets.tolist() == [[5.0]]


REFUSED = {
    "a unit": (
        (LINE.replace("$5", "5"),),
        "column price must be in [$], as in training, got numbers without a unit. Write [$] in the cells.",
    ),
    "another unit": (
        (LINE.replace("$5", "€5"),),
        "column price must be in [$], as in training, got numbers in €. Convert it.",
    ),
    "a class": (
        (LINE, LINE.replace(",1,e", ",2,e")),
        "sex must be one of the classes 0, 1, got '2' in row 2. Correct it.",
    ),
    "a date": (
        (LINE.replace("1970-01-03", "3 May"),),
        "column seen must be dates written as YYYY-MM-DD, got '3 May' in row 1",
    ),
    "a number": ((LINE.replace("1.5", "heavy"),), "column mass must hold numbers, .* got 'heavy' in row 1"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_cells_of_another_kind_are_refused(tmp_path, what):
    lines, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        read(tmp_path, HEADER + "".join(lines))


def test_a_typed_table_is_read_as_one_of_text(tmp_path):
    polars = pytest.importorskip("polars")
    card = DataCard(
        name="birds",
        source="birds.csv",
        columns=(Column(name="mass", kind="number"), Column(name="ring", kind="category", levels=("12", "7"))),
        class_names=("0", "1"),
        target=Column(name="sex", kind="category", levels=("0", "1")),
    )
    frame = polars.DataFrame({"ring": [7, 12, 9], "mass": [1.5, None, 2.0], "sex": [1, 0, 1]})
    frame.write_parquet(tmp_path / "new.parquet")
    rows = new_rows(tmp_path / "new.parquet", card)
    assert rows.inputs["ring"].tolist() == [1, 0, -1] and rows.targets.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(rows.inputs["mass"], [1.5, np.nan, 2.0])
    assert "such as '9' in row 3: treated as missing" in rows.notes[-1]


def test_arrays_come_with_or_without_targets_and_other_columns(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    np.save(tmp_path / "new.npy", pixels)
    rows = new_rows(tmp_path / "new.npy", IMAGES)
    assert rows.inputs.shape == (3, 2, 2, 1) and rows.targets is None and rows == NewRows(rows.inputs)
    np.savez(tmp_path / "new.npz", images=pixels, labels=np.array(["dog", "cat", "dog"]), id=np.arange(3))
    rows = new_rows(tmp_path / "new.npz", IMAGES)
    assert rows.targets.tolist() == [1, 0, 1] and rows.others == {"id": ["0", "1", "2"]}
    np.savez(tmp_path / "whole.npz", x_train=pixels, y_train=[0, 1, 0], x_test=pixels[:1], y_test=["cat"])
    rows = new_rows(tmp_path / "whole.npz", IMAGES)
    assert len(rows.inputs) == 1 and rows.targets.tolist() == [0]
    np.savez(tmp_path / "odd.npz", pictures=pixels)
    with pytest.raises(
        ValueError, match="odd.npz must hold inputs under one of the names images, .*, got pictures. Rename"
    ):
        new_rows(tmp_path / "odd.npz", IMAGES)
    with pytest.raises(ValueError, match="^rows must hold examples, got none. Give it data."):
        new_rows(pixels[:0], IMAGES)
    with pytest.raises(
        ValueError, match="^rows must be a table with the columns mass, price, .*, got an array. Save it as a table."
    ):
        new_rows(pixels, TABLE)


def test_values_to_predict_may_be_missing(tmp_path):
    card = DataCard(
        name="a",
        source="b",
        columns=(Column(name="x", kind="number"),),
        target=Column(name="y", kind="number", note="values with decimals"),
    )
    np.testing.assert_array_equal(read(tmp_path, "y,x\n1.5,2\n,3\n", card).targets, [[1.5], [np.nan]])
    assert read(tmp_path, "y,x\n,2\n,3\n", card).targets is None
    made = new_rows({"x": [1, None], "day": np.array(["2020-01-01", "NaT"], "datetime64[D]")}, card)
    assert made.others["day"] == ["2020-01-01T00:00:00.000000", ""]


def test_numbers_far_from_training_are_noted_with_their_rows():
    columns = (Column(name="age", kind="number"), Column(name="day", kind="date"), Column(name="size", kind="number"))
    card = DataCard(name="mine", source="memory", columns=columns)
    scale = {"mean": np.array(40.0), "scale": np.array(5.0)}
    fitted = {"inputs": {column.name: scale for column in columns}}
    days = np.array(["2026-01-01"] * 6, "datetime64[us]")
    rows = new_rows({"age": [90.0, 91.0, -11.0, np.nan, 400.0, 5000.0], "day": days, "size": [-10.0] * 6}, card)
    (note,) = far_notes(rows, card, fitted)
    assert note == (
        "column age is far outside training, -10 to 90 (10 standard deviations around its mean), in rows 2, 3, 5 and 1 more: "
        "91, -11, 400"
    )
    assert far_notes(rows, card, {"inputs": {}}) == () and far_notes(rows, card, {}) == ()


def test_an_array_is_described_as_it_is_once_prepared():
    """Preprocessing may have changed its shape and type; a dict of arrays has no single form."""
    card = DataCard(name="mine", source="mine.npz", feature_shape=(81, 7, 7), feature_dtype="float16")
    form = r"\(once prepared, \(n, 81, 7, 7\) of float16\)"
    with pytest.raises(
        ValueError, match=f"^rows must hold an array of examples {form}, as the training data did, got a table"
    ):
        new_rows({"a": [1]}, card)
    with pytest.raises(
        ValueError, match="^rows must hold an array of examples, as the training data did, got a table. Save"
    ):
        new_rows({"a": [1]}, dataclasses.replace(card, feature_dtype=""))

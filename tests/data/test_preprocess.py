"""The standard preprocessing of tables: fitted on the training part alone, even if that lacks values of other parts."""

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data import Column, DataCard, Dataset

CSV = "age,colour,income,kind\n" + "".join(
    f"{20 + i},{('red', 'blue', '')[i % 3]},{'NA' if i % 10 == 0 else 1000.5 + i},{'ab'[i % 2]}\n" for i in range(40)
)


def test_a_table_is_standardised_on_the_training_part_alone(tmp_path):
    (tmp_path / "mine.csv").write_text(CSV)
    raw = data.load(str(tmp_path / "mine.csv"), target="kind")
    dataset = data.prepare(data.standard, raw)
    names = ("age", "colour=blue", "colour=red", "income", "income is missing")
    assert dataset.card.feature_names == names and dataset.card.n_features == 5
    assert dataset.train["inputs"].dtype == np.float32
    np.testing.assert_allclose(dataset.train["inputs"][:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.train["inputs"][:, 0].std(), 1, rtol=1e-5)
    train_age, test_age = raw.train["inputs"]["age"], raw.test["inputs"]["age"]
    np.testing.assert_allclose(dataset.test["inputs"][:, 0], (test_age - train_age.mean()) / train_age.std(), rtol=1e-5)
    income = raw.train["inputs"]["income"]
    missing = np.isnan(income)
    assert np.array_equal(dataset.train["inputs"][:, 4], missing)
    filled = np.where(missing, np.nanmedian(income), income)
    np.testing.assert_allclose(dataset.train["inputs"][:, 3], (filled - filled.mean()) / filled.std(), rtol=1e-4)


def test_what_training_never_saw_is_finite_and_unknown():
    schema = (
        Column(name="flat", kind="number"),
        Column(name="empty", kind="number", n_missing=1),
        Column(name="word", kind="category", levels=("a", "b", "c"), n_missing=1),
    )

    def part(flat, empty, word):
        columns = {"flat": np.array(flat), "empty": np.array(empty), "word": np.array(word, np.int32)}
        return {"inputs": columns, "targets": np.zeros(len(flat), np.int32)}

    train = part([7.3] * 4, [np.nan] * 4, [0, 1, 0, -1])
    test = part([9.0], [np.nan], [2])
    card = DataCard(name="mine", source="memory", columns=schema, class_names=("x",))
    features = data.prepare(data.standard, Dataset(train, test, None, card)).test["inputs"]
    assert np.isfinite(features).all() and features[0, -3:].tolist() == [0, 0, 0]


@pytest.mark.raises
def test_all_columns_that_are_no_features_are_named_at_once():
    schema = (Column(name="note", kind="text"), Column(name="age", kind="number"), Column(name="key", kind="id"))
    words = np.array(["a b", "c d"])
    part = {"inputs": {"note": words, "age": np.zeros(2), "key": words}, "targets": np.zeros(2, np.int32)}
    message = (
        "columns 'note', 'key' must be numbers, dates or categories to be features, got texts, in 'note'; ids, different .* rows?"
        ".*, in 'key'. Leave them out with --types note=drop,key=drop, or read them as --types note=category,key=category.$"
    )
    with pytest.raises(ValueError, match=message):
        data.prepare(data.standard, Dataset(part, part, None, DataCard(name="mine", source="memory", columns=schema)))


def test_values_beyond_float32_are_standardised_in_float64(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(tmp_path / "mine.npz", x=1e39 * x, y=1.7e9 + x[:, 0])
    dataset = data.load(str(tmp_path / "mine.npz"))
    made = data.prepare(data.standard, dataset)
    np.testing.assert_allclose(made.train["inputs"].std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(made.train["inputs"][:, 0], made.train["targets"][:, 0], atol=1e-5)


def test_a_column_of_one_value_is_constant_however_long_it_is():
    inputs = np.stack([np.random.default_rng(0).normal(size=300_000), np.full(300_000, 0.1)], axis=1)
    part = {"inputs": inputs, "targets": np.zeros(300_000, np.int32)}
    test = {"inputs": np.array([[0.0, 0.2]]), "targets": np.zeros(1, np.int32)}
    made = data.prepare(data.standard, Dataset(part, test, None, DataCard(name="a", source="b", class_names=("x",))))
    assert np.all(made.train["inputs"][:, 1] == 0) and abs(made.test["inputs"][0, 1]) < 1


def test_what_is_fitted_is_saved_whatever_it_holds():
    fitted = {"words": np.array(["a", "bc"], np.dtypes.StringDType()), "inputs": {}, "of": {"mean": np.array(2.0)}}
    back = data.nested(data.flat(fitted))
    assert back["inputs"] == {} and back["words"].tolist() == ["a", "bc"] and back["of"]["mean"] == 2
    with pytest.raises(ValueError, match="fit must return arrays of numbers or words, got object at of.model"):
        data.flat({"of": {"model": np.array([object()])}})

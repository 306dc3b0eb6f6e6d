"""Which features come from which column of a table."""

import numpy as np
import pytest

from jaxresearch import data, explain
from jaxresearch.data import Column, DataCard


def test_column_features_are_those_of_the_standard_preprocessing():
    random = np.random.default_rng(0)
    columns = {"age": random.normal(size=50), "colour": random.integers(0, 3, 50).astype(np.int32), "size": np.ones(50)}
    columns["age"][::7] = np.nan
    schema = (
        Column(name="age", kind="number", n_missing=8),
        Column(name="colour", kind="category", levels=("blue", "green", "red")),
        Column(name="size", kind="number"),
    )
    card = DataCard(name="a", source="b", columns=schema)
    fitted = data.standard.fit({"inputs": columns}, card)
    groups, names = explain.column_features(
        lambda some: data.standard.apply(fitted, {"inputs": some}, training=False)["inputs"], columns
    )
    assert names == ("age", "colour", "") and groups.tolist() == [0, 0, 1, 1, 1, 2]  # size is constant


def test_column_features_takes_lists_of_cells():
    def prepare(columns):
        return np.array([[len(cell)] for cell in columns["word"]])

    groups, names = explain.column_features(prepare, {"word": ["a", "bb", "ccc", "d"]})
    assert groups.tolist() == [0] and names == ("word",)


def test_column_features_refuses_a_feature_of_two_columns():
    columns = {"a": np.arange(4.0), "b": np.arange(4.0) ** 2}
    with pytest.raises(ValueError, match="each feature must come from one column, got one of a and b"):
        explain.column_features(lambda some: (some["a"] * some["b"])[:, None], columns)

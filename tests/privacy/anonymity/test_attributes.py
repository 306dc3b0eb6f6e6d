"""Typed columns become the text that a person would write."""

import numpy as np

from jaxresearch.data.files.cells import cells_of
from jaxresearch.privacy import anonymity
from jaxresearch.privacy.anonymity.attributes import words_of


def test_words_of_writes_typed_columns():
    assert words_of(np.array([3.0, 0.1, np.nan, -2.5e9])) == ["3", "0.1", "", "-2500000000"]
    assert words_of(np.array([0.1], np.float32)) == ["0.1"]
    assert words_of(np.array(["2024-02-29", "NaT"], "datetime64[us]")) == ["2024-02-29", ""]
    assert words_of(np.array(["2024-02-29T12:30"], "datetime64[us]")) == ["2024-02-29T12:30:00"]
    assert words_of(cells_of(["b", "a", "b"])) == ["b", "a", "b"] and words_of([None, True, " x "]) == ["", "True", "x"]


def test_typed_columns_are_generalised():
    table = {"born": np.array(["2024-02-29", "2024-03-04"], "datetime64[us]"), "pay": np.array([1.5, 3.0])}
    made = anonymity.anonymise(table, quasi=["born", "pay"], k=2)
    assert made.table == {"born": ["2024-02-29 to 2024-03-04"] * 2, "pay": ["1.5 to 3"] * 2}
    assert made.kinds == {"born": "date", "pay": "number"} and made.loss == 1

"""Columns that an experiment needs, and a note on those that it leaves out."""

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.fields import dna, text

CARD = data.DataCard(name="mine", source="mine.csv")


def test_columns_that_are_left_out_are_named_up_to_eight():
    assert data.unused_notes(CARD, ["b", "a"], used=["a", "b"]) == ()
    assert data.unused_notes(CARD, ["a", "c"], used=["a", "b"]) == (
        "column c is left out: this experiment reads a and b alone",
    )
    (note,) = data.unused_notes(CARD, [f"x{i}" for i in range(10)], used=["x0"])
    assert note == "columns x1, x2, x3, x4, x5, x6, x7, x8, and 1 more are left out: this experiment reads x0 alone"


def test_what_bundled_data_hold_besides_is_not_noted():
    bundled = data.DataCard(name="mine", source="bundled; a database")
    assert data.unused_notes(bundled, ["a", "b"], used=["a"]) == ()


PREPROCESSORS = {
    "words": text.word_ids("note", n_most=3, length=3),
    "windows": text.record_windows(("note",), n_tokens=258, length=4, specials=("<end>", "<pad>")),
    "bases": dna.kmer_tokens(2, column="note"),
}


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_preprocessors_note_what_they_leave_out(name):
    columns = {"id": ["1", "2"], "note": ["ACGTAC", "ACGTAA"]}
    words = {column: np.array(cells, np.dtypes.StringDType()) for column, cells in columns.items()}
    part = {"inputs": words, "targets": np.array([0, 1], np.int32)}
    schema = tuple(data.Column(name=column, kind="text") for column in words)
    card = data.DataCard(
        name="mine", source="mine.csv", feature_names=(*words,), columns=schema, class_names=("a", "b")
    )
    notes = data.prepare(PREPROCESSORS[name], data.Dataset(part, part, None, card)).card.notes
    assert notes[0] == "column id is left out: this experiment reads note alone"
    windows = ("examples are windows of 4 tokens, into which the text of a part is cut",)
    assert notes[1:] == (windows if name == "windows" else ())

"""Columns that an experiment needs, and a note on those that it leaves out."""

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.fields import dna, molecules, text

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


@pytest.mark.parametrize("name", [*PREPROCESSORS, "graphs", "smiles"])
def test_columns_of_another_kind_than_text_are_refused(tmp_path, name):
    """Words that repeat are a category, whose codes are no words."""
    of_molecules = {
        "graphs": molecules.molecule_graphs(n_atoms=4, length=4, n_most=4, n_bits=8, column="note"),
        "smiles": molecules.smiles_texts(length=4, column="note"),
    }
    preprocessor = {**PREPROCESSORS, **of_molecules}[name]
    path = tmp_path / "mine.csv"
    path.write_text("note,n,kind\n" + "".join(f"{'AC' * (1 + i % 3)},{i},{'ab'[i % 2]}\n" for i in range(30)))
    read = data.load(str(path), target="kind")
    with pytest.raises(
        ValueError, match="^column note must be text, got a column of kind category. Pass --types note=text"
    ):
        data.prepare(preprocessor, read)
    with pytest.raises(
        ValueError, match="^columns note, n must be text, got columns of kind category and number. Pass"
    ):
        data.require_texts(read.train, read.card, "note", "n")
    declared = data.load(str(path), target="kind", types={"note": "text"})
    data.require_texts(declared.train, declared.card, "note")

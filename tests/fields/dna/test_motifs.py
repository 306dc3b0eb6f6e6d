"""Motifs from JASPAR files: what is read, and the line of every mistake."""

import numpy as np
import pytest

from jaxresearch.fields import dna

TEXT = ">MA0001.1\tone\nA  [ 3 0 ]\nC  [ 0 1 ]\nG  [ 0 2 ]\nT  [ 1 1 ]\n"
COUNTS = [[3, 0, 0, 1], [0, 1, 2, 1]]


def test_parse_motifs_reads_all_spellings():
    plain = ">MA0002.1\nA 3 0\nC 0 1\nG 0 2\nT 1 1"
    found = dna.parse_motifs(f"\n{TEXT}\r\n\n{plain}")
    assert list(found) == ["one", "MA0002.1"]
    np.testing.assert_array_equal(found["one"], COUNTS)
    np.testing.assert_array_equal(found["MA0002.1"], COUNTS)


def test_parse_motifs_takes_frequencies():
    found = dna.parse_motifs(">x y\nA [0.75]\nC [0.25]\nG [0]\nT [0]\n")
    np.testing.assert_array_equal(found["y"], [[0.75, 0.25, 0, 0]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TEXT, " \n", "text must hold a motif in JASPAR format; it is empty"),
        (">MA0001.1\tone", "MA0001.1 one", "line 1 of text must be a header, as >MA0139.2 CTCF, got 'MA0001.1 one'"),
        (">MA0001.1\tone", ">", "line 1 of text must be a header"),
        ("C  [", "N  [", r"line 3 of text must be a row of counts for C, such as C \[3 0 12\], got 'N  \[ 0 1 \]'"),
        ("G  [ 0 2 ]\n", "", r"motif one of text must have the four rows A, C, G and T, got 3. Add"),
        ("G  [ 0 2 ]", "G  [ 0 two ]", "line 4 of text must be a row of counts for G"),
        ("G  [ 0 2 ]", "G  [ 0 -2 ]", "line 4 of text must be a row of counts for G"),
        ("G  [ 0 2 ]", "G  [ 0 nan ]", "line 4 of text must be a row of counts for G"),
        ("G  [ 0 2 ]", "G  [ ]", "line 4 of text must be a row of counts for G"),
        ("T  [ 1 1 ]", "T  [ 1 1 1 ]", "line 5 of text must have 2 counts, as the row of A, got 3"),
        (TEXT, f"{TEXT}{TEXT}", "line 6 of text must name a new motif, got 'one' twice"),
        (TEXT, TEXT.replace("3", "0").replace("T  [ 1", "T  [ 0"), "got only zeros at position 1"),
        (TEXT, f"{TEXT}A [1 1]\n", r"line 6 of text must be a header, as >MA0139.2 CTCF, got 'A \[1 1\]'"),
    ],
)
def test_parse_motifs_names_the_line_of_a_mistake(old, new, message):
    with pytest.raises(ValueError, match=message):
        dna.parse_motifs(TEXT.replace(old, new))


def test_read_motifs_names_the_file(tmp_path):
    (tmp_path / "my.jaspar").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=f"line 1 of {tmp_path / 'my.jaspar'} must be a header"):
        dna.read_motifs(tmp_path / "my.jaspar")


def test_bundled_motifs_have_the_known_consensus():
    found = {name: "".join("ACGT"[i] for i in counts.argmax(axis=1)) for name, counts in dna.jaspar().items()}
    assert found == {"CEBPB": "ATTGCGCAAT", "CTCF": "GCCACCAGGGGGCGC", "Nrf1": "CTGCGCCTGCGC", "Spi1": "AAAGAGGAAGTGG"}


def test_load_motifs_describes_a_file(tmp_path):
    (tmp_path / "my.jaspar").write_text(TEXT)
    motifs, card = dna.load_motifs(tmp_path / "my.jaspar")
    assert list(motifs) == ["one"] and card.name == "my" and card.licence == "" and card.n_classes == 2
    assert card.sha256[0][0] == "my.jaspar"


def test_load_motifs_refuses_what_is_no_file(tmp_path):
    with pytest.raises(ValueError, match="motifs must be jaspar or a file in JASPAR format; .*nowhere is no file"):
        dna.load_motifs(tmp_path / "nowhere")

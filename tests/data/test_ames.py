"""The bundled house sales equal the original data; altered files are refused."""

import lzma

import pytest

from jaxresearch import data
from jaxresearch.data import bundled
from jaxresearch.data.files import tables


def test_ames_has_its_card_and_all_rows():
    sales = data.load("ames")
    assert sales.card.licence == "MIT" and not sales.card.class_names
    assert len(sales.train["targets"]) + len(sales.test["targets"]) == 2930


def test_an_altered_file_is_refused(monkeypatch):
    monkeypatch.setattr(bundled, "_AMES_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"ames_housing.csv.xz must have SHA-256 0+, got 5bdf"):
        bundled.ames()


@pytest.mark.parametrize("cut", [20, -20])
def test_a_packed_table_that_is_cut_is_refused(tmp_path, cut):
    path = tmp_path / "mine.csv.xz"
    packed = lzma.compress(b"age,price\n" + b"3,4.5\n4,5.5\n" * 100)
    path.write_bytes(packed)
    assert len(tables.load_table(path, target="price").parts["train"]["targets"]) == 200
    path.write_bytes(packed[:cut])
    with pytest.raises(ValueError, match=r"mine.csv.xz must be an intact .xz file"):
        tables.load_table(path, target="price")

"""Files of the user: IDX folders, npz, csv and parquet, in real layouts and with every kind of error."""

import datetime
import gzip
import lzma
import struct
import zipfile
from pathlib import Path

import numpy as np
import polars
import pytest

from jaxresearch import data

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _idx(values):
    """Returns the bytes of an IDX file."""
    codes = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, codes[values.dtype.name], values.ndim, *values.shape)
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


def _fashion(folder, suffix=".gz", n_train=30, n_test=10):
    """Writes four small files in the layout of Fashion-MNIST."""
    generator = np.random.default_rng(0)
    for name in NAMES:
        n = n_train if name.startswith("train") else n_test
        images = generator.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        values = images if "images" in name else (np.arange(n) % 10).astype(np.uint8)
        content = _idx(values)
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix == ".gz" else content)
    return folder


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_a_folder_of_idx_files_is_read(tmp_path, suffix):
    dataset = data.load(str(_fashion(tmp_path, suffix)))
    assert dataset.train["inputs"].shape == (30, 28, 28, 1) and dataset.train["inputs"].dtype == np.uint8
    assert dataset.test["targets"].tolist() == list(range(10))
    assert dataset.card.n_classes == 10 and dataset.card.n_features == 784
    assert len(dict(dataset.card.sha256)) == 4


def test_dotted_names_are_read(tmp_path):
    _fashion(tmp_path, "")
    for name in NAMES:
        (tmp_path / name).rename(tmp_path / name.replace("-idx", ".idx"))
    assert len(data.load(str(tmp_path)).train["targets"]) == 30


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_idx_holds_every_type(dtype):
    from jaxresearch.data.files.idx import parse_idx

    values = np.array([[1, 2, 3], [4, 5, 100]], dtype)
    read = parse_idx(_idx(values), name="file")
    assert read.dtype == values.dtype and np.array_equal(read, values)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda raw: raw[: len(raw) // 2], "got a damaged one"),
        (lambda raw: raw[:-9], "got a damaged one"),
        (lambda raw: raw[:200] + bytes([raw[200] ^ 1]) + raw[201:], "got a damaged one"),
        (lambda raw: b"", "must not be empty, got no bytes"),
        (lambda raw: b"not an archive", "must be an IDX file"),
        (lambda raw: gzip.compress(gzip.decompress(raw)[:-1]), "must hold 23536 bytes .* got 23535"),
        (lambda raw: gzip.compress(gzip.decompress(raw) + b"x"), "must hold 23536 bytes .* got 23537"),
        (lambda raw: struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 28), "must hold .* got 16"),
        (lambda raw: b"\0\0\x08", "must be an IDX file"),
        (lambda raw: b"\0\0\x08\x03\0\0", "must hold a header of 16 bytes, got 6"),
        (lambda raw: _idx(np.zeros((30, 28), np.uint8)), "must have 3 axes"),
    ],
)
def test_a_damaged_idx_file_is_refused(tmp_path, damage, message):
    path = _fashion(tmp_path) / f"{NAMES[0]}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as caught:
        data.load(str(tmp_path))
    assert "\n" not in str(caught.value) and NAMES[0] in str(caught.value)


@pytest.mark.raises
def test_a_missing_idx_file_is_named(tmp_path):
    (_fashion(tmp_path) / f"{NAMES[1]}.gz").unlink()
    with pytest.raises(FileNotFoundError, match=f"must hold {NAMES[1]} or {NAMES[1]}.gz, got neither"):
        data.load(str(tmp_path))


@pytest.mark.raises
def test_images_and_labels_that_differ_in_number_are_refused(tmp_path):
    _fashion(tmp_path, "")
    (tmp_path / NAMES[1]).write_bytes(_idx(np.zeros(29, np.uint8)))
    with pytest.raises(
        ValueError, match="inputs and targets of the train part must have the same length, got 30 and 29"
    ):
        data.load(str(tmp_path))


def test_a_test_label_that_training_never_saw_is_noted(tmp_path):
    _fashion(tmp_path, "")
    (tmp_path / NAMES[3]).write_bytes(_idx(np.full(10, 11, np.uint8)))
    card = data.prepare(data.standard, data.load(str(tmp_path))).card
    assert card.n_classes == 11 and card.class_names[-1] == "11"
    assert card.notes == ("no training example is of class '11'",)


def _medmnist(path, **changes):
    arrays = {}
    for part, n in (("train", 40), ("val", 8), ("test", 12)):
        arrays[f"{part}_images"] = np.zeros((n, 28, 28), np.uint8)
        arrays[f"{part}_labels"] = (np.arange(n) % 2).astype(np.uint8)[:, None]
    np.savez(path, **{**arrays, **changes})
    return str(path)


def test_npz_in_medmnist_layout_is_read(tmp_path):
    dataset = data.load(_medmnist(tmp_path / "chest.npz"))
    assert {name: len(part["targets"]) for name, part in dataset.parts().items()} == {
        "train": 40,
        "validation": 8,
        "test": 12,
    }
    assert dataset.train["inputs"].shape == (40, 28, 28, 1) and dataset.train["targets"].shape == (40,)
    assert dataset.card.class_names == ("0", "1")


@pytest.mark.parametrize(
    "names", [("x_train", "y_train", "x_test", "y_test"), ("X_train", "y_train", "X_test", "y_test")]
)
def test_npz_with_plain_names_is_read(tmp_path, names):
    arrays = (np.ones((6, 3)), np.arange(6) % 2, np.zeros((4, 3)), np.arange(4) % 2)
    np.savez(tmp_path / "mine.npz", **dict(zip(names, arrays, strict=True)))
    dataset = data.load(str(tmp_path / "mine.npz"))
    assert len(dataset.train["targets"]) == 6 and len(dataset.test["targets"]) == 4


@pytest.mark.parametrize("names", [("x", "y"), ("X", "y"), ("inputs", "targets"), ("images", "labels")])
def test_npz_without_parts_is_split_by_class(tmp_path, names):
    np.savez(tmp_path / "mine.npz", **{names[0]: np.ones((50, 3)), names[1]: np.arange(50) % 5})
    dataset = data.load(str(tmp_path / "mine.npz"))
    assert np.bincount(dataset.test["targets"]).tolist() == [2] * 5
    assert np.bincount(dataset.train["targets"]).tolist() == [8] * 5


def test_npz_with_values_is_for_regression(tmp_path):
    np.savez(tmp_path / "mine.npz", x=np.ones((50, 3)), y=np.linspace(0, 1, 50))
    dataset = data.load(str(tmp_path / "mine.npz"))
    assert dataset.card.class_names == () and dataset.train["targets"].dtype == np.float64
    with pytest.raises(ValueError, match="targets of mine must be classes; they are values"):
        _ = dataset.card.n_classes


@pytest.mark.raises
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_labels": np.zeros((39, 1), np.uint8)},
            "as many targets as inputs, got 39 in train_labels and 40 in train_images",
        ),
        ({"train_images": np.full((40, 28, 28), np.nan)}, "must be finite, got nan at example 0 .31,360 in all."),
        ({"val_images": np.full((8, 28, 28), np.inf)}, "inputs of the validation part must be finite, got inf"),
        ({"train_images": np.array([object()] * 40)}, "got Python objects, which are never loaded"),
        (
            {"train_images": np.zeros((0, 28, 28)), "train_labels": np.zeros((0, 1), int)},
            "at least one example, got none",
        ),
        (
            {"train_labels": np.array([["high"]] * 40)},
            "targets must have the same type and shape in all parts, got integers and str",
        ),
        ({"train_labels": np.zeros((40, 2), int)}, "targets must have the same type and shape in all parts, got shape"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        data.load(_medmnist(tmp_path / "chest.npz", **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.raises
def test_a_damaged_npz_is_refused(tmp_path):
    path = tmp_path / "chest.npz"
    _medmnist(path)
    raw = path.read_bytes()
    for damaged in (raw[: len(raw) // 2], b"PK nothing", b"", raw[:500] + bytes([raw[500] ^ 255]) + raw[501:]):
        path.write_bytes(damaged)
        with pytest.raises(
            ValueError, match="must be an intact .npz file of plain arrays, got a damaged one"
        ) as caught:
            data.load(str(path))
        assert "\n" not in str(caught.value)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="must hold train_images and train_labels, .* got a"):
        data.load(str(path))


CSV = "age,colour,income,kind\n" + "".join(
    f"{20 + i},{('red', 'blue', '')[i % 3]},{'NA' if i % 10 == 0 else 1000.5 + i},{'ab'[i % 2]}\n" for i in range(40)
)


def test_csv_columns_are_read_by_kind(tmp_path):
    (tmp_path / "mine.csv").write_text(CSV)
    dataset = data.load(str(tmp_path / "mine.csv"), target="kind")
    assert dataset.card.class_names == ("a", "b") and dataset.card.feature_names == ("age", "colour", "income")
    assert [column.kind for column in dataset.card.columns] == ["number", "category", "number"]
    assert (
        dataset.card.columns[1].levels == ("blue", "red")
        and dataset.card.columns[2].note == "'NA' is read as missing, 4 cells"
    )
    assert dataset.train["inputs"]["age"].dtype == np.float64 and dataset.train["inputs"]["colour"].dtype == np.int32
    assert {*dataset.train["inputs"]["colour"].tolist()} == {-1, 0, 1}
    assert np.bincount(dataset.test["targets"]).tolist() == [4, 4]


@pytest.mark.parametrize("name", ["MINE.CSV", "mine.csv.GZ", "mine.tsv", "Mine.TSV.xz"])
def test_tables_are_known_by_their_ending_in_any_case(tmp_path, name):
    text = CSV.replace(",", "\t") if "tsv" in name.lower() else CSV
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get((tmp_path / name).suffix.lower(), bytes)
    (tmp_path / name).write_bytes(pack(text.encode()))
    card = data.load(str(tmp_path / name), target="kind").card
    assert card.name.lower() == "mine" and card.class_names == ("a", "b")


def test_parquet_keeps_its_types(tmp_path):
    days = [datetime.date(1970, 1, 1 + i % 9) for i in range(40)]
    columns = {
        "number": [0.5 * i for i in range(40)],
        "count": [None if i == 3 else i for i in range(40)],
        "code": ["00501", "501"] * 20,
        "flag": [True, False] * 20,
        "day": days,
        "big": [2**60 + i % 2 for i in range(40)],
        "kind": ["a", "b"] * 20,
    }
    polars.DataFrame(columns).write_parquet(tmp_path / "mine.parquet")
    dataset = data.load(str(tmp_path / "mine.parquet"), target="kind", split=data.Split(by="stretch"))
    kinds = {column.name: column.kind for column in dataset.card.columns}
    assert kinds == {
        "number": "number",
        "count": "number",
        "code": "category",
        "flag": "category",
        "day": "date",
        "big": "category",
    }
    levels = {column.name: column.levels for column in dataset.card.columns}
    assert levels["code"] == ("00501", "501") and levels["flag"] == ("false", "true")
    assert levels["big"] == (str(2**60), str(2**60 + 1))
    assert dataset.train["inputs"]["day"][:9].tolist() == list(range(9))
    assert np.isnan(dataset.train["inputs"]["count"][3])


def test_parquet_equals_csv(tmp_path):
    (tmp_path / "mine.csv").write_text(CSV)
    polars.read_csv(tmp_path / "mine.csv", null_values=["", "NA"]).write_parquet(tmp_path / "mine.parquet")
    csv, parquet = (data.load(str(tmp_path / name), target="kind") for name in ("mine.csv", "mine.parquet"))
    assert csv.card.class_names == parquet.card.class_names
    for name, values in csv.train["inputs"].items():
        np.testing.assert_array_equal(values, parquet.train["inputs"][name])
    np.testing.assert_array_equal(csv.test["targets"], parquet.test["targets"])


def _xlsx(path, *sheets):
    """Writes rows of cells as Excel does: numbers as numbers, strings inline."""

    def cell(value):
        if isinstance(value, str):
            return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
        return f'<c t="b"><v>{int(value)}</v></c>' if isinstance(value, bool) else f"<c><v>{value}</v></c>"

    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    named = "".join(f'<sheet name="s{i}" sheetId="{i}" r:id="r{i}"/>' for i, _ in enumerate(sheets, 1))
    placed = "".join(
        f'<Relationship Id="r{i}" Type="{kind}/worksheet" Target="s{i}.xml"/>' for i, _ in enumerate(sheets, 1)
    )
    package = "http://schemas.openxmlformats.org/package/2006"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types"/>')
        start = f'<Relationship Id="r0" Type="{kind}/officeDocument" Target="xl/workbook.xml"/>'
        file.writestr("_rels/.rels", f'<Relationships xmlns="{package}/relationships">{start}</Relationships>')
        file.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{placed}</Relationships>'
        )
        file.writestr(
            "xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{kind}"><sheets>{named}</sheets></workbook>'
        )
        for i, rows in enumerate(sheets, 1):
            cells = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
            file.writestr(f"xl/s{i}.xml", f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>')


def test_excel_is_read_with_its_types_and_its_sheet_is_named(tmp_path):
    rows = [["age", "zip", "flag", "kind"], *([20 + i, "00501", i % 3 == 0, "ab"[i % 2]] for i in range(40))]
    _xlsx(tmp_path / "mine.xlsx", rows, [["other"], [1]])
    dataset = data.load(str(tmp_path / "mine.xlsx"), target="kind", split=data.Split(by="stretch"))
    assert [column.kind for column in dataset.card.columns] == ["number", "category", "category"]
    assert dataset.train["inputs"]["age"].tolist() == [float(20 + i) for i in range(32)]
    assert dataset.card.columns[1].levels == ("00501",) and dataset.card.columns[2].levels == ("false", "true")
    assert dataset.card.notes == ("the first of 2 sheets of mine.xlsx was read, 's1'",)


@pytest.mark.raises
def test_a_dash_in_an_excel_column_of_numbers_is_refused(tmp_path):
    rows = [["age", "kind"], *(["-" if i == 5 else 20 + i, "ab"[i % 2]] for i in range(40))]
    _xlsx(tmp_path / "mine.xlsx", rows)
    with pytest.raises(
        ValueError, match="column age must be numbers or words, got 39 of 40 cells as numbers and '-' in row 6"
    ):
        data.load(str(tmp_path / "mine.xlsx"), target="kind")


@pytest.mark.raises
@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (CSV, None, "target must be a column of .*, got None. Its columns are: age, colour, income, kind. .* --target"),
        (CSV, "kinds", "target must be a column of .*, got 'kinds'. Did you mean 'kind'"),
        ("", "kind", "must not be empty, got no bytes"),
        ("a,kind\n", "kind", "must hold rows below its header, got none"),
        ("a,kind\n1,x\n2\n", "kind", "must have 2 cells in every row, got 1 in row 2 below the header"),
        ("a,a,kind\n1,2,x\n", "kind", "must name each column once, got 'a' twice"),
        ("a,kind\n1,x\n2,\n", "kind", "target kind must have a value in every row, got none in row 2"),
        (
            "a,kind\n1,x\ninf,y\n",
            "kind",
            "column a must be numbers or words, got 1 of 2 cells as numbers and 'inf' in row 2",
        ),
        ("kind\nx\ny\n", "kind", "must hold a column besides the target 'kind'"),
        ("a,kind\n1,x\n", "kind", "data must hold two examples or more"),
        ('a,kind\n1,"x\n', "kind", "must be a well-formed table, got a malformed one"),
    ],
)
def test_wrong_tables_are_refused(tmp_path, text, target, message):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        data.load(str(tmp_path / "mine.csv"), target=target)
    assert "\n" not in str(caught.value)


@pytest.mark.raises
def test_wrong_bytes_are_refused(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"a,kind\n\xff,x\n")
    with pytest.raises(ValueError, match="must be UTF-8 text, got other bytes at byte 7"):
        data.load(str(tmp_path / "mine.csv"), target="kind")
    (tmp_path / "mine.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(ValueError, match="must be an intact .parquet file, got a damaged one"):
        data.load(str(tmp_path / "mine.parquet"), target="kind")


@pytest.mark.raises
def test_a_target_is_for_tables_alone():
    with pytest.raises(ValueError, match="target must come with a table .*.xlsx.*, got 'kind' for mnist"):
        data.load("mnist", target="kind")


@pytest.mark.raises
def test_unknown_sources_are_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="got 'minst'. Did you mean 'mnist'"):
        data.load("minst")
    with pytest.raises(
        FileNotFoundError, match="data must be a bundled name, tfds:NAME, a database or a path that exists, got"
    ):
        data.load(str(tmp_path / "nothing.npz"))
    with pytest.raises(FileNotFoundError) as caught:
        data.load("folder/nothing.npz")
    assert f"got 'folder/nothing.npz', looked for from the current folder {Path.cwd()}. The" in str(caught.value)
    (tmp_path / "mine.txt").write_text("x")
    for target in (None, "kind"):
        with pytest.raises(ValueError, match="data must be .npz, a table .*, or a folder of images or IDX files, got"):
            data.load(str(tmp_path / "mine.txt"), target=target)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (np.zeros((4, 5, 5), np.float32), r"examples of the test part .* pixels of shape .*, got numbers"),
        (np.zeros((4, 6, 5), np.uint8), r"got pixels of shape \(6, 5"),
    ],
)
@pytest.mark.raises
def test_parts_of_different_form_are_refused(tmp_path, test, message):
    labels = np.arange(8) % 2
    np.savez(tmp_path / "a.npz", x_train=np.zeros((8, 5, 5), np.uint8), y_train=labels, x_test=test, y_test=labels[:4])
    with pytest.raises(ValueError, match=message):
        data.load(str(tmp_path / "a.npz"))

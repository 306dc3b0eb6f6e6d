"""Awkward tables and arrays: each is read correctly, with notes on the card, or refused in one line."""

# ruff: noqa: E501 (one case per line)

import re

import numpy as np
import pytest

from jaxresearch import data

N = 40
WORDS = [f"w{i}x" for i in range(N)]


def csv(**columns):
    """Returns a table with a target k of two classes that alternate; cells with commas or quotes are quoted."""
    columns = {**columns, "k": ["p", "q"] * (N // 2)}

    def quoted(cell):
        text = str(cell)
        return f'"{text}"' if "," in text else text

    rows = zip(*columns.values(), strict=True)
    return ",".join(columns) + "\n" + "\n".join(",".join(map(quoted, row)) for row in rows) + "\n"


def cycle(*cells):
    return [cells[i % len(cells)] for i in range(N)]


def odd(cells, place, cell):
    """Returns cells with one of them replaced."""
    cells = [str(one) for one in cells]
    return [*cells[:place], cell, *cells[place + 1 :]]


def numbers(values):
    return ("number", [float(value) for value in values])


# name: (table, options, column, expected kind with values or levels, or None if left out; its note)
READ = {
    "whole numbers": (csv(a=range(N)), {}, "a", numbers(range(N)), ""),
    "an exponent": (csv(a=[f"{i}e2" for i in range(1, N + 1)]), {}, "a", numbers(100 * (i + 1) for i in range(N)), ""),
    "a sign before each": (csv(a=[f"+{i}" for i in range(N)]), {}, "a", numbers(range(N)), ""),
    "points without zeros": (csv(a=[f".{i + 10}" for i in range(N)]), {}, "a", numbers((i + 10) / 100 for i in range(N)), ""),
    "zeros of both signs": (csv(a=cycle("-0.0", "0.0", "1.5")), {}, "a", numbers(cycle(0, 0, 1.5)), ""),
    "underscores": (csv(a=cycle("1_0", "1_1", "1_2")), {}, "a", ("category", cycle("1_0", "1_1", "1_2")), ""),
    "underscores as a third class": (csv(a=cycle("1_0", "1_1", "10")), {}, "a", ("category", cycle("1_0", "1_1", "10")), ""),
    "zip codes": (csv(a=cycle("00501", "10001", "501")), {}, "a", ("category", cycle("00501", "10001", "501")), "leading zeros"),
    "zip codes as numbers": (csv(a=cycle("00501", "10001")), {"types": {"a": "number"}}, "a", numbers(cycle(501, 10001)), ""),
    "versions": (csv(a=cycle("1.1.0", "1.10.0")), {}, "a", ("category", cycle("1.1.0", "1.10.0")), ""),
    "versions as categories": (csv(a=cycle("1.1", "1.10")), {"types": {"a": "category"}}, "a", ("category", cycle("1.1", "1.10")), ""),
    "thousands": (csv(a=[f"{1000 + i:,}" for i in range(N)]), {}, "a", numbers(1000 + i for i in range(N)), "separate thousands"),
    "millions beside ones": (csv(a=cycle("1", "2,000", "3,000,000")), {}, "a", numbers(cycle(1, 2000, 3e6)), "separate thousands"),
    "thousands with decimals": (csv(a=cycle("1,234.5", "7.25")), {}, "a", numbers(cycle(1234.5, 7.25)), "separate thousands"),
    "dollars": (csv(a=[f"${i},000.50" for i in range(1, N + 1)]), {}, "a", numbers(1000 * (i + 1) + 0.5 for i in range(N)), r"the \$ is removed"),
    "debts in dollars": (csv(a=cycle("-$5", "$7")), {}, "a", numbers(cycle(-5, 7)), r"the \$ is removed"),
    "euros behind": (csv(a=cycle("5.5 €", "7.1 €")), {}, "a", numbers(cycle(5.5, 7.1)), "the € is removed"),
    "per cent": (csv(a=cycle("5%", "12%")), {}, "a", numbers(cycle(5, 12)), "the % is removed"),
    "decimal commas": ("a;k\n" + "1,5;p\n2,25;q\n" * 20, {}, "a", numbers(cycle(1.5, 2.25)), "decimal marks"),
    "decimal commas in quotes": (csv(a=cycle("1,5", "2,25")), {}, "a", numbers(cycle(1.5, 2.25)), "decimal marks"),
    "points of thousands": ("a;b;k\n" + "1.234;0,5;p\n2.345.678;1,5;q\n" * 20, {}, "a", numbers(cycle(1234, 2345678)), "thousands"),
    "tabs": ("a\tk\n" + "1\tp\n2\tq\n" * 20, {}, "a", numbers(cycle(1, 2)), ""),
    "bars": ("a|k\n" + "1|p\n2|q\n" * 20, {}, "a", numbers(cycle(1, 2)), ""),
    "commas within quotes": ('a;b;k\n' + '1;"x;y";p\n2;"z;y";q\n' * 20, {}, "b", ("category", cycle("x;y", "z;y")), ""),
    "line ends of another system": ("a,k\r\n" + "1,p\r\n2,q\r\n" * 20, {}, "a", numbers(cycle(1, 2)), ""),
    "a mark of order": ("\ufeffa,k\n" + "1,p\n2,q\n" * 20, {}, "a", numbers(cycle(1, 2)), ""),
    "empty lines": ("a,k\n\n" + "1,p\n\n2,q\n" * 20 + "\n\n", {}, "a", numbers(cycle(1, 2)), ""),
    "spaces around": ("a , k\n" + "1 , p\n 2, q\n" * 20, {}, "a", numbers(cycle(1, 2)), ""),
    "missing numbers": (csv(a=cycle("NA", "1.5", "")), {}, "a", numbers(cycle(np.nan, 1.5, np.nan)), "'NA' is read as missing"),
    "missing words": (csv(a=cycle("none", "red", "")), {}, "a", ("category", cycle("", "red", "")), "'none' is read as missing"),
    "a country NA": (csv(a=cycle("NA", "DE")), {"types": {"a": "category"}}, "a", ("category", cycle("NA", "DE")), ""),
    "dates": (csv(a=cycle("1970-01-02", "1970-01-11")), {}, "a", ("date", cycle(1.0, 10.0)), ""),
    "dates with times": (csv(a=cycle("1970-01-01T12:00", "1970-01-02 00:00:00")), {}, "a", ("date", cycle(0.5, 1.0)), ""),
    "dates with zones": (csv(a=cycle("1970-01-01T01:00+01:00", "1970-01-01T12:00Z")), {}, "a", ("date", cycle(0.0, 0.5)), ""),
    "booleans": (csv(a=cycle("True", "False")), {}, "a", ("category", cycle("True", "False")), ""),
    "both cases": (csv(a=cycle("Red", "red")), {}, "a", ("category", cycle("Red", "red")), "upper and lower case"),
    "both cases of a text": (csv(a=cycle("Red", "red")), {"types": {"a": "text"}}, "a", ("text", cycle("Red", "red")), ""),
    "units": (csv(a=cycle("5 kg", "7 kg")), {}, "a", ("category", cycle("5 kg", "7 kg")), "with a unit"),
    "names": (csv(a=[f"A. {word}" for word in WORDS]), {}, "a", ("text", [f"A. {word}" for word in WORDS]), ""),
    "long words": (csv(a=[word * 9 for word in WORDS]), {}, "a", ("text", [word * 9 for word in WORDS]), ""),
    "ids of letters": (csv(a=WORDS), {}, "a", ("id", WORDS), ""),
    "ids as categories": (csv(a=WORDS), {"types": {"a": "category"}}, "a", ("category", WORDS), ""),
    "ids that count": (csv(id=range(N), a=range(N)), {}, "id", ("id", [str(i) for i in range(N)]), "name of an id"),
    "ids from 1000": (csv(userId=range(1000, 1000 + N), a=range(N)), {}, "userId", ("id", [str(1000 + i) for i in range(N)]), ""),
    "ids that repeat": (csv(shop_id=cycle(7, 8)), {}, "shop_id", numbers(cycle(7, 8)), "named like an id"),
    "an index of a data frame": (csv(**{"": range(N), "a": cycle(5, 6)}), {}, "", None, "counts the rows"),
    "an index with a name of pandas": (csv(**{"Unnamed: 0": range(1, N + 1), "a": cycle(5, 6)}), {}, "Unnamed: 0", None, "counts the"),
    "a column without cells": (csv(a=cycle("", "NA"), b=range(N)), {}, "a", None, "all of its cells are missing"),
    "a column left out": (csv(a=WORDS, b=range(N)), {"types": {"a": "drop"}}, "a", None, "its type is drop"),
    "one value alone": (csv(a=cycle(3)), {}, "a", numbers(cycle(3)), ""),
    "years as names": (csv(**{"2010": range(N), "2011": range(N)}), {}, "2010", numbers(range(N)), ""),
    "one text a number, as asked": (csv(a=cycle("1.1", "1.10")), {"types": {"a": "number"}}, "a", numbers(cycle(1.1, 1.1)), ""),
    "hexadecimal": (csv(a=cycle("0x1F", "0x2A")), {}, "a", ("category", cycle("0x1F", "0x2A")), ""),
    "large numbers": (csv(a=[2**40 + i for i in range(N)]), {}, "a", numbers(2**40 + i for i in range(N)), ""),
    "quotes within": ('a,k\n' + '"x ""y""",p\nz,q\n' * 20, {}, "a", ("category", cycle('x "y"', "z")), ""),
    "lines within": ('a,k\n' + '"x\ny",p\nz,q\n' * 20, {}, "a", ("category", cycle("x\ny", "z")), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_an_awkward_column_is_read_right(tmp_path, name):
    text, options, column, expected, note = READ[name]
    (tmp_path / "mine.csv").write_bytes(text.encode())
    dataset = data.load(str(tmp_path / "mine.csv"), target="k", split=data.Split(by="stretch"), **options)
    read = next((one for one in dataset.card.columns if one.name == column), None)
    if expected is None:
        assert read is None and column not in dataset.train["inputs"]
        assert any(re.search(note, line) for line in dataset.card.notes)
        return
    kind, cells = expected
    assert read.kind == kind and bool(read.note) == bool(note or kind == "id" and "id" in column.lower())
    assert re.search(note, read.note)
    values = np.concatenate([dataset.train["inputs"][column], dataset.test["inputs"][column]])
    if kind == "category":
        assert values.dtype == np.int32 and list(read.levels) == sorted({*cells} - {""})
        values = np.array(["", *read.levels])[values + 1]
    if kind in ("number", "date"):
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, np.array(cells, np.float64))
    else:
        assert values.tolist() == cells
    assert read.n_missing == sum(cell == "" or cell != cell for cell in cells)


# name: (table, options, message)
REFUSED = {
    "one dash": (csv(a=odd(range(N), 5, "-")), {}, "column a must be numbers or words, got 39 of 40 cells as numbers and '-' in row 6. .*--types a=category"),
    "one word": (csv(a=odd(range(N), 0, "many")), {}, "got 39 of 40 cells as numbers and 'many' in row 1"),
    "infinity": (csv(a=odd(range(N), 3, "inf")), {}, "and 'inf' in row 4"),
    "beyond float64": (csv(a=odd(range(N), 3, "1e999")), {}, "column a must be finite, got 1e999 in row 4"),
    "a thousands comma in one cell": (csv(a=odd(range(1000, 1000 + N), 3, "1,003")), {}, "column a must use one number format, got '1000' in row 1 and '1,003' in row 4"),
    "one currency sign": (csv(a=odd(range(N), 3, "$3")), {}, r"must have the same unit in all cells, got '0' in row 1 and '\$3' in row 4"),
    "two currencies": (csv(a=cycle("$1", "€2")), {}, r"must have the same unit in all cells, got '\$1' in row 1 and '€2' in row 2"),
    "versions": (csv(a=cycle("1.1", "1.10")), {}, "must spell each number in one way, got '1.1' and '1.10'. Pass --types a=number"),
    "exponents as words": (csv(a=cycle("1e1", "10")), {}, "spell each number in one way, got '1e1' and '10'"),
    "numbers beyond their digits": (csv(a=cycle("12345678901234567890", "12345678901234567891")), {}, "spell each number in one way"),
    "both decimal marks": (csv(a=cycle("1,5", "2,25"), b=cycle("1.5", "2.25")), {}, "one decimal mark, got points in column b and commas in column a"),
    "both decimal marks in a column": (csv(a=odd([f"{i}.5" for i in range(N)], 1, "1,5")), {}, "got 39 of 40 cells as numbers and '1,5' in row 2"),
    "a comma that may be both": ("a;k\n" + "1,234;p\n2,345;q\n" * 20, {}, "must use commas unambiguously, got '1,234' in row 1"),
    "dates with slashes": (csv(a=cycle("31/12/2024", "01/02/2024")), {}, "must be written as YYYY-MM-DD, got '31/12/2024' in row 1. .*--types a=drop"),
    "dates with points": (csv(a=cycle("31.12.24", "01.02.24")), {}, "must be written as YYYY-MM-DD"),
    "dates with names": (csv(a=cycle("3 Jan 2024", "4 Feb 2024")), {}, "must be written as YYYY-MM-DD"),
    "a day that is none": (csv(a=odd(cycle("2024-02-28"), 4, "2024-02-30")), {}, "must be dates .* got '2024-02-30' in row 5"),
    "a date with slashes among dates": (csv(a=odd(cycle("2024-02-28"), 4, "02/29/2024")), {}, "'02/29/2024' in row 5. Write it as YYYY-MM-DD, or pass --types a=drop.$"),
    "dates with slashes as dates": (csv(a=cycle("02/29/2024")), {"types": {"a": "date"}}, "must be dates written as YYYY-MM-DD, .* train with --types a=drop.$"),
    "a word among dates": (csv(a=odd(cycle("2024-02-28"), 4, "soon")), {}, "must be dates or words, got 39 of 40 cells as dates and 'soon' in row 5"),
    "dates with and without zones": (csv(a=cycle("2024-02-28T10:00", "2024-02-28T10:00Z")), {}, "a time zone in all cells or in none"),
    "times": (csv(a=cycle("10:30", "11:45")), {}, "must be written as seconds or hours, got '10:30'"),
    "gaps of thousands": (csv(a=cycle("1 234", "5 678")), {}, "must be written as 1234.5 and -1234.5, got '1 234'"),
    "brackets": (csv(a=cycle("(5)", "(7)")), {}, r"got '\(5\)' in row 1"),
    "a column without a name": (csv(**{"": cycle(3, 4), "a": range(N)}), {}, "every column must have a name, got one that does not count the rows"),
    "an index of a part of a data frame": (csv(**{"Unnamed: 0": range(7, N + 7), "a": range(N)}), {}, "every column must have a name, got one under 'Unnamed: 0'"),
    "no names": ("5.1,3.5,p\n" + "4.9,3.0,q\n" * 20, {}, "must name its columns in the first line, got the number 5.1"),
    "one row too short": ("a,k\n" + "1,p\n" * 5 + "2\n", {}, "must have 2 cells in every row, got 1 in row 6 below the header"),
    "one row too long": ("a,k\n" + "1,p\n" * 5 + "2,q,r\n", {}, "must have 2 cells in every row, got 3 in row 6 below the header"),
    "two separators": ("a,b;k\n" + "1,2;p\n" * 20, {}, "must have one separator, got commas and semicolons"),
    "an open quote": ('a,k\n1,"p\n', {}, "must be a well-formed table, got a malformed one"),
    "a byte of 0": ("a,k\n1\0,p\n", {}, "must be UTF-8 text, got a byte of 0 at byte 5"),
    "words as numbers": (csv(a=cycle("red", "5")), {"types": {"a": "number"}}, "column a must hold numbers, as in training or by --types, got 'red' in row 1"),
    "words as dates": (csv(a=cycle("red")), {"types": {"a": "date"}}, "column a must be dates .* got 'red' in row 1"),
    "an unknown kind": (csv(a=range(N)), {"types": {"a": "catgory"}}, "types must be number, .* got a=catgory. Did you mean 'category'"),
    "a kind like no other": (csv(a=range(N)), {"types": {"a": "xyz"}}, "^types must be number, category, date, text, id or drop, got a=xyz. Leave a out to have its type inferred.$"),
    "an unknown column": (csv(age=range(N)), {"types": {"agr": "number"}}, "types must name columns of the table, got 'agr'. Did you mean 'age'"),
    "a target left out": (csv(a=range(N)), {"types": {"k": "drop"}}, "target k must not be dropped, got k=drop"),
    "two columns": (csv(a=odd(range(N), 5, "-"), b=cycle("31/12/2024"), c=range(N)), {}, "^2 columns must be corrected: column a must be numbers .* '-' in row 6. .* column b must be written as YYYY-MM-DD, got '31/12/2024' in row 1. .*b=drop.$"),
    "words as values": (csv(a=range(N)), {"task": "regression"}, "target k must be numbers, got 'p' in row 1"),
}  # fmt: skip


@pytest.mark.raises
def test_all_awkward_columns_are_named_in_one_line(tmp_path):
    (tmp_path / "mine.csv").write_text(csv(**{name: odd(range(N), 5, "-") for name in "abcdefgh"}))
    message = "^8 columns must be corrected: column a .* column f .* or pass --types f=category. The others are g, h.$"
    with pytest.raises(ValueError, match=message):
        data.load(str(tmp_path / "mine.csv"), target="k")


@pytest.mark.raises
@pytest.mark.parametrize("name", REFUSED)
def test_an_awkward_column_is_refused_in_one_line(tmp_path, name):
    text, options, message = REFUSED[name]
    (tmp_path / "mine.csv").write_bytes(text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        data.load(str(tmp_path / "mine.csv"), target="k", **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("cells", "task", "expected"),
    [
        (["x", "y"] * 20, None, ("x", "y")),
        (["0", "1"] * 20, None, ("0", "1")),
        (["1", "2"] * 20, "regression", ()),
        (["01", "1"] * 20, None, ("01", "1")),
        (["1_0", "10", "x"] * 13 + ["x"], None, ("10", "1_0", "x")),
        (["0.5", "1.5"] * 20, None, ()),
        ([str(i % 8) for i in range(40)], None, tuple("01234567")),
        ([str(i % 9) for i in range(40)], None, ()),
        ([str(i % 9) for i in range(40)], "classification", tuple("012345678")),
        ([str(i) for i in range(40)], None, ()),
        ([str(i % 26) for i in range(520)], "classification", tuple(str(i) for i in range(26))),
        ([f"{1000 * i:,}" for i in range(40)], None, ()),
        ([f"${1000 * i}" for i in range(40)], None, ()),
        (["1e1", "20", "1e3"] * 13 + ["20"], "regression", ()),
        ([str(1_700_000_000 + i) for i in range(500)], None, ()),
        (["NO", "SE"] * 20, None, ("NO", "SE")),
    ],
)
def test_an_awkward_target_becomes_classes_or_values(tmp_path, cells, task, expected):
    rows = "".join(f'{i},"{cell}"\n' for i, cell in enumerate(cells))
    (tmp_path / "mine.csv").write_text("a,t\n" + rows)
    dataset = data.load(str(tmp_path / "mine.csv"), target="t", task=task, split=data.Split(by="stretch"))
    targets = np.concatenate([dataset.train["targets"], dataset.test["targets"]])
    assert dataset.card.class_names == expected and dataset.card.target.note
    assert dataset.card.target.kind == ("category" if expected else "number")
    if expected:
        assert targets.dtype == np.int32 and [expected[label] for label in targets] == cells
    else:
        values = [float(cell.replace(",", "").replace("$", "")) for cell in cells]
        assert targets.dtype == np.float64 and targets[:, 0].tolist() == values


@pytest.mark.raises
@pytest.mark.parametrize(
    ("cells", "task", "message"),
    [
        ([str(i % 26) for i in range(520)], None, "may be classes or values, got 26 different whole numbers in 520 rows. Pass --task"),
        ([str(i % 21) for i in range(520)], None, "may be classes or values, got 21"),
        ([str(i) for i in range(5000)], "classification", "must be classes, got 5,000 different values in 5,000 rows. Choose another"),
        ([f"{i}.5" for i in range(50)], "classification", "must be classes, got values with decimals such as 0.5"),
        ([f"name{i}" for i in range(50)], None, "must be classes, got 50 different values in 50 rows"),
        (["3", ""] * 20, None, "must have a value in every row, got none in row 2 .20 in all."),
        (["none", "mild"] * 20, None, "got none in row 1 .*'none'.; --types t=category keeps that word"),
        (["2024-01-01", "2024-01-02"] * 20, None, "target t must be numbers or words, got dates"),
        (["3", "4", "5", "6", "x"] * 8, "regression", "column t must be numbers or words, got 32 of 40 cells as numbers and 'x' in row 5"),
        (["1.1", "1.10"] * 20, None, "column t must spell each number in one way"),
        (["", "NA"] * 20, None, "target t must have a value in every row, got none in row 1"),
    ],
)  # fmt: skip
def test_an_awkward_target_is_refused_in_one_line(tmp_path, cells, task, message):
    (tmp_path / "mine.csv").write_text("a,t\n" + "".join(f'{i},"{cell}"\n' for i, cell in enumerate(cells)))
    with pytest.raises(ValueError, match=message) as caught:
        data.load(str(tmp_path / "mine.csv"), target="t", task=task)
    assert "\n" not in str(caught.value)


X, Y = np.random.default_rng(0).normal(size=(N, 3)), np.arange(N) % 2


@pytest.mark.parametrize(
    ("arrays", "task", "classes", "dtype", "shape"),
    [
        ({"x": X, "y": Y + 1}, None, ("1", "2"), "float64", (3,)),
        ({"x": X, "y": Y * 93 + 7}, None, ("7", "100"), "float64", (3,)),
        ({"x": X, "y": Y.astype(np.int64) * 2**32}, None, ("0", "4294967296"), "float64", (3,)),
        ({"x": X, "y": Y.astype(np.uint64) * 2**63}, None, ("0", str(2**63)), "float64", (3,)),
        ({"x": X, "y": Y.astype(bool)}, None, ("false", "true"), "float64", (3,)),
        ({"x": X, "y": Y.astype(float)}, None, ("0", "1"), "float64", (3,)),
        ({"x": X, "y": Y[:, None]}, None, ("0", "1"), "float64", (3,)),
        ({"x": X, "y": np.array(["a", "b"])[Y]}, None, ("a", "b"), "float64", (3,)),
        ({"x": X, "y": -Y}, None, ("-1", "0"), "float64", (3,)),
        ({"x": X, "y": np.arange(N)}, None, (), "float64", (3,)),
        ({"x": X, "labels": np.arange(N) // 2}, None, tuple(map(str, range(20))), "float64", (3,)),
        ({"x": X, "y": X[:, :2]}, None, (), "float64", (3,)),
        ({"x": X, "y": (10 * X[:, :2]).astype(int)}, "regression", (), "float64", (3,)),
        ({"x": X > 0, "y": Y}, None, ("0", "1"), "float32", (3,)),
        ({"x": (X > 0).astype(np.uint8), "y": Y}, None, ("0", "1"), "uint8", (3,)),
        ({"x": (X > 0).astype(np.uint16) * 65535, "y": Y}, None, ("0", "1"), "uint16", (3,)),
        ({"x": X * 1e39, "y": Y}, None, ("0", "1"), "float64", (3,)),
        ({"x": X[:, :, None] * np.ones(5), "y": Y}, None, ("0", "1"), "float64", (3, 5)),
        ({"images": np.zeros((N, 4, 5), np.uint8), "labels": Y}, None, ("0", "1"), "uint8", (4, 5, 1)),
    ],
)  # fmt: skip
def test_awkward_arrays_are_read_right(tmp_path, arrays, task, classes, dtype, shape):
    np.savez(tmp_path / "mine.npz", **arrays)
    dataset = data.load(str(tmp_path / "mine.npz"), task=task)
    assert dataset.card.class_names == classes and dataset.card.target.note
    assert dataset.train["inputs"].dtype == dtype and dataset.train["inputs"].shape[1:] == shape
    assert dataset.train["targets"].dtype == (np.int32 if classes else np.float64)


def test_x_train_and_x_are_treated_alike(tmp_path):
    wide = np.random.default_rng(0).normal(size=(N, 5, 3))
    np.savez(tmp_path / "a.npz", x_train=wide[:30], y_train=Y[:30], x_test=wide[30:], y_test=Y[30:])
    np.savez(tmp_path / "b.npz", x=wide, y=Y)
    shapes = [data.load(str(tmp_path / name)).train["inputs"].shape[1:] for name in ("a.npz", "b.npz")]
    assert shapes == [(5, 3), (5, 3)]


@pytest.mark.raises
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": X, "y_train": Y, "x_test": X[:9], "y_tests": Y[:9]}, "got 'y_tests', which would be ignored. Did you mean 'y_test'"),
        ({"x_train": X, "y_train": Y, "x_valid": X[:9], "y_valid": Y[:9]}, "got 'x_valid', .* Did you mean 'x_val'"),
        ({"x_train": X, "y_train": Y, "x_test": X[:9]}, "inputs and targets once for each part, got x_test without the other"),
        ({"x_train": X, "y_train": Y, "X_train": X}, "got X_train without the other or twice"),
        ({"x": X, "y": Y, "z": Y}, "got 'z', which would be ignored"),
        ({"x": X, "y": Y[:-1]}, "as many targets as inputs, got 39 in y and 40 in x"),
        ({"x": X, "y": np.where(Y, np.nan, 1.0)}, "targets in y must be finite, got nan at example 1"),
        ({"x": X[:, 0], "y": Y}, r"numbers of shape \(n, ...\) as inputs, got float64 of shape \(40,\) in x"),
        ({"x": X.astype(complex), "y": Y}, "as inputs, got complex128"),
        ({"x": X.astype("U"), "y": Y}, "as inputs, got <U"),
        ({"x": X, "y": np.eye(2, dtype=int)[Y]}, r"must be classes \(n,\) or values, got whole numbers of shape \(40, 2\)"),
        ({"x": X, "y": Y.astype("S")}, "numbers or words as targets, got .S"),
        ({"x": X, "y": Y.reshape(-1, 1, 1)}, r"targets \(n,\) or values \(n, outputs\), got shape \(40, 1, 1\)"),
        ({"x_train": X, "y_train": Y, "x_test": X[:9], "y_test": Y[:9]}, "parts of mine must not overlap, got 9 of 9 test examples"),
        ({"x_train": X, "y_train": Y, "x_test": -X[:9], "y_test": Y[:9] + 0.5}, "targets must have the same type and shape in all parts, got float and integers"),
    ],
)  # fmt: skip
def test_awkward_arrays_are_refused_in_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        data.load(str(tmp_path / "mine.npz"))
    assert "\n" not in str(caught.value)

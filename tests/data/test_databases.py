"""Rows of an SQLite file; tests/data/test_postgresql.py has those of a server."""

import contextlib
import decimal
import sqlite3
import sys

import numpy as np
import pytest

from jaxresearch import data
from jaxresearch.data.files import databases
from jaxresearch.data.files.databases import PASSWORD, load_database, require_no_password

N = 40
SELECT = "select * from patients order by id"


@pytest.fixture
def database(tmp_path):
    """An SQLite file of patients, as a source, and a function that changes it."""
    path = tmp_path / "trial.db"

    def change(*statements):
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    change(
        "create table patients (id integer primary key, age real, code text, seen text, kind text)",
        *(
            f"insert into patients values ({i}, {'null' if i == 3 else 30 + i % 7}, '0{i % 3}', '2024-01-{1 + i % 28:02}', "
            f"'{'ab'[i % 2]}')"
            for i in range(N)
        ),
    )
    return f"sqlite:{path}", change


def load(source, query=SELECT, **options):
    return load_database(source, query=query, **{"target": "kind", **options})


def test_columns_have_the_kinds_of_a_table(database):
    parts, card = load(database[0])
    kinds = {column.name: (column.kind, column.n_missing) for column in card.columns}
    assert kinds == {"age": ("number", 1), "code": ("category", 0), "seen": ("date", 0), "id": ("id", 0)} or kinds == {
        "id": ("number", 0),
        "age": ("number", 1),
        "code": ("category", 0),
        "seen": ("date", 0),
    }
    assert card.class_names == ("a", "b") and card.name == "trial" and card.source == database[0]
    np.testing.assert_array_equal(parts["train"]["inputs"]["age"][:5], [30, 31, 32, np.nan, 34])
    assert parts["train"]["inputs"]["seen"][0] == 19723  # days from 1970-01-01 to 2024-01-01
    assert card.notes[0] == f"query: {SELECT}"


def test_a_query_may_have_no_target(database):
    dataset = data.load(database[0], query=SELECT, needs_target=False)
    assert dataset.card.target is None and "kind" in dataset.train["inputs"] and not dataset.train["targets"].any()


def test_load_splits_by_a_column_of_the_query(database):
    dataset = data.load(
        database[0],
        query="select age, code, kind from patients where id < :n order by id",
        parameters={"n": "30"},
        target="kind",
        split=data.Split(by="group", column="code"),
    )
    assert len(dataset.train["targets"]) + len(dataset.test["targets"]) == 30
    assert not {*dataset.train["groups"]} & {*dataset.test["groups"]}
    assert "parameters: n=30" in dataset.card.notes


@pytest.mark.parametrize(
    ("condition", "value", "n"),
    [
        ("id * 2 >= :x", "50", 15),  # as text, no number would be greater
        ("age > :x", "35.5", 5),
        ("code = :x", "01", 13),
        ("kind = :x", "a'; drop table patients; --", 0),
        ("kind in (:x, 'b')", "a", 40),
        ("id < :x", "99999999999999999999", 40),  # more than an integer of SQLite holds
    ],
)
def test_parameters_are_bound(database, condition, value, n):
    query = f"select age, kind from patients where {condition} order by id"
    if n:
        assert len(load(database[0], query, parameters={"x": value}).parts["train"]["targets"]) == n
        return
    with pytest.raises(
        ValueError, match="^query must return rows, got none. Check its conditions and the parameters.$"
    ):
        load(database[0], query, parameters={"x": value})
    load(database[0])  # the table is still there


@pytest.mark.parametrize("kind", [int, decimal.Decimal])  # a numeric column of a server comes as decimals
def test_whole_numbers_that_float64_alters_are_words(kind):
    column = databases._column("id", [kind(2**60 + 1), None, kind(3)], is_typed=True)
    assert not isinstance(column, np.ndarray)
    exact = databases._column("id", [kind(2**52 + 1), None, kind(3)], is_typed=True)
    np.testing.assert_array_equal(exact, [2**52 + 1, np.nan, 3])


def test_decimals_are_numbers():
    values = [decimal.Decimal(text) for text in ("0.1", "NaN", "1000000000000000000.5")]
    np.testing.assert_array_equal(databases._column("x", values, is_typed=True), [0.1, np.nan, 1e18])


def test_rows_without_order_by_are_sorted(database):
    source, change = database
    query = "select age, code, seen, kind from patients"
    before = load(source, query)
    assert before.card.notes[-1].startswith("the query has no ORDER BY: its rows are sorted as text")
    change("create table copy as select * from patients order by id desc")
    after = load(source, query.replace("patients", "copy"))
    assert before.card.sha256 == after.card.sha256
    np.testing.assert_array_equal(before.parts["train"]["targets"], after.parts["train"]["targets"])
    ordered = load(source, f"{query} order by id")
    reverse = load(source, f"{query} order by id desc")
    np.testing.assert_array_equal(ordered.parts["train"]["targets"], reverse.parts["train"]["targets"][::-1])
    assert ordered.card.sha256 != reverse.card.sha256
    with pytest.raises(ValueError, match="^query must order its rows where the last ones are held out"):
        data.load(source, query=query, target="kind", split=data.Split(by="stretch"))


@pytest.mark.parametrize("changed", ["update patients set age = 99 where id = 5", "delete from patients where id = 5"])
def test_the_digest_is_of_the_rows(database, changed):
    source, change = database
    before = load(source).card.sha256
    assert before == load(source).card.sha256 and before[0][0] == "the rows of the query"
    change("create table other (x)", "insert into other values (1)")
    assert before == load(source).card.sha256
    change(changed)
    assert before != load(source).card.sha256


@pytest.mark.parametrize(
    "changed", ["update patients set age = 0 returning id", "insert into patients (id) values (99)"]
)
def test_a_query_that_writes_is_refused(database, changed):
    before = load(database[0]).card.sha256
    with pytest.raises(ValueError, match="^query must be a single SELECT, got one that begins with (UPDATE|INSERT)"):
        load(database[0], changed)
    with pytest.raises(
        ValueError, match="carries out, got from sqlite:.*: attempt to write a readonly database. Correct"
    ):
        load(database[0], f"with one as (select 1) {changed}")
    assert before == load(database[0]).card.sha256


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ("select agee, kind from patients", {}, "got from sqlite:.*trial.db: no such column: agee. Correct it."),
        ("select from patients", {}, 'got from sqlite:.*: near "from": syntax error. Correct it.'),
        ("select * from nowhere", {}, "got from sqlite:.*: no such table: nowhere. Correct it."),
        (None, {}, "^query must be given for a database, got none. Pass --query "),
        ("select age, kind, age from patients", {}, "^query must name each column once, got 'age' twice. Rename one"),
        ("select age, kind from patients where id < 0", {}, "^query must return rows, got none. Check"),
        (SELECT, {"target": "kid"}, "^target must be a column of sqlite:.*, got 'kid'. Did you mean 'kind'.*--target"),
        (
            SELECT,
            {"types": {"agee": "number"}},
            "^types must name columns of the table, got 'agee'. Did you mean 'age'",
        ),
        (
            "select x'00' as raw, kind from patients",
            {},
            "^column raw must be numbers, words, booleans or dates, got bytes.",
        ),
        ("select :a as a, kind from patients", {}, "^parameters must have a value for :a of the query"),
    ],
)
def test_bad_queries_are_refused_in_one_line(database, query, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(database[0], query, **options)
    assert "\n" not in str(caught.value)


def test_a_file_must_be_there_and_be_of_sqlite(tmp_path):
    with pytest.raises(FileNotFoundError, match="^data must be an SQLite file that exists, got sqlite:.*nothing.db. "):
        load(f"sqlite:{tmp_path / 'nothing.db'}")
    assert not (tmp_path / "nothing.db").exists()
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        ValueError, match="^data must be an SQLite file, got sqlite:.*mine.csv, a file of another format"
    ):
        load(f"sqlite:{tmp_path / 'mine.csv'}")


@pytest.mark.parametrize(
    "source",
    [
        "postgresql://ann:s3cret@host/trials",
        "postgresql+psycopg://:s3cret@host:5432/trials",
        "postgres:/ann:s3cret@host/trials",
        "mysql://ann:s3/cr@et@host/trials",
        "postgresql://ann@host/trials?password=s3cret",
    ],
)
def test_a_password_in_the_url_is_refused_unseen(source):
    with pytest.raises(
        ValueError, match=f"^data must be a URL without a password, .* got one with it. .* or {PASSWORD}"
    ) as caught:
        data.load(source, query="select 1", target="kind")
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "postgresql://ann@host:5432/trials",
        "postgresql://ann@[::1]:5432/x",
        "sqlite:/a:b@c.db",
        "a:b@c.csv",
        "postgresql:///x",
    ],
)
def test_other_sources_have_no_password(source):
    require_no_password(source)


@pytest.mark.parametrize("source", ["nosuch://host/x", "postgresql:host", "http://example.org/a.csv"])
def test_what_is_no_database_is_refused(source):
    with pytest.raises(
        ValueError, match="^data must be sqlite:PATH or a URL such as postgresql://.* got another form."
    ):
        load(source)


def test_the_extra_is_named_where_it_is_missing(database, monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(
        ValueError, match=r'without sqlalchemy, which is not installed. Run: pip install "jaxresearch\[sql\]"$'
    ):
        load(database[0])
    monkeypatch.undo()
    for name in [name for name in sys.modules if name.split(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        ValueError, match=r'without psycopg, which is not installed. Run: pip install "jaxresearch\[sql\]"$'
    ):
        load("postgresql://ann@host/trials")


@pytest.mark.parametrize("option", ["query", "parameters"])
def test_other_sources_take_no_query(option):
    with pytest.raises(
        ValueError, match=rf"^{option} must come with a database \(sqlite:PATH or a URL\), got .* for ames."
    ):
        data.load("ames", **{option: {"query": "select 1", "parameters": {"a": "1"}}[option]})

"""Rows of a PostgreSQL server, which the tests start; skipped where there is none."""

import json
import socket
from types import SimpleNamespace

import numpy as np
import pytest

from jaxresearch import catalogue
from jaxresearch.data.files.databases import PASSWORD, load_database

pytestmark = pytest.mark.long

SELECT = "select * from patients order by id"
TABLE = """
create table patients (
    id int primary key, age numeric, large bigint, treated boolean, born date, seen timestamptz, code text, key uuid,
    note jsonb, kind text
)
"""


@pytest.fixture
def server(postgresql, monkeypatch):
    """The server with forty patients, and her password in the environment."""
    monkeypatch.setenv(PASSWORD, postgresql.password)
    postgresql.execute(
        "drop table if exists patients",
        "drop sequence if exists numbers",
        "create sequence numbers",
        TABLE,
        "insert into patients select i, case when i = 3 then null else 30.5 + i % 7 end, 9007199254740993 + i, i % 3 = 0, "
        "date '2000-01-01' + i, timestamptz '2024-01-01 12:00+02' + i * interval '1 day', '0' || i % 3, "
        "('00000000-0000-0000-0000-0000000000' || lpad(i::text, 2, '0'))::uuid, '{}', chr(97 + i % 2) "
        "from generate_series(0, 39) as i",
    )
    return postgresql


def load(server, query=SELECT, *, database="trials", **options):
    options = {"target": "kind", "types": {"note": "drop"} if "*" in query else None, **options}
    return load_database(f"{server.url}/{database}", query=query, **options)


def test_types_of_postgresql_are_kept(server):
    parts, card = load(server, "select id, age, large, treated, born, seen, code, key, kind from patients order by id")
    columns, inputs = {column.name: column for column in card.columns}, parts["train"]["inputs"]
    assert columns["age"].kind == "number" and columns["age"].n_missing == 1
    np.testing.assert_array_equal(inputs["age"][:4], [30.5, 31.5, 32.5, np.nan])
    assert columns["treated"].levels == ("false", "true") and inputs["treated"][:4].tolist() == [1, 0, 0, 1]
    assert columns["born"].kind == columns["seen"].kind == "date"
    assert inputs["born"][0] == 10957 and inputs["seen"][0] == 19723 + 10 / 24  # days since 1970, in UTC
    assert columns["code"].kind == "category" and columns["code"].levels == ("00", "01", "02")
    assert columns["large"].kind != "number"  # float64 would alter it
    assert card.class_names == ("a", "b") and card.name == "trials" and server.password not in repr(card)


@pytest.mark.parametrize(
    ("condition", "value", "n"),
    [
        ("id >= :x", "30", 10),
        ("age > :x::numeric", "35.6", 5),
        ("born < :x", "2000-01-11", 10),
        ("code = :x", "01", 13),
        ("treated = :x", "true", 14),
        ("kind like '%' and kind = :x", "a", 20),
        ("kind = :x", "a'; drop table patients; --", 0),
    ],
)
def test_the_server_gives_parameters_their_type(server, condition, value, n):
    query = f"select id, age, kind from patients where {condition}"
    if n:
        assert len(load(server, query, parameters={"x": value}).parts["train"]["targets"]) == n
        return
    with pytest.raises(ValueError, match="^query must return rows, got none"):
        load(server, query, parameters={"x": value})
    assert server.execute("select count(*) from patients") == [(40,)]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (
            "with gone as (delete from patients returning *) select * from gone",
            "DECLARE CURSOR must not contain data-modif",
        ),
        (
            "select nextval('numbers') as n, kind from patients",
            r"cannot execute nextval\(\) in a read-only transaction",
        ),
        ("select * into copy from patients", ""),
        ("select * from patients for update", "cannot execute SELECT FOR UPDATE in a read-only transaction"),
        ("select agee, kind from patients", 'column "agee" does not exist .*Perhaps you meant .*age'),
        ("select kind from patients where id = :x", "invalid input syntax for type integer: "),
        ("select 1 / (id - id) as a, kind from patients", "division by zero"),
    ],
)
def test_queries_that_write_or_fail_are_refused(server, query, reason):
    parameters = {"x": "many"} if ":x" in query else None
    rule = rf"^query must be one that the database carries out, got from {server.url}/trials: .*{reason}.* Correct it.$"
    with pytest.raises(ValueError, match=rule) as caught:
        load(server, query, parameters=parameters)
    assert "\n" not in str(caught.value)
    assert server.execute("select count(*) from patients") == [(40,)]
    assert server.execute("select to_regclass('copy'), (select is_called from numbers)") == [(None, False)]


def test_columns_of_other_types_are_refused(server):
    with pytest.raises(
        ValueError, match="^column note must be numbers, words, booleans or dates, got dict. Convert it"
    ):
        load(server, types=None)
    assert len(load(server, SELECT.replace("*", "id, age, kind")).parts["train"]["targets"]) == 40


@pytest.mark.parametrize(("variable", "is_right"), [(PASSWORD, True), ("PGPASSWORD", True), (PASSWORD, False)])
def test_the_password_is_that_of_the_environment(server, monkeypatch, variable, is_right):
    monkeypatch.delenv(PASSWORD)
    word = server.password if is_right else f"not-{server.password}"
    monkeypatch.setenv(variable, word)
    query = "select age, kind from patients order by id"
    if is_right:
        assert len(load(server, query).parts["train"]["targets"]) == 40
        return
    rule = rf"accepts a connection, got {server.url}/trials \(host 127.0.0.1, port {server.port}\): .*password auth"
    with pytest.raises(ValueError, match=f'{rule}.* for user "ann". Start the server or .*{PASSWORD}') as caught:
        load(server, query)
    assert word not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("database", ["nowhere", "trials"])
def test_a_server_that_does_not_answer_is_named(server, database):
    port, reason = server.port, 'database "nowhere" does not exist'
    if database == "trials":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port, reason = free.getsockname()[1], "Connection refused"
    with pytest.raises(ValueError, match=rf"\(host 127.0.0.1, port {port}\): .*{reason}. Start the server") as caught:
        load(SimpleNamespace(url=f"postgresql://ann@127.0.0.1:{port}"), database=database)
    assert "\n" not in str(caught.value)


def test_a_run_records_no_password(server, command, tmp_path):
    query = "select age, code, kind from patients where id < :n"
    words = ["--query", query, "--parameters", "n=38", "--target", "kind", "--batch-size", "8", "--directory", "out"]
    (tmp_path / "my.py").write_text(catalogue.template("table"))
    done = command("run", "my.py", "--data", f"{server.url}/trials", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    held = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in held if server.password.encode() in path.read_bytes()]
    assert server.password not in done.stdout + done.stderr
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["data"] == f"{server.url}/trials" and config["parameters"] == [["n", "38"]]
    assert config["query"] == query and config["data_card"]["sha256"][0][0] == "the rows of the query"

"""``--data sqlite:PATH --query SELECT``: recorded, resumed and replayed on the same rows only."""

import contextlib
import json
import sqlite3

import pytest

from jaxresearch import loading
from jaxresearch.cli.parsing import parse
from jaxresearch.cli.resume import words_in

SELECT = "select x, y from points where x > :least order by x"
WORDS = ("--data", "sqlite:points.db", "--query", SELECT, "--parameters", "least=-0.9", "--target", "y")


@pytest.fixture
def change(folder):
    """The table of the experiment as an SQLite file ``points.db``, and a function that changes it."""

    def carry_out(*statements):
        with contextlib.closing(sqlite3.connect(folder / "points.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    rows = (folder / "line.csv").read_text().splitlines()[1:]
    carry_out("create table points (x real, y real)", *(f"insert into points values ({row})" for row in rows))
    return carry_out


@pytest.mark.parametrize(
    ("words", "parameters"),
    [
        (["--parameters", "a=1,b=two words, and = more,c="], (("a", "1"), ("b", "two words, and = more"), ("c", ""))),
        (["--parameters", "least=-0.9"], (("least", "-0.9"),)),
        ([], ()),
    ],
)
def test_parameters_are_restored_from_the_record(folder, words, parameters):
    experiment = loading.load(str(folder / "line.py"))
    options = parse(experiment, ["--query", SELECT, *words, "--directory", "out"])
    assert options.parameters == parameters and options.reading["query"] == SELECT
    recorded = {"query": SELECT, "parameters": [list(pair) for pair in parameters], "directory": None}
    again = words_in({**recorded, "hyperparameters": {}, "data": "line.csv", "target": "y"}, folder / "out")
    assert again[again.index("--query") + 1] == SELECT
    assert ("--parameters" in again) == bool(parameters)
    if parameters:
        assert again[again.index("--parameters") + 1] == words[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--parameters", "a=1,a=2"], "parameters must name each parameter once, got a=1,a=2. Write: year="),
        (
            ["--parameters", "a=1", "--parameters", "b=2"],
            "parameters must be given once, got it twice. Write all together",
        ),
        (
            ["--data", "postgresql://ann:s3cret@host/x"],
            "data must be a URL without a password, which would be recorded",
        ),
        (["--query", "select 1"], "query must come with a database (sqlite:PATH or a URL), got 'select 1' for "),
        (["--data", "sqlite:points.db"], "query must be given for a database, got none. Pass --query"),
        (
            ["--data", "sqlite:no.db", "--query", "select 1"],
            "data must be an SQLite file that exists, got sqlite:no.db.",
        ),
    ],
)
def test_mistakes_with_databases_take_one_line(here, change, refused, words, message):
    done = here("run", "line.py", *words)
    refused(done, message, kept=("line.py", "line.csv", "points.db"))
    assert "s3cret" not in done.stderr


@pytest.mark.long
def test_a_run_on_a_query_is_that_on_its_rows(here, change, folder, replayed):
    done = here("run", "line.py", *WORDS, "--seeds", "2", "--epochs", "10", "--directory", "out")
    assert done.returncode == 0, done.stderr
    rows = (folder / "line.csv").read_text().splitlines()
    (folder / "some.csv").write_text(
        "\n".join([rows[0], *(row for row in rows[1:] if float(row.split(",")[0]) > -0.9)])
    )
    done = here("run", "line.py", "--data", "some.csv", "--seeds", "2", "--epochs", "10", "--directory", "table")
    assert done.returncode == 0, done.stderr
    config, result = (json.loads((folder / "out" / f"{name}.json").read_text()) for name in ("config", "result"))
    assert result["metrics"] == json.loads((folder / "table" / "result.json").read_text())["metrics"]
    assert config["data"] == f"sqlite:{folder / 'points.db'}" and config["query"] == SELECT
    assert config["parameters"] == [["least", "-0.9"]]
    ((name, digest),) = config["data_card"]["sha256"]
    assert name == "the rows of the query" and len(digest) == 64
    replayed("out")
    change("insert into points values (-2, 0)")  # not a row of the query
    replayed("out")
    change("update points set y = y + 1 where x > 0.9")
    done = here("verify", "out", "--replay", "1")
    assert (
        done.returncode == 2
        and "must stay as they were at its start, got the rows of the query changed." in done.stderr
    )


@pytest.mark.long
def test_a_run_is_resumed_on_the_same_rows_only(here, change, folder, interrupted_here):
    done = interrupted_here(2, "run", "line.py", *WORDS, "--seeds", "2", "--save-every", "0", "--directory", "out")
    assert done.returncode == 75, done.stderr
    change("update points set y = y + 1 where x > 0.99")
    done = here("resume", "out")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert (
        "the data of the run in out must stay as they were at its start, got the rows of the query changed."
        in done.stderr
    )
    change("update points set y = y - 1 where x > 0.99")
    done = here("run", "line.py", *WORDS[:-3], "least=-0.5", *WORDS[-2:], "--seeds", "2", "--directory", "out")
    assert done.returncode == 2 and "these settings differ: " in done.stderr

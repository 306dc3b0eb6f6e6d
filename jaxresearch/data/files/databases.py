"""Tables of databases: the rows of one SELECT, through SQLAlchemy. Nothing is written."""

import datetime
import decimal
import hashlib
import json
import math
import os
import re
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import catalogue
from jaxresearch.data.collected import Collected
from jaxresearch.data.files import queries, tables
from jaxresearch.data.files.cells import Cells, cells_of
from jaxresearch.data.files.tables import Table
from jaxresearch.data.files.targets import Task

ROWS = "the rows of the query"  # their name beside their SHA-256
PASSWORD = "JAXRESEARCH_DATABASE_PASSWORD"  # environment variable
_SQLITE = "sqlite:"
_PASSWORD = re.compile(r"^[\w+.-]+:/+[^/:@?]*:.*@|[?&](password|passwd|pwd|sslpassword)=", re.IGNORECASE | re.DOTALL)
_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306, "oracle": 1521, "mssql": 1433}
_READ_ONLY = ("postgresql", "mysql", "mariadb", "oracle")  # know SET TRANSACTION READ ONLY
_WAIT = 10  # seconds for a server to answer
_EXACT = 2**53  # from here on, float64 alters whole numbers
_LARGEST = 2**63  # from here on, SQLite has no integers
_NUMBERS = {int, float, decimal.Decimal}


def is_database(source: str) -> bool:
    """Returns whether a source is a database, by its form.

    Args:
        source: As for `jaxresearch.data.load`.

    Returns:
        True for ``sqlite:PATH`` and for a URL.

    Example:
        >>> is_database("sqlite:mine.db"), is_database("postgresql://ann@host/trials"), is_database("mine.csv")
        (True, True, False)
    """
    return source.startswith((_SQLITE, "postgres")) and ":" in source or "://" in source


def require_no_password(source: str) -> None:
    """Raises if a source has a password in it, which would be recorded with the run; the message does not repeat it.

    Args:
        source: As for `jaxresearch.data.load`.

    Raises:
        ValueError: If there is one.

    Example:
        >>> require_no_password("postgresql://ann@host:5432/trials")
    """
    if is_database(source) and not source.startswith(_SQLITE) and _PASSWORD.search(source):
        raise ValueError(
            f"data must be a URL without a password, which would be recorded, got one with it. Set PGPASSWORD or {PASSWORD}."
        )


def load_database(
    source: str,
    *,
    query: str | None,
    parameters: Mapping[str, str] | None = None,
    target: str | None = None,
    types: Mapping[str, str] | None = None,
    task: Task | None = None,
    needs_target: bool = True,
) -> Collected:
    r"""Returns the data of a query.

    ==========================  =====================================================================================
    cells                       what they become
    ==========================  =====================================================================================
    numbers                     float64, nan where NULL; words where float64 would alter a whole number
    booleans                    the words false and true
    dates, with or without time ``datetime64``, in UTC if they have a zone
    text                        words; those of SQLite, which has no type for dates, are read as those of a table of text
    UUIDs                       words
    ==========================  =====================================================================================

    The query runs in a transaction that only reads, which is rolled back: SQLite opens the file in that mode; PostgreSQL, MySQL,
    MariaDB and Oracle get ``SET TRANSACTION READ ONLY``. Rows of a query without ORDER BY are sorted, since a database may
    return them in any order. Their SHA-256 is recorded, so that a run is resumed on the same rows only.

    Args:
        source: ``sqlite:PATH``, or the URL of a database without a password. That is read from the environment:
            ``JAXRESEARCH_DATABASE_PASSWORD``, or ``PGPASSWORD`` for PostgreSQL.
        query: A single SELECT, with parameters as ``:name``.
        parameters: Their values, which are bound by the database. It gives them a type, except for SQLite, where what is
            written as a number is one.
        target: The column to predict.
        types: Kinds of columns, as for a table.
        task: What whole numbers as targets are.
        needs_target: As for `jaxresearch.data.files.tables.collected_table`.

    Returns:
        Inputs as a dict of columns, not yet split. The notes of the card have the query and the parameters.

    Raises:
        ValueError: If the query, a parameter or the target is missing, the query fails, writes, or returns no rows or cells of
            another type; if no database answers; if SQLAlchemy or the driver is not installed.
        FileNotFoundError: If there is no such file.

    Example:
        >>> import contextlib, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.db"
        >>> with contextlib.closing(sqlite3.connect(path)) as database:
        ...     _ = database.execute("create table patients (age int, kind text)")
        ...     _ = database.executemany("insert into patients values (?, ?)", [(3, "a"), (4, "b")] * 5)
        ...     database.commit()
        >>> select = "select * from patients where age > :least"
        >>> collected = load_database(f"sqlite:{path}", query=select, parameters={"least": "2"}, target="kind")
        >>> collected.card.class_names, len(collected.parts["train"]["targets"]), collected.card.notes[1]
        (('a', 'b'), 10, 'parameters: least=2')
    """
    require_no_password(source)
    if not query or not query.strip():
        raise ValueError('query must be given for a database, got none. Pass --query "select ... from ...".')
    asked, given = queries.parsed(query), dict(parameters or {})
    queries.require_values(asked.parameters, given)
    names, rows = _read(source, asked.text, given)
    _require_table(names, rows)
    notes = [f"query: {query.strip()}"]
    notes += [f"parameters: {', '.join(f'{name}={value}' for name, value in given.items())}"] * bool(given)
    lines = [json.dumps(row, default=str) for row in rows]
    if not asked.is_ordered:
        order = sorted(range(len(rows)), key=lines.__getitem__)
        rows, lines = [rows[place] for place in order], [lines[place] for place in order]
        notes.append("the query has no ORDER BY: its rows are sorted as text, so that they keep their order")
    digest = hashlib.sha256("\n".join([json.dumps(names), *lines]).encode()).hexdigest()
    is_typed = not source.startswith(_SQLITE)
    columns = {
        name: _column(name, cells, is_typed=is_typed)
        for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }
    table = Table(columns, (len(rows),), sha256=((ROWS, digest),), notes=tuple(notes))
    reading = {"target": target, "types": types, "task": task, "needs_target": needs_target}
    return tables.collected_table(table, name=_name(source), source=source, **reading)


def sqlite_path(source: str) -> Path | None:
    """Returns the file of a source ``sqlite:PATH``; None for any other.

    Args:
        source: As for `jaxresearch.data.load`; SQLAlchemy's ``sqlite:///PATH`` is accepted, too.

    Returns:
        The path.

    Example:
        >>> sqlite_path("sqlite:a/mine.db").name, sqlite_path("sqlite:///mine.db").name, sqlite_path("mine.csv")
        ('mine.db', 'mine.db', None)
    """
    if not source.startswith(_SQLITE):
        return None
    path = source.removeprefix(_SQLITE)
    return Path(path[3:] if path.startswith("///") else path)


def _name(source: str) -> str:
    """Returns a short name: that of the database."""
    path = sqlite_path(source)
    return path.stem if path else re.split(r"[?#]", source)[0].rstrip("/").rsplit("/", 1)[-1]


def _read(source: str, query: str, parameters: Mapping[str, str]) -> tuple[list[str], list[tuple]]:
    """Returns the names of the columns and the rows of a query."""
    try:
        import sqlalchemy.exc
    except ImportError as error:
        raise ValueError(_missing(error)) from error
    engine = _engine(source, sqlalchemy)
    values = {name: _bound(value, source) for name, value in parameters.items()}
    try:
        with _connected(engine, source, sqlalchemy) as connection:
            if engine.dialect.name in _READ_ONLY:
                connection.execute(sqlalchemy.text("SET TRANSACTION READ ONLY"))
            # As a cursor of the server, which PostgreSQL allows for queries alone.
            result = connection.execute(
                sqlalchemy.text(query), values, execution_options={"stream_results": engine.dialect.name != "sqlite"}
            )
            if not result.returns_rows:
                raise ValueError("query must return rows, got a statement that returns none. A run only reads.")
            return [str(name) for name in result.keys()], [tuple(row) for row in result]
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise ValueError(
            f"query must be one that the database carries out, got from {source}: {_reason(error)}. Correct it."
        ) from error
    finally:
        engine.dispose()


def _engine(source: str, sqlalchemy: Any) -> Any:
    """Returns the engine of a database; nothing is opened yet."""
    path = sqlite_path(source)
    if path is not None:
        if not path.is_file():
            raise FileNotFoundError(
                f"data must be an SQLite file that exists, got {source}. {catalogue.path_advice(path)}"
            )
        with open(path, "rb") as file:
            start = file.read(6)
        if start not in (b"", b"SQLite"):
            raise ValueError(f"data must be an SQLite file, got {source}, a file of another format. Correct the path.")
        uri = f"{path.absolute().as_uri()}?mode=ro"
        return sqlalchemy.create_engine(
            "sqlite://", creator=lambda: sqlite3.connect(uri, uri=True), poolclass=sqlalchemy.pool.NullPool
        )
    try:
        url = sqlalchemy.make_url(source)
        url = url.set(drivername=_DRIVERS.get(url.drivername, url.drivername), password=os.environ.get(PASSWORD))
        is_libpq = url.drivername == "postgresql+psycopg"
        arguments = {"connect_timeout": _WAIT} if is_libpq and "connect_timeout" not in url.query else {}
        return sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool, connect_args=arguments)
    except ImportError as error:
        raise ValueError(_missing(error)) from error
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:  # an unknown dialect, or no URL
        raise ValueError(
            "data must be sqlite:PATH or a URL such as postgresql://USER@HOST:PORT/DATABASE, got another form. Correct it."
        ) from error


def _missing(error: ImportError) -> str:
    """Returns the message for a package that is not installed."""
    name = error.name or "psycopg"
    package = "jaxresearch[sql]" if name in ("sqlalchemy", "psycopg") else name
    return f'a database cannot be read without {name}, which is not installed. Run: pip install "{package}"'


def _connected(engine: Any, source: str, sqlalchemy: Any) -> Any:
    """Returns a connection, which rolls back when it is left."""
    try:
        return engine.connect()
    except sqlalchemy.exc.SQLAlchemyError as error:
        url, dialect = engine.url, engine.dialect.name
        if dialect == "sqlite":
            where = ""
        else:
            host, port = url.host or url.query.get("host", "this machine"), url.port or _PORTS.get(dialect, "unknown")
            where = f" (host {host}, port {port})"
        raise ValueError(
            f"data must be a database that accepts a connection, got {source}{where}: {_reason(error)}. Start the server or "
            f"correct the URL; a password is read from {PASSWORD}, or from PGPASSWORD for PostgreSQL."
        ) from error


def _reason(error: Exception) -> str:
    """Returns what the database says, on one line and without a password."""
    lines = [line.strip() for line in str(getattr(error, "orig", None) or error).splitlines() if line.strip()]
    first = next((line for line in lines if not line.endswith(":")), type(error).__name__)
    hint = next(
        (f" ({line.removeprefix('HINT:').strip().rstrip('.')})" for line in lines if line.startswith("HINT:")), ""
    )
    reason = first.rstrip(".") + hint
    for name in (PASSWORD, "PGPASSWORD"):
        if word := os.environ.get(name):
            reason = reason.replace(word, "***")
    return reason


def _bound(value: str, source: str) -> Any:
    """Returns a parameter as it is bound: servers infer its type, SQLite compares numbers with numbers alone."""
    if not source.startswith(_SQLITE):
        return value
    for kind, limit in ((int, _LARGEST), (float, math.inf)):
        try:
            if str(kind(value)) == value and abs(kind(value)) < limit:  # 007 and nan are words
                return kind(value)
        except (ValueError, OverflowError):
            continue
    return value


def _require_table(names: Sequence[str], rows: Sequence[tuple]) -> None:
    """Raises unless a query returned rows of columns with names of their own."""
    if doubled := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ValueError(
            f"query must name each column once, got {doubled[0]!r} twice. Rename one with AS, or list the columns."
        )
    if not rows:
        raise ValueError("query must return rows, got none. Check its conditions and the parameters.")


def _column(name: str, cells: Sequence[Any], *, is_typed: bool) -> Cells | np.ndarray:
    """Returns the cells of a column."""
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {bool}:
        return cells_of(({None: "", True: "true", False: "false"}[cell] for cell in cells), is_typed=True)
    if kinds <= _NUMBERS:
        if not any(map(_is_altered, cells)):
            return np.array([np.nan if cell is None else float(cell) for cell in cells], np.float64)
        return cells_of(("" if cell is None else str(cell) for cell in cells), is_typed=True)
    if kinds <= {datetime.date, datetime.datetime}:
        return np.array([_moment(cell) for cell in cells], "datetime64[us]")
    if kinds <= {str, uuid.UUID} or (kinds <= {str, *_NUMBERS} and not is_typed):
        return cells_of(("" if cell is None else str(cell) for cell in cells), is_typed=is_typed)
    named = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ValueError(
        f"column {name} must be numbers, words, booleans or dates, got {named}. Convert it in the query, or leave it out."
    )


def _is_altered(cell: Any) -> bool:
    """Returns whether a number is a whole one that float64 may alter."""
    if isinstance(cell, decimal.Decimal):
        return cell.is_finite() and abs(cell) >= _EXACT and cell == cell.to_integral_value()
    return isinstance(cell, int) and abs(cell) >= _EXACT


def _moment(cell: Any) -> np.datetime64:
    """Returns a date as ``datetime64``, in UTC if it has a zone."""
    if getattr(cell, "tzinfo", None) is not None:
        cell = cell.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64("NaT" if cell is None else cell, "us")

"""Queries as text: one SELECT, its parameters, and whether it orders its rows."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_READING = ("SELECT", "WITH", "VALUES", "TABLE")
_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<literal> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<parameter> (?<![:\w\\]):\w+ )
    | (?P<word> \w+ )
    | (?P<space> \s+ )
    | (?P<mark> . )
    """,
    re.VERBOSE | re.DOTALL,
)


class Query(NamedTuple):
    """One SELECT.

    Attributes:
        text: Without the semicolon at its end; colons that begin no parameter are escaped, as SQLAlchemy expects them.
        parameters: The names of its parameters, in order.
        is_ordered: Whether it ends in ORDER BY, so that its rows have an order.
    """

    text: str
    parameters: tuple[str, ...]
    is_ordered: bool


def parsed(query: str) -> Query:
    r"""Returns a query after checking that it is a single SELECT; the database itself checks the rest.

    Args:
        query: In the language of the database, with parameters as ``:name``.

    Returns:
        The query.

    Raises:
        ValueError: If it is empty, has several statements, or begins otherwise than a query that reads.

    Example:
        >>> parsed("select age, 'a:b' from patients where year > :year order by id;")
        Query(text="select age, 'a\\:b' from patients where year > :year order by id", parameters=('year',), is_ordered=True)

    References:
        ISO/IEC 9075-2:2023, SQL/Foundation.
    """
    text, words, names, depth, has_ended = "", [], [], 0, False
    for token in _TOKEN.finditer(query):
        kind, part = token.lastgroup, token[0]
        if kind in ("comment", "space"):
            text += " " if kind == "comment" else part  # a comment may hold a colon or a percent sign
            continue
        if has_ended and part != ";":
            raise ValueError(
                f"query must be a single SELECT, got several statements, the next of which begins with {part!r}. Pass one."
            )
        has_ended = part == ";"
        depth += {"(": 1, ")": -1}.get(part, 0)
        if kind == "parameter":
            names.append(part[1:])
        elif kind == "word":
            words.append((part.upper(), depth))
        text += "" if has_ended else part if kind == "parameter" else part.replace(":", r"\:")
    first = words[0][0] if words else ""
    if first not in _READING:
        raise ValueError(
            f"query must be a single SELECT, got {f'one that begins with {first}' if first else 'none'}. A run only reads."
        )
    outside = [word for word, level in words if level <= 0]
    is_ordered = ("ORDER", "BY") in zip(outside, outside[1:], strict=False)
    return Query(text.strip(), tuple(dict.fromkeys(names)), is_ordered)


def require_values(names: Iterable[str], parameters: Mapping[str, str]) -> None:
    """Raises unless each parameter of a query has a value, and each value belongs to one.

    Args:
        names: Of the parameters in the query.
        parameters: Values by name.

    Raises:
        ValueError: If a value is missing or left over.

    Example:
        >>> require_values(("year",), {"yaer": "2020"})
        Traceback (most recent call last):
        ...
        ValueError: parameters must have a value for :year of the query, got none. Did you mean 'year' by 'yaer'?
    """
    names = [*names]
    left = [name for name in parameters if name not in names]
    for name in names:
        if name not in parameters:
            near = difflib.get_close_matches(name, left, n=1)
            advice = f"Did you mean {name!r} by {near[0]!r}?" if near else f"Pass --parameters {name}=VALUE."
            raise ValueError(f"parameters must have a value for :{name} of the query, got none. {advice}")
    if left:
        has = f"its parameters are {', '.join(names)}" if names else "it has no parameters"
        raise ValueError(
            f"parameters must be those of the query, got {left[0]!r}; {has}. Write :{left[0]} in it, or leave it out."
        )


def require_ordered(query: str) -> None:
    """Raises unless a query orders its rows, for a split that relies on their order.

    Args:
        query: As for `parsed`.

    Raises:
        ValueError: If it does not.

    Example:
        >>> require_ordered("select * from patients order by id")
    """
    if not parsed(query).is_ordered:
        raise ValueError(
            "query must order its rows where the last ones are held out, got one without ORDER BY. Add ORDER BY to it."
        )

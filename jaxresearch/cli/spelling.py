"""Values with several parts in one word of the command line: seeds, fractions, kinds of columns."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import tyro


def _read_seeds(words: list[str]) -> int | tuple[int, ...]:
    """Returns a number of seeds, or the seeds of a list: ``3,7,11``; ``7,`` is the single seed 7."""
    text = words[0]
    return tuple(map(int, text.rstrip(",").split(","))) if "," in text else int(text)


def seeds_text(seeds: int | Sequence[int]) -> str:
    """Returns seeds as written on the command line: their number if they are 0, 1, 2, ..., else a list."""
    if isinstance(seeds, int):
        return str(seeds)
    if list(seeds) == list(range(len(seeds))):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def _read_validation(words: list[str]) -> float | str:
    """Returns a fraction, or ``own``."""
    return words[0] if words[0] == "own" else float(words[0])


def _spelled(metavar: str, read: Any, write: Any = str) -> Any:
    """Returns the specification of a type that is read from one word."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [write(value)],
    )


_PAIR = re.compile(r"(.*?)=([^=,]*)(?:,|$)")  # a column's name may contain commas and equals signs, a kind does not


def _read_types(words: list[str]) -> tuple[tuple[str, str], ...]:
    """Returns pairs of column and kind: ``age=number,zip=category``."""
    pairs, rest = [], words[0].strip(",")
    while rest:
        if (pair := _PAIR.match(rest)) is None:
            raise ValueError(f"{rest!r} is no COLUMN=KIND")
        pairs.append((pair[1], pair[2]))
        rest = rest[pair.end() :]
    return tuple(pairs)


def _read_parameters(words: list[str]) -> tuple[tuple[str, str], ...]:
    """Returns pairs of parameter and value: ``year=2020,clinic=north``; a value may contain commas and equals signs."""
    pairs = [tuple(word.split("=", 1)) for word in re.split(r",(?=\w+=)", words[0]) if word]
    if wrong := next((pair for pair in pairs if len(pair) != 2 or not re.fullmatch(r"\w+", pair[0])), None):
        raise ValueError(f"expected NAME=VALUE,..., got {wrong[0]!r}")
    return tuple((name, value) for name, value in pairs)


def _read_mesh(words: list[str]) -> tuple[tuple[str, int], ...]:
    """Returns pairs of axis and size: ``data=2,fsdp=-1``."""
    pairs = [tuple(word.split("=", 1)) for word in words[0].split(",") if word]
    if wrong := next((pair for pair in pairs if len(pair) != 2 or not pair[1].lstrip("-").isdecimal()), None):
        raise ValueError(f"expected AXIS=N,..., got {'='.join(wrong)!r}")
    return tuple((name, int(size)) for name, size in pairs)


def _read_private(words: list[str]) -> tuple[tuple[str, str], ...]:
    """Returns pairs of parameter and value: ``epsilon=3,delta=1e-5,clip=1``; no pair for ``none``."""
    if words[0] == "none":
        return ()
    pairs = [tuple(word.split("=", 1)) for word in words[0].split(",") if word]
    if wrong := next((pair for pair in pairs if len(pair) != 2), None):
        raise ValueError(f"expected NAME=VALUE,..., got {wrong[0]!r}")
    return tuple((name, value) for name, value in pairs)


def pairs_text(pairs: Sequence[Sequence[Any]]) -> str:
    """Returns pairs of a name and a value as written on the command line."""
    return ",".join(f"{name}={value}" for name, value in pairs)


def private_text(pairs: Sequence[Sequence[Any]]) -> str:
    """Returns the parameters of a mechanism as written on the command line; ``none`` without any."""
    return pairs_text(pairs) or "none"


_UNITS = {
    "": 1,
    "B": 1,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "TB": 1e12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def _read_size(words: list[str]) -> float:
    """Returns bytes: ``95GiB``, ``80GB``."""
    found = re.fullmatch(r"(\d+\.?\d*) ?([kKMGT]?i?B?)", words[0])
    if found is None or found[2] not in _UNITS or not float(found[1]):
        raise ValueError(f"expected a size such as 95GiB or 80GB, got {words[0]!r}")
    return float(found[1]) * _UNITS[found[2]]


Size = Annotated[float | None, _spelled("NGiB|NGB", _read_size)]
Private = Annotated[tuple[tuple[str, str], ...], _spelled("epsilon=E,delta=D,clip=C|none", _read_private, private_text)]
Mesh = Annotated[tuple[tuple[str, int], ...], _spelled("AXIS=N,...", _read_mesh, pairs_text)]
Types = Annotated[tuple[tuple[str, str], ...], _spelled("COLUMN=KIND,...", _read_types, pairs_text)]
Parameters = Annotated[tuple[tuple[str, str], ...], _spelled("NAME=VALUE,...", _read_parameters, pairs_text)]
Seeds = Annotated[tuple[int, ...], _spelled("N|A,B,C", _read_seeds, seeds_text)]
Validation = Annotated[float | Literal["own"] | None, _spelled("FRACTION|own", _read_validation)]

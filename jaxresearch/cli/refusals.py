"""Why the parser refused a command line: one line with the option, what it takes, what came, and what to write instead."""

import difflib
import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

from jaxresearch.records.commands import value_text

Fields = dict[str, tuple[Any, Any, str]]  # type, default and help by name

_RULES = {int: "a whole number", float: "a number", str: "followed by a value", Path: "followed by a path"}
_PLURALS = {int: "whole numbers", float: "numbers"}
_EXAMPLES = {int: "10", float: "0.1"}
_EXAMPLES_OF_SPELLINGS = {
    "AXIS=N,...": "data=2",
    "COLUMN=KIND,...": "age=number",
    "FRACTION|own": "0.1",
    "N|A,B,C": "5",
    "NGiB|NGB": "80GB",
    "epsilon=E,delta=D,clip=C|none": "epsilon=3,delta=1e-5,clip=1",
}


def explained(box: str, words: list[str], fields: Fields) -> str:
    r"""Returns the message for words that the parser refused.

    Args:
        box: The parser's framed message.
        words: The command line, as passed to the parser.
        fields: The options and hyperparameters.

    Example:
        >>> fields = {"epochs": (int, 20, "passes"), "hidden": (tuple[int, ...], (64, 32), "widths")}
        >>> explained("|\nError parsing --epochs: invalid literal", ["--epochs", "2.5"], fields)
        '--epochs must be a whole number, got 2.5. Write, for instance: --epochs 20'
        >>> explained("|\nError parsing --hidden: no valid parse", ["--hidden", "3.5", "2"], fields)
        '--hidden must be whole numbers with x between them, got 3.5x2. Write, for instance: --hidden 64x32'
    """
    sentence = _first_sentence(box)
    if stray := re.match(r"Unrecognized options: (\S+)", sentence):
        return _stray(stray[1], words)
    named = (word for word in re.findall(r"--[a-z0-9-]+", sentence))
    option = next((word for word in named if word[2:].replace("-", "_") in fields), None)
    if option is None:
        return f"{sentence}. See --help."
    kind, default, _ = fields[option[2:].replace("-", "_")]
    given = _joint(kind).join(_given(option, words)) or "nothing"
    near = difflib.get_close_matches(given, _choices(kind), n=1)
    advice = f"Did you mean {near[0]!r}?" if near else f"Write, for instance: {option} {_example(kind, default)}"
    return f"{option} must be {_rule(kind)}, got {given}. {advice}"


def _stray(word: str, words: list[str]) -> str:
    """Returns the message for a word that is the value of no option."""
    place = next(place for place, one in enumerate(words) if one == word or one.endswith(f"={word}"))
    option = words[place].removesuffix(f"={word}") if words[place] != word else words[place - 1] if place else ""
    if option.startswith("--"):
        return f"{option} must stand without a value, got {option} {word}. Write: {option}"
    return f"every value must follow its option, got {word!r} without one. See --help."


def _given(option: str, words: list[str]) -> list[str]:
    """Returns the values that follow an option, at its last place."""
    values: list[str] = []
    is_own = False
    for word in words:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            is_own = name.replace("_", "-") == option
            values = ([value] if equals else []) if is_own else values
        elif is_own:
            values.append(word)
    return values


def _rule(kind: Any) -> str:
    """Returns what an option of a type takes."""
    if (spelling := _spelling(kind)) is not None:
        return spelling.metavar.replace("|", " or ")
    kind, is_optional = _plain(kind)
    origin, entries = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        *first, last = map(str, (*entries, None) if is_optional else entries)
        return f"{', '.join(first)} or {last}" if first else last
    if origin is tuple and typing.get_origin(entries[0]) is Literal:
        rule = f"one or more of {', '.join(typing.get_args(entries[0]))}"
    elif origin is tuple:
        n = "" if entries[-1] is ... else f"{len(entries)} "
        what = _PLURALS.get(float if float in entries else entries[0], "values")
        rule = f"{n}{what}{' with x between them' if _joint(kind) == 'x' else ''}"
    else:
        rule = _RULES.get(kind, "followed by a value")
    return f"{rule} or None" if is_optional and not rule.startswith("followed") else rule


def _example(kind: Any, default: Any) -> str:
    """Returns a value to write: the default, or one of the type."""
    if (spelling := _spelling(kind)) is not None:
        example = _EXAMPLES_OF_SPELLINGS[spelling.metavar]
        return example if default in (None, ()) else " ".join(spelling.str_from_instance(default))
    kind, _ = _plain(kind)
    if default not in (None, ()):
        return value_text(default)
    entry = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    choices = typing.get_args(entry)
    return str(choices[0]) if choices else _EXAMPLES.get(entry, "VALUE")


def _spelling(kind: Any) -> Any:
    """Returns the specification of a type of `jaxresearch.cli.spelling`; None for any other."""
    return next((one for one in getattr(kind, "__metadata__", ()) if hasattr(one, "str_from_instance")), None)


def _plain(kind: Any) -> tuple[Any, bool]:
    """Returns a type without annotation and None, and whether it allows None."""
    kind = getattr(kind, "__origin__", kind) if typing.get_origin(kind) is Annotated else kind
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind, False
    return next(one for one in typing.get_args(kind) if one is not type(None)), True


def _choices(kind: Any) -> list[str]:
    """Returns what a type of choices allows; for any other type, nothing."""
    kind, _ = _plain(kind)
    entries = typing.get_args(kind) if typing.get_origin(kind) is tuple else (kind,)
    return [str(one) for entry in entries if typing.get_origin(entry) is Literal for one in typing.get_args(entry)]


def _joint(kind: Any) -> str:
    """Returns what is written between the entries of a tuple."""
    kind, _ = _plain(kind)
    entries = typing.get_args(kind) if typing.get_origin(kind) is tuple else ()
    return "x" if entries and entries[0] in _EXAMPLES else " "


def _first_sentence(box: str) -> str:
    """Returns the parser's framed message on one line, without the frame and the help below its rule."""
    lines = [line.strip(" │╭╮╰╯") for line in box.splitlines()]
    message = []
    for line in lines[1:]:
        if line.startswith("─"):
            break
        message.append(line)
    return " ".join(" ".join(message).split()).rstrip(".")

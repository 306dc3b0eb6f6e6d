"""Hyperparameters on the command line: one value in a run, ranges and lists of values in a sweep."""

import math
import re
import types
import typing
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxresearch.cli.errors import UsageError
from jaxresearch.records.commands import flag, value_text

_NUMBERS = (int, float)
_NUMBER = r"((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)"
# A range with another separator than a colon: 1e-4-1e-1, 1e-4..1e-1, 1e-4 to 1e-1.
_MISSPELLED_RANGE = re.compile(rf"{_NUMBER} ?(?:-|\.\.+|;|to) ?{_NUMBER}(?: ?(?:-|;) ?.*)?", re.IGNORECASE)


def spelled(
    kinds: dict[str, Any], words: list[str], *, prog: str, read: Callable[[str, list[str]], Any]
) -> tuple[list[str], dict[str, list[Any]]]:
    """Returns the words for the parser, and the values of each field that a sweep varies.

    ===============================  ==================================================
    written                          means
    ===============================  ==================================================
    ``--use-bias true``              ``--use-bias``; false is ``--no-use-bias``
    ``--hidden 32x64``, ``32 64``    one setting with two entries
    ``--hidden 32,64``               the same in a run; in a sweep, two settings
    ``--rate 1e-4:1e-1:log:8``       eight values, only in a sweep
    ===============================  ==================================================

    Args:
        kinds: The type of each hyperparameter.
        words: The command line after the name of the experiment.
        prog: The command so far, such as ``jaxresearch sweep mnist``.
        read: Returns the value of a field from its words.

    Raises:
        UsageError: If several values are written where only one is allowed, or a range or list is malformed.
    """
    is_sweep = prog.split()[1] == "sweep"
    axes: dict[str, list[Any]] = {}
    rest, pending = [], [*words]
    while pending:
        written, equals, text = (word := pending.pop(0)).partition("=")
        name = written.removeprefix("--").replace("-", "_")
        if not written.startswith("--") or name not in kinds:
            rest.append(word)
            continue
        values = [text] if equals else []
        while pending and not pending[0].startswith(("--", "-h")):
            values.append(pending.pop(0))
        _refuse_brackets(name, " ".join(values), kinds[name])
        _refuse_gaps(name, values, kinds[name])
        if is_sweep and _is_of_numbers(kinds[name]) and _MISSPELLED_RANGE.fullmatch(joint := " ".join(values)):
            _range(name, joint, kinds[name])  # raises
        if is_sweep and len(values) == 1 and ":" in values[0]:
            axes[name] = _range(name, values[0], kinds[name])
        elif is_sweep and len(values) == 1 and "," in values[0]:
            axes[name] = _list(name, values[0], kinds[name], read)
        else:
            rest += _one(name, values, kinds[name], prog)
    return rest, axes


def _refuse_brackets(name: str, text: str, kind: Any) -> None:
    """Raises if the numbers of a tuple are written as in Python."""
    is_of_numbers = typing.get_origin(kind) is tuple and typing.get_args(kind)[0] in _NUMBERS
    if is_of_numbers and re.search(r"[\[\]()]", text):
        plain = "x".join(re.findall(r"[^\s\[\](),x]+", text))
        what = f"{flag(name)} {plain}" if plain else f"{flag(name)} with nothing after it"
        raise UsageError(f"{name} must be written without brackets, got {flag(name)} {text}. Write: {what}")


def _refuse_gaps(name: str, values: list[str], kind: Any) -> None:
    """Raises if an entry is missing between the separators of a tuple of numbers, as in ``32,x``; a comma may come last."""
    is_of_numbers = typing.get_origin(kind) is tuple and typing.get_args(kind)[0] in _NUMBERS
    if is_of_numbers and any(re.search("^[x,]|[x,][x,]|x$", value) for value in values):
        written = f"{flag(name)} {' '.join(values)}"
        raise UsageError(
            f"{name} must have a number on each side of x or a comma, got {written}. Write, for instance: {flag(name)} 64x32"
        )


def words_of_axes(axes: dict[str, list[Any]]) -> list[str]:
    """Returns the words from which `spelled` reads these axes."""
    words = []
    for name, values in axes.items():
        texts = [*map(value_text, values)]
        words += [flag(name), f"{texts[0]}:{texts[0]}:1" if len(texts) == 1 else ",".join(texts)]
    return words


def _one(name: str, values: list[str], kind: Any, prog: str) -> list[str]:
    """Returns the words of the parser that set a field to a single value."""
    option, written = flag(name), f"{flag(name)} {' '.join(values)}"
    if kind is bool and values:
        if [value.lower() for value in values] not in (["true"], ["false"]):
            raise UsageError(f"{name} must be true or false, got {written}. Write {option} or {flag(f'no_{name}')}.")
        return [option if values[0].lower() == "true" else flag(f"no_{name}")]
    is_tuple, is_sweep = typing.get_origin(kind) is tuple, prog.split()[1] == "sweep"
    if is_tuple and is_sweep and len(values) > 1 and any("," in value for value in values):
        rule = "a list of settings must be one word, with x between the entries of a setting"
        raise UsageError(f"{rule}, got {written}. Write, for instance: {option} {'x'.join(values)}")
    if is_tuple and not any(":" in value for value in values):
        joint = "[x,]" if typing.get_args(kind)[0] in _NUMBERS else ","
        return [option, *(entry for value in values for entry in re.split(joint, value) if entry)]
    if len(values) > 1 or (values and (is_tuple or _is_of_numbers_or_choices(kind)) and re.search("[:,]", values[0])):
        several = f"{option} {','.join(entry for value in values for entry in value.split(',') if entry)}"
        if is_sweep:
            raise UsageError(f"a list of values must be one word, got {written}. Write: {several}")
        if ":" in values[0]:
            _range(name, values[0], kind)  # raises first if it is malformed
        command, sweep = prog.split()[1], " ".join(["jaxresearch sweep", *(prog.split()[2:] or ["EXPERIMENT"])])
        raise UsageError(
            f"{name} must be one value in a {command}, got {written}. To compare values: {sweep} {several}"
        )
    return [option, *values]


def _is_of_numbers_or_choices(kind: Any) -> bool:
    """Returns whether values of a type contain neither comma nor colon."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return all(part is type(None) or _is_of_numbers_or_choices(part) for part in typing.get_args(kind))
    return kind in _NUMBERS or typing.get_origin(kind) is typing.Literal


def _is_of_numbers(kind: Any) -> bool:
    """Returns whether a type is a number, or an optional one."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return all(part is type(None) or part in _NUMBERS for part in typing.get_args(kind))
    return kind in _NUMBERS


def _range(name: str, text: str, kind: Any) -> list[float]:
    """Returns the values of ``low:high:n`` or ``low:high:log:n``, to six digits."""
    written = f"{flag(name)} {text}"
    if kind is not float and not (_is_of_numbers_or_choices(kind) and float in typing.get_args(kind)):
        raise UsageError(f"a range must be of a float hyperparameter, got {written}. Write a list: {flag(name)} A,B")
    try:
        low_text, high_text, *middle, n_text = text.split(":")
        low, high, n = float(low_text), float(high_text), int(n_text)
        if middle not in ([], ["log"]) or not math.isfinite(low) or not math.isfinite(high):
            raise ValueError
    except ValueError:  # too few parts, or one is not a number
        found = re.match(rf"{_NUMBER}:{_NUMBER}(?=:|$)", text) or _MISSPELLED_RANGE.fullmatch(text)
        example = f"{flag(name)} {':'.join(found.group(1, 2)) if found else '1e-4:1e-1'}:log:8"
        raise UsageError(
            f"a range must be low:high:n or low:high:log:n, got {written}. Write, for instance: {example}"
        ) from None
    if n < 1:
        raise UsageError(f"a range must have at least 1 value, got {n} in {written}. Write 8.")
    if low > high or (low == high and n > 1):
        raise UsageError(f"a range must increase, got {written}. Write the smaller value first.")
    if middle and low <= 0:
        raise UsageError(f"a log range must start above 0, got {written}. Leave out log, or start above 0.")
    return [float(f"{value:.6g}") for value in (np.geomspace if middle else np.linspace)(low, high, n)]


def _list(name: str, text: str, kind: Any, read: Callable[[str, list[str]], Any]) -> list[Any]:
    """Returns the values of a list, each checked as a separate option."""
    entries = text.split(",")
    if "" in entries or len(set(entries)) < len(entries):
        raise UsageError(f"a list must have distinct values, got {flag(name)} {text}. Write each once.")
    return [read(name, _one(name, [entry], kind, "jaxresearch sweep")) for entry in entries]

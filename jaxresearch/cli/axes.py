"""What a sweep goes over: ``--learning-rate 1e-4:1e-1:log:16 --batch-size 32,64`` as lists of values by field."""

import math
import typing
from typing import Any

import numpy as np

from jaxresearch.cli.options import Options, UsageError, parse
from jaxresearch.experiment import Experiment
from jaxresearch.reports.wording import flag


def parse_sweep(experiment: Experiment, words: list[str], *, prog: str) -> tuple[Options, dict[str, list[Any]]]:
    """Returns the options, and the values of each field that is swept.

    A value with colons is a range, ``low:high:n`` or ``low:high:log:n``, of a float field. A value with commas is a list;
    the entries of a tuple are joined by x in it (``--hidden 64,128x64``).

    Args:
        experiment: Gives the fields and their types.
        words: The command line after the name of the experiment.
        prog: What the help calls the command.

    Returns:
        The options with the single values, and the lists by name in the order given.

    Raises:
        UsageError: If a range is empty, inverted or of a field that is no float, nothing is swept, or as `parse`.
    """
    kinds = typing.get_type_hints(type(experiment.hyperparameters))
    axes: dict[str, list[Any]] = {}
    rest: list[str] = []
    pending = list(words)
    while pending:
        written, equals, value = (word := pending.pop(0)).partition("=")
        name = written.removeprefix("--").replace("-", "_")
        if not written.startswith("--") or name not in kinds:
            rest.append(word)
            continue
        if not equals and pending and not pending[0].startswith("--"):
            value = pending.pop(0)
        if ":" in value:
            axes[name] = _range(name, value, kinds[name])
        elif "," in value:
            axes[name] = _list(experiment, name, value, kinds[name], prog)
        else:
            rest += [written, value] if value else [word]
    options = parse(experiment, rest, prog=prog, command="sweep")
    if not axes:
        raise UsageError("a sweep must go over a field at least; got none. Write: --learning-rate 1e-4:1e-1:log:8")
    return options, axes


def words_of_axes(axes: dict[str, list[Any]]) -> list[str]:
    """Returns the command line that these axes come from."""
    words = []
    for name, values in axes.items():
        texts = ["x".join(map(str, value)) if isinstance(value, list) else str(value) for value in values]
        words += [flag(name), f"{texts[0]}:{texts[0]}:1" if len(texts) == 1 else ",".join(texts)]
    return words


def _range(name: str, text: str, kind: Any) -> list[float]:
    """Returns the values of ``low:high:n`` or ``low:high:log:n``, to six digits."""
    written = flag(name)
    if kind is not float:
        raise UsageError(
            f"a range must be of a float field; {name} is not one (got {written} {text}). Give a list: {written} A,B"
        )
    try:
        low_text, high_text, *middle, n_text = text.split(":")
        low, high, n = float(low_text), float(high_text), int(n_text)
    except ValueError:  # too few parts, or one that is no number
        raise UsageError(f"a range must be low:high:n or low:high:log:n; got {written} {text}. Correct it.") from None
    if middle not in ([], ["log"]) or not math.isfinite(low) or not math.isfinite(high):
        raise UsageError(f"a range must be low:high:n or low:high:log:n; got {written} {text}. Correct it.")
    if n < 1:
        raise UsageError(f"a range must hold 1 value or more; got {n} in {written} {text}. Ask for 8.")
    if low > high or (low == high and n > 1):
        raise UsageError(f"a range must go upwards; got {written} {text}. Write the smaller value first.")
    if middle and low <= 0:
        raise UsageError(f"a log range must begin above 0; got {written} {text}. Leave out log, or begin above 0.")
    return [float(f"{value:.6g}") for value in (np.geomspace if middle else np.linspace)(low, high, n)]


def _list(experiment: Experiment, name: str, text: str, kind: Any, prog: str) -> list[Any]:
    """Returns the values of a list, each checked as an option of its own."""
    written = flag(name)
    entries = text.split(",")
    if "" in entries or len(set(entries)) < len(entries):
        raise UsageError(f"a list must hold values that differ; got {written} {text}. Write each once.")
    values = []
    for entry in entries:
        words = entry.split("x") if typing.get_origin(kind) is tuple else [entry]
        values.append(getattr(parse(experiment, [written, *words], prog=prog, command="sweep").hyperparameters, name))
    return values

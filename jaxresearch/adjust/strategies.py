"""Search strategies: each is a function from the history of a study to its next proposal.

``adjust(history) -> Proposal``, or None when nothing is left to try. A history holds settings and their scores on selection
data; strategies never see the data, least of all the test part. Since a strategy depends only on the history, an interrupted
study resumes exactly.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxresearch.adjust.history import Adjust, History, Proposal

Range = tuple[int | float, int | float] | list[Any]


def combinations(hyperparameters: Any, values: Mapping[str, Sequence[Any]]) -> tuple[Any, ...]:
    """Returns hyperparameters for every combination of the values; the last field varies fastest.

    Args:
        hyperparameters: Provides the other fields.
        values: The values of each field, by name.

    Returns:
        One setting per combination.

    Example:
        >>> from jaxresearch.hyperparameters import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        ...     momentum: float = swept(0.9, "decay rate")
        >>> [(s.learning_rate, s.momentum) for s in combinations(Rates(), {"learning_rate": [0.2], "momentum": [0.0, 0.5]})]
        [(0.2, 0.0), (0.2, 0.5)]
    """
    chosen = (dict(zip(values, entries, strict=True)) for entries in itertools.product(*values.values()))
    return tuple(replaced(hyperparameters, fields) for fields in chosen)


def replaced(hyperparameters: Any, values: Mapping[str, Any]) -> Any:
    """Returns the hyperparameters with new values for some fields.

    Args:
        hyperparameters: Provides the other fields.
        values: New values, by field name.

    Returns:
        New hyperparameters.

    Raises:
        ValueError: If a name is not a field.

    Example:
        >>> from jaxresearch.hyperparameters import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> replaced(Rates(), {"rate": 0.2})
        Traceback (most recent call last):
        ...
        ValueError: adjust must name hyperparameters of the experiment; got rate. It has: learning_rate.
    """
    names = [field.name for field in dataclasses.fields(hyperparameters)]
    unknown = ", ".join(values.keys() - names)
    if unknown:
        raise ValueError(
            f"adjust must name hyperparameters of the experiment; got {unknown}. It has: {', '.join(names)}."
        )
    return dataclasses.replace(
        hyperparameters, **{name: _typed(value, getattr(hyperparameters, name)) for name, value in values.items()}
    )


def grid(**values: Sequence[Any]) -> Adjust:
    """Returns the strategy that tries every combination once, all in one round after the first.

    Args:
        **values: The values of each field, by name; other fields keep their first value.

    Returns:
        A strategy.

    Raises:
        ValueError: If no field is named, or one has no values.

    Example:
        >>> from jaxresearch.hyperparameters import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> from jaxresearch.adjust import Round, Trial
        >>> baseline = Round("baseline", (Trial(Rates(), {}, False),), (0.5,))
        >>> [setting.learning_rate for setting in grid(learning_rate=[0.2, 0.4])((baseline,)).settings]
        [0.2, 0.4]
    """
    if not values or not all(len(entries) for entries in values.values()):
        raise ValueError(f"values must name at least one field and values for each; got {values}. Add some.")

    def adjust(history: History) -> Proposal | None:
        if history[1:]:
            return None
        baseline = history[0].trials[0].hyperparameters
        return Proposal(combinations(baseline, values), f"a grid over {' and '.join(values)}")

    return adjust


def random(*, n: int, seed: int = 0, **ranges: Range) -> Adjust:
    """Returns the strategy that draws ``n`` random settings per round, without end.

    Args:
        n: Settings per round, 1 or more.
        seed: Of the draws.
        **ranges: For each field, ``(low, high)`` for log-uniform draws (integers for an integer field), or a list of
            values to draw from uniformly.

    Returns:
        A strategy.

    Raises:
        ValueError: If ``n`` is not positive, or a range is invalid.

    Example:
        >>> from jaxresearch.hyperparameters import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> from jaxresearch.adjust import Round, Trial
        >>> baseline = Round("baseline", (Trial(Rates(), {}, False),), (0.5,))
        >>> proposal = random(n=3, learning_rate=(1e-3, 1e-1))((baseline,))
        >>> all(1e-3 <= setting.learning_rate <= 1e-1 for setting in proposal.settings)
        True
    """
    check_ranges(n, ranges)

    def adjust(history: History) -> Proposal:
        generator = np.random.default_rng((seed, len(history)))
        baseline = history[0].trials[0].hyperparameters
        settings = tuple(_draw(generator, baseline, ranges) for _ in range(n))
        return Proposal(settings, f"random draws of {' and '.join(ranges)}")

    return adjust


def halving(*, n: int, eta: int = 3, seed: int = 0, **ranges: Range) -> Adjust:
    """Returns successive halving: many settings for few epochs, then the best of them for more, up to the full epochs.

    Args:
        n: Settings in the first rung, drawn as in `random`.
        eta: Each rung keeps the best ``1 / eta`` of the settings and trains them for ``eta`` times the epochs.
        seed: Of the draws.
        **ranges: As in `random`.

    Returns:
        A strategy for experiments with a static field ``epochs``; the last rung has the epochs of the first round.

    Raises:
        ValueError: If ``n`` is not positive, ``eta`` is below 2, or a range is invalid.

    Example:
        >>> from jaxresearch.hyperparameters import hyperparameters, static, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        ...     epochs: int = static(9, "passes")
        >>> from jaxresearch.adjust import Round, Trial
        >>> baseline = Round("baseline", (Trial(Rates(), {}, False),), (0.5,))
        >>> first = halving(n=9, learning_rate=(1e-3, 1e-1))((baseline,))
        >>> len(first.settings), {setting.epochs for setting in first.settings}
        (9, {1})

    References:
        Jamieson and Talwalkar (2016), Non-stochastic best arm identification and hyperparameter optimization, AISTATS,
        figure 1. https://arxiv.org/abs/1502.07943
    """
    check_ranges(n, ranges)
    if eta < 2:
        raise ValueError(f"eta must be 2 or more; got {eta}. Pass 3 to keep a third.")

    def adjust(history: History) -> Proposal | None:
        baseline = history[0].trials[0].hyperparameters
        rungs = [baseline.epochs]
        while rungs[0] > 1:
            rungs.insert(0, rungs[0] // eta or 1)
        rung = len(history) - 1
        if rung >= len(rungs):
            return None
        if rung == 0:
            generator = np.random.default_rng(seed)
            short = dataclasses.replace(baseline, epochs=rungs[0])
            drawn = tuple(_draw(generator, short, ranges) for _ in range(n))
            return Proposal(drawn, f"random draws of {' and '.join(ranges)}, trained for {_epochs(rungs[0])}")
        last = history[-1]
        order = np.argsort(last.scores, kind="stable")[::-1][: max(1, len(last.trials) // eta)]
        kept = [last.trials[place].hyperparameters for place in order if math.isfinite(last.scores[place])]
        settings = tuple(dataclasses.replace(setting, epochs=rungs[rung]) for setting in kept)
        return Proposal(settings, f"the best of these, trained for {_epochs(rungs[rung])}") if kept else None

    return adjust


def _epochs(n: int) -> str:
    """Returns a number of epochs as text."""
    return f"{n} epoch{'s' if n > 1 else ''}"


def as_field(value: int | float, default: Any, low: int | float, high: int | float) -> int | float:
    """Returns a drawn number rounded for a field: to an integer if the field is one, else to six digits.

    Args:
        value: The draw.
        default: The field's default value.
        low: Lower end of the range; the result is clipped to it.
        high: Upper end of the range.

    Returns:
        The value of the field.

    Example:
        >>> as_field(0.12345678, 0.1, 0.01, 1.0), as_field(11.7, 32, 8, 64)
        (0.123457, 12)
    """
    number = round(value) if isinstance(default, int) else float(f"{value:.6g}")
    return min(max(number, low), high)


def _draw(generator: np.random.Generator, baseline: Any, ranges: dict[str, Any]) -> Any:
    """Returns the baseline with a drawn value for each field in the ranges."""
    drawn = {}
    for name, values in ranges.items():
        if isinstance(values, tuple):
            value = math.exp(generator.uniform(math.log(values[0]), math.log(values[1])))
            drawn[name] = as_field(value, getattr(baseline, name, None), *values)
        else:
            drawn[name] = values[generator.integers(len(values))]
    return replaced(baseline, drawn)


def check_ranges(n: int, ranges: dict[str, Any]) -> None:
    """Raises an error for the first invalid range.

    Args:
        n: Settings per round.
        ranges: As in `random`.

    Raises:
        ValueError: If ``n`` is not positive, or a range is invalid.

    Example:
        >>> check_ranges(2, {"learning_rate": (1e-1, 1e-3)})
        Traceback (most recent call last):
        ...
        ValueError: the range of learning_rate must be (low, high) with 0 < low < high; got (0.1, 0.001). Or pass a list.
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more; got {n}. Pass the number of settings per round.")
    if not ranges:
        raise ValueError("ranges must name at least one field; got none. Write: learning_rate=(1e-4, 1e-1)")
    for name, values in ranges.items():
        if isinstance(values, tuple) and not (len(values) == 2 and 0 < values[0] < values[1]):
            raise ValueError(
                f"the range of {name} must be (low, high) with 0 < low < high; got {values}. Or pass a list."
            )
        if not len(values):
            raise ValueError(f"the list of {name} must hold values, got none. Add some.")


def _typed(value: Any, default: Any) -> Any:
    """Returns an integer as a float if the default is a float, entry by entry, to avoid compiling again."""
    if isinstance(value, tuple):
        return tuple(_typed(entry, default[0]) for entry in value) if isinstance(default, tuple) and default else value
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return float(value) if isinstance(default, float) and is_whole else value

"""Strategies that adjust: each is a function from the history of a study to what to try next.

``adjust(history) -> Proposal``, or None where nothing is left to try. A history holds settings and what they scored on
validation data: no strategy can reach the data, the test part least of all. As it is a function of the history alone, a
study that was interrupted goes on as if it had not been.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax


class Trial(NamedTuple):
    """A setting that was tried: its hyperparameters, its metrics with an axis of seeds, whether a seed diverged.

    ``gradient`` is of the structure of the hyperparameters, each leaf with the axis of seeds; None unless asked for.
    ``digest`` is that of all that the trial came from (`jaxresearch.provenance.digests`).
    """

    hyperparameters: Any
    metrics: dict[str, np.ndarray]
    diverged: bool
    gradient: Any = None
    digest: str = ""


class Round(NamedTuple):
    """What was tried at once and why; ``scores``, one a trial, are the better the higher, -inf where it diverged.

    ``differentiate`` and ``replayable`` are those of the proposal that it came from; ``seconds`` is what it took.
    """

    why: str
    trials: tuple[Trial, ...]
    scores: tuple[float, ...]
    differentiate: str | None = None
    replayable: bool = True
    seconds: float = 0.0

    @property
    def best(self) -> Trial:
        """The trial of the highest score."""
        return self.trials[int(np.argmax(self.scores))]


class Proposal(NamedTuple):
    """What to try next, and why in a sentence; ``differentiate`` names a metric whose hypergradient is wanted with it.

    It is ``replayable`` where the history alone gives it; what others have put into a shared storage is no part of that.
    """

    settings: tuple[Any, ...]
    why: str
    differentiate: str | None = None
    replayable: bool = True


History = tuple[Round, ...]
Adjust = Callable[[History], Proposal | None]
Range = tuple[int | float, int | float] | list[Any]


def combinations(hyperparameters: Any, values: Mapping[str, Sequence[Any]]) -> tuple[Any, ...]:
    """Returns hyperparameters for every combination of the values; the last field varies fastest.

    Args:
        hyperparameters: Gives the fields that are not named.
        values: The values of each field, by its name.

    Returns:
        One setting a combination.

    Example:
        >>> from jaxresearch.experiment import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        ...     momentum: float = swept(0.9, "share kept")
        >>> [(s.learning_rate, s.momentum) for s in combinations(Rates(), {"learning_rate": [0.2], "momentum": [0.0, 0.5]})]
        [(0.2, 0.0), (0.2, 0.5)]

    References:
        Bergstra and Bengio (2012), as in `grid`, section 2.
    """
    chosen = (dict(zip(values, entries, strict=True)) for entries in itertools.product(*values.values()))
    return tuple(replaced(hyperparameters, fields) for fields in chosen)


def replaced(hyperparameters: Any, values: Mapping[str, Any]) -> Any:
    """Returns the hyperparameters with other values for some fields.

    Args:
        hyperparameters: Gives the other fields.
        values: By the name of the field.

    Returns:
        New hyperparameters.

    Raises:
        ValueError: If there is no field of a name.

    Example:
        >>> from jaxresearch.experiment import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> replaced(Rates(), {"rate": 0.2})
        Traceback (most recent call last):
        ...
        ValueError: adjust must be of the experiment's hyperparameters; got rate. There are: learning_rate.

    References:
        Python documentation, ``dataclasses.replace``. https://docs.python.org/3/library/dataclasses.html
    """
    names = [field.name for field in dataclasses.fields(hyperparameters)]
    unknown = ", ".join(values.keys() - names)
    if unknown:
        raise ValueError(
            f"adjust must be of the experiment's hyperparameters; got {unknown}. There are: {', '.join(names)}."
        )
    return dataclasses.replace(
        hyperparameters, **{name: _typed(value, getattr(hyperparameters, name)) for name, value in values.items()}
    )


def grid(**values: Sequence[Any]) -> Adjust:
    """Returns the strategy that tries every combination once, in the second round, and then has nothing left.

    Args:
        **values: The values of each field, by its name; the fields not named stay as in the first round.

    Returns:
        A strategy.

    Raises:
        ValueError: If no field is named, or one has no values.

    Example:
        >>> from jaxresearch.experiment import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> plain = Round("plain", (Trial(Rates(), {}, False),), (0.5,))
        >>> [setting.learning_rate for setting in grid(learning_rate=[0.2, 0.4])((plain,)).settings]
        [0.2, 0.4]

    References:
        Bergstra and Bengio (2012), Random search for hyper-parameter optimization, JMLR 13.
        https://jmlr.org/papers/v13/bergstra12a.html
    """
    if not values or not all(len(entries) for entries in values.values()):
        raise ValueError(f"values must name a field at least and hold values for each; got {values}. Add some.")

    def adjust(history: History) -> Proposal | None:
        if history[1:]:
            return None
        plain = history[0].trials[0].hyperparameters
        return Proposal(combinations(plain, values), f"a grid over {' and '.join(values)}")

    return adjust


def random(*, n: int, seed: int = 0, **ranges: Range) -> Adjust:
    """Returns the strategy that draws settings at random, ``n`` a round, without end.

    Args:
        n: Settings a round, 1 or more.
        seed: Of the draws.
        **ranges: For each field ``(low, high)``, drawn uniformly in the logarithm (whole numbers for a whole field), or a
            list, drawn uniformly from it.

    Returns:
        A strategy.

    Raises:
        ValueError: If ``n`` is not positive, or a range is none.

    Example:
        >>> from jaxresearch.experiment import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> plain = Round("plain", (Trial(Rates(), {}, False),), (0.5,))
        >>> proposal = random(n=3, learning_rate=(1e-3, 1e-1))((plain,))
        >>> all(1e-3 <= setting.learning_rate <= 1e-1 for setting in proposal.settings)
        True

    References:
        Bergstra and Bengio (2012), as in `grid`.
    """
    check_ranges(n, ranges)

    def adjust(history: History) -> Proposal:
        generator = np.random.default_rng((seed, len(history)))
        plain = history[0].trials[0].hyperparameters
        settings = tuple(_draw(generator, plain, ranges) for _ in range(n))
        return Proposal(settings, f"{n} draws of {' and '.join(ranges)}")

    return adjust


def halving(*, n: int, eta: int = 3, seed: int = 0, **ranges: Range) -> Adjust:
    """Returns successive halving: many settings for few epochs, the best of them for more, and so to the epochs in full.

    Args:
        n: Settings of the first rung, drawn as by `random`.
        eta: The share that goes on is ``1 / eta``, with ``eta`` times the epochs.
        seed: Of the draws.
        **ranges: As for `random`.

    Returns:
        A strategy for experiments with a static field ``epochs``; it ends with the rung at the epochs of the first round.

    Raises:
        ValueError: If ``n`` is not positive, ``eta`` is below 2, or a range is none.

    Example:
        >>> from jaxresearch.experiment import hyperparameters, static, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        ...     epochs: int = static(9, "passes")
        >>> plain = Round("plain", (Trial(Rates(), {}, False),), (0.5,))
        >>> first = halving(n=9, learning_rate=(1e-3, 1e-1))((plain,))
        >>> len(first.settings), {setting.epochs for setting in first.settings}
        (9, {1})

    References:
        Jamieson and Talwalkar (2016), Non-stochastic best arm identification and hyperparameter optimization, AISTATS,
        figure 1. https://arxiv.org/abs/1502.07943
    """
    check_ranges(n, ranges)
    if eta < 2:
        raise ValueError(f"eta must be 2 or more; got {eta}. Pass 3, the usual share of a third.")

    def adjust(history: History) -> Proposal | None:
        plain = history[0].trials[0].hyperparameters
        rungs = [plain.epochs]
        while rungs[0] > 1:
            rungs.insert(0, rungs[0] // eta or 1)
        rung = len(history) - 1
        if rung >= len(rungs):
            return None
        if rung == 0:
            generator = np.random.default_rng(seed)
            short = dataclasses.replace(plain, epochs=rungs[0])
            drawn = tuple(_draw(generator, short, ranges) for _ in range(n))
            return Proposal(drawn, f"{n} draws of {' and '.join(ranges)}, {rungs[0]} epochs each")
        last = history[-1]
        order = np.argsort(last.scores, kind="stable")[::-1][: max(1, len(last.trials) // eta)]
        kept = [last.trials[place].hyperparameters for place in order if math.isfinite(last.scores[place])]
        settings = tuple(dataclasses.replace(setting, epochs=rungs[rung]) for setting in kept)
        return Proposal(settings, f"the best {len(kept)} of them, {rungs[rung]} epochs each") if kept else None

    return adjust


def descend(*fields: str, metric: str, step_size: int | float = 0.3) -> Adjust:
    """Returns gradient descent on hyperparameters: a step of Adam a round, against the hypergradient of whole runs.

    Steps are made in the logarithm, as fits rates and factors: all values stay positive, and a step size of 0.3 changes
    none by more than about a third at once. Values stay within the bounds of their fields. The gradient is the mean over
    the seeds of a round. It ends where a run diverges, its gradient is not finite, or nothing moves any more.

    Args:
        *fields: The swept fields to adjust, positive numbers or tuples of them; the others stay as in the first round.
        metric: What falls: one of the experiment's metrics, smooth, and better the smaller it is.
        step_size: Of Adam, in the logarithm.

    Returns:
        A strategy.

    Raises:
        ValueError: If no field is named, or the step size is not positive; when called, if there is no such field or its
            value is not positive.

    Example:
        >>> from jaxresearch.experiment import hyperparameters, swept
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(0.1, "step size")
        >>> plain = Round("plain", (Trial(Rates(), {}, False),), (0.5,))
        >>> descend("learning_rate", metric="log_loss")((plain,)).differentiate
        'log_loss'
        >>> known = Round("slope", (Trial(Rates(), {}, False, Rates(learning_rate=np.array([2.0, 4.0]))),), (0.5,))
        >>> descend("learning_rate", metric="log_loss")((plain, known)).settings[0].learning_rate  # 0.1 exp(-0.3)
        0.074082

    References:
        Maclaurin, Duvenaud and Adams (2015), Gradient-based hyperparameter optimization through reversible learning,
        ICML, section 3.1 (learning-rate schedules). https://arxiv.org/abs/1502.03492
    """
    if not fields:
        raise ValueError('fields must name one at least; got none. Write: descend("learning_rate", metric="log_loss")')
    if not step_size > 0:
        raise ValueError(f"step_size must be positive; got {step_size}. Pass 0.3.")
    # Few steps are made, and every one is dear: the averages forget faster than in training.
    adam = optax.adam(step_size, b1=0.8, b2=0.9)

    def adjust(history: History) -> Proposal | None:
        plain = history[0].trials[0].hyperparameters
        replaced(plain, dict.fromkeys(fields))
        if any(entry.trials[0].diverged for entry in history):
            return None
        start = {name: getattr(plain, name) for name in fields}
        if not all(value > 0 for value in jax.tree.leaves(start)):
            raise ValueError(f"{' and '.join(fields)} must be positive to be adjusted by their logarithm; got {start}.")
        bounds = {name: _bounds(plain, name) for name in fields}
        logs = jax.tree.map(math.log, start)
        state, made = adam.init(logs), 0
        for trial in (entry.trials[0] for entry in history if entry.trials[0].gradient is not None):
            values = {name: getattr(trial.hyperparameters, name) for name in fields}
            slopes = {name: getattr(trial.gradient, name) for name in fields}
            of_logs = jax.tree.map(lambda value, slope: value * np.mean(slope, dtype=np.float64), values, slopes)
            if not np.isfinite(jax.tree.leaves(of_logs)).all():
                return None
            updates, state = adam.update(of_logs, state)
            moved: Any = optax.apply_updates(jax.tree.map(np.float32, logs), updates)
            logs, made = {name: _clipped(moved[name], *np.log(bounds[name])) for name in fields}, made + 1
        if not made:
            return Proposal((plain,), f"the slope of {metric} there", metric)
        digits = jax.tree.map(lambda log: float(f"{math.exp(log):.5g}"), logs)
        chosen = dataclasses.replace(plain, **{name: _clipped(digits[name], *bounds[name]) for name in fields})
        if any(chosen == entry.trials[0].hyperparameters for entry in history):
            return None
        return Proposal((chosen,), f"step {made} against the slope of {metric}", metric)

    return adjust


def as_field(value: int | float, plain: Any, low: int | float, high: int | float) -> int | float:
    """Returns a drawn number as a setting holds it: six digits, or whole where the field is whole, within its range.

    Args:
        value: As drawn.
        plain: The field's value in the plain settings: a whole number of Python, or not.
        low: The lower end of the range.
        high: The upper end.

    Returns:
        The value of the field.

    Example:
        >>> as_field(0.12345678, 0.1, 0.01, 1.0), as_field(11.7, 32, 8, 64)
        (0.123457, 12)

    References:
        Bergstra and Bengio (2012), as in `grid`, section 2.
    """
    number = round(value) if isinstance(plain, int) else float(f"{value:.6g}")
    return min(max(number, low), high)


def _bounds(plain: Any, name: str) -> tuple[float, float]:
    """Returns the least and the greatest positive value that a field may take, within what float32 holds."""
    (rules,) = (field.metadata.get("bounds", {}) for field in dataclasses.fields(plain) if field.name == name)
    given = {rule: bound for rule, bound in rules.items() if bound is not None}
    lows = [1e-37, given.get("at least", 0), np.nextafter(np.float32(given.get("above", 0)), np.float32(np.inf))]
    highs = [1e37, given.get("at most", 1e37), np.nextafter(np.float32(given.get("below", 1e37)), np.float32(0))]
    return float(max(lows)), float(min(highs))


def _clipped(values: Any, low: float, high: float) -> Any:
    """Returns a number, or a tuple of them, within bounds."""
    return jax.tree.map(lambda value: float(min(max(value, low), high)), values)


def _draw(generator: np.random.Generator, plain: Any, ranges: dict[str, Any]) -> Any:
    """Returns the plain settings with a drawn value for each field of the ranges."""
    drawn = {}
    for name, values in ranges.items():
        if isinstance(values, tuple):
            value = math.exp(generator.uniform(math.log(values[0]), math.log(values[1])))
            drawn[name] = as_field(value, getattr(plain, name, None), *values)
        else:
            drawn[name] = values[generator.integers(len(values))]
    return replaced(plain, drawn)


def check_ranges(n: int, ranges: dict[str, Any]) -> None:
    """Raises an error for the first range that cannot be drawn from.

    Args:
        n: Settings a round.
        ranges: As for `random`.

    Raises:
        ValueError: If ``n`` is not positive, or a range is none.

    Example:
        >>> check_ranges(2, {"learning_rate": (1e-1, 1e-3)})
        Traceback (most recent call last):
        ...
        ValueError: the range of learning_rate must be (low, high) with 0 < low < high; got (0.1, 0.001). Or pass a list.

    References:
        Meyer (1992), Applying "design by contract", Computer 25(10). https://doi.org/10.1109/2.161279
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more; got {n}. Pass the settings to try at once.")
    if not ranges:
        raise ValueError("ranges must name a field at least; got none. Write: learning_rate=(1e-4, 1e-1)")
    for name, values in ranges.items():
        if isinstance(values, tuple) and not (len(values) == 2 and 0 < values[0] < values[1]):
            raise ValueError(
                f"the range of {name} must be (low, high) with 0 < low < high; got {values}. Or pass a list."
            )
        if not len(values):
            raise ValueError(f"the list of {name} must hold values; it is empty. Add some.")


def _typed(value: Any, plain: Any) -> Any:
    """Returns a whole number as a float where the plain setting is one, entry by entry: else it is another program."""
    if isinstance(value, tuple):
        return tuple(_typed(entry, plain[0]) for entry in value) if isinstance(plain, tuple) and plain else value
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return float(value) if isinstance(plain, float) and is_whole else value

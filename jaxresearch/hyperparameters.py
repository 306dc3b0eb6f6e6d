"""Hyperparameters: a frozen dataclass and pytree, with floats as leaves and sizes and choices as static fields."""

import dataclasses
import math
import numbers
import operator
import typing
from typing import Any, TypeVar

import jax

H = TypeVar("H")


def swept(
    default: int | float | tuple[int | float, ...],
    help: str,
    *,
    above: int | float | None = None,
    at_least: int | float | None = None,
    at_most: int | float | None = None,
    below: int | float | None = None,
) -> Any:
    """Returns a hyperparameter field that is a leaf: a number that can be swept, vmapped and differentiated.

    Args:
        default: The default value; each entry of a tuple is a leaf, and its length is static.
        help: Meaning and unit in a few words, for the command line.
        above: Exclusive lower bound.
        at_least: Inclusive lower bound.
        at_most: Inclusive upper bound.
        below: Exclusive upper bound.

    Returns:
        A dataclass field.

    Raises:
        ValueError: If the default is no number.

    Example:
        >>> @hyperparameters
        ... class Rates:
        ...     learning_rate: float = swept(1e-3, "step size", above=0)
        >>> jax.tree.leaves(Rates(learning_rate=0.1))
        [0.1]
    """
    for one in default if isinstance(default, tuple) else (default,):
        if not isinstance(one, numbers.Real) and not hasattr(one, "dtype"):
            raise ValueError(f"swept must have a number as its default, got {one!r}. Use static(...) for a choice.")
    bounds = {"above": above, "at least": at_least, "at most": at_most, "below": below}
    return dataclasses.field(default=default, metadata={"help": help, "bounds": bounds})


def static(
    default: Any,
    help: str,
    *,
    above: int | float | None = None,
    at_least: int | float | None = None,
    at_most: int | float | None = None,
    below: int | float | None = None,
) -> Any:
    """Returns a hyperparameter field that is static: a size or a choice, compiled anew for each value.

    Args:
        default: The default value.
        help: Meaning and unit in a few words, for the command line.
        above: Exclusive lower bound of the value, or of each entry of a tuple.
        at_least: Inclusive lower bound.
        at_most: Inclusive upper bound.
        below: Exclusive upper bound.

    Returns:
        A dataclass field.

    Example:
        >>> @hyperparameters
        ... class Sizes:
        ...     batch_size: int = static(32, "examples per step", at_least=1)
        >>> jax.tree.leaves(Sizes())
        []
    """
    bounds = {"above": above, "at least": at_least, "at most": at_most, "below": below}
    return dataclasses.field(default=default, metadata={"help": help, "bounds": bounds, "static": True})


@typing.dataclass_transform(frozen_default=True, kw_only_default=True)
def hyperparameters(cls: type[H]) -> type[H]:
    """Returns the class as a frozen dataclass and pytree, with `swept` fields as leaves and `static` fields as metadata.

    Args:
        cls: A class with annotated fields. A run needs at least ``batch_size`` and ``epochs``, both static; a
            ``batch_size`` of 0, if its bounds allow it, means the whole training data.

    Returns:
        The class itself, for use as a decorator.

    Raises:
        ValueError: If the default of a field of type ``int``, or an entry of a ``tuple[int, ...]``, is no whole number.

    Example:
        >>> @hyperparameters
        ... class Plain:
        ...     learning_rate: float = swept(1e-3, "step size", above=0)
        ...     epochs: int = static(5, "passes over the data", at_least=1)
        >>> jax.jit(lambda h: h.learning_rate * h.epochs)(Plain(learning_rate=2.0)).item()
        10.0
    """
    made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    for field in dataclasses.fields(made):
        _require_whole(field, field.default)
    return jax.tree_util.register_dataclass(made)


def _require_whole(field: dataclasses.Field, value: Any) -> None:
    """Raises if a static field of whole numbers holds anything else."""
    is_tuple = field.type == tuple[int, ...]
    if not field.metadata.get("static") or not (is_tuple or field.type is int):
        return
    entries = value if is_tuple and isinstance(value, tuple) else (value,)
    if not all(isinstance(entry, numbers.Integral) for entry in entries):
        rule = "whole numbers" if is_tuple else "a whole number"
        raise ValueError(f"{field.name} must be {rule}, got {value!r}. Correct it, or declare another type.")


def check(hyperparameters: Any) -> None:
    """Raises an error that names the field, the rule and the value if a hyperparameter is out of bounds.

    Args:
        hyperparameters: An instance of a class decorated with `hyperparameters`, with Python values.

    Raises:
        ValueError: If a number is not finite, outside the bounds of its field, or not whole where the field is an ``int``.

    Example:
        >>> @hyperparameters
        ... class Sizes:
        ...     batch_size: int = static(32, "examples per step", at_least=1)
        >>> check(Sizes(batch_size=0))
        Traceback (most recent call last):
        ...
        ValueError: batch_size (examples per step) must be at least 1, got 0.
    """
    holds = {"above": operator.gt, "at least": operator.ge, "at most": operator.le, "below": operator.lt}
    for field in dataclasses.fields(hyperparameters):
        value = getattr(hyperparameters, field.name)
        _require_whole(field, value)
        named = f"{field.name} ({field.metadata['help']})" if "help" in field.metadata else field.name
        bounds = {rule: bound for rule, bound in field.metadata.get("bounds", {}).items() if bound is not None}
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{named} must be finite, got {value}.")
            for rule, bound in bounds.items():
                if not holds[rule](number, bound):
                    raise ValueError(f"{named} must be {rule} {bound:g}, got {value}.")

"""Checks of functions passed by the user: that they take the arguments, and use the estimator, that they are given."""

import inspect
from typing import Any


def require_arguments(name: str, function: Any, *positional: str, keywords: tuple[str, ...] = ()) -> None:
    """Raises if a function does not take the arguments that it will be called with.

    Args:
        name: Name of the argument that the function is passed as.
        function: The function; accepted unchecked if Python does not know its signature.
        *positional: Names of the positional arguments.
        keywords: Names of the keyword arguments.

    Raises:
        ValueError: If it is not callable, or takes different arguments.

    Example:
        >>> require_arguments("report", lambda h, state: "", "h", "state", "collected", "dataset")
        Traceback (most recent call last):
        ...
        ValueError: report must take (h, state, collected, dataset), got (h, state). Change its arguments.
    """
    expected = f"({', '.join([*positional, *(['*', *keywords] if keywords else [])])})"
    if not callable(function):
        raise ValueError(
            f"{name} must be a function of {expected}, got {type(function).__name__}. Pass the function itself."
        )
    try:
        signature = inspect.signature(function)
    except ValueError:  # a function written in C
        return
    try:
        signature.bind(*positional, **dict.fromkeys(keywords))
    except TypeError:
        plain = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        taken = inspect.Signature(plain)
        raise ValueError(f"{name} must take {expected}, got {taken}. Change its arguments.") from None


def require_estimator(is_used: bool, *, name: str) -> None:
    """Raises if an algorithm has not used the estimator of its plan, so that an option would silently do nothing.

    Args:
        is_used: Whether it has.
        name: The option that changes the estimator.

    Raises:
        ValueError: If it has not.

    Example:
        >>> require_estimator(True, name="--accumulate")
    """
    if not is_used:
        raise ValueError(
            f"experiment must use plan.estimator for {name}; got an algorithm that does not call it. "
            "Pass estimator=plan.estimator to training.supervised."
        )

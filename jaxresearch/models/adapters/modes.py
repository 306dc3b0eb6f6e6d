"""The flags by which modules of any library switch between training and evaluation."""

import inspect
from typing import Any

TRAINS, RESTS = ("train", "training", "is_training"), ("deterministic", "inference", "use_running_average")


def flags_of(module: Any) -> tuple[str, ...]:
    """Returns the flags that the call of a module takes.

    Args:
        module: Any callable object.

    Returns:
        Those among ``train``, ``training``, ``is_training``, ``deterministic``, ``inference`` and ``use_running_average``.

    Example:
        >>> from flax import linen as nn
        >>> flags_of(nn.Dropout(0.5)), flags_of(nn.Dense(3))
        (('deterministic',), ())
    """
    parameters = inspect.signature(type(module).__call__).parameters
    flags = tuple(name for name in (*TRAINS, *RESTS) if name in parameters)
    # Modules of Equinox keep the former name of a flag and warn about it.
    return tuple(name for name in flags if name != "deterministic" or "inference" not in flags)


def mode(flags: tuple[str, ...], *, train: bool) -> dict[str, Any]:
    """Returns the flags as arguments of a call: ``deterministic`` and similar ones are the opposite of ``train``.

    Args:
        flags: From `flags_of`.
        train: Whether the call trains.

    Returns:
        True or False by name.

    Example:
        >>> mode(("is_training", "deterministic"), train=True)
        {'is_training': True, 'deterministic': False}
    """
    return {name: train if name in TRAINS else not train for name in flags}

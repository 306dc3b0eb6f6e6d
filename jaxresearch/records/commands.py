"""Command lines as text: recorded options, and the command that resumes a run."""

import shlex
from pathlib import Path
from typing import Any


def resume_command(path: Path) -> str:
    """Returns the command that resumes the run in a directory."""
    return f"jaxresearch resume {shlex.quote(str(path))}"


def flag(name: str) -> str:
    """Returns the option that sets a field."""
    return f"--{name.replace('_', '-')}"


def words_of(values: dict[str, Any]) -> list[str]:
    """Returns the words of a command line that set these fields.

    Example:
        >>> words_of({"hidden": (128, 64), "track": ["mlflow", "tensorboard"], "use_bias": False, "rate": None})
        ['--hidden', '128x64', '--track', 'mlflow', 'tensorboard', '--no-use-bias']
    """
    words = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(flag(name if value else f"no_{name}"))
        elif value is not None:
            words += [flag(name), *_words(value)]
    return words


def value_text(value: Any) -> str:
    """Returns a value as it is written on the command line, in runs and sweeps alike.

    Example:
        >>> value_text((128, 64)), value_text(0.001), value_text(()), value_text([["age", "number"], ["zip", "category"]])
        ('128x64', '0.001', 'none', 'age=number,zip=category')
    """
    return "none" if isinstance(value, tuple | list) and not value else " ".join(_words(value))


def _words(value: Any) -> list[str]:
    """Returns a value as words: x joins numbers, commas join pairs, and other entries are separate words."""
    if not isinstance(value, tuple | list):
        return [str(value)]
    if value and all(isinstance(entry, int | float) and not isinstance(entry, bool) for entry in value):
        return ["x".join(map(str, value))]
    if value and all(isinstance(entry, tuple | list) for entry in value):
        return [",".join("=".join(map(str, entry)) for entry in value)]
    return [*map(str, value)]

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
    """Returns the words of a command line that set these fields, one word per entry of a tuple."""
    words = []
    for name, value in values.items():
        if isinstance(value, bool):
            words.append(flag(name if value else f"no_{name}"))
        elif value is not None:
            words += [flag(name), *map(str, value if isinstance(value, tuple | list) else (value,))]
    return words

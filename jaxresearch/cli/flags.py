"""Options of the commands on directories: few, each followed by its value."""

from collections.abc import Sequence

from jaxresearch.cli.errors import UsageError


def taken(rest: list[str], option: str, what: str, example: str) -> str | None:
    """Returns the value of an option and removes both from the words; None if it is absent.

    Args:
        rest: The remaining words.
        option: Such as ``--page``.
        what: Describes the value in messages.
        example: A value.

    Raises:
        UsageError: If no value follows, or the option is given twice.
    """
    written = [word for word in rest if word.split("=", 1)[0] == option]
    if not written:
        return None
    if len(written) > 1:
        raise UsageError(f"{option} must be given once, got it {len(written)} times. Leave the others out.")
    at = rest.index(written[0])
    _, equals, value = rest.pop(at).partition("=")
    if not equals and len(rest) > at and not rest[at].startswith("--"):
        value = rest.pop(at)
    if not value:
        raise UsageError(f"{option} must name {what}, got none. Write: {option} {example}")
    return value


def switched(rest: list[str], option: str) -> bool:
    """Returns whether an option without a value is among the words, and removes it."""
    is_there = option in rest
    rest[:] = [word for word in rest if word != option]
    return is_there


def require_known(command: str, rest: Sequence[str], options: str) -> None:
    """Raises for an unknown option of a command.

    Args:
        command: Its name.
        rest: The remaining words.
        options: The known options, for the message.

    Raises:
        UsageError: If a word begins with a hyphen.
    """
    unknown = [word for word in rest if word.startswith("-")]
    if unknown:
        raise UsageError(f"{command} has no option {unknown[0]}, only {options}. Leave it out.")

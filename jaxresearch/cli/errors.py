"""Errors of commands: one line for the user, an exit code, and the original error for ``--traceback``."""


class CommandError(Exception):
    """A command cannot continue; the message is one line, and the cause is the original error.

    Attributes:
        code: 1 if the command failed, 2 for a user's mistake, 75 if it was interrupted and can be resumed.
    """

    def __init__(self, message: str, *, code: int):
        super().__init__(" ".join(message.split()))
        self.code = code


class UsageError(ValueError):
    """A mistake on the command line; the message is one line."""


def described(error: Exception) -> str:
    """Returns an unexpected error on one line: its type, its message, and how to see its traceback."""
    return (
        f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'} (pass --traceback to see where)"
    )

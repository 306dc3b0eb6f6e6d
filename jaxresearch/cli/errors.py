"""How a command fails: one line for the user, an exit code, and the original error for ``--traceback``."""


class CommandError(Exception):
    """A command cannot continue; the message is one line, and the cause is the original error.

    Attributes:
        code: 1 if the command failed, 2 for a mistake of the user, 75 if it was interrupted and can be resumed.
    """

    def __init__(self, message: str, *, code: int):
        super().__init__(" ".join(message.split()))
        self.code = code


class UsageError(ValueError):
    """A mistake on the command line; the message is one line."""


def described(error: Exception) -> str:
    """Returns an unforeseen error on one line: its type, what it says, and where to look further."""
    return (
        f"{type(error).__name__}: {' '.join(str(error).split()) or 'no reason given'} (pass --traceback to see where)"
    )

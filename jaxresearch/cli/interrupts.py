"""What SIGINT and SIGTERM do to a command that can be gone on with: it saves, says how, and exits with 75."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: try again


class Interrupted(BaseException):
    """SIGINT or SIGTERM came. Not KeyboardInterrupt: where that passes through ``exec``, Python ends the process by it."""


@contextlib.contextmanager
def interruptible(*, grace: bool = False) -> Iterator[list[int]]:
    """Gives the signals that came so far, and raises `Interrupted` at the first one, or with ``grace`` at the second.

    An error that is raised in a destructor or a callback is lost: whoever looks at the list sees the signal all the same.
    """
    came: list[int] = []

    def interrupt(signum: int, frame: Any) -> None:
        came.append(signum)
        if len(came) > grace:
            raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

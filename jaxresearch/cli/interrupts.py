"""What SIGINT and SIGTERM do to a command that can be resumed: it saves, prints how to resume, and exits with 75."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from jaxresearch.interruption import Interrupted


@contextlib.contextmanager
def interruptible(*, grace: bool = False) -> Iterator[list[int]]:
    """Gives the signals received so far, and raises `Interrupted` at the first one, or with ``grace`` at the second.

    An error that is raised in a destructor or a callback is lost: whoever looks at the list sees the signal all the same.
    """
    received: list[int] = []

    def interrupt(signum: int, frame: Any) -> None:
        received.append(signum)
        if len(received) > grace:
            raise Interrupted

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def delayed() -> Iterator[None]:
    """Delays a first signal until the block has ended: then `Interrupted` is raised."""
    with interruptible(grace=True) as received:
        yield
    if received:
        raise Interrupted

"""What a signal does to a command: it ends with exit code 75, at once while nothing is recorded, and else once it has saved."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from jaxresearch.interruption import EXIT_CODE, Interrupted

# Clusters send one of the last three before the time of a job is up; SIGHUP comes when a terminal closes.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
NOTHING_RECORDED = "interrupted before anything was recorded"


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Ends the process at a signal, with one line.

    Nothing is raised: an error in the middle of an import breaks the module, or the process, and one in a callback is lost.
    """
    with _handling(_end):
        yield


@contextlib.contextmanager
def saving() -> Iterator[list[int]]:
    """Gives the signals received so far, of which the second raises `Interrupted` and the third ends the process."""
    received: list[int] = []

    def receive(signum: int, frame: Any) -> None:
        received.append(signum)
        if len(received) == 2:
            raise Interrupted
        if len(received) > 2:
            _end(signum, frame)

    with _handling(receive):
        yield received


def close(code: int) -> None:
    """Ends the process with this code at a signal from here on: its command has ended."""
    _handle(lambda signum, frame: os._exit(code))


def _end(signum: int, frame: Any) -> None:
    """Ends the process at once, wherever it is."""
    with contextlib.suppress(OSError):
        os.write(2, f"jaxresearch: {NOTHING_RECORDED}\n".encode())
    os._exit(EXIT_CODE)


@contextlib.contextmanager
def _handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handles signals within the block, and after it as before unless `close` was called."""
    before = _handle(handler)
    try:
        yield
    finally:
        for number, one in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, one)


def _handle(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Handles signals from here on, and returns their handlers before; one that is ignored (nohup) stays so."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    handled = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}

"""Signals end a command with exit code 75: immediately while nothing is recorded, otherwise once it has saved."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from jaxresearch.interruption import EXIT_CODE, Interrupted

# Clusters send one of the last three before a job's time is up; a closing terminal sends SIGHUP.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
NOTHING_RECORDED = "interrupted before anything was recorded"


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Ends the process at a signal, with one line.

    It raises nothing: an exception during an import breaks the module or the process, and one in a callback is lost.
    """
    with _handling(_end):
        yield


@contextlib.contextmanager
def saving() -> Iterator[list[int]]:
    """Yields the list of signals received so far; the second raises `Interrupted` and the third ends the process."""
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
    """Makes later signals end the process with this code, since the command has ended."""
    _handle(lambda signum, frame: os._exit(code))


def _end(signum: int, frame: Any) -> None:
    """Ends the process immediately."""
    with contextlib.suppress(OSError):
        os.write(2, f"jaxresearch: {NOTHING_RECORDED}\n".encode())
    os._exit(EXIT_CODE)


@contextlib.contextmanager
def _handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Handles signals within the block, and restores the handlers unless `close` was called."""
    before = _handle(handler)
    try:
        yield
    finally:
        for number, one in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, one)


def _handle(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Installs a handler and returns the previous ones; ignored signals (nohup) stay ignored."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    handled = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in handled}

"""Signals end a command with exit code 75: immediately while nothing is recorded, otherwise once it has saved."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from jaxresearch.interruption import EXIT_CODE, Interrupted

# Clusters send one of the last three before a job's time is up; a closing terminal sends SIGHUP.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
NOTHING_RECORDED = "interrupted before anything was recorded"
_SECONDS_TO_END = 1.0  # after a second signal, before the process is ended from outside the main thread


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Ends the process at a signal, with one line.

    It raises nothing: an exception during an import breaks the module or the process, and one in a callback is lost.
    """
    with handling(_end):
        yield


@contextlib.contextmanager
def saving(
    resumes_from: Callable[[], str] | None = None, ended: Callable[[], str] = lambda: NOTHING_RECORDED
) -> Iterator[list[int]]:
    """Yields the list of signals received so far; the second raises `Interrupted` and the third ends the process.

    Args:
        resumes_from: Returns from where the command would resume if it ended now, for a line at the first signal. By default
            none is printed, since a file is written in an instant.
        ended: Returns the last line of a process that a signal ends.
    """
    received: list[int] = []

    def receive(signum: int, frame: Any) -> None:
        received.append(signum)
        if len(received) == 2:
            raise Interrupted
        if len(received) > 2:
            _exit(ended())

    with handling(receive), contextlib.ExitStack() as held:
        if resumes_from is not None:
            held.enter_context(_answering(resumes_from, ended))
        yield received


@contextlib.contextmanager
def _answering(resumes_from: Callable[[], str], ended: Callable[[], str]) -> Iterator[None]:
    """Answers signals in a thread: the main one handles none before a computation that it waits for has ended."""
    handled, is_over = {getattr(signal, name, None) for name in _NAMES}, threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def answer() -> None:
        is_first = True
        while number := os.read(reading, 1):
            if number[0] not in handled:
                continue
            if is_first:
                what = "finishing the current steps, then saving"
                _write(f"interrupted: {what}; a second signal ends now, and resumes from {resumes_from()}")
            elif not is_over.wait(_SECONDS_TO_END):
                _exit(ended())
            is_first = False

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        is_over.set()
        signal.set_wakeup_fd(before)
        os.close(writing)
        thread.join()
        os.close(reading)


def close(code: int) -> None:
    """Makes later signals end the process with this code, since the command has ended."""
    _handle(lambda signum, frame: os._exit(code))


def _end(signum: int, frame: Any) -> None:
    """Ends the process immediately."""
    _exit(NOTHING_RECORDED)


def _exit(line: str) -> None:
    """Ends the process immediately, with one line."""
    _write(line)
    os._exit(EXIT_CODE)


def _write(line: str) -> None:
    """Writes a line to standard error without its buffer, which the signal may have interrupted in the middle of a write."""
    with contextlib.suppress(OSError):
        os.write(2, f"jaxresearch: {line}\n".encode())


@contextlib.contextmanager
def handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
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

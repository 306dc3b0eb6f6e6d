"""Standard output and error that end no command: what can no longer be written is dropped, and the command continues."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

_PLAIN = str.maketrans("·│╭╮╰╯─━█", "||++++---")  # where the encoding lacks them


class Output:
    """A text stream whose first error is kept in ``error`` and whose later text is dropped.

    Characters that its encoding lacks are written as plain ones or escaped, so that no value is lost.

    Args:
        stream: Of text, where to write.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes text unless an error came before."""
        if self.error is None:
            try:
                self._stream.write(_encodable(text, self._stream.encoding))
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Flushes what was written unless an error came before."""
        if self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def _fail(self, error: OSError | ValueError) -> None:
        """Keeps the error; what is still buffered goes nowhere, so that the end of the process does not fail by it."""
        self.error = error
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


@contextlib.contextmanager
def lasting() -> Iterator[Output]:
    """Gives standard output; it and standard error are an `Output` within the block, and flushed at its end."""
    _open_missing()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, err = (Output(stream or nowhere) for stream in before)
        sys.stdout, sys.stderr = out, err
        try:
            yield out
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = before


def _open_missing() -> None:
    """Opens the standard descriptors that are closed: else a file of the run would get the number of one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _encodable(text: str, encoding: str | None) -> str:
    """Returns the text with the characters that an encoding lacks as plain ones, or escaped."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text

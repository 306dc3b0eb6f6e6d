"""Standard output and error that never end a command: text that cannot be written is dropped."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

_PLAIN = str.maketrans("·│╭╮╰╯─━█", "||++++---")  # replacements for encodings that lack these


class Output:
    """A text stream that keeps its first error in ``error`` and drops all later text.

    Characters missing from its encoding are replaced by plain ones or escaped, so that no value is lost.

    Args:
        stream: Of text, where to write.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.error: OSError | ValueError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes text unless there was an error before."""
        if self.error is None:
            try:
                self._stream.write(_encodable(text, self._stream.encoding))
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Flushes the stream unless there was an error before."""
        if self.error is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._fail(error)

    def _fail(self, error: OSError | ValueError) -> None:
        """Keeps the error, and sends the buffer to the null device so that it cannot fail at exit."""
        self.error = error
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


@contextlib.contextmanager
def lasting() -> Iterator[Output]:
    """Yields standard output; within the block it and standard error are an `Output`, flushed at the end."""
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
    """Opens closed standard descriptors; otherwise a file of the run would get the number of one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number


def _encodable(text: str, encoding: str | None) -> str:
    """Returns the text with characters missing from an encoding replaced by plain ones, or escaped."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text

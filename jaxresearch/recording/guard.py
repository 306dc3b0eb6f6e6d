"""The directory of a failed run: removed if nothing was recorded, else reported with its last checkpoint."""

import contextlib
from collections.abc import Iterator
from typing import Any

from jaxresearch import records
from jaxresearch.records import Checkpoints, RunDirectory


class UnwrittenError(OSError):
    """A computed result could not be recorded; the message is one line.

    Attributes:
        result: The content of ``result.json``.
    """

    def __init__(self, message: str, result: dict[str, Any]):
        super().__init__(message)
        self.result = result


@contextlib.contextmanager
def guarded(directory: RunDirectory) -> Iterator[None]:
    """Removes a new directory if the block fails before anything is recorded; if the disk fails, reports the saved step."""
    try:
        yield
    except BaseException as error:
        if directory.is_new and not directory.has_progress:
            directory.discard()
            raise
        if not isinstance(error, OSError | records.CheckpointError) or isinstance(error, records.MismatchError):
            raise
        steps = Checkpoints(directory.path).steps()
        resume = records.resume_command(directory.path)
        safe = f"step {steps[-1]} is safe; resume with: {resume}" if steps else "no step was saved"
        message = f"{directory.path} could not be read or written ({error}); {safe}"
        if isinstance(error, UnwrittenError):
            raise UnwrittenError(message, error.result) from error
        raise OSError(message) from error

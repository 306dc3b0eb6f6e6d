"""What becomes of a directory whose run fails: nothing where nothing was recorded, else a line on what is safe."""

import contextlib
from collections.abc import Iterator
from typing import Any

from jaxresearch import records
from jaxresearch.records import Checkpoints, RunDirectory


class UnwrittenError(OSError):
    """A result that was computed but could not be recorded; the message is one line.

    Attributes:
        result: What ``result.json`` would hold.
    """

    def __init__(self, message: str, result: dict[str, Any]):
        super().__init__(message)
        self.result = result


@contextlib.contextmanager
def guarded(directory: RunDirectory) -> Iterator[None]:
    """Removes a new directory if the block fails before anything was recorded; names the safe step if the disk fails."""
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

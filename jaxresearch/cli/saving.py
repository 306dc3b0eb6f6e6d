"""When a run is saved, and what it goes on from."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from jaxresearch.cli.interrupts import Interrupted
from jaxresearch.cli.options import Options, UsageError
from jaxresearch.execution import Keeping
from jaxresearch.records import Checkpoints
from jaxresearch.records.checkpoints import Restored
from jaxresearch.training import TrainState


def cipher_of(options: Options) -> Any:
    """Returns what states are sealed by, or None."""
    if options.encrypt_with is None:
        return None
    from jaxresearch.records.encryption import read_key

    return read_key(options.encrypt_with)


class Saver:
    """Saves a state where the last one was saved so many seconds ago, in the background; and at a signal, to end the run.

    Args:
        checkpoints: Of the run.
        every: Seconds between two states that are saved; 0 saves each that it can keep up with.
        came: The signals that came so far.
        program: Gives the digest of the run's program; called in the background.
        seconds: That earlier processes have trained for.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        *,
        every: int | float,
        came: list[int],
        program: Callable[[], str],
        seconds: int | float,
    ):
        self._checkpoints, self._every, self._came = checkpoints, every, came
        self._program = program
        self._start = time.monotonic() - seconds
        self._last = time.monotonic()

    def due(self) -> bool:
        """Returns whether it is time to save."""
        waited = time.monotonic() - self._last
        return bool(self._came) or (waited >= self._every and not self._checkpoints.is_saving)

    def keep(self, step: int, state: TrainState) -> None:
        """Saves the state; raises `Interrupted` once it is saved after a signal."""
        if self._came:
            self._checkpoints.wait()
            self._checkpoints.write(step, state, about=self._about())
            raise Interrupted
        self._checkpoints.write_in_background(step, state, about=self._about)
        self._last = time.monotonic()

    def _about(self) -> dict[str, Any]:
        """Returns what a manifest says of the run."""
        return {"seconds": time.monotonic() - self._start, "program": self._program()}


@contextlib.contextmanager
def going_on(
    checkpoints: Checkpoints, like: TrainState, *, program: Callable[[], str], every: int | float, came: list[int]
) -> Iterator[tuple[Restored | None, Keeping]]:
    """Gives what a run goes on from, if anything was saved, and how its states are kept; waits for the last one."""
    found = restored(checkpoints, like, program=program)
    seconds = found.about.get("seconds", 0.0) if found else 0.0
    saver = Saver(checkpoints, every=every, came=came, program=program, seconds=seconds)
    yield found, Keeping(saver.due, saver.keep)
    checkpoints.wait()


def restored(checkpoints: Checkpoints, like: TrainState, *, program: Callable[[], str]) -> Restored | None:
    """Returns what a run goes on from: the newest state that verifies, or None where none was saved.

    Raises:
        CheckpointError: If states were saved, and none verifies.
        UsageError: If the run's program is another by now.
    """
    found = checkpoints.restore(like)
    if found is not None and found.about.get("program", "") not in ("", program()):
        raise UsageError(
            f"the experiment's program must be that of step {found.step} of {checkpoints.folder.parent} to go on with it; "
            "its model, loss, optimizer, metrics or data changed. Name another --directory."
        )
    return found

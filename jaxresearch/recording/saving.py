"""When a run is saved, and from where it resumes."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jaxresearch import processes, records
from jaxresearch.execution import Divergence, Keeping, Progress, Start
from jaxresearch.interruption import Interrupted
from jaxresearch.records import Checkpoints
from jaxresearch.records.checkpoints import Restored
from jaxresearch.training import State


class Recorder(NamedTuple):
    """How often a run is saved, with which cipher, and who observes and interrupts it.

    ``interrupted()`` is called after each chunk of steps; once it returns True, the run is saved and `Interrupted` raised.
    ``resuming(step, n_steps)`` is called before a run continues from a saved state.
    """

    save_every: int | float = 60.0
    cipher: Any = None
    tracked: records.Tracking = records.Tracking({})
    observe: Callable[[Progress], None] = lambda progress: None
    interrupted: Callable[[], bool] = lambda: False
    resuming: Callable[[int, int], None] = lambda step, n_steps: None


class _Saver:
    """Saves a state in the background when the last one is old enough, and at an interruption before the run ends."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        recorder: Recorder,
        program: Callable[[], str],
        seconds: float,
        about: dict[str, Any],
        diverged: tuple[Divergence, ...],
    ):
        self._checkpoints, self._recorder, self._program, self._of_job = checkpoints, recorder, program, about
        self._diverged = diverged
        self._start, self._last = time.monotonic() - seconds, time.monotonic()
        self._is_interrupted = False

    def observe(self, progress: Progress) -> None:
        """Notes the seeds that have diverged, which are saved with each state."""
        self._diverged = progress.diverged
        self._recorder.observe(progress)

    def due(self) -> bool:
        """Returns whether it is time to save: in all processes as soon as in one."""
        waited = time.monotonic() - self._last >= self._recorder.save_every and not self._checkpoints.is_saving
        wish = processes.greatest(2 if self._recorder.interrupted() else int(waited))
        self._is_interrupted = wish == 2
        return wish > 0

    def keep(self, step: int, state: State) -> None:
        """Saves the state; raises `Interrupted` once it is saved if the run was interrupted."""
        if self._is_interrupted:
            with processes.agreeing():  # the others end no sooner than the one that writes
                self._checkpoints.wait()
                self._checkpoints.write(step, state, about=self._about(self._diverged))
            raise Interrupted
        self._checkpoints.write_in_background(step, state, about=functools.partial(self._about, self._diverged))
        self._last = time.monotonic()

    def end(self, step: int, state: State) -> None:
        """Saves the outcome. Its program may change afterwards, to fix a mistake in its evaluation."""
        with contextlib.suppress(OSError, records.CheckpointError):  # of an earlier state, which this one replaces
            self._checkpoints.wait()
        self._checkpoints.write(step, state, about={**self._of_ended(self._diverged), "ended": True})

    def _about(self, diverged: tuple[Divergence, ...]) -> dict[str, Any]:
        """Returns the entries of a manifest."""
        return {**self._of_ended(diverged), "program": self._program()}

    def _of_ended(self, diverged: tuple[Divergence, ...]) -> dict[str, Any]:
        """Returns the entries of a manifest whose program may change."""
        return {**self._of_job, "seconds": self._seconds(), "diverged": [list(one) for one in diverged]}

    def _seconds(self) -> float:
        """Returns the seconds of the run, summed over its processes."""
        return time.monotonic() - self._start


class Resumption(NamedTuple):
    """The newest saved state (None at the start), how states are kept, earlier seconds, and the observer."""

    start: Start | None
    keeping: Keeping
    seconds: float
    recorder: Recorder


@contextlib.contextmanager
def resumed(
    checkpoints: Checkpoints,
    like: State,
    recorder: Recorder,
    *,
    n_steps: int,
    program: Callable[[], str],
    about: dict[str, Any] | None = None,
) -> Iterator[Resumption]:
    """Yields where to resume and how states are kept.

    At the end of the block, it waits for a state that is being written in the background.
    """
    found = restored(checkpoints, like, program)
    if found is not None and "fitted" in found.about and found.about["fitted"] != (about or {}).get("fitted"):
        raise records.MismatchError(
            f"the fitted preprocessing has changed since step {found.step} of {checkpoints.folder.parent}, by its code or its "
            f"training data. Restore them, rerun with another --directory, or {_recorded_copy(checkpoints)}"
        )
    seconds = found.about.get("seconds", 0.0) if found else 0.0
    has_ended = bool(found and found.about.get("ended"))
    diverged = tuple(Divergence(*one) for one in found.about.get("diverged", ())) if found else ()
    saver = _Saver(checkpoints, recorder, program, seconds, about or {}, diverged)
    start = Start(found.step, found.state, has_ended, diverged) if found else None
    if start is not None and not has_ended:
        recorder.resuming(start.step, n_steps)
    end = (lambda step, state: None) if has_ended else saver.end
    try:
        keeping = Keeping(saver.due, saver.keep, end)
        yield Resumption(start, keeping, seconds, recorder._replace(observe=saver.observe))
    except BaseException:
        checkpoints.close()
        raise
    checkpoints.wait()


def restored(checkpoints: Checkpoints, like: State, program: Callable[[], str]) -> Restored | None:
    """Returns the newest state that verifies; raises if it belongs to another program."""
    found = _shared(checkpoints, like)
    if found is not None and found.about.get("program", "") not in ("", program()):
        raise records.MismatchError(
            f"the program of the experiment has changed since step {found.step} of {checkpoints.folder.parent}: its model, "
            f"loss, optimizer, metrics or data. Restore it, rerun with another --directory, or {_recorded_copy(checkpoints)}"
        )
    return found


def _recorded_copy(checkpoints: Checkpoints) -> str:
    """Returns the remedy for a changed file: the copy on record of the experiment."""
    return f"continue with the recorded copy: {records.resume_command(checkpoints.folder.parent)}"


def _shared(checkpoints: Checkpoints, like: State) -> Restored | None:
    """Returns the newest state that verifies, which the main process reads for all."""

    def read() -> tuple[Any, Any]:
        found = checkpoints.restore(like)
        return (None, None) if found is None else ([found.step, found.about], found.state)

    value, state = processes.from_main(read, like)
    return None if value is None else Restored(value[0], state, value[1])

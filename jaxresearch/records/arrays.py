"""Arrays on disk, by Orbax: one process writes, and Orbax prints nothing."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import orbax.checkpoint as ocp


def checkpointer() -> ocp.StandardCheckpointer:
    """Returns what reads and writes arrays; of several processes, the first one does alone."""
    main = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="main")
    return ocp.StandardCheckpointer(multiprocessing_options=main)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Stops Orbax and its store from printing tracebacks of errors that they also raise."""
    logger = logging.getLogger("absl")
    level, hook = logger.level, sys.unraisablehook

    def unless_late(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = unless_late
    try:
        yield
        sys.unraisablehook = hook  # kept after an error, since further writes may fail later
    finally:
        logger.setLevel(level)

"""One of several processes that execute a command together: it joins the others, beats for its supervisor, and agrees with them.

The first process alone reads and writes the run's directory and prints; the others record into a temporary one.
"""

import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxresearch import processes, records
from jaxresearch.cli.errors import CommandError
from jaxresearch.cli.supervised import JOIN_WITHIN, LOST, PIPE, value_of
from jaxresearch.interruption import EXIT_CODE

_BEAT = 0.5  # seconds
_COPIED = ("trials.json",)  # what a resumed sweep reads from its directory
_OF_A_MACHINE = ("experiment", "folder", "seal")  # where the files are, and a key: another machine may have others
_HEART: list["Heart"] = []  # of this process, if it is a worker


class Heart:
    """Reports to the supervisor of this process that it is alive, and how many chunks of steps it has finished."""

    def __init__(self) -> None:
        self.steps = 0
        self._pipe = int(os.environ[PIPE])
        os.set_inheritable(self._pipe, False)
        threading.Thread(target=self._beat, daemon=True).start()

    def joined(self, name: str, process: int) -> None:
        """Reports the name of the job, the same in all processes."""
        self._send({"name": name, "process": process})

    def opened(self, last: Path) -> None:
        """Reports the file that a command writes last; it does not exist yet."""
        self._send({"last": str(last.absolute())})

    def _beat(self) -> None:
        while True:
            self._send({"steps": self.steps})
            time.sleep(_BEAT)

    def _send(self, content: dict[str, Any]) -> None:
        try:
            os.write(self._pipe, (json.dumps(content) + "\n").encode())
        except OSError:  # the supervisor was killed
            os._exit(EXIT_CODE)


def is_worker() -> bool:
    """Returns whether a supervisor has started this process."""
    return PIPE in os.environ


def join(words: Sequence[str]) -> None:
    """Joins the processes of a job, by the options of a command line that is not parsed yet."""
    heart = Heart()
    _HEART.append(heart)
    _keep_output_clean()
    numbers = [value_of(words, name) for name in ("--processes", "--process")]
    try:
        n_processes, process = (int(number) if number else None for number in numbers)
    except ValueError:
        n_processes, process = None, None  # the parser reports it
    address = value_of(words, "--coordinator")
    try:
        processes.join(coordinator=address, n_processes=n_processes, process_id=process, within=JOIN_WITHIN)
    except ValueError as error:
        raise CommandError(str(error), code=2) from error
    name = processes.each(secrets.token_hex(4))[0]
    heart.joined(name, jax.process_index())
    if not processes.is_main():
        sys.stdout = open(os.devnull, "w")


def _keep_output_clean() -> None:
    """Sends what C++ libraries print to standard error, where the supervisor drops it."""
    own = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(own, "w", buffering=1)


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Raises an error of a lost connection as an interruption, which the supervisor explains."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        raise CommandError(LOST, code=EXIT_CODE) from error


@contextlib.contextmanager
def directory(
    path: Path, config: dict[str, Any], environment: dict[str, Any], *, is_new: bool
) -> Iterator[records.RunDirectory]:
    """Yields the directory of a command, open; in all processes but the first, a temporary one."""
    own = path if processes.is_main() else Path(tempfile.mkdtemp()) / path.name
    with contextlib.ExitStack() as held:
        if not processes.is_main():
            held.callback(shutil.rmtree, own.parent, ignore_errors=True)
        with processes.agreeing():
            opened = held.enter_context(records.open_directory(own, config, environment, is_new=is_new))
        texts = {name: (own / name).read_text() for name in _COPIED if (own / name).is_file()}
        for name, text in processes.each(texts)[0].items():
            if not processes.is_main():
                opened.write_text_file(name, text)
        if _HEART:
            _HEART[-1].opened(path / records.last_file(config))
        yield opened


def require_same(config: dict[str, Any], job: Any) -> None:
    """Raises unless all processes run the same program with the same versions."""
    if jax.process_count() > 1:
        environment, entries = records.environment(seeds=()), json.loads(json.dumps(config, default=str))
        files, settings = entries.pop(records.SOURCE), entries.pop("hyperparameters")
        entries = {name: value for name, value in entries.items() if name not in _OF_A_MACHINE}
        # A difference in an earlier one causes those in later ones.
        causes = {**environment["packages"], **environment["jax"], **files, **settings, **entries}
        processes.require_same({**causes, "program": job.digest})


def beating(observe: Callable[[Any], None]) -> Callable[[Any], None]:
    """Returns an observer that also counts the chunks of steps for the supervisor."""
    heart = _HEART[-1] if _HEART else None
    if heart is None:
        return observe

    def observed(progress: Any) -> None:
        heart.steps += 1
        observe(progress)

    return observed

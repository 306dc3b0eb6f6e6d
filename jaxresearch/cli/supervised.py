"""A command of several processes: each is a supervisor, without JAX, and the worker that it watches.

JAX ends a process when another one is lost, with pages of C++ messages, or lets it wait for good. So the supervisors decide:
a worker that dies, or stops beating, ends the job. The first supervisor to notice writes a file beside the run's directory and
prints one line; the others see the file, end their workers, and print nothing.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxresearch.cli.errors import CommandError
from jaxresearch.cli.interrupts import handling
from jaxresearch.interruption import EXIT_CODE

DISTRIBUTED = ("run", "sweep")  # the other commands refuse the option
PIPE = "JAXRESEARCH_WORKER"  # environment variable: the descriptor on which a worker beats
HANG_AFTER = 60.0  # seconds
JOIN_WITHIN = 60  # seconds; JAX waits for 300
LOST = "the connection to another process was lost"
_POLL = 0.2  # seconds
_OPEN = -1  # no exit code
_GRACE = 3.0  # seconds for the supervisor that knows the cause, and for the others to see its file
_STEPLESS = 20  # times as long without progress, while the worker beats
_ABORTED = (-signal.SIGABRT, 128 + signal.SIGABRT)  # by JAX, which has lost the others


def is_asked(command: str, words: list[str]) -> bool:
    """Returns whether a command is to be carried out by several processes, and this is not yet the worker."""
    return command in DISTRIBUTED and "--distributed" in words and PIPE not in os.environ


def supervise(words: list[str]) -> int:
    """Carries out a command in a worker, and returns the exit code: that of the job."""
    directory = value_of(words, "--directory")
    if directory is None and not {"-h", "--help"} & {*words}:
        raise CommandError(
            "directory must be given with --distributed, so that a restarted job resumes, got none. Pass --directory runs/NAME.",
            code=2,
        )
    try:
        hang_after = float(value_of(words, "--hang-after") or HANG_AFTER)
    except ValueError:
        hang_after = HANG_AFTER  # the worker reports it
    words = [*words, *({"--traceback"} & {*sys.argv})]
    return _Supervisor(words, Path(directory or "."), hang_after).run()


class _Supervisor:
    """Watches one worker."""

    def __init__(self, words: list[str], directory: Path, hang_after: float):
        self._words, self._directory, self._hang_after = words, directory.absolute(), hang_after
        self._said: list[str] = []  # by the worker, about its end
        self._job: dict[str, Any] = {}
        self._code = _OPEN  # of the job, if another process has ended it
        self._beat = self._moved = time.monotonic()

    def run(self) -> int:
        """Starts the worker and watches it to its end."""
        read, write = os.pipe()
        environment = {**os.environ, PIPE: str(write)}
        command = [sys.executable, "-m", "jaxresearch", *self._words]
        with subprocess.Popen(command, env=environment, pass_fds=(write,), stderr=subprocess.PIPE, text=True) as worker:
            os.close(write)
            threads = [
                threading.Thread(target=target, daemon=True)
                for target in (lambda: self._listen(worker.stderr), lambda: self._feel(read))
            ]
            for thread in threads:
                thread.start()
            with handling(lambda number, frame: worker.send_signal(number)):  # it saves and ends
                code = self._watched(worker)
            for thread in threads:
                thread.join(1.0)
            return self._ended(code)

    def _watched(self, worker: subprocess.Popen) -> int | str:
        """Returns the exit code of the worker, or why it was killed."""
        while worker.poll() is None:
            now, why = time.monotonic(), ""
            limit = self._hang_after if self._job else max(self._hang_after, JOIN_WITHIN)  # imports take seconds
            if self._is_marked():
                why = "another process ended"
            elif now - self._beat > limit:
                why = f"{self._process} has not responded for {limit:g} seconds"
            elif self._job and now - self._moved > _STEPLESS * self._hang_after:
                why = f"no process has finished a step for {_STEPLESS * self._hang_after:g} seconds"
            if why:
                worker.kill()
                return why
            time.sleep(_POLL)
        return worker.returncode

    def _ended(self, code: int | str) -> int:
        """Returns the exit code of the job, after printing the line of the first process that ended it."""
        if code == 0:
            return 0
        is_own = isinstance(code, int) and code in (1, 2, EXIT_CODE) and bool(self._said)
        is_lost = self._said[-1:] == [LOST] or code in _ABORTED
        if is_lost:
            self._wait()  # the end of another process is the cause, which its supervisor knows
        knows = is_own and not is_lost
        shared = code if knows else EXIT_CODE
        if self._is_marked() or not self._claim(int(shared)):
            return 0 if self._is_complete() else EXIT_CODE if self._code == _OPEN else self._code
        if self._mark is not None:
            time.sleep(_GRACE)  # the others see the file and end; the first process may just have written the result
            self._mark.unlink(missing_ok=True)
        if not knows and self._is_complete():
            return 0
        line = self._said[-1] if knows else self._reason(code)
        print(f"jaxresearch: {line}", file=sys.stderr, flush=True)
        return int(shared)

    def _is_complete(self) -> bool:
        """Returns whether the job has written its result, so that nothing is lost with the process."""
        return "last" in self._job and Path(self._job["last"]).is_file()

    def _reason(self, code: int | str) -> str:
        """Returns why a worker that reported nothing ended."""
        if not self._job and code in _ABORTED:
            return (
                f"interrupted: the processes have not joined within {JOIN_WITHIN} seconds. Start all of them with the same "
                "command, or correct --coordinator HOST:PORT, --processes N or --process I (from 0 to N - 1, each once)."
            )
        if isinstance(code, str):
            why = code
        elif code < 0 and code != -signal.SIGABRT:
            why = f"{self._process} was ended by {signal.Signals(-code).name}"
        else:
            why = f"{self._process} lost the connection to the others"
        return f"interrupted: {why}. Repeat the command to resume from the last checkpoint."

    @property
    def _process(self) -> str:
        """This process, in a message; its number is known once the processes have joined."""
        return f"process {self._job['process']}" if self._job else "a process"

    @property
    def _mark(self) -> Path | None:
        """The file that says that the job has ended; its name is known once the processes have joined."""
        if not self._job:
            return None
        return self._directory.with_name(f".{self._directory.name}-{self._job['name']}.ended")

    def _claim(self, code: int) -> bool:
        """Returns whether this process is the first to end the job."""
        if self._mark is None:
            return True
        try:
            os.makedirs(self._mark.parent, exist_ok=True)
            with open(self._mark, "x") as file:
                file.write(str(code))
        except FileExistsError:
            self._wait()  # until its content is complete
            return False
        except OSError:
            return True
        return True

    def _is_marked(self) -> bool:
        """Returns whether another process has ended the job, and notes its exit code."""
        if self._code == _OPEN and self._mark is not None:
            with contextlib.suppress(OSError, ValueError):
                self._code = int(self._mark.read_text())
        return self._code != _OPEN

    def _wait(self) -> None:
        """Gives another process time to end the job."""
        end = time.monotonic() + _GRACE
        while not self._is_marked() and time.monotonic() < end:
            time.sleep(_POLL)

    def _listen(self, stderr: Any) -> None:
        """Keeps what the worker says about its end, and passes warnings and tracebacks on."""
        shows_all = "--traceback" in self._words
        for line in stderr:
            ours = line.removeprefix("jaxresearch: ")
            is_warning = ours.startswith("warning: ")
            if ours != line and not is_warning:
                self._said.append(ours.rstrip("\n"))
            elif shows_all or is_warning:
                sys.stderr.write(line)
                sys.stderr.flush()

    def _feel(self, read: int) -> None:
        """Notes when the worker joined, was alive and made progress."""
        steps = -1
        with os.fdopen(read) as beats:
            for line in beats:
                self._beat = time.monotonic()
                content = json.loads(line)
                self._job |= {name: value for name, value in content.items() if name != "steps"}
                if content.get("steps", steps) != steps:
                    steps, self._moved = content["steps"], self._beat


def value_of(words: Sequence[str], name: str) -> str | None:
    """Returns the value of an option, unparsed."""
    for place, word in enumerate(words):
        if word == name and place + 1 < len(words):
            return words[place + 1]
        if word.startswith(f"{name}="):
            return word.split("=", 1)[1]
    return None

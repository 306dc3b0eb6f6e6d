"""Whole processes, measured in alternating pairs, so that a change in the machine's speed affects ours and the peer's."""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "benchmarks" / "programs"


class ProgramFailed(RuntimeError):
    """A program that could not be started or failed; the message is the last line of its standard error."""


@dataclass(frozen=True)
class Program:
    """A command in a fresh process; ``{folder}`` in its words is a temporary folder of its own.

    Its metrics are ``run/result.json`` in its folder, or the last line that it prints, as JSON (none unless it ``reports``
    any); the harness adds ``process_seconds`` and ``peak_megabytes``. With a ``cache``, compiled programs are kept between
    processes.
    """

    name: str
    words: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    cache: str | None = None
    reports: bool = True

    def measure(self) -> dict[str, Any]:
        """Returns the metrics of one process."""
        with tempfile.TemporaryDirectory() as folder:
            cache = (
                Path(tempfile.gettempdir()) / f"jaxresearch-bench-{os.getpid()}-{self.cache}" if self.cache else folder
            )
            # A user's Python caches its bytecode, whatever this shell sets.
            inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            environment = {**inherited, "XDG_CACHE_HOME": str(cache), "TF_CPP_MIN_LOG_LEVEL": "2", **self.environment}
            words = [word.replace("{folder}", folder) for word in self.words]
            with open(Path(folder) / "out", "w+") as out, open(Path(folder) / "err", "w+") as err:
                start = time.perf_counter()
                process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=out, stderr=err)
                _, status, usage = os.wait4(process.pid, 0)
                seconds = time.perf_counter() - start
                process.returncode = os.waitstatus_to_exitcode(status)
                for stream in (out, err):
                    stream.seek(0)
                lines, errors = out.read().splitlines(), err.read().splitlines()
            if process.returncode:
                raise ProgramFailed(errors[-1] if errors else f"exit code {process.returncode}")
            result = Path(folder) / "run" / "result.json"
            if result.is_file():
                figures = _of_run(json.loads(result.read_text()))
            else:
                figures = json.loads(lines[-1]) if self.reports else {}
        return {**figures, "process_seconds": seconds, "peak_megabytes": usage.ru_maxrss / 1024}


def _of_run(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the metrics of a run from the command line."""
    examples = result["examples_per_second"] * result["seconds"]["train"]
    return {
        "train_us": result["seconds"]["train"] / examples * 1e6,
        "accuracy": result["metrics"]["test/accuracy"]["values"],
        **{f"{stage}_seconds": seconds for stage, seconds in result["seconds"].items()},
    }


def python(program: str, *words: str) -> tuple[str, ...]:
    """Returns the command that starts one of the programs in ``programs/``."""
    return (sys.executable, str(PROGRAMS / f"{program}.py"), *words)


def in_turn(ours: Program, peer: Program, *, pairs: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Returns the metrics of pairs of processes, ours first in every other pair."""
    measured = []
    for pair in range(pairs):
        order = (ours, peer) if pair % 2 == 0 else (peer, ours)
        figures = {program.name: program.measure() for program in order}
        measured.append((figures[ours.name], figures[peer.name]))
    return measured


def machine() -> dict[str, Any]:
    """Returns a description of this machine."""
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    cpu = next(
        (line.split(":")[1].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = next(
        (int(line.split()[1]) / 2**20 for line in _read("/proc/meminfo") if line.startswith("MemTotal")), None
    )
    packages = ("jax", "flax", "optax", "numpy", "grain", "tensorflow-cpu", "keras", "torch")
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": memory and round(memory),
        "python": platform.python_version(),
        "versions": {package: of(package) for package in packages},
    }


def _read(path: str) -> list[str]:
    """Returns the lines of a file; none if there is no such file."""
    return Path(path).read_text().splitlines() if Path(path).is_file() else []

"""The overhead of progress, metrics and records: the command against a bare compiled run of the same seeds and data.

Both copy the data to the devices. The command's loading, compiling and evaluation are subtracted.
"""

import json
import statistics
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from jaxresearch import cli, devices, sweeps

devices.split_cpu()

import jax  # noqa: E402
from main_job import compiled, main_job  # noqa: E402

job = main_job()
keys, train = sweeps.keys(range(10)), devices.place(job.dataset.train, n_runs=10)
bare = compiled(sweeps.sweep(job.program.run, (0, None, None)), keys, job.hyperparameters, train)
jax.block_until_ready(bare(keys, job.hyperparameters, train))


def of_command() -> float:
    """Returns the seconds of a command without loading, compiling and evaluation: training, progress and records."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        start = time.perf_counter()
        cli.main(["run", "mnist", "--seeds", "10", "--directory", f"{folder}/run"])
        whole = time.perf_counter() - start
        seconds = json.loads(Path(folder, "run", "result.json").read_text())["seconds"]
    return whole - seconds["load"] - seconds["compile"] - seconds["evaluate"]


def of_bare() -> float:
    """Returns the seconds of the bare run."""
    start = time.perf_counter()
    train = devices.place(job.dataset.train, n_runs=10)
    jax.block_until_ready(bare(keys, job.hyperparameters, train))
    return time.perf_counter() - start


of_command()  # compiles
command, scan = (statistics.median(taken) for taken in zip(*((of_command(), of_bare()) for _ in range(3)), strict=True))
print(json.dumps({"command_seconds": command, "bare_seconds": scan, "overhead": command / scan - 1}))

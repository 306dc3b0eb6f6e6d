"""What progress, metrics and records cost: the command's training against a bare compiled run of the same seeds."""

import json
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from jaxresearch import cli, sweeps

sweeps.split_cpu()

import jax  # noqa: E402

from jaxresearch import data, experiment  # noqa: E402
from jaxresearch.compilation import compiler_options  # noqa: E402

mnist = experiment.load("mnist")
dataset = data.encode_dataset(data.load("mnist"))
program = experiment.program(mnist, dataset.card)
keys, train = sweeps.keys(range(10)), sweeps.place(dataset.train, n_runs=10)
bare = jax.jit(sweeps.sweep(program.run, (0, None, None)), compiler_options=compiler_options())
jax.block_until_ready(bare(keys, mnist.hyperparameters, train))


def of_command() -> float:
    """Returns the seconds of a command less loading, compiling and evaluating: training, progress and records."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        start = time.perf_counter()
        cli.main(["run", "mnist", "--seeds", "10", "--directory", f"{folder}/run"])
        whole = time.perf_counter() - start
        seconds = json.loads(Path(folder, "run", "result.json").read_text())["seconds"]
    return whole - seconds["load"] - seconds["compile"] - seconds["evaluate"]


def of_bare() -> float:
    """Returns the seconds of the bare run."""
    start = time.perf_counter()
    jax.block_until_ready(bare(keys, mnist.hyperparameters, train))
    return time.perf_counter() - start


of_command()  # compiles
command, scan = of_command(), of_bare()
print(json.dumps({"command_seconds": command, "bare_seconds": scan, "overhead": command / scan - 1}))

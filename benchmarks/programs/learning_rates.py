"""The main job at many learning rates: as one sweep, one after another in this process, or in a process each."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxresearch import devices

parser = argparse.ArgumentParser()
parser.add_argument("how", choices=("sweep", "loop", "processes"))
parser.add_argument("--rates", type=int, default=64)
parser.add_argument("--epochs", type=int, default=5)
arguments = parser.parse_args()
rates = np.geomspace(1e-4, 1e-2, arguments.rates).tolist()


def by_processes():
    """Returns seconds and accuracies of a process for each rate, all but the first with a warm cache."""
    accuracy, start = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for i, rate in enumerate(rates):
            words = ["--learning-rate", str(rate), "--epochs", str(arguments.epochs), "--directory", f"{folder}/{i}"]
            command = [str(Path(sys.executable).with_name("jaxresearch")), "run", "mnist", "--seeds", "1", *words]
            subprocess.run(command, check=True, capture_output=True)
            result = json.loads(Path(folder, str(i), "result.json").read_text())
            accuracy += result["metrics"]["test/accuracy"]["values"]
    return time.perf_counter() - start, accuracy


def here():
    """Returns seconds after compiling, and accuracies, of the runs in this process."""
    from jaxresearch import sweeps

    if arguments.how == "sweep":
        devices.split_cpu()
    import dataclasses

    import jax
    from main_job import compiled, main_job

    job = main_job(epochs=arguments.epochs)

    def run(key, hyperparameters, train, test):
        state, _ = job.program.run(key, hyperparameters, train)
        return job.program.evaluate(key, hyperparameters, state, test)["accuracy"]

    n_runs = len(rates) if arguments.how == "sweep" else 1
    train, test = (devices.place(part, n_runs=n_runs) for part in (job.dataset.train, job.dataset.test))
    if arguments.how == "sweep":
        keys, hyperparameters = sweeps.product(job.hyperparameters, seeds=[0], learning_rate=rates)
        swept = compiled(sweeps.sweep(run, (0, 0, None, None)), keys, hyperparameters, train, test)
        start = time.perf_counter()
        accuracy = np.asarray(swept(keys, hyperparameters, train, test)).tolist()
        return time.perf_counter() - start, accuracy
    settings = [dataclasses.replace(job.hyperparameters, learning_rate=rate) for rate in rates]
    single = jax.jit(run).lower(jax.random.key(0), settings[0], train, test).compile()  # as a user would write it
    start = time.perf_counter()
    accuracy = [float(single(jax.random.key(0), one, train, test)) for one in settings]
    return time.perf_counter() - start, accuracy


seconds, accuracy = by_processes() if arguments.how == "processes" else here()
print(json.dumps({"sweep_seconds": seconds, "accuracy": accuracy}))

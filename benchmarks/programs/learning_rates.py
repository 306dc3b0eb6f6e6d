"""The main job at many learning rates: as one sweep, one after another in this process, or as a process each."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("how", choices=("sweep", "loop", "processes"))
parser.add_argument("--rates", type=int, default=64)
parser.add_argument("--epochs", type=int, default=5)
arguments = parser.parse_args()
rates = np.geomspace(1e-4, 1e-2, arguments.rates).tolist()


def by_processes():
    """Returns seconds and accuracies of a process a rate, all but the first with compiled programs at hand."""
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
    """Returns seconds, after compiling, and accuracies of the rates made in this process."""
    from jaxresearch import sweeps

    if arguments.how == "sweep":
        sweeps.split_cpu()
    import dataclasses

    import jax

    from jaxresearch import data, experiment
    from jaxresearch.compilation import compiler_options

    mnist = experiment.load("mnist")
    settings = dataclasses.replace(mnist.hyperparameters, epochs=arguments.epochs)
    dataset = data.encode_dataset(data.load("mnist"))
    program = experiment.program(mnist, dataset.card)

    def run(key, hyperparameters, train, test):
        return program.evaluate(hyperparameters, program.run(key, hyperparameters, train)[0], test)["accuracy"]

    n_runs = len(rates) if arguments.how == "sweep" else 1
    train, test = (sweeps.place(part, n_runs=n_runs) for part in (dataset.train, dataset.test))
    if arguments.how == "sweep":
        keys, hyperparameters = sweeps.product(settings, seeds=[0], learning_rate=rates)
        swept = jax.jit(sweeps.sweep(run, (0, 0, None, None)), compiler_options=compiler_options())
        compiled = swept.lower(keys, hyperparameters, train, test).compile()
        start = time.perf_counter()
        accuracy = np.asarray(compiled(keys, hyperparameters, train, test)).tolist()
        return time.perf_counter() - start, accuracy
    single = jax.jit(run)  # as a user writes it
    made = [dataclasses.replace(settings, learning_rate=rate) for rate in rates]
    compiled = single.lower(jax.random.key(0), made[0], train, test).compile()
    start = time.perf_counter()
    accuracy = [float(compiled(jax.random.key(0), one, train, test)) for one in made]
    return time.perf_counter() - start, accuracy


seconds, accuracy = by_processes() if arguments.how == "processes" else here()
print(json.dumps({"sweep_seconds": seconds, "accuracy": accuracy}))

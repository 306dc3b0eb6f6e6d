"""Seconds and memory of a few hundred steps of the main job at one size along one axis."""

import argparse
import dataclasses
import json
import time

from jaxresearch import sweeps

sweeps.split_cpu()

import jax  # noqa: E402

from jaxresearch import data, experiment  # noqa: E402
from jaxresearch.compilation import compiler_options  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("axis", choices=("examples", "seeds", "width"))
parser.add_argument("value", type=int)
arguments = parser.parse_args()
sizes = {"examples": 6_400, "seeds": 2, "width": 128, arguments.axis: arguments.value}

mnist = experiment.load("mnist")
dataset = data.encode_dataset(data.load("mnist"))
settings = dataclasses.replace(mnist.hyperparameters, epochs=1, hidden=(sizes["width"],))
program = experiment.program(mnist, dataset.card)
part = {name: values[: sizes["examples"]] for name, values in dataset.train.items()}
keys, train = sweeps.keys(range(sizes["seeds"])), sweeps.place(part, n_runs=sizes["seeds"])
run = jax.jit(sweeps.sweep(program.run, (0, None, None)), compiler_options=compiler_options())
compiled = run.lower(keys, settings, train).compile()
jax.block_until_ready(compiled(keys, settings, train))
taken = []
for _ in range(3):
    start = time.perf_counter()
    jax.block_until_ready(compiled(keys, settings, train))
    taken.append(time.perf_counter() - start)
memory = compiled.memory_analysis()
print(
    json.dumps(
        {
            "seconds": min(taken),
            "megabytes": (memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes)
            / 2**20,
        }
    )
)

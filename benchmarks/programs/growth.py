"""Time and memory of a few hundred steps of the main job at one size along one axis."""

import argparse
import json
import time

from jaxresearch import devices, sweeps

devices.split_cpu()

import jax  # noqa: E402
from main_job import compiled, main_job  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("axis", choices=("examples", "seeds", "width"))
parser.add_argument("value", type=int)
arguments = parser.parse_args()
sizes = {"examples": 6_400, "seeds": 2, "width": 128, arguments.axis: arguments.value}

job = main_job(n_examples=sizes["examples"], epochs=1, hidden=(sizes["width"],))
keys, train = sweeps.keys(range(sizes["seeds"])), devices.place(job.dataset.train, n_runs=sizes["seeds"])
run = compiled(sweeps.sweep(job.program.run, (0, None, None)), keys, job.hyperparameters, train)
jax.block_until_ready(run(keys, job.hyperparameters, train))
taken = []
for _ in range(3):
    start = time.perf_counter()
    jax.block_until_ready(run(keys, job.hyperparameters, train))
    taken.append(time.perf_counter() - start)
memory = run.memory_analysis()
print(
    json.dumps(
        {
            "seconds": min(taken),
            "megabytes": (memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes)
            / 2**20,
        }
    )
)

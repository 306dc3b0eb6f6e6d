"""Processes on one core each, joined into one program or independent: the rate that they reach together."""

import argparse
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("work", choices=("sweep", "decoder", "nano", "large"))
parser.add_argument("how", choices=("joined", "independent"))
parser.add_argument("processes", type=int)
parser.add_argument("data")
parser.add_argument("--size", type=float, default=1.0, help="length of the work; below 1 to try it out")
arguments = parser.parse_args()
cores = sorted(os.sched_getaffinity(0))
if len(cores) < arguments.processes:
    raise SystemExit(f"processes must be at most the {len(cores)} cores, got {arguments.processes}")
with socket.socket() as listening:
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]

words = [arguments.work, arguments.data, "--size", str(arguments.size)]
if arguments.how == "joined":
    words += ["--coordinator", f"127.0.0.1:{port}", "--processes", str(arguments.processes)]
worker = [sys.executable, str(Path(__file__).with_name("worker.py"))]
workers = [
    subprocess.Popen(
        ["taskset", "-c", str(core), *worker, *words, "--process", str(process)], stdout=subprocess.PIPE, text=True
    )
    for process, core in enumerate(cores[: arguments.processes])
]
outputs = [one.communicate()[0] for one in workers]
if failed := [one.returncode for one in workers if one.returncode]:
    raise SystemExit(f"a worker ended with exit code {failed[0]}")
figures = [json.loads(output.splitlines()[-1]) for output in outputs]
seconds = [sum(one["seconds"]) for one in figures]
if arguments.how == "joined":  # the work is that of all of them, and ends with the last
    rates = {"examples_per_second": figures[0]["examples"] / max(seconds)}
else:
    total = sum(one["examples"] for one in figures)
    rates = {
        "examples_per_second": sum(one["examples"] / own for one, own in zip(figures, seconds, strict=True)),
        # The rate if each had waited for the slowest after every part, as any sum over all makes them do.
        "in_step": total / sum(map(max, zip(*(one["seconds"] for one in figures), strict=True))),
    }
print(json.dumps(rates))

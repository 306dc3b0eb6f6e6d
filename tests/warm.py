"""Runs commands of the command line, each in a process of its own that does not wait for imports.

It imports everything once, and forks for each line of its standard input: arguments, folder and environment as JSON.
JAX has no backend before a fork, so each process has its own devices and threads.
"""

import importlib
import json
import os
import sys
import warnings

NEEDED = ("cli.run", "cli.sweep", "cli.study", "cli.report", "cli.compare", "models.perceptron", "records.encryption")


def carry_out(words, folder, environment, out, err):
    """Ends this process as if it had been started with these arguments."""
    for path, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["jaxresearch", *words]
    sys.exit(importlib.import_module("jaxresearch.cli").main())


if __name__ == "__main__":
    for name in NEEDED:
        importlib.import_module(f"jaxresearch.{name}")
    warnings.simplefilter("default")  # warnings of a command are shown
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            carry_out(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

"""Checks, on JAX's default device, the guarantees that hold on a CPU: prints one line of JSON.

Each entry is ``{"promise", "holds", "seen"}``; where numbers are compared, ``seen`` is their largest difference.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from main_job import compiled, main_job

from jaxresearch import devices, execution, loading, losses, models, sweeps, training
from jaxresearch.execution.compilation import CompiledFunction
from jaxresearch.models.attention import attention
from jaxresearch.records import Checkpoints

parser = argparse.ArgumentParser()
parser.add_argument("data", help="MNIST as an uncompressed .npz, which can be streamed")
parser.add_argument("--smoke", action="store_true")
arguments = parser.parse_args()
smoke = arguments.smoke
ROOT = Path(__file__).parents[2]
N_STEPS = 30 if smoke else 1_000


def bits(tree):
    """Returns the bytes of every array of a tree."""
    return [
        np.asarray(leaf).tobytes()
        for leaf in jax.tree.leaves(tree)
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    ]


def largest_difference(one, other):
    """Returns the largest difference of two trees of arrays, relative to the largest entry of its array; nan if any is nan."""
    pairs = zip(map(np.asarray, jax.tree.leaves(one)), map(np.asarray, jax.tree.leaves(other)), strict=True)
    return float(np.max([np.abs(a - b).max() / (np.abs(b).max() or 1) for a, b in pairs]))


def chunks():
    """Yields whether a run in pieces equals the whole run, and whether a run repeats itself, bit for bit."""
    job = main_job(n_examples=32 * N_STEPS, epochs=1)
    key, train = jax.random.key(0), devices.place(job.dataset.train, n_runs=1)
    state = jax.jit(job.program.init)(key, job.hyperparameters)

    def program(n_steps):
        return compiled(
            partial(job.program.advance, n_steps=n_steps), key, job.hyperparameters, state, train, np.int32(0)
        )

    whole = program(N_STEPS)
    ended, history = whole(key, job.hyperparameters, state, train, np.int32(0))
    again, _ = whole(key, job.hyperparameters, state, train, np.int32(0))
    yield "the same program twice, bit for bit", bits(again) == bits(ended), ""
    lengths, made, seen = (N_STEPS // 5, N_STEPS // 2, N_STEPS - N_STEPS // 5 - N_STEPS // 2), 0, []
    for n_steps in lengths:
        state, losses = program(n_steps)(key, job.hyperparameters, state, train, np.int32(made))
        made += n_steps
        seen.append(losses["loss"])
    same = bits(state) == bits(ended) and bits(jnp.concatenate(seen)) == bits(history["loss"])
    yield (
        f"{N_STEPS} steps in pieces of {lengths} = whole, bit for bit",
        same,
        f"largest difference {largest_difference(state.params, ended.params):.1g}",
    )


def runs_together():
    """Yields whether runs side by side equal single runs, with products in float32 and at the device's default precision."""
    job = main_job(n_examples=32 * N_STEPS, epochs=1)
    keys, train = sweeps.keys(range(3)), devices.place(job.dataset.train, n_runs=1)

    def losses(key, train):
        return job.program.run(key, job.hyperparameters, train)[1]["loss"][:100]

    for precision, tolerance in (("highest", 1e-4), (None, 3e-2)):
        with jax.default_matmul_precision(precision) if precision else jax.default_matmul_precision("default"):
            together = jax.jit(sweeps.sweep(losses, (0, None)))(keys, train)
            single = jnp.stack([jax.jit(losses)(key, train) for key in keys])
        far = largest_difference(together, single)
        what = "products in float32" if precision else "products at the device's default precision"
        yield (
            f"losses of 3 runs side by side = single runs to {tolerance:g}, {what}",
            far <= tolerance,
            f"largest difference {far:.1g}",
        )

    def swept(keys, settings, train):
        return sweeps.sweep(job.program.run, (0, 0, None))(keys, settings, train)

    count = CompiledFunction(swept)
    for rates in ([1e-4, 1e-3, 1e-2, 1e-1], [2e-4, 2e-3, 2e-2, 2e-1]):
        keys, settings = sweeps.product(job.hyperparameters, seeds=[0, 1], learning_rate=rates)
        jax.block_until_ready(count(keys, settings, train))
    yield "two sweeps of 8 runs compile once", count.n_compilations == 1, f"{count.n_compilations}"


def command(*words):
    """Returns the command for a run of MNIST."""
    fewer = ["--train-examples", "3200"] if smoke else []
    return [sys.executable, "-m", "jaxresearch", *words, *(fewer if words[0] == "run" else [])]


def outcome(directory):
    """Returns the final state and the test metrics of a finished run."""
    mnist = loading.load("mnist", directory=ROOT / "experiments")
    job = main_job(epochs=2)
    like = execution.blank_state(mnist, job.hyperparameters, job.dataset, n_runs=2)
    result = json.loads((directory / "result.json").read_text())
    return Checkpoints(directory).restore(like).state, {n: m["values"] for n, m in result["metrics"].items()}


def processes():
    """Yields whether a run killed and resumed by another process, and one with streamed data, equal the uninterrupted run."""
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # this process holds some of the memory
    quiet = {"env": environment, "cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with tempfile.TemporaryDirectory() as folder:
        whole, killed, streamed = (Path(folder) / name for name in ("whole", "killed", "streamed"))
        plain = [
            "run",
            "mnist",
            "--seeds",
            "2",
            "--epochs",
            "2",
            "--validation",
            "0.1",
            "--save-every",
            "0",
            "--data",
            arguments.data,
        ]
        done = subprocess.run(command(*plain, "--directory", str(whole)), check=False, **quiet)
        if done.returncode:
            yield "a run from the command line succeeds", False, done.stdout[-300:]
            return
        process = subprocess.Popen(command(*plain, "--directory", str(killed)), **quiet)
        until = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < until and not any((killed / "checkpoints").glob("[0-9]*")):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        was_killed = process.returncode == -signal.SIGKILL
        done = subprocess.run(command("resume", str(killed)), check=False, **quiet)
        if done.returncode or not was_killed:
            yield "killed and resumed by another process", False, done.stdout[-300:]
        else:
            (one, ones), (other, others) = outcome(whole), outcome(killed)
            same = bits(one) == bits(other) and ones == others
            seen = f"largest difference {largest_difference(other.params, one.params):.1g}"
            yield "killed and resumed by another process = uninterrupted, bit for bit", same, seen
        done = subprocess.run(command(*plain, "--stream", "--directory", str(streamed)), check=False, **quiet)
        if done.returncode:
            yield "a streamed run succeeds", False, done.stdout[-300:]
            return
        (one, ones), (other, others) = outcome(whole), outcome(streamed)
        same, seen = (
            bits(one) == bits(other) and ones == others,
            f"largest difference {largest_difference(other.params, one.params):.1g}",
        )
        yield "streamed = in memory, bit for bit", same, seen


def attentions():
    """Yields the error of attention in bfloat16 against float32, and the time of its gradient, for ours and the device's."""
    batch, length = (1, 64) if smoke else (8, 1024)
    shape = (batch, length, 12, 64)
    made = [jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 4)]
    everything = jnp.ones((1, 1, length), bool)  # a mask selects our own attention on every device

    def outcome_and_gradient(seen, queries, keys, values, weights):
        value, pull = jax.vjp(partial(attention, seen=seen, causal=True), queries, keys, values)
        return value, pull(weights.astype(value.dtype))

    exact = jax.jit(partial(outcome_and_gradient, everything))
    with jax.default_matmul_precision("highest"):
        exact = exact(*made)
    rounded = [array.astype(jnp.bfloat16) for array in made]
    ours, chosen = (jax.jit(partial(outcome_and_gradient, seen)) for seen in (everything, None))
    for what, function in (("ours", ours), ("the device's", chosen)):
        far = largest_difference(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), function(*rounded)), exact)
        yield (
            f"attention in bfloat16, {what}, = float32's to 2e-2, its gradient too",
            far <= 2e-2,
            f"largest difference {far:.1g}",
        )
    times = {ours: [], chosen: []}
    for _ in range(2 if smoke else 20):
        for function, seconds in times.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*rounded))
            seconds.append(time.perf_counter() - start)
    slow, fast = (float(np.median(seconds)) for seconds in times.values())
    yield (
        f"attention and gradient of {shape}: ours / the device's",
        None,
        f"{slow / fast:.2f} ({slow * 1e3:.2f} / {fast * 1e3:.2f} ms)",
    )


def decoders():
    """Yields whether training a transformer twice gives the same bits, although its embedding repeats rows."""
    for kind in ("float32", "bfloat16"):
        sizes = models.TransformerSizes(context=64, width=128, n_layers=2, n_heads=2, precision=kind)
        model = models.decoder(87, sizes)
        loss_fn = training.mean_loss(model, losses.softmax_cross_entropy_with_integer_labels)
        algorithm = training.gradient_based(model, loss_fn, optimizer=optax.adam(1e-3), metrics={})
        tokens = jax.random.randint(jax.random.key(1), (256, 65), 0, 87)
        data, key = {"inputs": tokens[:, :-1], "targets": tokens[:, 1:]}, jax.random.key(0)
        state = training.init(key, algorithm=algorithm)
        advance = partial(training.advance, algorithm=algorithm, batch_size=32, n_steps=10 if smoke else 100)
        program = compiled(advance, key, state, data, np.int32(0))
        one, other = (program(key, state, data, np.int32(0))[0] for _ in range(2))
        far = largest_difference(other.params, one.params)
        yield (
            f"a decoder in {kind} trained twice, bit for bit",
            bits(one) == bits(other),
            f"largest difference {far:.1g}",
        )


def rows():
    """Yields a row for each guarantee; one that raises does not hold, and the others are still checked."""
    for group in (chunks, runs_together, attentions, decoders, processes):
        try:
            for promise, holds, seen in group():
                yield {"promise": promise, "holds": holds, "seen": seen}
        except Exception as error:  # whatever fails, the others still run
            yield {
                "promise": group.__doc__.splitlines()[0],
                "holds": False,
                "seen": f"{type(error).__name__}: {error}"[:300],
            }


device = jax.devices()[0]
made = list(rows())
print(json.dumps({"platform": device.platform, "device": device.device_kind, "jax": jax.__version__, "promises": made}))

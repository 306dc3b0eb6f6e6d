"""One process of ``processes.py``: its share of a sweep of the main job, or of the batches of a decoder."""

import argparse
import json
import time

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("work", choices=("sweep", "decoder", "nano", "large"))
parser.add_argument("data")
parser.add_argument("--size", type=float, default=1.0)
parser.add_argument("--coordinator")
parser.add_argument("--processes", type=int)
parser.add_argument("--process", type=int, default=0)
arguments = parser.parse_args()

from jaxresearch import devices, processes  # noqa: E402

devices.split_cpu(1)  # the core of this process
if arguments.coordinator is not None:
    processes.join(coordinator=arguments.coordinator, n_processes=arguments.processes, process_id=arguments.process)

import jax  # noqa: E402
import optax  # noqa: E402

from jaxresearch import execution, gradients, losses, models, partitioning, training  # noqa: E402
from jaxresearch.execution.compilation import compiler_options  # noqa: E402

SEEDS = 8  # for each process
SIZES = {  # windows of each process, their tokens, tokens in the vocabulary (0: characters), chunks, steps of each
    "decoder": (12, 64, 0, 20, 20),  # nanoGPT's CPU configuration, by the partitioner alone
    "nano": (12, 64, 0, 20, 20),  # the same with one sum per step
    "large": (32, 128, 2048, 80, 1),  # windows and vocabulary of the experiment gene_ontology, with one sum per step
}


def sweep():
    """Returns the examples that all runs saw, and the seconds without compiling, as one part."""
    from jaxresearch import data, loading

    mnist = loading.load("mnist")
    dataset, seen = data.prepare(data.standard, data.load("mnist")), []
    few = dataset._replace(train=data.take(dataset.train, slice(max(320, int(30_000 * arguments.size)))))
    seeds = range(SEEDS * jax.process_count())
    execution.execute(mnist, mnist.hyperparameters, few, seeds=seeds, observe=seen.append)
    first, last = seen[0], seen[-1]  # in the first chunk, a process may wait for another that still compiles
    return last.n_examples - first.n_examples, [last.seconds - first.seconds]


def decoder():
    """Returns the windows of all batches, and the seconds of each chunk of steps."""
    with np.load(arguments.data) as file:
        stream, n_characters = file["train"], int(file["n_tokens"])
    n_own, context, n_tokens, chunks, n_steps = SIZES[arguments.work]
    n_windows, n_all = (len(stream) - 1) // context, n_own * jax.process_count()
    train = {
        name: stream[at : at + n_windows * context].reshape(-1, context)
        for at, name in enumerate(("inputs", "targets"))
    }
    sizes = models.TransformerSizes(context=context, width=128, n_layers=4, n_heads=4, positions="learnt", biases=False)
    model = models.decoder(n_tokens or n_characters, sizes)
    loss_fn = training.mean_loss(model, losses.softmax_cross_entropy_with_integer_labels)
    optimizer = optax.adamw(1e-3, b2=0.99, weight_decay=0.1)

    def estimator(loss_fn):
        plain = gradients.plain(loss_fn)
        return plain if arguments.work == "decoder" else gradients.sharded(plain)

    algorithm = training.gradient_based(model, loss_fn, optimizer=optimizer, metrics={}, estimator=estimator)
    algorithm = partitioning.partitioned(algorithm)

    def chunk(state, data, step):
        return training.advance(
            jax.random.key(0), state, data, step, algorithm=algorithm, batch_size=n_all, n_steps=n_steps
        )

    with jax.set_mesh(devices.mesh(data=-1)):
        train = devices.place(train, n_runs=1)
        state = jax.jit(lambda: training.init(jax.random.key(0), algorithm=algorithm))()
        lowered = jax.jit(chunk, donate_argnums=0).lower(state, train, np.int32(0))
        advance = lowered.compile(compiler_options(lowered))
        state, _ = jax.block_until_ready(advance(state, train, np.int32(0)))
        n_chunks, ended = max(1, int(chunks * arguments.size)), [time.perf_counter()]
        for number in range(1, n_chunks + 1):
            state, _ = jax.block_until_ready(advance(state, train, np.int32(number * n_steps)))
            ended.append(time.perf_counter())
    return n_chunks * n_steps * n_all, np.diff(ended).tolist()


examples, seconds = sweep() if arguments.work == "sweep" else decoder()
print(json.dumps({"examples": examples, "seconds": seconds}))

"""Time and peak memory of exact influence through a whole run, at one number of steps and one width of its network."""

import argparse
import functools
import json
import resource
import time

import jax
import jax.numpy as jnp

from jaxresearch import explain, hypergradients, losses, metrics, models, training

N_TRAIN, N_TEST, BATCH = 2_000, 2, 50

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--width", type=int, default=64)
arguments = parser.parse_args()

algorithm = training.supervised(
    models.mlp(784, (arguments.width,), 10, activation="gelu"),
    losses.softmax_cross_entropy_with_integer_labels,
    optimizer=training.gradient_descent(0.01),
    metrics={"log_loss": metrics.log_loss()},
)
run = hypergradients.Unroll(
    lambda key, h, train: training.init(key, algorithm=algorithm),
    lambda key, h, state, train, step, n: training.advance(
        key, state, train, step, algorithm=algorithm, batch_size=BATCH, n_steps=n
    )[0],
    lambda key, h, state, test: training.evaluate(key, state, test, algorithm=algorithm)["log_loss"],
)


def part(key, n):
    """Returns n random examples."""
    return {"inputs": jax.random.normal(key, (n, 784)), "targets": jnp.arange(n) % 10}


train_key, test_key, key = jax.random.split(jax.random.key(0), 3)
train, test = part(train_key, N_TRAIN), part(test_key, N_TEST)
exact = explain.influence(run, functools.partial(hypergradients.reverse, n_steps=arguments.steps))
compiled = jax.jit(exact).lower(key, {}, train, test).compile()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, cpu = time.perf_counter(), time.process_time()
jax.block_until_ready(compiled(key, {}, train, test))
taken = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
n_params = sum(leaf.size for leaf in jax.tree.leaves(training.init(key, algorithm=algorithm).params))
print(json.dumps({**taken, "parameters": n_params, "added_megabytes": added / 1024}))

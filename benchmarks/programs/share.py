"""Arithmetic rate of ten seeds relative to XLA's best matrix product on the same cores, and the time of each part."""

import json
import time

from jaxresearch import devices, sweeps

devices.split_cpu()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
from main_job import compiled, main_job  # noqa: E402

from jaxresearch import sampling  # noqa: E402

SEEDS, STEPS, BATCH = 10, 2000, 32
MFLOP = (
    2 * (2 * 784 * 128 + 3 * 128 * 10) / 1e6
)  # per sample: the first layer forward and backward, the second with the gradient of its inputs


def seconds(fun, *args, repeats=3):
    """Returns the minimum seconds of a call, without compilation."""
    program = compiled(fun, *args)
    jax.block_until_ready(program(*args))
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(program(*args))
        taken.append(time.perf_counter() - start)
    return min(taken)


def best_product():
    """Returns GFLOP/s of chains of square products, one chain per core: the best of three sizes."""
    rates = []
    for size in (256, 512, 1024):
        n_products = max(4, int(2e10 / (2 * size**3)))
        matrices = jnp.full((len(jax.devices()), size, size), 1e-3, jnp.float32)

        def chain(matrix, n_products=n_products):
            return jax.lax.scan(lambda product, _: (matrix @ product, None), matrix, length=n_products)[0]

        rates.append(len(matrices) * n_products * 2 * size**3 / seconds(sweeps.sweep(chain), matrices) / 1e9)
    return max(rates)


def us_per_sample(step, carry):
    """Returns the microseconds per sample and seed of ``STEPS`` steps of one part of the work, over all seeds."""

    def run(key):
        # Every seed has different numbers; otherwise one computation would serve them all.
        factor = 1 + 1e-3 * jax.random.uniform(key)
        started = jax.tree.map(lambda leaf: leaf * factor if leaf.dtype == jnp.float32 else leaf, carry)
        return jax.lax.scan(lambda carry, t: (step(carry, t, key), None), started, jnp.arange(STEPS))[0]

    return seconds(sweeps.sweep(run), sweeps.keys(range(SEEDS))) / (SEEDS * STEPS * BATCH) * 1e6


job = main_job()
keys, train = sweeps.keys(range(SEEDS)), devices.place(job.dataset.train, n_runs=SEEDS)
ten_seeds = sweeps.sweep(job.program.run, (0, None, None))
whole = seconds(ten_seeds, keys, job.hyperparameters, train) / (SEEDS * 300_000) * 1e6

inputs = jnp.asarray(job.dataset.train["inputs"]).reshape(-1, 784)
weights = {"w": jnp.full((784, 128), 0.01), "v": jnp.full((128, 10), 0.01)}
optimizer = optax.adam(1e-3, eps_root=1e-24)


def products(carry, t, key):
    """Computes the five products of a step, and only what keeps XLA from dropping them."""
    weights, x = carry
    hidden = x @ weights["w"]
    back = (hidden @ weights["v"]) @ weights["v"].T
    gradient = {"w": x.T @ back, "v": hidden.T @ (hidden @ weights["v"])}
    return jax.tree.map(lambda w, g: w + 1e-9 * g, weights, gradient), x


def adam(carry, t, key):
    """Takes one Adam step."""
    weights, state = carry
    updates, state = optimizer.update(weights, state)
    return optax.apply_updates(weights, updates), state


def gather(carry, t, key):
    """Draws the order and gathers a batch."""
    rows = sampling.batch_indices(key, t, n_examples=60_000, batch_size=BATCH)
    return carry + inputs.at[rows].get(mode="promise_in_bounds").astype(jnp.float32)


best = best_product()
print(
    json.dumps(
        {
            "share": MFLOP / whole * 1e3 / best,
            "whole_us": whole,
            "arithmetic_us": MFLOP / best * 1e3,
            "products_us": us_per_sample(products, (weights, jnp.full((BATCH, 784), 0.5))),
            "adam_us": us_per_sample(adam, (weights, optimizer.init(weights))),
            "gather_us": us_per_sample(gather, jnp.zeros((BATCH, 784))),
        }
    )
)

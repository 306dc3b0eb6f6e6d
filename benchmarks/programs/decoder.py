"""The same transformer by this toolkit: a model, a loss, a step, and a scan of steps a chunk."""

import argparse
import json
import math
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxresearch import devices, gradients, losses, models, training
from jaxresearch.execution.compilation import compiler_options

CONTEXT, BATCH, WARM_UP, CHUNK = 64, 12, 100, 100

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--steps", type=int, default=2000)
arguments = parser.parse_args()


def windows(stream):
    """Returns a stream of characters cut into stretches, and the same a character on."""
    n_windows = (len(stream) - 1) // CONTEXT
    starts = {"inputs": 0, "targets": 1}
    return {name: stream[at : at + n_windows * CONTEXT].reshape(-1, CONTEXT) for name, at in starts.items()}


n_devices = math.gcd(BATCH, devices.split_cpu())  # a batch is split over the cores, in equal parts
with np.load(arguments.data) as file:
    train, validation = (windows(file[part]) for part in ("train", "validation"))
    n_tokens = int(file["n_tokens"])

sizes = models.TransformerSizes(context=CONTEXT, width=128, n_layers=4, n_heads=4, positions="learnt", biases=False)
model = models.decoder(n_tokens, sizes)
loss_fn = training.mean_loss(model, losses.softmax_cross_entropy_with_integer_labels)
optimizer = optax.adamw(
    optax.warmup_cosine_decay_schedule(1e-3 / (WARM_UP + 1), 1e-3, WARM_UP, arguments.steps, 1e-4),
    b2=0.99,
    weight_decay=0.1,
    mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
)


def estimator(loss_fn):
    """Returns the gradient estimator: a part of the batch on each core, clipped."""
    return gradients.clipped(gradients.sharded(gradients.plain(loss_fn), n_devices=n_devices), max_norm=1.0)


algorithm = training.gradient_based(model, loss_fn, optimizer=optimizer, metrics={}, estimator=estimator)


def chunk(key, state, data, step):
    """Returns the state some steps later, and the loss of each step."""
    return training.advance(key, state, data, step, algorithm=algorithm, batch_size=BATCH, n_steps=CHUNK)


def held_out_loss(state, data):
    """Returns the mean cross entropy over some of the validation's stretches, in nats."""
    batches = jax.tree.map(lambda leaf: leaf.reshape(-1, 100, CONTEXT), data)
    return jax.lax.map(lambda batch: loss_fn(state.params, state.model_state, batch, None)[0], batches).mean()


key = jax.random.key(0)
state = training.init(key, algorithm=algorithm)
state, train = devices.place((state, train), n_runs=n_devices)
began = time.perf_counter()
advance = jax.jit(chunk, compiler_options=compiler_options()).lower(key, state, train, np.int32(0)).compile()
compile_seconds = time.perf_counter() - began

seen, taken = [], []
for step in range(0, arguments.steps // CHUNK * CHUNK, CHUNK):
    began = time.perf_counter()
    state, history = jax.block_until_ready(advance(key, state, train, np.int32(step)))
    taken.append(time.perf_counter() - began)
    seen.extend(history["loss"].tolist())

held_out = jax.tree.map(lambda leaf: jnp.asarray(leaf[:2000]), validation)
seconds = statistics.median(taken) / CHUNK
print(
    json.dumps(
        {
            "step_ms": seconds * 1e3,
            "tokens_per_second": BATCH * CONTEXT / seconds,
            "train_loss": statistics.fmean(seen[-100:]),
            "validation_loss": float(jax.jit(held_out_loss)(state, held_out)),
            "compile_seconds": compile_seconds,
            "losses": seen[49::50],
        }
    )
)

"""The transformer of ``torch_decoder.py`` in this package: a model, a loss, a step, and a scan over the steps of a chunk."""

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

WARM_UP = 100
SIZES = {  # layers, heads, width, context, batch, vocabulary size (0: the characters of the text), rate
    "cpu": (4, 4, 128, 64, 12, 0, 1e-3),  # nanoGPT's CPU configuration
    "gpu": (6, 6, 384, 256, 64, 0, 1e-3),  # its GPU configuration
    "gpt2": (12, 12, 768, 1024, 16, 50_304, 6e-4),  # GPT-2 small, 124 million parameters
}

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--chunk", type=int, default=100)
parser.add_argument("--size", choices=tuple(SIZES), default="cpu")
parser.add_argument("--bfloat16", action="store_true")
arguments = parser.parse_args()
LAYERS, HEADS, WIDTH, CONTEXT, BATCH, N_TOKENS, RATE = SIZES[arguments.size]
CHUNK = arguments.chunk


def windows(stream):
    """Returns a stream of characters cut into windows, and the same windows shifted by one character."""
    n_windows = (len(stream) - 1) // CONTEXT
    starts = {"inputs": 0, "targets": 1}
    return {name: stream[at : at + n_windows * CONTEXT].reshape(-1, CONTEXT) for name, at in starts.items()}


devices.split_cpu()
n_devices = math.gcd(BATCH, devices.available())  # a batch is split equally over the devices
with np.load(arguments.data) as file:
    train, validation = (windows(file[part]) for part in ("train", "validation"))
    n_tokens = N_TOKENS or int(file["n_tokens"])

sizes = models.TransformerSizes(
    context=CONTEXT,
    width=WIDTH,
    n_layers=LAYERS,
    n_heads=HEADS,
    positions="learnt",
    biases=False,
    precision="bfloat16" if arguments.bfloat16 else "float32",
)
model = models.decoder(n_tokens, sizes)
loss_fn = training.mean_loss(model, losses.softmax_cross_entropy_with_integer_labels)
optimizer = optax.adamw(
    optax.warmup_cosine_decay_schedule(
        RATE / (WARM_UP + 1), RATE, WARM_UP, max(arguments.steps, WARM_UP + 1), RATE / 10
    ),
    b2=0.99,
    weight_decay=0.1,
    mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
)


def estimator(loss_fn):
    """Returns the clipped gradient estimator, with a part of the batch on each core if there are several."""
    plain = gradients.plain(loss_fn)
    return gradients.clipped(gradients.sharded(plain, n_devices=n_devices) if n_devices > 1 else plain, max_norm=1.0)


algorithm = training.gradient_based(model, loss_fn, optimizer=optimizer, metrics={}, estimator=estimator)


def chunk(key, state, data, step):
    """Returns the state after a chunk of steps, and the loss of each step."""
    return training.advance(key, state, data, step, algorithm=algorithm, batch_size=BATCH, n_steps=CHUNK)


def held_out_loss(state, data):
    """Returns the mean cross entropy over some of the validation windows, in nats."""
    batches = jax.tree.map(lambda leaf: leaf.reshape(-1, 20, CONTEXT), data)
    return jax.lax.map(lambda batch: loss_fn(state.params, state.model_state, batch, None)[0], batches).mean()


key = jax.random.key(0)
state = training.init(key, algorithm=algorithm)
state, train = devices.place((state, train), n_runs=n_devices)
began = time.perf_counter()
lowered = jax.jit(chunk).lower(key, state, train, np.int32(0))
advance = lowered.compile(compiler_options(lowered))
compile_seconds = time.perf_counter() - began

seen, taken = [], []
for step in range(0, arguments.steps // CHUNK * CHUNK, CHUNK):
    began = time.perf_counter()
    state, history = jax.block_until_ready(advance(key, state, train, np.int32(step)))
    taken.append(time.perf_counter() - began)
    seen.extend(history["loss"].tolist())

held_out = jax.tree.map(lambda leaf: jnp.asarray(leaf[: min(2000, len(leaf) // 20 * 20)]), validation)
seconds = statistics.median(taken) / CHUNK
print(
    json.dumps(
        {
            "step_ms": seconds * 1e3,
            "tokens_per_second": BATCH * CONTEXT / seconds,
            "n_parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
            "train_loss": statistics.fmean(seen[-100:]),
            "validation_loss": float(jax.jit(held_out_loss)(state, held_out)),
            "compile_seconds": compile_seconds,
            "losses": seen[49::50],
        }
    )
)

"""Private training, and the same without privacy: a dense network, a convolutional one, a decoder. One chunk after another."""

import argparse
import functools
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxresearch import gradients, losses, models, privacy, training
from jaxresearch.execution.compilation import compiler_options

BATCH = {"mlp": 256, "cnn": 256, "decoder": 64}
N_PARTS = {"mlp": 4, "cnn": 16, "decoder": 32}  # gradients of examples that fit the cache
LAYERS, HEADS, WIDTH, CONTEXT = 4, 4, 128, 64  # nanoGPT's CPU configuration

parser = argparse.ArgumentParser()
parser.add_argument("work", choices=tuple(BATCH))
parser.add_argument("data")
parser.add_argument("--steps", type=int, default=100)
parser.add_argument("--chunk", type=int, default=20)
parser.add_argument(
    "--plain", action="store_true", help="time training without privacy, and the draw of the noise, as well"
)
arguments = parser.parse_args()


class Cnn(nn.Module):
    """The network of Opacus's MNIST example."""

    @nn.compact
    def __call__(self, x):
        """Returns logits."""
        conv = functools.partial(nn.Conv, strides=2, conv_general_dilated=models.conv_general_dilated)
        x = nn.relu(conv(16, (8, 8), padding=3)(x.reshape(-1, 28, 28, 1)))
        x = models.max_pool(x, (2, 2))
        x = nn.relu(conv(32, (4, 4), padding="VALID")(x))
        x = models.max_pool(x, (2, 2))
        x = nn.relu(nn.Dense(32)(x.reshape(x.shape[0], -1)))
        return nn.Dense(10)(x)


def decoder(n_tokens):
    """Returns the decoder of ``decoder.py``."""
    sizes = models.TransformerSizes(
        context=CONTEXT, width=WIDTH, n_layers=LAYERS, n_heads=HEADS, positions="learnt", biases=False
    )
    return models.decoder(n_tokens, sizes)


def read():
    """Returns the training data and the model."""
    with np.load(arguments.data) as file:
        if arguments.work == "decoder":
            stream = file["train"].astype(np.int32)
            n = (len(stream) - 1) // CONTEXT * CONTEXT
            data = {"inputs": stream[:n].reshape(-1, CONTEXT), "targets": stream[1 : n + 1].reshape(-1, CONTEXT)}
            return data, decoder(int(file["n_tokens"]))
        data = {
            "inputs": file["x_train"].reshape(-1, 784) / np.float32(255),
            "targets": file["y_train"].astype(np.int32),
        }
        model = models.mlp(784, (128,), 10) if arguments.work == "mlp" else models.linen(Cnn(), jnp.zeros((1, 784)))
        return data, model


data, model = read()
data, key = jax.device_put(data), jax.random.key(0)
n, batch_size = len(data["inputs"]), BATCH[arguments.work]
mechanism = privacy.Mechanism(
    noise_multiplier=1.0, clip=1.0, n_examples=n, batch_size=batch_size, n_steps=arguments.steps, delta=0.1 / n
)


def algorithm_of(estimator):
    """Returns gradient descent with an estimator."""
    loss = losses.softmax_cross_entropy_with_integer_labels
    return training.supervised(model, loss, optimizer=training.gradient_descent(0.1), metrics={}, estimator=estimator)


def private(loss_fn):
    """Returns the private estimator."""
    return privacy.private(loss_fn, mechanism, n_micro_batches=N_PARTS[arguments.work])


def chunk_of(algorithm, sampling):
    """Returns the compiled chunk of training."""

    def chunk(state, data, step):
        n_steps = arguments.chunk
        return training.advance(key, state, data, step, algorithm=algorithm, batch_size=sampling, n_steps=n_steps)[0]

    return compiled(chunk)


def compiled(fun):
    """Returns the program of a function of a state, as by the command line."""
    lowered = jax.jit(fun).lower(initial, data, np.int32(0))
    return lowered.compile(compiler_options(lowered))


def noise(state, data, step):
    """Returns as many draws of noise as a chunk takes, summed."""
    del data

    def draw(total, key):
        leaves, structure = jax.tree.flatten(total)
        keys = jax.random.split(key, len(leaves))
        return jax.tree.unflatten(
            structure, [a + jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
        ), None

    keys = jax.random.split(jax.random.fold_in(key, step), arguments.chunk)
    return state._replace(params=jax.lax.scan(draw, state.params, keys)[0])


initial = training.init(key, algorithm=algorithm_of(private))
chunks = {"step": chunk_of(algorithm_of(private), mechanism.sampling)}
if arguments.plain:
    chunks["plain"] = chunk_of(algorithm_of(gradients.plain), batch_size)
    chunks["noise"] = compiled(noise)
states, taken = dict.fromkeys(chunks, initial), {name: [] for name in chunks}
for step in range(0, arguments.steps, arguments.chunk):
    for name, chunk in chunks.items():  # alternately, so that a change in the machine's speed affects all
        began = time.perf_counter()
        states[name] = jax.block_until_ready(chunk(states[name], data, np.int32(step)))
        taken[name].append(time.perf_counter() - began)

times = {f"{name}_ms": statistics.median(seconds) / arguments.chunk * 1e3 for name, seconds in taken.items()}
outputs, _ = jax.jit(model.apply)(states["step"].params, {}, data["inputs"][:1000])
accuracy = float((outputs.argmax(-1) == data["targets"][:1000]).mean())
print(json.dumps({**times, "examples_per_second": batch_size / times["step_ms"] * 1e3, "accuracy": accuracy}))

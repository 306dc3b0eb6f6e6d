"""Attributions in this package: integrated gradients and occlusion of a 784-128-10 network, Shapley sampling of a table's."""

import argparse
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxresearch import devices, explain, models
from jaxresearch.execution.compilation import compiler_options

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("method", choices=("integrated", "shapley", "occlusion"))
parser.add_argument("--images", type=int, default=1000)
parser.add_argument("--repeats", type=int, default=5)
arguments = parser.parse_args()
devices.split_cpu()

with np.load(arguments.data) as file:
    images = jnp.asarray(file["x_test"][: arguments.images] / np.float32(255))[..., None]
    classes = jnp.asarray(file["y_test"][: arguments.images].astype(np.int32))
    params = {
        f"Dense_{i}": {"kernel": jnp.asarray(file[f"kernel_{i}"]), "bias": jnp.asarray(file[f"bias_{i}"])}
        for i in range(2)
    }
model = models.mlp(784, (128,), 10)
random = np.random.default_rng(0)
table = jnp.asarray(random.normal(size=(arguments.images, 20)).astype(np.float32))
over_devices = NamedSharding(devices.mesh(data=-1), PartitionSpec("data"))  # examples on all cores
wide, narrow = (random.normal(size=shape).astype(np.float32) / shape[0] ** 0.5 for shape in ((20, 64), (64, 1)))


def attribute(params, images, classes, table):
    """Returns the attributions of all examples."""
    predict = lambda x: model.apply(params, {}, x)[0]  # noqa: E731
    if arguments.method == "integrated":
        return explain.integrated_gradients(predict, images, target=classes, n_steps=64)[0]
    if arguments.method == "shapley":
        predict = lambda x: jnp.tanh(x @ wide) @ narrow  # noqa: E731
        return explain.sampled_shapley_values(jax.random.key(0), predict, table, n_pairs=50)[0]
    return explain.occlusion(predict, images, target=classes, window=(4, 4), stride=(2, 2))


everywhere = NamedSharding(over_devices.mesh, PartitionSpec())
given = (devices.put(params, everywhere), *devices.put((images, classes, table), over_devices))
start = time.perf_counter()
lowered = jax.jit(attribute).lower(*given)
compiled = lowered.compile(compiler_options(lowered))
compile_seconds = time.perf_counter() - start
taken = []
for _ in range(arguments.repeats):
    start = time.perf_counter()
    attributions = jax.block_until_ready(compiled(*given))
    taken.append(time.perf_counter() - start)
print(
    json.dumps(
        {
            "attribute_seconds": statistics.median(taken),
            "compile_seconds": compile_seconds,
            "total": float(abs(attributions).sum()),
        }
    )
)

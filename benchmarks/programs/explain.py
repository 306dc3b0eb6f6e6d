"""Attributions of a 784-128-10 network in this package: integrated gradients, sampled Shapley values, occlusion."""

import argparse
import json
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch import explain, models
from jaxresearch.execution.compilation import compiler_options

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("method", choices=("integrated", "shapley", "occlusion"))
parser.add_argument("--images", type=int, default=1000)
parser.add_argument("--repeats", type=int, default=5)
arguments = parser.parse_args()

with np.load(arguments.data) as file:
    images = jnp.asarray(file["x_test"][: arguments.images] / np.float32(255))[..., None]
    classes = jnp.asarray(file["y_test"][: arguments.images].astype(np.int32))
    params = {
        f"Dense_{i}": {"kernel": jnp.asarray(file[f"kernel_{i}"]), "bias": jnp.asarray(file[f"bias_{i}"])}
        for i in range(2)
    }
model = models.mlp(784, (128,), 10)
patches = explain.patches((28, 28, 1), (7, 7))


def attribute(params, images, classes):
    """Returns the attributions of all images."""
    predict = lambda x: model.apply(params, {}, x)[0]  # noqa: E731
    if arguments.method == "integrated":
        return explain.integrated_gradients(predict, images, target=classes, n_steps=64)[0]
    if arguments.method == "shapley":
        key = jax.random.key(0)
        return explain.sampled_shapley_values(key, predict, images, target=classes, groups=patches, n_pairs=12)[0]
    return explain.occlusion(predict, images, target=classes, window=(4, 4), stride=(2, 2))


start = time.perf_counter()
compiled = jax.jit(attribute, compiler_options=compiler_options()).lower(params, images, classes).compile()
compile_seconds = time.perf_counter() - start
taken = []
for _ in range(arguments.repeats):
    start = time.perf_counter()
    attributions = jax.block_until_ready(compiled(params, images, classes))
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

"""The attributions of ``explain.py`` in Captum."""

import argparse
import json
import statistics
import time

import numpy as np
import torch
from captum import attr

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("method", choices=("integrated", "shapley", "occlusion"))
parser.add_argument("--images", type=int, default=1000)
parser.add_argument("--repeats", type=int, default=5)
arguments = parser.parse_args()

with np.load(arguments.data) as file:
    images = torch.tensor(file["x_test"][: arguments.images, None] / np.float32(255))
    classes = torch.tensor(file["y_test"][: arguments.images].astype(np.int64))
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    )
    for i, layer in enumerate((network[1], network[3])):
        layer.weight.data, layer.bias.data = torch.tensor(file[f"kernel_{i}"].T.copy()), torch.tensor(file[f"bias_{i}"])
network.requires_grad_(False)  # no gradients of the weights
rows, columns = np.indices((28, 28)) // 7
patches = torch.tensor(4 * rows + columns)[None, None]


def attribute(images, classes):
    """Returns the attributions of all images, with Captum's fastest batches for this machine's caches."""
    if arguments.method == "integrated":
        method = attr.IntegratedGradients(network)
        return method.attribute(images, target=classes, n_steps=64, internal_batch_size=1000)
    if arguments.method == "shapley":  # 24 permutations: as many as 12 pairs
        method = attr.ShapleyValueSampling(network)
        return method.attribute(images, target=classes, feature_mask=patches, n_samples=24)
    return attr.Occlusion(network).attribute(images, target=classes, sliding_window_shapes=(1, 4, 4), strides=(1, 2, 2))


attribute(images, classes)  # warms up
taken = []
for _ in range(arguments.repeats):
    start = time.perf_counter()
    attributions = attribute(images, classes)
    taken.append(time.perf_counter() - start)
if arguments.method == "shapley":
    attributions = attributions[:, :, ::7, ::7]  # one entry of each patch
print(json.dumps({"attribute_seconds": statistics.median(taken), "total": float(attributions.abs().sum())}))

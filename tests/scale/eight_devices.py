"""Trains three small networks and sweeps within sweeps on one device, on eight, or on eight of two processes: a program.

It writes their losses to a file:

python tests/scale/eight_devices.py FILE [--devices 8] [--process I --port PORT] [--meshes NAME,NAME]
"""

import argparse
import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import optax

from jaxresearch import devices, execution, gradients, loading, models, partitioning, processes, sweeps, training
from jaxresearch import losses as losses_of
from jaxresearch.data import DataCard, Dataset
from jaxresearch.execution import compilation

MESHES = {
    "data": {"data": 8},
    "fsdp": {"fsdp": 8},
    "tensor": {"data": 2, "tensor": 4},
    "tensor alone": {"tensor": 8},
    "runs and data": {"runs": 2, "data": 4},
    "runs and fsdp": {"runs": 2, "fsdp": 4},
    "runs and tensor": {"runs": 2, "data": 2, "tensor": 2},
}
N_STEPS, BATCH, N_CLASSES, CONTEXT = 50, 16, 10, 32


def part(n, inputs, targets):
    """Returns n examples: arrays drawn by these functions of a generator and a number of examples."""
    generator = np.random.default_rng(n)
    return {"inputs": inputs(generator, n), "targets": targets(generator, n)}


def dataset(card, inputs, targets, **fitted):
    """Returns data for 50 steps."""
    n_train = N_STEPS * BATCH
    return Dataset(part(n_train, inputs, targets), part(32, inputs, targets), None, card, fitted=fitted)


def tokens(n_tokens, *shape):
    """Returns a function that draws tokens."""
    return lambda generator, n: generator.integers(0, n_tokens, (n, *shape)).astype(np.int32)


def cases():
    """Returns the experiment, the settings and the data of each network: 50 steps of 16 examples."""
    mnist, genome, decoder = map(loading.load, ("mnist", "genome", "gene_ontology"))
    names = tuple(map(str, range(N_CLASSES)))
    pixels = DataCard(name="pixels", source="", class_names=names, feature_shape=(784,))
    windows = DataCard(name="windows", source="", class_names=("N", "EI", "IE"), feature_shape=(20,))
    words = DataCard(name="words", source="", feature_shape=(CONTEXT,), vocabulary=tuple(map(str, range(256))))
    short = {"batch_size": BATCH, "epochs": 1}
    small = {**short, "width": 32, "n_layers": 2, "n_heads": 4, "dropout_rate": 0.0}
    return {
        "network": (
            mnist,
            dataclasses.replace(mnist.hyperparameters, **short),
            dataset(pixels, lambda generator, n: generator.normal(size=(n, 784)).astype(np.float32), tokens(N_CLASSES)),
        ),
        "encoder": (
            genome,
            dataclasses.replace(genome.hyperparameters, **small, n_members=2),
            dataset(windows, tokens(64, 20), tokens(3)),
        ),
        "decoder": (
            decoder,
            dataclasses.replace(decoder.hyperparameters, **small),
            dataset(words, tokens(256, CONTEXT), tokens(256, CONTEXT), n_bytes=np.ones(256, np.int64)),
        ),
    }


def losses(experiment, settings, data):
    """Returns the training losses of two seeds, and the metrics of their outcomes."""
    found = []
    observe = lambda progress: found.append(progress.metrics["loss"])  # noqa: E731
    outcome = execution.execute(experiment, settings, data, seeds=[0, 1], observe=observe)
    metrics = {name: np.asarray(value).tolist() for name, value in outcome.metrics.items()}
    return {"losses": np.concatenate(found, axis=1).tolist(), "metrics": metrics}


def nested_losses():
    """Returns the losses of two learning rates, swept within a sweep over two seeds; the mesh's axis ``data`` splits by hand."""
    is_split = "data" in devices.free_axes()
    estimator = (lambda loss_fn: gradients.sharded(gradients.plain(loss_fn))) if is_split else gradients.plain
    loss = losses_of.softmax_cross_entropy_with_integer_labels
    batch = part(BATCH, lambda generator, n: generator.normal(size=(n, 8)).astype(np.float32), tokens(2))

    def last_loss(rate, key):
        model = models.mlp(8, (16,), 2)
        algorithm = training.supervised(model, loss, optimizer=optax.sgd(rate), metrics={}, estimator=estimator)
        plan = training.Plan(BATCH, N_STEPS, None)
        _, metrics = training.run(key, batch, algorithm=partitioning.partitioned(algorithm), plan=plan)
        return metrics["loss"][-1]

    over_rates = sweeps.sweep(last_loss, (0, None))
    over_seeds = jax.jit(sweeps.sweep(lambda key, rates: over_rates(rates, key), (0, None)))
    keys = devices.place(sweeps.keys([0, 1]), n_runs=2)
    return devices.fetch(over_seeds(keys, np.float32([0.1, 0.3]))).tolist()


def main():
    """Trains on the devices of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--process", type=int)
    parser.add_argument("--port", type=int)
    parser.add_argument("--meshes", default=",".join(MESHES))
    asked = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", asked.devices)
    compilation.compiler_options = lambda program: {}  # compiled as the tests compile all else
    if asked.process is not None:
        processes.join(coordinator=f"127.0.0.1:{asked.port}", n_processes=2, process_id=asked.process)
    found: dict = {"nested": {}}
    for network, case in cases().items():
        if asked.devices == 1:
            found[network] = {"none": losses(*case)}
            continue
        found[network] = {}
        for name in asked.meshes.split(","):
            with jax.set_mesh(devices.mesh(**MESHES[name])):
                found[network][name] = losses(*case)
    for name in asked.meshes.split(",") if asked.devices > 1 else ("none",):
        with jax.set_mesh(devices.mesh(**MESHES.get(name, {"data": -1}))):
            found["nested"][name] = {"losses": nested_losses(), "metrics": {}}
    if processes.is_main():
        asked.file.write_text(json.dumps(found))


if __name__ == "__main__":
    main()

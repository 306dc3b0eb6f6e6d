"""784-128-10 on MNIST, read from disk by Grain or tf.data, which feed the jitted step of the main job one batch at a time."""

import argparse
import json
import time
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("loader", choices=("grain", "tf.data"))
parser.add_argument("data")
parser.add_argument("--epochs", type=int, default=5)
arguments = parser.parse_args()
if arguments.loader == "grain":
    import grain
else:
    import tensorflow as tf

import jax  # noqa: E402
from main_job import compiled, main_job  # noqa: E402

from jaxresearch import training  # noqa: E402
from jaxresearch.data.files.streamed import ArrayOnDisk  # noqa: E402

BATCH, PIXELS = 32, 784
images, labels = (ArrayOnDisk(Path(arguments.data), member=name) for name in ("x_train", "y_train"))
in_memory = labels.read(np.arange(len(labels))).astype(np.int32)


class Examples:
    """The examples of the training part; images stay on disk."""

    def __len__(self):
        return len(images)

    def __getitem__(self, place):
        return {"inputs": images[place], "targets": in_memory[place]}


def by_grain(epoch):
    """Returns the shuffled batches of an epoch, as in Grain's guide to `MapDataset`."""
    batches = grain.MapDataset.source(Examples()).shuffle(seed=epoch).batch(BATCH, drop_remainder=True)
    return batches.to_iter_dataset()


def by_tf_data(epoch):
    """Returns the shuffled batches of an epoch, as in TensorFlow's guide to `tf.data`."""
    end = Path(arguments.data).stat().st_size - images._start - len(images) * PIXELS
    records = tf.data.FixedLengthRecordDataset(
        arguments.data, PIXELS, header_bytes=images._start, footer_bytes=end, buffer_size=2**20
    )
    pixels = records.map(lambda record: tf.io.decode_raw(record, tf.uint8), num_parallel_calls=tf.data.AUTOTUNE)
    examples = tf.data.Dataset.zip({"inputs": pixels, "targets": tf.data.Dataset.from_tensor_slices(in_memory)})
    batches = examples.shuffle(10_000, seed=epoch).batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    return batches.as_numpy_iterator()


job, key = main_job(), jax.random.key(0)
algorithm, shape = job.program.algorithm(job.hyperparameters), job.dataset.train["inputs"].shape[1:]


def step(state, batch, number):
    """Takes one step of the main job."""
    batch = {**batch, "inputs": batch["inputs"].reshape(BATCH, *shape)}
    return algorithm.step(state, batch, jax.random.fold_in(key, number))[0]


epoch_of = by_grain if arguments.loader == "grain" else by_tf_data
state, number, later = training.init(key, algorithm=algorithm), 0, []
take = compiled(step, state, next(iter(epoch_of(0))), np.int32(0))
for epoch in range(arguments.epochs):
    began = time.perf_counter()
    for batch in epoch_of(epoch):
        state = take(state, batch, np.int32(number))
        number += 1
    jax.block_until_ready(state)
    if epoch:
        later.append(time.perf_counter() - began)
found = jax.jit(job.program.evaluate)(key, job.hyperparameters, state, job.dataset.test)
train_us = sum(later) / len(later) / len(images) * 1e6
print(json.dumps({"train_us": train_us, "accuracy": [float(found["accuracy"])]}))

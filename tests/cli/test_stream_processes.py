"""``--stream`` in two processes that split each batch: each reads its half from disk."""

import json
import os
import socket
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest

from jaxresearch import records

STREAMED = """
import atexit, json, os, threading
import numpy as np
import jax
import optax
from jaxresearch import data, losses, metrics, models, training
from jaxresearch.data import DataCard, Dataset, Preprocessor, Rows
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static

class Counting:
    def __init__(self, values):
        self.values, self.n_read, self.digest, self.lock = values, 0, "the same", threading.Lock()

    def __len__(self):
        return len(self.values)

    def read(self, places):
        with self.lock:
            self.n_read += len(places)
        return self.values[places]

def written(source, folder):
    with open(f"{folder}/read-{jax.process_index()}.json", "w") as file:
        json.dump(source.n_read, file)

def collect(source, *, target=None, stream=False):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(160, 4)).astype(np.float32)
    y = (x.sum(axis=1) > 0).astype(np.int32)
    counting = Counting(x)
    train = {"inputs": Rows(counting) if stream else x, "targets": y}
    counting.n_read = 0  # of an example, for its shape
    atexit.register(written, counting, os.getcwd())
    card = DataCard(name="a", source="b", class_names=("no", "yes"), feature_shape=(4,))
    return Dataset(train, {"inputs": x, "targets": y}, None, card)

@hyperparameters
class Settings:
    batch_size: int = static(16, "examples per step", at_least=1)
    epochs: int = static(3, "passes over the data", at_least=1)

def algorithm(h, card, plan, fitted):
    return training.supervised(
        models.linear(4, 2), losses.softmax_cross_entropy_with_integer_labels, estimator=plan.estimator,
        optimizer=optax.sgd(0.1), metrics={"log_loss": metrics.log_loss()},
    )

experiment = Experiment(
    question="Is the sum positive?", minimise="log_loss", hyperparameters=Settings(), source="b", collect=collect,
    preprocess=Preprocessor(), algorithm=algorithm,
)
"""


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def loss_of(folder):
    return json.loads((folder / "result.json").read_text())["metrics"]["test/log_loss"]["values"]


def train_in_two_processes(folder, *words):
    """Trains with two processes of one device each, in the directory ``split``."""
    joined = ["--stream", "--mesh", "data=2", "--directory", "split", "--distributed", "--processes", "2"]
    joined += ["--coordinator", f"127.0.0.1:{free_port()}"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "jaxresearch", *words, *joined, "--process", str(process)],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in range(2)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors


@pytest.mark.long
def test_each_of_two_processes_reads_its_half_of_a_batch(tmp_path, command):
    (tmp_path / "streamed.py").write_text(STREAMED)
    words = ["run", "streamed.py", "--seeds", "1"]
    train_in_two_processes(tmp_path, *words)
    assert [json.loads((tmp_path / f"read-{process}.json").read_text()) for process in range(2)] == [3 * 80] * 2
    done = command(*words, "--directory", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(loss_of(tmp_path / "split"), loss_of(tmp_path / "whole"), rtol=1e-6)


@pytest.mark.long
def test_two_processes_share_the_secret_of_a_private_run(tmp_path, command):
    (tmp_path / "streamed.py").write_text(STREAMED)
    words = ["run", "streamed.py", "--seeds", "1", "--private", "noise=1,delta=1e-5,clip=1"]
    train_in_two_processes(tmp_path, *words)
    secret = records.noise_secret(tmp_path / "split")
    with mock.patch.object(records, "noise_secret", return_value=secret):
        done = command(*words, "--directory", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(loss_of(tmp_path / "split"), loss_of(tmp_path / "whole"), rtol=1e-5)

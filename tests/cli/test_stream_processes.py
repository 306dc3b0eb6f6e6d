"""``--stream`` in two processes: each reads the rows that its devices hold."""

import json
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
    if stream:
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


def loss_of(folder):
    return json.loads((folder / "result.json").read_text())["metrics"]["test/log_loss"]["values"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "n_read"),
    [
        (("--seeds", "1", "--mesh", "data=2"), 3 * 80),  # half of each batch
        (("--seeds", "2"), 3 * 160 * 2),  # the batches of both seeds, of which each process trains one
    ],
    ids=["data", "runs"],
)
def test_each_of_two_processes_reads_what_its_devices_hold(tmp_path, command, joined, options, n_read):
    (tmp_path / "streamed.py").write_text(STREAMED)
    words = ["run", "streamed.py", *options]
    done = joined.carry_out(*words, "--stream", "--directory", "split", cwds=[tmp_path] * 2)
    assert done == ([0, 0], [])
    assert [json.loads((tmp_path / f"read-{process}.json").read_text()) for process in range(2)] == [n_read] * 2
    done = command("run", "streamed.py", *options[:2], "--directory", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(loss_of(tmp_path / "split"), loss_of(tmp_path / "whole"), rtol=1e-6)


@pytest.mark.long
def test_two_processes_share_the_secret_of_a_private_run(tmp_path, command, joined):
    (tmp_path / "streamed.py").write_text(STREAMED)
    words = ["run", "streamed.py", "--seeds", "1", "--private", "noise=1,delta=1e-5,clip=1"]
    joined_words = (*words, "--stream", "--mesh", "data=2", "--directory", "split")
    assert joined.carry_out(*joined_words, cwds=[tmp_path] * 2) == ([0, 0], [])
    secret = records.noise_secret(tmp_path / "split")
    with mock.patch.object(records, "noise_secret", return_value=secret):
        done = command(*words, "--directory", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(loss_of(tmp_path / "split"), loss_of(tmp_path / "whole"), rtol=1e-5)

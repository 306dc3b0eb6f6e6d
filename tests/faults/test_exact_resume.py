"""k steps, saved to disk, and k more equal 2k steps bit for bit: for ten optimizers and every kind of state."""

import dataclasses
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxresearch import execution, gradients, losses, metrics, models, training
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.records import Checkpoints
from jaxresearch.statistics import Claim

ROOT = Path(__file__).parents[2]
OPTIMIZERS = {
    "sgd": optax.sgd,
    "nesterov": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "adam": optax.adam,
    "adamw": optax.adamw,
    "nadam": optax.nadam,
    "rmsprop": lambda rate: optax.rmsprop(rate, centered=True, momentum=0.5),
    "adagrad": optax.adagrad,
    "adafactor": lambda rate: optax.adafactor(rate, min_dim_size_to_factor=4),
    "lion": optax.lion,
    "lamb": optax.lamb,
    "noisy_sgd": lambda rate: optax.noisy_sgd(rate, key=jax.random.key(5)),
    "every_third": lambda rate: optax.MultiSteps(optax.adam(rate), every_k_schedule=3).gradient_transformation(),
}


@hyperparameters
class Settings:
    learning_rate: float = swept(1e-2, "step size")
    optimizer: str = static("adam", "which")
    batch_size: int = static(12, "examples per step")
    epochs: int = static(5, "passes over the data")


class Network(nn.Module):
    """Batch statistics in the model's state, and dropout."""

    @nn.compact
    def __call__(self, inputs, train: bool):
        hidden = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(inputs)))
        return nn.Dense(3)(nn.Dropout(0.3, deterministic=not train)(hidden))


def algorithm(h, card, plan, fitted):
    return training.supervised(
        models.linen(Network(), jax.ShapeDtypeStruct((1, 4), jnp.float32)),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=OPTIMIZERS[h.optimizer](h.learning_rate),
        metrics={"accuracy": metrics.accuracy(), "log_loss": metrics.log_loss()},
        estimator=lambda loss_fn: gradients.accumulated(plan.estimator(loss_fn), n_micro_batches=2),
    )


EXPERIMENT = Experiment(
    question="Bit for bit?",
    claim=Claim(text="accuracy", metric="test/accuracy", about="these examples", at_least=0.5),
    hyperparameters=Settings(),
    source="",
    algorithm=algorithm,
)


def dataset():
    inputs = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)  # 4 batches of 12: mid-epoch leaves two
    part = {"inputs": inputs, "targets": (inputs[:, 0] > 0).astype(np.int32)}
    card = DataCard(name="points", source="", feature_shape=(4,), class_names=("left", "right", "none"))
    return Dataset(part, part, None, card)


def saved_at_each_chunk(directory):
    """Returns the options that save every state to disk."""
    checkpoints = Checkpoints(directory)
    return checkpoints, execution.Keeping(lambda: True, lambda step, state: checkpoints.write(step, state))


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.long
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_saved_halfway_equals_the_whole_run(tmp_path, name):
    settings = Settings(optimizer=name)
    checkpoints, keeping = saved_at_each_chunk(tmp_path)
    halfway = []

    def keep(step, state):
        if step == 10:  # of 20, in the middle of the third epoch
            keeping.keep(step, state)
            halfway.append(jax.tree.map(jnp.copy, state))

    whole = execution.execute(
        EXPERIMENT, settings, dataset(), seeds=[0, 3], keeping=execution.Keeping(lambda: True, keep)
    )
    restored = checkpoints.restore(execution.blank_state(EXPERIMENT, settings, dataset(), n_runs=2))
    assert_same(restored.state, halfway[0])
    assert restored.step == 10 and whole.step == 20
    again = execution.execute(EXPERIMENT, settings, dataset(), seeds=[0, 3], start=execution.Start(10, restored.state))
    assert again.resumed_from == 10
    assert_same(again.state, whole.state)
    for metric in whole.metrics:
        np.testing.assert_array_equal(again.metrics[metric], whole.metrics[metric])
    # The second half changes the result.
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(halfway[0].params), jax.tree.leaves(whole.state.params), strict=True)
    )


@pytest.mark.long
def test_a_sweep_of_settings_resumes_bit_for_bit(tmp_path):
    settings = [Settings(learning_rate=rate) for rate in (1e-3, 1e-2, 1e30)]
    checkpoints = Checkpoints(tmp_path)
    states = {}
    keeping = execution.Keeping(lambda: True, lambda step, state: states.update({step: checkpoints.write(step, state)}))
    whole = execution.execute_all(EXPERIMENT, settings, dataset(), seeds=[0, 1], keeping=keeping)
    like = execution.blank_state(EXPERIMENT, settings[0], dataset(), n_runs=6)
    found = checkpoints.restore(like)
    assert found.step == 19
    again = execution.execute_all(
        EXPERIMENT, settings, dataset(), seeds=[0, 1], start=execution.Start(found.step, found.state)
    )
    for one, other in zip(again, whole, strict=True):
        assert one.diverged == other.diverged
        for metric in one.metrics:
            np.testing.assert_array_equal(one.metrics[metric], other.metrics[metric])


@pytest.mark.raises
def test_a_start_needs_settings_of_one_group():
    settings = [Settings(), dataclasses.replace(Settings(), optimizer="sgd")]
    with pytest.raises(ValueError, match="settings must be one group to keep or resume a state, got 2"):
        execution.execute_all(EXPERIMENT, settings, dataset(), seeds=[0], start=execution.Start(0, None))


def on_devices(n, code, *arguments):
    """Runs code in a process with n CPU devices."""
    text = f"""
        import os, sys, json
        os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count={n}"
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import jax, numpy as np
        assert len(jax.devices()) == {n}
        from pathlib import Path
        from test_exact_resume import *
    """
    program = textwrap.dedent(text) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SGD = Settings(
    optimizer="sgd"
)  # for a gradient that is zero up to rounding, Adam would take a whole step in either direction
WRITE = """
    checkpoints = Checkpoints(Path(sys.argv[1]))
    def keep(step, state):
        if step == 10:
            checkpoints.write(step, state)
            np.save(sys.argv[1] + "/kernel.npy", np.asarray(state.params["Dense_0"]["kernel"]))
    whole = execution.execute(EXPERIMENT, SGD, dataset(), seeds=range(8), keeping=execution.Keeping(lambda: True, keep))
    devices = len(jax.tree.leaves(whole.state)[0].sharding.device_set)
    print(json.dumps({"devices": devices, "loss": whole.metrics["log_loss"].tolist()}))
"""
READ = """
    like = execution.blank_state(EXPERIMENT, SGD, dataset(), n_runs=8)
    found = Checkpoints(Path(sys.argv[1])).restore(like)
    same = np.array_equal(found.state.params["Dense_0"]["kernel"], np.load(sys.argv[1] + "/kernel.npy"))
    again = execution.execute(EXPERIMENT, SGD, dataset(), seeds=range(8), start=execution.Start(found.step, found.state))
    devices = len(jax.tree.leaves(again.state)[0].sharding.device_set)
    print(json.dumps({"devices": devices, "same": same, "loss": again.metrics["log_loss"].tolist()}))
"""


@pytest.mark.long
@pytest.mark.parametrize(("before", "after"), [(8, 1), pytest.param(1, 8, marks=pytest.mark.slow), (8, 8)])
def test_a_state_written_on_some_devices_is_read_on_others(tmp_path, before, after):
    written, read = on_devices(before, WRITE, tmp_path), on_devices(after, READ, tmp_path)
    assert written["devices"] == before and read["devices"] == after
    assert read["same"]  # bit for bit
    if before == after:
        assert read["loss"] == written["loss"]
    else:  # eight runs side by side on one device sum in a different order than one on each of eight, in float32
        np.testing.assert_allclose(read["loss"], written["loss"], rtol=1e-5)

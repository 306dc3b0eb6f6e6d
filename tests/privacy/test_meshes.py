"""A mesh splits private batches, and streams read them from disk: the noise and the results stay the same."""

import functools
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from jaxresearch import devices, execution, experiment, losses, metrics, models, privacy
from jaxresearch.data import DataCard, Dataset, Rows
from jaxresearch.execution import Feed
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static
from jaxresearch.privacy import Mechanism
from jaxresearch.training import supervised

N_STEPS = 50


@hyperparameters
class Settings:
    batch_size: int = static(20, "examples per step", at_least=1)
    n_steps: int = static(N_STEPS, "steps", at_least=1)


def network(rate, estimator):
    """Returns the network of the MNIST experiment, smaller."""
    accuracy = {"accuracy": metrics.accuracy()}
    loss = losses.softmax_cross_entropy_with_integer_labels
    model = models.mlp(784, (16,), 10)
    return supervised(model, loss, optimizer=optax.sgd(rate), metrics=accuracy, estimator=estimator)


def decoder(rate, estimator):
    sizes = models.TransformerSizes(context=8, width=16, n_layers=1, n_heads=2)
    loss = losses.softmax_cross_entropy_with_integer_labels
    return supervised(models.decoder(11, sizes), loss, optimizer=optax.sgd(rate), metrics={}, estimator=estimator)


def dataset(name, n=90):
    random = np.random.default_rng(0)
    if name == "decoder":
        tokens = random.integers(0, 11, (n, 9)).astype(np.int32)
        part = {"inputs": tokens[:, :-1], "targets": tokens[:, 1:]}
    else:
        part = {"inputs": random.random((n, 784), np.float32), "targets": random.integers(0, 10, n).astype(np.int32)}
    return Dataset(part, part, None, DataCard(name=name, source="drawn"))


@functools.cache
def private(name, n_micro_batches=1):
    def mechanism_of(plan, n):
        sizes = {"n_examples": n, "batch_size": plan.batch_size, "n_steps": plan.n_steps}
        return Mechanism(noise_multiplier=0.8, clip=1.0, delta=1e-5, secret=(5, 6), **sizes)

    of = {"network": network, "decoder": decoder}[name]
    declared = Experiment(
        question="Private?",
        hyperparameters=Settings(),
        algorithm=lambda h, card, plan, fitted: of(0.1, plan.estimator),
        source="drawn",
    )
    return privacy.private_experiment(declared, mechanism_of, n_micro_batches=n_micro_batches)


def run(name, *, n_micro_batches=1, data=None, mesh=None, feed=Feed()):  # noqa: B008
    """Returns the final parameters and the norms of all steps."""
    norms = []
    with jax.set_mesh(devices.mesh(**mesh)) if mesh else devices.no_mesh():
        outcome = execution.execute(
            private(name, n_micro_batches),
            Settings(),
            dataset(name) if data is None else data,
            seeds=[0, 1],
            observe=lambda progress: norms.append(progress.metrics["gradient_norm"]),
            feed=feed,
        )
        params = [np.asarray(leaf) for leaf in jax.tree.leaves(devices.fetch(outcome.state.params))]
    return params, np.concatenate(norms, axis=1)


def require_equal_to_one_device(name, mesh, n_micro_batches=1):
    ours, expected = run(name, mesh=mesh, n_micro_batches=n_micro_batches), run(name)
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-5)
    for one, other in zip(ours[0], expected[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)  # sums in another order, over 50 steps


@pytest.mark.long
@pytest.mark.parametrize("mesh", [{"data": 2}, {"fsdp": 2}, {"tensor": 2}])
def test_a_mesh_changes_the_order_of_sums_alone(mesh):
    require_equal_to_one_device("network", mesh)


@pytest.mark.long
def test_a_mesh_of_eight_devices_agrees_with_one():
    done = subprocess.run([sys.executable, __file__], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal\n"


def test_a_mesh_divides_the_places_of_a_private_batch():
    with jax.set_mesh(devices.mesh(data=2)):
        planned = experiment.program(private("network"), dataset("network", 100)).plan(Settings())
    alone = experiment.program(private("network"), dataset("network", 100)).plan(Settings())
    assert alone.poisson is not None and planned.poisson is not None
    assert alone.poisson.capacity % 2 == 1 and planned.poisson.capacity == alone.poisson.capacity + 1


@pytest.mark.long
@pytest.mark.parametrize("mesh", [None, {"data": 2}])
def test_streamed_private_runs_equal_resident_ones_bit_for_bit(mesh):
    resident = dataset("network")
    rows = {name: Rows(list(leaf)) for name, leaf in resident.train.items()}
    streamed = run("network", data=resident._replace(train=rows), mesh=mesh, feed=Feed(piece_bytes=2**20))
    whole = run("network", mesh=mesh)
    np.testing.assert_array_equal(streamed[1], whole[1])
    for one, other in zip(streamed[0], whole[0], strict=True):
        np.testing.assert_array_equal(one, other)


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    for name in ("network", "decoder"):
        require_equal_to_one_device(name, {"data": 4, "fsdp": 2})
        require_equal_to_one_device(name, {"data": 8}, n_micro_batches=3)
    print("equal")

"""States and batches split over a mesh: the values of one device, in every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import devices, losses, metrics, models, partitioning, sweeps, training
from jaxresearch.algorithms import averaged, stopped

LOSS = losses.softmax_cross_entropy_with_integer_labels
PLAN = training.Plan(batch_size=16, n_steps=12, evaluate_every=4)
MESHES = [{"data": 2}, {"fsdp": 2}, {"tensor": 2}]


def part(n):
    generator = np.random.default_rng(n)
    return {"inputs": generator.normal(size=(n, 4)).astype(np.float32), "targets": np.arange(n) % 2}


def descent(rate):
    network = models.mlp(4, (8,), 2)
    return training.supervised(network, LOSS, optimizer=optax.sgd(rate), metrics={"log_loss": metrics.log_loss()})


def validation_loss(rate, key):
    """Returns the loss of averaged parameters after early stopping, as a function of the learning rate."""
    early = stopped(averaged(descent(rate), decay=0.5), metric="log_loss", patience=1)
    algorithm = partitioning.partitioned(early)
    state, _ = training.run(key, part(64), part(32), algorithm=algorithm, plan=PLAN)
    return algorithm.evaluate(algorithm.outcome(state), part(32), key)["log_loss"]


def rules_of(shape, *rules):
    with jax.set_mesh(devices.mesh(fsdp=2)):
        return partitioning.spec("params/Dense_0/kernel", shape, rules=rules)


@pytest.mark.long
@pytest.mark.parametrize("mesh", MESHES, ids=str)
def test_validation_and_hypergradients_are_those_of_one_device(key, mesh):
    both = jax.value_and_grad(validation_loss)
    expected = jax.jit(both)(0.3, key)
    with jax.set_mesh(devices.mesh(**mesh)):
        found = jax.jit(both)(0.3, key)
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # float32 sums in another order, over twelve steps


@pytest.mark.long
@pytest.mark.parametrize("mesh", [*MESHES, {"runs": 2}], ids=str)
def test_a_sweep_inside_a_sweep_is_that_of_one_device(mesh):
    keys, rates = sweeps.keys([0, 1]), jnp.array([0.1, 0.3])

    def over_rates(key, rates):
        return sweeps.sweep(lambda rate: validation_loss(rate, key))(rates)

    expected = jax.vmap(lambda key: jax.vmap(lambda rate: validation_loss(rate, key))(rates))(keys)
    with jax.set_mesh(devices.mesh(**mesh)):
        found = jax.jit(sweeps.sweep(over_rates, (0, None)))(keys, rates)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_rule_of_your_own_comes_first():
    assert rules_of((4, 8)) == jax.sharding.PartitionSpec("fsdp", None)
    assert rules_of((4, 8), ("Dense_0/kernel", (None, "fsdp"))) == jax.sharding.PartitionSpec(None, "fsdp")
    assert rules_of((4, 8), ("Dense_1/kernel", (None, "fsdp"))) == jax.sharding.PartitionSpec("fsdp", None)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (("kernel", ("fsdp", None, None)), "rule 'kernel' must have at most 2 axes for params/Dense_0/kernel, got 3"),
        (
            ("kernel", ("model",)),
            "rule 'kernel' must have axes among runs, data, fsdp, tensor, got 'model'. Write None",
        ),
        (
            ("kernel", (None, "fsdp")),
            r"mesh must divide the dimension 7 of params/Dense_0/kernel, .* got fsdp=2. Change",
        ),
    ],
)
def test_a_rule_of_your_own_must_fit(rule, message):
    with pytest.raises(ValueError, match=message):
        rules_of((4, 7), rule)


def test_an_axis_that_does_not_divide_is_left_out():
    assert rules_of((3, 8)) == jax.sharding.PartitionSpec(None, None)


def test_without_a_mesh_the_program_is_the_same(key):
    algorithm = descent(0.3)
    state = algorithm.init(key)
    plain, split = (
        jax.jit(one.step).lower(state, part(16), key).as_text()
        for one in (algorithm, partitioning.partitioned(algorithm))
    )
    assert plain == split

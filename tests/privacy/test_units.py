"""A unit, such as a user, changes the sum by at most the clipping norm, however many examples it has."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import losses, models, privacy, sampling, training
from jaxresearch.privacy import Mechanism, Unit, units

LOSS = losses.softmax_cross_entropy_with_integer_labels
MODEL = models.mlp(3, (5,), 2)


def part(sizes=(1, 5, 2, 3), seed=0):
    random = np.random.default_rng(seed)
    groups = random.permutation(np.repeat(np.arange(len(sizes)) * 10, sizes)).astype(np.int32)
    n = len(groups)
    inputs = random.normal(size=(n, 3)).astype(np.float32)
    return {"inputs": inputs, "targets": random.integers(0, 2, n), "groups": groups}


def mechanism(n_units=4, per_unit=3, **changes):
    numbers = {"noise_multiplier": 0.0, "clip": 0.1, "n_examples": n_units, "batch_size": n_units, "n_steps": 1}
    return Mechanism(**{**numbers, "delta": 1e-5, "unit": Unit("user", per_unit), **changes})


def gradient_of(data, mechanism):
    batch = sampling.batch_of(jax.random.key(2), data, jnp.int32(0), batch_size=mechanism.sampling)
    params, model_state = MODEL.init(jax.random.key(1))
    loss_fn = training.mean_loss(MODEL, LOSS)
    return params, privacy.private(loss_fn, mechanism)(params, model_state, batch, jax.random.key(0))[0]


@pytest.mark.parametrize("per_unit", [1, 3, 7])
def test_by_unit_keeps_examples_of_one_unit_together(per_unit):
    given = part()
    held = units.by_unit(given, per_unit=per_unit)
    for place, unit in enumerate(np.unique(given["groups"])):
        own = {tuple(row) for row in given["inputs"][given["groups"] == unit]}
        kept = [tuple(row) for row in held["inputs"][place]]
        n = min(per_unit, len(own))
        assert {*kept} <= own and len({*kept}) == n and len({*kept[:n]}) == n  # each kept example once, then repeated
        assert held["unit_weights"][place].tolist() == [1.0] * n + [0.0] * (per_unit - n)
    assert "groups" not in held


def rows_by_unit(part, **options):
    """Returns the kept rows by unit."""
    held = units.by_unit(part, **options)
    return dict(zip(np.unique(part["groups"]).tolist(), held["inputs"].tolist(), strict=True))


def test_a_unit_changes_nothing_of_other_units():
    given = part(sizes=(9, 5, 8, 7))
    kept = rows_by_unit(given, per_unit=3)
    for unit in (0, 10, 20, 30):
        without = rows_by_unit({name: entry[given["groups"] != unit] for name, entry in given.items()}, per_unit=3)
        assert without == {other: rows for other, rows in kept.items() if other != unit}


def test_by_unit_draws_all_examples_of_a_unit_alike():
    given = {"inputs": np.arange(6), "groups": np.zeros(6, int)}
    kept = np.concatenate([units.by_unit(given, per_unit=2, seed=seed)["inputs"][0] for seed in range(3000)])
    # 1,000 are expected of each, with a standard deviation of 26.
    np.testing.assert_allclose(np.bincount(kept), 1000, atol=130)


def test_a_unit_counts_with_the_gradient_of_its_mean_loss():
    data, unclipped = part(), mechanism(per_unit=5, clip=1e3)
    params, found = gradient_of(units.by_unit(data, per_unit=5), unclipped)

    def mean_over_units(params):
        loss = LOSS(MODEL.apply(params, {}, data["inputs"])[0], jnp.asarray(data["targets"]))
        return jnp.mean(jnp.stack([jnp.mean(loss[data["groups"] == unit]) for unit in np.unique(data["groups"])]))

    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(jax.grad(mean_over_units)(params)), strict=True):
        np.testing.assert_allclose(one * (1 + 2**-14), other, atol=1e-6)  # norms have a margin of 2^-14


def test_a_whole_unit_changes_the_sum_by_at_most_the_clip():
    data = part()
    changed = {**data, "inputs": np.where((data["groups"] == 10)[:, None], 1e3, data["inputs"]).astype(np.float32)}
    clipped = mechanism(per_unit=5)
    before, after = (gradient_of(units.by_unit(one, per_unit=5), clipped)[1] for one in (data, changed))
    squares = [np.sum(np.square(a - b)) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)]
    distance = np.sqrt(sum(squares)) * clipped.batch_size / clipped.clip
    assert 0.1 < distance <= 2  # replaced, as one example would be


def test_epsilon_does_not_depend_on_the_name_of_the_unit():
    numbers = {"noise_multiplier": 1.3, "n_units": 600, "batch_size": 20, "n_steps": 10}
    one, other = mechanism(**numbers), mechanism(**numbers, unit=None)
    assert privacy.epsilon(one) == privacy.epsilon(other)
    assert privacy.statement(one)["unit"] == "one of 600 values of user, at most 3 examples of each"
    assert privacy.statement(one)["sampling"].endswith("places for 20 expected units")
    found = privacy.for_epsilon(
        epsilon=1, delta=1e-5, clip=1, n_examples=600, batch_size=20, n_steps=10, unit=Unit("user", 3)
    )
    assert found.unit == Unit("user", 3)


@pytest.mark.parametrize(
    "data, unit, message",
    [
        (part(), Unit("user", 3), "batch must hold units of 3 examples, which the mechanism accounts for, got single"),
        (
            units.by_unit(part(), per_unit=3),
            None,
            "batch must hold single examples, which the mechanism accounts for, got",
        ),
        (
            units.by_unit(part(), per_unit=2),
            Unit("user", 3),
            "got units of 2 examples. Arrange the data with privacy.by_unit",
        ),
    ],
)
def test_private_refuses_other_units(data, unit, message):
    n = len(data["targets"])
    with pytest.raises(ValueError, match=re.escape(message)):
        gradient_of(data, mechanism(n, unit=unit))


def test_by_unit_refuses_what_it_cannot_arrange():
    with pytest.raises(ValueError, match="per_unit must be 1 or more, got 0. Pass the most examples of a unit to use"):
        units.by_unit(part(), per_unit=0)
    with pytest.raises(ValueError, match="data must have groups to be split by group, got none"):
        units.by_unit({"inputs": np.zeros(2)}, per_unit=2)


def test_units_are_clipped_one_at_a_time(key):
    pair = {"inputs": jnp.zeros((2, 3)), "unit_weights": jnp.ones((2, 3))}
    with pytest.raises(ValueError, match="batch must hold one unit, got 2. Clip the gradient of each unit alone."):
        units.of_unit(lambda params, model_state, batch, key: (jnp.zeros(()), ({}, model_state)))(None, {}, pair, key)

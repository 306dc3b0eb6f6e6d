"""Epsilon is that of dp-accounting, and never less than what overflowing batches cost."""

import dataclasses
import itertools
import math
import re
import sys
from unittest import mock

import dp_accounting
import numpy as np
import pytest
import scipy.stats
from dp_accounting import pld, rdp

from jaxresearch import privacy
from jaxresearch.privacy import Mechanism, accounting
from jaxresearch.privacy.mechanism import _full

MNIST = Mechanism(noise_multiplier=1.3, clip=1.0, n_examples=60_000, batch_size=256, n_steps=3_515, delta=1e-5)


# TensorFlow Privacy's three settings for MNIST (noise multiplier, steps), with batches of 256.
@pytest.mark.parametrize(
    "noise, n_steps, published",
    [(1.3, 3_515, (0.864, 0.954)), (1.1, 14_062, (2.382, 2.597)), (0.7, 10_546, (5.639, 6.319))],
)
@pytest.mark.parametrize("relation", ["zero-out", "add-or-remove"])
def test_epsilon_is_that_of_dp_accounting(noise, n_steps, published, relation):
    mechanism = dataclasses.replace(MNIST, noise_multiplier=noise, n_steps=n_steps, relation=relation)
    found = privacy.epsilon(mechanism)
    np.testing.assert_allclose(found, published, atol=5e-4)  # as printed
    event = dp_accounting.PoissonSampledDpEvent(256 / 60_000, dp_accounting.GaussianDpEvent(noise))
    event = dp_accounting.SelfComposedDpEvent(event, n_steps)
    for value, accountant in zip(found, (pld.PLDAccountant(), rdp.RdpAccountant()), strict=True):
        own = accountant.compose(event).get_epsilon(1e-5)
        assert own <= value <= own * (1 + 1e-7)  # full batches take at most a millionth of delta


def test_epsilon_without_sampling_has_a_closed_form():
    mechanism = dataclasses.replace(MNIST, batch_size=60_000, n_steps=9, noise_multiplier=6.0)
    found, mu = privacy.epsilon(mechanism).pld, math.sqrt(9) / 6

    def delta(epsilon):  # Balle and Wang (2018), theorem 8
        upper = scipy.stats.norm.cdf(mu / 2 - epsilon / mu)
        return upper - math.exp(epsilon) * scipy.stats.norm.cdf(-mu / 2 - epsilon / mu)

    assert delta(found) <= 1e-5 < delta(found * 0.999)


def test_epsilon_pays_for_full_batches():
    spent = pld.PLDAccountant().compose(
        dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(MNIST.rate, dp_accounting.GaussianDpEvent(1.3)), 2 * 3_515
        )
    )
    with mock.patch.object(Mechanism, "overflow", 1e-7):
        paying = accounting._bound(((MNIST, 2),), 1e-4, 1e-5)
        assert spent.get_delta(paying) == pytest.approx(1e-5 - 2 * 1e-7, rel=1e-6)
    with mock.patch.object(Mechanism, "overflow", 5e-6):
        assert accounting._bound(((MNIST, 2),), 1e-4, 1e-5) == math.inf


def test_another_delta_leaves_the_places_of_a_batch():
    overflow = MNIST.overflow  # of batches whose places were counted for a delta of 1e-5
    assert privacy.epsilon(MNIST, delta=overflow / 2) == (math.inf, math.inf)
    spent = rdp.RdpAccountant().compose(
        dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(MNIST.rate, dp_accounting.GaussianDpEvent(1.3)), 3_515
        )
    )
    found = privacy.epsilon(MNIST, delta=2 * overflow).rdp
    assert found == pytest.approx(spent.get_epsilon(overflow), rel=1e-9) and found > spent.get_epsilon(2 * overflow)


def density(values, rate, capacity, outputs):
    """Returns the density of the noisy sum of the first sampled values, as many as there are places."""
    total = np.zeros_like(outputs)
    for mask in itertools.product((False, True), repeat=len(values)):
        chance = math.prod(rate if taken else 1 - rate for taken in mask)
        mean = sum([value for value, taken in zip(values, mask, strict=True) if taken][:capacity])
        total += chance * scipy.stats.norm.pdf(outputs, mean)
    return total


@pytest.mark.parametrize("relation", ["zero-out", "add-or-remove"])
def test_full_batches_cost_no_more_delta_than_their_probability(relation):
    rate, capacity, outputs = 0.2, 1, np.linspace(-10, 10, 2001)

    def delta(one, other):  # the hockey-stick divergence at epsilon = 0.3
        return np.sum(np.maximum(one - math.exp(0.3) * other, 0)) * (outputs[1] - outputs[0])

    with_one, without = density([1], rate, 1, outputs), density([], rate, 1, outputs)
    accounted = max(delta(with_one, without), delta(without, with_one))
    largest = 0.0
    for *others, at in itertools.product((-1, 0, 1), (-1, 0, 1), (0, 1, 2)):
        neighbour = [0] if relation == "zero-out" else []
        pair = [density([*others[:at], *own, *others[at:]], rate, capacity, outputs) for own in ([1], neighbour)]
        largest = max(largest, delta(*pair), delta(*pair[::-1]))
    assert accounted * 1.01 < largest <= accounted + _full(capacity, 3, rate)


def test_epsilon_with_little_noise_is_finite():
    few = dataclasses.replace(MNIST, n_examples=160, batch_size=16, n_steps=20)
    found = [privacy.epsilon(dataclasses.replace(few, noise_multiplier=noise)) for noise in (0.5, 0.1, 0.01)]
    assert found[0].pld < found[0].rdp < found[1].pld == found[1].rdp < found[2].pld == found[2].rdp < math.inf
    several = privacy.epsilon(dataclasses.replace(few, noise_multiplier=0.5), n_runs=10)
    assert 30 < several.pld < several.rdp < 100


def test_epsilon_of_several_runs_is_that_of_all_their_steps():
    few = dataclasses.replace(MNIST, n_steps=703)
    np.testing.assert_allclose(privacy.epsilon(few, n_runs=5), privacy.epsilon(MNIST), rtol=1e-6)  # 5e-6 of delta


def test_joint_epsilon_composes_the_steps_of_all_runs():
    short, long = (dataclasses.replace(MNIST, n_steps=n) for n in (703, 2_109))
    joint = privacy.joint_epsilon({short: 2, long: 1}, delta=1e-5)
    np.testing.assert_allclose(joint, privacy.epsilon(MNIST), rtol=1e-6)
    other = dataclasses.replace(MNIST, noise_multiplier=1.1, n_examples=50_000)
    found = privacy.joint_epsilon({MNIST: 2, other: 3}, delta=1e-5)
    events = [
        dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(one.rate, dp_accounting.GaussianDpEvent(one.noise_multiplier)),
            n * 3_515,
        )
        for one, n in ((MNIST, 2), (other, 3))
    ]
    for value, accountant in zip(found, (pld.PLDAccountant(), rdp.RdpAccountant()), strict=True):
        own = accountant.compose(dp_accounting.ComposedDpEvent(events)).get_epsilon(1e-5)
        assert own <= value <= own * (1 + 1e-6)
    assert found.pld < privacy.epsilon(MNIST, n_runs=2).pld + privacy.epsilon(other, n_runs=3).pld


def test_joint_epsilon_pays_for_the_full_batches_of_all_runs():
    other = dataclasses.replace(MNIST, noise_multiplier=1.1)
    with mock.patch.object(Mechanism, "overflow", 2.1e-6):
        assert accounting._bound(((MNIST, 2), (other, 2)), None, 1e-5) < math.inf
        assert accounting._bound(((MNIST, 3), (other, 2)), None, 1e-5) == math.inf


def test_joint_epsilon_refuses_what_it_cannot_compose():
    added = dataclasses.replace(MNIST, relation="add-or-remove")
    with pytest.raises(
        ValueError, match=re.escape("one relation, got ['add-or-remove', 'zero-out']. Account for each")
    ):
        privacy.joint_epsilon({MNIST: 1, added: 1}, delta=1e-5)
    with pytest.raises(ValueError, match=re.escape("runs must have mechanisms of one relation, got [].")):
        privacy.joint_epsilon({}, delta=1e-5)
    with pytest.raises(ValueError, match="n_runs must be 1 or more, got 0"):
        privacy.joint_epsilon({MNIST: 0}, delta=1e-5)
    with pytest.raises(ValueError, match="delta must be above 0 and below"):
        privacy.joint_epsilon({MNIST: 1}, delta=1)


def test_epsilon_without_noise_is_infinite():
    assert privacy.epsilon(dataclasses.replace(MNIST, noise_multiplier=0.0)) == (math.inf, math.inf)


def test_epsilon_takes_another_delta():
    assert privacy.epsilon(MNIST, delta=1e-7).pld > privacy.epsilon(MNIST).pld
    with pytest.raises(ValueError, match="n_runs must be 1 or more, got 0"):
        privacy.epsilon(MNIST, n_runs=0)


@pytest.mark.parametrize(
    "epsilon, n, batch_size, n_steps",
    [
        (3.0, 300, 32, 300),
        (0.1, 1000, 50, 200),
        (1e-3, 300, 32, 100),  # below what Rényi divergences reach
        pytest.param(0.12, 2000, 64, 10**6, marks=pytest.mark.long),  # where intervals cost more than Rényi divergences
    ],
)
def test_for_epsilon_finds_the_least_noise(epsilon, n, batch_size, n_steps):
    sizes = {"n_examples": n, "batch_size": batch_size, "n_steps": n_steps, "delta": 1e-5}
    mechanism = privacy.for_epsilon(epsilon=epsilon, clip=0.5, **sizes, secret=(1, 2))
    assert privacy.epsilon(mechanism).pld <= epsilon
    less = dataclasses.replace(mechanism, noise_multiplier=mechanism.noise_multiplier * 0.998)
    assert privacy.epsilon(less).pld > epsilon
    assert (mechanism.clip, mechanism.secret) == (0.5, (1, 2))


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf, 30.0])
def test_for_epsilon_refuses_epsilon_out_of_range(epsilon):
    sizes = {"n_examples": 100, "batch_size": 10, "n_steps": 10, "delta": 1e-5}
    with pytest.raises(ValueError, match="epsilon must be above 0 and at most 20, got "):
        privacy.for_epsilon(epsilon=epsilon, clip=1.0, **sizes)


def test_statement_names_what_the_guarantee_depends_on():
    stated = privacy.statement(dataclasses.replace(MNIST, secret=(1, 2)), n_runs=2)
    assert stated["epsilon"]["pld"] == pytest.approx(0.8645, abs=1e-4)
    assert stated["epsilon_of_all_runs"]["pld"] > stated["epsilon"]["pld"]
    assert stated["relation"] == "zero-out" and stated["sampling"].startswith("Poisson, rate 0.00426667")
    assert "keyed by a secret of 64 bits" in stated["generator"]
    assert "must stay secret" in privacy.statement(MNIST)["generator"]


def test_the_accountant_must_be_installed():
    line = 'epsilon needs the dp-accounting package, which is not installed. Run: pip install "jaxresearch[privacy]"'
    accounting._accounting.cache_clear()
    with mock.patch.dict(sys.modules, {"dp_accounting": None}), pytest.raises(ValueError, match=re.escape(line)):
        privacy.epsilon(dataclasses.replace(MNIST, n_steps=7))

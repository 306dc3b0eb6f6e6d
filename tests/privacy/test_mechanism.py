"""A mechanism refuses what cannot be private, and its batches have enough places."""

import math
import re

import jax.numpy as jnp
import pytest
import scipy.stats

from jaxresearch import sampling
from jaxresearch.privacy import Mechanism, Unit

NUMBERS = {
    "noise_multiplier": 1.0,
    "clip": 1.0,
    "n_examples": 60_000,
    "batch_size": 256,
    "n_steps": 1000,
    "delta": 1e-5,
}


@pytest.mark.parametrize("n, batch_size", [(60_000, 256), (1000, 900), (20, 1), (3, 2)])
def test_capacity_is_the_smallest_that_is_rarely_full(n, batch_size):
    mechanism = Mechanism(**NUMBERS | {"n_examples": n, "batch_size": batch_size, "delta": 1e-6})
    capacity, largest = mechanism.sampling.capacity, 1e-6 * 1e-6 / 1000

    def full(k):  # k or more of the other examples, summed term by term, in logarithms
        terms = scipy.stats.binom.logpmf(range(k, min(n - 1, k + 400) + 1), n - 1, mechanism.rate)
        return math.fsum(map(math.exp, terms))

    assert full(capacity) <= largest * (1 + 1e-6) < full(capacity - 1)
    assert mechanism.overflow == pytest.approx(1000 * full(capacity), rel=1e-6)


def test_whole_batches_have_a_place_for_every_example():
    mechanism = Mechanism(**NUMBERS | {"batch_size": 60_000})
    assert (mechanism.rate, mechanism.sampling.capacity, mechanism.overflow) == (1.0, 60_000, 0.0)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"noise_multiplier": -1.0}, "noise_multiplier must be 0 or more and finite, got -1.0."),
        ({"noise_multiplier": math.nan}, "noise_multiplier must be 0 or more and finite, got nan."),
        ({"noise_multiplier": math.inf}, "noise_multiplier must be 0 or more and finite, got inf."),
        ({"clip": 0.0}, "clip must be positive and finite, got 0.0. Pass 1.0."),
        ({"clip": math.nan}, "clip must be positive and finite, got nan. Pass 1.0."),
        ({"batch_size": 0}, "batch_size must be between 1 and 60000, got 0."),
        ({"batch_size": 70_000}, "batch_size must be between 1 and 60000, got 70000."),
        ({"n_steps": 0}, "n_steps must be 1 or more, got 0."),
        ({"delta": 0.0}, "delta must be above 0 and below 1 / 60000, got 0.0"),
        ({"delta": 1e-4}, "allows publishing an example at random. Pass 2e-06."),
    ],
)
def test_mechanism_refuses_numbers_out_of_range(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Mechanism(**NUMBERS | wrong)


@pytest.mark.raises
@pytest.mark.parametrize(
    "wrong, message",
    [
        (
            {"relation": "replace"},
            "relation must be zero-out or add-or-remove, got 'replace'. Pass relation='zero-out' or r",
        ),
        (
            {"clipping": "layer"},
            "clipping must be flat or per-array, got 'layer'. Pass clipping='flat' or clipping='per-array'.",
        ),
    ],
)
def test_mechanism_refuses_other_choices(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Mechanism(**NUMBERS | wrong)


@pytest.mark.raises
def test_zero_out_needs_as_many_examples_as_declared(key):
    """Add-or-remove takes an upper bound; units are counted in place of their examples."""
    drawn = {"noise_multiplier": 1.0, "clip": 0.5, "n_examples": 40, "batch_size": 4, "n_steps": 1, "delta": 1e-5}
    few, units = {"inputs": jnp.ones((4, 3))}, {"inputs": jnp.ones((40, 2, 3)), "unit_weights": jnp.ones((40, 2))}

    def batch_of(data, **options):
        return sampling.batch_of(key, data, jnp.int32(0), batch_size=Mechanism(**drawn, **options).sampling)

    with pytest.raises(
        ValueError, match="data must hold exactly the 40 examples .* got 4. Pass the number of examples"
    ):
        batch_of(few)
    assert batch_of(few, relation="add-or-remove")["inputs"].shape[1:] == (3,)
    assert batch_of(units, unit=Unit("patient", 2))["inputs"].shape[1:] == (2, 3)


def test_the_secret_is_not_shown():
    mechanism = Mechanism(**NUMBERS, secret=(123456, 654321))
    assert "123456" not in repr(mechanism) + repr(mechanism.sampling)

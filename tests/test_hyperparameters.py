"""Hyperparameters: floats are leaves, sizes and choices are static, and bounds are checked by name."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch.hyperparameters import check, hyperparameters, static, swept


@hyperparameters
class Settings:
    """Settings of the tests."""

    learning_rate: float = swept(0.1, "step size", above=0)
    momentum: float = swept(0.9, "fraction kept", at_least=0, below=1)
    knots: tuple[float, ...] = swept((1.0, 0.5), "factors", above=0)
    batch_size: int = static(8, "examples per step", at_least=1)
    epochs: int = static(2, "passes", at_least=1, at_most=100)
    hidden: tuple[int, ...] = static((4,), "widths", at_least=1)
    schedule: str = static("constant", "shape")


def test_swept_fields_are_leaves_and_static_ones_are_not():
    assert jax.tree.leaves(Settings()) == [0.1, 0.9, 1.0, 0.5]
    traces = []

    @jax.jit
    def rate(settings):
        traces.append(1)
        return settings.learning_rate * settings.batch_size

    for value in (0.1, 0.2, 0.3):
        assert np.isclose(rate(Settings(learning_rate=value)), value * 8)
    assert len(traces) == 1
    rate(Settings(batch_size=4))
    assert len(traces) == 2
    many = jax.vmap(rate, (Settings(learning_rate=0, momentum=None, knots=(None, None)),))
    np.testing.assert_allclose(many(Settings(learning_rate=jnp.arange(3.0))), [0, 8, 16])


def test_length_of_a_swept_tuple_is_static():
    assert jax.tree.structure(Settings()) != jax.tree.structure(Settings(knots=(1.0,)))
    assert jax.tree.structure(Settings()) == jax.tree.structure(Settings(knots=(3.0, 4.0)))


def test_hyperparameters_are_differentiable():
    gradient = jax.grad(lambda h: h.learning_rate**2 * h.batch_size + h.knots[1])(Settings())
    assert (float(gradient.learning_rate), float(gradient.momentum)) == (pytest.approx(1.6), 0.0)
    assert [float(knot) for knot in gradient.knots] == [0.0, 1.0] and gradient.hidden == (4,)


def test_hyperparameters_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().learning_rate = 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0}, "learning_rate must be above 0; got 0. It is: step size"),
        ({"learning_rate": -1e-3}, "learning_rate must be above 0; got -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite; got nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be finite; got inf"),
        ({"momentum": 1.0}, "momentum must be below 1; got 1.0"),
        ({"momentum": -0.1}, "momentum must be at least 0; got -0.1"),
        ({"knots": (1.0, 0.0)}, r"knots must be above 0; got \(1.0, 0.0\)"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
        ({"epochs": 101}, "epochs must be at most 100; got 101"),
        ({"hidden": (4, 0)}, r"hidden must be at least 1; got \(4, 0\)"),
    ],
)
def test_check_names_field_rule_and_value(changes, message):
    with pytest.raises(ValueError, match=message):
        check(Settings(**changes))


def test_check_passes_the_plain_settings():
    check(Settings())


@pytest.mark.raises
@pytest.mark.parametrize("default", ["3e-3", None, (0.1, "0.2")])
def test_a_swept_field_has_numbers(default):
    with pytest.raises(
        ValueError, match=r"swept must have a number as its default, got .*\. Use static\(\.\.\.\) for a"
    ):
        swept(default, "step size")

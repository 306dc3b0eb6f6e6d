"""Hyperparameters: floats are leaves, sizes and choices are static, and bounds are checked by name."""

import dataclasses
import re

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
        ({"learning_rate": 0}, r"^learning_rate \(step size\) must be above 0, got 0\.$"),
        ({"learning_rate": -1e-3}, r"learning_rate \(step size\) must be above 0, got -0.001"),
        ({"learning_rate": float("nan")}, r"learning_rate \(step size\) must be finite, got nan"),
        ({"learning_rate": float("inf")}, r"learning_rate \(step size\) must be finite, got inf"),
        ({"momentum": 1.0}, r"momentum \(fraction kept\) must be below 1, got 1.0"),
        ({"momentum": -0.1}, r"momentum \(fraction kept\) must be at least 0, got -0.1"),
        ({"knots": (1.0, 0.0)}, r"knots \(factors\) must be above 0, got \(1.0, 0.0\)"),
        ({"batch_size": 0}, r"batch_size \(examples per step\) must be at least 1, got 0"),
        ({"epochs": 101}, r"epochs \(passes\) must be at most 100, got 101"),
        ({"hidden": (4, 0)}, r"hidden \(widths\) must be at least 1, got \(4, 0\)"),
    ],
)
def test_check_names_field_rule_and_value(changes, message):
    with pytest.raises(ValueError, match=message):
        check(Settings(**changes))


def test_static_fields_take_all_bounds():
    @hyperparameters
    class Bounded:
        rate: float = static(0.5, "fraction", above=0, below=1)

    check(Bounded())
    for rate, rule in ((0.0, "above 0"), (1.0, "below 1")):
        with pytest.raises(ValueError, match=rf"^rate \(fraction\) must be {rule}, got {rate}\.$"):
            check(Bounded(rate=rate))


@pytest.mark.parametrize(
    ("kind", "default", "message"),
    [
        (int, 20.5, "size must be a whole number, got 20.5. Correct it, or declare another type."),
        (int, "20", "size must be a whole number, got '20'."),
        (tuple[int, ...], (8, 2.5), "size must be whole numbers, got (8, 2.5)."),
    ],
)
def test_fields_of_whole_numbers_hold_whole_numbers(kind, default, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        hyperparameters(type("Sizes", (), {"__annotations__": {"size": kind}, "size": static(default, "units")}))
    fitting = 8 if kind is int else (8,)
    made = hyperparameters(type("Sizes", (), {"__annotations__": {"size": kind}, "size": static(fitting, "units")}))
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        check(made(size=default))


def test_check_passes_the_plain_settings():
    check(Settings())


@pytest.mark.raises
@pytest.mark.parametrize("default", ["3e-3", None, (0.1, "0.2")])
def test_a_swept_field_has_numbers(default):
    with pytest.raises(
        ValueError, match=r"swept must have a number as its default, got .*\. Use static\(\.\.\.\) for a"
    ):
        swept(default, "step size")

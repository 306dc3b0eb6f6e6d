"""Functions compile once; otherwise one warning names the argument and the change."""

import functools
import warnings

import jax
import jax.numpy as jnp
import pytest

from jaxresearch.execution.compilation import CompiledFunction, RecompilationWarning
from jaxresearch.hyperparameters import hyperparameters, static, swept


@hyperparameters
class Settings:
    """Settings of the tests."""

    rate: float = swept(0.1, "rate")
    size: int = static(4, "size")


def scaled(settings, data):
    return settings.rate * settings.size * data["inputs"].sum()


def compiled():
    function = CompiledFunction(scaled)
    function(Settings(), {"inputs": jnp.ones(3)})
    return function


def test_same_shapes_compile_once():
    function = compiled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rate in (0.2, 0.3):
            assert jnp.isclose(function(Settings(rate=rate), {"inputs": 2 * jnp.ones(3)}), rate * 4 * 6)
    assert function.n_compilations == 1 and function.seconds > 0


def test_a_partial_function_is_compiled():
    function = CompiledFunction(
        functools.partial(lambda factor, values, *, power: factor * values**power, 3.0, power=2)
    )
    assert function(jnp.array([1.0, 2.0])).tolist() == [3.0, 12.0] and function.n_compilations == 1


@pytest.mark.parametrize(
    ("settings", "data", "message"),
    [
        (Settings(size=8), {"inputs": jnp.ones(3)}, "scaled was recompiled: settings.size changed from 4 to 8."),
        (Settings(), {"inputs": jnp.ones(5)}, r"data\['inputs'\] changed from float32\[3\] to float32\[5\]."),
        (Settings(), {"inputs": jnp.ones(3, jnp.int32)}, r"data\['inputs'\] changed from float32\[3\] to int32\[3\]."),
        (Settings(rate=jnp.float32(1)), {"inputs": jnp.ones(3)}, r"settings.rate changed from float32\[\] \(weak\) to"),
        (Settings(), {"inputs": jnp.ones(3), "more": 1.0}, r"data\['more'\] changed from nothing to float32\[\]"),
    ],
)
def test_recompilation_warns_once_of_what_changed(settings, data, message):
    function = compiled()
    with pytest.warns(RecompilationWarning, match=message) as caught:
        value = function(settings, data)
    assert len(caught) == 1
    assert jnp.isclose(value, scaled(settings, data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        function(settings, data)
        function(Settings(), {"inputs": jnp.ones(3)})
    assert function.n_compilations == 2


def test_donated_memory_is_reused():
    function = CompiledFunction(lambda state: state + 1, donate_argnums=(0,))
    state = jnp.zeros(1000)
    after = function(state)
    assert state.is_deleted() and after[0] == 1
    assert isinstance(after, jax.Array)

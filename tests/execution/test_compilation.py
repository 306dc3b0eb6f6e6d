"""Functions compile once; otherwise one warning names the argument and the change."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch.execution import compilation
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


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_arctan_is_right_in_compiled_programs(dtype):
    """With vectors of 512 bits, jax 0.10.2 is off by two radians (jax-ml/jax#39352); the other functions are not."""
    values = jnp.linspace(-5, 5, 64).astype(dtype)
    functions = {
        "double": lambda x: jnp.arctan(x) + jnp.arctan2(x, 1.0),
        "slope": jax.vmap(jax.grad(lambda x: jnp.arctan(x) ** 2)),
    }
    expected = {"double": lambda x: 2 * np.arctan(x), "slope": lambda x: 2 * np.arctan(x) / (1 + x**2)}
    for name, function in functions.items():
        found = np.asarray(CompiledFunction(function)(values), np.float64)
        reference = expected[name](np.asarray(values, np.float64))
        # A few roundings of values up to 2.8.
        np.testing.assert_allclose(found, reference, atol=16 * float(jnp.finfo(dtype).eps), err_msg=name)


@pytest.mark.parametrize(
    "function",
    [
        *(
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
            "arcsinh",
            "exp",
            "expm1",
            "exp2",
            "sqrt",
            "cbrt",
            "log",
            "log1p",
        ),
        *("log2", "arcsin", "arccos", "arctanh", "arctan", "floor", "round", "reciprocal", "square", "sinc"),
    ],
)
def test_compiled_functions_equal_those_of_numpy(function):
    """With the options of users, over an array as long as several vectors."""
    values = np.linspace(0.05, 0.95, 200, dtype=np.float32)
    found = CompiledFunction(lambda x: getattr(jnp, function)(x))(jnp.asarray(values))
    # XLA's approximations are within some units in the last place.
    np.testing.assert_allclose(found, getattr(np, function)(values.astype(np.float64)), rtol=2e-6, atol=2e-7)


def test_width_of_vectors_depends_on_arctan():
    """Nested in a loop too; what is not known to be without it gets the width that is safe."""

    def looped(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: jnp.arctan(y), x)

    widths = [
        compilation.compiler_options(jax.jit(fun).lower(jnp.ones(3)))["xla_cpu_prefer_vector_width"]
        for fun in (jnp.tanh, jnp.arctanh, lambda x: jnp.arctan2(x, x), looped)
    ]
    safe = 256 if jax.__version_info__ < (0, 12) else 512
    assert widths == [512, 512, safe, safe]
    assert compilation.compiler_options()["xla_cpu_prefer_vector_width"] == safe

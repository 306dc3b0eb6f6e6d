"""Runs at a time: all of them if their program fits into the memory of a device, else the largest group that does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import execution, sweeps
from jaxresearch.execution import compilation, memory
from jaxresearch.execution.compilation import CompiledFunction, Grouping

SEEDS = range(8)  # four on each of the two devices


def wide(rate):
    """A run whose intermediate values, 0.4 MB, are larger than its argument and its result."""
    table = jnp.sin(rate * jnp.arange(100_000.0))
    return jnp.cumsum(table)[::100].sum()


def compiled(asked=(0,)):
    """Returns the function of twelve runs, and the group sizes that are asked for."""
    sizes = []

    def function_of(at_once):
        sizes.append(at_once)
        return sweeps.sweep(wide, asked, layout="vmap", at_once=at_once)

    return CompiledFunction(function_of(None), grouping=Grouping(12, function_of)), sizes


def bytes_of(at_once):
    program = jax.jit(sweeps.sweep(wide, layout="vmap", at_once=at_once)).lower(jnp.arange(12.0))
    return memory.bytes_of(program.compile(compilation.compiler_options(program)))[0]


@pytest.mark.parametrize(("fraction", "chosen"), [(None, [None]), (1, [None]), (0.6, [None, 6]), (0.2, [None, 2])])
def test_runs_at_a_time_are_the_most_that_fit(monkeypatch, fraction, chosen):
    """Memory for a fraction of all runs, which hardly need any besides that for intermediate values."""
    available = fraction and int(fraction * bytes_of(12))
    monkeypatch.setattr(memory, "limit", lambda: available)
    function, sizes = compiled()
    rates = jnp.arange(12.0)
    made = function(rates)
    assert sizes == chosen and function.n_compilations == len(chosen)
    assert fraction is None or bytes_of(chosen[-1] or 12) <= available
    np.testing.assert_allclose(made, jax.vmap(wide)(rates), rtol=1e-4)  # a sum of 100,000 float32
    function(rates + 1)
    assert function.n_compilations == len(chosen)


def test_what_cannot_be_compiled_is_tried_with_fewer_runs(monkeypatch):
    """On a TPU, the compiler itself refuses what does not fit."""
    monkeypatch.setattr(memory, "limit", lambda: 2**40)
    compile_one, n_tried = CompiledFunction._program, []

    def refusing(self, fun, args):
        n_tried.append(fun)
        if len(n_tried) < 3:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm.")
        return compile_one(self, fun, args)

    monkeypatch.setattr(CompiledFunction, "_program", refusing)
    function, sizes = compiled()
    function(jnp.arange(12.0))
    assert sizes == [None, 6, 3] and function.n_compilations == 1


def test_an_error_other_than_memory_is_raised(monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: 2**40)

    def failing(self, fun, args):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(CompiledFunction, "_program", failing)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        compiled()[0](jnp.arange(12.0))


@pytest.mark.long
@pytest.mark.parametrize("at_once", [1, 3, 9])
def test_an_experiment_trains_some_runs_at_a_time(task, unoptimized, at_once):
    """Nine at a time are more than a device has, and all of them are taken."""
    experiment = dataclasses.replace(task.experiment, at_once=at_once)
    made, whole = (
        execution.execute(each, task.settings, task.dataset, seeds=SEEDS) for each in (experiment, task.experiment)
    )
    assert made.n_compilations == whole.n_compilations
    for one, other in zip(jax.tree.leaves(made.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # thirty steps of Adam, summed in another order


@pytest.mark.long
def test_a_device_that_is_too_small_trains_one_run_at_a_time(task, unoptimized, monkeypatch):
    whole = execution.execute(task.experiment, task.settings, task.dataset, seeds=SEEDS)
    monkeypatch.setattr(memory, "limit", lambda: 1)
    made = execution.execute(task.experiment, task.settings, task.dataset, seeds=SEEDS)
    assert made.n_compilations == 2 * whole.n_compilations
    for one, other in zip(jax.tree.leaves(made.state), jax.tree.leaves(whole.state), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # as above


def test_limit_is_a_part_of_the_memory_of_a_device(monkeypatch):
    class Device:
        def memory_stats(self):
            return {"bytes_limit": 1000, "bytes_in_use": 10}

    assert jax.default_backend() != "cpu" or memory.limit() is None
    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert memory.limit() == 900

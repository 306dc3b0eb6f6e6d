"""Sweeps: `jax.vmap` over all devices, one compilation, the same numbers in every layout."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import devices, sweeps

LAYOUTS = ("vmap", "map", "devices")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rates:
    learning_rate: float = 0.1
    momentum: float = 0.9
    width: int = dataclasses.field(default=4, metadata={"static": True})


def run(key, rates, data):
    """A short descent in a random direction, with a state and a history."""

    def body(weights, _):
        weights = weights - rates.learning_rate * (weights - data["mean"]) * rates.momentum
        return weights, jnp.sum(weights**2)

    return jax.lax.scan(body, jax.random.normal(key, (rates.width,)), length=5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_runs", [1, 2, 3, 5])
def test_sweep_equals_single_runs(layout, n_runs):
    data = {"mean": jnp.arange(4.0)}
    swept = jax.jit(sweeps.sweep(run, (0, None, None), layout=layout))(sweeps.keys(range(n_runs)), Rates(), data)
    single = [run(jax.random.key(seed), Rates(), data) for seed in range(n_runs)]
    for whole, *parts in zip(jax.tree.leaves(swept), *map(jax.tree.leaves, single), strict=True):
        assert whole.shape[0] == n_runs
        # Fused and unfused products and sums of float32 of order 1, five in a row.
        np.testing.assert_allclose(whole, np.stack(parts), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "n_runs", "at_once"), [("vmap", 5, 2), ("vmap", 4, 4), ("devices", 6, 1), ("map", 3, 1)]
)
def test_sweep_takes_some_runs_at_a_time(layout, n_runs, at_once):
    data = {"mean": jnp.arange(4.0)}
    made, whole = (
        jax.jit(sweeps.sweep(run, (0, None, None), **options))(sweeps.keys(range(n_runs)), Rates(), data)
        for options in ({"layout": layout, "at_once": at_once}, {"layout": "vmap"})
    )
    for one, other in zip(jax.tree.leaves(made), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)  # as above


@pytest.mark.parametrize("layout", ["vmap", "devices"])
def test_sweep_computes_at_once_runs_in_one_step(layout):
    """The axis of runs of each product is as long as the group."""
    swept = sweeps.sweep(lambda matrix: matrix @ matrix, layout=layout, at_once=2)
    traced = str(jax.make_jaxpr(swept)(jnp.ones((8, 3, 3))))
    assert "f32[2,3,3] = dot_general" in traced and traced.count("dot_general[") == 1


@pytest.mark.raises
@pytest.mark.parametrize(
    ("layout", "at_once", "most"), [("vmap", 0, 4), ("vmap", 5, 4), ("devices", 3, 2), ("map", 2, 1)]
)
def test_sweep_refuses_more_runs_at_once_than_a_device_has(layout, at_once, most):
    message = f"at_once must be between 1 and {most}, the runs of a device, got {at_once}. Leave it out to choose."
    with pytest.raises(ValueError, match=message):
        sweeps.sweep(lambda value: value, layout=layout, at_once=at_once)(jnp.ones(4))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sweep_takes_axes_leaf_by_leaf(layout):
    rates = Rates(learning_rate=jnp.array([0.1, 0.2, 0.3]))
    axes = Rates(learning_rate=0, momentum=None)
    keys, data = sweeps.keys([0, 0, 0]), {"mean": jnp.ones(4)}
    swept = jax.jit(sweeps.sweep(run, (0, axes, None), layout=layout))(keys, rates, data)
    single = run(jax.random.key(0), Rates(learning_rate=0.2), data)
    np.testing.assert_allclose(swept[1][1], single[1], rtol=1e-5)  # as above


@pytest.mark.parametrize(("width", "at_once"), [(10, 8), (100_000, 4), (250_000, 2), (500_000, 1)])
def test_sweep_on_a_cpu_groups_runs_up_to_2_mebibytes_of_state(width, at_once):
    """Groups by the state that each step touches (here 0.4, 1, 2 megabytes), not by the history, which is written once."""

    def one_run(weights):
        return jax.lax.scan(lambda weights, _: (0.9 * weights, jnp.zeros(1000)), weights, length=3000)

    state = sweeps._carry_bytes(jax.make_jaxpr(jax.jit(one_run))(jnp.zeros(width)).jaxpr)
    assert state == 4 * width
    assert sweeps._group(8, state) == at_once


def test_group_counts_the_state_of_a_while_loop_too():
    def one_run(weights):
        return jax.lax.while_loop(
            lambda state: state[0] < 9, lambda state: (state[0] + 1, 0.9 * state[1]), (0, weights)
        )

    assert sweeps._carry_bytes(jax.make_jaxpr(one_run)(jnp.zeros(10)).jaxpr) == 4 + 40


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sweep_takes_numpy_arrays_outside_of_jit(layout):
    assert sweeps.sweep(lambda value: 2 * value, layout=layout)(np.arange(4.0)).tolist() == [0, 2, 4, 6]


@pytest.mark.raises
def test_sweep_takes_the_leading_axis_alone():
    with pytest.raises(ValueError, match="in_axes must be 0 or None; got 1. Move the axis"):
        sweeps.sweep(lambda values: values.sum(), (1,))(jnp.ones((2, 3)))


def test_groups_of_runs_give_the_numbers_of_all_at_once():
    def one_run(key):
        weights = jax.random.normal(key, (1_000_000,))
        return jax.lax.scan(lambda weights, _: (0.9 * weights, weights[:3]), weights, length=4)[1]

    grouped = jax.jit(sweeps.sweep(one_run))(sweeps.keys(range(4)))
    # Two programs may round the draw of a normal number differently in its last bit.
    np.testing.assert_allclose(grouped, jax.jit(jax.vmap(one_run))(sweeps.keys(range(4))), rtol=1e-5)


def test_sweep_compiles_once_over_rates():
    traces = []

    def counted(key, rates, data):
        traces.append(1)
        return run(key, rates, data)

    swept = jax.jit(sweeps.sweep(counted, (0, 0, None)))
    for low in (0.1, 0.2, 0.3):
        keys, rates = sweeps.product(Rates(), seeds=[0, 1], learning_rate=np.linspace(low, 1, 4))
        swept(keys, rates, {"mean": jnp.ones(4)})
    assert len(traces) == 1


def test_sweep_uses_all_devices():
    if len(jax.devices()) < 2:
        pytest.skip("one device: nothing to spread over")
    out = jax.jit(sweeps.sweep(run, (0, None, None)))(sweeps.keys(range(4)), Rates(), {"mean": jnp.ones(4)})
    assert len(out[0].sharding.device_set) == 2


def test_place_puts_data_on_each_device_of_a_sweep():
    placed = devices.place({"mean": np.ones(4, np.float32)}, n_runs=4)
    assert len(placed["mean"].sharding.device_set) == min(4, len(jax.devices()))


@pytest.mark.parametrize("array", [list, np.asarray, jnp.asarray], ids=["list", "numpy", "jax"])
def test_keys_are_those_of_the_seeds(array):
    seeds = [0, 3, 2**31 - 1]
    for seed, key in zip(seeds, sweeps.keys(array(seeds)), strict=True):
        assert key == jax.random.key(seed)
    assert jnp.all(jax.jit(sweeps.keys)(jnp.asarray(seeds)) == sweeps.keys(seeds))


def test_keys_take_the_largest_seed_of_32_bits():
    assert sweeps.keys([2**32 - 1])[0] == jax.random.key(np.uint32(2**32 - 1))


@pytest.mark.raises
@pytest.mark.parametrize("seed", [0.2, 1.0, -1, 2**32, True, "a"])
def test_keys_refuse_what_is_not_a_seed(seed):
    with pytest.raises(ValueError, match=f"seeds must be integers from 0 to 4294967295; got {seed!r}"):
        sweeps.keys([3, seed])


@pytest.mark.raises
def test_keys_refuse_a_number_and_traced_floats():
    with pytest.raises(ValueError, match="seeds must be a list of integers; got 10. Pass range.10. for ten seeds."):
        sweeps.keys(10)
    with pytest.raises(ValueError, match="seeds must be integers; got float32"):
        jax.jit(sweeps.keys)(jnp.ones(2))


def test_product_makes_every_combination_with_seeds_slowest():
    keys, rates = sweeps.product(Rates(), seeds=[7, 8], learning_rate=[0.1, 0.2], momentum=[0.0, 0.5, 0.9])
    assert keys.shape == (12,)
    assert jnp.all(keys[:6] == jax.random.key(7)) and jnp.all(keys[6:] == jax.random.key(8))
    np.testing.assert_allclose(rates.momentum[:3], [0.0, 0.5, 0.9])
    np.testing.assert_allclose(rates.learning_rate[:6], [0.1] * 3 + [0.2] * 3)
    assert rates.width == 4


@pytest.mark.parametrize("values", [[16777216, 1], [1e-40, 3e38], np.linspace(0, 1, 2), jnp.arange(2.0)], ids=str)
def test_product_keeps_what_its_type_can_represent(values):
    _, rates = sweeps.product(Rates(), seeds=[0], learning_rate=values)
    assert rates.learning_rate.dtype == jnp.float32
    np.testing.assert_array_equal(rates.learning_rate, np.asarray(values, np.float32))


def test_product_takes_the_type_of_the_field():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Mixed:
        count: int = 1
        real: float = 1  # an integer by its default alone

    _, mixed = sweeps.product(Mixed(), seeds=[0], count=[2**24 + 1, 3], real=[0.5, 2])
    assert mixed.count.dtype == jnp.int32 and mixed.count.tolist() == [2**24 + 1] * 2 + [3] * 2
    assert mixed.real.dtype == jnp.float32 and mixed.real.tolist() == [0.5, 2.0] * 2
    traced = jax.jit(lambda rates: sweeps.product(Rates(), seeds=[0], learning_rate=rates)[1])(jnp.arange(3.0))
    assert traced.learning_rate.tolist() == [0, 1, 2]
    with jax.enable_x64(True):
        assert int(sweeps.product(Rates(), seeds=[0], learning_rate=[2**24 + 1])[1].learning_rate[0]) == 2**24 + 1


@pytest.mark.raises
@pytest.mark.parametrize(("value", "stored"), [(2**24 + 1, "16777216.0"), (1e39, "inf"), (1e-50, "0.0")])
def test_product_refuses_values_that_its_type_would_change(value, stored):
    with pytest.raises(ValueError, match=re.escape(f"float32; got {value!r}, which would become {stored}.")):
        sweeps.product(Rates(), seeds=[0], learning_rate=[0.1, value])


@pytest.mark.raises
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (0.1, "learning_rate must have a list of values; got 0.1. Pass learning_rate=[0.1, 0.2]."),
        ([], "learning_rate must have a list of values; got []."),
        ([[0.1]], "learning_rate must have a list of values; got [[0.1]]."),
        (["a", "b"], "learning_rate must have numbers for values; got 'a'."),
    ],
)
def test_product_refuses_what_is_not_a_list_of_numbers(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        sweeps.product(Rates(), seeds=[0], learning_rate=values)


@pytest.mark.raises
def test_product_refuses_seeds_that_are_not_integers():
    with pytest.raises(ValueError, match="seeds must be integers from 0 to 4294967295; got 0.2"):
        sweeps.product(Rates(), seeds=[0.2])


@pytest.mark.raises
@pytest.mark.parametrize("name", ["width", "learning_rat"])
def test_product_refuses_fields_that_are_no_leaves(name):
    with pytest.raises(ValueError, match=f"a swept field must be one of learning_rate, momentum; got '{name}'"):
        sweeps.product(Rates(), seeds=[0], **{name: [1, 2]})


@pytest.mark.raises
@pytest.mark.parametrize(
    ("axes", "args", "lengths"),
    [
        (0, (jnp.ones(2), jnp.ones(3)), r"\[\(2,\), \(3,\)\]"),
        ((None, None), (jnp.ones(2), jnp.ones(2)), r"\[\]"),
        (0, (jnp.ones(()), jnp.ones(())), r"\[\(\)\]"),
        (0, (jnp.ones(0), jnp.ones(0)), r"\[\(0,\)\]"),
    ],
    ids=["different", "none", "scalar", "empty"],
)
def test_sweep_refuses_arguments_without_a_common_axis(axes, args, lengths):
    message = f"the swept arguments must share one leading axis of at least one run; got lengths {lengths}"
    with pytest.raises(ValueError, match=message):
        sweeps.sweep(lambda a, b: a + b, axes)(*args)


@pytest.mark.raises
def test_sweep_refuses_an_unknown_layout():
    with pytest.raises(ValueError, match="layout must be one of vmap, map, devices; got 'pmap'"):
        sweeps.sweep(lambda a: a, layout="pmap")


@pytest.mark.raises
def test_sweep_refuses_a_wrong_number_of_axes():
    with pytest.raises(ValueError, match="in_axes must have one entry per argument; got 2 for 1 arguments"):
        sweeps.sweep(lambda a: a, (0, None))(jnp.ones(2))


def test_split_cpu_makes_one_device_a_core():
    script = (
        "from jaxresearch import devices; import jax; n = devices.split_cpu(); print(n == len(jax.devices('cpu')), n)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split()[0] == "True", out.stdout


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the number of threads is read from /proc")
def test_collectives_of_virtual_devices_have_threads_to_wait_on():
    script = (
        "import os; from jaxresearch import devices; n = devices.split_cpu(4); "
        "made = devices.mesh(runs=2, fsdp=-1); print(len(os.listdir('/proc/self/task')))"
    )
    inherited = {name: value for name, value in os.environ.items() if name != "PJRT_NPROC"}
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=inherited)
    assert int(out.stdout) >= 32, out.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"JAX_NUM_CPU_DEVICES": "3"}, ""),
        ({}, "jax.config.update('jax_num_cpu_devices', 3)"),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, ""),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=5 --xla_force_host_platform_device_count=3"}, ""),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=5"}, "jax.config.update('jax_num_cpu_devices', 3)"),
    ],
    ids=["variable", "config", "flag", "last flag", "config before flag"],
)
def test_a_number_of_cpu_devices_that_is_set_wins(environment, line):
    script = (
        f"import jax; {line}\nfrom jaxresearch.cli import session; session.configure(); print(len(jax.devices('cpu')))"
    )
    inherited = {name: value for name, value in os.environ.items() if name not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**inherited, **environment}
    )
    assert out.stdout == "3\n", out.stdout


def test_product_spreads_a_tuple_of_leaves():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Knots:
        rate: float = 0.1
        knots: tuple[float, ...] = (1.0, 0.5)

    _, made = sweeps.product(Knots(), seeds=[0, 1], rate=[0.1, 0.2, 0.4])
    assert [leaf.tolist() for leaf in made.knots] == [[1.0] * 6, [0.5] * 6]
    with pytest.raises(ValueError, match="a swept field must be one number; got knots=.1.0, 0.5.."):
        sweeps.product(Knots(), seeds=[0], knots=[0.1, 0.2])


def test_sweep_takes_none_for_an_argument_that_is_left_out():
    def fun(rate, shift, data):
        return rate * data["values"] + (0 if shift is None else shift)

    swept = sweeps.sweep(fun, (0, None, {"values": None, "nothing": None}))
    made = swept(jnp.arange(3.0), None, {"values": jnp.float32(2), "nothing": None})
    assert made.tolist() == [0.0, 2.0, 4.0]

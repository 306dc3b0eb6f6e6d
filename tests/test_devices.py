"""Data on several CPU devices: shared by all of them, whatever the layout of the array in host memory."""

import gc
import weakref

import jax
import numpy as np
import pytest

from jaxresearch import devices

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices have memory of their own")
ROWS = np.random.default_rng(0).normal(size=(101, 7))


def at(array, offset):
    """Returns a copy of the array at so many bytes behind an address that XLA uses in place."""
    room = np.empty(array.nbytes + 64 + offset, np.uint8)
    start = -room.ctypes.data % 64 + offset
    copied = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copied[...] = array
    return copied


def unaligned(array):
    return at(array, 1)


def addresses(array):
    return [shard.data.unsafe_buffer_pointer() for shard in array.addressable_shards]


@pytest.mark.parametrize(
    "array",
    [
        unaligned(ROWS.astype(np.float32)),
        ROWS,
        ROWS.astype(np.float32)[::3, ::-1],
        unaligned(ROWS > 0),
        unaligned((100 * ROWS).astype(np.uint8)),
        np.asfortranarray(ROWS.astype(np.float32)),
    ],
    ids=["unaligned", "float64", "strided", "booleans", "bytes", "by column"],
)
def test_place_keeps_one_copy_for_all_cpu_devices(array):
    placed = devices.place({"inputs": array}, n_runs=4)["inputs"]
    assert len(placed.addressable_shards) == 2 and len({*addresses(placed)}) == 1
    np.testing.assert_array_equal(placed, array.astype(placed.dtype))
    assert placed.dtype == jax.dtypes.canonicalize_dtype(array.dtype)


@pytest.mark.parametrize("n_runs", [1, 4])
def test_an_array_that_is_used_in_place_survives_donation(n_runs):
    host = at(ROWS.astype(np.float32), 0)
    placed = devices.place(host, n_runs=n_runs)
    assert {*addresses(placed)} == {host.ctypes.data}
    doubled = jax.jit(lambda rows: 2 * rows, donate_argnums=0)(placed)
    np.testing.assert_array_equal(doubled, 2 * ROWS.astype(np.float32))
    assert placed.is_deleted()
    np.testing.assert_array_equal(host, ROWS.astype(np.float32))


@pytest.mark.parametrize("n_runs", [1, 4])
def test_an_array_used_in_place_lives_as_long_as_its_user(n_runs):
    host = at(ROWS.astype(np.float32), 0)
    placed, memory = devices.place(host, n_runs=n_runs), weakref.ref(host.base)
    assert {*addresses(placed)} == {host.ctypes.data}
    del host
    gc.collect()
    assert memory() is not None
    np.testing.assert_array_equal(placed, ROWS.astype(np.float32))


def test_place_splits_what_each_run_has_for_itself():
    placed = devices.place(ROWS[:4], n_runs=4, axis=0)
    assert [shard.data.shape for shard in placed.addressable_shards] == [(2, 7), (2, 7)]
    np.testing.assert_array_equal(placed, ROWS[:4].astype(np.float32))


@pytest.mark.parametrize("leaf", [np.empty((0, 3), np.float32), np.float32(2.5), 3, jax.numpy.ones(2)])
def test_place_takes_any_leaf(leaf):
    np.testing.assert_array_equal(devices.place(leaf, n_runs=2), leaf)

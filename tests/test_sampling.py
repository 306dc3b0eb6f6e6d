"""The order of the data: a fair permutation computed from the key and the step alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxresearch import sampling
from jaxresearch.data import Streams


def orders(n_examples, n_keys):
    """Returns the orders of several keys, ``(keys, examples)``."""
    keys = jax.random.split(jax.random.key(1), n_keys)
    draw = jax.vmap(lambda key: sampling.permuted_index(key, jnp.arange(n_examples), n_examples=n_examples))
    return np.asarray(jax.jit(draw)(keys))


@pytest.mark.parametrize("n_examples", [1, 2, 3, 4, 5, 10, 97, 100, 101, 1000, 60_000])
def test_permuted_index_is_a_permutation(n_examples):
    for order in orders(n_examples, 3):
        assert np.array_equal(np.sort(order), np.arange(n_examples))


def test_permuted_index_is_uniform_at_each_position():
    n_examples, n_keys = 11, 20_000
    drawn = orders(n_examples, n_keys)
    counts = np.stack([np.bincount(drawn[:, position], minlength=n_examples) for position in range(n_examples)])
    # Rows and columns are fixed, so (n - 1)**2 degrees of freedom; one fixed seed, a fair draw fails once in 1,000.
    statistic = ((counts - n_keys / n_examples) ** 2).sum() / (n_keys / n_examples)
    assert stats.chi2.sf(statistic * (n_examples - 1) / n_examples, (n_examples - 1) ** 2) > 1e-3


def test_permuted_index_draws_all_orders_equally_often():
    n_keys = 24_000
    drawn = orders(4, n_keys)
    _, counts = np.unique(drawn @ 4 ** np.arange(4), return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_permuted_index_separates_neighbours():
    order = orders(10_000, 1)[0]
    # In a fair order, |o[i+1] - o[i]| = 1 for two of n places on average; Poisson(2) exceeds 12 once in 10**6.
    assert np.sum(np.abs(np.diff(order)) == 1) <= 12
    # The rank correlation of neighbours has standard deviation 1 / sqrt(n) = 0.01: five of them.
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05


def test_permuted_index_mixes_classes_hypergeometrically():
    n_examples, batch = 6_000, 60
    first_half = (orders(n_examples, 30) < n_examples // 2).reshape(-1, batch).sum(axis=1)
    expected = stats.hypergeom(n_examples, n_examples // 2, batch)
    # Batches of one order are slightly dependent (1 % of the data each); five standard errors of mean and variance.
    assert abs(first_half.mean() - expected.mean()) < 5 * expected.std() / np.sqrt(len(first_half)) + 1e-9
    assert abs(first_half.var() / expected.var() - 1) < 5 * np.sqrt(2 / len(first_half))


def test_permuted_index_depends_on_the_key():
    first, second = orders(1000, 2)
    assert np.mean(first == second) < 0.01  # a fair pair agrees in one place of 1,000 on average


def test_batch_indices_visit_each_example_once_per_epoch(key):
    draw = jax.vmap(lambda step: sampling.batch_indices(key, step, n_examples=103, batch_size=10))
    epochs = np.asarray(jax.jit(draw)(jnp.arange(30))).reshape(3, 100)
    for epoch in epochs:
        assert len(np.unique(epoch)) == 100
    assert not np.array_equal(epochs[0], epochs[1])
    assert len(np.unique(epochs)) == 103, "each epoch leaves out different examples"


def test_batch_indices_are_the_same_under_jit_and_vmap(key):
    def draw(step):
        return sampling.batch_indices(key, step, n_examples=50, batch_size=5)

    steps = jnp.array([0, 9, 10])  # the first of an epoch, its last, and the first of the next one
    eager = np.stack([draw(step) for step in steps])
    assert np.array_equal(jax.jit(jax.vmap(draw))(steps), eager)
    assert np.array_equal(jax.jit(jax.vmap(draw))(jnp.arange(12))[steps], eager)


STREAMS = {"labelled": {"inputs": np.arange(6), "targets": np.arange(6) + 100}, "unlabelled": {"inputs": np.arange(10)}}


def streamed(key, data, n_steps, *, batch_size=2):
    """Returns the batches of the first steps, each array ``(steps, batch)``."""

    def draw(step):
        return sampling.batch_of(key, data, step, batch_size=batch_size)

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(jnp.arange(n_steps)))


def test_batch_of_keeps_the_rows_of_an_example_together(key):
    batches = streamed(key, STREAMS["labelled"], 9)
    np.testing.assert_array_equal(batches["targets"], batches["inputs"] + 100)


def test_batch_of_without_data_is_empty(key):
    assert sampling.batch_of(key, {}, jnp.int32(3), batch_size=0) == {}


def test_streams_each_visit_their_own_epochs(key):
    """The steps of an epoch are 3 of the labelled stream and 5 of the other: 15 steps are five and three epochs."""
    batches = streamed(key, Streams(STREAMS), 15)
    labelled, unlabelled = batches["labelled"]["inputs"].reshape(5, 6), batches["unlabelled"]["inputs"].reshape(3, 10)
    for epochs in (labelled, unlabelled):
        assert all(sorted(epoch) == sorted(epochs[0]) == [*range(epochs.shape[1])] for epoch in epochs.tolist())
        assert len({tuple(epoch) for epoch in epochs.tolist()}) == len(epochs)
    np.testing.assert_array_equal(batches["labelled"]["targets"], batches["labelled"]["inputs"] + 100)


def test_streams_of_one_length_have_orders_of_their_own(key):
    one = {"inputs": np.arange(1000)}
    batches = streamed(key, Streams(a=one, b=one), 10, batch_size=100)
    assert np.mean(batches["a"]["inputs"] == batches["b"]["inputs"]) < 0.01  # a fair pair agrees once in 1,000


def test_streams_keep_their_order_through_transforms():
    """The first stream sets the epoch, though its name sorts last."""
    data = Streams(z={"inputs": np.zeros(4)}, a={"inputs": np.zeros(9)})
    mapped = jax.tree.map(jnp.asarray, data)
    assert list(mapped) == ["z", "a"] and isinstance(mapped, Streams)
    assert sampling.n_examples(mapped) == jax.eval_shape(lambda d: jnp.zeros(sampling.n_examples(d)), data).size == 4
    names = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(data)]
    assert names == ["['z']['inputs']", "['a']['inputs']"]


@pytest.mark.raises
def test_batch_of_refuses_arrays_of_unequal_length(key):
    data = {"inputs": np.zeros(6), "targets": np.zeros(5)}
    message = r"data must hold arrays with equal leading axes, got \{'inputs': 6, 'targets': 5\}"
    for given in (data, Streams(labelled=data)):
        with pytest.raises(ValueError, match=message):
            sampling.batch_of(key, given, jnp.int32(0), batch_size=2)


@pytest.mark.raises
def test_batch_of_refuses_a_batch_larger_than_a_stream(key):
    with pytest.raises(ValueError, match=r"batch_size must be between 1 and 6, got 7\."):
        sampling.batch_of(key, Streams(STREAMS), jnp.int32(0), batch_size=7)


@pytest.mark.raises
@pytest.mark.parametrize("n_examples", [0, -1, 2**31])
def test_permuted_index_refuses_sizes_out_of_range(key, n_examples):
    with pytest.raises(ValueError, match=rf"n_examples must be from 1 to 2\*\*31 - 1, got {n_examples}\."):
        sampling.permuted_index(key, jnp.arange(2), n_examples=n_examples)


@pytest.mark.raises
@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_steps_per_epoch_refuses_a_batch_that_does_not_fit(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be between 1 and 10, got {batch_size}."):
        sampling.steps_per_epoch(10, batch_size=batch_size)


def poisson(**changes):
    return sampling.Poisson(**{"rate": 0.25, "capacity": 40, "n_examples": 64, **changes})


def test_poisson_batches_mark_their_examples(key):
    data = {"inputs": jnp.arange(64.0)}
    batch = sampling.batch_of(key, data, jnp.int32(3), batch_size=poisson())
    mask = sampling.poisson_mask(key, jnp.int32(3), n_examples=64, rate=0.25)
    assert batch["inputs"].shape == batch["weights"].shape == (40,)
    assert batch["inputs"][batch["weights"] > 0].tolist() == np.flatnonzero(mask).tolist()
    assert jax.tree.map(jnp.copy, batch).sampling == poisson()


def test_poisson_examples_take_part_independently(key):
    n, n_steps, rate = 50, 20_000, 0.1
    draw = jax.vmap(lambda step: sampling.poisson_mask(key, step, n_examples=n, rate=rate))
    masks = np.asarray(draw(jnp.arange(n_steps)), np.float64)
    deviation = np.sqrt(rate * (1 - rate) / n_steps)
    assert np.abs(masks.mean(axis=0) - rate).max() < 5 * deviation
    correlations = np.corrcoef(np.concatenate([masks[:-1], masks[1:]], axis=1).T)  # of examples, also in the next step
    np.fill_diagonal(correlations, 0)
    assert np.abs(correlations).max() < 5.5 / np.sqrt(n_steps)  # of 10,000 pairs
    sizes = masks.sum(axis=1)
    np.testing.assert_allclose([sizes.mean(), sizes.var()], [n * rate, n * rate * (1 - rate)], rtol=0.05)


def test_an_example_takes_part_whatever_the_others(key):
    few, many = (sampling.poisson_mask(key, jnp.int32(0), n_examples=n, rate=0.5) for n in (64, 65))
    assert few.tolist() == many[:64].tolist()


@pytest.mark.parametrize("n, n_places", [(1, 3), (31, 40), (32, 1), (33, 33), (1000, 40)])
def test_included_examples_are_found_in_order(n, n_places):
    masks = np.random.default_rng(0).random((5, n)) < np.array([[0.0], [0.02], [0.5], [0.9], [1.0]])
    found = jax.jit(jax.vmap(lambda mask: sampling._first_included(mask, n_places)))(masks)
    for mask, indices in zip(masks, found, strict=True):
        expected = np.flatnonzero(mask)[:n_places]
        np.testing.assert_array_equal(indices, np.append(expected, np.full(n_places - len(expected), n)))


def test_an_overflowing_poisson_batch_leaves_examples_out(key):
    batch = sampling.batch_of(key, {"inputs": jnp.arange(64)}, jnp.int32(0), batch_size=poisson(rate=1.0))
    assert batch["inputs"].tolist() == list(range(40)) and batch["weights"].tolist() == [1.0] * 40


def test_a_poisson_batch_may_have_more_places_than_examples(key):
    batch = sampling.batch_of(key, {"inputs": jnp.arange(64)}, jnp.int32(0), batch_size=poisson(rate=1.0, capacity=66))
    assert batch["inputs"][:64].tolist() == list(range(64)) and batch["weights"].tolist() == [1.0] * 64 + [0.0] * 2


def test_an_empty_poisson_batch_has_no_weight(key):
    batch = sampling.batch_of(key, {"inputs": jnp.arange(64)}, jnp.int32(0), batch_size=poisson(rate=1e-9))
    assert batch["weights"].sum() == 0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"rate": 0.0}, "rate must be above 0 and at most 1, got 0.0"),
        ({"rate": 1.5}, "rate must be above 0 and at most 1, got 1.5"),
        ({"capacity": 0}, "capacity must be 1 or more, got 0. Pass n_examples to leave no example out."),
    ],
)
def test_poisson_refuses_numbers_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        poisson(**changes)


@pytest.mark.parametrize(
    "data, message",
    [
        ({}, "data must be a single part without weights for Poisson sampling, got none"),
        (Streams(STREAMS), "got streams"),
        ({"inputs": jnp.ones(3), "weights": jnp.ones(3)}, "got weights"),
        (
            {"inputs": jnp.ones(65)},
            "data must hold at most the 64 examples that Poisson sampling was set up for, got 65",
        ),
    ],
)
def test_poisson_sampling_refuses_other_data(data, message, key):
    with pytest.raises(ValueError, match=message):
        sampling.batch_of(key, data, jnp.int32(0), batch_size=poisson())


@pytest.mark.parametrize("n", [63, 65])
def test_exact_poisson_sampling_refuses_another_length(n, key):
    message = (
        f"data must hold exactly the 64 examples that Poisson sampling was set up for, got {n}. Pass the number of"
    )
    with pytest.raises(ValueError, match=message):
        sampling.batch_of(key, {"inputs": jnp.ones(n)}, jnp.int32(0), batch_size=poisson(is_exact=True))

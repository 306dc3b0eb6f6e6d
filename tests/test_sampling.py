"""The order of the data: a permutation, drawn fairly, that needs nothing but key and step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxresearch import sampling


def _orders(n_examples, n_keys):
    keys = jax.random.split(jax.random.key(1), n_keys)
    draw = jax.vmap(lambda key: sampling.permuted_index(key, jnp.arange(n_examples), n_examples=n_examples))
    return np.asarray(jax.jit(draw)(keys))


@pytest.mark.parametrize("n_examples", [1, 2, 3, 4, 5, 10, 97, 100, 101, 1000, 60_000])
def test_permuted_index_is_a_permutation(n_examples):
    for order in _orders(n_examples, 3):
        assert np.array_equal(np.sort(order), np.arange(n_examples))


def test_permuted_index_puts_every_example_everywhere_equally_often():
    n_examples, n_keys = 11, 20_000
    orders = _orders(n_examples, n_keys)
    counts = np.stack([np.bincount(orders[:, position], minlength=n_examples) for position in range(n_examples)])
    # Rows and columns are fixed, so (n - 1)**2 degrees of freedom; one fixed seed, a fair draw fails once in 1,000.
    statistic = ((counts - n_keys / n_examples) ** 2).sum() / (n_keys / n_examples)
    assert stats.chi2.sf(statistic * (n_examples - 1) / n_examples, (n_examples - 1) ** 2) > 1e-3


def test_permuted_index_draws_all_orders_of_four_equally_often():
    n_keys = 24_000
    orders = _orders(4, n_keys)
    _, counts = np.unique(orders @ 4 ** np.arange(4), return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_permuted_index_does_not_keep_neighbours_together():
    order = _orders(10_000, 1)[0]
    # In a fair order, |o[i+1] - o[i]| = 1 for two of n places on average; Poisson(2) exceeds 12 once in 10**6.
    assert np.sum(np.abs(np.diff(order)) == 1) <= 12
    # The rank correlation of neighbours has standard deviation 1 / sqrt(n) = 0.01: five of them.
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05


def test_permuted_index_mixes_classes_as_a_hypergeometric_draw():
    n_examples, batch = 6_000, 60
    first_half = (_orders(n_examples, 30) < n_examples // 2).reshape(-1, batch).sum(axis=1)
    expected = stats.hypergeom(n_examples, n_examples // 2, batch)
    # Batches of one order are slightly dependent (1 % of the data each); five standard errors of mean and variance.
    assert abs(first_half.mean() - expected.mean()) < 5 * expected.std() / np.sqrt(len(first_half)) + 1e-9
    assert abs(first_half.var() / expected.var() - 1) < 5 * np.sqrt(2 / len(first_half))


def test_permuted_index_depends_on_the_key():
    first, second = _orders(1000, 2)
    assert np.mean(first == second) < 0.01  # a fair pair agrees in one place of 1,000 on average


def test_batch_indices_visits_every_example_once_an_epoch(key):
    draw = jax.vmap(lambda step: sampling.batch_indices(key, step, n_examples=103, batch_size=10))
    epochs = np.asarray(draw(jnp.arange(30))).reshape(3, 100)
    for epoch in epochs:
        assert len(np.unique(epoch)) == 100
    assert not np.array_equal(epochs[0], epochs[1])
    assert len(np.unique(epochs)) == 103, "the examples left at an epoch's end differ from epoch to epoch"


def test_batch_indices_is_the_same_under_jit_and_vmap(key):
    def draw(step):
        return sampling.batch_indices(key, step, n_examples=50, batch_size=5)

    eager = [draw(jnp.asarray(step)) for step in range(12)]
    assert np.array_equal(jax.jit(jax.vmap(draw))(jnp.arange(12)), np.stack(eager))


@pytest.mark.raises
@pytest.mark.parametrize("n_examples", [0, -1, 2**31])
def test_permuted_index_refuses_sizes_out_of_range(key, n_examples):
    with pytest.raises(ValueError, match=rf"n_examples must be from 1 to 2\*\*31 - 1; got {n_examples}\."):
        sampling.permuted_index(key, jnp.arange(2), n_examples=n_examples)


@pytest.mark.raises
@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_steps_per_epoch_refuses_a_batch_that_does_not_fit(batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be from 1 to the number of examples, 10; got {batch_size}."):
        sampling.steps_per_epoch(10, batch_size=batch_size)

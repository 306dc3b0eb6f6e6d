"""Occlusion, ablation, Shapley values and permutation importance: brute force, closed forms, messages."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import explain, losses, metrics

INPUTS = jax.random.normal(jax.random.key(1), (3, 8))
FIRST, SECOND = (jax.random.normal(jax.random.key(seed), shape) for seed, shape in ((2, (8, 12)), (3, (12, 2))))


def predict(x):
    return jnp.tanh(x @ FIRST) @ SECOND


def by_definition(value, n):
    """Returns Shapley values from all orders of the groups' entrance, for one example: an average over n! orders."""
    known = {}
    for size in range(n + 1):
        for members in itertools.combinations(range(n), size):
            known[frozenset(members)] = value(members)
    values = np.zeros(n)
    for group in range(n):
        rest = [other for other in range(n) if other != group]
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for members in itertools.combinations(rest, size):
                values[group] += weight * (known[frozenset((*members, group))] - known[frozenset(members)])
    return values


def test_shapley_values_equal_brute_force_at_eight_features():
    first, second, inputs = (np.asarray(array, np.float64) for array in (FIRST, SECOND, INPUTS))
    baseline = np.linspace(-1, 1, 8)
    values = explain.shapley_values(
        predict, INPUTS, target=1, baseline=jnp.asarray(baseline, jnp.float32), batch_size=96
    )
    for row, x in zip(values, inputs, strict=True):

        def value(members, x=x):
            mixed = baseline.copy()
            mixed[list(members)] = x[list(members)]
            return (np.tanh(mixed @ first) @ second)[1]

        np.testing.assert_allclose(row, by_definition(value, 8), atol=1e-5)  # float32 and float64


def test_shapley_values_of_groups_share_a_product():
    groups = explain.columns(2, 1, 1)
    values = explain.shapley_values(
        lambda x: x[:, 0] * x[:, 1] * x[:, 2] + x[:, 3], jnp.array([[1.0, 2.0, 3.0, 4.0]]), groups=groups
    )
    np.testing.assert_allclose(values, [[3, 3, 4]], atol=1e-6)


def test_sampled_shapley_values_are_within_their_errors(key):
    exact = explain.shapley_values(predict, INPUTS, target=0)
    sample = jax.jit(
        lambda key: explain.sampled_shapley_values(key, predict, INPUTS, target=0, n_pairs=16, batch_size=12)
    )
    values, errors = jax.vmap(sample)(jax.random.split(key, 50))
    z = (values - exact[None]) / errors
    assert 0.9 < (abs(z) < 2.13).mean() < 0.99  # 95 % of Student's t with 15 degrees of freedom; 1,200 dependent draws
    np.testing.assert_allclose(values.mean(axis=0), exact, atol=4 * float(errors.mean()) / 50**0.5)
    np.testing.assert_allclose(values.sum(axis=2), jnp.broadcast_to(exact.sum(axis=1), (50, 3)), atol=1e-5)


def test_a_pair_is_exact_for_interactions_of_two(key):
    def square(x):
        return (x @ FIRST[:, 0]) ** 2

    values, errors = explain.sampled_shapley_values(key, square, INPUTS, n_pairs=2)
    np.testing.assert_allclose(values, explain.shapley_values(square, INPUTS), rtol=1e-4, atol=1e-4)  # float32
    assert errors.max() < 1e-2 * abs(values).max()  # the rounding of a sum of squares


def test_occlusion_equals_a_loop_over_windows():
    image = jax.random.normal(jax.random.key(4), (2, 7, 6, 2))
    weights = jax.random.normal(jax.random.key(5), (7 * 6 * 2,))

    def score(x):
        return jnp.tanh(x.reshape(len(x), -1) @ weights / 9)

    found = explain.occlusion(score, image, window=(3, 2), stride=(2, 2), baseline=0.5)
    sums, counts = np.zeros(image.shape), np.zeros(image.shape)
    for top, left in itertools.product(range(0, 5, 2), range(0, 5, 2)):
        place = (slice(None), slice(top, top + 3), slice(left, left + 2))
        fall = score(image) - score(image.at[place].set(0.5))
        sums[place] += np.asarray(fall)[:, None, None, None]
        counts[place] += 1
    np.testing.assert_allclose(found, sums / counts, atol=1e-6)


def test_occlusion_covers_the_end_with_a_cut_window():
    found = explain.occlusion(lambda x: x.sum(axis=1), jnp.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), window=(3,))
    assert found.tolist() == [[6, 6, 6, 9, 9]]


def test_occlusion_hides_spans_of_tokens():
    tokens = jnp.array([[3, 7, 2, 5]], jnp.int8)
    found = explain.occlusion(
        lambda x: (x == 7).sum(axis=1).astype(jnp.float32), tokens, window=(2,), stride=(1,), baseline=9
    )
    assert found.tolist() == [[1, 1, 0.5, 0]]


def test_ablation_and_laid_out_show_groups():
    groups = explain.patches((4, 4, 1), (2, 2))
    values = explain.ablation(lambda x: x.sum(axis=(1, 2, 3)), jnp.ones((2, 4, 4, 1)), groups=groups)
    assert values.tolist() == [[4.0] * 4] * 2
    assert explain.laid_out(values, groups).shape == (2, 4, 4, 1)


def test_permutation_importance_is_twice_the_variance(key):
    """Under squared error, permuting a feature of a linear model costs 2 w^2 var(x)."""
    x = jax.random.normal(jax.random.key(6), (2000, 3))
    weights = jnp.array([2.0, 0.0, 1.0])
    importance, error = jax.jit(
        lambda key: explain.permutation_importance(
            key, lambda x: x @ weights, x, x @ weights, loss=losses.squared_error, n_permutations=20, batch_size=300
        )
    )(key)
    np.testing.assert_allclose(importance, 2 * weights**2 * x.var(axis=0), atol=4 * float(error.max()) + 1e-6)
    assert importance[1] == 0 and 0 < error[0] < 0.2


def test_permutation_importance_permutes_groups_together(key):
    """A model that reads a feature twice, and a metric over all examples: a group hides both copies."""
    x = jax.random.normal(jax.random.key(7), (400, 1))
    table = {"copies": jnp.concatenate([x, x], axis=1), "noise": jnp.ones((400, 1))}
    groups = {"copies": np.array([0, 0]), "noise": np.array([1])}

    def logits(rows):
        total = rows["copies"].sum(axis=1)
        return jnp.stack([-total, total], axis=1)

    wrong = metrics.error(metrics.accuracy())
    importance, _ = explain.permutation_importance(
        key, logits, table, (x[:, 0] > 0).astype(jnp.int32), loss=wrong, groups=groups
    )
    assert abs(importance[0] - 0.5) < 0.05 and importance[1] == 0


def plain(x):
    return x.sum(axis=1)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: explain.occlusion(plain, x, window=(9,)),
            r"window must be from 1 to \(8,\) along each axis, got \(9,\)",
        ),
        (lambda x: explain.occlusion(plain, x, window=(2, 2)), r"at most 1 for examples of shape \(8,\)"),
        (lambda x: explain.occlusion(plain, x, window=(2,), stride=(0,)), "stride must be a whole number, 1 or more"),
        (lambda x: explain.ablation(plain, x, groups=np.arange(7)), r"the shape of one example, \(8,\), got \(7,\)"),
        (lambda x: explain.ablation(plain, x, groups=2 * np.arange(8)), r"without gaps, got \[0, 2, 4, 6, 8\]"),
        (lambda x: explain.shapley_values(plain, jnp.ones((1, 21))), "at most 20 groups, 2.20 coalitions, got 21"),
        (
            lambda x: explain.sampled_shapley_values(jax.random.key(0), plain, x, n_pairs=1),
            "n_pairs must be a whole number, 2 or more",
        ),
        (lambda x: explain.patches((4, 4), (0, 2)), "size must be a whole number, 1 or more, got 0"),
        (lambda x: explain.patches((4,), (2, 2)), "size must have at most 1 entries"),
    ],
)
def test_bad_windows_and_groups_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(INPUTS)

"""k-means: as good as scikit-learn's, right where the answer is known, the same under every transform."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from jaxresearch import clustering
from jaxresearch.clustering import k_means


def _blobs(n_blobs, *, n=240, n_features=3, spread=1.0, seed=0):
    """Returns points around drawn centres, and the blob of each point."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(-10, 10, (n_blobs, n_features))
    blob = np.arange(n) % n_blobs
    points = centres[blob] + spread * generator.normal(size=(n, n_features))
    return jnp.asarray(points, jnp.float32), blob


def _recomputed(points, found):
    """Returns the inertia of centres and labels, in float64."""
    points, centres = np.asarray(points, np.float64), np.asarray(found.centres, np.float64)
    return np.sum((points - centres[np.asarray(found.labels)]) ** 2)


# Twenty tries of five clusters of 240 points in three dimensions: one program for most tests.
compiled = jax.jit(k_means, static_argnames=("n_clusters", "n_restarts", "max_iterations"))
FIVE = {"n_clusters": 5, "n_restarts": 20}


@pytest.mark.parametrize(("n_blobs", "spread", "seed"), [(4, 1.0, 0), (5, 1.0, 1), (5, 2.0, 2), (5, 0.5, 3)])
def test_k_means_comes_to_the_inertia_of_scikit_learn(key, n_blobs, spread, seed):
    points, _ = _blobs(n_blobs, spread=spread, seed=seed)
    found = compiled(key, points, **FIVE)
    peer = KMeans(5, n_init=20, tol=0, random_state=0).fit(np.asarray(points, np.float64))
    # Both keep the best of 20 tries and come to one optimum; sums of 240 squares in float32 against float64.
    np.testing.assert_allclose(found.inertia, peer.inertia_, rtol=1e-5)
    np.testing.assert_allclose(found.inertia, _recomputed(points, found), rtol=1e-5)


def test_k_means_is_not_worse_than_scikit_learn_where_blobs_overlap(key):
    points, _ = _blobs(8, spread=6.0, seed=4)
    ours = compiled(key, points, **FIVE).inertia
    theirs = KMeans(5, n_init=20, random_state=0).fit(np.asarray(points)).inertia_
    assert ours < 1.02 * theirs  # there are many local minima, and the best of 20 tries lie within 2 % of each other


def test_k_means_recovers_separated_blobs_exactly(key):
    points, blob = _blobs(5, spread=0.1, seed=5)
    found = compiled(key, points, **FIVE)
    pairs = set(zip(np.asarray(found.labels).tolist(), blob.tolist(), strict=True))
    assert len(pairs) == 5
    for cluster, own in pairs:
        np.testing.assert_allclose(found.centres[cluster], points[blob == own].mean(0), atol=1e-5)  # float32 at 10
    assert found.n_iterations <= 3


def test_k_means_puts_every_point_to_its_nearest_centre_and_every_centre_in_the_middle(key):
    points, _ = _blobs(5, spread=4.0, seed=6)
    found = compiled(key, points, **FIVE)
    distances = np.sum((np.asarray(points)[:, None] - np.asarray(found.centres)[None]) ** 2, -1)
    own = distances[np.arange(len(points)), np.asarray(found.labels)]
    assert np.all(own <= distances.min(1) + 1e-3)  # squares of up to 400 in float32
    for cluster in range(5):
        middle = np.asarray(points)[np.asarray(found.labels) == cluster].mean(0)
        np.testing.assert_allclose(found.centres[cluster], middle, atol=1e-4)  # float32 means of values up to 20


def test_k_means_never_raises_the_inertia_by_moving():
    points, _ = _blobs(5, spread=5.0, seed=7)
    starts = jnp.stack([points[i : i + 5] for i in range(10)])

    def ended(limit):
        return jax.vmap(lambda start: clustering._lloyd(points, start, limit))(starts)

    found = jax.jit(jax.vmap(ended))(jnp.array([*range(1, 12), 300]))
    inertia = np.asarray(found.inertia)
    assert np.all(inertia[1:] <= inertia[:-1] * (1 + 1e-6))  # float32
    assert np.all(inertia[-1] < inertia[0])
    assert found.n_iterations[:3].tolist() == [[1] * 10, [2] * 10, [3] * 10]
    assert np.all(found.n_iterations[-1] < 300)  # it ended by itself


def test_k_means_of_one_cluster_is_the_mean(key):
    points, _ = _blobs(3)
    found = compiled(key, points, n_clusters=1, n_restarts=2)
    np.testing.assert_allclose(found.centres[0], np.asarray(points, np.float64).mean(0), rtol=1e-5)  # float32
    np.testing.assert_allclose(found.inertia, np.var(np.asarray(points, np.float64), axis=0).sum() * 240, rtol=1e-5)
    assert np.all(found.labels == 0)


def test_k_means_of_as_many_clusters_as_points_leaves_nothing(key):
    points = jnp.arange(12.0).reshape(6, 2) ** 2
    found = compiled(key, points, n_clusters=6, n_restarts=2)
    assert found.inertia == 0
    assert sorted(found.labels.tolist()) == list(range(6))


def test_k_means_of_fewer_places_than_clusters_leaves_nothing(key):
    points = jnp.tile(jnp.array([[0.0, 1.0, 3.0], [5.0, 5.0, 3.0], [9.0, 1.0, 3.0]]), (80, 1))
    found = compiled(key, points, **FIVE)
    assert found.inertia == pytest.approx(0, abs=1e-6)  # means of equal numbers, rounded, are off by 1e-6 at most
    assert len(set(found.labels.tolist())) == 3
    assert np.all(np.isfinite(found.centres))


def test_k_means_does_not_depend_on_the_order_of_points_or_on_where_they_lie():
    points, _ = _blobs(5, seed=8)
    points = jnp.round(points * 64) / 64  # so that the shifted points hold the same digits
    inertia = compiled(jax.random.key(0), points, **FIVE).inertia
    shuffled = compiled(jax.random.key(0), points[np.random.default_rng(0).permutation(240)], **FIVE)
    np.testing.assert_allclose(shuffled.inertia, inertia, rtol=1e-6)  # sums in another order
    moved = compiled(jax.random.key(0), points + 10_000, **FIVE)
    # float32 holds values at 10,000 to 1e-3, and the mean is rounded there; the inertia by inner products would be off by 1.
    np.testing.assert_allclose(moved.inertia, inertia, rtol=1e-4)


def test_k_means_tells_near_groups_apart_that_lie_far_from_others(key):
    generator = np.random.default_rng(0)
    places = np.array([[-5_000.0, 0, 0], [5_000.0, 0, 0], [5_000.5, 0, 0], [0, 5_000.0, 0], [0, 5_000.5, 0]])
    points = jnp.asarray(places[np.arange(240) % 5] + 0.01 * generator.normal(size=(240, 3)), jnp.float32)
    labels = np.asarray(compiled(key, points, **FIVE).labels)
    assert all(len(set(labels[i::5].tolist())) == 1 for i in range(5))
    assert len(set(labels[:5].tolist())) == 5


def test_an_empty_cluster_takes_the_farthest_point():
    points = jnp.array([[0.0], [1.0], [2.0], [9.0], [-20.0]])
    labels = jnp.zeros(5, jnp.int32)
    centres = clustering._means(points, labels, jnp.array([[0.0], [100.0], [200.0]]))
    # The mean of all is -1.6: the point at -20 is the farthest, the one at 9 the next.
    assert centres.ravel().tolist() == [1.0, -20.0, 9.0]


@pytest.mark.long
def test_k_means_under_jit_and_vmap_equals_a_single_call():
    points, _ = _blobs(5, spread=4.0, seed=9)
    settings = {"n_clusters": 5, "n_restarts": 3, "max_iterations": 4}
    keys = jax.random.split(jax.random.key(1), 3)
    single = jax.random.split(jax.random.key(1), 3)[1]
    together = jax.jit(jax.vmap(functools.partial(k_means, points=points, **settings)))(keys)
    alone = k_means(single, points, **settings)
    assert np.array_equal(together.labels[1], alone.labels)
    np.testing.assert_allclose(together.inertia[1], alone.inertia, rtol=1e-6)  # sums in another order
    assert together.n_iterations[1] == alone.n_iterations == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_k_means_of_points_that_are_not_finite_has_no_inertia(key, bad):
    points = _blobs(2)[0].at[5, 1].set(bad)
    assert np.isnan(compiled(key, points, **FIVE).inertia)


def test_k_means_refuses_numbers_out_of_range(key):
    points = jnp.zeros((4, 2))
    with pytest.raises(ValueError, match="n_clusters must be from 1 to the number of points, 4; got 5"):
        k_means(key, points, n_clusters=5)
    with pytest.raises(ValueError, match="n_clusters must be from 1 to the number of points, 4; got 0"):
        k_means(key, points, n_clusters=0)
    with pytest.raises(ValueError, match="n_restarts must be 1 or more; got 0"):
        k_means(key, points, n_clusters=2, n_restarts=0)
    with pytest.raises(ValueError, match="max_iterations must be 1 or more; got 0"):
        k_means(key, points, n_clusters=2, max_iterations=0)


@pytest.mark.raises
def test_k_means_refuses_points_of_one_axis(key):
    with pytest.raises(ValueError, match=r"points must have shape \(n, features\); got \(4,\)"):
        k_means(key, jnp.zeros(4), n_clusters=2)

"""k-means and the metrics of clusterings: equal to scikit-learn, exact where the answer is known, unchanged by transforms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as peer
from sklearn.cluster import KMeans

from jaxresearch import clustering
from jaxresearch.clustering import k_means


def blobs(n_blobs, *, n=240, n_features=3, spread=1.0, seed=0):
    """Returns points around drawn centres, and the blob of each point."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(-10, 10, (n_blobs, n_features))
    blob = np.arange(n) % n_blobs
    points = centres[blob] + spread * generator.normal(size=(n, n_features))
    return jnp.asarray(points, jnp.float32), blob


def recomputed(points, found):
    """Returns the inertia of centres and labels, in float64."""
    points, centres = np.asarray(points, np.float64), np.asarray(found.centres, np.float64)
    return np.sum((points - centres[np.asarray(found.labels)]) ** 2)


# Twenty restarts of five clusters of 240 points in three dimensions: one program for most tests.
compiled = jax.jit(k_means, static_argnames=("n_clusters", "n_restarts", "max_iterations"))
FIVE = {"n_clusters": 5, "n_restarts": 20}


@pytest.mark.parametrize(("n_blobs", "spread", "seed"), [(4, 1.0, 0), (5, 1.0, 1), (5, 2.0, 2), (5, 0.5, 3)])
def test_k_means_reaches_the_inertia_of_scikit_learn(key, n_blobs, spread, seed):
    points, _ = blobs(n_blobs, spread=spread, seed=seed)
    found = compiled(key, points, **FIVE)
    peer = KMeans(5, n_init=20, tol=0, random_state=0).fit(np.asarray(points, np.float64))
    # Both keep the best of 20 restarts and reach the same optimum; sums of 240 squares in float32 against float64.
    np.testing.assert_allclose(found.inertia, peer.inertia_, rtol=1e-5)
    np.testing.assert_allclose(found.inertia, recomputed(points, found), rtol=1e-5)


def test_k_means_matches_scikit_learn_on_overlapping_blobs(key):
    points, _ = blobs(8, spread=6.0, seed=4)
    ours = compiled(key, points, **FIVE).inertia
    theirs = KMeans(5, n_init=20, random_state=0).fit(np.asarray(points)).inertia_
    assert ours < 1.02 * theirs  # there are many local minima, and the best of 20 restarts lie within 2 % of each other


def test_k_means_recovers_separated_blobs_exactly(key):
    points, blob = blobs(5, spread=0.1, seed=5)
    found = compiled(key, points, **FIVE)
    pairs = set(zip(np.asarray(found.labels).tolist(), blob.tolist(), strict=True))
    assert len(pairs) == 5
    for cluster, own in pairs:
        np.testing.assert_allclose(found.centres[cluster], points[blob == own].mean(0), atol=1e-5)  # float32 at 10
    assert found.n_iterations <= 3


def test_k_means_assigns_points_to_the_nearest_mean(key):
    points, _ = blobs(5, spread=4.0, seed=6)
    found = compiled(key, points, **FIVE)
    distances = np.sum((np.asarray(points)[:, None] - np.asarray(found.centres)[None]) ** 2, -1)
    own = distances[np.arange(len(points)), np.asarray(found.labels)]
    assert np.all(own <= distances.min(1) + 1e-3)  # squares of up to 400 in float32
    for cluster in range(5):
        middle = np.asarray(points)[np.asarray(found.labels) == cluster].mean(0)
        np.testing.assert_allclose(found.centres[cluster], middle, atol=1e-4)  # float32 means of values up to 20


def test_k_means_iterations_never_raise_the_inertia():
    points, _ = blobs(5, spread=5.0, seed=7)
    starts = jnp.stack([points[i : i + 5] for i in range(10)])

    def ended(limit):
        return jax.vmap(lambda start: clustering._lloyd(points, start, limit))(starts)

    found = jax.jit(jax.vmap(ended))(jnp.array([*range(1, 12), 300]))
    inertia = np.asarray(found.inertia)
    assert np.all(inertia[1:] <= inertia[:-1] * (1 + 1e-6))  # float32
    assert np.all(inertia[-1] < inertia[0])
    assert found.n_iterations[:3].tolist() == [[1] * 10, [2] * 10, [3] * 10]
    assert np.all(found.n_iterations[-1] < 300)  # it converged


def test_k_means_of_one_cluster_is_the_mean(key):
    points, _ = blobs(3)
    found = compiled(key, points, n_clusters=1, n_restarts=2)
    np.testing.assert_allclose(found.centres[0], np.asarray(points, np.float64).mean(0), rtol=1e-5)  # float32
    np.testing.assert_allclose(found.inertia, np.var(np.asarray(points, np.float64), axis=0).sum() * 240, rtol=1e-5)
    assert np.all(found.labels == 0)


def test_k_means_of_as_many_clusters_as_points_is_exact(key):
    points = jnp.arange(12.0).reshape(6, 2) ** 2
    found = compiled(key, points, n_clusters=6, n_restarts=2)
    assert found.inertia == 0
    assert sorted(found.labels.tolist()) == list(range(6))


def test_k_means_of_fewer_places_than_clusters_is_exact(key):
    points = jnp.tile(jnp.array([[0.0, 1.0, 3.0], [5.0, 5.0, 3.0], [9.0, 1.0, 3.0]]), (80, 1))
    found = compiled(key, points, **FIVE)
    assert found.inertia == pytest.approx(0, abs=1e-6)  # means of equal numbers, rounded, are off by 1e-6 at most
    assert len(set(found.labels.tolist())) == 3
    assert np.all(np.isfinite(found.centres))


def test_k_means_is_invariant_to_order_and_translation():
    points, _ = blobs(5, seed=8)
    points = jnp.round(points * 64) / 64  # so that the shifted points keep their digits
    inertia = compiled(jax.random.key(0), points, **FIVE).inertia
    shuffled = compiled(jax.random.key(0), points[np.random.default_rng(0).permutation(240)], **FIVE)
    np.testing.assert_allclose(shuffled.inertia, inertia, rtol=1e-6)  # different summation order
    moved = compiled(jax.random.key(0), points + 10_000, **FIVE)
    # float32 holds values at 10,000 to 1e-3, and the mean is rounded there; the inertia by inner products would be off by 1.
    np.testing.assert_allclose(moved.inertia, inertia, rtol=1e-4)


def test_k_means_separates_near_groups_far_from_others(key):
    generator = np.random.default_rng(0)
    places = np.array([[-5_000.0, 0, 0], [5_000.0, 0, 0], [5_000.5, 0, 0], [0, 5_000.0, 0], [0, 5_000.5, 0]])
    points = jnp.asarray(places[np.arange(240) % 5] + 0.01 * generator.normal(size=(240, 3)), jnp.float32)
    labels = np.asarray(compiled(key, points, **FIVE).labels)
    assert all(len(set(labels[i::5].tolist())) == 1 for i in range(5))
    assert len(set(labels[:5].tolist())) == 5


def test_means_moves_an_empty_cluster_to_the_farthest_point():
    points = jnp.array([[0.0], [1.0], [2.0], [9.0], [-20.0]])
    labels = jnp.zeros(5, jnp.int32)
    centres = clustering._means(points, labels, jnp.array([[0.0], [100.0], [200.0]]))
    # The mean of all is -1.6: the point at -20 is the farthest, the one at 9 the next.
    assert centres.ravel().tolist() == [1.0, -20.0, 9.0]


@pytest.mark.long
def test_k_means_under_jit_and_vmap_equals_a_single_call():
    points, _ = blobs(5, spread=4.0, seed=9)
    settings = {"n_clusters": 5, "n_restarts": 3, "max_iterations": 4}
    keys = jax.random.split(jax.random.key(1), 3)
    single = jax.random.split(jax.random.key(1), 3)[1]
    together = jax.jit(jax.vmap(functools.partial(k_means, points=points, **settings)))(keys)
    alone = k_means(single, points, **settings)
    assert np.array_equal(together.labels[1], alone.labels)
    np.testing.assert_allclose(together.inertia[1], alone.inertia, rtol=1e-6)  # different summation order
    assert together.n_iterations[1] == alone.n_iterations == 4


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_k_means_of_non_finite_points_has_no_inertia(key, bad):
    points = blobs(2)[0].at[5, 1].set(bad)
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


ari = jax.jit(clustering.adjusted_rand_index, static_argnames=("n_labels", "n_clusters"))
nmi = jax.jit(clustering.normalised_mutual_information, static_argnames=("n_labels", "n_clusters"))
silhouette = jax.jit(clustering.silhouette, static_argnames="n_clusters")

AGREEMENT = pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ari, peer.adjusted_rand_score), (nmi, peer.normalized_mutual_info_score)],
    ids=["ari", "nmi"],
)
SIZES = {"n_labels": 12, "n_clusters": 9}


def drawn_groups(seed, n):
    """Returns labels and clusters that agree in part: from independent to identical, with one group or many."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, generator.integers(1, 10), n)
    other = generator.integers(0, generator.integers(1, 10), n)
    clusters = np.where(generator.random(n) < generator.choice([0, 0.5, 0.9, 1]), labels, other)
    return labels.astype(np.int32), clusters.astype(np.int32)


@AGREEMENT
@pytest.mark.parametrize("n", [2, 9, 60])
def test_agreement_equals_scikit_learn(ours, theirs, n):
    for seed in range(150):
        labels, clusters = drawn_groups(seed, n)
        # A few units of the last digit of float32; entropies are sums of up to 108 terms.
        np.testing.assert_allclose(ours(labels, clusters, **SIZES), theirs(labels, clusters), atol=2e-6)


@AGREEMENT
@pytest.mark.parametrize(
    ("labels", "clusters"),
    [
        (np.zeros(8), np.zeros(8)),
        (np.zeros(8), np.arange(8)),
        (np.arange(8), np.arange(8)),
        (np.arange(8) // 2, np.arange(8) // 2),
        (np.arange(8) // 4, np.arange(8) % 4 // 2),
        (np.arange(8) // 4, np.arange(8) % 2),
        (np.zeros(1), np.zeros(1)),
    ],
    ids=["one cluster", "one against single", "single", "identical", "independent", "below chance", "one point"],
)
def test_agreement_of_edge_cases_equals_scikit_learn(ours, theirs, labels, clusters):
    labels, clusters = labels.astype(np.int32), clusters.astype(np.int32)
    for one, other in ((labels, clusters), (clusters, labels)):
        value = ours(one, other, n_labels=8, n_clusters=8)
        np.testing.assert_allclose(value, theirs(one, other), atol=1e-6)  # float32


@AGREEMENT
def test_agreement_of_many_points_keeps_its_digits(ours, theirs):
    generator = np.random.default_rng(0)
    n = 100_000
    labels = generator.integers(0, 10, n).astype(np.int32)
    for share in (0.0, 0.01, 0.5, 1.0):
        clusters = np.where(generator.random(n) < share, labels, generator.integers(0, 10, n)).astype(np.int32)
        value = ours(labels, clusters, n_labels=10, n_clusters=10)
        np.testing.assert_allclose(value, theirs(labels, clusters), atol=2e-6)  # float32, of 5e9 pairs
    # Nearly all points in one group: 1 minus a fraction of pairs would leave few digits.
    labels = (np.arange(n) < 5).astype(np.int32)
    clusters = ((np.arange(n) >= 2) & (np.arange(n) < 6)).astype(np.int32)
    np.testing.assert_allclose(ours(labels, clusters, n_labels=2, n_clusters=2), theirs(labels, clusters), atol=2e-6)


@AGREEMENT
def test_agreement_is_symmetric_and_invariant_to_names(ours, theirs):
    del theirs
    labels, clusters = drawn_groups(3, 60)
    value = ours(labels, clusters, n_labels=10, n_clusters=10)
    generator = np.random.default_rng(0)
    renamed = generator.permutation(10).astype(np.int32)[labels], generator.permutation(10).astype(np.int32)[clusters]
    for one, other in ((clusters, labels), renamed):
        # The table is summed in a different order.
        np.testing.assert_allclose(ours(one, other, n_labels=10, n_clusters=10), value, atol=1e-6)


@AGREEMENT
@pytest.mark.parametrize("bad", [-1, 3, 300])
def test_agreement_of_a_group_out_of_range_is_nan(ours, theirs, bad):
    del theirs
    good, wrong = np.array([0, 1, 2], np.int32), np.array([0, 1, bad], np.int32)
    assert np.isfinite(ours(good, good, n_labels=3, n_clusters=3))
    assert np.isnan(ours(good, wrong, n_labels=3, n_clusters=3))
    assert np.isnan(ours(wrong, good, n_labels=3, n_clusters=3))


@AGREEMENT
def test_agreement_without_points_is_nan(ours, theirs):
    del theirs
    assert np.isnan(ours(np.zeros(0, np.int32), np.zeros(0, np.int32), n_labels=2, n_clusters=2))


@pytest.mark.long
def test_agreement_under_jit_and_vmap_equals_eager_calls():
    pairs = [drawn_groups(seed, 60) for seed in range(4)]
    labels, clusters = (jnp.stack(group) for group in zip(*pairs, strict=True))
    for metric in (clustering.adjusted_rand_index, clustering.normalised_mutual_information):
        together = jax.jit(jax.vmap(functools.partial(metric, **SIZES)))(labels, clusters)
        # Different summation order.
        np.testing.assert_allclose(together[3], metric(labels[3], clusters[3], **SIZES), atol=1e-6)


@pytest.mark.parametrize("n_features", [1, 5])
def test_silhouette_equals_scikit_learn(n_features):
    generator = np.random.default_rng(0)
    for n_used in (2, 3, 8):
        clusters = generator.integers(0, n_used, 101).astype(np.int32)
        points = (generator.normal(size=(101, n_features)) + clusters[:, None]).astype(np.float32)
        value = silhouette(points, clusters, n_clusters=10)
        np.testing.assert_allclose(value, peer.silhouette_score(points, clusters), atol=1e-6)  # float32


def test_silhouette_of_single_and_equal_points_is_0():
    points = np.array([[0.0], [1.0], [5.0], [9.0], [9.0]], np.float32)
    clusters = np.array([0, 0, 1, 2, 2], np.int32)
    value = silhouette(points, clusters, n_clusters=3)
    np.testing.assert_allclose(value, peer.silhouette_score(points, clusters), atol=1e-6)  # float32
    assert silhouette(points, np.arange(5, dtype=np.int32), n_clusters=5) == 0
    assert silhouette(np.ones((4, 2), np.float32), np.array([0, 0, 1, 1], np.int32), n_clusters=2) == 0


def test_silhouette_is_invariant_to_order_scale_and_names():
    generator = np.random.default_rng(1)
    clusters = generator.integers(0, 4, 96).astype(np.int32)
    points = (generator.normal(size=(96, 3)) + clusters[:, None]).astype(np.float32)
    value = silhouette(points, clusters, n_clusters=4)
    order = generator.permutation(96)
    for other, groups in ((points * 8, clusters), (points[order], clusters[order]), (points + 4, 3 - clusters)):
        np.testing.assert_allclose(silhouette(other, groups, n_clusters=4), value, atol=1e-6)  # float32


def test_undefined_silhouette_is_nan():
    points = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert np.isnan(silhouette(points, np.zeros(3, np.int32), n_clusters=2))
    assert np.isnan(silhouette(points, np.array([0, 1, 2], np.int32), n_clusters=2))
    assert np.isnan(silhouette(points, np.array([0, 1, -1], np.int32), n_clusters=2))
    points[1, 1] = np.nan
    assert np.isnan(silhouette(points, np.array([0, 1, 1], np.int32), n_clusters=2))


def test_silhouette_does_not_hold_all_distances():
    shapes = jax.ShapeDtypeStruct((10_000, 64), jnp.float32), jax.ShapeDtypeStruct((10_000,), jnp.int32)
    memory = silhouette.lower(*shapes, n_clusters=20).compile().memory_analysis()
    # The distances of all pairs would be 400 MB; a block of 32 rows of differences, unfused, 82 MB.
    assert memory.temp_size_in_bytes < 100e6


def test_metrics_refuse_numbers_of_groups_below_one():
    groups = jnp.array([0, 1])
    with pytest.raises(ValueError, match="n_labels must be 1 or more; got 0"):
        clustering.adjusted_rand_index(groups, groups, n_labels=0, n_clusters=2)
    with pytest.raises(ValueError, match="n_clusters must be 1 or more; got 0"):
        clustering.normalised_mutual_information(groups, groups, n_labels=2, n_clusters=0)
    with pytest.raises(ValueError, match="n_clusters must be 1 or more; got -1"):
        clustering.silhouette(jnp.zeros((2, 1)), groups, n_clusters=-1)


@pytest.mark.raises
@pytest.mark.parametrize("metric", [clustering.adjusted_rand_index, clustering.normalised_mutual_information])
def test_agreement_needs_one_integer_per_point(metric):
    groups = jnp.array([0, 1])
    with pytest.raises(ValueError, match=r"clusters must have shape \(2,\); got \(3,\)"):
        metric(groups, jnp.array([0, 1, 1]), n_labels=2, n_clusters=2)
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\); got \(2, 2\)"):
        metric(jnp.eye(2, dtype=jnp.int32), groups, n_labels=2, n_clusters=2)
    with pytest.raises(ValueError, match="clusters must be integers; got float32"):
        metric(groups, jnp.array([0.0, 1.0]), n_labels=2, n_clusters=2)


@pytest.mark.raises
def test_silhouette_refuses_wrong_points_and_clusters():
    with pytest.raises(ValueError, match=r"points must have shape \(n, features\); got \(2,\)"):
        clustering.silhouette(jnp.zeros(2), jnp.array([0, 1]), n_clusters=2)
    with pytest.raises(ValueError, match=r"clusters must have shape \(2,\); got \(3,\)"):
        clustering.silhouette(jnp.zeros((2, 1)), jnp.array([0, 1, 1]), n_clusters=2)
    with pytest.raises(ValueError, match="clusters must be integers; got float32"):
        clustering.silhouette(jnp.zeros((2, 1)), jnp.zeros(2), n_clusters=2)

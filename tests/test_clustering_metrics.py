"""Figures of clusterings equal scikit-learn's, hold their digits for many points, and know no names of groups."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as peer

from jaxresearch import clustering

ari = jax.jit(clustering.adjusted_rand_index, static_argnames=("n_labels", "n_clusters"))
nmi = jax.jit(clustering.normalised_mutual_information, static_argnames=("n_labels", "n_clusters"))
silhouette = jax.jit(clustering.silhouette, static_argnames="n_clusters")

AGREEMENT = pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ari, peer.adjusted_rand_score), (nmi, peer.normalized_mutual_info_score)],
    ids=["ari", "nmi"],
)
SIZES = {"n_labels": 12, "n_clusters": 9}


def _groups(seed, n):
    """Returns labels and clusters that agree in part: from independent to the same, of one group to many."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, generator.integers(1, 10), n)
    other = generator.integers(0, generator.integers(1, 10), n)
    clusters = np.where(generator.random(n) < generator.choice([0, 0.5, 0.9, 1]), labels, other)
    return labels.astype(np.int32), clusters.astype(np.int32)


@AGREEMENT
@pytest.mark.parametrize("n", [2, 9, 60])
def test_agreement_equals_scikit_learn(ours, theirs, n):
    for seed in range(150):
        labels, clusters = _groups(seed, n)
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
    # Nearly all points in one group: 1 less a share of pairs would leave few digits.
    labels = (np.arange(n) < 5).astype(np.int32)
    clusters = ((np.arange(n) >= 2) & (np.arange(n) < 6)).astype(np.int32)
    np.testing.assert_allclose(ours(labels, clusters, n_labels=2, n_clusters=2), theirs(labels, clusters), atol=2e-6)


@AGREEMENT
def test_agreement_is_symmetric_and_knows_no_names(ours, theirs):
    del theirs
    labels, clusters = _groups(3, 60)
    value = ours(labels, clusters, n_labels=10, n_clusters=10)
    generator = np.random.default_rng(0)
    renamed = generator.permutation(10).astype(np.int32)[labels], generator.permutation(10).astype(np.int32)[clusters]
    for one, other in ((clusters, labels), renamed):
        # The table is summed in another order.
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


def test_agreement_under_jit_and_vmap_equals_eager_calls():
    pairs = [_groups(seed, 60) for seed in range(4)]
    labels, clusters = (jnp.stack(group) for group in zip(*pairs, strict=True))
    for figure in (clustering.adjusted_rand_index, clustering.normalised_mutual_information):
        together = jax.jit(jax.vmap(functools.partial(figure, **SIZES)))(labels, clusters)
        # Sums in another order.
        np.testing.assert_allclose(together[3], figure(labels[3], clusters[3], **SIZES), atol=1e-6)


@pytest.mark.parametrize("n_features", [1, 5])
def test_silhouette_equals_scikit_learn(n_features):
    generator = np.random.default_rng(0)
    for n_used in (2, 3, 8):
        clusters = generator.integers(0, n_used, 101).astype(np.int32)
        points = (generator.normal(size=(101, n_features)) + clusters[:, None]).astype(np.float32)
        value = silhouette(points, clusters, n_clusters=10)
        np.testing.assert_allclose(value, peer.silhouette_score(points, clusters), atol=1e-6)  # float32


def test_silhouette_counts_lonely_points_and_equal_ones_with_0():
    points = np.array([[0.0], [1.0], [5.0], [9.0], [9.0]], np.float32)
    clusters = np.array([0, 0, 1, 2, 2], np.int32)
    value = silhouette(points, clusters, n_clusters=3)
    np.testing.assert_allclose(value, peer.silhouette_score(points, clusters), atol=1e-6)  # float32
    assert silhouette(points, np.arange(5, dtype=np.int32), n_clusters=5) == 0
    assert silhouette(np.ones((4, 2), np.float32), np.array([0, 0, 1, 1], np.int32), n_clusters=2) == 0


def test_silhouette_knows_no_place_order_scale_or_names():
    generator = np.random.default_rng(1)
    clusters = generator.integers(0, 4, 96).astype(np.int32)
    points = (generator.normal(size=(96, 3)) + clusters[:, None]).astype(np.float32)
    value = silhouette(points, clusters, n_clusters=4)
    order = generator.permutation(96)
    for other, groups in ((points * 8, clusters), (points[order], clusters[order]), (points + 4, 3 - clusters)):
        np.testing.assert_allclose(silhouette(other, groups, n_clusters=4), value, atol=1e-6)  # float32


def test_silhouette_without_an_answer_is_nan():
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


def test_numbers_of_groups_must_be_positive():
    groups = jnp.array([0, 1])
    with pytest.raises(ValueError, match="n_labels must be 1 or more; got 0"):
        clustering.adjusted_rand_index(groups, groups, n_labels=0, n_clusters=2)
    with pytest.raises(ValueError, match="n_clusters must be 1 or more; got 0"):
        clustering.normalised_mutual_information(groups, groups, n_labels=2, n_clusters=0)
    with pytest.raises(ValueError, match="n_clusters must be 1 or more; got -1"):
        clustering.silhouette(jnp.zeros((2, 1)), groups, n_clusters=-1)


@pytest.mark.raises
@pytest.mark.parametrize("figure", [clustering.adjusted_rand_index, clustering.normalised_mutual_information])
def test_groups_must_be_integers_one_a_point(figure):
    groups = jnp.array([0, 1])
    with pytest.raises(ValueError, match=r"clusters must have shape \(2,\); got \(3,\)"):
        figure(groups, jnp.array([0, 1, 1]), n_labels=2, n_clusters=2)
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\); got \(2, 2\)"):
        figure(jnp.eye(2, dtype=jnp.int32), groups, n_labels=2, n_clusters=2)
    with pytest.raises(ValueError, match="clusters must be integers; got float32"):
        figure(groups, jnp.array([0.0, 1.0]), n_labels=2, n_clusters=2)


@pytest.mark.raises
def test_silhouette_refuses_what_are_no_points_or_clusters():
    with pytest.raises(ValueError, match=r"points must have shape \(n, features\); got \(2,\)"):
        clustering.silhouette(jnp.zeros(2), jnp.array([0, 1]), n_clusters=2)
    with pytest.raises(ValueError, match=r"clusters must have shape \(2,\); got \(3,\)"):
        clustering.silhouette(jnp.zeros((2, 1)), jnp.array([0, 1, 1]), n_clusters=2)
    with pytest.raises(ValueError, match="clusters must be integers; got float32"):
        clustering.silhouette(jnp.zeros((2, 1)), jnp.zeros(2), n_clusters=2)

"""Clustering: k-means as a pure function of a key and the points, and scores of a clustering.

`adjusted_rand_index` and `normalised_mutual_information` compare clusters with known labels; `silhouette` needs no labels. They
take all points at once, and unlike a `jaxresearch.metrics.Metric` do not merge over batches.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Key


class Clustering(NamedTuple):
    """A clustering: the centres, the cluster of each point, and the sum of squared distances to the centres."""

    centres: Float[Array, "clusters features"]
    labels: Int[Array, " n"]
    inertia: Float[Array, ""]
    n_iterations: Int[Array, ""]


def k_means(
    key: Key[Array, ""],
    points: Float[Array, "n features"],
    *,
    n_clusters: int,
    n_restarts: int = 10,
    max_iterations: int = 300,
) -> Clustering:
    r"""Returns the k-means clustering with the smallest sum of squared distances among several restarts.

    .. math:: \min_{c, z} \sum_i \| x_i - c_{z_i} \|^2

    Each restart draws its initial centres by k-means++, one point at a time, with probability proportional to the squared
    distance to the nearest centre so far. It then alternates between moving the centres to the means of their points and
    assigning the points to their nearest centres, until no point moves. The inertia never rises, and ends in a local
    minimum; hence the restarts.

    ===================================  =======================================================================
    case                                 result
    ===================================  =======================================================================
    a cluster becomes empty              it takes the point farthest from its centre; further ones take the next
    fewer distinct points than clusters  some clusters stay empty; the inertia is 0
    a point is equally near to several   it belongs to the first of them
    a coordinate is not finite           the inertia is nan, and the labels are meaningless
    ===================================  =======================================================================

    Distances are computed from differences, after subtracting the mean of all points: inner products would lose the
    digits of clusters that are close together and far from the rest.

    Args:
        key: Draws the initial centres.
        points: One per row, in units in which distances are meaningful.
        n_clusters: Number of clusters, 1 to the number of points.
        n_restarts: Number of restarts, 1 or more.
        max_iterations: Limit on the updates of the centres in a restart, 1 or more.

    Returns:
        The best restart: centres ``(n_clusters, features)``, labels 0 to ``n_clusters - 1``, the sum of squared distances in
        the unit of the points squared, and the number of updates.

    Raises:
        ValueError: If ``points`` is not a matrix, or a number is outside its range.

    Example:
        >>> points = jnp.array([[0.0], [1.0], [10.0], [11.0]])
        >>> found = k_means(jax.random.key(0), points, n_clusters=2)
        >>> sorted(found.centres.ravel().tolist()), float(found.inertia)
        ([0.5, 10.5], 1.0)

    References:
        Lloyd (1982), Least squares quantization in PCM, IEEE Trans. Inf. Theory 28(2).
        https://doi.org/10.1109/TIT.1982.1056489. Arthur and Vassilvitskii (2007), k-means++: the advantages of careful
        seeding, SODA, section 2.2. https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf
    """
    if points.ndim != 2:
        raise ValueError(f"points must have shape (n, features); got {points.shape}. Pass one point per row.")
    if not 1 <= n_clusters <= len(points):
        raise ValueError(
            f"n_clusters must be from 1 to the number of points, {len(points)}; got {n_clusters}. Pass fewer."
        )
    if n_restarts < 1:
        raise ValueError(f"n_restarts must be 1 or more; got {n_restarts}. Ten is usual.")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be 1 or more; got {max_iterations}. Few restarts need more than 100.")
    middle = jnp.mean(points, axis=0, keepdims=True)
    centred = points - middle
    # Scan over numbers, not keys: outside of jit, the key-reuse check mistakes vmapped keys for used ones.
    uniform = jax.random.uniform(key, (n_restarts, n_clusters))
    tries = jax.vmap(lambda own: _lloyd(centred, _seeds(own, centred), max_iterations))(uniform)
    best = jax.tree.map(lambda leaf: leaf[jnp.argmin(tries.inertia)], tries)
    return best._replace(centres=best.centres + middle)


def _seeds(uniform: Float[Array, " clusters"], points: Float[Array, "n features"]) -> Float[Array, "clusters features"]:
    """Returns initial centres by k-means++ (Arthur and Vassilvitskii 2007)."""

    def draw(nearest, uniform):
        # The first is drawn uniformly. If all distances are 0, this is the last point.
        below = jnp.cumsum(jnp.where(jnp.isinf(nearest), 1.0, nearest))
        place = jnp.searchsorted(below, uniform * below[-1], side="right")
        chosen = points[jnp.minimum(place, len(points) - 1)]
        return jnp.minimum(nearest, _squared_distances(points, chosen[None])[:, 0]), chosen

    return jax.lax.scan(draw, jnp.full(len(points), jnp.inf, points.dtype), uniform)[1]


def _lloyd(
    points: Float[Array, "n features"], centres: Float[Array, "clusters features"], limit: int | Int[Array, ""]
) -> Clustering:
    """Returns the clustering at which Lloyd's algorithm stops."""

    def is_moving(carry):
        _, _, moved, n_iterations = carry
        return moved & (n_iterations < limit)

    def move(carry):
        centres, labels, _, n_iterations = carry
        centres = _means(points, labels, centres)
        nearest = _nearest(points, centres)
        return centres, nearest, jnp.any(nearest != labels), n_iterations + 1

    start = (centres, _nearest(points, centres), jnp.array(True), jnp.array(0))
    centres, labels, _, n_iterations = jax.lax.while_loop(is_moving, move, start)
    return Clustering(centres, labels, jnp.sum(_own_distances(points, labels, centres)), n_iterations)


def _means(
    points: Float[Array, "n features"], labels: Int[Array, " n"], before: Float[Array, "clusters features"]
) -> Float[Array, "clusters features"]:
    """Returns the mean of each cluster, after empty clusters have taken the points farthest from their means."""
    n_clusters = len(before)
    plain, is_empty = _plain_means(points, labels, before)
    _, farthest = jax.lax.top_k(_own_distances(points, labels, plain), n_clusters)
    # The i-th empty cluster takes the i-th farthest point; for the others the index is out of bounds and dropped.
    taken = jnp.where(is_empty, farthest[jnp.cumsum(is_empty) - 1], len(points))
    labels = labels.at[taken].set(jnp.arange(n_clusters, dtype=labels.dtype), mode="drop")
    return _plain_means(points, labels, plain)[0]


def _plain_means(
    points: Float[Array, "n features"], labels: Int[Array, " n"], otherwise: Float[Array, "clusters features"]
) -> tuple[Float[Array, "clusters features"], Bool[Array, " clusters"]]:
    """Returns the mean of each cluster (``otherwise`` if it is empty), and which clusters are empty."""
    belongs = (labels[:, None] == jnp.arange(len(otherwise))[None]).astype(points.dtype)
    counts = jnp.sum(belongs, axis=0)[:, None]
    totals = jnp.matmul(belongs.T, points, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(counts > 0, totals / jnp.maximum(counts, 1), otherwise), counts[:, 0] == 0


def _nearest(points: Float[Array, "n features"], centres: Float[Array, "clusters features"]) -> Int[Array, " n"]:
    """Returns the nearest centre of each point, the first in case of ties."""
    return jnp.argmin(_squared_distances(points, centres), axis=1)


def _own_distances(
    points: Float[Array, "n features"], labels: Int[Array, " n"], centres: Float[Array, "clusters features"]
) -> Float[Array, " n"]:
    """Returns the squared distance of each point to the centre of its cluster."""
    return jnp.sum(jnp.square(points - centres[labels]), axis=1)


def _squared_distances(
    points: Float[Array, "n features"], centres: Float[Array, "clusters features"]
) -> Float[Array, "n clusters"]:
    """Returns the squared distance of each point to each centre."""
    return jnp.sum(jnp.square(points[:, None] - centres[None]), axis=2)


_ROWS = 32  # rows of the distance matrix at a time: 32 x 10,000 points x 128 features take 164 MB if nothing is fused


def adjusted_rand_index(
    labels: Integer[Array, " n"], clusters: Integer[Array, " n"], *, n_labels: int, n_clusters: int
) -> Float[Array, ""]:
    r"""Returns the agreement of labels and clusters on pairs of points, corrected for chance: 1 for identical groups.

    .. math:: \frac{2 (a d - b c)}{(a + b)(b + d) + (a + c)(c + d)}

    where a counts the ordered pairs that are together in both, b and c those together in one only, d those in neither. About
    0 for independent groups, at least -1/2. Counts are integers and each of the four sums has only positive terms, so float32
    is accurate to a few units of the last digit for any number of pairs.

    ============================================  =====
    case                                          value
    ============================================  =====
    one group in both, or each point on its own   1
    a label or cluster out of range               nan
    no points                                     nan
    ============================================  =====

    Args:
        labels: The known group of each point, 0 to ``n_labels - 1``.
        clusters: The cluster of each point, 0 to ``n_clusters - 1``.
        n_labels: Number of possible labels; some may be empty.
        n_clusters: Number of possible clusters; some may be empty.

    Returns:
        A scalar, -0.5 to 1.

    Raises:
        ValueError: If the shapes differ, the groups are not integers, or a number of groups is below 1.

    Example:
        >>> labels, clusters = jnp.array([0, 0, 1, 1]), jnp.array([1, 1, 0, 0])
        >>> float(adjusted_rand_index(labels, clusters, n_labels=2, n_clusters=2))
        1.0

    References:
        Hubert and Arabie (1985), Comparing partitions, J. Classification 2, equation 5.
        https://doi.org/10.1007/BF01908075. Steinley (2004), Properties of the Hubert-Arabie adjusted Rand index, Psychol.
        Methods 9(3), equation 9 (by the four kinds of pairs). https://doi.org/10.1037/1082-989X.9.3.386
    """
    table = _table(labels, clusters, n_labels, n_clusters)
    n, rows, columns = jnp.sum(table), jnp.sum(table, 1, keepdims=True), jnp.sum(table, 0, keepdims=True)
    # Integers up to here, so differences of counts are exact.
    both, rows_alone, columns_alone, neither = (
        jnp.sum(_fraction(table, n) * _fraction(others, n))
        for others in (table - 1, rows - table, columns - table, n - rows - columns + table)
    )
    above = 2 * (both * neither - rows_alone * columns_alone)
    below = (both + rows_alone) * (rows_alone + neither) + (both + columns_alone) * (columns_alone + neither)
    value = jnp.where(below > 0, above / jnp.where(below > 0, below, 1), 1.0)
    return jnp.where(_is_known(table, labels), value, jnp.nan)


def normalised_mutual_information(
    labels: Integer[Array, " n"], clusters: Integer[Array, " n"], *, n_labels: int, n_clusters: int
) -> Float[Array, ""]:
    r"""Returns the mutual information of labels and clusters as a fraction of their mean entropy, 0 to 1.

    .. math:: \frac{I(U; V)}{(H(U) + H(V)) / 2} = 2 - \frac{2 H(U, V)}{H(U) + H(V)}

    Not corrected for chance: many small clusters score above 0 for any labels.

    ================================  =====
    case                              value
    ================================  =====
    one group in both                 1
    one group in only one of the two  0
    a label or cluster out of range   nan
    no points                         nan
    ================================  =====

    Args:
        labels: The known group of each point, 0 to ``n_labels - 1``.
        clusters: The cluster of each point, 0 to ``n_clusters - 1``.
        n_labels: Number of possible labels; some may be empty.
        n_clusters: Number of possible clusters; some may be empty.

    Returns:
        A scalar.

    Raises:
        ValueError: As for `adjusted_rand_index`.

    Example:
        >>> labels, clusters = jnp.array([0, 0, 1, 1]), jnp.array([0, 1, 0, 1])
        >>> float(normalised_mutual_information(labels, clusters, n_labels=2, n_clusters=2))
        0.0

    References:
        Vinh, Epps and Bailey (2010), Information theoretic measures for clusterings comparison, JMLR 11, table 2
        (normalised by the sum). https://www.jmlr.org/papers/v11/vinh10a.html
    """
    table = _table(labels, clusters, n_labels, n_clusters)
    total = _entropy(jnp.sum(table, axis=1)) + _entropy(jnp.sum(table, axis=0))
    value = jnp.where(total > 0, 2 - 2 * _entropy(table.ravel()) / jnp.where(total > 0, total, 1), 1.0)
    return jnp.where(_is_known(table, labels), jnp.clip(value, 0.0, 1.0), jnp.nan)


def silhouette(
    points: Float[Array, "n features"], clusters: Integer[Array, " n"], *, n_clusters: int
) -> Float[Array, ""]:
    r"""Returns the mean silhouette: how much nearer points are to their own cluster than to the next one, -1 to 1.

    .. math:: \frac{1}{n} \sum_i \frac{b_i - a_i}{\max(a_i, b_i)}

    where a is the mean distance to the other points of the same cluster, b the smallest mean distance to another cluster. It
    computes the distances of all pairs, a few rows at a time.

    ===================================  ==========================================================
    case                                 value
    ===================================  ==========================================================
    a point alone in its cluster         counts as 0
    a and b both 0                       counts as 0
    fewer than two clusters with points  nan
    a cluster out of range               nan
    a coordinate that is not finite      nan
    ===================================  ==========================================================

    Args:
        points: One per row.
        clusters: The cluster of each point, 0 to ``n_clusters - 1``.
        n_clusters: Number of possible clusters; some may be empty.

    Returns:
        A scalar.

    Raises:
        ValueError: If the shapes do not match, the clusters are not integers, or ``n_clusters`` is below 1.

    Example:
        >>> points = jnp.array([[0.0], [1.0], [10.0], [11.0]])
        >>> round(float(silhouette(points, jnp.array([0, 0, 1, 1]), n_clusters=2)), 4)
        0.8997

    References:
        Rousseeuw (1987), Silhouettes: a graphical aid to the interpretation and validation of cluster analysis, J. Comput.
        Appl. Math. 20. https://doi.org/10.1016/0377-0427(87)90125-7
    """
    if points.ndim != 2:
        raise ValueError(f"points must have shape (n, features); got {points.shape}. Pass one point per row.")
    _require_groups(clusters, n_clusters, name="clusters", expected=points.shape[:1])
    belongs = (clusters[:, None] == jnp.arange(n_clusters)[None]).astype(points.dtype)
    counts = jnp.sum(belongs, axis=0)

    def of_point(row):
        point, own = row
        distances = jnp.sqrt(jnp.sum(jnp.square(points - point[None]), axis=1))
        totals = jnp.matmul(distances, belongs, precision=jax.lax.Precision.HIGHEST)
        inside = jnp.sum(own * totals) / jnp.maximum(jnp.sum(own * counts) - 1, 1)
        is_other = (own == 0) & (counts > 0)
        outside = jnp.min(jnp.where(is_other, totals / jnp.maximum(counts, 1), jnp.inf))
        most = jnp.maximum(inside, outside)
        score = jnp.where(most == 0, 0.0, (outside - inside) / jnp.where(most == 0, 1, most))
        return jnp.where(jnp.sum(own * counts) == 1, 0.0, score)

    scores = jax.lax.map(of_point, (points, belongs), batch_size=_ROWS)
    is_known = (jnp.sum(counts) == len(points)) & (jnp.sum(counts > 0) > 1) & jnp.all(jnp.isfinite(points))
    return jnp.where(is_known, jnp.mean(scores), jnp.nan)


def _table(
    labels: Integer[Array, " n"], clusters: Integer[Array, " n"], n_labels: int, n_clusters: int
) -> Int[Array, "labels clusters"]:
    """Returns the number of points of each label in each cluster, without those out of range."""
    _require_groups(labels, n_labels, name="labels", expected=labels.shape[:1])
    _require_groups(clusters, n_clusters, name="clusters", expected=labels.shape)
    # An index beyond the end is dropped; one below 0 would count from the end.
    row, column = (
        jnp.where((group >= 0) & (group < n_groups), group, n_groups)
        for group, n_groups in ((labels.astype(jnp.int32), n_labels), (clusters.astype(jnp.int32), n_clusters))
    )
    return jnp.zeros((n_labels, n_clusters), jnp.int32).at[row, column].add(1, mode="drop")


def _require_groups(groups: Array, n_groups: int, *, name: str, expected: tuple[int, ...]) -> None:
    """Raises unless the groups are integers, one per point, and their number is positive."""
    if n_groups < 1:
        raise ValueError(f"n_{name} must be 1 or more; got {n_groups}. Pass the number of possible {name}.")
    if groups.ndim != 1 or groups.shape != expected:
        raise ValueError(f"{name} must have shape {expected}; got {groups.shape}. Pass one entry per point.")
    if not jnp.issubdtype(groups.dtype, jnp.integer):
        raise ValueError(f"{name} must be integers; got {groups.dtype}. Pass 0 to n_{name} - 1.")


def _is_known(table: Int[Array, "labels clusters"], labels: Integer[Array, " n"]) -> Array:
    """Returns whether there are points and the table counts all of them."""
    return (jnp.sum(table) == len(labels)) & (len(labels) > 0)


def _fraction(counts: Array, n: Int[Array, ""]) -> Array:
    """Returns counts as fractions of all points, 0 without points."""
    return counts / jnp.maximum(n, 1)


def _entropy(counts: Int[Array, " groups"]) -> Float[Array, ""]:
    """Returns the entropy of groups of these sizes, in nats, to the relative precision of float32."""
    n = jnp.sum(counts)
    inside, rest = _fraction(counts, n), _fraction(n - counts, n)
    # Near 1, the logarithm is computed from the rest, an exact count.
    logarithm = jnp.where(inside > 0.5, jnp.log1p(-jnp.minimum(rest, 0.5)), jnp.log(jnp.where(counts > 0, inside, 1.0)))
    return -jnp.sum(inside * logarithm)

"""Groups of points found without labels: k-means, as a pure function of a key and the points.

How well a clustering fits known labels, or itself: `adjusted_rand_index`, `normalised_mutual_information`, `silhouette`. They
take all points at once and are no `jaxresearch.metrics.Metric`: what each needs, pairs of points or the table of every label and
cluster against weights, does not merge over batches.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Key


class Clustering(NamedTuple):
    """Points in clusters: the centres, each point's cluster, and how far the points lie from their centres."""

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
    r"""Returns the clusters that leave the least squared distance of the points to the centres, of several tries.

    .. math:: \min_{c, z} \sum_i \| x_i - c_{z_i} \|^2

    Each try draws its first centres as k-means++ does, a point at a time with a probability that grows as its squared
    distance to the nearest centre so far. It then moves centres to the means of their points and points to their nearest
    centre, in turn, until no point moves. The inertia never rises on the way, and ends in a local minimum; hence the tries.

    ==============================  =================================================================================
    case                            what happens
    ==============================  =================================================================================
    a cluster runs empty            it takes the point that lies farthest from its centre; several take the next ones
    fewer places than clusters      some clusters stay without points, at places of others; the inertia is 0
    a point is as near to several   it belongs to the first of them
    a coordinate is not finite      the inertia is nan, and the labels mean nothing
    ==============================  =================================================================================

    Distances are of the differences themselves, after the mean of the points is taken away: the shorter formula by inner
    products would lose the digits of groups that lie close together and far from the rest.

    Args:
        key: Of the draws of the first centres.
        points: One a row, in units that make a distance mean something.
        n_clusters: How many clusters, 1 to the number of points.
        n_restarts: Tries, each from other first centres, 1 or more.
        max_iterations: Moves of the centres before a try is ended as it is, 1 or more.

    Returns:
        Centres ``(n_clusters, features)``, labels 0 to ``n_clusters - 1``, the sum of squared distances in the unit of
        the points squared, and the moves it took; of the best try.

    Raises:
        ValueError: If ``points`` are no matrix, or a number is outside its range.

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
        raise ValueError(f"points must have shape (n, features); got {points.shape}. Pass one point a row.")
    if not 1 <= n_clusters <= len(points):
        raise ValueError(
            f"n_clusters must be from 1 to the number of points, {len(points)}; got {n_clusters}. Ask for fewer."
        )
    if n_restarts < 1:
        raise ValueError(f"n_restarts must be 1 or more; got {n_restarts}. Ten is usual.")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be 1 or more; got {max_iterations}. Few tries need more than 100.")
    middle = jnp.mean(points, axis=0, keepdims=True)
    centred = points - middle
    # Numbers and not keys are scanned over: outside of jit, the check of key reuse takes vmapped keys for used ones.
    uniform = jax.random.uniform(key, (n_restarts, n_clusters))
    tries = jax.vmap(lambda own: _lloyd(centred, _seeds(own, centred), max_iterations))(uniform)
    best = jax.tree.map(lambda leaf: leaf[jnp.argmin(tries.inertia)], tries)
    return best._replace(centres=best.centres + middle)


def _seeds(uniform: Float[Array, " clusters"], points: Float[Array, "n features"]) -> Float[Array, "clusters features"]:
    """Returns points drawn in turn, each by its squared distance to those before (Arthur and Vassilvitskii 2007)."""

    def draw(nearest, uniform):
        # The first is drawn evenly. Where all distances are 0, the last point is taken.
        below = jnp.cumsum(jnp.where(jnp.isinf(nearest), 1.0, nearest))
        place = jnp.searchsorted(below, uniform * below[-1], side="right")
        chosen = points[jnp.minimum(place, len(points) - 1)]
        return jnp.minimum(nearest, _squared_distances(points, chosen[None])[:, 0]), chosen

    return jax.lax.scan(draw, jnp.full(len(points), jnp.inf, points.dtype), uniform)[1]


def _lloyd(
    points: Float[Array, "n features"], centres: Float[Array, "clusters features"], limit: int | Int[Array, ""]
) -> Clustering:
    """Returns the clustering that moves of centres and points in turn end in."""

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
    """Returns the mean of each cluster's points, after clusters without points took those farthest from their means."""
    n_clusters = len(before)
    plain, is_empty = _plain_means(points, labels, before)
    _, farthest = jax.lax.top_k(_own_distances(points, labels, plain), n_clusters)
    # The i-th empty cluster takes the i-th of the farthest; the index of the others lies outside and is dropped.
    taken = jnp.where(is_empty, farthest[jnp.cumsum(is_empty) - 1], len(points))
    labels = labels.at[taken].set(jnp.arange(n_clusters, dtype=labels.dtype), mode="drop")
    return _plain_means(points, labels, plain)[0]


def _plain_means(
    points: Float[Array, "n features"], labels: Int[Array, " n"], otherwise: Float[Array, "clusters features"]
) -> tuple[Float[Array, "clusters features"], Bool[Array, " clusters"]]:
    """Returns the mean of each cluster's points, ``otherwise`` where it has none, and which have none."""
    belongs = (labels[:, None] == jnp.arange(len(otherwise))[None]).astype(points.dtype)
    counts = jnp.sum(belongs, axis=0)[:, None]
    totals = jnp.matmul(belongs.T, points, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(counts > 0, totals / jnp.maximum(counts, 1), otherwise), counts[:, 0] == 0


def _nearest(points: Float[Array, "n features"], centres: Float[Array, "clusters features"]) -> Int[Array, " n"]:
    """Returns the nearest centre of each point, the first of equally near ones."""
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


_ROWS = 32  # of the matrix of distances at a time: 32 x 10,000 points x 128 features are 164 MB, if nothing is fused


def adjusted_rand_index(
    labels: Integer[Array, " n"], clusters: Integer[Array, " n"], *, n_labels: int, n_clusters: int
) -> Float[Array, ""]:
    r"""Returns how far labels and clusters agree on pairs of points, corrected for chance: 1 for the same groups.

    .. math:: \frac{2 (a d - b c)}{(a + b)(b + d) + (a + c)(c + d)}

    of the ordered pairs that are together in both (a), in one alone (b, c) and in none (d). About 0 for independent groups,
    at least -1/2. Counts are integers, and each of the four sums has only positive terms, so that float32 holds the value
    to a few units of its last digit, however many pairs there are.

    ============================================  =====
    case                                          value
    ============================================  =====
    one group in both, or every point on its own  1
    a label or cluster out of range               nan
    no points                                     nan
    ============================================  =====

    Args:
        labels: The known group of each point, 0 to ``n_labels - 1``.
        clusters: The found group of each point, 0 to ``n_clusters - 1``.
        n_labels: How many labels there can be; some may have no point.
        n_clusters: How many clusters there can be; some may have no point.

    Returns:
        A scalar, -0.5 to 1.

    Raises:
        ValueError: If the shapes differ, the groups are no integers, or a number of groups is below 1.

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
    # Integers until here: a difference of counts is exact, whatever its size.
    both, rows_alone, columns_alone, neither = (
        jnp.sum(_share(table, n) * _share(others, n))
        for others in (table - 1, rows - table, columns - table, n - rows - columns + table)
    )
    above = 2 * (both * neither - rows_alone * columns_alone)
    below = (both + rows_alone) * (rows_alone + neither) + (both + columns_alone) * (columns_alone + neither)
    value = jnp.where(below > 0, above / jnp.where(below > 0, below, 1), 1.0)
    return jnp.where(_is_known(table, labels), value, jnp.nan)


def normalised_mutual_information(
    labels: Integer[Array, " n"], clusters: Integer[Array, " n"], *, n_labels: int, n_clusters: int
) -> Float[Array, ""]:
    r"""Returns the share of the mean entropy of labels and clusters that they have in common, 0 to 1.

    .. math:: \frac{I(U; V)}{(H(U) + H(V)) / 2} = 2 - \frac{2 H(U, V)}{H(U) + H(V)}

    Not corrected for chance: many small clusters score above 0 against anything.

    =============================  =====
    case                           value
    =============================  =====
    one group in both              1
    one group in one of the two    0
    a label or cluster off range   nan
    no points                      nan
    =============================  =====

    Args:
        labels: The known group of each point, 0 to ``n_labels - 1``.
        clusters: The found group of each point, 0 to ``n_clusters - 1``.
        n_labels: How many labels there can be; some may have no point.
        n_clusters: How many clusters there can be; some may have no point.

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
    r"""Returns how much nearer points lie to their own cluster than to the next one, -1 to 1, on the mean.

    .. math:: \frac{1}{n} \sum_i \frac{b_i - a_i}{\max(a_i, b_i)}

    where a is the mean distance to the others of the own cluster, b the least mean distance to another cluster. Costs the
    distances of all pairs; memory is that of a few rows of them.

    ===================================  ==========================================================
    case                                 value
    ===================================  ==========================================================
    a point alone in its cluster         counts with 0
    a and b both 0                       counts with 0
    fewer than two clusters with points  nan
    a cluster out of range               nan
    a coordinate that is not finite      nan
    ===================================  ==========================================================

    Args:
        points: One a row.
        clusters: The cluster of each point, 0 to ``n_clusters - 1``.
        n_clusters: How many clusters there can be; some may have no point.

    Returns:
        A scalar.

    Raises:
        ValueError: If the shapes do not fit, the clusters are no integers, or ``n_clusters`` is below 1.

    Example:
        >>> points = jnp.array([[0.0], [1.0], [10.0], [11.0]])
        >>> round(float(silhouette(points, jnp.array([0, 0, 1, 1]), n_clusters=2)), 4)
        0.8997

    References:
        Rousseeuw (1987), Silhouettes: a graphical aid to the interpretation and validation of cluster analysis, J. Comput.
        Appl. Math. 20. https://doi.org/10.1016/0377-0427(87)90125-7
    """
    if points.ndim != 2:
        raise ValueError(f"points must have shape (n, features); got {points.shape}. Pass one point a row.")
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
    """Returns how many points have each label in each cluster, without those that are out of range."""
    _require_groups(labels, n_labels, name="labels", expected=labels.shape[:1])
    _require_groups(clusters, n_clusters, name="clusters", expected=labels.shape)
    # An index beyond the end is dropped; one below 0 would count from the end.
    row, column = (
        jnp.where((group >= 0) & (group < n_groups), group, n_groups)
        for group, n_groups in ((labels.astype(jnp.int32), n_labels), (clusters.astype(jnp.int32), n_clusters))
    )
    return jnp.zeros((n_labels, n_clusters), jnp.int32).at[row, column].add(1, mode="drop")


def _require_groups(groups: Array, n_groups: int, *, name: str, expected: tuple[int, ...]) -> None:
    """Raises unless the groups are integers, one a point, and their number is positive."""
    if n_groups < 1:
        raise ValueError(f"n_{name} must be 1 or more; got {n_groups}. Pass how many {name} there can be.")
    if groups.ndim != 1 or groups.shape != expected:
        raise ValueError(f"{name} must have shape {expected}; got {groups.shape}. Pass one of the {name} a point.")
    if not jnp.issubdtype(groups.dtype, jnp.integer):
        raise ValueError(f"{name} must be integers; got {groups.dtype}. Pass 0 to n_{name} - 1.")


def _is_known(table: Int[Array, "labels clusters"], labels: Integer[Array, " n"]) -> Array:
    """Tells whether there are points and all of them are in the table."""
    return (jnp.sum(table) == len(labels)) & (len(labels) > 0)


def _share(counts: Array, n: Int[Array, ""]) -> Array:
    """Returns counts as shares of all points; without points there is no share."""
    return counts / jnp.maximum(n, 1)


def _entropy(counts: Int[Array, " groups"]) -> Float[Array, ""]:
    """Returns the entropy of groups of these sizes, in nats, to float32's relative precision."""
    n = jnp.sum(counts)
    share, rest = _share(counts, n), _share(n - counts, n)
    # The logarithm of a share close to 1 is known from what is missing, which is a whole number of points.
    logarithm = jnp.where(share > 0.5, jnp.log1p(-jnp.minimum(rest, 0.5)), jnp.log(jnp.where(counts > 0, share, 1.0)))
    return -jnp.sum(share * logarithm)

"""How well clusters fit labels, or themselves.

These are functions of all points at once and not `Metric` values: what each needs of a batch, the pairs of points or the
table of every label and cluster against weights, is no figure of an example that could be averaged.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer

_ROWS = 32  # of the matrix of distances at a time: 32 x 10,000 points x 128 features are 164 MB, if nothing is fused


def adjusted_rand_index(
    labels: Integer[Array, " n"], clusters: Integer[Array, " n"], *, n_labels: int, n_clusters: int
) -> Float[Array, ""]:
    r"""Returns how far labels and clusters agree on pairs of points, corrected for chance: 1 for the same groups.

    .. math:: \frac{2 (a d - b c)}{(a + b)(b + d) + (a + c)(c + d)}

    of the ordered pairs that are together in both (a), in one alone (b, c) and in none (d). About 0 for independent groups,
    at least -1/2. Counts are integers, and each of the four sums has only positive terms, so that float32 holds the value
    to a few units of its last digit, however many pairs there are.

    ===========================================  =====
    case                                         value
    ===========================================  =====
    one group in both, or every point on its own  1
    a label or cluster out of range               nan
    no points                                     nan
    ===========================================  =====

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

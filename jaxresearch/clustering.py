"""Groups of points found without labels: k-means, as a pure function of a key and the points.

How well a clustering fits known labels, or itself, is told by `jaxresearch.metrics`: `adjusted_rand_index`,
`normalised_mutual_information`, `silhouette`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key


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

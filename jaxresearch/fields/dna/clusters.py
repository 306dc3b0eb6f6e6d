"""How well clustering recovers classes of sequences."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from jaxresearch import clustering
from jaxresearch.fields.dna.bases import kmer_counts


def class_recovery(
    key: Key[Array, ""],
    embeddings: Float[Array, "n width"] | Float[np.ndarray, "n width"],
    sequences: Integer[np.ndarray, "n length"],
    classes: Integer[np.ndarray, " n"],
    *,
    n_classes: int,
    k: int = 3,
) -> tuple[float, float]:
    """Returns how well k-means recovers classes, from embeddings and from counts of k-mers, which embeddings should beat.

    Args:
        key: Of k-means, the same for both.
        embeddings: One vector per sequence.
        sequences: Bases, 0 to 4.
        classes: The true classes, 0 to ``n_classes - 1``.
        n_classes: Number of classes, and of clusters; at most the number of sequences.
        k: Bases per k-mer, 1 to 15.

    Returns:
        The adjusted Rand index of the clusters with the classes: 1 for the same groups, about 0 for independent ones; of the
        embeddings, and of the counts.

    Raises:
        ValueError: If there are fewer sequences than classes, or as for `kmer_counts`.

    Example:
        >>> from jaxresearch.fields.dna import bases
        >>> sequences = np.stack([bases(one) for one in ("AAAAAA", "AAAAAC", "GTGTGT", "TGTGTG")])
        >>> class_recovery(jax.random.key(0), jnp.zeros((4, 1)), sequences, np.array([0, 0, 1, 1]), n_classes=2, k=2)
        (0.0, 1.0)
    """

    def recovered(points: Array) -> float:
        clusters = clustering.k_means(jax.random.clone(key), points, n_clusters=n_classes).labels
        return float(
            clustering.adjusted_rand_index(jnp.asarray(classes), clusters, n_labels=n_classes, n_clusters=n_classes)
        )

    return recovered(jnp.asarray(embeddings)), recovered(jnp.asarray(kmer_counts(sequences, k=k)))

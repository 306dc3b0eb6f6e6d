"""Random DNA with planted motifs, and how many of them the scores of an explanation recover: pure functions of a key."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Key

AnyArray = Array | np.ndarray


def one_hot(bases: Any) -> Any:
    """Returns bases as vectors with a 1 for A, C, G or T; an ambiguous base becomes zeros.

    Args:
        bases: 0 to 4, ``(..., length)``; a NumPy or JAX array.

    Returns:
        Float32 ``(..., length, 4)`` of the same kind.

    Example:
        >>> one_hot(np.array([1, 4])).tolist()
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    return (bases[..., None] == np.arange(4).reshape((1,) * bases.ndim + (4,))).astype("float32")


def transitions(bases: Integer[np.ndarray, "*batch length"]) -> Float[np.ndarray, "4 4"]:
    """Returns how often each base follows each other base.

    Args:
        bases: Sequences; neighbours of which one is ambiguous are not counted.

    Returns:
        Probabilities; each row adds up to 1, and is uniform for a base that nothing follows.

    Example:
        >>> transitions(np.array([0, 0, 0, 1, 3, 4, 2]))[0].round(3).tolist()
        [0.667, 0.333, 0.0, 0.0]
    """
    first, second = bases[..., :-1].ravel(), bases[..., 1:].ravel()
    known = (first < 4) & (second < 4)
    pairs = 4 * first[known].astype(int) + second[known]
    counts = np.bincount(pairs, minlength=16).reshape(4, 4)
    sums = counts.sum(axis=1, keepdims=True)
    return np.where(sums > 0, counts / np.maximum(sums, 1), 0.25)


def random_sequences(
    key: Key[Array, ""], probabilities: Float[AnyArray, "4 4"], *, n: int, length: int
) -> Int[Array, "n length"]:
    r"""Returns sequences of a Markov chain of order 1, each from its stationary distribution.

    .. math:: P(b_1) = \pi_{b_1}, \quad P(b_{i + 1} | b_i) = T_{b_i b_{i+1}}

    Args:
        key: Random key.
        probabilities: From each base to the next, as `transitions` returns.
        n: Number of sequences.
        length: Bases of a sequence.

    Returns:
        Bases 0 to 3, int8.

    Example:
        >>> random_sequences(jax.random.key(0), np.roll(np.eye(4), 1, axis=1), n=1, length=5)[0].tolist()
        [0, 1, 2, 3, 0]
    """
    chain = jnp.asarray(probabilities, jnp.float32)
    stationary = jnp.linalg.matrix_power((chain + jnp.eye(4)) / 2, 1024)[0]  # half a step of rest: no cycles
    first_key, key = jax.random.split(key)
    first = jax.random.categorical(first_key, jnp.log(stationary), shape=(n,))

    def follow(base: Array, step_key: Array) -> tuple[Array, Array]:
        following = jax.random.categorical(step_key, jnp.log(chain)[base], axis=-1)
        return following, base

    _, bases = jax.lax.scan(follow, first, jax.random.split(key, length))
    return bases.T.astype(jnp.int8)


def dinucleotide_shuffle(key: Key[Array, ""], bases: Integer[AnyArray, " length"]) -> Int[Array, " length"]:
    """Returns a random sequence with the same number of each pair of neighbouring bases, uniformly among all of them.

    The first and the last base stay. The sequence is a walk over all pairs, which exists if the last pairs by which the walk
    leaves each base lead to the last base; they are drawn until they do.

    Args:
        key: Random key.
        bases: One sequence, 0 to 4; map over several with `jax.vmap`.

    Returns:
        Bases in the type of the given ones.

    Example:
        >>> from jaxresearch.fields.dna import bases, letters
        >>> letters(np.asarray(dinucleotide_shuffle(jax.random.key(1), bases("AACAGACCA"))))
        'AGAACACCA'

    References:
        Altschul and Erickson (1985), Significance of nucleotide sequence alignments: a method for random sequence permutation
        that preserves dinucleotide and codon usage, Mol. Biol. Evol. 2(6).
        https://doi.org/10.1093/oxfordjournals.molbev.a040370
    """
    bases = jnp.asarray(bases)
    if len(bases) < 2:
        return bases
    first, second = bases[:-1].astype(jnp.int32), bases[1:].astype(jnp.int32)
    end, symbols = second[-1], jnp.arange(5)
    leaves = first[None] == symbols[:, None]  # which pairs leave each base
    needed = leaves.any(axis=1) & (symbols != end)

    def draw(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        key, draw_key = jax.random.split(state[0])
        ranks = jax.random.uniform(draw_key, first.shape)
        last = second[jnp.argmax(jnp.where(leaves, ranks[None], -1), axis=1)]
        target = jnp.where(needed, last, symbols)
        for _ in range(3):  # eight steps along the last pairs reach the end from anywhere, or never
            target = target[target]
        return key, ranks, ~(needed & (target != end)).any()

    _, ranks, _ = jax.lax.while_loop(lambda state: ~state[2], draw, (key, jnp.zeros(first.shape), jnp.array(False)))
    order = second[jnp.lexsort((ranks, first))]  # by base, the pair of the highest rank last

    def walk(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        base, following = state
        return (order[following[base]], following.at[base].add(1)), base

    starts = jnp.searchsorted(jnp.sort(first), symbols)
    (last, _), visited = jax.lax.scan(walk, (first[0], starts), length=len(first))
    return jnp.append(visited, last).astype(bases.dtype)


def planted(
    key: Key[Array, ""],
    sequences: Integer[AnyArray, "n length"],
    motifs: Mapping[str, Float[np.ndarray, "width 4"]],
    *,
    shuffled: Bool[AnyArray, " n"],
) -> tuple[Int[Array, "n length"], Bool[Array, "n length"]]:
    """Returns sequences into each of which an instance of one motif is planted, and where.

    The motif and the place are uniform. Each base of an instance is drawn from the counts of its position.

    Args:
        key: Random key.
        sequences: Bases 0 to 4.
        motifs: Counts by name, as from `read_motifs`.
        shuffled: For which sequences the bases of the instance are permuted: decoys of the same composition.

    Returns:
        The sequences, and whether a base belongs to the instance.

    Raises:
        ValueError: If there is no motif, or one is longer than the sequences.

    Example:
        >>> sequences, places = planted(
        ...     jax.random.key(0), np.full((1, 6), 4), {"cat": np.eye(4)[[1, 0, 3]]}, shuffled=np.array([False])
        ... )
        >>> sequences.tolist(), places.astype(int).tolist()
        ([[4, 4, 1, 0, 3, 4]], [[0, 0, 1, 1, 1, 0]])
    """
    sequences, (n, length) = jnp.asarray(sequences), sequences.shape
    longest = max(map(len, motifs.values()), default=0)
    if not 1 <= longest <= length:
        got = f"{max(motifs, key=lambda name: len(motifs[name]))} of {longest}" if motifs else "none"
        raise ValueError(f"motifs must be one or more of at most {length} bases, got {got}. Pass longer sequences.")
    widths = jnp.array([len(counts) for counts in motifs.values()])
    counts = jnp.stack([jnp.asarray(np.pad(one, ((0, longest - len(one)), (0, 0)))) for one in motifs.values()])

    def plant(key: Array, sequence: Array, is_shuffled: Array) -> tuple[Array, Array]:
        motif_key, base_key, order_key, place_key = jax.random.split(key, 4)
        motif = jax.random.randint(motif_key, (), 0, len(motifs))
        width, offsets = widths[motif], jnp.arange(longest)
        instance = jax.random.categorical(base_key, jnp.log(counts[motif]), axis=-1)
        ranks = jnp.where(offsets < width, jax.random.uniform(order_key, (longest,)), 2)
        instance = jnp.where(is_shuffled, instance[jnp.argsort(ranks)], instance)
        place = jnp.arange(length) - jax.random.randint(place_key, (), 0, length - width + 1)
        is_planted = (place >= 0) & (place < width)
        return jnp.where(is_planted, instance[place % longest], sequence).astype(sequence.dtype), is_planted

    return jax.vmap(plant)(jax.random.split(key, n), sequences, jnp.asarray(shuffled))


def recovered(
    scores: Float[AnyArray, "n length"], planted: Bool[AnyArray, "n length"], *, false_positives: int | float = 0.05
) -> Bool[Array, " n"]:
    """Returns whether the window of a planted motif scores higher than all but a few windows of the background.

    A window has the width of the motif, and scores the mean of its bases. The background are the windows of the same sequence
    without a planted base. Ties count against the motif.

    Args:
        scores: One per base, as attributions summed over the channels.
        planted: The bases of the motif, as `planted` returns; adjacent, at least one.
        false_positives: Fraction of the background windows that may score as high.

    Returns:
        One decision per sequence. Random scores make it true for somewhat more than this fraction, since overlapping windows are
        alike; count what they recover beside the others.

    Example:
        >>> recovered(np.array([[0.0, 1.0, 2.0, 0.0, 0.5, 0.5]]), np.array([[0, 1, 1, 0, 0, 0]]) > 0).tolist()
        [True]
    """

    def one(scores: Array, planted: Array) -> Array:
        length, width = len(scores), planted.sum()
        starts = jnp.arange(length)
        ends = jnp.minimum(starts + width, length)

        def over_windows(values: Array) -> Array:
            sums = jnp.concatenate([jnp.zeros(1), jnp.cumsum(values)])
            return sums[ends] - sums[starts]

        n_planted, of_windows = over_windows(planted.astype(float)), over_windows(scores)
        background = (n_planted == 0) & (starts + width <= length)
        is_as_high = background & (of_windows >= of_windows[jnp.argmax(planted)])
        return is_as_high.sum() <= false_positives * background.sum()

    return jax.vmap(one)(jnp.asarray(scores), jnp.asarray(planted))


def recovered_bases(
    scores: Float[AnyArray, "n length"], planted: Bool[AnyArray, "n length"], *, false_positives: int | float = 0.05
) -> Float[Array, " n"]:
    """Returns the fraction of the planted bases that score higher than all but a few bases of the background.

    Args:
        scores: As in `recovered`, like all arguments.
        planted: The bases of the motif, at least one.
        false_positives: Fraction of the other bases of the sequence that may score as high.

    Returns:
        One fraction per sequence. That of a perfect explanation may be below 1, since some positions of a motif take any base.

    Example:
        >>> recovered_bases(np.array([[0.0, 1.0, 2.0, 0.0, 1.5, 0.5]]), np.array([[0, 1, 1, 0, 0, 0]]) > 0).tolist()
        [0.5]
    """

    def one(scores: Array, planted: Array) -> Array:
        background = jnp.sort(jnp.where(planted, -jnp.inf, scores))
        n_as_high = len(scores) - jnp.searchsorted(background, scores)
        is_found = planted & (n_as_high <= false_positives * (~planted).sum())
        return is_found.sum() / planted.sum()

    return jax.vmap(one)(jnp.asarray(scores), jnp.asarray(planted))

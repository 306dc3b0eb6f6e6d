"""Random DNA, shuffled DNA and planted motifs: distributions in closed form, and what scores recover."""

from collections import Counter
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxresearch.fields import dna

CHAIN = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]])


def pairs(sequence):
    return Counter(zip(sequence[:-1], sequence[1:], strict=True))


def test_transitions_recovers_a_chain(key):
    made = np.asarray(dna.random_sequences(key, CHAIN, n=1000, length=200))
    assert made.dtype == np.int8
    # 50,000 pairs from each base: a standard error of at most 0.0022
    np.testing.assert_allclose(dna.transitions(made), CHAIN, atol=0.011)


def test_random_sequences_start_in_the_stationary_distribution(key):
    values, vectors = np.linalg.eig(CHAIN.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    first = np.asarray(dna.random_sequences(key, CHAIN, n=4000, length=1))[:, 0]
    counts = np.bincount(first, minlength=4)
    assert scipy.stats.chisquare(counts, 4000 * stationary / stationary.sum()).pvalue > 0.001


def test_transitions_of_a_base_without_followers_are_uniform():
    np.testing.assert_array_equal(dna.transitions(np.array([0, 1])), [[0, 1, 0, 0], *[[0.25] * 4] * 3])


def test_dinucleotide_shuffle_keeps_pairs_and_ends(key):
    sequences = np.random.default_rng(0).integers(0, 5, (50, 60))
    shuffled = np.asarray(jax.jit(jax.vmap(dna.dinucleotide_shuffle))(jax.random.split(key, 50), sequences))
    for before, after in zip(sequences, shuffled, strict=True):
        assert pairs(before.tolist()) == pairs(after.tolist())
        assert (before[0], before[-1]) == (after[0], after[-1])
    assert 0.1 < (sequences == shuffled).mean() < 0.4  # chance alone: about a fifth


def test_dinucleotide_shuffle_is_uniform(key):
    letters = "AACATACCA"
    inner = {"A" + "".join(order) + "A" for order in permutations(letters[1:-1])}
    possible = sorted(word for word in inner if pairs(word) == pairs(letters))
    assert len(possible) > 10
    drawn = jax.jit(jax.vmap(dna.dinucleotide_shuffle, (0, None)))(jax.random.split(key, 3000), dna.bases(letters))
    counts = Counter(dna.letters(row) for row in np.asarray(drawn))
    assert counts.keys() == set(possible)
    assert scipy.stats.chisquare([counts[word] for word in possible]).pvalue > 0.001


@pytest.mark.parametrize("letters", ["A", "AC", "AAAA"])
def test_dinucleotide_shuffle_of_what_has_one_order_returns_it(key, letters):
    assert dna.letters(np.asarray(dna.dinucleotide_shuffle(key, dna.bases(letters)))) == letters


@pytest.fixture(scope="module")
def of_one_motif():
    """Sequences of ambiguous bases, so that the instances stand out; the second half are decoys."""
    counts = np.array([[8.0, 1, 1, 0], [0, 0, 5, 5], [0, 10, 0, 0]])
    is_decoy = np.arange(4000) >= 2000
    plant = jax.jit(lambda key: dna.planted(key, np.full((4000, 8), 4, np.int8), {"one": counts}, shuffled=is_decoy))
    sequences, places = plant(jax.random.key(0))
    return np.asarray(sequences), np.asarray(places), counts / 10


def test_planted_places_hold_one_instance(of_one_motif):
    sequences, places, _ = of_one_motif
    np.testing.assert_array_equal(sequences != 4, places)
    np.testing.assert_array_equal(places.sum(axis=1), 3)
    starts = np.bincount(places.argmax(axis=1), minlength=6)
    assert len(starts) == 6 and scipy.stats.chisquare(starts).pvalue > 0.001


def test_planted_instances_follow_the_counts(of_one_motif):
    sequences, places, frequencies = of_one_motif
    instances = sequences[places].reshape(-1, 3)[:2000]
    for column, expected in zip(instances.T, frequencies, strict=True):
        found = np.bincount(column, minlength=4)
        assert not found[expected == 0].any()
        assert (
            len(set(column)) == 1
            or scipy.stats.chisquare(found[expected > 0], 2000 * expected[expected > 0]).pvalue > 0.001
        )


def test_planted_decoys_have_the_composition_of_instances(of_one_motif):
    sequences, places, frequencies = of_one_motif
    decoys = sequences[places].reshape(-1, 3)[2000:]
    for column in decoys.T:  # each position takes the mean composition
        found = np.bincount(column, minlength=4)
        assert scipy.stats.chisquare(found, 2000 * frequencies.mean(axis=0)).pvalue > 0.001


def test_planted_motifs_of_all_widths_are_equally_frequent(key):
    motifs = {"a": np.eye(4)[[0, 0]], "c": np.eye(4)[[1, 1, 1, 1, 1]]}
    plant = jax.jit(lambda key: dna.planted(key, np.full((2000, 6), 4), motifs, shuffled=np.zeros(2000, bool)))
    sequences, places = plant(key)
    widths = np.asarray(places).sum(axis=1)
    assert {*widths.tolist()} == {2, 5} and scipy.stats.binomtest(int((widths == 2).sum()), 2000).pvalue > 0.001
    assert (np.asarray(sequences)[widths == 5].max(axis=1) == 4).all()


@pytest.mark.parametrize(("motifs", "got"), [({}, "none"), ({"long": np.ones((9, 4))}, "long of 9")])
def test_planted_refuses_motifs_that_do_not_fit(key, motifs, got):
    with pytest.raises(ValueError, match=f"motifs must be one or more of at most 8 bases, got {got}"):
        dna.planted(key, np.zeros((1, 8), int), motifs, shuffled=np.zeros(1, bool))


def by_loop(scores, planted, false_positives):
    """Returns `recovered` and `recovered_bases` of one sequence, from their definitions."""
    start, width = int(np.argmax(planted)), int(planted.sum())
    windows = {i: scores[i : i + width].mean() for i in range(len(scores) - width + 1)}
    background = [value for i, value in windows.items() if not planted[i : i + width].any()]
    found = np.mean([value >= windows[start] for value in background]) <= false_positives
    others = scores[~planted]
    return found, np.mean([(others >= score).mean() <= false_positives for score in scores[planted]])


def test_recovered_equals_its_definition():
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(200, 40)).astype(np.float32)
    starts = generator.integers(0, 36, 200)
    planted = (np.arange(40) >= starts[:, None]) & (
        np.arange(40) < starts[:, None] + generator.integers(1, 6, (200, 1))
    )
    scores += planted
    found = [by_loop(*row, 0.1) for row in zip(scores, planted, strict=True)]
    of_windows, of_bases = np.array(found).T
    assert 0.2 < of_windows.mean() < 0.9
    np.testing.assert_array_equal(dna.recovered(scores, planted, false_positives=0.1), of_windows)
    np.testing.assert_allclose(dna.recovered_bases(scores, planted, false_positives=0.1), of_bases, rtol=1e-6)


def test_recovered_counts_ties_against_the_motif():
    planted = np.arange(40)[None] == 3
    assert not dna.recovered(jnp.ones((1, 40)), planted)[0] and dna.recovered_bases(jnp.ones((1, 40)), planted)[0] == 0


def test_one_hot_of_ambiguous_bases_is_zero():
    for kind in (np, jnp):
        made = dna.one_hot(kind.asarray(dna.bases("ACGTN")))
        assert isinstance(made, type(kind.zeros(1))) and made.dtype == np.float32
        np.testing.assert_array_equal(made, np.eye(5)[:, :4])

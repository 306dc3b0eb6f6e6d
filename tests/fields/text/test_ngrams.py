"""The n-gram model equals its definition, computed by hand and with dictionaries; its probabilities sum to 1."""

import collections

import numpy as np
import pytest

from jaxresearch.fields.text.ngrams import bits_by_order, bits_per_byte, fit_ngrams, log_probabilities


def _corpus(seed=0, *, n_tokens=6, n_sequences=12):
    """Returns sequences, some empty, with frequent successors and unused tokens."""
    generator = np.random.default_rng(seed)
    after = generator.dirichlet(np.full(n_tokens - 1, 0.3), n_tokens)
    sequences = []
    for length in generator.integers(0, 25, n_sequences):
        tokens = [0]
        for _ in range(length):
            tokens.append(int(generator.choice(n_tokens - 1, p=after[tokens[-1]])))
        sequences.append(np.array(tokens[1:], np.int64))
    return sequences


def _slow(sequences, order, n_tokens):
    """Returns the probability of a token after a context, by dictionaries, straight from the definition."""
    counts = [collections.Counter() for _ in range(order + 1)]
    before = collections.defaultdict(set)
    for sequence in sequences:
        tokens = ["start"] * (order - 1) + list(sequence)
        for i in range(order - 1, len(tokens)):
            counts[order][tuple(tokens[i - order + 1 : i + 1])] += 1
            for k in range(1, order):
                before[tuple(tokens[i - k + 1 : i + 1])].add(tokens[i - k])
    for gram, firsts in before.items():
        counts[len(gram)][gram] = len(firsts)

    def probability(token, context):
        value = 1 / n_tokens
        for k in range(1, order + 1):
            own = tuple(context[len(context) - k + 1 :])
            once, twice = (sum(count == times for count in counts[k].values()) for times in (1, 2))
            discount = once / (once + 2 * twice) if once else 0.5
            follows = {gram[-1]: count for gram, count in counts[k].items() if gram[:-1] == own}
            if follows:
                kept = max(follows.get(token, 0) - discount, 0)
                value = (kept + discount * len(follows) * value) / sum(follows.values())
        return value

    return probability


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_log_probabilities_equal_dictionaries(order, seed):
    sequences = _corpus(seed)
    ngrams, slow = fit_ngrams(sequences, order=order, n_tokens=6), _slow(sequences, order, 6)
    for sequence in [*sequences[:3], np.random.default_rng(seed).integers(0, 6, 40)]:
        padded = ["start"] * (order - 1) + sequence.tolist()
        expected = [slow(padded[i], padded[i - order + 1 : i]) for i in range(order - 1, len(padded))]
        np.testing.assert_allclose(np.exp(log_probabilities(ngrams, sequence)), expected, rtol=1e-12)  # float64


@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_log_probabilities_of_the_vocabulary_sum_to_1(order):
    ngrams = fit_ngrams(_corpus(2, n_sequences=40), order=order, n_tokens=6)
    generator = np.random.default_rng(0)
    # Short contexts occur, most long ones do not; token 5 never occurs.
    contexts = [generator.integers(0, 6, length) for length in range(8) for _ in range(15)]
    for context in contexts:
        after = [log_probabilities(ngrams, np.append(context, token).astype(int))[-1] for token in range(6)]
        assert np.exp(after).sum() == pytest.approx(1, abs=1e-12)  # float64
        assert np.all(np.isfinite(after))


def test_bigrams_worked_by_hand():
    # a b a b a. Pairs: start a once, a b twice, b a twice: n1 = 1, n2 = 2, D = 1/5.
    # Before a stand start and b, before b only a: counts 2 and 1, D = 1/3, so p(a) = (5/3 + 1/3) / 3 = 2/3, p(b) = 1/3.
    ngrams = fit_ngrams([np.array([0, 1, 0, 1, 0])], order=2, n_tokens=2)
    assert ngrams.levels[0].discount == pytest.approx(1 / 3)
    assert ngrams.levels[1].discount == pytest.approx(1 / 5)
    expected = [4 / 5 + 1 / 5 * 2 / 3, (9 / 5 + 1 / 5 * 1 / 3) / 2, 1 / 10 * 1 / 3]
    np.testing.assert_allclose(np.exp(log_probabilities(ngrams, np.array([0, 1, 1]))), expected, rtol=1e-12)  # float64


def test_order_1_is_discounted_shares():
    # Counts 5, 2, 1, 0: n1 = n2 = 1, D = 1/3, and three tokens were seen.
    ngrams = fit_ngrams([np.array([0, 0, 1]), np.array([0, 2, 0, 1, 0])], order=1, n_tokens=4)
    expected = (np.maximum(np.array([5, 2, 1, 0]) - 1 / 3, 0) + 1 / 3 * 3 / 4) / 8
    np.testing.assert_allclose(np.exp(log_probabilities(ngrams, np.arange(4))), expected, rtol=1e-12)  # float64


def test_a_level_where_nothing_counts_1_takes_half():
    ngrams = fit_ngrams([np.array([0, 0, 1, 1])], order=1, n_tokens=3)
    np.testing.assert_allclose(np.exp(log_probabilities(ngrams, np.array([0, 2]))), [11 / 24, 1 / 12], rtol=1e-12)


def test_sequences_start_anew_and_their_order_does_not_matter():
    sequences = _corpus(3)
    ngrams = fit_ngrams(sequences, order=4, n_tokens=6)
    other = fit_ngrams(sequences[::-1], order=4, n_tokens=6)
    joined = fit_ngrams([np.concatenate(sequences)], order=4, n_tokens=6)
    asked = np.concatenate(sequences[:4])
    assert np.array_equal(log_probabilities(ngrams, asked), log_probabilities(other, asked))
    assert not np.allclose(log_probabilities(ngrams, asked), log_probabilities(joined, asked))


def test_log_probabilities_of_a_start_depend_on_nothing_after():
    sequences = _corpus(4)
    ngrams = fit_ngrams(sequences, order=3, n_tokens=6)
    whole = log_probabilities(ngrams, np.concatenate(sequences))
    assert np.array_equal(log_probabilities(ngrams, np.concatenate(sequences)[:9]), whole[:9])
    assert log_probabilities(ngrams, np.array([], int)).shape == (0,)


def test_a_longer_context_helps_where_it_decides():
    text = np.frombuffer(b"the cat sat on the mat and the dog sat on the log. " * 20, np.uint8)
    bits = [
        -log_probabilities(fit_ngrams([text], order=order, n_tokens=256), text).mean() / np.log(2)
        for order in (1, 3, 6)
    ]
    assert bits[0] > 3 and 0.5 > bits[1] > bits[2]


def test_grams_beyond_64_bits_are_told_apart():
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, 50_000, 200) for _ in range(3)]
    ngrams, slow = fit_ngrams(sequences, order=6, n_tokens=50_000), _slow(sequences, 6, 50_000)
    tokens = sequences[1][:12].tolist()
    expected = [slow(tokens[i], tokens[i - 5 : i]) for i in range(5, 12)]
    np.testing.assert_allclose(np.exp(log_probabilities(ngrams, np.array(tokens)))[5:], expected, rtol=1e-12)  # float64


def test_fit_ngrams_refuses_numbers_below_1_and_no_tokens():
    with pytest.raises(ValueError, match="order must be 1 or more; got 0"):
        fit_ngrams([np.array([0])], order=0, n_tokens=2)
    with pytest.raises(ValueError, match="n_tokens must be 1 or more; got 0"):
        fit_ngrams([np.array([0])], order=2, n_tokens=0)
    for nothing in ([], [np.array([], int)]):
        with pytest.raises(ValueError, match="sequences must hold a token; got none"):
            fit_ngrams(nothing, order=3, n_tokens=2)


def test_tokens_out_of_range_are_refused():
    ngrams = fit_ngrams([np.array([0, 1])], order=2, n_tokens=2)
    for bad in (np.array([0, 2]), np.array([-1, 0])):
        with pytest.raises(
            ValueError, match=f"tokens must be from 0 to n_tokens - 1, 1; got {bad.min()} to {bad.max()}"
        ):
            fit_ngrams([bad], order=2, n_tokens=2)
        with pytest.raises(ValueError, match="tokens must be from 0 to n_tokens - 1, 1"):
            log_probabilities(ngrams, bad)


@pytest.mark.parametrize("bad", [np.array([0.0, 1.0]), np.array([[0, 1]])])
def test_sequences_must_be_integers_of_one_axis(bad):
    with pytest.raises(ValueError, match="a sequence must be integers of one axis"):
        fit_ngrams([bad], order=2, n_tokens=2)


def test_bits_per_byte_are_those_of_the_bytes_of_text():
    train, test = ["näher", "nah", "näh"], ["näh", "", "ah"]
    of_bytes = [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in train]
    slow, bits, n_bytes = _slow(of_bytes, 3, 256), 0.0, 0
    for text in test:
        padded = ["start"] * 2 + list(text.encode())
        for i in range(2, len(padded)):
            bits, n_bytes = bits - np.log2(slow(padded[i], padded[i - 2 : i])), n_bytes + 1
    assert n_bytes == 6
    assert bits_per_byte(train, test, order=3) == pytest.approx(bits / 6, rel=1e-12)  # float64


def test_bits_per_byte_of_no_text_are_refused():
    with pytest.raises(ValueError, match="test must hold a byte; got none"):
        bits_per_byte(["a"], [""], order=2)
    with pytest.raises(ValueError, match=r"train and test must be lists of texts; got a single text. Pass \[text\]"):
        bits_per_byte("a", ["a"], order=2)


def test_bits_by_order_are_those_of_each_order_alone():
    generator = np.random.default_rng(0)
    texts = ["".join(generator.choice(list("abcé"), generator.integers(0, 30))) for _ in range(40)]
    train, test = [*texts[:30], ""], ["", *texts[30:], "unseen"]
    expected = [bits_per_byte(train, test, order=order) for order in range(1, 9)]
    np.testing.assert_allclose(bits_by_order(train, test, most=8), expected, rtol=1e-12)  # float64


def test_bits_by_order_of_no_text_are_refused():
    with pytest.raises(ValueError, match="most must be 1 or more; got 0"):
        bits_by_order(["a"], ["a"], most=0)
    with pytest.raises(ValueError, match="train must hold a byte; got none"):
        bits_by_order([""], ["a"], most=2)
    with pytest.raises(ValueError, match="test must hold a byte; got none"):
        bits_by_order(["a"], [""], most=2)

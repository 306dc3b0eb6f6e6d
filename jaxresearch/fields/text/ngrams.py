"""The n-gram model with Kneser-Ney smoothing, a baseline of language models. NumPy on the host.

Grams are numbered: one integer combines the number of the last k - 1 tokens of a gram with the token before them. Any order and
vocabulary fit, and all work is sorting and lookup.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Level(NamedTuple):
    """The grams of one length: ``keys`` sorted, ``counts`` by gram; ``totals`` and ``kinds`` by context; the discount."""

    keys: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    kinds: np.ndarray
    discount: float


class Ngrams(NamedTuple):
    """A fitted model: the levels from single tokens to whole grams, and the size of the vocabulary."""

    levels: tuple[Level, ...]
    n_tokens: int


def fit_ngrams(sequences: Sequence[np.ndarray], *, order: int, n_tokens: int) -> Ngrams:
    r"""Returns the interpolated Kneser-Ney model of sequences of tokens.

    .. math:: p_k(w | h) = \frac{\max(c_k(hw) - D_k, 0) + D_k N_k(h) p_{k-1}(w | h')}{c_k(h)},
        \quad D_k = \frac{n_1}{n_1 + 2 n_2}

    where h' is the context h without its first token, N(h) the number of different tokens seen after h, and c counts the
    occurrences of whole grams, but for shorter ones the different tokens seen before them. n1 and n2 are the numbers of
    grams of a level with counts 1 and 2. Below single tokens, all tokens are equally likely. An unseen context falls back
    to the shorter one.

    =====================================  ============================================================================
    case                                   what happens
    =====================================  ============================================================================
    the start of a sequence                has ``order - 1`` start symbols as its context; they are never predicted
    the end of a sequence                  is predicted only if the sequence holds a token for it
    a level where no gram has count 1      has a discount of 1/2: 0 would make unseen tokens impossible
    =====================================  ============================================================================

    Args:
        sequences: Tokens, 0 to ``n_tokens - 1``; each sequence starts with an empty context.
        order: Tokens per gram including the predicted one, 1 or more.
        n_tokens: Size of the vocabulary, 256 for bytes.

    Returns:
        The model. Every token has a probability above 0.

    Raises:
        ValueError: If a number is below 1, there is no token, or one is out of range.

    Example:
        >>> bigrams = fit_ngrams([np.array([0, 1, 0, 1, 0])], order=2, n_tokens=2)
        >>> np.exp(log_probabilities(bigrams, np.array([0, 1]))).round(4).tolist()
        [0.9333, 0.9333]

    References:
        Kneser and Ney (1995), Improved backing-off for m-gram language modeling, ICASSP.
        https://doi.org/10.1109/ICASSP.1995.479394. Chen and Goodman (1999), An empirical study of smoothing techniques for
        language modeling, Comput. Speech Lang. 13, sections 2.6 (the discount) and 2.7, interpolated as there.
        https://doi.org/10.1006/csla.1999.0128
    """
    if order < 1:
        raise ValueError(f"order must be 1 or more; got {order}. Pass 3 for words, 5 or more for bytes.")
    if n_tokens < 1:
        raise ValueError(f"n_tokens must be 1 or more; got {n_tokens}. Pass the size of the vocabulary.")
    tokens = _padded(sequences, order, n_tokens)
    is_token = tokens < n_tokens
    if not np.any(is_token):
        raise ValueError("sequences must hold a token; got none. Pass one array of tokens per text.")
    # The empty gram has number 0 everywhere.
    numbers, grams = [np.zeros(len(tokens), np.int32)], []
    for k in range(1, order + 1):
        keys, number = np.unique(_keys(tokens, numbers[-1], k, n_tokens), return_inverse=True)
        grams.append(keys)
        numbers.append(number.astype(np.int32))
    levels = []
    for k in range(1, order + 1):
        if k == order:
            counts = np.bincount(numbers[k][is_token], minlength=len(grams[k - 1]))
        else:
            # The distinct grams that are one token longer.
            counts = np.bincount(grams[k] // (n_tokens + 1), minlength=len(grams[k - 1]))
        context = np.zeros(len(grams[k - 1]), np.int32)
        context[numbers[k][1:]] = numbers[k - 1][:-1]
        ends_in_token = np.zeros(len(grams[k - 1]), bool)
        ends_in_token[numbers[k][is_token]] = True
        levels.append(_level(grams[k - 1], counts * ends_in_token, context, int(numbers[k - 1].max()) + 1))
    return Ngrams(tuple(levels), n_tokens)


def log_probabilities(ngrams: Ngrams, sequence: np.ndarray) -> np.ndarray:
    """Returns the log probability of each token of a sequence given those before it, in nats.

    Args:
        ngrams: From `fit_ngrams`.
        sequence: Tokens ``(length,)``, from the start of a text; 0 or more of them.

    Returns:
        float64 ``(length,)``, each at most 0.

    Raises:
        ValueError: If the sequence is not one axis of integers, or a token is out of range.

    Example:
        >>> unigrams = fit_ngrams([np.array([0, 0, 0, 1])], order=1, n_tokens=3)
        >>> np.exp(log_probabilities(unigrams, np.array([0, 1, 2]))).round(4).tolist()
        [0.6667, 0.1667, 0.1667]

    References:
        Chen and Goodman (1999), as for `fit_ngrams`, section 2.7.
    """
    levels, n_tokens = ngrams
    start = len(levels) - 1
    tokens = _padded([sequence], len(levels), n_tokens)
    number = np.zeros(len(tokens), np.int64)
    probabilities = np.full(len(tokens) - start, 1 / n_tokens)
    for k, level in enumerate(levels, start=1):
        # The context of a token is the gram that ended one place before it; of a single token, the empty one.
        context = number[start - 1 : -1] if k > 1 else number[start:]
        number = _looked_up(level.keys, _keys(tokens, number, k, n_tokens), number >= 0)
        total = np.where(context >= 0, level.totals[context], 0)
        count = np.where(number >= 0, level.counts[number], 0)[start:]
        spread = level.discount * np.where(context >= 0, level.kinds[context], 0)
        mixed = (np.maximum(count - level.discount, 0) + spread * probabilities) / np.maximum(total, 1)
        probabilities = np.where(total > 0, mixed, probabilities)
    return np.log(probabilities)


def bits_per_byte(train: Sequence[str], test: Sequence[str], *, order: int) -> float:
    """Returns the bits per byte of texts under an n-gram model of the bytes of others, a baseline of language models.

    Args:
        train: Separate texts to fit the model to.
        test: Texts to evaluate on, of at least one byte in all.
        order: Bytes per gram, 1 or more.

    Returns:
        Bits per byte, above 0; 8 for equally likely bytes.

    Raises:
        ValueError: If a number is below 1, no text has a byte, or a text is passed without its list.

    Example:
        >>> round(bits_per_byte(["abababab"], ["abab"], order=2), 3)
        0.425
    """
    if isinstance(train, str) or isinstance(test, str):
        raise ValueError("train and test must be lists of texts; got a single text. Pass [text].")
    given, asked = ([np.frombuffer(text.encode(), np.uint8) for text in texts] for texts in (train, test))
    n_bytes = sum(map(len, asked))
    if not n_bytes:
        raise ValueError("test must hold a byte; got none. Pass one text or more.")
    model = fit_ngrams(given, order=order, n_tokens=256)
    return float(-sum(log_probabilities(model, one).sum() for one in asked) / np.log(2) / n_bytes)


def _padded(sequences: Sequence[np.ndarray], order: int, n_tokens: int) -> np.ndarray:
    """Returns the concatenated sequences, each after its start symbols, after checking them."""
    start = np.full(order - 1, n_tokens, np.int32)
    pieces = []
    for sequence in sequences:
        sequence = np.asarray(sequence)
        if sequence.ndim != 1 or (sequence.dtype.kind not in "iu" and sequence.size):
            raise ValueError(
                f"a sequence must be integers of one axis; got {sequence.dtype} {sequence.shape}. "
                "Pass np.frombuffer(text.encode(), np.uint8) for the bytes of a text."
            )
        if sequence.size and not 0 <= sequence.min() <= sequence.max() < n_tokens:
            raise ValueError(
                f"tokens must be from 0 to n_tokens - 1, {n_tokens - 1}; got {sequence.min()} to {sequence.max()}. "
                "Pass the size of the vocabulary they come from."
            )
        pieces += [start, sequence.astype(np.int32)]
    return np.concatenate(pieces) if pieces else start


def _keys(tokens: np.ndarray, number: np.ndarray, k: int, n_tokens: int) -> np.ndarray:
    """Returns the number of the gram of k tokens that ends at each place, from that of its last k - 1 tokens."""
    # Before the first place stand start symbols. The grams of start symbols reach into the text before; none is counted.
    first = np.concatenate([np.full(min(k - 1, len(tokens)), n_tokens, tokens.dtype), tokens[: len(tokens) - k + 1]])
    return number.astype(np.int64) * (n_tokens + 1) + first


def _level(keys: np.ndarray, counts: np.ndarray, context: np.ndarray, n_contexts: int) -> Level:
    """Returns the level of grams with their counts, 0 for those that are never predicted."""
    once, twice = np.sum(counts == 1), np.sum(counts == 2)
    totals = np.bincount(context, weights=counts, minlength=n_contexts).astype(np.int64)
    kinds = np.bincount(context, weights=counts > 0, minlength=n_contexts).astype(np.int64)
    return Level(keys, counts, totals, kinds, float(once / (once + 2 * twice)) if once else 0.5)


def _looked_up(keys: np.ndarray, wanted: np.ndarray, is_possible: np.ndarray) -> np.ndarray:
    """Returns the index of each key among the sorted ones, -1 where it is absent or impossible."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(is_possible & (keys[place] == wanted), place, -1)

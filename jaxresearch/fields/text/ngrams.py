"""The n-gram model with Kneser-Ney smoothing, a baseline of language models. NumPy on the host.

Grams are numbered: one integer combines the number of the last k - 1 tokens of a gram with the token before them. Any order and
vocabulary fit, and all work is sorting and lookup.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_BYTES = 256


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
        keys, number = _numbered(tokens, numbers[-1], k, n_tokens)
        grams.append(keys)
        numbers.append(number)
    levels = []
    for k in range(1, order + 1):
        keys = grams[k - 1]
        counts = _occurrences(keys, numbers[k], is_token) if k == order else _kinds_before(keys, grams[k], n_tokens)
        levels.append(_level(keys, counts, numbers[k], numbers[k - 1], is_token))
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
        probabilities = _mixed(level, context, number[start:], probabilities)
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
    given, asked = _as_bytes(train, test)
    model = fit_ngrams(given, order=order, n_tokens=_BYTES)
    return float(-sum(log_probabilities(model, one).sum() for one in asked) / np.log(2) / sum(map(len, asked)))


def bits_by_order(train: Sequence[str], test: Sequence[str], *, most: int) -> list[float]:
    """Returns `bits_per_byte` of each order from 1 on, in about the time that the largest takes alone.

    Args:
        train: Separate texts to fit the models to.
        test: Texts to evaluate on; to choose an order, held out of the texts to train on.
        most: The largest order, 1 or more.

    Returns:
        Bits per byte of orders 1 to ``most``.

    Raises:
        ValueError: As for `bits_per_byte`.

    Example:
        >>> [round(bits, 3) for bits in bits_by_order(["abababab"], ["abab"], most=3)]
        [1.191, 0.425, 0.22]
    """
    if most < 1:
        raise ValueError(f"most must be 1 or more; got {most}. Pass the largest order.")
    given, asked = (_padded(texts, most, _BYTES) for texts in _as_bytes(train, test))
    is_token, is_asked, found = given < _BYTES, asked < _BYTES, []
    if not np.any(is_token):
        raise ValueError("train must hold a byte; got none. Pass one text or more.")
    shorter, place = np.zeros(len(given), np.int32), np.zeros(len(asked), np.int64)
    (keys, number), probabilities = _numbered(given, shorter, 1, _BYTES), np.full(len(asked), 1 / _BYTES)
    for k in range(1, most + 1):
        context = np.concatenate([place[:1], place[:-1]]) if k > 1 else place
        place = _looked_up(keys, _keys(asked, place, k, _BYTES), place >= 0)
        whole = _level(keys, _occurrences(keys, number, is_token), number, shorter, is_token)
        found.append(float(-np.log2(_mixed(whole, context, place, probabilities)[is_asked]).mean()))
        if k < most:  # the same grams as the lower level of longer ones
            longer, number_of_longer = _numbered(given, number, k + 1, _BYTES)
            lower = _level(keys, _kinds_before(keys, longer, _BYTES), number, shorter, is_token)
            probabilities = _mixed(lower, context, place, probabilities)
            shorter, keys, number = number, longer, number_of_longer
    return found


def _as_bytes(train: Sequence[str], test: Sequence[str]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the bytes of both lists of texts; raises if the second holds none."""
    if isinstance(train, str) or isinstance(test, str):
        raise ValueError("train and test must be lists of texts; got a single text. Pass [text].")
    given, asked = ([np.frombuffer(text.encode(), np.uint8) for text in texts] for texts in (train, test))
    if not sum(map(len, asked)):
        raise ValueError("test must hold a byte; got none. Pass one text or more.")
    return given, asked


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


def _numbered(tokens: np.ndarray, shorter: np.ndarray, k: int, n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sorted keys of the grams of k tokens, and the number of the one that ends at each place."""
    keys, number = np.unique(_keys(tokens, shorter, k, n_tokens), return_inverse=True)
    return keys, number.astype(np.int32)


def _occurrences(keys: np.ndarray, number: np.ndarray, is_token: np.ndarray) -> np.ndarray:
    """Returns how often each gram occurs."""
    return np.bincount(number[is_token], minlength=len(keys))


def _kinds_before(keys: np.ndarray, longer: np.ndarray, n_tokens: int) -> np.ndarray:
    """Returns the number of different tokens seen before each gram: of grams that are one token longer."""
    return np.bincount(longer // (n_tokens + 1), minlength=len(keys))


def _level(
    keys: np.ndarray, counts: np.ndarray, number: np.ndarray, shorter: np.ndarray, is_token: np.ndarray
) -> Level:
    """Returns the level of grams with their counts; those that do not end in a token are never predicted."""
    context, ends_in_token = np.zeros(len(keys), np.int32), np.zeros(len(keys), bool)
    context[number[1:]] = shorter[:-1]
    ends_in_token[number[is_token]] = True
    counts, n_contexts = counts * ends_in_token, int(shorter.max()) + 1
    once, twice = np.sum(counts == 1), np.sum(counts == 2)
    totals = np.bincount(context, weights=counts, minlength=n_contexts).astype(np.int64)
    kinds = np.bincount(context, weights=counts > 0, minlength=n_contexts).astype(np.int64)
    return Level(keys, counts, totals, kinds, float(once / (once + 2 * twice)) if once else 0.5)


def _mixed(level: Level, context: np.ndarray, number: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Returns the probabilities of grams after their contexts, from those of the level below; -1 numbers an unseen one."""
    total = np.where(context >= 0, level.totals[context], 0)
    count = np.where(number >= 0, level.counts[number], 0)
    spread = level.discount * np.where(context >= 0, level.kinds[context], 0)
    mixed = (np.maximum(count - level.discount, 0) + spread * lower) / np.maximum(total, 1)
    return np.where(total > 0, mixed, lower)


def _looked_up(keys: np.ndarray, wanted: np.ndarray, is_possible: np.ndarray) -> np.ndarray:
    """Returns the index of each key among the sorted ones, -1 where it is absent or impossible."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(is_possible & (keys[place] == wanted), place, -1)

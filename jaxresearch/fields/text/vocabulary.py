"""A vocabulary of words, and texts as counts of words: the simplest model of text."""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class Vocabulary(NamedTuple):
    """Words, the most frequent first and equally frequent ones in alphabetical order; a word's id is its index."""

    tokens: tuple[str, ...]


def fit_vocabulary(documents: Iterable[Iterable[str]], *, min_count: int = 1, n_most: int | None = None) -> Vocabulary:
    """Returns the vocabulary of documents.

    Args:
        documents: Lists of words, from `jaxresearch.fields.text.words`, of the training part only.
        min_count: Smallest number of occurrences of a word, 1 or more.
        n_most: Largest number of words to keep, 1 or more; all by default.

    Returns:
        The vocabulary.

    Raises:
        ValueError: If a document is a text instead of a list, an option is out of range, or no word is left.

    Example:
        >>> fit_vocabulary([["zinc", "ion"], ["ion", "binding"]], n_most=2)
        Vocabulary(tokens=('ion', 'binding'))
    """
    if min_count < 1:
        raise ValueError(f"min_count must be 1 or more; got {min_count}. Pass 1 to keep every word.")
    if n_most is not None and n_most < 1:
        raise ValueError(f"n_most must be 1 or more; got {n_most}. Leave it out to keep every word.")
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(_checked(document))
    kept = sorted(
        (word for word, count in counts.items() if count >= min_count), key=lambda word: (-counts[word], word)
    )
    if not kept:
        raise ValueError(
            f"documents must hold a word that occurs {min_count} times or more; they do not. Pass more, or a lower min_count."
        )
    return Vocabulary(tuple(kept[:n_most]))


def encode(vocabulary: Vocabulary, words: Iterable[str]) -> Int[np.ndarray, " words"]:
    """Returns the ids of words; unknown ones have the id ``len(vocabulary.tokens)``.

    Args:
        vocabulary: From `fit_vocabulary`.
        words: Those of one document.

    Returns:
        Ids, int32.

    Raises:
        ValueError: If the words are one text instead of a list.

    Example:
        >>> encode(Vocabulary(("ion", "zinc")), ["zinc", "zinc", "iron"]).tolist()
        [1, 1, 2]
    """
    index = _index(vocabulary.tokens)
    return np.array([index.get(word, len(index)) for word in _checked(words)], np.int32)


def bag_of_words(vocabulary: Vocabulary, documents: Sequence[Iterable[str]]) -> Float[np.ndarray, "n size"]:
    """Returns how often each word of the vocabulary occurs in each document; unknown words are left out.

    Args:
        vocabulary: From `fit_vocabulary`.
        documents: Lists of words.

    Returns:
        Counts ``(documents, len(vocabulary.tokens))``, float32: 4 bytes each (35,000 documents by 5,000 words: 0.7 GB), and
        about 100 bytes per word of the documents while counting.

    Raises:
        ValueError: If a document is a text instead of a list.

    Example:
        >>> bag_of_words(Vocabulary(("ion", "zinc")), [["zinc", "zinc", "iron"], []]).tolist()
        [[0.0, 2.0], [0.0, 0.0]]
    """
    index, size = _index(vocabulary.tokens), len(vocabulary.tokens)
    places = np.array(
        [row * size + index[word] for row, words in enumerate(documents) for word in _checked(words) if word in index],
        np.int64,
    )
    counts = np.zeros((len(documents), size), np.float32)
    occupied, times = np.unique(places, return_counts=True)
    counts.reshape(-1)[occupied] = times
    return counts


@functools.lru_cache(maxsize=8)
def _index(tokens: tuple[str, ...]) -> dict[str, int]:
    """Returns the id of each word."""
    return {token: i for i, token in enumerate(tokens)}


def _checked(document: Iterable[str]) -> Iterable[str]:
    """Returns a document, or raises if it is a text."""
    if isinstance(document, str):
        raise ValueError(f"documents must be lists of words; got the text {document[:20]!r}. Pass words(text).")
    return document

"""ROUGE: how much of a reference summary a candidate holds. Host code, on lists of words.

How text is cut into words, lower-cased or stemmed, is left to the caller and moves the figures by points: say it beside
them.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple


class Rouge(NamedTuple):
    """Precision, recall and their harmonic mean, each 0 to 1."""

    precision: float
    recall: float
    f1: float


def rouge_n(candidate: Sequence[str], reference: Sequence[str], *, n: int) -> Rouge:
    r"""Returns the n-grams that candidate and reference share, as a share of each one's own.

    .. math:: R = \frac{\sum_g \min(c(g), r(g))}{\sum_g r(g)}, \quad P = \frac{\sum_g \min(c(g), r(g))}{\sum_g c(g)}

    An n-gram counts as often as it stands in both. All three are 0 where a side has no n-gram.

    Args:
        candidate: Words of the text that is judged.
        reference: Words of the text it is judged by.
        n: Words of an n-gram, 1 or more.

    Returns:
        Precision, recall and f1.

    Raises:
        ValueError: If ``n`` is below 1, or text came instead of words.

    Example:
        >>> rouge_n("police kill the gunman".split(), "police killed the gunman".split(), n=1)
        Rouge(precision=0.75, recall=0.75, f1=0.75)

    References:
        Lin (2004), ROUGE: a package for automatic evaluation of summaries, Text Summarization Branches Out, section 2.
        https://aclanthology.org/W04-1013/
    """
    if n < 1:
        raise ValueError(f"n must be 1 or more; got {n}. Pass 1 for words, 2 for pairs of words.")
    _require_words(candidate, reference)
    ours, theirs = (
        Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (list(candidate), list(reference))
    )
    return _rouge((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(candidate: Sequence[str], reference: Sequence[str]) -> Rouge:
    r"""Returns the longest common subsequence of candidate and reference, as a share of each one's own length.

    .. math:: R = LCS / |r|, \quad P = LCS / |c|

    The words of a subsequence keep their order but need not be neighbours. All three are 0 where a side is empty.

    Args:
        candidate: Words of the text that is judged.
        reference: Words of the text it is judged by, as one sentence.

    Returns:
        Precision, recall and f1.

    Raises:
        ValueError: If text came instead of words.

    Example:
        >>> rouge_l("police kill the gunman".split(), "police killed the gunman".split())
        Rouge(precision=0.75, recall=0.75, f1=0.75)

    References:
        Lin (2004), ROUGE: a package for automatic evaluation of summaries, Text Summarization Branches Out, section 3.1,
        with beta 1. https://aclanthology.org/W04-1013/
    """
    _require_words(candidate, reference)
    return _rouge(_common(candidate, reference), len(candidate), len(reference))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence, a row of the table at a time (Hyyro 2004, figure 2)."""
    places: dict[str, int] = {}
    for i, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << i
    everything = (1 << len(one)) - 1
    unmatched = everything  # a 0 at bit i: the row's length grows by one from column i to i + 1
    for word in other:
        matched = unmatched & places.get(word, 0)
        unmatched = ((unmatched + matched) | (unmatched - matched)) & everything
    return len(one) - unmatched.bit_count()


def _rouge(shared: int, n_candidate: int, n_reference: int) -> Rouge:
    """Returns the three figures of what is shared and of the two sizes."""
    if not shared:
        return Rouge(0.0, 0.0, 0.0)
    return Rouge(shared / n_candidate, shared / n_reference, 2 * shared / (n_candidate + n_reference))


def _require_words(candidate: Sequence[str], reference: Sequence[str]) -> None:
    """Raises where text came, which would be taken letter by letter."""
    for name, words in (("candidate", candidate), ("reference", reference)):
        if isinstance(words, str):
            raise ValueError(f"{name} must be a list of words; got a text, {words[:40]!r}. Pass {name}.split().")

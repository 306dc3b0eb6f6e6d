"""ROUGE: how much of a reference summary a candidate contains. NumPy on the host.

How text is split into words, lower-cased or stemmed is left to the caller. It changes the scores by whole
points, so report it with them.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxresearch import statistics
from jaxresearch.fields.text.cleaning import words


class Rouge(NamedTuple):
    """Precision, recall and their harmonic mean, each 0 to 1."""

    precision: float
    recall: float
    f1: float


def rouge_n(candidate: Sequence[str], reference: Sequence[str], *, n: int) -> Rouge:
    r"""Returns the n-grams that candidate and reference share, as fractions of the n-grams of each.

    .. math:: R = \frac{\sum_g \min(c(g), r(g))}{\sum_g r(g)}, \quad P = \frac{\sum_g \min(c(g), r(g))}{\sum_g c(g)}

    An n-gram counts as often as it occurs in both. All three are 0 if a side has no n-gram.

    Args:
        candidate: Words of the text to judge.
        reference: Words of the text to compare with.
        n: Words per n-gram, 1 or more.

    Returns:
        Precision, recall and f1.

    Raises:
        ValueError: If ``n`` is below 1, or a side is a text instead of words.

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
    r"""Returns the longest common subsequence of candidate and reference, as fractions of the length of each.

    .. math:: R = LCS / |r|, \quad P = LCS / |c|

    The words of a subsequence keep their order but need not be adjacent. All three are 0 if a side is empty.

    Args:
        candidate: Words of the text to judge.
        reference: Words of the text to compare with, as one sentence.

    Returns:
        Precision, recall and f1.

    Raises:
        ValueError: If a side is a text instead of words.

    Example:
        >>> rouge_l("police kill the gunman".split(), "police killed the gunman".split())
        Rouge(precision=0.75, recall=0.75, f1=0.75)

    References:
        Lin (2004), ROUGE: a package for automatic evaluation of summaries, Text Summarization Branches Out, section 3.1,
        with beta 1. https://aclanthology.org/W04-1013/
    """
    _require_words(candidate, reference)
    return _rouge(_common(candidate, reference), len(candidate), len(reference))


def rouge_l_scores(candidates: Collection[str], references: Collection[str]) -> Float[np.ndarray, " texts"]:
    """Returns the F1 of ROUGE-L of each candidate against its reference, split by `words`.

    Args:
        candidates: Texts to judge.
        references: As many texts to compare with.

    Returns:
        One value per text, 0 to 1, float64: ready for a mean and an interval, or for a paired difference.

    Raises:
        ValueError: If a side is a single text, or the sides differ in number.

    Example:
        >>> rouge_l_scores(["zinc ion binding", "iron"], ["Zinc binding", "zinc"]).round(3).tolist()
        [0.8, 0.0]
    """
    _require_pairs("candidates", candidates, "references", references)
    pairs = zip(candidates, references, strict=True)
    return np.array([rouge_l(words(candidate), words(reference)).f1 for candidate, reference in pairs], np.float64)


def rouge_l_comparison(candidates: Collection[str], references: Collection[str], *, baseline: Collection[str]) -> str:
    """Returns a comparison of candidates with a baseline in words: the mean F1 of ROUGE-L of both, and the difference.

    Args:
        candidates: Texts to judge, at least one.
        references: As many texts to compare with.
        baseline: As many simple texts for the same references, such as those of `lead`.

    Returns:
        The means, the difference and its 95 % interval over texts, paired, as part of a sentence.

    Raises:
        ValueError: If there is no text, or as for `rouge_l_scores`.

    Example:
        >>> rouge_l_comparison(["zinc ion", "iron"], ["Zinc ion", "Iron"], baseline=["a zinc", "a iron"])
        'ROUGE-L 1.000, baseline 0.583, difference +0.417 (95 % interval over texts -0.642 to +1.476, paired)'
    """
    ours, simple = (rouge_l_scores(texts, references) for texts in (candidates, baseline))
    gain = statistics.difference(ours, simple)
    interval = f"95 % interval over texts {gain.low:+.3f} to {gain.high:+.3f}, paired"
    return f"ROUGE-L {ours.mean():.3f}, baseline {simple.mean():.3f}, difference {gain.mean:+.3f} ({interval})"


def lead(text: str, n_words: int) -> str:
    """Returns the leading words of a text, the simplest summary and the baseline for any other.

    Args:
        text: Any text.
        n_words: Words to keep, 0 or more.

    Returns:
        The words, as split by `words`, separated by spaces.

    Example:
        >>> lead("Binding to a zinc ion (Zn).", 4)
        'binding to a zinc'
    """
    return " ".join(words(text)[:n_words])


def fit_lead(documents: Collection[str], summaries: Collection[str], *, n_most: int = 24) -> int:
    """Returns the number of leading words with the highest mean F1 of ROUGE-L as summaries.

    Args:
        documents: Texts of the training part.
        summaries: As many summaries of them.
        n_most: The largest number to try, 1 or more.

    Returns:
        A number from 1 to ``n_most``, for `lead`.

    Raises:
        ValueError: If there is no text, ``n_most`` is below 1, or as for `rouge_l_scores`.

    Example:
        >>> fit_lead(["zinc binding is to bind zinc", "ion transport moves ions"], ["Zinc binding", "Ion transport"])
        2
    """
    _require_pairs("documents", documents, "summaries", summaries)
    if not len(documents):
        raise ValueError("documents must hold at least one text, got none. Pass those of the training part.")
    if n_most < 1:
        raise ValueError(f"n_most must be 1 or more, got {n_most}. Pass the largest number of words to try.")
    pairs = [(words(document), words(summary)) for document, summary in zip(documents, summaries, strict=True)]
    scores = [np.mean([rouge_l(text[:n], summary).f1 for text, summary in pairs]) for n in range(1, n_most + 1)]
    return 1 + int(np.argmax(scores))


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
    """Returns precision, recall and F1 from the number of shared items and both sizes."""
    if not shared:
        return Rouge(0.0, 0.0, 0.0)
    return Rouge(shared / n_candidate, shared / n_reference, 2 * shared / (n_candidate + n_reference))


def _require_words(candidate: Sequence[str], reference: Sequence[str]) -> None:
    """Raises if a side is a text, which would be read letter by letter."""
    for name, given in (("candidate", candidate), ("reference", reference)):
        if isinstance(given, str):
            raise ValueError(f"{name} must be a list of words; got a text, {given[:40]!r}. Pass {name}.split().")


def _require_pairs(name: str, texts: Collection[str], other_name: str, others: Collection[str]) -> None:
    """Raises if a side is one text instead of several, or the sides differ in number."""
    for side, given in ((name, texts), (other_name, others)):
        if isinstance(given, str):
            raise ValueError(f"{side} must be a list of texts, got the text {given[:40]!r}. Pass [text].")
    if len(texts) != len(others):
        raise ValueError(
            f"{name} and {other_name} must have equal lengths, got {len(texts)} and {len(others)}. Pass pairs."
        )

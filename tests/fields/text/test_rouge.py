"""ROUGE equals its definition, by hand and by brute force."""

import itertools

import numpy as np
import pytest

from jaxresearch import statistics
from jaxresearch.fields.text import Rouge, fit_lead, lead, rouge_l, rouge_l_comparison, rouge_l_scores, rouge_n, words

REFERENCE = "police killed the gunman".split()


@pytest.mark.parametrize(
    ("candidate", "longest", "bigrams"),
    [("police kill the gunman", 3 / 4, 1 / 3), ("the gunman kill police", 2 / 4, 1 / 3)],
)
def test_rouge_of_the_worked_example(candidate, longest, bigrams):
    # Lin (2004), section 3.1: both share one pair of words with the reference, and differ only in their order.
    assert rouge_l(candidate.split(), REFERENCE) == Rouge(longest, longest, longest)
    assert rouge_n(candidate.split(), REFERENCE, n=2) == pytest.approx((bigrams,) * 3)


def test_rouge_l_counts_one_longest_subsequence_of_several():
    # Lin (2004), section 3.1: of "the gunman" and "police killed" only one counts, so that it equals the second example.
    assert rouge_l("the gunman police killed".split(), REFERENCE).recall == 2 / 4


def test_rouge_n_counts_a_word_as_often_as_both_hold_it():
    found = rouge_n("the the the cat".split(), "the cat saw the dog".split(), n=1)
    assert found == pytest.approx((3 / 4, 3 / 5, 2 / 3))


def _subsequences(words):
    return {taken for size in range(len(words) + 1) for taken in itertools.combinations(words, size)}


def test_rouge_l_equals_brute_force():
    generator = np.random.default_rng(0)
    for _ in range(300):
        one, other = (generator.choice(list("abcd"), generator.integers(1, 8)).tolist() for _ in range(2))
        longest = max(len(taken) for taken in _subsequences(one) & _subsequences(other))
        assert rouge_l(one, other)[:2] == (longest / len(one), longest / len(other))


def test_rouge_l_of_long_texts_equals_the_table():
    generator = np.random.default_rng(1)
    one, other = (generator.integers(0, 20, size).astype(str).tolist() for size in (150, 170))
    table = np.zeros((151, 171), int)
    for i, j in itertools.product(range(150), range(170)):
        table[i + 1, j + 1] = table[i, j] + 1 if one[i] == other[j] else max(table[i, j + 1], table[i + 1, j])
    assert rouge_l(one, other).precision == table[-1, -1] / 150


@pytest.mark.parametrize("n", [1, 2, 3])
def test_rouge_n_equals_plain_loops(n):
    generator = np.random.default_rng(n)
    for _ in range(100):
        one, other = (generator.choice(list("abc"), generator.integers(n, 12)).tolist() for _ in range(2))
        left = [other[i : i + n] for i in range(len(other) - n + 1)]
        n_reference, shared = len(left), 0
        for i in range(len(one) - n + 1):
            if one[i : i + n] in left:
                left.remove(one[i : i + n])
                shared += 1
        assert rouge_n(one, other, n=n)[:2] == (shared / (len(one) - n + 1), shared / n_reference)


def test_rouge_swaps_precision_and_recall_with_its_sides():
    generator = np.random.default_rng(2)
    for _ in range(50):
        one, other = (generator.choice(list("abcdef"), generator.integers(1, 12)).tolist() for _ in range(2))
        for there, back in (
            (rouge_l(one, other), rouge_l(other, one)),
            (rouge_n(one, other, n=1), rouge_n(other, one, n=1)),
        ):
            assert there == Rouge(back.recall, back.precision, back.f1)
            assert there.f1 == pytest.approx(_harmonic(there.precision, there.recall), abs=1e-12)  # float64


def _harmonic(one, other):
    return 2 * one * other / (one + other) if one + other else 0.0


def test_rouge_of_nothing_shared_or_an_empty_side_is_0():
    nothing = Rouge(0.0, 0.0, 0.0)
    for one, other in ((["a"], ["b"]), ([], ["a"]), (["a"], []), ([], [])):
        assert rouge_l(one, other) == nothing
        assert rouge_n(one, other, n=1) == nothing
    assert rouge_n(["a"], ["a"], n=2) == nothing  # too short for a pair


def test_rouge_refuses_text_and_a_size_below_1():
    with pytest.raises(ValueError, match="n must be 1 or more; got 0"):
        rouge_n(["a"], ["a"], n=0)
    with pytest.raises(
        ValueError, match=r"candidate must be a list of words; got a text, 'a text'. Pass candidate.split"
    ):
        rouge_l("a text", ["a"])
    with pytest.raises(ValueError, match="reference must be a list of words"):
        rouge_n(["a"], "a text", n=1)


DEFINITIONS = ["Binding to a zinc ion (Zn).", "The transport of ions.", "Iron binding is binding to iron"]
TERMS = ["zinc ion binding", "ion transport", "Iron binding"]


def test_rouge_l_scores_are_those_of_single_texts():
    scores = rouge_l_scores(DEFINITIONS, TERMS)
    expected = [rouge_l(words(d), words(t)).f1 for d, t in zip(DEFINITIONS, TERMS, strict=True)]
    assert scores.tolist() == expected and scores.dtype == np.float64
    assert rouge_l_scores([], []).shape == (0,)
    assert rouge_l_scores(np.array(["Zinc"], object), ["zinc"]).tolist() == [1.0]  # case is ignored


def test_rouge_l_comparison_reports_the_paired_difference():
    baseline = [lead(definition, 2) for definition in DEFINITIONS]
    ours, simple = rouge_l_scores(DEFINITIONS, TERMS), rouge_l_scores(baseline, TERMS)
    gain = statistics.difference(ours, simple)
    said = rouge_l_comparison(DEFINITIONS, TERMS, baseline=baseline)
    for number in (
        f"{ours.mean():.3f}",
        f"{simple.mean():.3f}",
        f"{gain.mean:+.3f}",
        f"{gain.low:+.3f} to {gain.high:+.3f}",
    ):
        assert number in said, said


def test_lead_is_the_leading_words():
    assert [lead(DEFINITIONS[0], n) for n in (0, 2, 99)] == ["", "binding to", "binding to a zinc ion zn"]


@pytest.mark.parametrize("n_most", [1, 3, 24])
def test_fit_lead_is_the_best_of_all_numbers(n_most):
    means = [rouge_l_scores([lead(d, n) for d in DEFINITIONS], TERMS).mean() for n in range(1, n_most + 1)]
    assert fit_lead(DEFINITIONS, TERMS, n_most=n_most) == 1 + int(np.argmax(means))


@pytest.mark.raises
@pytest.mark.parametrize(
    ("fun", "arguments", "message"),
    [
        (rouge_l_scores, ("zinc", ["zinc"]), "candidates must be a list of texts, got the text 'zinc'"),
        (rouge_l_scores, (["zinc"], []), "candidates and references must have equal lengths, got 1 and 0"),
        (
            lambda *texts: rouge_l_comparison(*texts, baseline=["zinc", "ion"]),
            (["zinc"], ["zinc"]),
            "candidates and references must have equal lengths, got 2 and 1",
        ),
        (fit_lead, (["zinc"], "zinc"), "summaries must be a list of texts, got the text 'zinc'"),
        (fit_lead, ([], []), "documents must hold at least one text, got none"),
    ],
)
def test_lists_of_texts_are_checked(fun, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        fun(*arguments)


@pytest.mark.raises
def test_fit_lead_needs_a_number_to_try():
    with pytest.raises(ValueError, match="^n_most must be 1 or more, got 0"):
        fit_lead(DEFINITIONS, TERMS, n_most=0)

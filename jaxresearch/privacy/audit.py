"""Lower bounds of epsilon from attacks: the statistics of an audit, without the runs.

A mechanism that claims a smaller epsilon than such a bound is refuted, at the stated confidence. A bound below the claim proves
nothing: a stronger attack might exceed it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Bool, Float

_LARGEST_EPSILON = 100.0  # of a bound; no number of runs comes near it


class ManyRuns(NamedTuple):
    """The bound from many runs with and without a canary; all but ``epsilon`` describes the attack.

    ``false_positive_rate`` and ``false_negative_rate`` are upper bounds, from the held-out runs: ``false_positives`` of
    ``n_without`` runs without the canary, ``false_negatives`` of ``n_with`` runs with it. A run is decided to have the canary if
    its score in ``column`` is at least ``threshold``.
    """

    epsilon: float
    column: int
    threshold: float
    false_positive_rate: float
    false_negative_rate: float
    false_positives: int
    false_negatives: int
    n_without: int
    n_with: int


class OneRun(NamedTuple):
    """The bound from one run with many canaries: ``n_correct`` of ``n_guesses`` guesses about ``n_canaries`` were right."""

    epsilon: float
    n_correct: int
    n_guesses: int
    n_canaries: int


def many_runs(
    with_canary: Float[np.ndarray, "n_with columns"],
    without: Float[np.ndarray, "n_without columns"],
    *,
    delta: int | float,
    is_gaussian: bool = False,
    confidence: int | float = 0.95,
) -> ManyRuns:
    r"""Returns the lower bound of epsilon from the scores of independent runs with and without a canary.

    Runs of even index choose a column and a threshold; those of odd index test this choice. Each error rate of the test has a
    one-sided Clopper-Pearson bound at the confidence :math:`1 - (1 - \text{confidence}) / 2`, so both hold at the joint one:

    .. math:: \epsilon \ge \max\Big(\log\frac{1 - \delta - \text{FNR}}{\text{FPR}},
        \log\frac{1 - \delta - \text{FPR}}{\text{FNR}}\Big)

    Args:
        with_canary: Scores of the runs with the canary, higher for stronger evidence of it; one column for each kind of score.
        without: Those of the runs without it.
        delta: The :math:`\delta` of the guarantee.
        is_gaussian: Whether the mechanism claims the trade-off curve of a Gaussian mechanism, as one without sampling does. Its
            :math:`\mu \ge \Phi^{-1}(1 - \text{FPR}) - \Phi^{-1}(\text{FNR})` is converted to epsilon, which is tighter.
        confidence: Of the bound.

    Returns:
        The bound, 0 or more, and the attack.

    Raises:
        ValueError: If a score is not finite, or there are fewer runs than `fewest_runs`.

    Example:
        >>> perfect = many_runs(np.ones((500, 1)), np.zeros((500, 1)), delta=1e-5)
        >>> round(perfect.epsilon, 2), round(perfect.false_positive_rate, 4)
        (4.21, 0.0146)

    References:
        Nasr et al. (2023), Tight auditing of differentially private machine learning, USENIX Security, sections 4 and 5.
        https://arxiv.org/abs/2302.07956
    """
    if not (np.isfinite(with_canary).all() and np.isfinite(without).all()):
        raise ValueError("scores must be finite, got one that is not. A run has diverged: lower its learning rate.")
    least, n = fewest_runs(delta=delta, confidence=confidence), min(len(with_canary), len(without))
    if n < least:
        raise ValueError(f"runs must be at least {least} with and without the canary for any bound, got {n}. Pass 500.")
    level = 1 - (1 - confidence) / 2

    def bound_of(fpr: Any, fnr: Any) -> Any:
        return _mu(fpr, fnr) if is_gaussian else _epsilon(fpr, fnr, delta)

    column, threshold = _chosen(with_canary[::2], without[::2], bound_of, level)
    positives = [scores[1::2, column] >= threshold for scores in (with_canary, without)]
    false_negatives, false_positives = int((~positives[0]).sum()), int(positives[1].sum())
    n_with, n_without = map(len, positives)
    fpr = float(upper_rate(false_positives, n_without, confidence=level))
    fnr = float(upper_rate(false_negatives, n_with, confidence=level))
    bound = float(bound_of(fpr, fnr))
    bound = gaussian_epsilon(bound, delta=delta) if is_gaussian else bound
    return ManyRuns(bound, column, threshold, fpr, fnr, false_positives, false_negatives, n_without, n_with)


def _chosen(
    with_canary: np.ndarray, without: np.ndarray, bound_of: Callable[[Any, Any], Any], level: float
) -> tuple[int, float]:
    """Returns the column and the threshold with the largest bound on these runs."""
    best = (-math.inf, 0, 0.0)
    tables = [
        np.asarray(upper_rate(np.arange(len(one) + 1), len(one), confidence=level)) for one in (with_canary, without)
    ]
    for column in range(with_canary.shape[1]):
        positive, negative = np.sort(with_canary[:, column]), np.sort(without[:, column])
        scores = np.unique(np.concatenate([positive, negative]))
        thresholds = np.concatenate([scores[:1], scores[:-1] / 2 + scores[1:] / 2])
        fnr = tables[0][np.searchsorted(positive, thresholds)]
        fpr = tables[1][len(negative) - np.searchsorted(negative, thresholds)]
        values = bound_of(fpr, fnr) - np.maximum(fpr + fnr - 1, 0)  # the separation decides where all bounds are 0
        place = int(values.argmax())
        best = max(best, (float(values[place]), column, float(thresholds[place])), key=lambda one: one[0])
    return best[1], best[2]


def _epsilon(fpr: Any, fnr: Any, delta: int | float) -> Any:
    """Returns the least epsilon that allows error rates as low as these, at delta."""
    least = np.nextafter(0, 1)
    one = np.log(np.maximum(1 - delta - fnr, least)) - np.log(fpr)
    other = np.log(np.maximum(1 - delta - fpr, least)) - np.log(fnr)
    return np.maximum(np.maximum(one, other), 0)


def _mu(fpr: Any, fnr: Any) -> Any:
    """Returns the least mu of a Gaussian mechanism that allows error rates as low as these."""
    return np.maximum(-scipy.special.ndtri(fpr) - scipy.special.ndtri(fnr), 0)


def upper_rate(
    n_events: int | np.ndarray, n_trials: int, *, confidence: int | float
) -> Float[np.ndarray, "*shape"] | np.float64:
    """Returns the one-sided upper bound of a probability by Clopper and Pearson.

    Args:
        n_events: Number of events, 0 to ``n_trials``; or an array.
        n_trials: Number of independent trials, 1 or more.
        confidence: The probability that the bound holds is at least this.

    Returns:
        The bound, 1 if all trials were events.

    Example:
        >>> round(float(upper_rate(0, 299, confidence=0.95)), 4)  # 0.05 ** (1 / 299) = 1 - 0.01
        0.01

    References:
        Clopper and Pearson (1934), The use of confidence or fiducial limits illustrated in the case of the binomial,
        Biometrika 26 (4).
    """
    n_events = np.asarray(n_events)
    inside = scipy.special.betaincinv(n_events + 1.0, np.maximum(n_trials - n_events, 0.5), confidence)
    return np.where(n_events == n_trials, 1.0, inside)[()]


def gaussian_epsilon(mu: int | float, *, delta: int | float) -> float:
    r"""Returns the epsilon of a Gaussian mechanism at delta.

    .. math:: \delta(\epsilon) = \Phi(\mu / 2 - \epsilon / \mu) - e^\epsilon \Phi(-\mu / 2 - \epsilon / \mu)

    Args:
        mu: The sensitivity in standard deviations of the noise: :math:`\sqrt{T} / \sigma` for T steps; 0 or more.
        delta: Above 0.

    Returns:
        The least epsilon for which :math:`\delta(\epsilon)` is at most delta.

    Example:
        >>> round(gaussian_epsilon(0.5, delta=1e-5), 3)
        1.993

    References:
        Dong, Roth and Su (2022), Gaussian differential privacy, JRSS B, corollary 2.13. https://arxiv.org/abs/1905.02383
    """

    def excess(epsilon: float) -> float:
        log_right = epsilon + scipy.special.log_ndtr(-mu / 2 - epsilon / mu)
        return float(scipy.special.ndtr(mu / 2 - epsilon / mu) - math.exp(log_right) - delta)

    if mu == 0 or excess(0.0) <= 0:
        return 0.0
    highest = mu**2 / 2 + mu * math.sqrt(2 * math.log(1 / delta)) + 1e-9  # where the first term alone is below delta
    return float(scipy.optimize.root_scalar(excess, bracket=(0.0, highest)).root)


def gaussian_mu(epsilon: int | float, *, delta: int | float) -> float:
    """Returns the mu of the Gaussian mechanism with this epsilon at delta, the inverse of `gaussian_epsilon`.

    Args:
        epsilon: Above 0 and at most 100.
        delta: Above 0.

    Returns:
        The value.

    Example:
        >>> round(gaussian_mu(gaussian_epsilon(0.5, delta=1e-5), delta=1e-5), 6)
        0.5
    """
    found = scipy.optimize.root_scalar(lambda mu: gaussian_epsilon(mu, delta=delta) - epsilon, bracket=(1e-6, 100.0))
    return float(found.root)


def fewest_runs(*, delta: int | float, confidence: int | float = 0.95) -> int:
    """Returns the least number of runs with, and without, a canary from which `many_runs` can give a bound above 0.

    Args:
        delta: As in `many_runs`.
        confidence: As in `many_runs`.

    Returns:
        The number of runs of each kind, of which half are held out.

    Example:
        >>> fewest_runs(delta=1e-5)
        12
    """
    return next(n for n in range(2, 10_000, 2) if largest_bound(n, delta=delta, confidence=confidence) > 0)


def largest_bound(
    n_runs: int, *, delta: int | float, is_gaussian: bool = False, confidence: int | float = 0.95
) -> float:
    """Returns the bound from an attack that makes no error: no attack on this number of runs shows more.

    Args:
        n_runs: Number of runs with, and without, the canary.
        delta: As in `many_runs`.
        is_gaussian: As in `many_runs`.
        confidence: As in `many_runs`.

    Returns:
        Epsilon.

    Example:
        >>> round(largest_bound(500, delta=1e-5), 2)
        4.21
    """
    rate = float(upper_rate(0, n_runs // 2, confidence=1 - (1 - confidence) / 2))
    return gaussian_epsilon(float(_mu(rate, rate)), delta=delta) if is_gaussian else float(_epsilon(rate, rate, delta))


def one_run(
    scores: Float[np.ndarray, " canaries"],
    included: Bool[np.ndarray, " canaries"],
    *,
    n_guesses: int,
    delta: int | float,
    confidence: int | float = 0.95,
) -> OneRun:
    r"""Returns the lower bound of epsilon from one run in which each canary was included by a fair coin.

    The highest ``n_guesses / 2`` scores are guessed to be included and the lowest to be left out; the auditor abstains on the
    others. Under :math:`(\epsilon, \delta)` privacy, the number of correct guesses exceeds that of a binomial variable B
    with probability :math:`e^\epsilon / (1 + e^\epsilon)` hardly ever:

    .. math:: P(\ge v) \le P(B \ge v) + 2 m \delta \max_{1 \le i \le v} \frac{P(v > B \ge v - i)}{i}

    Args:
        scores: Of the m canaries, higher for stronger evidence that it was included.
        included: Which of them were.
        n_guesses: Number of guesses, 1 to m, fixed before the run.
        delta: The :math:`\delta` of the guarantee.
        confidence: Of the bound.

    Returns:
        The bound, 0 or more, and the guesses.

    Raises:
        ValueError: If a score is not finite, or ``n_guesses`` is out of range.

    Example:
        >>> included = np.arange(100) % 2 == 0
        >>> found = one_run(included.astype(float), included, n_guesses=100, delta=1e-5)
        >>> found.n_correct, round(found.epsilon, 2)
        (100, 3.49)

    References:
        Steinke, Nasr and Jagielski (2023), Privacy auditing with one (1) training run, NeurIPS, theorem 5.2 and algorithm 1.
        https://arxiv.org/abs/2305.08846
    """
    m = len(scores)
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite, got one that is not. The run has diverged: lower its learning rate.")
    if not 1 <= n_guesses <= m:
        raise ValueError(f"n_guesses must be between 1 and {m}, the number of canaries, got {n_guesses}. Pass {m}.")
    order = np.argsort(scores, kind="stable")
    n_low = n_guesses // 2
    n_correct = int((~included[order[:n_low]]).sum() + included[order[m - (n_guesses - n_low) :]].sum())

    def excess(epsilon: float) -> float:
        return _chance(n_correct, n_guesses, m, epsilon, delta) - (1 - confidence)

    if excess(0.0) >= 0:
        return OneRun(0.0, n_correct, n_guesses, m)
    bound = float(scipy.optimize.root_scalar(excess, bracket=(0.0, _LARGEST_EPSILON)).root)
    return OneRun(bound, n_correct, n_guesses, m)


def _chance(n_correct: int, n_guesses: int, n_canaries: int, epsilon: float, delta: int | float) -> float:
    """Returns the largest probability of at least so many correct guesses, under differential privacy."""
    i = np.arange(n_correct + 1)
    tails = scipy.special.betainc(
        n_correct - i[:-1], n_guesses - n_correct + i[:-1] + 1.0, scipy.special.expit(epsilon)
    )
    tails = np.append(tails, 1.0)  # P(B >= v - i)
    steepest = float(((tails[1:] - tails[0]) / i[1:]).max(initial=0.0))
    return min(float(tails[0]) + 2 * n_canaries * delta * steepest, 1.0)

"""The picture of an audit: what an attack achieves, against what the claim allows."""

import io

import numpy as np

from jaxresearch.privacy import audit
from jaxresearch.privacy.audit import ManyRuns

_LOWEST = 1e-3  # rate of false positives at the left end, or lower where the claim begins to bend


def roc(
    with_canary: np.ndarray,
    without: np.ndarray,
    found: ManyRuns,
    *,
    epsilon: int | float,
    delta: int | float,
    is_gaussian: bool,
) -> bytes:
    """Returns a PNG of true against false positives: the attack, its proven point, and the region that the claim rules out.

    Args:
        with_canary: Scores of the held-out runs with the canary, in the column of the attack.
        without: Those of the runs without it.
        found: The bound.
        epsilon: As claimed.
        delta: As claimed.
        is_gaussian: Whether the claim has the trade-off curve of a Gaussian mechanism.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lowest = min(_LOWEST, float(np.exp(-epsilon)) / 3)
    rates = np.geomspace(lowest, 1, 400)
    figure, panel = plt.subplots(figsize=(6, 4.5), layout="constrained")
    allowed = most_true_positives(rates, epsilon=epsilon, delta=delta)
    panel.fill_between(rates, allowed, 1, color="#c9403a", alpha=0.15, linewidth=0)
    panel.plot(rates, allowed, color="#c9403a", label=f"claim: epsilon {epsilon:.3g}, delta {delta:g}; excluded above")
    if is_gaussian:
        curve = most_true_positives(rates, mu=audit.gaussian_mu(epsilon, delta=delta))
        panel.plot(rates, curve, color="#c9403a", linestyle="--", label="claim: Gaussian mechanism; excluded above")
    panel.plot(rates, rates, color="0.5", linewidth=0.8, linestyle=":", label="a blind guess")
    estimate = f"attack on held-out runs, {len(with_canary)} with and {len(without)} without: an estimate"
    thresholds = np.unique(np.concatenate([with_canary, without]))
    x = [np.mean(without >= threshold) for threshold in thresholds]
    y = [np.mean(with_canary >= threshold) for threshold in thresholds]
    panel.step([*x[::-1], 1], [*y[::-1], 1], where="post", color="#2f7fd6", label=estimate)
    low, high = found.false_positive_rate, 1 - found.false_negative_rate
    panel.plot(low, high, "o", color="black", label=f"proven: epsilon of at least {found.epsilon:.3g}")
    panel.set_xscale("log")
    panel.set_xlim(lowest, 1)
    panel.set_ylim(0, 1.02)
    panel.set_xlabel("false positives: runs without the canary that are taken for runs with it")
    panel.set_ylabel("true positives")
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="lower right")
    content = io.BytesIO()
    figure.savefig(content, dpi=120, format="png")
    plt.close(figure)
    return content.getvalue()


def most_true_positives(
    rates: np.ndarray, *, epsilon: float | int = 0, delta: int | float = 0, mu: float | None = None
) -> np.ndarray:
    """Returns the largest rate of true positives that a guarantee allows at each rate of false positives.

    Args:
        rates: Of false positives.
        epsilon: Of the guarantee.
        delta: Of the guarantee.
        mu: Of a Gaussian mechanism, in place of both.
    """
    from scipy.special import ndtr, ndtri

    if mu is not None:
        return ndtr(ndtri(rates) + mu)
    return np.minimum(np.minimum(np.exp(epsilon) * rates + delta, 1 - np.exp(-epsilon) * (1 - delta - rates)), 1)

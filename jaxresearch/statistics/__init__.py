"""Statistics over seeds and examples: metrics are reported with intervals, and an interval decides a claim.

A metric of a trained model varies with the seed and with the test examples. The name of an interval states which of them it
accounts for:

=====================  ==================================================  ============================
over                   sources of variation                                method
=====================  ==================================================  ============================
seeds                  seeds, on fixed test examples                       Student's t
examples               test examples, for a single seed                    influences
seeds and examples     both                                                two-way analysis of variance
folds, splits          training examples, test examples and seeds          Nadeau and Bengio
=====================  ==================================================  ============================

The *influence* of example j on a metric is the derivative of the metric in the example's weight, times the number of examples:
for a mean, the example's value minus the mean. Value plus influence turns any smooth metric into a mean over examples.

All functions compute on the host in float64, entry by entry for metrics with axes. Non-finite values (diverged runs) are
never dropped: they make means, intervals and differences nan, and leave a claim undecided.
"""

from jaxresearch.statistics.averages import (
    bootstrap_interval,
    estimate_texts,
    interquartile_mean,
    mean,
    number_text,
    p_text,
    shortest,
    standard_deviation,
    t_interval,
)
from jaxresearch.statistics.claims import (
    FEWEST_SEEDS,
    About,
    Claim,
    Verdict,
    decided_by,
    kinds,
    over_text,
    summary,
    verdict,
)
from jaxresearch.statistics.differences import Difference, difference, holm, noise_floor
from jaxresearch.statistics.intervals import Error, Over, Runs, error, interval

__all__ = [
    "FEWEST_SEEDS",
    "About",
    "Claim",
    "Difference",
    "Error",
    "Over",
    "Runs",
    "Verdict",
    "bootstrap_interval",
    "decided_by",
    "difference",
    "error",
    "estimate_texts",
    "holm",
    "interquartile_mean",
    "interval",
    "kinds",
    "mean",
    "noise_floor",
    "number_text",
    "over_text",
    "p_text",
    "shortest",
    "standard_deviation",
    "summary",
    "t_interval",
    "verdict",
]

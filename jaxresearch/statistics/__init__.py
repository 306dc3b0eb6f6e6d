"""Numbers about seeds and examples: a metric is reported with its intervals, and one of them decides a claim.

A metric of a trained model varies with the seed, and with the examples it is measured on. Which of the two an interval speaks
of is part of its name:

=====================  =====================================================================  ==========================
over                   what would be drawn anew                                               by
=====================  =====================================================================  ==========================
seeds                  seeds; the test examples stay these                                    Student's t
examples               examples; there is a single seed                                       influences
seeds and examples     both                                                                   two-way analysis of variance
folds, splits          training and test examples, and seeds                                  Nadeau and Bengio
=====================  =====================================================================  ==========================

The *influence* of example j on a metric is how fast the metric changes with the weight of the example, times the number of
examples: of a mean, the example's value less the mean. Value plus influence makes any smooth metric a mean over examples.

All functions compute on the host in float64, for scalars and, entry by entry, for metrics of any shape. A value that is not
finite (a run that diverged) is never dropped: it makes means, intervals and differences nan, and leaves a claim undecided.
"""

from jaxresearch.statistics.averages import (
    bootstrap_interval,
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

"""The research loop: question, collect, preprocess, train, evaluate, report, adjust, and back, until a claim is decided.

While it adjusts, a study sees only training and selection data. The best of many settings owes part of its lead to luck, so it is
kept only if it beats the baseline again, with seeds not used to choose it. Then the kept settings are retrained on all
training data with fresh seeds, and the test part is read once; that decides the claim. Settings are compared by the claim's
metric, or without a claim by the metric to ``maximise`` or ``minimise``, and then no claim is decided.
"""

from jaxresearch.studies.comparison import Comparison, against_baseline, is_more_than_noise
from jaxresearch.studies.conclusion import conclude, confirm, gain, study
from jaxresearch.studies.plan import Budget, Conclusion, Looks, Search, objective_of
from jaxresearch.studies.rounds import best_of, score, search

__all__ = [
    "Budget",
    "Comparison",
    "Conclusion",
    "Looks",
    "Search",
    "against_baseline",
    "best_of",
    "conclude",
    "confirm",
    "gain",
    "is_more_than_noise",
    "objective_of",
    "score",
    "search",
    "study",
]

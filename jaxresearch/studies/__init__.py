"""The research loop: question, collect, preprocess, train, evaluate, report, adjust, and back, until the claim is decided.

While it adjusts, a study sees training and validation data alone. The best of many settings looks better than it is, so it is
kept only if it beats the plain one again, with seeds that chose nothing. The test part is read once, after that, by the setting
that was kept, trained anew on all training data with fresh seeds; that decides the claim.
"""

from jaxresearch.studies.comparison import Comparison, against_plain, is_more_than_noise
from jaxresearch.studies.conclusion import conclude, confirm, gain, study
from jaxresearch.studies.plan import Budget, Conclusion, Looks, Search
from jaxresearch.studies.rounds import best_of, score, search

__all__ = [
    "Budget",
    "Comparison",
    "Conclusion",
    "Looks",
    "Search",
    "against_plain",
    "best_of",
    "conclude",
    "confirm",
    "gain",
    "is_more_than_noise",
    "score",
    "search",
    "study",
]

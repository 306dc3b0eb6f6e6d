"""Search strategies for hyperparameter studies: each is a function from the history of a study to a proposal."""

from jaxresearch.adjust.descent import descend
from jaxresearch.adjust.history import Adjust, History, Proposal, Round, Trial
from jaxresearch.adjust.optuna import tpe
from jaxresearch.adjust.strategies import combinations, grid, halving, random, replaced

__all__ = [
    "Adjust",
    "History",
    "Proposal",
    "Round",
    "Trial",
    "combinations",
    "descend",
    "grid",
    "halving",
    "random",
    "replaced",
    "tpe",
]

r"""Hypergradients: the derivative of a run's validation loss with respect to its hyperparameters.

All are made from a `Unroll` and have one signature, so that they exchange::

    (key, hyperparameters, train, validation) -> (validation loss, gradient)

where ``gradient`` has the structure of the hyperparameters.

===============  ================================================  ==================  ===============================
made by          what it differentiates                            memory              cost, in runs, of m numbers
===============  ================================================  ==================  ===============================
`forward`        the whole run, exactly                            constant in steps   1 + m
`reverse`        the whole run, exactly                            root of the steps   about 4, whatever m
`truncated`      the last steps alone                              root of these       1 + 4 of these steps
`implicit`       an optimum, wherever the run started              constant in steps   1, and the solver's products
`evolution`      a smoothed run, from values alone                 constant in steps   2 a pair of draws
===============  ================================================  ==================  ===============================
"""

from jaxresearch.hypergradients.approximate import TrainingLoss, evolution, implicit
from jaxresearch.hypergradients.exact import forward, reverse, truncated
from jaxresearch.hypergradients.unroll import Hypergradient, Unroll, unroll_of

__all__ = [
    "Hypergradient",
    "TrainingLoss",
    "Unroll",
    "evolution",
    "forward",
    "implicit",
    "reverse",
    "truncated",
    "unroll_of",
]

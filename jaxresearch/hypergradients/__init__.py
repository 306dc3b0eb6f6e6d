r"""Hypergradients: the derivative of a run's validation loss with respect to its hyperparameters.

All are built from an `Unroll` and have the same signature, so they are interchangeable::

    (key, hyperparameters, train, validation) -> (validation loss, gradient)

where ``gradient`` has the structure of the hyperparameters.

===============  ====================================  =======================  ====================================
method           differentiates                        memory for T steps       cost in runs, for m hyperparameters
===============  ====================================  =======================  ====================================
`forward`        the whole run, exactly                constant                 1 + m
`reverse`        the whole run, exactly                root of T                about 4, for any m
`truncated`      the last K steps                      root of K                1, plus 4 for the K steps
`implicit`       an optimum                            constant                 1, plus the solver's products
`tracin`         each step, apart from later ones      constant                 1, plus 3 epochs per checkpoint
`evolution`      a smoothed run, from values only      constant                 2 per pair of draws
===============  ====================================  =======================  ====================================
"""

from jaxresearch.hypergradients.approximate import TrainingLoss, evolution, implicit, tracin
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
    "tracin",
    "truncated",
    "unroll_of",
]

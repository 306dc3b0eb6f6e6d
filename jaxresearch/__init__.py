"""A functional research toolkit for JAX: an experiment is a pure function, everything else a transformation of it.

Import the modules you need, ``from jaxresearch import data, losses, models, training``; importing the package alone
loads nothing, so that the command line answers at once.
"""

__version__ = "0.1.0"

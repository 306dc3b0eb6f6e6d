"""Differential privacy: one mechanism that the sampler, the noise and the accountant share.

::

    mechanism = privacy.for_epsilon(epsilon=3, delta=1e-5, clip=1, n_examples=60_000, batch_size=600, n_steps=1_000)
    experiment = privacy.private_experiment(experiment, lambda plan, n_examples: mechanism)
"""

from jaxresearch.privacy.accounting import LARGEST_EPSILON, Epsilon, epsilon, for_epsilon, joint_epsilon, statement
from jaxresearch.privacy.estimator import clipped_sum, private
from jaxresearch.privacy.experiments import private_experiment
from jaxresearch.privacy.mechanism import Mechanism, Unit
from jaxresearch.privacy.units import by_unit

__all__ = [
    "LARGEST_EPSILON",
    "Epsilon",
    "Mechanism",
    "Unit",
    "by_unit",
    "clipped_sum",
    "epsilon",
    "for_epsilon",
    "joint_epsilon",
    "private",
    "private_experiment",
    "statement",
]

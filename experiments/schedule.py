"""Does a learning-rate schedule learned by its own gradient beat the best constant rate of a grid?

    jaxresearch study schedule --rounds 8                                       learns the schedule, half a minute per step
    jaxresearch sweep schedule --learning-rate 1e-4:1e-2:log:20 --seeds 4       the constant rates it has to beat

The network, the data and the five epochs of mnist. The rate follows a line through five knots, equally spaced in time, and
starts as the best constant of the grid above. A study follows the derivative of the loss on selection data with respect to the
knots, through all 8,435 steps of Adam; at the end it compares the schedule with the constant on fresh seeds, paired.
"""

import dataclasses
from pathlib import Path

from jaxresearch import adjust, schedules
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.loading import load
from jaxresearch.statistics import Claim


@hyperparameters
class Schedule:
    """The best constant rate of the grid, on selection data."""

    learning_rate: float = swept(1.12884e-3, "step size of Adam where a knot is 1", above=0)
    knots: tuple[float, ...] = swept(
        (1.0, 1.0, 1.0, 1.0, 1.0), "the rate over time, in units of the step size", above=0
    )
    batch_size: int = static(32, "examples per step", at_least=1)
    epochs: int = static(5, "passes over the training data", at_least=1)
    hidden: tuple[int, ...] = static((128,), "width of each hidden layer", at_least=1)
    dropout_rate: float = static(0.0, "fraction of hidden units dropped in training", at_least=0, at_most=0.99)

    def rate(self, n_steps):
        """Returns the step size as a function of the step, for the algorithm of mnist."""
        return schedules.piecewise_linear(self.learning_rate, self.knots, n_steps)


experiment = dataclasses.replace(
    load("mnist", directory=Path(__file__).parent),
    question="Does a learning-rate schedule learned by its own gradient beat the best constant rate of a grid?",
    claim=Claim(
        text="a learned schedule reaches a log loss below 0.075",
        metric="test/log_loss",
        about="new examples",
        at_most=0.075,
    ),
    hyperparameters=Schedule(),
    adjust=adjust.descend("knots", metric="log_loss"),
)

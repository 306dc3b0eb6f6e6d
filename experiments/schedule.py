"""Does a learning-rate schedule learnt by its own gradient beat the best constant rate of a grid?

    jaxresearch study schedule --rounds 8                                       learns the schedule, half a minute a step
    jaxresearch sweep schedule --learning-rate 1e-4:1e-2:log:20 --seeds 4       the constant rates it has to beat

The network, the data and the five epochs of mnist. The rate is a line through five knots, equally far apart in time, and
starts as the best constant of the grid above. A study follows the derivative of the validation loss with respect to the
knots, through all 8,435 steps of Adam; at the end it is compared with the constant on fresh seeds, in pairs.
"""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import optax

from jaxresearch import adjust
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.loading import load
from jaxresearch.statistics import Claim


@hyperparameters
class Schedule:
    """The best constant rate of the grid, on validation data."""

    learning_rate: float = swept(1.12884e-3, "step size of Adam where a knot is 1", above=0)
    knots: tuple[float, ...] = swept(
        (1.0, 1.0, 1.0, 1.0, 1.0), "the rate over time, in units of the step size", above=0
    )
    batch_size: int = static(32, "examples a step", at_least=1)
    epochs: int = static(5, "passes over the training data", at_least=1)
    hidden: tuple[int, ...] = static((128,), "width of each hidden layer", at_least=1)
    dropout_rate: float = static(0.0, "share of hidden units left out in training", at_least=0, at_most=0.99)


def optimizer(hyperparameters, n_steps):
    """Returns Adam, its rate on straight lines through the knots."""
    knots = jnp.stack(hyperparameters.knots)
    times = jnp.linspace(0.0, n_steps, len(hyperparameters.knots))
    return optax.adam(lambda count: hyperparameters.learning_rate * jnp.interp(count, times, knots), eps_root=1e-24)


experiment = dataclasses.replace(
    load("mnist", directory=Path(__file__).parent),
    question="Does a learning-rate schedule learnt by its own gradient beat the best constant rate of a grid?",
    claim=Claim(text="a learnt schedule comes below a log loss of 0.075", metric="test/log_loss", at_most=0.075),
    hyperparameters=Schedule(),
    optimizer=optimizer,
    adjust=adjust.descend("knots", metric="log_loss"),
)

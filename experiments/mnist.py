"""Does a 784-128-10 network reach 98.04 % on MNIST in five epochs of Adam?

    jaxresearch run mnist --seeds 10                                              the settings of the source
    jaxresearch run mnist --seeds 10 --schedule linear --learning-rate 2e-3      a falling rate

Two CPU cores, under a minute. Expect a mean test accuracy near 97.6 % with the plain settings, which refutes the
claim, and above 98.0 % with the falling rate. Any classification data of images or tables goes through the same file:
`--data tfds:fashion_mnist`, `--data my.npz`, `--data my.csv --target column`, `--data folder_of_idx_files`.
"""

from typing import Literal

import optax

from jaxresearch import adjust, losses, metrics, models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class Mnist:
    """The plain settings of the source."""

    learning_rate: float = swept(1e-3, "step size of Adam, at its peak", above=0)
    schedule: Literal["constant", "linear"] = static("constant", "the rate stays, or falls to zero over the run")
    batch_size: int = static(32, "examples a step", at_least=1)
    epochs: int = static(5, "passes over the training data", at_least=1)
    hidden: tuple[int, ...] = static((128,), "width of each hidden layer", at_least=1)
    dropout_rate: float = static(0.0, "share of hidden units left out in training", at_least=0, at_most=0.99)


def model(hyperparameters, card):
    """Returns the network for these features and classes."""
    h = hyperparameters
    return models.mlp(card.n_features, h.hidden, card.n_classes, dropout_rate=h.dropout_rate)


def loss_fn(model, hyperparameters):
    """Returns the mean cross entropy, in nats, and the accuracy of each batch."""
    loss = losses.softmax_cross_entropy_with_integer_labels
    return training.supervised(model, loss, metrics={"accuracy": metrics.accuracy()})


def optimizer(hyperparameters, n_steps):
    """Returns Adam; the schedule is a unit shape times the rate, so that the rate can be swept and differentiated."""
    unit = {"constant": optax.constant_schedule(1.0), "linear": optax.linear_schedule(1.0, 0.0, n_steps)}
    # eps_root: the derivative of sqrt(v) at v = 0 (pixels that are always black) would be nan; far below eps = 1e-8.
    return optax.adam(
        lambda count: hyperparameters.learning_rate * unit[hyperparameters.schedule](count), eps_root=1e-24
    )


def evaluation(card):
    """Returns the figures of the test data."""
    return {
        "accuracy": metrics.accuracy(),
        "macro_f1": metrics.f1(average="macro"),
        "macro_recall": metrics.recall(average="macro"),
        "log_loss": metrics.log_loss(),
    }


experiment = Experiment(
    question="Does a 784-128-10 network reach 98.04 % test accuracy on MNIST in five epochs of Adam?",
    claim=Claim(text="98.04 % test accuracy", metric="test/accuracy", at_least=0.9804),
    hyperparameters=Mnist(),
    source="mnist",
    model=model,
    loss_fn=loss_fn,
    optimizer=optimizer,
    metrics=evaluation,
    adjust=adjust.grid(learning_rate=[5e-4, 1e-3, 2e-3, 3e-3, 4e-3, 6e-3], schedule=["constant", "linear"]),
)

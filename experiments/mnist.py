"""Does a 784-128-10 network reach 98.04 % on MNIST in five epochs of Adam?

    jaxresearch run mnist --seeds 10                                             the settings of the source
    jaxresearch run mnist --seeds 10 --schedule linear --learning-rate 2e-3      a falling rate

Two CPU cores, under a minute. Expect a mean test accuracy near 97.6 % with the default settings, which refutes the
claim, and above 98.0 % with the falling rate. Any classification data of images or tables goes through the same file:
`--data tfds:fashion_mnist`, `--data my.npz`, `--data my.csv --target column`, `--data folder_of_idx_files`.
"""

from typing import Literal

import optax

from jaxresearch import adjust, losses, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class Mnist:
    """The default settings, those of the source."""

    learning_rate: float = swept(1e-3, "peak step size of Adam", above=0)
    schedule: Literal["constant", "linear"] = static("constant", "the rate stays, or falls to zero over the run")
    batch_size: int = static(32, "examples per step", at_least=1)
    epochs: int = static(5, "passes over the training data", at_least=1)
    hidden: tuple[int, ...] = static((128,), "width of each hidden layer", at_least=1)
    dropout_rate: float = static(0.0, "fraction of hidden units dropped in training", at_least=0, at_most=0.99)

    def rate(self, n_steps):
        """Returns the step size as a function of the step."""
        return schedules.named(self.schedule, self.learning_rate, n_steps)


def algorithm(h, card, plan, fitted):
    """Returns dense layers trained by Adam to classify."""
    return training.supervised(
        models.mlp(card.n_features, h.hidden, card.n_classes, dropout_rate=h.dropout_rate),
        losses.softmax_cross_entropy_with_integer_labels,
        # eps_root: without it, sqrt(v) has the derivative nan at v = 0 (pixels always black); it is far below eps = 1e-8.
        optimizer=optax.adam(h.rate(plan.n_steps), eps_root=1e-24),
        metrics=metrics.classification(card),
        train_metrics={"accuracy": metrics.accuracy()},
        estimator=plan.estimator,
    )


experiment = Experiment(
    question="Does a 784-128-10 network reach 98.04 % test accuracy on MNIST in five epochs of Adam?",
    claim=Claim(text="98.04 % test accuracy", metric="test/accuracy", about="these examples", at_least=0.9804),
    hyperparameters=Mnist(),
    source="mnist",
    task="classification",
    algorithm=algorithm,
    adjust=adjust.grid(learning_rate=[5e-4, 1e-3, 2e-3, 3e-3, 4e-3, 6e-3], schedule=["constant", "linear"]),
)

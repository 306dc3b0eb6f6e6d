"""How well does a small network predict one column of a table from the others?

    jaxresearch run FILE                                            five seeds on two CPU cores: seconds
    jaxresearch run FILE --data my.csv --target COLUMN              your own table
    jaxresearch sweep FILE --learning-rate 1e-4:1e-1:log:8          compare settings on selection data
    jaxresearch study FILE                                          find the best settings, and their gain on the test part

As it stands, the file predicts the sale prices of a bundled table of houses. Change the lines marked CHANGE for your own table.
"""

import functools

import optax

from jaxresearch import adjust, data, losses, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept


@hyperparameters
class Table:
    """The default settings. Each is an option on the command line: --learning-rate 0.01."""

    learning_rate: float = swept(3e-3, "peak step size of Adam; falls to zero", above=0)
    batch_size: int = static(64, "examples per step", at_least=1)
    epochs: int = static(20, "passes over the training data", at_least=1)
    hidden: tuple[int, ...] = static(
        (64,), "width of each hidden layer; a bare --hidden for a linear model", at_least=1
    )
    # For dropout, uncomment this line and pass dropout_rate=h.dropout_rate to both calls of models.mlp:
    # dropout_rate: float = static(0.0, "fraction of hidden units dropped", at_least=0, below=1)


def algorithm(h, card, plan, fitted):
    """Returns dense layers, trained to classify if the target has classes, else to predict a value."""
    n_outputs = card.n_classes if card.class_names else 1
    optimizer = optax.adam(schedules.named("linear", h.learning_rate, plan.n_steps))
    if card.class_names:
        return training.supervised(
            models.mlp(card.n_features, h.hidden, n_outputs),
            losses.softmax_cross_entropy_with_integer_labels,
            optimizer=optimizer,
            metrics=metrics.classification(card),
            estimator=plan.estimator,
        )
    return training.supervised(
        models.mlp(card.n_features, h.hidden, n_outputs),
        losses.squared_error,  # losses.huber_loss is less sensitive to outliers
        optimizer=optimizer,
        metrics={"r2": metrics.r2(), "mean_absolute_error": metrics.mean_absolute_error()},
        estimator=plan.estimator,
        invert=functools.partial(data.standard.invert, fitted),  # metrics are in the target's own units
    )


experiment = Experiment(
    question="How well does a small network predict sale prices of houses?",  # CHANGE
    source="ames",  # CHANGE: "my.csv" (or .tsv, .xlsx, .parquet); a fifth of the rows is held out as the test part
    target=None,  # CHANGE: "price", the column to predict; the bundled table of houses knows its own
    # types={"id": "drop", "zip": "category"},  # what columns are, where they would be read as something else
    # task="classification",  # if whole numbers in the target are classes, not values
    hyperparameters=Table(),
    algorithm=algorithm,
    maximise=lambda card: "accuracy" if card.class_names else "r2",  # how sweeps and studies compare, on selection data
    adjust=adjust.grid(learning_rate=[1e-3, 3e-3, 1e-2]),  # what a study tries
    # Once you know what you want to show, replace maximise by a claim; at least five seeds are needed to decide it:
    #     from jaxresearch.statistics import Claim
    #     claim=Claim(text="R2 of 0.8", metric="test/r2", about="new examples", at_least=0.8),
)

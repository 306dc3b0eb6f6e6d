"""How well does a small recurrent network forecast a time series?

    jaxresearch run FILE                                            five seeds on two CPU cores: seconds
    jaxresearch run FILE --data my.txt                              your own series, one number per line

The last tenth of the series is the test part. As it stands, the file forecasts a noisy season, drawn at random. Change the lines
marked CHANGE for your own series.
"""

import functools

import numpy as np
import optax

from jaxresearch import adjust, data, losses, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept

WINDOW = 48  # CHANGE: values that the network sees before the one it forecasts
GENERATED = "a noisy season"  # CHANGE: "my.txt"


@hyperparameters
class Sequences:
    """The default settings. Each is an option on the command line: --learning-rate 0.01."""

    learning_rate: float = swept(5e-3, "peak step size of Adam; falls to zero", above=0)
    batch_size: int = static(64, "windows per step", at_least=1)
    epochs: int = static(5, "passes over the training data", at_least=1)
    width: int = static(16, "size of the network's memory", at_least=1)


def series_of(source):
    """Returns the values of a series in order of time."""
    if source != GENERATED:
        return np.loadtxt(source, ndmin=1)
    times = np.arange(3000)
    return np.sin(times / 4) + np.sin(times / 9) + np.random.default_rng(0).normal(0, 0.2, times.size)


def collect(source, *, target=None):
    """Returns windows of the series, each with the value that follows; training and test windows do not overlap."""
    windows = np.lib.stride_tricks.sliding_window_view(series_of(source), WINDOW + 1)
    whole = {"inputs": windows[:, :-1].copy(), "targets": windows[:, -1:].copy()}
    train, test = data.split(whole, fraction=0.1, seed=0, by="stretch", gap=WINDOW)
    rule = data.Split(by="stretch", fraction=0.1)
    card = data.DataCard(name="series", source=source, feature_shape=(WINDOW,), gap=WINDOW, split=rule)
    return data.Dataset(train, test, None, card)


def algorithm(h, card, plan, fitted):
    """Returns a recurrent network, trained by Adam to forecast the next value."""
    return training.supervised(
        models.rnn(1, (h.width,), 1, per_step=False),
        losses.squared_error,
        optimizer=optax.adam(schedules.named("linear", h.learning_rate, plan.n_steps)),
        metrics={"r2": metrics.r2(), "mean_absolute_error": metrics.mean_absolute_error()},
        estimator=plan.estimator,
        invert=functools.partial(data.standard.invert, fitted),  # metrics are in the units of the series
    )


experiment = Experiment(
    question="How well does a small recurrent network forecast a noisy season?",  # CHANGE
    source=GENERATED,
    collect=collect,
    hyperparameters=Sequences(),
    algorithm=algorithm,
    minimise="mean_absolute_error",  # how sweeps and studies compare settings, on selection data
    adjust=adjust.grid(learning_rate=[2e-3, 5e-3, 1e-2]),  # what a study tries
    # Once you know what you want to show, replace minimise by a claim; at least five seeds are needed to decide it:
    #     from jaxresearch.statistics import Claim
    #     claim=Claim(text="R2 of 0.9", metric="test/r2", about="new examples", at_least=0.9),
)

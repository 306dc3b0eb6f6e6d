"""Does a recurrent network forecast the volatility of the S&P 500 better than GARCH(1,1)? Does it know the direction?

    jaxresearch run market                                      trained on 1999 to January 2013, tested on the days up to 2018
    jaxresearch run market --data us_indices:all --seeds 1      GARCH(1,1) of all 5,030 days, to compare with published fits
    jaxresearch run market --data my.csv --target close         daily prices of your own, with a column date

Two minutes on two CPU cores. GARCH(1,1) and gated recurrent units forecast the mean and the variance of the next day's return;
both maximise the likelihood of the training part. `gain` is the difference of their log-likelihoods per day. Days depend on their
neighbours, so examples count by stretches of 60 days. `direction` is how often the sign of the network's mean is right. Expect a
gain of 0.0287 nats (0.0138 to 0.0436), and no direction: 0.508 (0.489 to 0.526).
"""

import functools

import jax.numpy as jnp
import numpy as np
import optax

from jaxresearch import data, losses, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import finance
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

DAYS, CONTEXT = 10, 100  # days of a block, and days before it
MEASURED = ("gain", "network", "garch", "direction", "direction_gain")


@hyperparameters
class Market:
    """Chosen by the likelihood of the last fifth of the training part, with three seeds."""

    learning_rate: float = swept(0.05, "peak step size of Adam, which falls linearly to zero", above=0)
    network_rate: float = swept(0.06, "step size of the network, relative to that of GARCH", at_least=0)
    batch_size: int = static(0, "blocks of ten days per step; 0: all of them, as maximum likelihood asks", at_least=0)
    epochs: int = static(200, "passes over the training data", at_least=1)
    width: int = static(16, "recurrent units", at_least=1)


def collect(source, *, target=None):
    """Returns blocks of days, the last 30 % of them in the test part; or all of them in both parts, to describe them."""
    dataset = finance.load_returns(source.removesuffix(":all"), column=target, length=DAYS, context=CONTEXT)
    return data.in_sample(dataset) if source.endswith(":all") else dataset


def fit(train, card):
    """Returns the variance before the first day, and the standard deviation of all returns."""
    returns = train["targets"].ravel()
    return {"start": np.asarray(finance.backcast(returns)), "scale": np.asarray(returns.std())}


def algorithm(h, card, plan, fitted):
    """Returns both models, trained side by side: they share no parameter, so neither changes the other."""
    garch, network = finance.garch(start=fitted["start"], padding=finance.PADDING), recurrent(h.width, fitted["scale"])

    def init(key):
        return {"garch": garch.init(key)[0], "network": network.init(key)[0]}, {}

    def apply(params, model_state, inputs, key=None):
        forecasts = (garch.apply(params["garch"], {}, inputs)[0], network.apply(params["network"], {}, inputs)[0])
        return jnp.stack(forecasts, axis=2)[:, -DAYS:], model_state  # (blocks, days, models, mean and log variance)

    adam = optax.adam(schedules.named("linear", h.learning_rate, plan.n_steps))
    return training.supervised(
        models.Model(init, apply),
        lambda outputs, targets: -of_day("network", outputs, targets) - of_day("garch", outputs, targets),
        optimizer=optax.chain(adam, schedules.scale_body(h.network_rate, head="garch")),
        metrics={name: metrics.mean_of(functools.partial(of_day, name)) for name in MEASURED},
        estimator=plan.estimator,
    )


def recurrent(width, scale):
    """Returns the network: it reads each return and its size, in standard deviations, on a scale that tames crashes."""
    units = models.rnn(2, (width,), 2, padding=finance.PADDING)

    def apply(params, inputs):
        size = jnp.log1p(jnp.abs(inputs) / scale)
        read = jnp.stack([jnp.sign(inputs) * size, size], axis=-1)
        read = jnp.where(inputs[..., None] == finance.PADDING, finance.PADDING, read)
        return units.apply(params, {}, read)[0] + jnp.stack([0.0, 2 * jnp.log(scale)])[None, None]

    return models.function(lambda key: units.init(key)[0], apply)


def of_day(name, outputs, targets):
    """Returns what is measured of each day: log-likelihoods in nats, and whether the network's mean has the right sign."""
    garch, network = (-losses.normal_negative_log_likelihood(outputs[:, :, place], targets) for place in (0, 1))
    is_right = 1.0 * ((outputs[:, :, 1, :1] > 0) == (targets > 0))  # a day without change counts as a fall
    return {
        "gain": network - garch,
        "network": network,
        "garch": garch,
        "direction": is_right,
        "direction_gain": is_right - (targets > 0),
    }[name]


def report(h, state, collected, dataset):
    """Returns GARCH(1,1) as fitted by the first seed, and its log-likelihood of the training part."""
    one, params = dataset.of_run(0), {name: values[0] for name, values in state.params["garch"].items()}
    garch = finance.garch(start=one.fitted["start"], padding=finance.PADDING)
    forecasts, _ = garch.apply(params, {}, one.train["inputs"])
    nats = losses.normal_negative_log_likelihood(forecasts[:, -DAYS:], jnp.asarray(one.train["targets"]))
    fitted = ", ".join(f"{name} {value:.4f}" for name, value in finance.garch_parameters(params)._asdict().items())
    return f"GARCH(1,1) of {nats.size:,} days: log-likelihood {-np.asarray(nats, np.float64).sum():.2f}, {fitted}"


experiment = Experiment(
    question="Does a recurrent network forecast the volatility of the S&P 500 better than GARCH(1,1)?",
    claim=Claim(text="it gains log-likelihood on GARCH(1,1)", metric="test/gain", about="new examples", at_least=0.0),
    hyperparameters=Market(),
    source="us_indices",
    collect=collect,
    preprocess=data.Preprocessor(fit=fit),
    algorithm=algorithm,
    report=report,
)

"""How fast do pupils learn mathematics, and does a growth curve predict the next score better than the last one?

    jaxresearch run pupil_growth                       a fifth of 1,721 pupils held out, whose last score is predicted
    jaxresearch run pupil_growth --no-schools          without the level of schools
    jaxresearch run pupil_growth --data pupils:all     growth of all pupils, described
    jaxresearch predict DIR new.csv                    the next score of each pupil, and whether to recommend support

Seconds on two CPU cores. The scores of a pupil lie about a line. Lines vary normally about that of the school, and those of
schools about the mean line (Raudenbush and Bryk, 2002, chapter 8). Lines are integrated out: the exact likelihood is maximised
by gradient. `support` is the fraction of test pupils who grow more slowly than the mean with a posterior probability of 97.5 %,
`ahead` of those who grow faster; for the others, it is undecided. `predict` takes rows of `schoolid`, `year` and `score YEAR`. It
writes the score with 95 % limits and `slower`, the probability of slower growth: above 0.975 support is recommended.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxresearch import data, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import education
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class PupilGrowth:
    """Enough steps of Adam to reach the maximum."""

    learning_rate: float = swept(0.05, "peak step size of Adam, which falls linearly to zero", above=0)
    batch_size: int = static(0, "0: all pupils, since those of a school belong together", at_least=0, at_most=0)
    epochs: int = static(500, "steps", at_least=1)
    schools: bool = static(True, "whether lines vary between schools, too")


def collect(source, *, target=None, **reading):
    """Returns a row for each pupil with two scores or more, the last of which is the target."""
    rule = dataclasses.replace(reading.pop("split", None) or data.Split(), by="group", column="childid")
    pupils = education.last_scores(data.load(source.removesuffix(":all"), target=target, split=rule, **reading))
    return data.in_sample(pupils) if source.endswith(":all") else pupils


def algorithm(h, card, plan, fitted):
    """Returns the maximum of the likelihood; it predicts last scores, beside the baselines for the same pupils."""
    years, n_schools = jnp.asarray(fitted["years"], jnp.float32), len(card.columns[0].levels)

    def loss_fn(params, model_state, batch, key):
        inputs = education.with_last_scores(batch["inputs"], batch["targets"], years)
        log_likelihood, schools = education.growth_likelihood(params, inputs, years, n_schools=n_schools)
        return -log_likelihood / jnp.sum(inputs["known"]), ({"growth": params["mean"][1]}, schools)

    def init(key):
        schools = {"precision": jnp.zeros((n_schools, 2, 2)), "shift": jnp.zeros((n_schools, 2)), "all": jnp.eye(2)}
        return education.growth_params(key, schools=h.schools), schools

    def forecast(params, schools, inputs, key=None):
        own = education.growth_forecast(params, schools, inputs, years)
        return jnp.stack([*own, *education.extrapolations(inputs, years, fitted["gain"])], axis=1), schools

    model = models.Model(init, forecast)
    optimizer = optax.adam(schedules.named("linear", h.learning_rate, plan.n_steps))
    fitting = training.gradient_based(model, loss_fn, optimizer=optimizer, metrics=compared(), estimator=plan.estimator)

    def predict(state, inputs):
        score, error, growth, spread = forecast(state.params, state.model_state, inputs)[0].T[:4]
        slower = jax.scipy.stats.norm.cdf(-growth / spread)
        return jnp.stack([score, score - 1.96 * error, score + 1.96 * error, slower], axis=1)

    return fitting._replace(predict=predict)


def compared():
    """Returns the errors of all predictions, how much smaller that of the growth curve is, and what is decided about pupils."""

    def error(place):
        return lambda outputs, targets: jnp.abs(outputs[:, place] - targets[:, 0])

    def gain(place):
        return lambda outputs, targets: error(place)(outputs, targets) - error(0)(outputs, targets)

    # The outputs are the score and its standard deviation, relative growth and its standard deviation, and the baselines.
    functions = {
        "error": error(0),
        "covered": lambda outputs, targets: error(0)(outputs, targets) < 1.96 * outputs[:, 1],
        "support": lambda outputs, targets: outputs[:, 2] < -1.96 * outputs[:, 3],
        "ahead": lambda outputs, targets: outputs[:, 2] > 1.96 * outputs[:, 3],
    }
    for place, name in enumerate(("last_score", "mean_growth", "least_squares"), start=4):
        functions |= {f"error_{name}": error(place), f"gain_over_{name}": gain(place)}
    return {name: metrics.mean_of(fun) for name, fun in functions.items()}


def report(h, state, collected, dataset):
    """Returns the growth in a year with its interval, and how much it varies, by the first seed."""
    growth, error = state.params["mean"][0, 1], np.sqrt(np.linalg.inv(state.model_state["all"][0])[1, 1])
    levels = {name: state.params[name][0] for name in ("pupil", "school") if name in state.params}
    varying = [f"{np.hypot(raw[1], np.exp(raw[2])):.3f} between {name}s" for name, raw in levels.items()]
    interval = f"{growth - 1.96 * error:.3f} to {growth + 1.96 * error:.3f}"
    return f"growth: {growth:.3f} logits a year (95 % interval {interval}); standard deviation {', '.join(varying)}"


experiment = Experiment(
    question="How fast do pupils learn mathematics, and does a growth curve predict the next score better than the last one?",
    claim=Claim(
        text="growth curves predict the next score better than the last score plus the mean growth",
        metric="test/gain_over_mean_growth",
        about="new examples",
        at_least=0.0,
    ),
    hyperparameters=PupilGrowth(),
    source="pupils",
    collect=collect,
    preprocess=education.known_scores,
    algorithm=algorithm,
    report=report,
    outputs=("low", "high", "slower"),
)

"""What does a square foot of living area cost in Ames, Iowa?

    jaxresearch run house_prices                                          the line, all 2,930 sales
    jaxresearch run house_prices --data ames --features all --learning-rate 0.1 --epochs 2000
    jaxresearch sweep house_prices --learning-rate 0.003:1.9:log:8        which step sizes converge in 100 steps
    jaxresearch study house_prices                                        the line, after trying step sizes on held-out sales

Seconds each on two CPU cores. Mean squared error and full-batch gradient descent. Expect
price = 13,289.6 USD + 111.694 USD per square foot (R2 0.4995), the closed form of least squares to six digits, from every
seed; the second command holds out a fifth of the sales and takes all columns, standardised and one-hot.

The source prints the update rule with a slip. With L = (y - theta x)^2 / 2 the gradient is -x (y - theta x), so the step
against it is theta <- theta + alpha x (y - theta x). The printed form, with a minus, climbs the loss and diverges.
"""

import functools

from jaxresearch import adjust, data, losses, metrics, models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class HousePrices:
    """One column, full-batch steps."""

    learning_rate: float = swept(0.5, "step size of gradient descent; inputs and prices are standardised", above=0)
    features: str = static("Gr_Liv_Area", "the column of the line, or all")
    batch_size: int = static(0, "examples per step; 0: all of them, plain gradient descent", at_least=0)
    epochs: int = static(100, "passes over the data", at_least=1)


def collect(source, *, target=None, **reading):
    """Returns the sales; for the line, all of them in both parts, since it describes them and predicts nothing."""
    if source != "ames:all":
        return data.load(source, target=target, **reading)
    if target is not None:
        raise ValueError(f"target must be left out with ames:all, got {target!r}. Its target is the price.")
    return data.in_sample(data.load("ames", **reading))


def algorithm(h, card, plan, fitted):
    """Returns a linear model of one column, or of all, trained by plain gradient descent."""
    if h.features != "all" and (h.features not in card.feature_names or "=" in h.features):
        raise ValueError(f"features must be all or a column of numbers, got {h.features!r}. Choose one of the table's.")
    chosen = slice(None) if h.features == "all" else [card.feature_names.index(h.features)]
    linear = models.linear(card.n_features if h.features == "all" else 1, 1)

    def apply(params, model_state, inputs, key=None):
        return linear.apply(params, model_state, inputs[:, chosen], key)

    return training.supervised(
        models.Model(linear.init, apply),
        losses.half_squared_error,
        optimizer=training.gradient_descent(h.learning_rate),
        metrics={"r2": metrics.r2()},
        estimator=plan.estimator,
        invert=functools.partial(data.standard.invert, fitted),
    )


def report(h, state, collected, dataset):
    """Returns the line of the first seed in USD and square feet, whatever scaling was used inside."""
    of_price = dataset.of_run(0).fitted["targets"]
    y_mean, y_scale = of_price["mean"].item(), of_price["scale"].item()
    if h.features == "all":
        return f"{dataset.card.n_features} features; the standard deviation of the target is {y_scale:,.0f}"
    of_column = dataset.of_run(0).fitted["inputs"][h.features]
    x_mean, x_scale = of_column["mean"].item(), of_column["scale"].item()
    layer = state.params["Dense_0"]
    bias, weight = float(layer["bias"][0, 0]), float(layer["kernel"][0, 0, 0])
    slope = weight * y_scale / x_scale
    intercept = y_mean + bias * y_scale - slope * x_mean
    unit = "square foot" if "Area" in h.features or "SF" in h.features else "unit"
    return f"price = {intercept:,.1f} USD + {slope:.3f} USD per {unit} x {h.features}"


experiment = Experiment(
    question="What does a square foot of living area cost in Ames, Iowa?",
    claim=Claim(
        text="living area explains 49.95 % of the variance of prices",
        metric="test/r2",
        about="these examples",
        at_least=0.4995,
    ),
    hyperparameters=HousePrices(),
    source="ames:all",
    task="regression",
    collect=collect,
    algorithm=algorithm,
    report=report,
    # The loss of the line has curvature 1, so step sizes below 2 converge; with all columns they must be smaller.
    adjust=adjust.grid(learning_rate=[0.02, 0.05, 0.2, 0.5, 1.0, 1.5]),
)

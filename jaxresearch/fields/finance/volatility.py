"""GARCH(1,1): the variance of tomorrow's return, from those of today and of all days before."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from jaxresearch.models import Model

_DECAY, _N_DAYS = 0.94, 75  # of the backcast
_PERSISTENCE, _ALPHA = 0.98, 0.1  # at the start of a fit: usual values of daily returns


class Garch(NamedTuple):
    r"""The parameters of GARCH(1,1), in per cent and its square.

    Attributes:
        mean: Of the returns, :math:`\mu`.
        omega: The constant of the variance, positive.
        alpha: The weight of the last squared residual, above 0.
        beta: The weight of the last variance, above 0; ``alpha + beta`` is below 1.
    """

    mean: Float[ArrayLike, ""]
    omega: Float[ArrayLike, ""]
    alpha: Float[ArrayLike, ""]
    beta: Float[ArrayLike, ""]


def garch_variances(
    returns: Float[Array, "*batch days"],
    parameters: Garch,
    *,
    start: Float[ArrayLike, ""],
    padding: float | None = None,
) -> Float[Array, "*batch days"]:
    r"""Returns the variance that GARCH(1,1) forecasts after each day, for the day that follows.

    .. math:: \sigma^2_{t+1} = \omega + \alpha (r_t - \mu)^2 + \beta \sigma^2_t, \qquad
        \sigma^2_1 = \omega + (\alpha + \beta) s

    Args:
        returns: In order of time.
        parameters: As drawn or fitted.
        start: The variance :math:`s` before the first day, such as a `backcast`.
        padding: Marks days before the first: the variance after them is that of the first day. None if there are none.

    Returns:
        Variances in the unit of the returns squared.

    Example:
        >>> parameters = Garch(0.0, 0.5, 0.25, 0.5)
        >>> garch_variances(jnp.array([-100.0, 2.0, 0.0]), parameters, start=2.0, padding=-100.0).tolist()
        [2.0, 2.5, 1.75]

    References:
        Bollerslev (1986), Generalized autoregressive conditional heteroskedasticity, Journal of Econometrics 31(3), equation
        2 with p = q = 1. https://doi.org/10.1016/0304-4076(86)90063-1
    """
    mean, omega, alpha, beta = parameters
    is_day = jnp.ones(returns.shape, bool) if padding is None else returns != padding
    squares = jnp.where(is_day, jnp.square(returns - mean), 0.0)
    first = jnp.broadcast_to(omega + (alpha + beta) * start, returns.shape[:-1]).astype(squares.dtype)

    def step(variance: Array, day: tuple[Array, Array]) -> tuple[Array, Array]:
        square, is_day = day
        variance = jnp.where(is_day, omega + alpha * square + beta * variance, variance)
        return variance, variance

    _, variances = jax.lax.scan(step, first, (jnp.moveaxis(squares, -1, 0), jnp.moveaxis(is_day, -1, 0)))
    return jnp.moveaxis(variances, 0, -1)


def backcast(returns: Float[np.ndarray, " days"]) -> float:
    r"""Returns the variance before the first day: a weighted mean of the first squared residuals, the earliest weighing most.

    .. math:: s = \frac{\sum_{i=0}^{74} 0.94^i (r_{i+1} - \bar r)^2}{\sum_{i=0}^{74} 0.94^i}

    Args:
        returns: In order of time; their mean :math:`\bar r` is over all days. Fewer than 75 days are all used.

    Returns:
        A variance in the unit of the returns squared.

    Raises:
        ValueError: If the returns do not vary.

    Example:
        >>> round(backcast(np.array([1.0, -1.0])), 6)
        1.0

    References:
        Sheppard (2014 onwards), arch, the default of its volatility models (the decay is that of RiskMetrics).
        https://github.com/bashtage/arch
    """
    returns = np.asarray(returns, np.float64)
    weights = _DECAY ** np.arange(min(_N_DAYS, len(returns)))
    variance = float(weights @ (returns[: len(weights)] - returns.mean()) ** 2 / weights.sum()) if len(returns) else 0.0
    if not variance > 0:
        raise ValueError(f"returns must vary to have a variance, got {len(returns)} equal ones. Use other prices.")
    return variance


def garch_parameters(params: PyTree[Array]) -> Garch:
    r"""Returns the parameters of GARCH(1,1) from the unbounded numbers that a fit moves.

    .. math:: \omega = e^a, \quad \alpha + \beta = \sigma(b), \quad \alpha = \sigma(c) (\alpha + \beta)

    Args:
        params: Those of `garch`.

    Returns:
        Parameters of a positive, stationary variance.

    Example:
        >>> fitted = garch_parameters(garch(start=1.0).init(jax.random.key(0))[0])
        >>> [round(float(number), 4) for number in fitted]
        [0.0, 0.02, 0.1, 0.88]
    """
    persistence = jax.nn.sigmoid(params["persistence"])
    alpha = jax.nn.sigmoid(params["share"]) * persistence
    return Garch(params["mean"], jnp.exp(params["log_omega"]), alpha, persistence - alpha)


def garch(*, start: Float[ArrayLike, ""], padding: float | None = None) -> Model:
    """Returns GARCH(1,1) as a model: the mean and the log variance of each day that follows.

    Trained on `jaxresearch.losses.normal_negative_log_likelihood`, all examples in every step, it is the estimate of maximum
    likelihood.

    Args:
        start: As in `garch_variances`; may be traced.
        padding: As in `garch_variances`.

    Returns:
        The model; inputs ``(batch, days)`` returns, outputs ``(batch, days, 2)``. Its initial parameters are not random.

    Example:
        >>> model = garch(start=1.0)
        >>> outputs, _ = model.apply(*model.init(jax.random.key(0)), jnp.zeros((3, 7)))
        >>> outputs.shape
        (3, 7, 2)

    References:
        Bollerslev (1986), Generalized autoregressive conditional heteroskedasticity, Journal of Econometrics 31(3), section 5
        (maximum likelihood). https://doi.org/10.1016/0304-4076(86)90063-1
    """

    def init(key):
        del key
        share = _ALPHA / _PERSISTENCE
        numbers = {
            "mean": 0.0,
            "log_omega": jnp.log((1 - _PERSISTENCE) * jnp.asarray(start, jnp.float32)),
            "persistence": np.log(_PERSISTENCE / (1 - _PERSISTENCE)),
            "share": np.log(share / (1 - share)),
        }
        return {name: jnp.asarray(number, jnp.float32) for name, number in numbers.items()}, {}

    def apply(params, model_state, inputs, key=None):
        del key  # nothing is drawn
        parameters = garch_parameters(params)
        variances = garch_variances(jnp.asarray(inputs), parameters, start=start, padding=padding)
        means = jnp.broadcast_to(parameters.mean, variances.shape)
        return jnp.stack([means, jnp.log(variances)], axis=-1), model_state

    return Model(init, apply)

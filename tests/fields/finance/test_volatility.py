"""GARCH(1,1): its recursion by a loop, its published maximum likelihood, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.signal
from jax.test_util import check_grads

from jaxresearch import losses
from jaxresearch.fields import finance

PARAMETERS = finance.Garch(0.1, 0.05, 0.1, 0.85)


def _loop(returns, parameters, start):
    """Returns the variance of each day, and of the one after the last."""
    mean, omega, alpha, beta = parameters
    variances = [omega + (alpha + beta) * start]
    for one in returns:
        variances.append(omega + alpha * (one - mean) ** 2 + beta * variances[-1])
    return np.array(variances)


@pytest.mark.parametrize("n_before", [0, 1, 5])
def test_variances_equal_a_loop(n_before):
    returns = np.random.default_rng(0).normal(size=(3, 40))
    padded = np.pad(returns, [(0, 0), (n_before, 0)], constant_values=finance.PADDING)
    found = jax.jit(finance.garch_variances, static_argnames="padding")(
        jnp.asarray(padded, jnp.float32), PARAMETERS, start=2.0, padding=finance.PADDING
    )
    for own, one in zip(np.asarray(found), returns, strict=True):
        expected = _loop(one, PARAMETERS, 2.0)
        np.testing.assert_allclose(own[n_before:], expected[1:], rtol=1e-5)
        np.testing.assert_allclose(own[:n_before], expected[0], rtol=1e-6)


def test_variances_have_derivatives():
    returns = jnp.asarray(np.random.default_rng(1).normal(size=20), jnp.float32)
    padded = jnp.concatenate([jnp.full(3, finance.PADDING), returns])

    def total(*parameters):
        found = finance.garch_variances(padded, finance.Garch(*parameters), start=1.5, padding=finance.PADDING)
        return jnp.log(found).sum()

    arguments = [jnp.float32(number) for number in PARAMETERS]
    check_grads(total, arguments, order=1, modes=["fwd", "rev"], atol=1e-2, rtol=1e-2)  # differences in float32


def test_backcast_weighs_the_first_days_most():
    returns = np.random.default_rng(2).normal(size=200)
    weights = 0.94 ** np.arange(75)
    expected = (weights * (returns[:75] - returns.mean()) ** 2).sum() / weights.sum()
    assert finance.backcast(returns) == pytest.approx(expected, rel=1e-12)
    assert finance.backcast(np.concatenate([returns[:75], returns[:74:-1]])) == pytest.approx(expected, rel=1e-12)


def test_parameters_are_positive_and_stationary():
    wild = {"mean": -3.0, "log_omega": -9.0, "persistence": 6.0, "share": -6.0}
    found = finance.garch_parameters({name: jnp.float32(number) for name, number in wild.items()})
    assert found.omega > 0 and found.alpha > 0 and found.beta > 0 and found.alpha + found.beta < 1


def test_the_published_fit_has_the_published_likelihood():
    """The estimates of the package arch, and its log-likelihood of 5,030 simple returns in per cent."""
    returns = finance.simple_returns(finance.load_prices("us_indices").closes)
    start = finance.backcast(returns)

    def nats(free):
        omega, alpha, beta = np.exp(free[1:])
        squares = np.concatenate([[start], (returns[:-1] - free[0]) ** 2])
        variances, _ = scipy.signal.lfilter([1.0], [1.0, -beta], omega + alpha * squares, zi=[beta * start])
        return 0.5 * np.sum(np.log(2 * np.pi * variances) + (returns - free[0]) ** 2 / variances)

    found = scipy.optimize.minimize(nats, [0.05, *np.log([0.0175, 0.1022, 0.8852])], method="Nelder-Mead")
    assert -found.fun == pytest.approx(-6936.72, abs=0.01)
    np.testing.assert_allclose(np.exp(found.x[1:]), [0.0175, 0.1022, 0.8852], atol=2e-4)
    # The model, over the whole series at once, has the same likelihood in float32.
    garch = finance.garch(start=start, padding=finance.PADDING)
    persistence = np.exp(found.x[2]) + np.exp(found.x[3])
    share = np.exp(found.x[2]) / persistence
    params = {"mean": found.x[0], "log_omega": found.x[1], "persistence": np.log(persistence / (1 - persistence))}
    params = {name: jnp.float32(number) for name, number in (params | {"share": np.log(share / (1 - share))}).items()}
    inputs = jnp.asarray([[finance.PADDING, *returns[:-1]]], jnp.float32)
    outputs, _ = jax.jit(garch.apply)(params, {}, inputs)
    of_days = losses.normal_negative_log_likelihood(outputs, jnp.asarray(returns, jnp.float32)[None, :, None])
    assert -np.asarray(of_days, np.float64).sum() == pytest.approx(-6936.72, abs=0.05)


@pytest.mark.raises
def test_backcast_refuses_returns_that_do_not_vary():
    with pytest.raises(ValueError, match="^returns must vary to have a variance, got 9 equal ones"):
        finance.backcast(np.zeros(9))

"""market: what is measured of a day by hand, no day sees a later one, and the likelihood of GARCH(1,1) in blocks."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxresearch import experiment as experiments
from jaxresearch import loading
from jaxresearch.fields import finance

MARKET = loading.load("market", directory=Path(__file__).parents[2] / "experiments")
H = MARKET.hyperparameters


@pytest.fixture(scope="module")
def dataset():
    return MARKET.prepare(MARKET.collect("us_indices"))


@pytest.fixture(scope="module")
def started(dataset):
    """The algorithm, and its state before the first step."""
    algorithm = experiments.program(MARKET, dataset).algorithm(H)
    return algorithm, algorithm.init(jax.random.key(0))


def test_scales_are_those_of_the_training_days(dataset):
    returns = finance.simple_returns(finance.load_prices("us_indices").closes)[:3540]
    np.testing.assert_allclose(dataset.fitted["scale"], returns.std(), rtol=1e-6)
    np.testing.assert_allclose(dataset.fitted["start"], finance.backcast(returns), rtol=1e-5)  # float32 returns


def test_metrics_are_those_of_scipy(dataset, started):
    algorithm, state = started
    test = {name: entry[:30] for name, entry in dataset.test.items()}
    found = jax.jit(lambda data: algorithm.evaluate(state, data, jax.random.key(1)))(test)
    outputs, days = np.asarray(algorithm.predict(state, test["inputs"])), test["targets"][:, :, 0]
    assert outputs.shape == (30, 10, 2, 2)
    garch, network = (
        scipy.stats.norm.logpdf(days, outputs[:, :, place, 0], np.exp(outputs[:, :, place, 1] / 2)) for place in (0, 1)
    )
    is_right = (outputs[:, :, 1, 0] > 0) == (days > 0)
    expected = {"gain": network - garch, "network": network, "garch": garch, "direction": is_right}
    expected["direction_gain"] = is_right * 1.0 - (days > 0)
    assert found.keys() == expected.keys()
    for name, of_days in expected.items():
        np.testing.assert_allclose(found[name], of_days.mean(), rtol=1e-4, atol=1e-5)  # float32


def test_no_forecast_sees_its_own_day_or_a_later_one(dataset, started):
    algorithm, state = started
    inputs = jnp.asarray(dataset.train["inputs"][100:101])
    before, after = (algorithm.predict(state, one) for one in (inputs, inputs.at[:, 104:].set(5.0)))
    np.testing.assert_array_equal(before[:, :5], after[:, :5])  # the fifth day is forecast from inputs 0 to 103
    assert not np.any(np.isclose(before[:, 5:, :, 1], after[:, 5:, :, 1], rtol=1e-7))


def test_blocks_have_the_likelihood_of_the_whole_series(dataset, started):
    algorithm, state = started
    params = state.params["garch"]
    returns = np.concatenate([part["targets"].ravel() for part in (dataset.train, dataset.test)])
    whole = finance.garch(start=dataset.fitted["start"], padding=finance.PADDING)
    expected, _ = whole.apply(params, {}, jnp.asarray([[finance.PADDING, *returns[:-1]]], jnp.float32))
    parts = [algorithm.predict(state, part["inputs"])[:, :, 0] for part in (dataset.train, dataset.test)]
    # A hundred days before a block leave 0.88**100, 3e-6, of the variance that it starts from.
    np.testing.assert_allclose(np.concatenate(parts).reshape(-1, 2), expected[0], rtol=1e-3, atol=1e-4)


def test_the_two_models_do_not_change_each_other(dataset, started):
    algorithm, state = started
    outputs = algorithm.predict(state, dataset.test["inputs"][:3])
    other = {**state.params, "garch": jax.tree.map(lambda leaf: leaf + 0.1, state.params["garch"])}
    changed = algorithm.predict(state._replace(params=other), dataset.test["inputs"][:3])
    np.testing.assert_array_equal(outputs[:, :, 1], changed[:, :, 1])
    assert not np.allclose(outputs[:, :, 0], changed[:, :, 0])


@pytest.mark.long
def test_a_run_prints_garch_and_reads_prices_of_ones_own(command, tmp_path):
    days = np.datetime64("2001-01-01") + np.arange(700)
    prices = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, 700)))
    rows = [f"{day},{price:.4f}" for day, price in zip(days, prices, strict=True)]
    (tmp_path / "mine.csv").write_text("\n".join(["date,close", *rows]) + "\n")
    words = ("run", "market", "--data", "mine.csv", "--target", "close", "--smoke", "--directory", "run")
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "GARCH(1,1) of 480 days: log-likelihood -" in done.stdout and "test/gain" in done.stdout
    (tmp_path / "mine.csv").write_text("\n".join(["date,close", *rows[:9], rows[5]]) + "\n")
    done = command(*words[:-1], "other", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "dates must ascend" in done.stderr

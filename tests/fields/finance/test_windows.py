"""Windows of returns: each day is forecast once, from earlier days alone."""

import numpy as np
import pytest

from jaxresearch.fields import finance


def test_each_target_follows_the_inputs_before_it():
    returns = np.random.default_rng(0).normal(size=103)
    part = finance.return_windows(returns, length=10, context=7)
    assert part["inputs"].shape == (10, 16) and part["targets"].shape == (10, 10, 1)
    np.testing.assert_allclose(part["targets"].ravel(), returns[3:], rtol=1e-6)  # 3 days fill no block
    joined = np.concatenate([np.full(7, finance.PADDING), returns])
    for block in range(10):
        for day in range(10):  # the output after input 6 + day is about the target of that day
            place = 3 + 10 * block + day  # of the target among the returns
            expected = joined[place : place + 7]  # the seven days before it
            np.testing.assert_allclose(part["inputs"][block, day : day + 7], expected, rtol=1e-6)


def test_the_last_days_are_held_out_in_groups():
    dataset = finance.load_returns("us_indices")
    returns = finance.simple_returns(finance.load_prices("us_indices").closes)
    both = np.concatenate([part["targets"].ravel() for part in (dataset.train, dataset.test)])
    np.testing.assert_allclose(both, returns, rtol=1e-5, atol=1e-6)  # float32
    assert dataset.train["groups"].max() < dataset.test["groups"].min()
    assert set(np.bincount(dataset.test["groups"])[dataset.test["groups"].min() : -1]) == {6}
    assert dataset.card.split.by == "stretch" and dataset.card.feature_shape == (109,)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "^length and context must be 1 day or more, got 0 and 100"),
        ({"context": 0}, "^length and context must be 1 day or more, got 10 and 0"),
        ({"length": 6000}, "^returns must fill a block of 6000 days, got 5030 days"),
        ({"group": 0}, "^group must be 1 block or more, got 0"),
        ({"group": 503}, "^returns must fill more than 503 blocks of 10 days, to be split by time, got 503. Add days."),
    ],
)
def test_windows_refuse_sizes_that_make_no_block(options, message):
    with pytest.raises(ValueError, match=message):
        finance.load_returns("us_indices", **options)

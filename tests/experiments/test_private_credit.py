"""The private credit model: what it reads of the data, its cost, and its groups."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import experiment, loading
from jaxresearch.metrics import accuracy

FILE = Path(__file__).parents[2] / "experiments" / "private_credit.py"
CREDIT = loading.load(str(FILE))


@pytest.fixture(scope="module")
def dataset():
    return CREDIT.prepare(CREDIT.collect("credit"))


def test_half_of_the_applicants_are_held_out_nothing_is_fitted(dataset):
    assert dataset.n_train == 500 and dataset.fitted == {}
    assert dataset.train["inputs"].shape == (500, 20) and dataset.train["inputs"].dtype == np.float32
    assert np.mean(dataset.test["targets"] == 1) == 0.7


@pytest.fixture(scope="module")
def evaluated(dataset):
    """Metrics of parameters drawn at random, and the parameters' outputs."""
    algorithm = experiment.program(CREDIT, dataset).algorithm(CREDIT.hyperparameters)
    state = algorithm.init(jax.random.key(0))
    state = state._replace(
        params=jax.tree.map(lambda leaf: leaf + 0.1 * jnp.arange(leaf.size).reshape(leaf.shape) % 1, state.params)
    )
    outputs = np.asarray(algorithm.predict(state, dataset.test["inputs"]))
    return jax.jit(lambda data: algorithm.evaluate(state, data, jax.random.key(1)))(dataset.test), outputs


def test_cost_counts_bad_credits_granted_and_good_ones_refused(dataset, evaluated):
    values, outputs = evaluated
    bad = np.exp(outputs[:, 0]) / np.exp(outputs).sum(axis=1)
    granted, is_bad = 5 * bad < 1 - bad, dataset.test["targets"] == 0
    assert 0 < granted.mean() < 1
    np.testing.assert_allclose(values["cost"], np.mean(5 * (granted & is_bad) + (~granted & ~is_bad)), rtol=1e-6)


def test_each_group_is_evaluated_alone(dataset, evaluated):
    values, outputs = evaluated
    names = [column.name for column in dataset.card.columns]
    sex = dataset.card.columns[names.index("personal_status_sex")].levels
    inputs, targets = dataset.test["inputs"], dataset.test["targets"]
    women = np.char.startswith(np.array(sex)[inputs[:, names.index("personal_status_sex")].astype(int)], "female")
    young = inputs[:, names.index("age")] <= 25
    for group, members in (("young", young), ("older", ~young), ("women", women), ("men", ~women)):
        assert 50 < members.sum() < 450
        expected = accuracy()(outputs[members], targets[members])
        np.testing.assert_allclose(values[f"accuracy_{group}"], expected, rtol=1e-6)


def test_the_claim_is_about_a_stated_privacy():
    assert CREDIT.private == {"epsilon": 3, "delta": 1e-4, "clip": 3}

"""credit: the weight decay is chosen without the held-out fold, the gap is that of good applicants, and the penalty closes it."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, loading
from jaxresearch import experiment as experiments

pytestmark = pytest.mark.long
CREDIT = loading.load("credit", directory=Path(__file__).parents[2] / "experiments")
DECAYS = (0.005, 0.015, 0.05)


@pytest.fixture(scope="module")
def folded():
    return data.fold(CREDIT.collect("credit"), 3, n_folds=10)


@pytest.fixture(scope="module")
def prepared(folded):
    return CREDIT.prepare(folded)


def test_the_decay_is_chosen_without_the_held_out_fold(folded, prepared):
    assert float(prepared.fitted["weight_decay"]) in DECAYS
    shuffled = {**folded.test, "targets": 1 - folded.test["targets"]}
    other = CREDIT.prepare(folded._replace(test=shuffled))
    assert data.digest(other.fitted) == data.digest(prepared.fitted)


def test_waves_stand_for_a_gaussian_kernel(folded, prepared):
    features, waves = np.split(prepared.train["inputs"][:40].astype(float), [-1000], axis=1)
    squared_distances = ((features[:, None] - features[None]) ** 2).sum(axis=2)
    kernel = 10 * np.exp(-squared_distances * 0.35**2 / 2)
    # An entry is a mean over 1,000 waves of 20 cos(a) cos(b), of a standard deviation of 20 (3/8)**0.5 at most; five of its own.
    np.testing.assert_allclose(waves @ waves.T, kernel, atol=5 * 20 * (3 / 8 / 1000) ** 0.5)
    first = {name: values[:1] for name, values in folded.train["inputs"].items()}
    alone = CREDIT.preprocess.apply(prepared.fitted, {"inputs": first}, training=False)
    np.testing.assert_allclose(alone["inputs"], prepared.train["inputs"][:1], rtol=1e-5, atol=1e-5)


def test_refused_is_of_good_applicants_by_age(folded, prepared):
    program, h = experiments.program(CREDIT, prepared), CREDIT.hyperparameters
    key = jax.random.key(0)
    state = program.init(key, h)
    found = program.evaluate(key, h, state, prepared.test)
    logits = np.asarray(program.algorithm(h).predict(state, prepared.test["inputs"]))
    is_granted, good = logits[:, 1] - logits[:, 0] > np.log(5), folded.test["targets"] == 1
    young = folded.test["inputs"]["age"] <= 25
    assert 5 < (young & good).sum() < 35
    rates = {name: 1 - is_granted[good & group].mean() for name, group in (("young", young), ("older", ~young))}
    for name, rate in rates.items():
        np.testing.assert_allclose(found[f"refused_{name}"], rate, rtol=1e-5)
    np.testing.assert_allclose(found["refused_gap"], rates["young"] - rates["older"], atol=1e-5)
    costs = np.where(is_granted, 5 * ~good, good)
    np.testing.assert_allclose(found["cost"], costs.mean(), rtol=1e-5)


def test_the_penalty_closes_the_gap_in_the_chance_of_a_credit(prepared):
    program, plain = experiments.program(CREDIT, prepared), CREDIT.hyperparameters

    def gap(h):
        state, _ = jax.jit(program.run)(jax.random.key(0), h, prepared.train)
        logits = program.algorithm(h).predict(state, prepared.train["inputs"])
        chance = jax.nn.sigmoid(logits[:, 1] - logits[:, 0] - np.log(5))
        good, young = prepared.train["targets"] == 1, prepared.train["is_young"]
        return float(chance[young & good].mean() - chance[~young & good].mean())

    unfair, fair = gap(plain), gap(type(plain)(fairness=100.0))
    assert unfair < -0.05 and abs(fair) < 0.2 * abs(unfair)


@pytest.mark.raises
def test_a_fold_without_a_young_good_applicant_is_refused(folded):
    older = folded.test["inputs"]["age"] > 25
    with pytest.raises(
        ValueError, match="must have a member of good young, got none among .* examples. Use fewer folds"
    ):
        CREDIT.prepare(folded._replace(test=data.take(folded.test, older)))

"""knowledge_tracing: whole students are held out, and each model trains as it would alone."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import experiment as experiments
from jaxresearch import loading, metrics

TRACING = loading.load("knowledge_tracing", directory=Path(__file__).parents[2] / "experiments")


@pytest.fixture(scope="module")
def dataset():
    return TRACING.prepare(TRACING.collect("math_exam"))


def test_whole_students_are_held_out(dataset):
    train, test = dataset.train, dataset.test
    assert not {*train["groups"]} & {*test["groups"]} and len(train["groups"]) + len(test["groups"]) == 729
    assert train["inputs"].shape[1:] == (13, 2) and len(dataset.card.vocabulary) == 13
    np.testing.assert_array_equal(train["inputs"][..., 1], train["targets"])
    assert (train["inputs"][:, :, 0] == train["inputs"][:1, :, 0]).all()  # all have the same exam
    assert [dataset.card.vocabulary[item] for item in train["inputs"][0, :3, 0]] == ["quad", "deriv", "elasticity"]


@pytest.mark.long
def test_gains_are_differences_of_log_losses(dataset):
    program, h, key = experiments.program(TRACING, dataset), TRACING.hyperparameters, jax.random.key(0)
    state, _ = jax.jit(program.advance, static_argnums=5)(key, h, program.init(key, h), dataset.train, 0, 3)
    found = program.evaluate(key, h, state, dataset.test)
    for name in ("items", "rasch", "two_parameters", "tracing"):
        gain = found[f"log_loss_{name}"] - found["log_loss_network"]
        np.testing.assert_allclose(found[f"gain_over_{name}"], gain, atol=1e-6)  # float32
    logits = program.algorithm(h).predict(state, dataset.test["inputs"])
    assert logits.shape == (len(dataset.test["targets"]), 13, 2)
    area = metrics.per_token(metrics.roc_auc())(logits, dataset.test["targets"])
    np.testing.assert_allclose(found["auc_network"], area, rtol=1e-6)
    for weight in (0.0, 2.0):  # of one student
        weights = np.ones(len(logits), np.float32)
        weights[0] = weight
        weighed = program.evaluate(key, h, state, {**dataset.test, "weights": weights})
        assert weighed["gain_over_rasch"] != found["gain_over_rasch"]

"""mislabelled: a tenth of the labels is wrong, unseen by training, and the share found is counted by hand."""

from pathlib import Path

import jax
import numpy as np

from jaxresearch import data, loading
from jaxresearch import experiment as experiments

MISLABELLED = loading.load("mislabelled", directory=Path(__file__).parents[2] / "experiments")


def test_a_tenth_of_the_labels_is_wrong_unseen_by_training():
    collected = MISLABELLED.collect("mnist")
    is_wrong = collected.train["is_wrong"]
    original = loading.load("mnist").collect("mnist").train["targets"][:5_000]
    assert is_wrong.sum() == 500
    np.testing.assert_array_equal(collected.train["targets"] != original, is_wrong)
    prepared = MISLABELLED.prepare(collected)
    assert {*prepared.train} == {"inputs", "targets", "index"} and {*prepared.test} == {"inputs", "targets"}
    np.testing.assert_array_equal(prepared.fitted["is_wrong"], is_wrong)


def test_found_is_the_share_among_the_first_fifth():
    dataset = MISLABELLED.prepare(MISLABELLED.collect("mnist"))
    program, h, key = experiments.program(MISLABELLED, dataset), MISLABELLED.hyperparameters, jax.random.key(0)
    state = program.init(key, h)
    scores = np.random.default_rng(0).permutation(5_000).astype(np.float32)
    test = {name: entry[:100] for name, entry in dataset.test.items()}
    found = program.evaluate(key, h, state._replace(self_influence=scores), test)["found"]
    first = np.argsort(-scores)[:1_000]
    np.testing.assert_allclose(found, dataset.fitted["is_wrong"][first].sum() / 500, rtol=1e-6)
    state, _ = program.advance(key, h, state, dataset.train, 0, 3)
    assert (np.asarray(state.self_influence) > 0).sum() == 300


def test_examples_keep_their_numbers_in_a_subset():
    collected = MISLABELLED.collect("mnist")
    train = data.sample(collected.train, 1_000, seed=1)
    assert train["index"].max() > 4_000
    dataset = MISLABELLED.prepare(collected._replace(train=train))
    program, h, key = experiments.program(MISLABELLED, dataset), MISLABELLED.hyperparameters, jax.random.key(0)
    state, _ = program.advance(key, h, program.init(key, h), dataset.train, 0, 10)
    seen = np.flatnonzero(np.asarray(state.self_influence))
    np.testing.assert_array_equal(seen, train["index"])  # one epoch
    test = {name: entry[:10] for name, entry in dataset.test.items()}
    scores = np.zeros(5_000, np.float32)
    scores[train["index"]] = 1 + train["is_wrong"]
    assert program.evaluate(key, h, state._replace(self_influence=scores), test)["found"] == 1

"""mislabelled: a tenth of the labels is wrong, unseen by training, and the fraction found is counted by hand."""

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


def test_a_part_split_off_leaves_labels_where_they_were():
    collected = data.with_validation(MISLABELLED.collect("mnist"), fraction=0.2)
    prepared = MISLABELLED.prepare(collected)
    np.testing.assert_array_equal(prepared.train["index"], np.arange(4_000))
    np.testing.assert_array_equal(prepared.fitted["is_wrong"], collected.train["is_wrong"])
    assert prepared.validation is not None and {*prepared.validation} == {"inputs", "targets"}

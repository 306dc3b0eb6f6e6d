"""variational_dropout: a part of the definitions, gains that are differences, and networks that start alike."""

from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, loading, metrics, models
from jaxresearch import experiment as experiments

DROPOUT = loading.load("variational_dropout", directory=Path(__file__).parents[2] / "experiments")


@pytest.fixture(scope="module")
def collected():
    return DROPOUT.collect("gene_ontology")


def test_definitions_are_a_part_of_each_part(collected):
    whole = data.load("gene_ontology")
    for name in ("train", "test"):
        few, all_ = (set(one.parts()[name]["inputs"]["definition"]) for one in (collected, whole))
        assert few < all_ and data.n_examples(collected.parts()[name]) == 400


def test_own_definitions_need_no_target(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("term,definition\n" + "".join(f"zinc {i},a metal of {i} ions\n" for i in range(1000)))
    collected = DROPOUT.collect(str(path))
    assert (collected.n_train, len(collected.test["targets"])) == (400, 200) and collected.card.target is None


@pytest.mark.long
def test_scores_are_those_of_the_networks_and_gains_differences(collected):
    pytest.importorskip("tokenizers")
    dataset = DROPOUT.prepare(collected)
    program, h, key = experiments.program(DROPOUT, dataset), DROPOUT.hyperparameters, jax.random.key(0)
    first = jax.jit(program.init)(key, h)
    for name in ("naive", "variational"):
        jax.tree.map(np.testing.assert_array_equal, first[name].params, first["none"].params)
    state, history = jax.jit(program.advance, static_argnums=5)(key, h, first, dataset.train, 0, 3)
    assert set(history) == {"loss", "loss_none", "loss_naive", "loss_variational"}
    few = {**{name: entry[:8] for name, entry in dataset.test.items()}, "weights": np.r_[0.0, 2.0, np.ones(6)]}
    found = jax.jit(program.evaluate)(key, h, state, few)
    model = models.token_rnn(len(dataset.card.vocabulary), h.hidden)
    bits, calibration = metrics.bits_per_byte(dataset.fitted["n_bytes"]), metrics.expected_calibration_error()
    for name in ("none", "naive", "variational"):
        logits = model.apply(state[name].params, {}, few["inputs"])[0]
        for score, metric in (("bits", bits), ("calibration", metrics.per_token(calibration))):
            expected = metric(logits, few["targets"], few["weights"])
            np.testing.assert_allclose(found[f"{score}_{name}"], expected, rtol=1e-4, atol=1e-6)  # sums of float32
    for score in ("bits", "calibration"):
        gain = found[f"{score}_naive"] - found[f"{score}_variational"]
        np.testing.assert_array_equal(found[f"{score}_gain_over_naive"], gain)
        sampled = found[f"{score}_variational"] - found[f"{score}_variational_sampled"]
        np.testing.assert_array_equal(found[f"{score}_gain_of_sampling_variational"], sampled)
    assert found["bits_variational_sampled"] != found["bits_variational"]

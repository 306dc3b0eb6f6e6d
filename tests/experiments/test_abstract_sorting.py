"""Definitions sorted by a bag of words and by an encoder: inputs and step sizes."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, execution, loading, training

SORTING = loading.load("abstract_sorting", directory=Path(__file__).parents[2] / "experiments")
PLAN = training.Plan(batch_size=32, n_steps=20)


@pytest.fixture(scope="module")
def dataset():
    """Returns about a hundred definitions as word ids."""
    whole = data.load("gene_ontology")
    cut = {name: data.sample(part, n) for (name, part), n in zip(whole.parts().items(), (600, 60), strict=True)}
    return SORTING.prepare(whole._replace(**cut))


def test_a_bag_of_words_ignores_stop_words_order_and_padding(dataset):
    algorithm = SORTING.algorithm(SORTING.hyperparameters, dataset.card, PLAN, data.numbers(dataset.fitted))
    state = algorithm.init(jax.random.key(0))
    drawn = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(1), leaf.shape), state.params)
    known = {word: i for i, word in enumerate(dataset.card.vocabulary)}

    def logits(*words):
        row = [known[word] for word in words] + [known["<pad>"]] * (64 - len(words))
        return algorithm.predict(state._replace(params=drawn), np.array([row], np.int32))[0]

    plain = logits("binding", "protein")
    np.testing.assert_allclose(logits("protein", "binding"), plain, rtol=1e-5)  # different summation order
    np.testing.assert_allclose(logits("the", "binding", "of", "protein"), plain, rtol=1e-5)
    assert not np.allclose(logits("binding"), plain, rtol=1e-2)


def test_words_beyond_the_length_and_the_vocabulary_are_left_out(dataset):
    inputs, n_tokens = dataset.test["inputs"], len(dataset.card.vocabulary)
    assert inputs.shape == (60, 64) and inputs.dtype == np.int32 and inputs.max() == n_tokens - 1
    names, unknown = dataset.card.vocabulary, dataset.card.vocabulary.index("<unknown>")
    assert names[-1] == "<pad>" and names[unknown + 1].startswith("<unused") and (inputs == unknown).any()


@pytest.mark.long
@pytest.mark.parametrize("reader", ["bag", "encoder"])
def test_both_readers_learn_to_sort(dataset, reader):
    largest = np.bincount(dataset.test["targets"]).max() / len(dataset.test["targets"])
    settings = dataclasses.replace(
        SORTING.hyperparameters, reader=reader, width=16, n_layers=1, batch_size=32, epochs=8
    )
    outcome = execution.execute(SORTING, settings, dataset, seeds=[0])
    assert outcome.metrics["accuracy"][0] > largest


def test_step_sizes_are_those_that_the_help_states(dataset):
    (field,) = [one for one in dataclasses.fields(SORTING.hyperparameters) if one.name == "learning_rate"]
    assert "the bag of words uses ten times as much" in field.metadata["help"]
    batch, moved = {name: values[:4] for name, values in dataset.train.items()}, {}
    for reader, name in (("bag", "bias"), ("encoder", "head")):
        settings = dataclasses.replace(
            SORTING.hyperparameters, reader=reader, weight_decay=0.0, width=8, n_layers=1, dropout_rate=0.0
        )
        algorithm = SORTING.algorithm(settings, dataset.card, PLAN, data.numbers(dataset.fitted))
        init, step = jax.jit(algorithm.init), jax.jit(algorithm.step)
        second, _ = step(init(jax.random.key(0)), batch, jax.random.key(1))  # the warm-up starts at a rate of 0
        third, _ = step(second, batch, jax.random.key(1))  # at the peak; of equal gradients, Adam makes one
        bias = [state.params[name] if reader == "bag" else state.params[name]["bias"] for state in (second, third)]
        moved[reader] = float(abs(bias[1] - bias[0]).max())
    assert moved == pytest.approx({"bag": 2e-2, "encoder": 2e-3}, rel=1e-4)  # float32: 1 - 0.999**2 loses three digits


def test_other_data_is_refused_by_the_column_it_lacks():
    with pytest.raises(ValueError, match="^data must have the column definition; those of splice are sequence"):
        SORTING.prepare(data.load("splice"))

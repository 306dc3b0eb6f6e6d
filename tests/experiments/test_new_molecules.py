"""new_molecules: bits of the characters of molecules, and a report on what was written."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, execution, loading, training

GPT = loading.load("new_molecules", directory=Path(__file__).parents[2] / "experiments")


@pytest.fixture(scope="module")
def few():
    """Returns a few hundred molecules."""
    whole = GPT.collect("b3db")
    cut = {name: data.sample(part, n) for (name, part), n in zip(whole.parts().items(), (300, 60), strict=True)}
    return whole._replace(**cut)


@pytest.fixture(scope="module")
def dataset(few):
    return GPT.prepare(few)


@pytest.mark.long
def test_bits_are_those_of_the_characters(dataset):
    plan = training.Plan(batch_size=32, n_steps=10)
    algorithm = GPT.algorithm(GPT.hyperparameters, dataset.card, plan, data.numbers(dataset.fitted))
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0))
    even = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)  # all tokens are equally likely
    bits = jax.jit(algorithm.evaluate)(even, dataset.test, jax.random.key(1))["bits_per_character"]
    names, scored = dataset.card.vocabulary, dataset.test["targets"][dataset.test["targets"] >= 0]
    n_characters = sum(1 if names[token] == "<end>" else len(names[token]) for token in scored)
    np.testing.assert_allclose(bits, len(scored) * np.log2(len(names)) / n_characters, rtol=1e-5)  # float32 sums


@pytest.mark.long
def test_the_report_says_how_many_are_valid(dataset, few):
    small = dataclasses.replace(GPT.hyperparameters, width=16, n_layers=1, n_heads=2, epochs=1, n_drawn=100)
    outcome = execution.execute(GPT, small, dataset, seeds=[0, 1])
    report = GPT.report(small, jax.tree.map(np.asarray, outcome.state), few, dataset)
    assert "100 molecules per seed and way" in report and report.count("\n- ") == 16
    for name in ("valid", "unique", "novel"):
        assert f"- {name}, free: " in report and "2 seeds)" in report
        assert f"- {name}, constrained: " in report
    assert "- valid, constrained: 1.0000 " in report
    assert "Validity was checked by " in report

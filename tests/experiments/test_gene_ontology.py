"""The small GPT on a few hundred definitions: its inputs, bits, report and baseline."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, execution, loading, training
from jaxresearch.fields import text
from jaxresearch.fields.text import ngrams

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
GPT = loading.load("gene_ontology", directory=EXPERIMENTS)
MODULE = sys.modules[type(GPT.hyperparameters).__module__]
PLAN = training.Plan(batch_size=16, n_steps=100)


@pytest.fixture(scope="module")
def few():
    """Returns about a hundred definitions and terms."""
    whole = data.load("gene_ontology")
    cut = {name: data.sample(part, n) for (name, part), n in zip(whole.parts().items(), (600, 60), strict=True)}
    return whole._replace(**cut)


@pytest.fixture(scope="module")
def dataset(few):
    pytest.importorskip("tokenizers")
    return GPT.prepare(few)


def test_own_texts_need_no_target(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("id,term,definition\n" + "".join(f"a{i},zinc {i},a metal of {i} ions\n" for i in range(60)))
    collected = GPT.collect(str(path))
    assert collected.n_train == 48 and collected.card.target is None
    pytest.importorskip("tokenizers")
    prepared = data.prepare(
        text.record_windows(("definition", "term"), n_tokens=270, length=16, specials=MODULE.SPECIALS), collected
    )
    assert prepared.card.notes[-2] == "column id is left out: this experiment reads definition and term alone"
    path.write_text("text\n" + "a metal\nan ion\n" * 9)
    with pytest.raises(ValueError, match="^data must have the columns definition, term; those of mine are text"):
        GPT.prepare(GPT.collect(str(path)))


def entries(part):
    return zip(part["inputs"]["definition"], part["inputs"]["term"], strict=True)


def test_windows_hold_the_whole_text(dataset, few):
    test, tokeniser = dataset.test, text.fitted_tokeniser(dataset.fitted)
    term, end, _ = range(len(dataset.card.vocabulary))[-3:]
    asked = test["targets"][test["targets"] >= 0]
    spelt = "".join({term: "\n", end: "\n"}.get(i) or tokeniser.decode([i]) for i in asked)
    assert spelt == "".join(f"{d}\n{t}\n" for d, t in entries(few.test))
    np.testing.assert_array_equal(test["inputs"][test["targets"] >= 0][1:], asked[:-1])
    half = MODULE.CONTEXT // 2  # of each test window repeats the one before
    np.testing.assert_array_equal(test["inputs"][1:, :half], test["inputs"][:-1, half:])
    inputs, targets = dataset.train["inputs"], dataset.train["targets"]
    assert (targets >= 0).all() and (inputs[:, 1:] == targets[:, :-1]).all()


def test_bits_are_those_of_the_bytes_of_the_text(dataset, few):
    algorithm = GPT.algorithm(GPT.hyperparameters, dataset.card, PLAN, data.numbers(dataset.fitted))
    shapes = jax.eval_shape(algorithm.init, jax.random.key(0))
    even = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)  # all tokens are equally likely
    bits = jax.jit(algorithm.evaluate)(even, dataset.test, jax.random.key(1))["bits_per_byte"]
    n_bytes = sum(len(f"{d}\n{t}\n".encode()) for d, t in entries(few.test))
    n_tokens = (dataset.test["targets"] >= 0).sum()
    np.testing.assert_allclose(bits, n_tokens * np.log2(MODULE.N_TOKENS) / n_bytes, rtol=1e-5)  # float32 sums


@pytest.mark.long
def test_report_has_ten_texts_ten_terms_and_an_interval(dataset, few, monkeypatch):
    monkeypatch.setattr(MODULE, "N_NAMED", 12)
    small = dataclasses.replace(GPT.hyperparameters, width=16, n_layers=1, epochs=1)
    outcome = execution.execute(GPT, small, dataset, seeds=[0])
    report = GPT.report(small, jax.tree.map(np.asarray, outcome.state), few, dataset)
    assert report.count("\n- ") == 20 and report.count("(correct: ") == 10
    assert report.startswith("The best n-grams, of order 32, need ") and "; 5-grams " in report
    assert "Terms for 12 definitions" in report and "95 % interval" in report
    assert outcome.metrics["bits_per_byte"][0] < 4


@pytest.mark.slow
def test_the_best_ngrams_need_the_bits_of_the_claim():
    train, test = ([f"{d}\n{t}\n" for d, t in entries(part)] for part in data.load("gene_ontology").parts().values())
    others = [line for place, line in enumerate(train) if place % 10 != 9]
    held_out = ngrams.bits_by_order(others, train[9::10], most=MODULE.ORDER)
    assert np.argmin(held_out) == MODULE.ORDER - 1 and held_out[-2] - held_out[-1] < 0.001
    bits = ngrams.bits_by_order(train, test, most=MODULE.ORDER)
    assert [round(bits[order - 1], 3) for order in (5, 8, MODULE.ORDER)] == [1.338, 0.911, GPT.claim.at_most]


def test_other_data_is_refused_by_the_column_it_lacks():
    with pytest.raises(ValueError, match="^data must have the columns definition, term; those of splice are sequence"):
        GPT.prepare(data.load("splice"))

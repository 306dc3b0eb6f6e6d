"""The gene ontology's experiments, on a few of its definitions: what is asked of the models, and what they say."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, execution, loading
from jaxresearch.fields import text

pytestmark = pytest.mark.long

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def few():
    """Returns some hundred definitions and terms."""
    whole = data.load("gene_ontology")
    cut = {name: data.sample(part, n) for (name, part), n in zip(whole.parts().items(), (600, 60), strict=True)}
    return whole._replace(**cut)


@pytest.fixture(scope="module")
def gpt(few):
    pytest.importorskip("tokenizers")
    of = loading.load("gene_ontology", directory=EXPERIMENTS)
    return of, sys.modules[type(of.hyperparameters).__module__], of.preprocess(few)


def test_windows_hold_the_whole_text_and_ask_for_the_next_token(gpt, few):
    of, module, dataset = gpt
    test, tokeniser = dataset.test, module.tokeniser_of(few)
    asked = test["targets"][test["targets"] >= 0]
    given = few.test["inputs"]
    lines = [f"{d}\n{t}\n" for d, t in zip(given["definition"], given["term"], strict=True)]
    as_lines = {module.TERM: "\n", module.END: "\n"}
    # All but the line end that stands before the first definition.
    assert "".join(as_lines.get(i) or tokeniser.decode([i]) for i in asked) == "".join(lines)
    np.testing.assert_array_equal(test["inputs"].ravel()[1 : len(asked)], asked[:-1])
    assert (dataset.train["targets"] >= 0).all() and (
        dataset.train["inputs"][:, 1:] == dataset.train["targets"][:, :-1]
    ).all()


def test_bits_are_those_of_the_bytes_of_the_text(gpt, few):
    of, module, dataset = gpt
    logits = np.zeros((*dataset.test["targets"].shape, len(dataset.card.vocabulary)), np.float32)
    bits = of.metrics(dataset.card)["bits_per_byte"](logits, dataset.test["targets"])
    given = few.test["inputs"]
    n_bytes = sum(len(f"{d}\n{t}\n".encode()) for d, t in zip(given["definition"], given["term"], strict=True))
    n_tokens = (dataset.test["targets"] >= 0).sum()
    np.testing.assert_allclose(bits, n_tokens * np.log2(module.N_TOKENS) / n_bytes, rtol=1e-5)  # float32 sums


def test_its_report_has_ten_texts_and_a_paired_interval(gpt, few, monkeypatch):
    of, module, dataset = gpt
    monkeypatch.setattr(module, "N_NAMED", 12)
    small = dataclasses.replace(of.hyperparameters, width=16, n_layers=1, epochs=1)
    outcome = execution.execute(of, small, dataset, seeds=[0])
    said = of.report(small, jax.tree.map(np.asarray, outcome.state.params), few, dataset)
    assert all(f"\n{number}. " in said for number in range(1, 11))
    assert "Terms for 12 definitions" in said and "95 % interval" in said
    assert outcome.metrics["bits_per_byte"][0] < 4


@pytest.mark.parametrize(
    ("name", "column"), [("gene_ontology", "definition, term"), ("abstract_sorting", "definition")]
)
def test_other_data_is_told_by_the_column_it_lacks(name, column):
    of = loading.load(name, directory=EXPERIMENTS)
    with pytest.raises(ValueError, match=f"^data must have the columns {column}; those of splice are sequence"):
        of.preprocess(data.load("splice"))


def test_leading_words_name_a_definition_better_than_any_other_number_of_them(gpt, few):
    module = gpt[1]
    n, given = module.n_leading(few), few.train["inputs"]
    scores = [
        np.mean(
            [
                text.rouge_l(text.words(d)[:m], text.words(t)).f1
                for d, t in zip(given["definition"], given["term"], strict=True)
            ]
        )
        for m in (n - 1, n, n + 1)
    ]
    assert scores[1] == max(scores)


def test_a_bag_of_words_does_not_see_stop_words_order_or_padding(few):
    of = loading.load("abstract_sorting", directory=EXPERIMENTS)
    dataset = of.preprocess(few)
    model = of.model(of.hyperparameters, dataset.card)
    params, _ = model.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(1), leaf.shape), params)
    known = {word: i for i, word in enumerate(dataset.card.vocabulary)}
    pad = known["<pad>"]

    def logits(*words):
        row = [known[word] for word in words] + [pad] * (64 - len(words))
        return model.apply(params, {}, np.array([row], np.int32))[0][0]

    plain = logits("binding", "protein")
    np.testing.assert_allclose(logits("protein", "binding"), plain, rtol=1e-5)  # sums in another order
    np.testing.assert_allclose(logits("the", "binding", "of", "protein"), plain, rtol=1e-5)
    assert not np.allclose(logits("binding"), plain, rtol=1e-2)


def test_both_readers_learn_to_sort(few):
    of = loading.load("abstract_sorting", directory=EXPERIMENTS)
    dataset = of.preprocess(few)
    largest = np.bincount(dataset.test["targets"]).max() / len(dataset.test["targets"])
    for reader in ("bag", "encoder"):
        settings = dataclasses.replace(of.hyperparameters, reader=reader, width=16, n_layers=1, batch_size=32, epochs=8)
        outcome = execution.execute(of, settings, dataset, seeds=[0])
        assert outcome.metrics["accuracy"][0] > largest, reader


def test_the_help_tells_the_step_size_of_each_reader():
    of = loading.load("abstract_sorting", directory=EXPERIMENTS)
    (field,) = [one for one in dataclasses.fields(of.hyperparameters) if one.name == "learning_rate"]
    assert "the bag of words takes ten times it" in field.metadata["help"]
    peaks = {}
    for reader in ("bag", "encoder"):
        settings = dataclasses.replace(of.hyperparameters, reader=reader, weight_decay=0.0)
        optimizer, params = of.optimizer(settings, 20), {"weights": np.zeros(1, np.float32)}
        state = optimizer.init(params)
        for _ in range(2):  # the second step is at the peak; of a gradient that stays the same, Adam makes one
            update, state = optimizer.update({"weights": np.ones(1, np.float32)}, state, params)
        peaks[reader] = -float(update["weights"][0])
    assert peaks == pytest.approx({"bag": 2e-2, "encoder": 2e-3}, rel=1e-4)  # float32: 1 - 0.999**2 loses three digits

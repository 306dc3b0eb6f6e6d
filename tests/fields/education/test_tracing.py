"""Models of answers against sums over all states, and the integral over abilities by SciPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from jaxresearch.data import Column, DataCard, Dataset
from jaxresearch.fields import education

N_ITEMS, LENGTH = 4, 5
ITEMS = np.array([[0, 1, 2, 3, 0], [3, 3, 1, 0, 2], [2, 1, 0, -1, -1]])
ANSWERS = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 1, 1], [1, 1, 0, -1, -1]])
INPUTS = jnp.asarray(np.stack([ITEMS, ANSWERS], axis=-1))
MODELS = {
    "items": education.item_rates(N_ITEMS),
    "rasch": education.item_response(N_ITEMS),
    "two_parameters": education.item_response(N_ITEMS, discriminations=True),
    "tracing": education.bayesian_tracing(N_ITEMS),
}


def drawn(name):
    """Returns a model and parameters away from their start."""
    params, state = MODELS[name].init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.5 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return lambda inputs: MODELS[name].apply(jax.tree.unflatten(tree, moved), state, inputs)[0], jax.tree.unflatten(
        tree, moved
    )


def likelihoods(odds):
    """Returns the likelihood of each person's answers, as the product of the predictions."""
    return np.exp(-np.asarray(education.answer_losses(odds, jnp.asarray(ANSWERS))) * (ANSWERS >= 0).sum(axis=1))


@pytest.mark.parametrize("name", ["rasch", "two_parameters"])
def test_item_response_integrates_over_abilities(name):
    apply, params = drawn(name)
    slopes = np.exp(np.broadcast_to(params["log_slope"], (N_ITEMS,)))

    def of_person(items, answers):
        def density(ability):
            odds = slopes[items] * ability + np.asarray(params["easiness"])[items]
            return np.prod(special.expit(np.where(answers == 1, odds, -odds))) * stats.norm.pdf(ability)

        return integrate.quad(density, -8, 8)[0]

    expected = [
        of_person(items[answers >= 0], answers[answers >= 0]) for items, answers in zip(ITEMS, ANSWERS, strict=True)
    ]
    np.testing.assert_allclose(likelihoods(apply(INPUTS)), expected, rtol=1e-4)  # of 21 nodes, in float32


def test_bayesian_tracing_sums_over_all_states():
    apply, params = drawn("tracing")
    known, learn = (float(special.expit(params[name])) for name in ("known", "learn"))
    slip, guess = (special.expit(np.asarray(params[name])) for name in ("slip", "guess"))
    expected = []
    for items, answers in zip(ITEMS, ANSWERS, strict=True):
        items, total = items[answers >= 0], 0.0
        for states in itertools.product((0, 1), repeat=len(items)):
            chance = known if states[0] else 1 - known
            for before, now in itertools.pairwise(states):
                chance *= float(now) if before else (learn if now else 1 - learn)
            for item, state, answer in zip(items, states, answers, strict=False):
                right = 1 - slip[item] if state else guess[item]
                chance *= right if answer else 1 - right
            total += chance
        expected.append(total)
    np.testing.assert_allclose(likelihoods(apply(INPUTS)), expected, rtol=1e-5)  # float32


def test_item_rates_predict_the_item_alone():
    apply, params = drawn("items")
    np.testing.assert_array_equal(apply(INPUTS)[:2], params["easiness"][ITEMS[:2]])


@pytest.mark.parametrize("name", [*MODELS, "features"])
@pytest.mark.parametrize("place", range(LENGTH))
def test_a_prediction_does_not_see_its_answer_or_later_ones(name, place):
    apply = (lambda x: education.previous_answers(x, n_items=N_ITEMS)) if name == "features" else drawn(name)[0]
    changed = INPUTS.at[:2, place:, 1].set(1 - INPUTS[:2, place:, 1])
    changed = changed.at[:2, place + 1 :, 0].set(0)
    np.testing.assert_array_equal(apply(INPUTS)[:2, : place + 1], apply(changed)[:2, : place + 1])


def test_a_right_answer_raises_the_next_prediction():
    for name in ("rasch", "two_parameters", "tracing"):
        params, state = MODELS[name].init(jax.random.key(0))
        answered = [INPUTS.at[:, 0, 1].set(answer) for answer in (1, 0)]
        right, wrong = (MODELS[name].apply(params, state, inputs)[0] for inputs in answered)
        assert (np.asarray(right - wrong)[:2, 1:] > 0).all(), name


def test_gradients_are_finite_with_padding():
    for name, model in MODELS.items():
        params, state = model.init(jax.random.key(0))

        def loss(params, model=model, state=state):
            return education.answer_losses(model.apply(params, state, INPUTS)[0], jnp.asarray(ANSWERS)).sum()

        gradient = jax.grad(loss)(params)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient)), name


def rows(kind="category", class_names=("no", "yes"), **left):
    """Returns a table of answers."""
    part = {"inputs": {"item": np.array([0, 1])}, "targets": np.array([0, 1]), "groups": np.array([3, 3])}
    part = {name: entry for name, entry in part.items() if left.get(name, True)}
    card = DataCard(name="mine", source="memory", columns=(Column(name="item", kind=kind),), class_names=class_names)
    return Dataset(part, part, None, card)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (rows(kind="text"), "^item must be a category, got a column of kind text. Pass --types item=category."),
        (rows(class_names=()), "^answers must be of two classes, wrong and right, got values. Choose another target."),
        (rows(class_names=("a", "b", "c")), "^answers must be of two classes, wrong and right, got 3. Choose another"),
        (
            rows(class_names=("a", "b")),
            r"^answers must be classes that say which is right \(0 and 1, .* got a and b\. Write 1",
        ),
        (rows(class_names=("no", "right")), "got no and right"),
        (rows(groups=False), "^answers must be split by person, got rows without groups. Pass --group with the column"),
    ],
)
def test_answer_sequences_need_items_and_persons(data, message):
    with pytest.raises(ValueError, match=message):
        education.answer_sequences(data)


@pytest.mark.parametrize(
    ("names", "is_first_right"), [(("0", "1"), False), (("Right", "Wrong"), True), (("correct", "incorrect"), True)]
)
def test_answer_sequences_know_the_right_answer_by_name(names, is_first_right):
    found = education.answer_sequences(rows(class_names=names))
    assert found.train["targets"].tolist() == ([[1, 0]] if is_first_right else [[0, 1]])
    np.testing.assert_array_equal(found.train["inputs"][..., 1], found.train["targets"])
    assert found.card.class_names == (names[::-1] if is_first_right else names)


def test_answer_sequences_refuse_an_answer_without_an_item():
    data = rows()
    part = {**data.train, "inputs": {"item": np.array([0, -1])}}
    message = (
        r"^item must be given for every answer, got none in row 2 of the test part \(1 in all\)\. Fill it in or drop"
    )
    with pytest.raises(ValueError, match=message):
        education.answer_sequences(data._replace(test=part))


def test_answer_sequences_keep_the_order_of_the_rows():
    part = {
        "inputs": {"item": np.array([2, 0, 1, 1])},
        "targets": np.array([1, 1, 0, 1]),
        "groups": np.array([9, 4, 9, 9]),
    }
    data = answered = education.answer_sequences(rows()._replace(train=part))
    assert answered.train["inputs"].tolist() == [[[0, 1], [-1, -1], [-1, -1]], [[2, 1], [1, 0], [1, 1]]]
    assert data.train["targets"].tolist() == [[1, -1, -1], [1, 0, 1]] and data.train["groups"].tolist() == [4, 9]

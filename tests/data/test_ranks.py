"""Ranks among the training examples: the closed form, ties, other data, and who may see which examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxresearch import data

CARD = data.DataCard(name="mine", source="memory")


def fitted_on(inputs, n_quantiles=101):
    part = {"inputs": inputs, "targets": np.zeros(len(inputs), np.int32)}
    ranked = data.with_ranks(data.standard, n_quantiles=n_quantiles)
    return ranked, ranked.fit(part, CARD)


def ranks_of(ranked, fitted, inputs):
    return ranked.apply(fitted, {"inputs": inputs}, training=False)["inputs"][:, inputs.shape[1] :]


def test_with_ranks_of_distinct_values_are_their_ranks():
    inputs = np.random.default_rng(0).lognormal(size=(101, 2))
    expected = 12**0.5 * ((scipy.stats.rankdata(inputs, axis=0) - 1) / 100 - 0.5)
    # float32 quantiles of float32 features: a place among neighbours 1/100 apart is off by their resolution
    np.testing.assert_allclose(ranks_of(*fitted_on(inputs), inputs), expected, atol=1e-4)


def test_with_ranks_gives_ties_their_middle():
    inputs = np.array([[0.0], [0.0], [0.0], [1.0], [2.0]])
    ranked, fitted = fitted_on(inputs, n_quantiles=5)
    places = ranks_of(ranked, fitted, np.array([[0.0], [0.5], [1.0], [2.0], [-1.0], [9.0]]))[:, 0] / 12**0.5 + 0.5
    np.testing.assert_allclose(4 * places, [1, 2.5, 3, 4, 0, 4], atol=1e-5)


def test_with_ranks_of_a_constant_has_both_sides():
    ranked, fitted = fitted_on(np.full((7, 1), 9.0))
    places = ranks_of(ranked, fitted, np.array([[8.0], [9.0], [10.0]]))[:, 0] / 12**0.5
    np.testing.assert_allclose(places, [-0.5, 0, 0.5], atol=1e-6)


def test_with_ranks_agrees_in_numpy_and_compiled():
    inputs = np.random.default_rng(1).normal(size=(200, 3)).round(1).astype(np.float32)
    ranked, fitted = fitted_on(inputs)
    compiled = jax.jit(lambda values: ranked.apply(fitted, {"inputs": values}, training=False)["inputs"])
    expected = ranked.apply(fitted, {"inputs": inputs}, training=False)["inputs"]
    np.testing.assert_allclose(compiled(jnp.asarray(inputs)), expected, atol=1e-3)  # of a place between neighbours


def test_with_ranks_is_fitted_to_training_examples_alone():
    patches = data.load("image_segmentation")
    ranked = data.with_ranks(data.standard)
    changed = {name: values + 1e3 for name, values in patches.test["inputs"].items()}
    prepared = data.prepare(ranked, patches)
    other = data.prepare(ranked, patches._replace(test={**patches.test, "inputs": changed}))
    assert data.digest(prepared.fitted) == data.digest(other.fitted)
    assert prepared.card.feature_names[19:21] == ("rank of region_centroid_col", "rank of region_centroid_row")
    assert prepared.train["inputs"].shape == (1848, 38) and abs(prepared.train["inputs"]).max() < 50


@pytest.mark.raises
def test_with_ranks_refuses_what_has_none():
    with pytest.raises(ValueError, match=r"n_quantiles must be 2 or more, got 1\. Pass 101"):
        data.with_ranks(data.standard, n_quantiles=1)
    with pytest.raises(ValueError, match=r"inputs must be a matrix to be ranked, got \(2, 3, 4\)\. Leave out"):
        fitted_on(np.zeros((2, 3, 4)))

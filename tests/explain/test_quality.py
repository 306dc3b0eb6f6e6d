"""Measures of attributions: closed forms, loops, and the sanity check of random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxresearch import explain, losses, models, training
from jaxresearch.explain.quality import _rank_correlation

WEIGHTS = jnp.array([2.0, -3.0, 0.5])
INPUTS = jax.random.normal(jax.random.key(1), (4, 3))


def linear(x):
    return x @ WEIGHTS


def total(x):
    return x.sum(axis=1)


def test_infidelity_of_wrong_attributions_is_their_squared_error(key):
    """Of a linear model under normal noise: sigma^2 |a - w|^2."""
    wrong = jnp.array([[2.0, 3.0, 0.5], [0.0, -3.0, 0.5], [2.0, -3.0, 0.5], [0.0, 0.0, 0.0]])
    found = jax.jit(
        lambda: explain.infidelity(key, linear, INPUTS, wrong, noise_scale=0.2, n_samples=20_000, batch_size=400)
    )()
    expected = 0.04 * ((wrong - WEIGHTS[None]) ** 2).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=0.05, atol=1e-9)  # 5 standard errors, sqrt(2 / 20,000)


def test_infidelity_takes_other_perturbations(key):
    """Removal of the whole example: completeness makes integrated gradients exact."""

    def square(x):
        return (x**2).sum(axis=1)

    attributions, _ = explain.integrated_gradients(square, INPUTS, n_steps=4)
    found = explain.infidelity(
        key, square, INPUTS, attributions / INPUTS, perturb=lambda key, example: example, n_samples=3
    )
    np.testing.assert_allclose(found, 0, atol=1e-10)
    gradients = explain.infidelity(key, square, INPUTS, 2 * INPUTS, perturb=lambda key, example: example, n_samples=3)
    np.testing.assert_allclose(gradients, (INPUTS**2).sum(axis=1) ** 2, rtol=1e-5)


def test_sensitivity_of_a_square_is_bounded_by_the_radius(key):
    """The gradient of x^2 moves by at most twice the radius: by 2 r over 2 |x|."""
    inputs = jnp.array([[1.0], [-2.0]])
    found = explain.sensitivity(
        key, lambda x: explain.saliency(lambda x: (x**2).sum(axis=1), x), inputs, radius=0.1, n_samples=200
    )
    assert (found <= jnp.array([0.1, 0.05]) + 1e-6).all() and (found > 0.95 * jnp.array([0.1, 0.05])).all()


def test_sensitivity_of_attributions_that_are_nan_is_nan(key):
    found = explain.sensitivity(key, lambda x: x * jnp.array([[0.0], [jnp.nan]]), jnp.ones((2, 1)))
    np.testing.assert_array_equal(found, [0, jnp.nan])


def test_curves_follow_the_order_of_attributions():
    inputs = jnp.array([[1.0, 4.0, 2.0, 3.0]])
    curve, area = explain.deletion_curve(total, inputs, inputs, n_steps=2)
    assert curve.tolist() == [[10, 3, 0]] and area.tolist() == [(10 / 2 + 3) / 2]
    curve, area = explain.insertion_curve(total, inputs, inputs, n_steps=4)
    assert curve.tolist() == [[0, 4, 7, 9, 10]] and area.tolist() == [(4 + 7 + 9 + 5) / 4]


def test_curves_rank_pixels_over_channels():
    images = jnp.arange(1.0, 9.0).reshape(1, 2, 2, 2)
    curve, _ = explain.deletion_curve(
        lambda x: x.sum(axis=(1, 2, 3)), images, images.sum(axis=3, keepdims=True), n_steps=4, batch_size=3
    )
    assert curve.tolist() == [[36, 21, 10, 3, 0]]


def test_good_attributions_have_better_curves():
    x = jax.random.normal(jax.random.key(2), (50, 20))
    weights = jnp.linspace(-2, 2, 20)
    right, wrong = x * weights[None], jax.random.normal(jax.random.key(3), x.shape)
    deleted, inserted = ([curve(lambda x: x @ weights, x, one)[1].mean() for one in (right, wrong)] for curve in CURVES)
    assert deleted[0] < deleted[1] and inserted[0] > inserted[1]


CURVES = (explain.deletion_curve, explain.insertion_curve)


def test_rank_correlation_equals_scipy_with_ties():
    a = jnp.round(jax.random.normal(jax.random.key(4), (5, 30)))
    b = jnp.round(a + jax.random.normal(jax.random.key(5), (5, 30)))
    expected = [scipy.stats.spearmanr(*pair).statistic for pair in zip(a, b, strict=True)]
    np.testing.assert_allclose(_rank_correlation(a, b), expected, atol=1e-6)
    assert _rank_correlation(jnp.zeros((1, 3)), a[:1, :3]).tolist() == [0]


@pytest.mark.long
def test_maps_change_when_the_weights_are_randomised(key):
    """A trained network: attributions of all layers drawn anew hardly correlate with those learnt."""
    model = models.mlp(16, (32,), 3)
    weights = jax.random.normal(jax.random.key(6), (16, 3)) * jnp.linspace(0, 3, 16)[:, None]
    x = jax.random.normal(jax.random.key(7), (600, 16))
    data = {"inputs": x, "targets": (x @ weights).argmax(axis=1)}
    loss = losses.softmax_cross_entropy_with_integer_labels
    algorithm = training.supervised(model, loss, optimizer=training.gradient_descent(0.5), metrics={})
    state, _ = training.run(key, data, algorithm=algorithm, plan=training.Plan(100, 200))

    def attribute(params, x):
        return explain.integrated_gradients(lambda x: model.apply(params, {}, x)[0], x, target=0, n_steps=16)[0]

    found = explain.randomised_weights(
        jax.random.key(8),
        attribute,
        state.params,
        x[:50],
        init=lambda key: model.init(key)[0],
        layers=["Dense_1", "Dense_0"],
    )
    assert found["Dense_0"].mean() < 0.6 and found["Dense_0"].shape == (50,)
    same = explain.randomised_weights(jax.random.key(8), attribute, state.params, x[:50], init=lambda key: state.params)
    np.testing.assert_allclose(same["all"], 1, atol=1e-5)


@pytest.mark.raises
def test_measures_refuse_other_shapes(key):
    with pytest.raises(ValueError, match=r"attributions must have the shapes of the inputs, \(4, 3\), got \(4, 2\)"):
        explain.infidelity(key, linear, INPUTS, jnp.ones((4, 2)))
    with pytest.raises(ValueError, match=r"\(4, 3\), got \(4, 2\). For values of groups, use explain.laid_out"):
        explain.deletion_curve(linear, INPUTS, jnp.ones((4, 2)))
    with pytest.raises(ValueError, match="layers must be among Dense_0, got 'Dense_1'"):
        explain.randomised_weights(key, lambda p, x: x, {"Dense_0": 1}, INPUTS, init=lambda key: {}, layers=["Dense_1"])

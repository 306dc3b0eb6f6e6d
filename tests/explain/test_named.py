"""Attributions by the name of their method: the same as of the method itself, one for each place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import explain, models

KEY = jax.random.key(0)
WEIGHTS = jax.random.normal(jax.random.key(1), (6, 4, 2))


def letters():
    """Returns one-hot sequences of six letters."""
    return jax.nn.one_hot(jnp.array([[0, 1, 2, 3, 0, 1], [3, 3, 2, 2, 1, 0]]), 4)


def linear(inputs):
    """Returns two scores that are linear in the letters."""
    return jnp.einsum("nla,lao->no", inputs, WEIGHTS)


@pytest.mark.parametrize("method", ["integrated_gradients", "input_x_gradient", "occlusion"])
def test_attributions_of_a_linear_model_are_its_terms(method):
    inputs = letters()
    found = explain.attributions(KEY, linear, inputs, method=method, target=1)
    np.testing.assert_allclose(found, jnp.einsum("nla,la->nl", inputs, WEIGHTS[..., 1]), atol=1e-5)  # float32


def test_attributions_of_the_slope_are_sums_over_letters():
    inputs = letters()
    slope = explain.attributions(KEY, linear, inputs, method="smoothgrad", target=0)
    np.testing.assert_allclose(slope, jnp.broadcast_to(WEIGHTS[..., 0].sum(-1), (2, 6)), atol=1e-4)  # 64 float32 terms
    sizes = explain.attributions(KEY, linear, inputs, method="saliency", target=0)
    np.testing.assert_allclose(sizes, jnp.broadcast_to(abs(WEIGHTS[..., 0]).sum(-1), (2, 6)), atol=1e-5)


def test_smoothgrad_noise_follows_the_range_of_each_example():
    images = jax.random.uniform(jax.random.key(2), (3, 4, 4, 1)) * jnp.array([1.0, 255.0, 0.01]).reshape(-1, 1, 1, 1)

    def found(images):
        return explain.attributions(KEY, lambda x: (x**3).sum(axis=(1, 2, 3)), images, method="smoothgrad")

    for place in range(3):  # the noise of the first place, whose draws are those of an image alone
        first = jnp.roll(images, -place, axis=0)
        np.testing.assert_allclose(found(first)[0], found(first[:1])[0], rtol=1e-5)  # float32 sums
    np.testing.assert_allclose(found(images * 7), 49 * found(images), rtol=1e-4)  # a slope of degree 2


def test_smoothgrad_of_an_example_without_a_range_is_its_slope():
    grey = jnp.full((1, 4, 4, 1), 2.0)
    found = explain.attributions(KEY, lambda x: (x**2).sum(axis=(1, 2, 3)), grey, method="smoothgrad")
    np.testing.assert_allclose(found, jnp.full((1, 4, 4), 4.0), rtol=1e-5)  # 64 float32 terms


def tokens():
    """Returns a small transformer as a function of tokens, and tokens."""
    sizes = models.TransformerSizes(context=5, width=8, n_layers=1, n_heads=2)
    model = models.classifier(7, 2, sizes)
    params, model_state = model.init(jax.random.key(3))
    return lambda inputs: model.apply(params, model_state, inputs)[0], jnp.array([[3, 1, 4, 2, 5]])


def test_attributions_of_tokens_add_up_to_the_change():
    predict, inputs = tokens()
    found = explain.attributions(KEY, predict, inputs, target=1, baseline=6, layer="embedded")
    change = predict(inputs) - predict(jnp.full_like(inputs, 6))
    assert found.shape == inputs.shape
    assert float(found.sum()) == pytest.approx(float(change[0, 1]), abs=1e-3)  # 128 nodes


def test_grad_cam_is_read_at_the_named_layer():
    model, images = models.cnn((8, 8, 1), 3, channels=(4,), hidden=8), jax.random.uniform(KEY, (2, 8, 8, 1))
    params, model_state = model.init(jax.random.key(1))

    def predict(inputs):
        return model.apply(params, model_state, inputs)[0]

    found = explain.attributions(KEY, predict, images, method="grad_cam", target=2, layer="Conv_0")
    before, after = models.split_at(model, params, model_state, layer="Conv_0")
    expected = explain.grad_cam(after, before(images), fixed=images, target=2, size=(8, 8))
    np.testing.assert_allclose(found, expected, atol=1e-6)  # the same operations


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "integrated_gradient"}, "Did you mean 'integrated_gradients'"),
        ({"method": "grad_cam"}, "layer must be given for grad_cam"),
        ({"layer": "embedded"}, "layer must be left out for integrated_gradients"),
        ({"baseline": np.zeros((5, 4))}, r"baseline must have the shape of one example, \(6, 4\)"),
    ],
)
def test_attributions_explain_what_they_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        explain.attributions(KEY, linear, letters(), target=0, **options)


def test_attributions_of_tokens_need_a_layer_of_the_model():
    predict, inputs = tokens()
    with pytest.raises(ValueError, match="layer must be given for saliency of tokens"):
        explain.attributions(KEY, predict, inputs, method="saliency", target=1)
    with pytest.raises(ValueError, match="layer must be one of the model's .* got 'embeded'. Did you mean 'embedded'"):
        explain.attributions(KEY, predict, inputs, target=1, layer="embeded")

"""Grad-CAM and attention rollout, and integrated gradients of embeddings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import explain, models

SIZES = models.TransformerSizes(context=5, width=8, n_layers=2, n_heads=2, padding=0)
TOKENS = jnp.array([[3, 1, 4, 0, 0], [1, 5, 2, 6, 3]])


def test_grad_cam_equals_its_definition_on_a_network():
    model = models.cnn((8, 8, 1), 3, channels=(2, 4), hidden=8)
    params, model_state = model.init(jax.random.key(0))
    images, classes = jax.random.normal(jax.random.key(1), (3, 8, 8, 1)), jnp.array([2, 0, 1])
    before, after = models.split_at(model, params, model_state, layer="Conv_1")
    activations = before(images)
    maps = explain.grad_cam(after, activations, fixed=images, target=classes, batch_size=2)
    for i in range(3):
        slope = jax.grad(lambda a, i=i: after(a[None], images[i][None])[0, classes[i]])(activations[i])
        alpha = np.asarray(slope).mean(axis=(0, 1))
        np.testing.assert_allclose(maps[i], np.maximum(np.asarray(activations[i]) @ alpha, 0), atol=1e-6)  # float32
    assert maps.max() > 0
    large = explain.grad_cam(after, activations, fixed=images, target=classes, size=(8, 8))
    assert large.shape == (3, 8, 8) and large.max() <= maps.max() + 1e-6


def test_attention_rollout_equals_a_product_of_matrices():
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(0), (3, 2, 4, 5, 5)))
    expected = np.stack(
        [
            np.linalg.multi_dot([0.3 * np.eye(5) + 0.7 * np.asarray(layer[i].mean(axis=0)) for layer in weights[::-1]])
            for i in range(2)
        ]
    )
    rollout = explain.attention_rollout(weights, residual=0.3)
    np.testing.assert_allclose(rollout, expected, atol=1e-6)  # float32
    np.testing.assert_allclose(rollout.sum(axis=2), 1, atol=1e-6)


def test_attention_rollout_leaves_padding_out():
    model = models.classifier(7, 3, SIZES)
    weights = models.attention_weights(model, *model.init(jax.random.key(0)), TOKENS)
    rollout = explain.attention_rollout(weights)
    assert rollout[0, :3, 3:].max() == 0 and rollout[0, :3, :3].min() > 0


def test_integrated_gradients_of_embeddings_are_complete():
    """The layer variant: from the embeddings of padding to those of the tokens, in batches with fixed tokens."""
    model = models.classifier(7, 3, SIZES)
    params, model_state = model.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: 2 * leaf, params)  # farther from linear
    before, after = models.split_at(model, params, model_state, layer="embedded")
    start = before(jnp.full_like(TOKENS, 6))
    attributions, delta = jax.jit(
        lambda: explain.integrated_gradients(
            after, before(TOKENS), baseline=start, fixed=TOKENS, target=1, batch_size=1
        )
    )()
    assert attributions.shape == (2, 5, 8) and abs(attributions[0, 3:]).max() == 0  # padding is not read
    change = (model.apply(params, model_state, TOKENS)[0] - after(start, TOKENS))[:, 1]
    np.testing.assert_allclose(attributions.sum(axis=(1, 2)), change, atol=1e-3)  # the promise for 64 nodes
    assert abs(change).min() > 1e-2 and abs(delta).max() < 1e-3


@pytest.mark.raises
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: explain.grad_cam(lambda a: a.sum(axis=1), jnp.ones((2, 3))),
            r"must be \(examples, places..., channels\)",
        ),
        (
            lambda: explain.grad_cam(lambda a: a.sum(axis=(1, 2)), jnp.ones((2, 3, 4)), size=(2, 2)),
            "size must have 1 entries",
        ),
        (
            lambda: explain.attention_rollout(jnp.ones((2, 3, 3))),
            r"must be \(layers, examples, heads, n, n\), got shape",
        ),
        (
            lambda: explain.attention_rollout(jnp.ones((1, 1, 1, 2, 2)), residual=1.5),
            "residual must be from 0 to 1, got 1.5",
        ),
    ],
)
def test_bad_shapes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

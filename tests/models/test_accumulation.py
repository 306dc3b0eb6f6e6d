"""Gradients of real networks, accumulated over micro batches: those of the whole batch, with weights and padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import gradients, losses, models, training

LENGTH, N_TOKENS = 7, 11
SIZES = models.TransformerSizes(context=LENGTH, width=16, n_layers=2, n_heads=2, padding=0)


def network_of(kind):
    """Returns a network, and a batch of twelve examples with weights; sequences end in padding."""
    generator = np.random.default_rng(0)
    weights = jnp.asarray([1, 1, 1, 0.5, 1, 1, 2, 1, 1, 1, 0, 0], jnp.float32)  # the last two are padding
    if kind == "mnist":
        inputs = jnp.asarray(generator.integers(0, 256, (12, 784)), jnp.uint8)
        targets = jnp.asarray(generator.integers(0, 10, 12), jnp.int32)
        return models.mlp(784, (128,), 10), {"inputs": inputs, "targets": targets, "weights": weights}
    tokens = generator.integers(1, N_TOKENS, (12, LENGTH))
    tokens = jnp.asarray(np.where(np.arange(LENGTH) < generator.integers(3, LENGTH + 1, (12, 1)), tokens, 0))
    model = models.decoder(N_TOKENS, SIZES) if kind == "decoder" else models.encoder(N_TOKENS, SIZES)
    return model, {"inputs": tokens, "targets": jnp.roll(tokens, -1, axis=1), "weights": weights}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["mnist", "encoder", "decoder"])
def test_accumulated_equals_the_whole_batch_of_a_network(kind, key):
    model, batch = network_of(kind)
    params, model_state = jax.jit(model.init)(key)
    loss_fn = training.mean_loss(model, losses.softmax_cross_entropy_with_integer_labels)
    whole = gradients.plain(loss_fn)
    of_batch, metrics, _ = jax.jit(whole)(params, model_state, batch, key)
    parts = gradients.accumulated(whole, n_micro_batches=6)
    of_parts, metrics_of_parts, _ = jax.jit(parts)(params, model_state, batch, key)
    np.testing.assert_allclose(metrics_of_parts["loss"], metrics["loss"], rtol=1e-6)
    for a, b in zip(jax.tree.leaves(of_parts), jax.tree.leaves(of_batch), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)  # the float32 sums of twelve terms in another order
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(of_batch)) > 0.05

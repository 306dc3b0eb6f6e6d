"""Taggers: labels of tokens by the encoder, whose blocks may read neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import models

N_TOKENS, LENGTH, PADDING = 11, 9, 10


def sized(**changes):
    return models.TransformerSizes(**{"context": 12, "width": 8, "n_layers": 1, "n_heads": 2, **changes})


def stirred(model, seed=0):
    """Returns parameters far from their initial values."""
    generator = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(seed))[0]
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(0, 0.5, leaf.shape), jnp.float32), shapes)


def tokens(n_rows=2, seed=1):
    return jnp.asarray(np.random.default_rng(seed).integers(0, N_TOKENS - 1, (n_rows, LENGTH)), jnp.int8)


def outputs_of(model, params, inputs):
    return np.asarray(jax.jit(model.apply)(params, {}, inputs)[0])


def test_a_tagger_shares_all_but_the_head_with_the_encoder():
    sizes = sized(kernel=3)
    params, pretrained = stirred(models.tagger(N_TOKENS, 4, sizes)), stirred(models.encoder(N_TOKENS, sizes), seed=5)
    assert params.keys() - {"head"} == pretrained.keys()
    started, _ = models.warm_started(models.tagger(N_TOKENS, 4, sizes), pretrained).init(jax.random.key(0))
    np.testing.assert_array_equal(started["embedding"], pretrained["embedding"])
    assert outputs_of(models.tagger(N_TOKENS, 4, sizes), params, tokens()).shape == (2, LENGTH, 4)


def test_the_mean_of_a_taggers_logits_is_the_classifiers():
    sizes = sized(padding=PADDING)
    tagger, classifier = models.tagger(N_TOKENS, 4, sizes), models.classifier(N_TOKENS, 4, sizes)
    params = stirred(tagger)
    each, pooled = (outputs_of(model, params, tokens()) for model in (tagger, classifier))
    np.testing.assert_allclose(each.mean(axis=1), pooled, atol=1e-5)  # float32: a linear head commutes with the mean


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_network_of_a_block_reads_its_neighbours(kernel):
    model = models.tagger(N_TOKENS, 4, sized(kernel=kernel))
    params = stirred(model)
    mix = params["block_0"]["mix"]  # without attention, only the network reads other tokens
    params["block_0"]["mix"] = jax.tree.map(jnp.zeros_like, mix)
    before, place = outputs_of(model, params, tokens()), 4
    after = outputs_of(model, params, tokens().at[0, place].set((tokens()[0, place] + 1) % (N_TOKENS - 1)))
    changed = (before[0] != after[0]).any(axis=-1)
    np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(place - kernel // 2, place + kernel // 2 + 1))


def test_a_kernel_is_a_convolution():
    model = models.tagger(N_TOKENS, 4, sized(kernel=3))
    params, seen = stirred(model), {}
    with_names = {"block_0/norm_network": "inputs", "block_0/network_in": "outputs"}
    for layer, name in with_names.items():
        before, _ = models.split_at(model, params, {}, layer=layer)
        seen[name] = np.asarray(before(tokens()))
    kernel = np.asarray(params["block_0"]["network_in"]["kernel"]).reshape(3, 8, 32)
    padded = np.pad(seen["inputs"], ((0, 0), (1, 1), (0, 0)))
    expected = sum(padded[:, place : place + LENGTH] @ kernel[place] for place in range(3))
    expected = expected + np.asarray(params["block_0"]["network_in"]["bias"])
    np.testing.assert_allclose(seen["outputs"].reshape(expected.shape), expected, atol=1e-4)  # float32


def test_padding_changes_no_label_of_the_other_tokens():
    model = models.tagger(N_TOKENS, 4, sized(kernel=5, padding=PADDING))
    params, plain = stirred(model), tokens()
    padded = jnp.pad(plain, ((0, 0), (0, 3)), constant_values=PADDING)
    expected = outputs_of(model, params, plain)
    np.testing.assert_allclose(outputs_of(model, params, padded)[:, :LENGTH], expected, atol=1e-5)  # float32


@pytest.mark.raises
def test_kernels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"kernel must be an odd number of tokens; got 4\. Pass 5"):
        sized(kernel=4)
    with pytest.raises(ValueError, match="kernel must be a whole number, 1 or more; got 0"):
        sized(kernel=0)
    for model in (models.decoder, lambda *args: models.cached_decoder(*args, n_rows=1)):
        with pytest.raises(ValueError, match="kernel must be 1 for a decoder, which reads no later tokens; got 3"):
            model(N_TOKENS, sized(kernel=3))
    with pytest.raises(ValueError, match="n_classes must be a whole number"):
        models.tagger(N_TOKENS, 0, sized())

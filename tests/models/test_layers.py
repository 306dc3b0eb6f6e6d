"""Layers by name: the halves of a model, and the weights of its attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import models

SIZES = models.TransformerSizes(context=6, width=8, n_layers=2, n_heads=2, n_kv_heads=1, padding=0)
TOKENS = jnp.array([[3, 1, 4, 0, 0, 0], [1, 5, 2, 6, 5, 3]])


def _cnn():
    model = models.cnn((8, 8, 1), 3, channels=(2, 4), hidden=8)
    return model, *jax.jit(model.init)(jax.random.key(0)), jax.random.normal(jax.random.key(1), (2, 8, 8, 1))


def _transformer(sizes=SIZES):
    model = models.classifier(7, 3, sizes)
    return model, *jax.jit(model.init)(jax.random.key(0)), TOKENS


@pytest.mark.parametrize("make", [_cnn, pytest.param(_transformer, marks=pytest.mark.long)])
def test_split_at_cuts_every_layer_in_two_halves(make):
    model, params, model_state, inputs = make()
    outputs, _ = jax.jit(model.apply)(params, model_state, inputs)
    shapes = models.layer_shapes(model, params, model_state, inputs)
    for layer in [*shapes][:4] + [*shapes][-2:]:
        shape = shapes[layer]
        before, after = models.split_at(model, params, model_state, layer=layer)
        activations, after = jax.jit(before)(inputs), jax.jit(after)
        assert activations.shape == shape
        np.testing.assert_allclose(after(activations, inputs), outputs, atol=1e-6, err_msg=layer)  # float32
        moved = after(activations * jnp.linspace(0.5, 2, shape[-1]).reshape(*[1] * (len(shape) - 1), -1), inputs)
        assert abs(moved - outputs).max() > 1e-5, layer


def test_layer_shapes_are_in_the_order_of_computation():
    names = [*models.layer_shapes(*_transformer())]
    assert names[0] == "embedded" and names[-1] == "head" and "block_1/attention" in names
    assert [*models.layer_shapes(*_cnn())] == ["Conv_0", "Conv_1", "Dense_0", "Dense_1"]


def test_split_at_computes_only_the_second_half_under_jit():
    model, params, model_state, inputs = _cnn()
    before, after = models.split_at(model, params, model_state, layer="Conv_1")
    activations = before(inputs)
    text = jax.jit(after).lower(activations, inputs).compile().as_text()
    assert "Conv_" not in text and "Conv_1" in jax.jit(before).lower(inputs).compile().as_text()


@pytest.mark.long
def test_attention_weights_mix_the_values():
    """The weights of each layer reproduce what its attention outputs, and padding is not read."""
    model, params, model_state, tokens = _transformer()
    weights = jax.jit(lambda tokens: models.attention_weights(model, params, model_state, tokens))(tokens)
    assert weights.shape == (2, 2, 2, 6, 6)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-6)
    assert weights[:, 0, :, :3, 3:].max() == 0 and weights[:, 0, :, :3, :3].min() > 0
    for layer in range(2):
        heads = models.split_at(model, params, model_state, layer=f"block_{layer}/queries_keys_values")[0](tokens)
        values = heads.reshape(2, 6, 4, 4)[:, :, 3]  # after two heads of queries and one of keys
        mixed = models.split_at(model, params, model_state, layer=f"block_{layer}/attention")[0](tokens)
        np.testing.assert_allclose(jnp.einsum("bhnm,bmd->bnhd", weights[layer], values), mixed, atol=1e-6)


def test_attention_weights_of_a_decoder_are_causal():
    model = models.decoder(7, SIZES)
    weights = jax.jit(lambda params: models.attention_weights(model, params, {}, TOKENS))(
        jax.jit(model.init)(jax.random.key(0))[0]
    )
    assert jnp.triu(weights[:, 1], 1).max() == 0


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "Conv_2",
            r"layer must be one of the model's \(Conv_0, Conv_1, Dense_0, Dense_1\), got 'Conv_2'. Did you mean 'Conv_",
        ),
        ("xyz", "got 'xyz'. Pass one of them."),
    ],
)
def test_split_at_names_the_nearest_layer(layer, message):
    model, params, model_state, inputs = _cnn()
    before, after = models.split_at(model, params, model_state, layer=layer)
    for half in (before, lambda inputs: after(inputs, inputs)):
        with pytest.raises(ValueError, match=message):
            half(inputs)


def test_split_at_refuses_models_without_layers():
    model = models.function(lambda key: {}, lambda params, x: x)
    before, _ = models.split_at(model, {}, {}, layer="Dense_0")
    with pytest.raises(ValueError, match=r"\(none, as only Linen models have any\), got 'Dense_0'"):
        before(jnp.ones((1, 2)))


def test_rematerialised_layers_are_refused():
    import dataclasses

    model, params, model_state, tokens = _transformer(dataclasses.replace(SIZES, remat="all"))
    before, _ = models.split_at(model, params, model_state, layer="block_0/mix")
    for read in (before, lambda tokens: models.attention_weights(model, params, model_state, tokens)):
        with pytest.raises(ValueError, match="rematerialised cannot be read.*remat='none'"):
            jax.eval_shape(read, tokens)


def test_attention_weights_refuses_other_models():
    with pytest.raises(ValueError, match="must be a transformer of this package, got one without attention"):
        models.attention_weights(*_cnn())

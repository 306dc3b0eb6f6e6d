"""Transformers: the same function with and without causal masks, padding, caches and reduced precision."""

import dataclasses
import functools
import itertools
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from jaxresearch import devices, losses, metrics, models, partitioning, sweeps, training
from jaxresearch.models import transformer

N_TOKENS, LENGTH = 11, 7
VARIANTS = {
    "rotary": {},
    "learnt": {"positions": "learnt"},
    "grouped": {"n_heads": 4, "n_kv_heads": 2},
    "grouped, learnt, untied": {"n_heads": 4, "n_kv_heads": 1, "positions": "learnt", "tied": False},
    "without biases": {"biases": False},
}
each = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
both_positions = pytest.mark.parametrize("positions", ["rotary", "learnt"])


def sized(**changes):
    return models.TransformerSizes(**{"context": 12, "width": 16, "n_layers": 2, "n_heads": 2, **changes})


@dataclasses.dataclass
class Settings:
    width: int = 8
    n_heads: int = 2
    n_layers: int = 3
    epochs: int = 5
    dropout_rate: float = 0.1


def test_sizes_from_hyperparameters_take_fields_and_arguments():
    sizes = models.TransformerSizes.of(Settings(), context=9, n_layers=1, padding=0)
    expected = {"context": 9, "width": 8, "n_layers": 1, "n_heads": 2, "dropout_rate": 0.1, "padding": 0}
    assert sizes == models.TransformerSizes(**expected)
    with pytest.raises(TypeError, match="context"):
        models.TransformerSizes.of(Settings())
    with pytest.raises(TypeError, match="epochs"):
        models.TransformerSizes.of(Settings(), context=9, epochs=3)


def stirred(model, seed=0):
    """Returns parameters far from their initial values, so that each branch, bias, scale and position matters."""
    generator = np.random.default_rng(seed)

    def draw(path, leaf):  # nothing is compiled for it
        centre = 1.0 if jax.tree_util.keystr(path).endswith("['scale']") else 0.0
        return jnp.asarray(generator.normal(centre, 0.3, leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, jax.random.key(seed))[0])


def empty_cache(model):
    _, cache = jax.eval_shape(model.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), cache)


def sentences(n_rows=3, length=LENGTH, seed=0):
    """Returns tokens from 1 on: 0 is left for padding."""
    return jnp.asarray(np.random.default_rng(seed).integers(1, N_TOKENS, (n_rows, length)), jnp.int32)


@functools.cache
def of_kind(kind, sizes):
    if kind in ("classifier", "by place"):
        return models.classifier(N_TOKENS, 3, sizes, pooling="mean" if kind == "classifier" else "flatten")
    return {"decoder": models.decoder, "encoder": models.encoder, "embedder": models.embedder}[kind](N_TOKENS, sizes)


@functools.cache
def compiled(model):
    return jax.jit(lambda params, tokens: model.apply(params, {}, tokens)[0])


def outputs_of(model, params, tokens):
    return np.asarray(compiled(model)(params, tokens))


def with_padding(tokens, *, left=0, right=0):
    return jnp.pad(tokens, ((0, 0), (left, right)))


# Which tokens see which


def changed_places(model):
    """Returns, for each position, the positions whose logits change with the token there."""
    params, tokens = stirred(model), sentences()
    before = outputs_of(model, params, tokens)[0]
    others = [tokens.at[0, place].set(tokens[0, place] % (N_TOKENS - 1) + 1) for place in range(LENGTH)]
    return np.stack([(outputs_of(model, params, other)[0] != before).any(axis=-1) for other in others])


@each
def test_decoder_logits_change_only_from_a_changed_token_on(changes):
    np.testing.assert_array_equal(changed_places(of_kind("decoder", sized(**changes))), np.triu(np.ones((7, 7))))


@each
def test_encoder_logits_change_at_every_place(changes):
    assert changed_places(of_kind("encoder", sized(**changes))).all()


def forward_by_hand(params, tokens, sizes):
    """Returns the logits of a decoder for one sentence, by loops in float64, from the papers."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    length, n_heads, half = len(tokens), sizes.n_heads, sizes.head_width // 2
    n_kv = sizes.n_kv_heads or n_heads

    def norm(x, layer):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * layer["scale"] + layer.get(
            "bias", 0
        )

    def dense(x, layer):
        return x @ layer["kernel"] + layer.get("bias", 0)

    def turned(vector, place):
        pairs = (vector[:half] + 1j * vector[half:]) * np.exp(1j * place * 10_000.0 ** (-np.arange(half) / half))
        return np.concatenate([pairs.real, pairs.imag])

    x = params["embedding"][tokens]
    if sizes.positions == "learnt":
        x = x + params["positions"][:length]
    for i in range(sizes.n_layers):
        block = params[f"block_{i}"]
        layer = {name: leaf.reshape(*leaf.shape[:-2], -1) for name, leaf in block["queries_keys_values"].items()}
        heads = dense(norm(x, block["norm_attention"]), layer).reshape(length, -1, 2 * half)
        if sizes.positions == "rotary":
            for place, head in np.ndindex(length, n_heads + n_kv):
                heads[place, head] = turned(heads[place, head], place)
        mixed = np.zeros((length, n_heads, 2 * half))
        for place, head in np.ndindex(length, n_heads):
            shared = head // (n_heads // n_kv)
            keys, values = heads[: place + 1, n_heads + shared], heads[: place + 1, n_heads + n_kv + shared]
            weights = np.exp(keys @ heads[place, head] / np.sqrt(2 * half))
            mixed[place, head] = weights @ values / weights.sum()
        x = x + dense(mixed.reshape(length, -1), block["mix"])
        inner = dense(norm(x, block["norm_network"]), block["network_in"])
        gelu = inner / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        x = x + dense(gelu, block["network_out"])
    return norm(x, params["norm"]) @ params["embedding" if sizes.tied else "head"].T


@each
def test_decoder_equals_a_forward_pass_by_hand_in_float64(changes):
    sizes = sized(**changes)
    model, tokens = of_kind("decoder", sizes), sentences()
    params = stirred(model)
    expected = forward_by_hand(params, np.asarray(tokens[0]), sizes)
    assert expected.std() > 0.5
    # Logits of order 3 from some ten sums of float32 in a row.
    np.testing.assert_allclose(outputs_of(model, params, tokens)[0], expected, rtol=1e-4, atol=1e-5)


# The cache


@functools.cache
def writer(sizes):
    model = models.cached_decoder(N_TOKENS, sizes, n_rows=3)
    return jax.jit(model.apply), empty_cache(model)


def written(params, tokens, sizes, pieces):
    """Returns the logits of tokens passed in pieces."""
    (apply, cache), logits, start = writer(sizes), [], 0
    for piece in pieces:
        made, cache = apply(params, cache, tokens[:, start : start + piece])
        logits.append(made)
        start += piece
    assert start == tokens.shape[1] == cache["n_seen"]
    return np.asarray(jnp.concatenate(logits, axis=1))


def relative_error(a, b):
    """Returns the norm of the difference over the norm of the second."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@each
@pytest.mark.parametrize("pieces", [(1,) * 7, (3, 1, 2, 1), (7,)], ids=["tokens", "pieces", "whole"])
def test_cached_decoder_equals_the_decoder(changes, pieces):
    sizes, tokens = sized(**changes), sentences()  # a context of 12, of which 7 are used
    model = of_kind("decoder", sizes)
    params = stirred(model)
    logits = written(params, tokens, sizes, pieces)
    np.testing.assert_allclose(logits, outputs_of(model, params, tokens), rtol=1e-5, atol=1e-5)  # other shapes of sums


@each
def test_cached_decoder_takes_rows_that_begin_with_padding(changes):
    sizes = sized(padding=0, **changes)
    model = of_kind("decoder", sizes)
    params = stirred(model)
    is_real = np.arange(LENGTH)[None] >= np.array([0, 2, 5])[:, None]
    tokens = jnp.where(is_real, sentences(), 0)
    logits, whole = written(params, tokens, sizes, (4, 1, 1, 1)), outputs_of(model, params, tokens)
    np.testing.assert_allclose(logits[is_real], whole[is_real], rtol=1e-5, atol=1e-5)  # other shapes of sums


@both_positions
def test_cached_decoder_equals_the_decoder_in_bfloat16(positions):
    sizes, tokens = sized(precision="bfloat16", positions=positions), sentences()
    model = of_kind("decoder", sizes)
    params = stirred(model)
    assert writer(sizes)[1]["block_0"]["keys"].dtype == jnp.bfloat16
    # A sum in a different order may round to the neighbour, 2**-8 away; some of ten successive roundings do.
    assert relative_error(written(params, tokens, sizes, (1,) * 7), outputs_of(model, params, tokens)) < 0.01


def test_cached_decoder_equals_the_decoder_with_remat():
    sizes, tokens = sized(remat="all"), sentences()
    model = of_kind("decoder", sizes)
    params = stirred(model)
    for pieces in ((1,) * 7, (3, 4)):
        logits = written(params, tokens, sizes, pieces)
        np.testing.assert_allclose(logits, outputs_of(model, params, tokens), rtol=1e-5, atol=1e-5)  # as without


@pytest.mark.parametrize("pieces", [(7, 5, 1, 1), (10, 3, 1)], ids=["full, then one", "more than is left"])
def test_cached_decoder_gives_nan_past_its_context(pieces):
    sizes, tokens = sized(), sentences(length=14)  # a context of 12
    logits = written(stirred(of_kind("decoder", sizes)), tokens, sizes, pieces)
    kept = 12 if pieces[0] == 7 else 10  # a call that does not fit has no logits at all
    assert np.isfinite(logits[:, :kept]).all() and np.isnan(logits[:, kept:]).all()


def test_cached_decoder_starts_with_an_empty_cache():
    sizes = sized()
    params, cache = jax.jit(models.cached_decoder(N_TOKENS, sizes, n_rows=3).init)(jax.random.key(4))
    drawn, _ = jax.jit(of_kind("decoder", sizes).init)(jax.random.key(4))
    jax.tree.map(np.testing.assert_array_equal, params, drawn)
    assert cache["block_1"]["values"].shape == (3, 12, 2, 8)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(cache))


def test_cached_decoder_ignores_its_key():
    apply, cache = writer(sized(dropout_rate=0.5))
    params = stirred(of_kind("decoder", sized()))
    keyed, plain = (apply(params, cache, sentences(), key)[0] for key in (jax.random.key(1), None))
    np.testing.assert_array_equal(keyed, plain)


# Padding

each_kind = pytest.mark.parametrize("kind", ["decoder", "encoder", "embedder", "classifier", "by place"])


@each_kind
@both_positions
@pytest.mark.parametrize("pad", [{"right": 4}, {"left": 4}, {"left": 1, "right": 3}], ids=["right", "left", "both"])
def test_padding_changes_nothing(kind, positions, pad):
    model, tokens = of_kind(kind, sized(padding=0, positions=positions)), sentences()
    params = stirred(model)
    padded = outputs_of(model, params, with_padding(tokens, **pad))
    if padded.ndim == 3:
        padded = padded[:, pad.get("left", 0) :][:, :LENGTH]
    np.testing.assert_allclose(padded, outputs_of(model, params, tokens), rtol=1e-5, atol=1e-5)  # other shapes of sums


@each_kind
@both_positions
@pytest.mark.parametrize("padding", [-1, N_TOKENS, 200])
def test_padding_need_not_be_in_the_vocabulary(kind, positions, padding):
    tokens = jnp.pad(sentences(), ((0, 0), (3, 1)), constant_values=0)
    known, unknown = (of_kind(kind, sized(padding=token, positions=positions)) for token in (0, padding))
    params = stirred(known)
    expected = outputs_of(known, params, tokens)
    np.testing.assert_array_equal(outputs_of(unknown, params, jnp.where(tokens == 0, padding, tokens)), expected)


def test_without_a_padding_token_each_token_counts():
    model, tokens = of_kind("embedder", sized()), sentences()
    params = stirred(model)
    assert (
        np.abs(outputs_of(model, params, with_padding(tokens, right=4)) - outputs_of(model, params, tokens)).max() > 0.1
    )


def test_embedder_averages_the_inputs_of_the_last_layer():
    sizes, tokens = sized(padding=0, tied=False), sentences().at[1, 4:].set(0)
    params = stirred(of_kind("encoder", sizes))
    logits = outputs_of(of_kind("encoder", sizes), params, tokens)
    means = np.stack([logits[0].mean(axis=0), logits[1, :4].mean(axis=0), logits[2].mean(axis=0)])
    embedded = outputs_of(of_kind("embedder", sizes), params, tokens)
    # The last layer is linear: the mean of its outputs is that of its inputs. Sums of 7 and 16 in float32.
    np.testing.assert_allclose(embedded @ np.asarray(params["head"]).T, means, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding", [None, 0])
def test_flatten_pooling_weights_each_position(padding):
    sizes, tokens = sized(padding=padding, tied=False), sentences().at[1, 4:].set(0)
    params = stirred(of_kind("by place", sizes))
    body = {name: leaf for name, leaf in params.items() if name != "head"}
    kernel, bias = (np.asarray(params["head"][name]) for name in ("kernel", "bias"))
    weights, expected = kernel.reshape(12, 16, 3), np.tile(bias, (3, 1))
    for place in range(LENGTH):  # the encoder's last layer, with the weights of one position
        head = np.zeros((N_TOKENS, 16), np.float32)
        head[:3] = weights[place].T
        votes = outputs_of(of_kind("encoder", sizes), {**body, "head": jnp.asarray(head)}, tokens)[:, place, :3]
        expected += np.where(np.asarray(tokens)[:, place, None] != padding, votes, 0)
    logits = outputs_of(of_kind("by place", sizes), params, tokens)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)  # sums of 112 in float32
    vectors = outputs_of(models.embedder(N_TOKENS, sizes, pooling="flatten"), body, tokens)
    np.testing.assert_allclose(vectors @ kernel + bias, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["classifier", "by place"])
def test_the_first_loss_of_a_classifier_is_log_n_classes(kind):
    model = of_kind(kind, sized(width=128))
    logits, _ = model.apply(*model.init(jax.random.key(0)), sentences(64, 12))
    targets = jnp.arange(64) % 3
    loss = losses.softmax_cross_entropy_with_integer_labels(logits, targets).mean()
    assert 0 < abs(float(loss) - math.log(3)) < 0.05


@pytest.mark.parametrize(
    ("kind", "positions"),
    [
        ("decoder", "rotary"),
        ("encoder", "learnt"),
        ("embedder", "learnt"),
        ("classifier", "rotary"),
        ("by place", "learnt"),
    ],
)
def test_rows_of_padding_alone_give_no_nan(kind, positions):
    model = of_kind(kind, sized(padding=0, positions=positions))
    tokens = sentences().at[1].set(0)

    def total(params):
        return jnp.sum(model.apply(params, {}, tokens)[0] ** 2)

    loss, gradient = jax.jit(jax.value_and_grad(total))(stirred(model))
    assert np.isfinite(loss) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_rows_of_padding_alone_give_no_nan_from_a_cache():
    sizes = sized(padding=0)
    params = stirred(of_kind("decoder", sizes))
    assert np.isfinite(written(params, sentences().at[1].set(0), sizes, (4, 1, 1, 1))).all()


# Initial state and learning


@pytest.mark.parametrize("width", [32, 128, 512])
@pytest.mark.parametrize("n_tokens", [65, 4096])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_the_first_loss_of_a_decoder_is_log_vocabulary(width, n_tokens, tied):
    model = models.decoder(n_tokens, sized(context=32, width=width, tied=tied))
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, n_tokens, (32, 33)), jnp.int32)

    def first_loss(key):
        logits, _ = model.apply(*model.init(key), tokens[:, :-1])
        return losses.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    assert abs(float(jax.jit(first_loss)(jax.random.key(0))) - math.log(n_tokens)) < 0.05


def trained(model, data, *, epochs=300, rate=3e-3, key=0):
    """Returns the state and the losses of a run whose only batch is all the data."""
    n_examples = len(data["inputs"])
    plan = training.plan_of(n_examples, batch_size=n_examples, epochs=epochs)

    def run(key, rate, data):
        return training.run(key, data, algorithm=classified(model, rate), plan=plan)

    return jax.jit(run)(jax.random.key(key), rate, data)


def classified(model, rate):
    """Returns the algorithm that trains a model by Adam to classify."""
    loss, asked = losses.softmax_cross_entropy_with_integer_labels, {"accuracy": metrics.accuracy()}
    return training.supervised(model, loss, optimizer=optax.adam(rate), metrics=asked, evaluation_batch=3)


@pytest.mark.long
@pytest.mark.parametrize("changes", [VARIANTS["rotary"], VARIANTS["grouped, learnt, untied"]], ids=["rotary", "learnt"])
def test_a_decoder_memorises_one_batch(changes):
    tokens = sentences(8, LENGTH + 1).at[:, 0].set(jnp.arange(1, 9))  # the first token determines the sentence
    _, history = trained(of_kind("decoder", sized(**changes)), {"inputs": tokens[:, :-1], "targets": tokens[:, 1:]})
    assert history["loss"][0] > 2 and history["loss"][-1] < 0.05


@pytest.mark.long
def test_a_classifier_memorises_one_batch():
    model, data = (
        of_kind("classifier", sized(padding=0)),
        {"inputs": sentences(8), "targets": jnp.arange(8) % 3},
    )
    state, history = trained(model, data)
    assert history["loss"][0] > 1 and history["loss"][-1] < 0.05
    assert classified(model, 0.0).evaluate(state, data, jax.random.key(0))["accuracy"] == 1


@pytest.mark.long
def test_a_decoder_is_swept_over_seeds():
    model, tokens = of_kind("decoder", sized(n_layers=1)), sentences(8, LENGTH + 1)

    def run(key, data):
        plan = training.plan_of(8, batch_size=4, epochs=3)
        return training.run(key, data, algorithm=classified(model, 1e-2), plan=plan)[1]["loss"]

    data = {"inputs": tokens[:, :-1], "targets": tokens[:, 1:]}
    swept = jax.jit(sweeps.sweep(run, (0, None)))(sweeps.keys([0, 1]), data)
    assert swept.shape == (2, 6) and not np.allclose(swept[0], swept[1])
    # Different summation order, over six steps of Adam.
    np.testing.assert_allclose(swept[1], jax.jit(run)(jax.random.key(1), data), rtol=1e-4)


@pytest.mark.long
@each_kind
def test_the_number_of_parameters_is_that_of_its_formula(kind):
    for positions, tied, n_kv, hidden, biases in itertools.product(
        ("rotary", "learnt"), (True, False), (1, 2, 4, None), (20, None), (True, False)
    ):
        sizes = sized(n_heads=4, n_kv_heads=n_kv, positions=positions, tied=tied, hidden=hidden, biases=biases)
        params, _ = jax.eval_shape(of_kind(kind, sizes).init, jax.random.key(0))
        width, inner, heads = 16, hidden or 64, 4 + 2 * (n_kv or 4)
        b = int(biases)
        block = (2 + 2 * b) * width + (width + b) * heads * 4 + (width + b) * width
        block += (width + b) * inner + (inner + b) * width
        expected = N_TOKENS * width + 2 * block + (1 + b) * width
        expected += 12 * width if positions == "learnt" else 0
        expected += N_TOKENS * width if not tied and kind in ("decoder", "encoder") else 0
        expected += {"classifier": width + b, "by place": 12 * width + b}.get(kind, 0) * 3
        assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == expected


# Precision, memory, dropout


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
@pytest.mark.parametrize("padding", [None, 0])
def test_pooled_vectors_are_float32_under_x64_too(pooling, padding):
    model = models.embedder(N_TOKENS, sized(padding=padding), pooling=pooling)
    with jax.enable_x64(True):
        params, _ = jax.eval_shape(model.init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32), params)
        outputs, _ = jax.eval_shape(lambda params: model.apply(params, {}, sentences()), params)
    assert outputs.dtype == jnp.float32


def next_token_loss(model, tokens):
    def loss(params, key=None):
        logits, _ = model.apply(params, {}, tokens[:, :-1], key)
        return losses.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    return loss


@pytest.mark.long
def test_bfloat16_is_near_float32_with_float32_parameters():
    wide, narrow = (of_kind("decoder", sized(width=32, precision=p)) for p in ("float32", "bfloat16"))
    params, tokens = jax.jit(wide.init)(jax.random.key(0))[0], sentences(64, 13)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(jax.eval_shape(narrow.init, jax.random.key(0))[0]))
    logits = outputs_of(narrow, params, tokens[:, :-1])
    assert logits.dtype == np.float32
    # The norm of all differences over that of all logits; a rounding to bfloat16 is 0.2 % at most.
    assert 0 < relative_error(logits, outputs_of(wide, params, tokens[:, :-1])) < 0.01
    exact, rounded = (jax.jit(jax.grad(next_token_loss(model, tokens)))(params) for model in (wide, narrow))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(rounded))
    whole = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (rounded, exact)]
    assert relative_error(*whole) < 0.02  # forwards and back: twice as many roundings


def test_gradients_of_frequent_tokens_are_summed_in_float32():
    wide, narrow = (
        models.embedder(2, sized(n_layers=1, context=64, positions="learnt", precision=p))
        for p in ("float32", "bfloat16")
    )
    params, tokens = stirred(wide), jnp.zeros((64, 64), jnp.int32)  # one token 4,096 times, each position 64 times

    def total(model):
        return lambda params: jnp.sum(model.apply(params, {}, tokens)[0] @ jnp.arange(16.0)[:, None])

    exact, rounded = (jax.jit(jax.grad(total(model)))(params) for model in (wide, narrow))
    for name in ("embedding", "positions"):  # a sum in bfloat16 stops growing after some 256 terms
        assert relative_error(rounded[name], exact[name]) < 0.05, name


@pytest.mark.long
@pytest.mark.parametrize("remat", ["dots", "all"])
def test_remat_changes_no_value_and_no_gradient(remat):
    keep, again = (of_kind("decoder", sized(dropout_rate=0.3, remat=remat)) for remat in ("none", remat))
    params, tokens, key = stirred(keep), sentences(), jax.random.key(5)
    jax.tree.map(np.testing.assert_array_equal, *jax.jit(lambda key: (keep.init(key), again.init(key)))(key))
    (loss, gradient), (same_loss, same_gradient) = (
        jax.jit(jax.value_and_grad(next_token_loss(model, tokens)))(params, key) for model in (keep, again)
    )
    np.testing.assert_allclose(same_loss, loss, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(same_gradient), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # fused differently: the last digits of float32


def test_remat_keeps_less_for_the_backward_pass():
    tokens = sentences(8, 13)
    kept = {}
    for remat in ("none", "dots", "all"):
        model = of_kind("decoder", sized(n_layers=2, remat=remat))
        _, backward = jax.eval_shape(lambda p, m=model: jax.vjp(next_token_loss(m, tokens), p), stirred(model))
        kept[remat] = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(backward))
    assert kept["all"] < kept["none"] / 2 and kept["all"] < kept["dots"] < kept["none"]


@pytest.mark.long
def test_remat_lowers_the_peak_of_memory():
    # On CPUs, XLA merges what is recomputed with the first computation unless it keeps the barriers between them.
    options = {"xla_disable_hlo_passes": "cse_barrier_expander"} if jax.default_backend() == "cpu" else {}
    tokens, peaks = sentences(8, 65), {}
    for remat in ("none", "dots", "all"):
        model = of_kind("decoder", sized(width=64, n_layers=4, context=64, remat=remat))
        params, _ = jax.eval_shape(model.init, jax.random.key(0))
        compiled_step = (
            jax.jit(jax.grad(next_token_loss(model, tokens)), compiler_options=options).lower(params).compile()
        )
        peaks[remat] = compiled_step.memory_analysis().temp_size_in_bytes
    assert peaks["all"] < peaks["dots"] < peaks["none"], peaks
    assert peaks["all"] < peaks["none"] / 2, peaks


@pytest.mark.raises
def test_sizes_refuse_an_unknown_precision_or_remat():
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, float16; got 'float8'."):
        sized(precision="float8")
    with pytest.raises(ValueError, match="remat must be one of none, dots, all; got True."):
        sized(remat=True)


def test_dropout_is_drawn_from_the_key():
    model, tokens = of_kind("decoder", sized(dropout_rate=0.3)), sentences()
    params, apply = stirred(model), jax.jit(lambda *args: model.apply(*args)[0])
    first, again, other = (apply(params, {}, tokens, jax.random.key(seed)) for seed in (1, 1, 2))
    none = apply(params, {}, tokens)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1 and np.abs(first - none).max() > 0.1
    whole = of_kind("decoder", sized())
    np.testing.assert_array_equal(none, outputs_of(whole, params, tokens))


def test_dropout_leaves_out_its_share_and_keeps_the_expectation():
    module = transformer.Transformer(N_TOKENS, sized(dropout_rate=0.25, n_layers=1), "tokens", True)
    params = stirred(of_kind("decoder", sized(n_layers=1)))

    def dropped(key):
        _, kept = module.apply(
            {"params": params},
            sentences(),
            train=True,
            rngs={"dropout": key},
            capture_intermediates=lambda layer, _: isinstance(layer, nn.Dropout),
            mutable=["intermediates"],
        )
        return jax.tree.leaves(kept)

    draws = jax.jit(jax.vmap(dropped))(jax.random.split(jax.random.key(0), 400))
    assert len(draws) == 3  # after the embedding and the two branches
    for draw in draws:
        share = float((draw == 0).mean())
        # 400 x 3 x 7 x 16 entries: a standard error of 0.0012.
        assert abs(share - 0.25) < 4 * 0.0012
    embedded = next(draw for draw in draws if len(np.unique(np.asarray(draw[:, 0, 0, 0]))) == 2)
    expected = np.asarray(params["embedding"])[np.asarray(sentences())]
    # Each entry is x / 0.75 or 0: a deviation of 0.58 x, over 400 draws; 336 entries, so five standard errors.
    assert (np.abs(np.asarray(embedded).mean(axis=0) - expected) < 5 * 0.58 * np.abs(expected) / 20 + 1e-6).all()


# Transforms


@pytest.mark.long
@pytest.mark.parametrize("kind", ["decoder", "classifier", "by place"])
def test_jit_equals_eager_and_two_seeds_at_once_equal_one(kind):
    model, tokens = of_kind(kind, sized(padding=0)), sentences().at[0, 5:].set(0)
    params = [stirred(model, seed) for seed in (0, 1)]
    eager = [model.apply(p, {}, tokens)[0] for p in params]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
    both = jax.jit(jax.vmap(lambda params: model.apply(params, {}, tokens)[0]))(stacked)
    for seed in (0, 1):  # fused differently, and other orders of sums
        np.testing.assert_allclose(outputs_of(model, params[seed], tokens), eager[seed], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(both[seed], eager[seed], rtol=1e-4, atol=1e-5)


@pytest.mark.long
@both_positions
def test_gradients_equal_finite_differences(positions):
    model = models.decoder(
        5, sized(context=4, width=8, n_heads=2, n_layers=1, hidden=4, positions=positions, padding=0)
    )
    loss = jax.jit(next_token_loss(model, jnp.array([[1, 2, 3, 4, 1], [0, 2, 2, 1, 3]])))
    # Central differences of a float32 loss of order 1: its 1e-7 over a step of 1e-3 leaves 1e-4; the normalisation of so narrow a
    # model is sharp, so a longer step would be inaccurate (in float64 the difference falls with its square).
    check_grads(loss, (stirred(model),), order=1, modes=["fwd", "rev"], eps=1e-3, atol=2e-3, rtol=2e-2)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_tokens_may_be_of_any_whole_type(dtype):
    model = models.decoder(300, sized(n_layers=1, padding=299))  # a vocabulary that int8 does not hold
    params, tokens = stirred(model), sentences()
    expected = outputs_of(model, params, tokens)
    # Another type is another program, fused differently: different summation order.
    np.testing.assert_allclose(outputs_of(model, params, tokens.astype(dtype)), expected, rtol=1e-4, atol=1e-5)


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": 0}, r"context must be a whole number, 1 or more; got 0\."),
        ({"n_layers": -1}, r"n_layers must be a whole number, 1 or more; got -1\."),
        ({"hidden": 0}, r"hidden must be a whole number, 1 or more; got 0\."),
        ({"n_kv_heads": 0}, r"n_kv_heads must be a whole number, 1 or more; got 0\."),
        ({"n_heads": 3}, r"width must be a multiple of n_heads, 3; got 16\. Change one of them\."),
        ({"n_heads": 4, "n_kv_heads": 3}, r"n_kv_heads must divide n_heads, 4; got 3\. Pass a divisor\."),
        ({"n_heads": 2, "n_kv_heads": 4}, r"n_kv_heads must divide n_heads, 2; got 4\. Pass a divisor\."),
        ({"n_heads": 16}, r"the width of a head must be even for rotary positions; got 1\. Pass positions='learnt'\."),
        ({"dropout_rate": 1.0}, r"dropout_rate must be at least 0 and below 1; got 1\.0\. It is a fraction\."),
        ({"dropout_rate": float("nan")}, r"dropout_rate must be at least 0 and below 1; got nan\."),
    ],
)
def test_sizes_are_checked(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sized(**changes)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 16.0}, r"width must be a whole number, 1 or more; got 16\.0\."),
        ({"n_heads": True}, r"n_heads must be a whole number, 1 or more; got True\."),
        ({"positions": "sine"}, r"positions must be one of rotary, learnt; got 'sine'\."),
    ],
)
def test_types_of_sizes_are_checked(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sized(**changes)


@pytest.mark.raises
def test_pooling_is_checked():
    for make in (functools.partial(models.classifier, N_TOKENS, 3), functools.partial(models.embedder, N_TOKENS)):
        with pytest.raises(ValueError, match=r"^pooling must be one of mean, flatten; got 'max'\. Pass one of them\.$"):
            make(sized(), pooling="max")


def test_sizes_of_models_are_checked():
    for make in (models.decoder, models.encoder, models.embedder):
        with pytest.raises(ValueError, match="^n_tokens must be a whole number, 1 or more; got 0"):
            make(0, sized())
    with pytest.raises(ValueError, match="^n_classes must be a whole number, 1 or more; got 0"):
        models.classifier(N_TOKENS, 0, sized())
    with pytest.raises(ValueError, match="^n_rows must be a whole number, 1 or more; got 0"):
        models.cached_decoder(N_TOKENS, sized(), n_rows=0)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            jnp.zeros((2, 3)),
            r"inputs must be tokens \(batch, length\), integers; got float32 \(2, 3\)\. Encode the",
        ),
        (
            jnp.zeros((2, 3), bool),
            r"inputs must be tokens \(batch, length\), integers; got bool \(2, 3\)\. Encode the",
        ),
        (
            jnp.zeros(3, jnp.int32),
            r"inputs must be tokens \(batch, length\), integers; got int32 \(3,\)\. Encode the",
        ),
        (jnp.zeros((2, 0), jnp.int32), r"sequences must have 1 to 12 tokens, the context; got 0\. Cut them, or widen"),
        (
            jnp.zeros((2, 13), jnp.int32),
            r"sequences must have 1 to 12 tokens, the context; got 13\. Cut them, or widen",
        ),
    ],
)
def test_inputs_are_checked(inputs, message):
    for model in (
        *(of_kind(kind, sized(n_layers=1)) for kind in ("decoder", "classifier")),
        models.cached_decoder(N_TOKENS, sized(n_layers=1), n_rows=2),
    ):
        variables = jax.eval_shape(model.init, jax.random.key(0))
        with pytest.raises(ValueError, match=f"^{message}"):
            jax.eval_shape(model.apply, *variables, inputs)


def test_a_cache_is_for_as_many_rows_as_it_has():
    model = models.cached_decoder(N_TOKENS, sized(n_layers=1), n_rows=2)
    variables = jax.eval_shape(model.init, jax.random.key(0))
    with pytest.raises(ValueError, match=r"^inputs must have the cache's 2 rows; got 3\. Pass n_rows sequences\."):
        jax.eval_shape(model.apply, *variables, sentences(3))


@each_kind
@pytest.mark.parametrize("token", [-1, -N_TOKENS, N_TOKENS])
def test_a_token_outside_the_vocabulary_gives_nan(kind, token):
    model, tokens = of_kind(kind, sized()), sentences().at[1, 2].set(token)
    outputs = outputs_of(model, stirred(model), tokens)
    assert np.isfinite(outputs[[0, 2]]).all() and np.isnan(outputs[1]).all()


def test_a_mesh_splits_activations_by_examples():
    model = models.decoder(N_TOKENS, sized())
    algorithm = training.supervised(
        model, losses.softmax_cross_entropy_with_integer_labels, optimizer=optax.adam(1e-3), metrics={}
    )
    batch = {name: jnp.zeros((6, 12), jnp.int32) for name in ("inputs", "targets")}
    with jax.set_mesh(devices.mesh(fsdp=2)):
        split = partitioning.partitioned(algorithm)
        shapes = jax.eval_shape(split.init, jax.random.key(0))
        text = jax.jit(split.step).lower(shapes, batch, jax.random.key(1)).compile().as_text()
    assert re.search(r"f32\[(3,12|36),16\]", text)  # half of the examples: by rows, or flattened
    assert not re.search(r"f32\[(6,12|72),16\]", text)


def test_a_batch_that_a_mesh_does_not_divide_is_evaluated():
    model, tokens = models.decoder(N_TOKENS, sized()), jnp.arange(60, dtype=jnp.int32).reshape(5, 12) % N_TOKENS
    params, _ = jax.jit(model.init)(jax.random.key(0))
    whole = jax.jit(model.apply)(params, {}, tokens)[0]
    with jax.set_mesh(devices.mesh(fsdp=2)):
        split = jax.jit(model.apply)(params, {}, tokens)[0]
    np.testing.assert_allclose(split, whole, rtol=1e-5, atol=1e-6)  # sums in another order

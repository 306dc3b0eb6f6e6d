"""Models of every library follow one interface and are trained by the same code."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx as flax_nnx

from jaxresearch import losses, metrics, models, training


class NnxNet(flax_nnx.Module):
    def __init__(self, rngs):
        self.first = flax_nnx.Linear(2, 16, rngs=rngs)
        self.norm = flax_nnx.BatchNorm(16, rngs=rngs)
        self.dropout = flax_nnx.Dropout(0.2, rngs=rngs)
        self.last = flax_nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(jax.nn.relu(self.norm(self.first(x)))))


class EqxNet(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    last: eqx.nn.Linear

    def __init__(self, key):
        first, last = jax.random.split(key)
        self.first = eqx.nn.Linear(2, 16, key=first)
        self.norm = eqx.nn.BatchNorm(16, axis_name="batch", mode="batch")
        self.dropout = eqx.nn.Dropout(0.2)
        self.last = eqx.nn.Linear(16, 3, key=last)

    def __call__(self, x, state, key=None):
        x, state = self.norm(self.first(x), state)
        return self.last(self.dropout(jax.nn.relu(x), key=key)), state


class LinenNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x))
        return nn.Dense(3)(nn.Dropout(0.2, deterministic=not train)(nn.relu(x)))


def _plain_init(key):
    return {"w": jax.random.normal(key, (2, 3)) * 0.1, "b": jnp.zeros(3)}


MODELS = {
    "linear": models.linear(2, 3),
    "mlp": models.mlp(2, (16,), 3),
    "mlp with state": models.mlp(2, (16, 8), 3, dropout_rate=0.2, batch_norm=True),
    "cnn": models.cnn((2, 1, 1), 3, channels=(4,), hidden=16),
    "gru": models.rnn(1, (16,), 3, per_step=False),  # two steps of one feature
    "lstm": models.rnn(1, (16,), 3, cell="lstm", per_step=False),
    "linen": models.linen(LinenNet(), jax.ShapeDtypeStruct((1, 2), jnp.float32)),
    "nnx": models.nnx(NnxNet),
    "equinox": models.equinox(eqx.nn.make_with_state(EqxNet)),
    "equinox plain": models.equinox(lambda key: eqx.nn.MLP(2, 3, 16, 1, key=key)),
    "function": models.function(_plain_init, lambda params, inputs: inputs @ params["w"] + params["b"][None]),
}
STATEFUL = ("mlp with state", "linen", "nnx", "equinox")
each = pytest.mark.parametrize("model", list(MODELS.values()), ids=list(MODELS))
each_stateful = pytest.mark.parametrize("model", [MODELS[name] for name in STATEFUL], ids=STATEFUL)


def _data(n=96):
    targets = np.arange(n) % 3
    noise = np.random.default_rng(0).normal(size=(n, 2))
    inputs = noise + 4 * np.stack([np.cos(targets * 2.1), np.sin(targets * 2.1)], 1)
    return {"inputs": jnp.asarray(inputs, jnp.float32), "targets": jnp.asarray(targets, jnp.int32)}


def _same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool(jnp.array_equal(x, y)), a, b))


@each
def test_the_same_training_code_trains_every_model(model):
    loss, asked = losses.softmax_cross_entropy_with_integer_labels, {"accuracy": metrics.accuracy()}
    options = {"optimizer": optax.adam(0.05), "metrics": asked, "evaluation_batch": 40}
    algorithm, plan = training.supervised(model, loss, **options), training.plan_of(96, batch_size=16, epochs=20)
    run = jax.jit(lambda key, data: training.run(key, data, algorithm=algorithm, plan=plan))
    state, history = run(jax.random.key(0), _data())
    accuracy = algorithm.evaluate(state, _data(), jax.random.key(1))
    assert history["loss"][-6:].mean() < history["loss"][:6].mean()
    assert accuracy["accuracy"] > 0.9


@each
def test_params_and_state_hold_arrays_alone(model):
    params, model_state = model.init(jax.random.key(0))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves((params, model_state)))
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))


@each
def test_init_is_a_function_of_the_key_under_jit_and_vmap(model):
    first, again, other = (model.init(jax.random.key(seed)) for seed in (0, 0, 1))
    assert _same(first, again) and not _same(first, other)
    stacked = jax.jit(jax.vmap(model.init))(jax.vmap(jax.random.key)(jnp.arange(2)))
    for i, single in enumerate((first, other)):
        # Initial draws pass through erfinv or square roots, fused differently under jit.
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-7), stacked, single)


@each
def test_without_a_key_a_model_evaluates(model):
    params, model_state = model.init(jax.random.key(0))
    outputs, after = model.apply(params, model_state, _data()["inputs"])
    again, _ = model.apply(params, model_state, _data()["inputs"])
    assert outputs.shape == (96, 3) and outputs.dtype == jnp.float32
    assert _same(outputs, again) and _same(after, model_state)
    alone, _ = model.apply(params, model_state, _data()["inputs"][:1])
    np.testing.assert_allclose(alone[0], outputs[0], rtol=1e-5, atol=1e-6)  # other shapes of matrix products


@each
def test_apply_is_the_same_under_jit(model):
    params, model_state = model.init(jax.random.key(0))
    eager = model.apply(params, model_state, _data()["inputs"], jax.random.key(1))
    compiled = jax.jit(model.apply)(params, model_state, _data()["inputs"], jax.random.key(1))
    # Batch statistics divide by small deviations: rounding grows to the fifth digit.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), eager, compiled)


@each_stateful
def test_with_a_key_dropout_is_drawn_from_it(model):
    params, model_state = model.init(jax.random.key(0))
    first, again, other = (
        model.apply(params, model_state, _data()["inputs"], jax.random.key(seed))[0] for seed in (1, 1, 2)
    )
    assert _same(first, again) and not _same(first, other)


@each_stateful
def test_training_updates_the_statistics_that_evaluation_uses(model):
    params, model_state = model.init(jax.random.key(0))
    _, updated = model.apply(params, model_state, _data()["inputs"], jax.random.key(1))
    assert jax.tree.structure(updated) == jax.tree.structure(model_state)
    assert not _same(updated, model_state)
    before, after = (model.apply(params, state, _data()["inputs"])[0] for state in (model_state, updated))
    assert not np.allclose(before, after, atol=1e-4)


@each_stateful
def test_gradients_are_finite_with_dropout_and_batch_statistics(model):
    params, model_state = model.init(jax.random.key(0))
    loss = jax.grad(lambda params: model.apply(params, model_state, _data()["inputs"], jax.random.key(1))[0].sum())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(loss)(params)))


def test_batch_norm_keeps_the_running_mean_of_its_closed_form():
    model = models.mlp(2, (3,), 1, batch_norm=True)
    params, model_state = model.init(jax.random.key(0))
    _, updated = model.apply(params, model_state, _data()["inputs"], jax.random.key(1))
    hidden = _data()["inputs"] @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None]
    running = updated["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(running, 0.01 * hidden.mean(axis=0), rtol=1e-4, atol=1e-6)  # momentum 0.99, from 0


def test_mlp_equals_a_forward_pass_by_hand():
    model = models.mlp(4, (5,), 3)
    params, _ = model.init(jax.random.key(0))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 2)), jnp.float32)
    flat = np.asarray(images).reshape(6, 4)
    hidden = np.maximum(0, flat @ np.asarray(params["Dense_0"]["kernel"]) + np.asarray(params["Dense_0"]["bias"]))
    expected = hidden @ np.asarray(params["Dense_1"]["kernel"]) + np.asarray(params["Dense_1"]["bias"])
    np.testing.assert_allclose(model.apply(params, {}, images)[0], expected, rtol=1e-5, atol=1e-6)


def test_mlp_starts_from_glorot_and_zero():
    params, _ = models.mlp(784, (128,), 10).init(jax.random.key(0))
    limit = np.sqrt(6 / (784 + 128))
    kernel = np.asarray(params["Dense_0"]["kernel"])
    assert np.abs(kernel).max() <= limit and np.abs(kernel).max() > 0.99 * limit
    assert not np.any(params["Dense_0"]["bias"])


def test_dropout_keeps_its_share_and_scales_the_rest():
    model = models.mlp(1, (10_000,), 1, dropout_rate=0.25)
    params, _ = model.init(jax.random.key(0))
    params = jax.tree.map(jnp.ones_like, params)
    outputs, _ = model.apply(params, {}, jnp.ones((1, 1)), jax.random.key(1))
    # 10,000 units of value 2, a quarter left out, the rest times 4/3: mean 20,001, standard error 116.
    assert abs(float(outputs[0, 0]) - 20_001) < 4 * 116
    assert outputs != 20_001


def test_function_may_take_the_key():
    model = models.function(lambda key: jnp.zeros(()), lambda params, x, key: x if key is None else x + 1)
    assert model.apply(jnp.zeros(()), {}, jnp.ones(1))[0] == 1
    assert model.apply(jnp.zeros(()), {}, jnp.ones(1), jax.random.key(0))[0] == 2


@pytest.mark.raises
@pytest.mark.parametrize("bad", [0, -3, 2.5, True])
def test_sizes_are_positive_whole_numbers(bad):
    for make, name in (
        (lambda: models.linear(bad, 1), "n_features"),
        (lambda: models.mlp(1, (4, bad), 1), r"hidden\[1\]"),
        (lambda: models.cnn((28, 28, 1), bad), "n_outputs"),
        (lambda: models.cnn((28, bad, 1), 10), r"image_shape\[1\]"),
        (lambda: models.sequence_cnn((20, bad), 2), r"feature_shape\[1\]"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be a whole number, 1 or more; got {bad}"):
            make()


@pytest.mark.raises
@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_rate_is_a_share_below_one(rate):
    with pytest.raises(ValueError, match=f"dropout_rate must be at least 0 and below 1; got {rate}"):
        models.mlp(1, (1,), 1, dropout_rate=rate)


@pytest.mark.raises
@pytest.mark.parametrize("key", [None, jax.random.key(1)], ids=["evaluated", "trained"])
def test_models_name_the_features_that_do_not_fit(key):
    model = models.mlp(7, (4,), 1)
    with pytest.raises(ValueError, match=r"^inputs must have 7 features, got 15\. Use card\.n_features\."):
        model.apply(*model.init(jax.random.key(0)), jnp.zeros((2, 15)), key)
    model = models.cnn((4, 4, 1), 1, channels=(2,), hidden=2)
    with pytest.raises(
        ValueError, match=r"^images must have 16 pixels, \(4, 4, 1\), got 32\. Use card\.feature_shape\."
    ):
        model.apply(*model.init(jax.random.key(0)), jnp.zeros((2, 32)), key)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((8, 8, 1), "got the tuple (8, 8, 1). Pass np.zeros((1, 8, 8, 1))."),
        ([3], "got the list [3]. Pass np.zeros((1, 3))."),
        (3, "got the int 3. Pass np.zeros((1, n_features))."),
    ],
)
def test_linen_refuses_example_inputs_that_are_no_batch(given, message):
    with pytest.raises(ValueError, match=re.escape(f"example_inputs must be an array with a batch axis, {message}")):
        models.linen(nn.Dense(2), given)


def test_linen_takes_the_zeros_of_numpy(key):
    params, _ = models.linen(nn.Conv(2, (3, 3)), np.zeros((1, 8, 8, 1))).init(key)
    assert params["kernel"].shape == (3, 3, 1, 2) and params["kernel"].dtype == jnp.float32


def test_sequence_cnn_is_the_best_match_of_each_filter(key):
    model, inputs = models.sequence_cnn((9, 4), 2, filters=3, width=4, hidden=5), jax.random.normal(key, (2, 9, 4))
    params, model_state = model.init(jax.random.key(1))
    filters, hidden, head = (params[f"Dense_{i}"] for i in range(3))
    for sequence, outputs in zip(np.asarray(inputs), model.apply(params, model_state, inputs)[0], strict=True):
        matches = [sequence[i : i + 4].reshape(-1) @ filters["kernel"] + filters["bias"] for i in range(6)]
        vector = np.maximum(np.max(matches, axis=0), 0) @ hidden["kernel"] + hidden["bias"]
        # float32 sums in another order
        np.testing.assert_allclose(outputs, np.maximum(vector, 0) @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-5)


@pytest.mark.raises
def test_sequence_cnn_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="width must be at most the length of the sequences, 9, got 15"):
        models.sequence_cnn((9, 4), 2)
    model = models.sequence_cnn((20, 4), 2)
    with pytest.raises(ValueError, match=r"sequences must have shape \(20, 4\), got \(20, 5\). Use card.feature_shape"):
        model.apply(*model.init(jax.random.key(0)), jnp.zeros((1, 20, 5)))

"""Modules of every library receive the training mode by each common flag, and each random stream; others are refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx as flax_nnx

from jaxresearch import models

TRAINS, RESTS = ("train", "training", "is_training"), ("deterministic", "inference", "use_running_average")
SHAPE = jax.ShapeDtypeStruct((1, 4), jnp.float32)
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(64, 4)) + 3, jnp.float32)


def _made(flag, source, *, default):
    """Returns a class that passes the mode on to dropout and batch normalisation."""
    rests = f"self.{flag}" if default == "field" else flag
    rests = f"not {rests}" if flag in TRAINS else rests
    star = "" if "*" in source else "*, "
    argument = {"required": f", {star}{flag}", "optional": f", {star}{flag}={flag in RESTS}", "field": ""}[default]
    source = source.replace("ARGUMENT", argument).replace("RESTS", rests)
    scope = {"nn": nn, "flax_nnx": flax_nnx, "eqx": eqx, "jax": jax, "jnp": jnp}
    exec(source, scope)  # the name of the argument is tested
    return scope["Net"]


LINEN = """
class Net(nn.Module):
    FIELD: bool | None = None
    @nn.compact
    def __call__(self, x ARGUMENT):
        x = nn.BatchNorm(use_running_average=RESTS, momentum=0.5)(x)
        return nn.Dense(3)(nn.Dropout(0.5, deterministic=RESTS)(x))
"""
NNX = """
class Net(flax_nnx.Module):
    def __init__(self, rngs):
        self.norm, self.dropout = flax_nnx.BatchNorm(4, momentum=0.5, rngs=rngs), flax_nnx.Dropout(0.5, rngs=rngs)
        self.FIELD = None
    def __call__(self, x ARGUMENT):
        return self.dropout(self.norm(x, use_running_average=RESTS), deterministic=RESTS)
"""
EQUINOX = """
class Net(eqx.Module):
    dropout: eqx.nn.Dropout
    w: jax.Array
    def __init__(self, key):
        self.dropout, self.w = eqx.nn.Dropout(0.5), jnp.ones(4)
    def __call__(self, x, *, key=None ARGUMENT):
        return self.dropout(x * self.w, key=key, inference=RESTS)
"""


def _require_modes(model, *, has_statistics):
    """Asserts that a model draws from its key in training, updates its statistics then, and does neither in evaluation."""
    params, model_state = model.init(jax.random.key(0))
    one, updated = model.apply(params, model_state, INPUTS, jax.random.key(1))
    other, _ = model.apply(params, model_state, INPUTS, jax.random.key(2))
    again, _ = model.apply(params, model_state, INPUTS, jax.random.key(1))
    assert not np.array_equal(one, other) and np.array_equal(one, again)
    still, kept = model.apply(params, model_state, INPUTS)
    assert np.array_equal(still, model.apply(params, model_state, INPUTS)[0]) and kept is model_state
    moved = [bool((a != b).any()) for a, b in zip(*map(jax.tree.leaves, (updated, model_state)), strict=True)]
    assert any(moved) == has_statistics


@pytest.mark.parametrize("default", ["required", "optional", "field"])
@pytest.mark.parametrize("flag", TRAINS + RESTS)
def test_linen_modules_learn_their_mode_by_any_flag(flag, default):
    field = flag if default == "field" else "unused"
    net = _made(flag, LINEN.replace("FIELD", field), default=default)
    _require_modes(models.linen(net(), SHAPE), has_statistics=True)


@pytest.mark.parametrize("default", ["required", "optional", "field"])
@pytest.mark.parametrize("flag", TRAINS + RESTS)
def test_nnx_modules_learn_their_mode_by_any_flag(flag, default):
    if (flag, default) == ("train", "field"):
        pytest.skip("train is a method of NNX modules")
    field = flag if default == "field" else "unused"
    net = _made(flag, NNX.replace("FIELD", field), default=default)
    _require_modes(models.nnx(net), has_statistics=True)


@pytest.mark.parametrize("default", ["required", "optional"])
@pytest.mark.parametrize("flag", TRAINS + RESTS)
def test_equinox_modules_learn_their_mode_by_any_flag(flag, default):
    _require_modes(models.equinox(_made(flag, EQUINOX, default=default)), has_statistics=False)


def test_bare_layers_learn_their_mode():
    _require_modes(models.linen(nn.Dropout(0.5), SHAPE), has_statistics=False)
    _require_modes(models.nnx(lambda rngs: flax_nnx.Dropout(0.5, rngs=rngs)), has_statistics=False)
    _require_modes(models.equinox(lambda key: eqx.nn.Dropout(0.5)), has_statistics=False)
    model = models.linen(nn.BatchNorm(), SHAPE)
    params, model_state = model.init(jax.random.key(0))
    assert (model.apply(params, model_state, INPUTS, jax.random.key(1))[1]["batch_stats"]["mean"] != 0).all()


class Noisy(nn.Module):
    """Draws from two custom streams besides dropout."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(3)(x)
        if not train:
            return x
        noises = [jax.random.normal(self.make_rng(name), x.shape) for name in ("noise", "gate", "dropout")]
        return jnp.stack(noises)


def test_linen_modules_draw_from_any_stream():
    model = models.linen(Noisy(), SHAPE)
    params, model_state = model.init(jax.random.key(0))
    one, two = (model.apply(params, model_state, INPUTS, jax.random.key(i))[0] for i in (1, 2))
    drawn = [*one, *two]
    assert all(not np.array_equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    assert model.apply(params, model_state, INPUTS)[0].shape == (64, 3)


def test_linen_dropout_draws_from_a_stream_of_another_name():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(3)(nn.Dropout(0.5, rng_collection="noise", deterministic=not train)(x))

    _require_modes(models.linen(Net(), SHAPE), has_statistics=False)


def test_nnx_modules_draw_from_any_stream():
    class Net(flax_nnx.Module):
        def __init__(self, rngs):
            self.dropout = flax_nnx.Dropout(0.5, rng_collection="noise", rngs=rngs)

        def __call__(self, x):
            return self.dropout(x)

    class OfCall(flax_nnx.Module):
        def __init__(self, rngs):
            self.dropout = flax_nnx.Dropout(0.5)

        def __call__(self, x, rngs):
            return self.dropout(x, rngs=rngs)

    for net in (Net, OfCall):
        _require_modes(models.nnx(net), has_statistics=False)


LAYERS = {
    "Dropout": lambda x: nn.Dropout(0.5, deterministic=True)(x),
    "BatchNorm": lambda x: nn.BatchNorm(use_running_average=True)(x),
    "SpectralNorm": lambda x: nn.SpectralNorm(nn.Dense(4))(x, update_stats=False),
    "MultiHeadDotProductAttention": lambda x: nn.MultiHeadDotProductAttention(2, dropout_rate=0.1, deterministic=True)(
        x[:, None]
    )[:, 0],
}


class Hidden(nn.Module):
    """Has a layer that behaves differently in training, and no flag."""

    layer: str

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(LAYERS[self.layer](x))


@pytest.mark.parametrize("layer", LAYERS)
def test_linen_modules_that_would_never_train_are_refused(layer):
    message = (
        rf"^a Linen module with {layer} must take one of train, training, is_training, deterministic, inference, "
        r"use_running_average; got one that takes none, so that it would never train\. Write a module whose __call__ takes train"
    )
    for module in (Hidden(layer), nn.Sequential([Hidden(layer)])):
        with pytest.raises(ValueError, match=message):
            models.linen(module, SHAPE).init(jax.random.key(0))


def test_linen_modules_with_inactive_layers_need_no_flag():
    model = models.linen(nn.Sequential([nn.Dense(4), nn.Dropout(0.0, deterministic=True), nn.LayerNorm()]), SHAPE)
    params, model_state = model.init(jax.random.key(0))
    np.testing.assert_array_equal(
        model.apply(params, model_state, INPUTS)[0], model.apply(params, model_state, INPUTS, jax.random.key(1))[0]
    )


class Counting(nn.Module):
    """Counts its calls: only if its state is mutable, or always."""

    asks: bool

    @nn.compact
    def __call__(self, x):
        count = self.variable("counts", "calls", lambda: jnp.zeros(()))
        if not self.asks or (self.is_mutable_collection("counts") and not self.is_initializing()):
            count.value += 1
        return nn.Dense(3)(x)


def test_linen_modules_that_check_for_mutability_need_no_flag():
    model = models.linen(Counting(asks=True), SHAPE)
    params, model_state = model.init(jax.random.key(0))
    _, updated = model.apply(params, model_state, INPUTS, jax.random.key(1))
    assert updated["counts"]["calls"] == 1
    assert model.apply(params, model_state, INPUTS)[1] is model_state


class Drawing(nn.Module):
    """Draws in evaluation too."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x + jax.random.normal(self.make_rng("noise"), x.shape))


@pytest.mark.parametrize("module", [Counting(asks=False), Drawing()], ids=["changes state", "draws"])
def test_linen_modules_impure_in_evaluation_are_refused(module):
    model = models.linen(module, SHAPE)
    params, model_state = model.init(jax.random.key(0))
    model.apply(params, model_state, INPUTS, jax.random.key(1))
    message = (
        rf"^a Linen module must not draw or change its state in evaluation; {type(module).__name__} did: .+ Write a mod"
    )
    with pytest.raises(ValueError, match=message):
        model.apply(params, model_state, INPUTS)

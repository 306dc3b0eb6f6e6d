"""Mixed precision: 16 bits inside a model, float32 outside, and a loss scale that float16 cannot do without."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jaxresearch import algorithms, execution, gradients, losses, metrics, models, training
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.scale import precision
from jaxresearch.scale.precision import LossScale

BOTH = pytest.mark.parametrize("kind", ["bfloat16", "float16"])
LOSS = losses.softmax_cross_entropy_with_integer_labels
ROUNDING = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # relative, of one rounding


@functools.cache
def network(kind="float32"):
    return precision.mixed(models.mlp(12, (16, 16), 3), kind)


def batch(n=32):
    generator = np.random.default_rng(0)
    inputs = jnp.asarray(generator.normal(size=(n, 12)), jnp.float32)
    return {"inputs": inputs, "targets": jnp.arange(n) % 3}


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def error(a, b):
    return float(np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b)))


def gradient_of(model, factor=1.0, exponent=None):
    """Returns the gradient of a factor times the mean loss, with the loss scale of an exponent."""
    params, model_state = model.init(jax.random.key(0))
    if exponent is not None:
        model_state["loss_scale"] = LossScale(jnp.int32(exponent), jnp.int32(0))

    def loss(params, inputs):
        outputs, _ = model.apply(params, model_state, inputs)
        return factor * LOSS(outputs, batch()["targets"]).mean()

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(params, batch()["inputs"])


def test_mixed_in_float32_is_the_model_itself():
    model = models.linear(3, 2)
    assert precision.mixed(model, "float32") is model


@BOTH
def test_mixed_is_near_float32_with_float32_outside(kind, key):
    params, state = network(kind).init(key)
    apply = jax.jit(lambda model, *args: model.apply(*args)[0], static_argnums=0)
    narrow = apply(network(kind), params, state, batch()["inputs"])
    wide = apply(network(), params, {}, batch()["inputs"])
    # Three products, each of rounded factors and rounded to the type.
    assert 0 < error(narrow, wide) < 9 * ROUNDING[kind]
    own, exact = gradient_of(network(kind)), gradient_of(network())
    assert 0 < error(own, exact) < 18 * ROUNDING[kind]  # forwards and back
    assert {leaf.dtype for leaf in jax.tree.leaves((params, narrow, own))} == {np.dtype("float32")}


@BOTH
def test_mixed_computes_all_products_in_the_type(kind, key):
    params, state = network(kind).init(key)
    loss_fn = training.mean_loss(network(kind), LOSS)
    traced = str(jax.make_jaxpr(jax.grad(lambda p: loss_fn(p, state, batch(), key)[0]))(params))
    products = re.findall(r":(\w+)\[[\d,]*\] = dot_general", traced)
    assert len(products) == 8 and {*products} == {{"bfloat16": "bf16", "float16": "f16"}[kind]}, traced


@BOTH
def test_mixed_takes_pixels(kind, key):
    model, pixels = network(kind), jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 12)), jnp.uint8)
    params, state = model.init(key)
    of_pixels, of_floats = (model.apply(params, state, inputs)[0] for inputs in (pixels, pixels / np.float32(255)))
    np.testing.assert_allclose(of_pixels, of_floats, atol=4 * ROUNDING[kind])


@pytest.mark.long
def test_mixed_keeps_batch_statistics_in_float32(key):
    """Momentum of 0.99 in bfloat16 would lose updates below 0.4 %."""
    wide = models.mlp(12, (16,), 3, batch_norm=True)
    narrow = precision.mixed(wide, "bfloat16")
    states = []
    for model in (wide, narrow):
        params, state = model.init(key)
        step = jax.jit(lambda state, model=model, params=params: model.apply(params, state, batch()["inputs"], key)[1])
        for _ in range(50):
            state = step(state)
        states.append(state)
    assert {leaf.dtype for leaf in jax.tree.leaves(states[1])} == {np.dtype("float32")}
    assert error(states[1], states[0]) < 0.01


@pytest.mark.raises
def test_mixed_refuses_a_model_with_a_type_of_its_own(key):
    sizes = models.TransformerSizes(context=4, width=8, n_layers=1, n_heads=2)
    model = precision.mixed(models.decoder(5, sizes), "bfloat16")
    message = "model must compute in the type of its parameters and inputs, bfloat16; got outputs of float32. Pass prec"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda key: model.apply(*model.init(key), jnp.zeros((1, 4), jnp.int32)), key)
    with pytest.raises(ValueError, match="precision must be one of float32, bfloat16, float16; got 'half'."):
        precision.mixed(model, "half")


def test_small_gradients_vanish_in_float16_without_a_scale():
    exact, model = gradient_of(network(), 1e-6), network("float16")
    assert error(gradient_of(model, 1e-6, exponent=0), exact) > 0.5
    for exponent in (10, 15):
        own = gradient_of(model, 1e-6, exponent=exponent)
        for of_own, of_exact in zip(own, exact, strict=True):  # of the parameters, and of the inputs
            assert error(of_own, of_exact) < 18 * ROUNDING["float16"]


def decoder_of(kind, **changes):
    sizes = {"context": 8, "width": 16, "n_layers": 2, "n_heads": 2, **changes}
    model = models.decoder(11, models.TransformerSizes(**sizes, precision=kind))
    return precision.loss_scaled(model) if kind == "float16" else model


@pytest.mark.long
@pytest.mark.parametrize("remat", ["none", "all"])
def test_loss_scaled_transformer_has_the_gradients_of_float32(remat, key):
    tokens = jax.random.randint(key, (16, 8), 0, 11)
    each = []
    for kind in ("float16", "float32"):
        model = decoder_of(kind, remat=remat)
        params, state = jax.jit(model.init)(key)
        loss_fn = training.mean_loss(model, LOSS)
        gradient, _, _ = jax.jit(gradients.plain(loss_fn))(
            params, state, {"inputs": tokens, "targets": jnp.roll(tokens, -1, axis=1)}, key
        )
        each.append(jax.tree.map(np.asarray, gradient))
    assert 0 < error(*each) < 0.01  # some twenty roundings of 0.05 %


def trained(kind="float16", *, rate=0.1, period=2000, factor=1.0):
    model = network(kind)
    algorithm = training.supervised(
        model,
        lambda outputs, targets: factor * LOSS(outputs, targets),
        optimizer=optax.adam(rate),
        metrics={"log_loss": metrics.log_loss()},
        estimator=lambda loss_fn: gradients.clipped(gradients.plain(loss_fn), max_norm=1.0),
    )
    return precision.rescaling(algorithm, period=period)


def after(algorithm, n_steps, state=None, start=0):
    """Returns the state after some steps on one batch, and their metrics."""
    state = algorithm.init(jax.random.key(0)) if state is None else state

    def body(state, step):
        return algorithm.step(state, batch(), jax.random.fold_in(jax.random.key(1), step))

    return jax.jit(lambda state: jax.lax.scan(body, state, start + jnp.arange(n_steps)))(state)


def test_rescaling_doubles_after_a_period_halves_at_an_overflow():
    _, history = after(trained(period=3, factor=50.0), 20)  # 50 * 2 ** 16 / 32 is the first to overflow
    scales = np.log2(history["loss_scale"]).tolist()
    overflowed = history["overflowed"].astype(bool).tolist()
    assert any(overflowed) and not all(overflowed)
    exponent, n_good = 15, 0
    for scale, is_over in zip(scales, overflowed, strict=True):
        n_good = 0 if is_over else n_good + 1
        exponent, n_good = (exponent - 1, 0) if is_over else (exponent + 1, 0) if n_good == 3 else (exponent, n_good)
        assert scale == exponent
    assert all(np.isfinite(values).all() for values in history.values())
    assert history["loss"][-1] < history["loss"][0] / 2


def test_an_overflowed_step_changes_nothing_but_the_scale():
    algorithm = trained(factor=1000.0)  # 1000 * 2 ** 15 is far above the largest float16, 65504
    state = algorithm.init(jax.random.key(0))
    new, reported = jax.jit(algorithm.step)(state, batch(), jax.random.key(1))
    assert reported["overflowed"] == 1 and reported["loss_scale"] == 2**14 and reported["gradient_norm"] == 0
    assert reported["loss"] > 100
    jax.tree.map(np.testing.assert_array_equal, (new.params, new.opt_state), (state.params, state.opt_state))
    _, history = after(algorithm, 12)
    assert history["overflowed"][-1] == 0 and history["overflowed"][:4].tolist() == [1] * 4


def test_rescaling_lets_a_diverged_run_show():
    infinite = optax.GradientTransformation(
        lambda params: optax.EmptyState(), lambda g, s, p=None: (jax.tree.map(lambda leaf: leaf + jnp.inf, g), s)
    )
    descent = training.supervised(network("float16"), LOSS, optimizer=infinite, metrics={})
    state, history = after(precision.rescaling(descent), 17)
    assert history["overflowed"].tolist() == [1] * 15 + [0] * 2  # down to a scale of 1
    assert not np.isfinite(flat(state.params)).all() and np.isnan(history["loss"][-1])


def test_float16_in_pieces_equals_the_whole_bit_for_bit():
    algorithm = trained(period=3)
    whole, _ = after(algorithm, 9)
    first, _ = after(algorithm, 4)
    pieces, _ = after(algorithm, 5, jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), first), start=4)
    jax.tree.map(np.testing.assert_array_equal, pieces, whole)


@hyperparameters
class Settings:
    """Two epochs of five steps."""

    learning_rate: float = swept(0.03, "step size of Adam", above=0)
    batch_size: int = static(8, "examples per step")
    epochs: int = static(2, "passes")


@pytest.mark.long
def test_float16_is_executed_and_resumed_bit_for_bit():
    """The loss scale of each seed is part of the state that a checkpoint has."""

    def algorithm(h, card, plan, fitted):
        descent = training.supervised(
            network("float16"),
            lambda outputs, targets: 100 * LOSS(outputs, targets),
            optimizer=optax.adam(h.learning_rate),
            metrics={"log_loss": metrics.log_loss()},
            estimator=plan.estimator,
        )
        return precision.rescaling(descent, period=3)

    declared = Experiment(question="?", hyperparameters=Settings(), algorithm=algorithm, minimise="log_loss")
    part = jax.tree.map(np.asarray, batch(40))
    dataset = Dataset(
        part, part, None, DataCard(name="a", source="b", class_names=("x", "y", "z"), feature_shape=(12,))
    )
    kept = []
    keeping = execution.Keeping(lambda: True, lambda step, state: kept.append((step, jax.device_get(state))))
    whole = execution.execute(declared, Settings(), dataset, seeds=(0, 1), keeping=keeping)
    assert whole.n_compilations == 3
    step, state = kept[len(kept) // 2]
    assert 0 < step < 10 and state.model_state["loss_scale"].exponent.shape == (2,)
    again = execution.execute(declared, Settings(), dataset, seeds=(0, 1), start=execution.Start(step, state))
    jax.tree.map(np.testing.assert_array_equal, again.state, whole.state)
    assert (np.asarray(whole.state.model_state["loss_scale"].exponent) != 15).all()


def test_rescaling_composes_with_averages_and_accumulation():
    descent = training.supervised(
        network("float16"),
        LOSS,
        optimizer=optax.adam(0.01),
        metrics={"log_loss": metrics.log_loss()},
        estimator=lambda loss_fn: gradients.accumulated(gradients.plain(loss_fn), n_micro_batches=4),
    )
    algorithm = algorithms.stopped(
        algorithms.averaged(precision.rescaling(descent), decay=0.9), metric="log_loss", patience=2
    )
    state, history = after(algorithm, 10)
    assert history["loss"][-1] < history["loss"][0]
    assert np.isfinite(algorithm.evaluate(state, batch(), jax.random.key(2))["log_loss"])


def test_a_loss_scale_without_float16_is_refused(key):
    plain = training.supervised(network("bfloat16"), LOSS, optimizer=optax.adam(0.1), metrics={})
    with pytest.raises(
        ValueError, match="algorithm must have a model with a loss scale, which only float16 needs; got o"
    ):
        precision.rescaling(plain).init(key)
    model = precision.loss_scaled(network("bfloat16"))
    with pytest.raises(ValueError, match="model must compute in float16 to need a loss scale; got one that does not."):
        model.apply(*model.init(key), batch()["inputs"])
    with pytest.raises(ValueError, match="period must be 1 or more; got 0. Pass the steps"):
        precision.rescaling(plain, period=0)


def test_mixed_linen_normalisation_is_in_float32(key):
    """The variance of 1000 and 1008 is lost if it is summed in 16 bits."""

    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            return nn.LayerNorm()(inputs)

    model = precision.mixed(models.linen(Normalised(), jax.ShapeDtypeStruct((1, 64), jnp.float32)), "bfloat16")
    inputs = jnp.tile(jnp.array([[1000.0, 1008.0]]), (2, 32))  # both are exact in bfloat16
    outputs, _ = model.apply(*model.init(key), inputs)
    np.testing.assert_allclose(outputs, jnp.tile(jnp.array([[-1.0, 1.0]]), (2, 32)), atol=2**-6)

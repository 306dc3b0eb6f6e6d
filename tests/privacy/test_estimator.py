"""One example never changes the sum by more than the declared sensitivity, and the noise is what is accounted for."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxresearch import gradients, losses, models, privacy, sampling, training
from jaxresearch.privacy import Mechanism

LOSS = losses.softmax_cross_entropy_with_integer_labels
WHOLE = Mechanism(noise_multiplier=0.0, clip=0.5, n_examples=16, batch_size=16, n_steps=1, delta=1e-5)
MODEL = models.mlp(3, (5,), 2)


def batch(n=16, seed=0, mechanism=WHOLE):
    """Returns a batch of all examples, marked as drawn by a mechanism."""
    random = np.random.default_rng(seed)
    data = {"inputs": random.normal(size=(n, 3)).astype(np.float32), "targets": random.integers(0, 2, n)}
    return sampling.batch_of(jax.random.key(0), data, jnp.int32(0), batch_size=mechanism.sampling)


def loss_of(model):
    return lambda params, batch, key: training.mean_loss(model, LOSS)(params, {}, batch, key)[0]


def norm(tree):
    return np.sqrt(sum(np.sum(np.square(np.asarray(leaf, np.float64))) for leaf in jax.tree.leaves(tree)))


@functools.cache
def compiled_sums(clipping, dtype, of_computation, n_micro_batches):
    """Returns the compiled sums of pairs of batches, for a loss whose gradient is the example itself."""

    def sums(examples, weights):
        params = {"a": jnp.zeros(4, dtype), "b": jnp.zeros((), dtype)}

        def linear(params, batch, key):
            row, params = (
                batch["inputs"][0].astype(of_computation),
                jax.tree.map(lambda leaf: leaf.astype(of_computation), params),
            )
            return params["a"] @ row[:4] + params["b"] * row[4]

        given = {"inputs": examples, "weights": weights}
        return privacy.clipped_sum(
            linear, params, given, key=jax.random.key(0), clip=0.3, clipping=clipping, n_micro_batches=n_micro_batches
        )

    return jax.jit(jax.vmap(sums))


@pytest.mark.parametrize("clipping", ["flat", "per-array"])
@pytest.mark.parametrize(
    "dtype, of_computation, n_micro_batches",
    [("float32", "float32", 1), ("float32", "float32", 4), ("float32", "bfloat16", 1), ("bfloat16", "bfloat16", 1)],
)
def test_one_example_never_changes_the_sum_by_more_than_one(clipping, dtype, of_computation, n_micro_batches):
    n_pairs, places, random = 1000, 7, np.random.default_rng(0)
    scale = 10.0 ** random.uniform(-6, 20, (n_pairs, places, 1))
    examples = (random.normal(size=(n_pairs, places, 5)) * scale).astype(np.float32)
    bad = random.choice([np.nan, np.inf, -np.inf, 3e38, 1e-40, 0.0], size=examples.shape)
    examples = np.where(random.random(examples.shape) < 0.05, bad, examples).astype(np.float32)
    weights = (random.random((n_pairs, places)) < random.random((n_pairs, 1))).astype(
        np.float32
    )  # some batches are empty
    place = random.integers(0, places, n_pairs)
    changed, replaced = weights.copy(), examples.copy()
    changed[np.arange(n_pairs), place] = 1 - changed[np.arange(n_pairs), place]  # added or removed
    replaced[np.arange(n_pairs), place] = random.normal(size=(n_pairs, 5)) * 100
    sums = compiled_sums(clipping, dtype, of_computation, n_micro_batches)
    before, after, other = sums(examples, weights), sums(examples, changed), sums(replaced, weights)

    def distances(one, two):
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
        squares = [
            ((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2).reshape(n_pairs, -1) for a, b in pairs
        ]
        return np.sqrt(np.concatenate(squares, axis=1).sum(axis=1))

    assert distances(before, after).max() <= 1
    assert distances(before, other).max() <= 2
    assert distances(before, after).max() > 0.999  # the bound is reached
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((before, after, other)))


@pytest.mark.parametrize("n_micro_batches", [1, 2, 5, 16, 20])
def test_clipped_sum_equals_a_loop(n_micro_batches, key):
    params, _ = MODEL.init(key)
    given = {**batch(), "weights": jnp.arange(16) % 3 > 0}
    found = privacy.clipped_sum(loss_of(MODEL), params, given, key=key, clip=0.5, n_micro_batches=n_micro_batches)
    expected = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float64), params)
    for i in range(16):
        alone = {name: given[name][i : i + 1] for name in ("inputs", "targets")}
        gradient = jax.grad(loss_of(MODEL))(params, alone, key)
        scale = float(given["weights"][i]) / max(0.5, norm(gradient))
        expected = jax.tree.map(lambda e, g, s=scale: e + s * np.asarray(g, np.float64), expected, gradient)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one * (1 + 2**-14), other, atol=1e-6)  # norms have a margin of 2^-14


def test_clipped_sum_without_weights_has_derivatives(key):
    examples = {"inputs": jnp.array([[3.0, 4.0], [0.1, 0.2], [0.5, 0.0]])}

    def total(scale, given=examples):
        def linear(params, batch, key):
            return scale * batch["inputs"][0] @ params

        return privacy.clipped_sum(linear, jnp.zeros(2), given, key=key, clip=1.0, n_micro_batches=2)

    _, slope = jax.jvp(total, (1.0,), (1.0,))
    np.testing.assert_allclose(slope * (1 + 2**-14), [0.6, 0.2], atol=1e-6)  # the norm of the clipped one stays
    slope = jax.jit(jax.grad(lambda scale: total(scale).sum()))(1.0)
    assert slope == pytest.approx(0.8, rel=1e-3)  # the margin of norms
    weighted = {**examples, "weights": jnp.ones(3)}
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jax.jit(jax.grad(lambda scale: total(scale, weighted).sum()))(1.0)


@pytest.mark.long
@pytest.mark.parametrize("make", [models.encoder, models.decoder], ids=["encoder", "decoder"])
def test_clipped_sum_of_a_transformer_equals_a_loop(make, key):
    sizes = models.TransformerSizes(context=4, width=8, n_layers=1, n_heads=2)
    model = make(7, sizes)
    tokens, keys = np.random.default_rng(0).integers(1, 7, (6, 4)), jax.random.split(key, 2)
    given = {"inputs": tokens, "targets": np.roll(tokens, -1, axis=1)}

    def params_of(key):
        return model.init(key)[0]

    def sum_of(key):
        return privacy.clipped_sum(loss_of(model), params_of(key), given, key=key, clip=0.5, n_micro_batches=2)

    several = jax.jit(jax.vmap(sum_of))(keys)
    for i, seed in enumerate(keys):
        params, expected = params_of(seed), []
        gradient_of = jax.jit(jax.grad(loss_of(model)))
        for j in range(6):
            gradient = gradient_of(
                params, {name: entry[j : j + 1] for name, entry in given.items()}, jax.random.fold_in(seed, j)
            )
            expected.append(
                [np.asarray(leaf, np.float64) / max(0.5, norm(gradient)) for leaf in jax.tree.leaves(gradient)]
            )
        for one, others in zip(jax.tree.leaves(several), zip(*expected, strict=True), strict=True):
            np.testing.assert_allclose(one[i] * (1 + 2**-14), sum(others), atol=1e-6)


def test_micro_batches_without_examples_are_skipped(key):
    visited = []

    def counted(params, batch, key):
        jax.debug.callback(visited.append, batch["inputs"][0, 0])
        return params @ batch["inputs"][0]

    given = {"inputs": jnp.arange(8.0)[:, None], "weights": jnp.array([1, 0, 0, 1, 0, 0, 0, 0])}
    total = privacy.clipped_sum(counted, jnp.ones(1), given, key=key, clip=10.0, n_micro_batches=4)
    jax.effects_barrier()
    assert {int(place) for place in visited} == {0, 1, 2, 3}
    np.testing.assert_allclose(total * (1 + 2**-14), 0.3, rtol=1e-6)  # the margin of norms


def temporary_bytes(model, n, n_micro_batches):
    """Returns the memory that a compiled sum takes beside its arguments and its result."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0))[0])
    given = {"inputs": jax.ShapeDtypeStruct((n, 64), jnp.float32), "targets": jax.ShapeDtypeStruct((n,), jnp.int32)}

    def sum_of(params, batch):
        arguments = {"key": jax.random.key(0), "clip": 1.0, "n_micro_batches": n_micro_batches}
        return privacy.clipped_sum(loss_of(model), params, batch, **arguments)

    return jax.jit(sum_of).lower(shapes, given).compile().memory_analysis().temp_size_in_bytes


def test_memory_depends_on_the_micro_batch_alone():
    model = models.cnn((8, 8, 1), 10, channels=(16, 16), hidden=8)
    small, large = (temporary_bytes(model, n, n // 16) for n in (64, 512))
    assert large <= small + 512 * 16  # beside the gradients, a key and a flag for each example
    assert temporary_bytes(model, 512, 1) > 10 * small


def test_dense_layers_have_no_gradient_of_each_example():
    model = models.mlp(64, (256,), 10)
    assert temporary_bytes(model, 64, 1) < 64 * 64 * 256 * 4 / 4  # a quarter of 64 gradients of the first layer


def test_examples_have_the_same_keys_in_all_micro_batches(key):
    def noisy(params, batch, key):
        return params @ jax.random.normal(key, (3,))

    whole, parts = (
        privacy.clipped_sum(noisy, jnp.zeros(3), batch(), key=key, clip=1.0, n_micro_batches=n) for n in (1, 3)
    )
    np.testing.assert_allclose(whole, parts, atol=1e-6)
    assert norm(whole) < 15.9  # 16 for equal keys


def test_private_without_clipping_is_the_gradient_of_the_mean(key):
    params, model_state = MODEL.init(key)
    loss_fn = training.mean_loss(MODEL, LOSS)
    unclipped = dataclasses.replace(WHOLE, clip=1e3)
    found, reported, _ = privacy.private(loss_fn, unclipped)(params, model_state, batch(mechanism=unclipped), key)
    expected, *_ = gradients.plain(loss_fn)(params, model_state, batch(), key)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one * (1 + 2**-14), other, atol=1e-6)
    assert sorted(reported) == ["gradient_norm"]
    np.testing.assert_allclose(reported["gradient_norm"], norm(found), rtol=1e-6)


def test_the_divisor_is_the_expected_batch_size(key):
    mechanism = dataclasses.replace(WHOLE, batch_size=4, clip=1.0)
    drawn = batch(mechanism=mechanism)

    def loss_fn(params, model_state, batch, key):
        return 2 * params, ({}, model_state)

    gradient, *_ = privacy.private(loss_fn, mechanism)(jnp.zeros(()), {}, drawn, key)
    np.testing.assert_allclose(gradient, float(drawn["weights"].sum()) / 4, rtol=1e-4)  # the margin of norms
    assert float(drawn["weights"].sum()) != 4


@pytest.mark.parametrize("clipping", ["flat", "per-array"])
def test_noise_has_the_declared_standard_deviation(clipping, key):
    mechanism = dataclasses.replace(WHOLE, noise_multiplier=2.0, clip=0.3, batch_size=8, clipping=clipping)

    def silent(params, model_state, batch, key):
        return 0.0 * params["a"].sum(), ({}, model_state)

    params = {"a": jnp.zeros((500, 1000)), "b": jnp.zeros(500_000)}
    step = jax.jit(privacy.private(silent, mechanism))
    # Each step and each seed has a key of its own.
    first, second = (step(params, {}, batch(mechanism=mechanism), jax.random.fold_in(key, i))[0] for i in range(2))
    a, b, again = (np.asarray(leaf, np.float64).ravel() for leaf in (first["a"], first["b"], second["a"]))
    expected = 2.0 * 0.3 / 8
    drawn = np.concatenate([a, b])
    np.testing.assert_allclose(drawn.std(), expected, rtol=0.01)
    assert abs(drawn.mean()) < 5 * expected / np.sqrt(drawn.size)  # 5 standard errors
    for one, other in ((a, b), (a, again)):  # independent between arrays and steps: 5 standard errors
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(500_000)


def test_a_secret_changes_what_a_loss_draws():
    def noisy(params, model_state, batch, key):  # no noise of the mechanism: all that differs is drawn by the loss
        return params @ jax.random.normal(key, (3,)) * batch["inputs"].mean(), ({}, model_state)

    gradients = []
    for secret in (None, (1, 2), (1, 3), (1, 2)):
        mechanism = dataclasses.replace(WHOLE, secret=secret)
        estimator = privacy.private(noisy, mechanism)
        gradients.append(estimator(jnp.ones(3), {}, batch(mechanism=mechanism), jax.random.key(5))[0])
    np.testing.assert_array_equal(gradients[1], gradients[3])
    assert not np.allclose(gradients[0], gradients[1]) and not np.allclose(gradients[1], gradients[2])


def test_a_secret_changes_the_noise_and_the_sampling():
    mechanisms = [
        dataclasses.replace(WHOLE, batch_size=8, noise_multiplier=1.0, secret=s) for s in (None, (1, 2), (1, 3))
    ]

    def silent(params, model_state, batch, key):
        return 0.0 * params.sum(), ({}, model_state)

    noises = [
        privacy.private(silent, m)(jnp.zeros(9), {}, batch(mechanism=m), jax.random.key(0))[0] for m in mechanisms
    ]
    masks = [
        sampling.poisson_mask(jax.random.key(0), jnp.int32(0), n_examples=64, rate=0.5, secret=m.secret)
        for m in mechanisms
    ]
    for values in (noises, masks):
        assert len({np.asarray(value).tobytes() for value in values}) == 3


def test_bfloat16_params_are_clipped_and_summed_in_float32(key):
    params = jnp.zeros(3, jnp.bfloat16)

    def loss_fn(params, model_state, batch, key):
        return jnp.sum(params * batch["inputs"][0].astype(params.dtype)), ({}, model_state)

    gradient, *_ = privacy.private(loss_fn, WHOLE)(params, {}, batch(), key)
    total = privacy.clipped_sum(lambda p, b, k: loss_fn(p, {}, b, k)[0], params, batch(), key=key, clip=0.5)
    assert gradient.dtype == jnp.bfloat16 and total.dtype == jnp.float32


def shuffled():
    return dict(batch())


def of_another_mechanism():
    return batch(mechanism=dataclasses.replace(WHOLE, batch_size=8))


def half():
    return jax.tree.map(lambda leaf: leaf[:8], batch())


@pytest.mark.parametrize(
    "given, message",
    [
        (shuffled, "batch must come from the mechanism's Poisson sampling, unchanged, got another"),
        (
            of_another_mechanism,
            "batch must be drawn with Poisson(rate=1.0, capacity=16, n_examples=16, is_exact=True), which is accounted",
        ),
        (
            half,
            "got 8 places of Poisson(rate=1.0, capacity=16, n_examples=16, is_exact=True). Pass the whole batch of one",
        ),
    ],
)
def test_private_refuses_batches_drawn_otherwise(given, message, key):
    params, model_state = MODEL.init(key)
    estimator = privacy.private(training.mean_loss(MODEL, LOSS), WHOLE)
    with pytest.raises(ValueError, match=re.escape(message)):
        estimator(params, model_state, given(), key)


def test_private_refuses_to_be_accumulated(key):
    params, model_state = MODEL.init(key)
    estimator = gradients.accumulated(privacy.private(training.mean_loss(MODEL, LOSS), WHOLE), n_micro_batches=2)
    with pytest.raises(ValueError, match="got 8 places"):
        estimator(params, model_state, batch(), key)


def test_private_refuses_batch_normalisation(key):
    class Normalised(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dense(2)(nn.BatchNorm(use_running_average=not train)(x))

    model = models.linen(Normalised(), jnp.zeros((1, 3)))
    params, model_state = model.init(key)
    estimator = privacy.private(training.mean_loss(model, LOSS), WHOLE)
    with pytest.raises(
        ValueError, match="model_state must not change in a private step, got a loss_fn that changes it"
    ):
        estimator(params, model_state, batch(), key)


def test_private_refuses_other_arguments(key):
    with pytest.raises(ValueError, match="n_micro_batches must be at least 1; got 0"):
        privacy.private(training.mean_loss(MODEL, LOSS), WHOLE, n_micro_batches=0)
    estimator = privacy.private(lambda params, model_state, batch, key: (params, ({}, model_state)), WHOLE)
    with pytest.raises(ValueError, match=re.escape("loss must be a scalar, got shape (2,).")):
        estimator(jnp.zeros(2), {}, batch(), key)

"""Gradient estimators: equal to closed forms, interchangeable, composable."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from jaxresearch import devices, gradients, sweeps


def loss_fn(params, model_state, batch, key):
    """A weighted mean of (theta x - y)^2 / 2 whose state counts calls; the key is used but has no effect."""
    del key
    losses = (batch["inputs"] @ params["slope"] + params["intercept"] - batch["targets"]) ** 2 / 2
    weights = batch.get("weights", jnp.ones(losses.shape))
    loss = jnp.sum(weights * losses) / jnp.sum(weights)
    return loss, ({"largest": jnp.max(losses)}, {"calls": model_state["calls"] + 1})


@pytest.fixture
def problem():
    generator = np.random.default_rng(0)
    params = {"slope": jnp.asarray(generator.normal(size=3), jnp.float32), "intercept": jnp.float32(0.5)}
    inputs, targets = generator.normal(size=(12, 3)), generator.normal(size=12)
    batch = {"inputs": jnp.asarray(inputs, jnp.float32), "targets": jnp.asarray(targets, jnp.float32)}
    return params, {"calls": jnp.zeros((), jnp.int32)}, batch


def _close(a, b):
    # Sums of twelve float32 terms of order 1 in a different order: a few units in the last place.
    return jax.tree.all(jax.tree.map(lambda x, y: np.allclose(x, y, rtol=1e-5, atol=1e-6), a, b))


def test_plain_equals_the_closed_form(problem, key):
    params, model_state, batch = problem
    gradient, metrics, model_state = gradients.plain(loss_fn)(params, model_state, batch, key)
    residual = batch["inputs"] @ params["slope"] + params["intercept"] - batch["targets"]
    expected = {"slope": batch["inputs"].T @ residual / 12, "intercept": residual.mean()}
    assert _close(gradient, expected)
    assert np.isclose(metrics["loss"], (residual**2).mean() / 2, rtol=1e-6)
    assert set(metrics) == {"loss", "largest"}
    assert model_state["calls"] == 1


@pytest.mark.parametrize("n_micro_batches", [1, 2, 3, 4, 12])
def test_accumulated_equals_the_whole_batch(problem, key, n_micro_batches):
    whole, metrics, _ = gradients.plain(loss_fn)(*problem, key)
    accumulated = gradients.accumulated(gradients.plain(loss_fn), n_micro_batches=n_micro_batches)
    parts, parts_metrics, model_state = accumulated(*problem, key)
    assert _close(parts, whole)
    assert np.isclose(parts_metrics["loss"], metrics["loss"], rtol=1e-6)
    assert model_state["calls"] == n_micro_batches


def test_accumulated_weights_each_part_by_its_examples(problem, key):
    params, model_state, batch = problem
    batch = {**batch, "weights": jnp.array([1.0] * 5 + [0.0] * 7)}  # the last of three parts is padding alone
    accumulated = gradients.accumulated(gradients.plain(loss_fn), n_micro_batches=3)
    gradient, _, _ = accumulated(params, model_state, batch, key)
    real = {name: values[:5] for name, values in batch.items()}
    assert _close(gradient, gradients.plain(loss_fn)(params, model_state, real, key)[0])


def test_accumulated_stores_one_gradient_for_any_number_of_parts(key):
    def loss_fn(params, model_state, batch, key):
        return jnp.mean((batch["inputs"] @ params) ** 2), ({}, model_state)

    params, batch = jnp.ones((512, 1024)), {"inputs": jnp.ones((64, 512))}

    def temporary(n_parts):
        estimator = gradients.accumulated(gradients.plain(loss_fn), n_micro_batches=n_parts)
        compiled = jax.jit(lambda *args: estimator(*args)[0]).lower(params, {}, batch, key).compile()
        return compiled.memory_analysis().temp_size_in_bytes / params.nbytes

    # A gradient, its sum, and the memory of one part; 32 gradients would take 32 times the memory.
    assert temporary(32) < 4


def test_accumulated_keeps_the_type_of_the_parameters(key):
    def loss_fn(params, model_state, batch, key):
        return jnp.mean((batch["inputs"].astype(params.dtype) * params) ** 2), ({}, model_state)

    estimator = gradients.accumulated(gradients.plain(loss_fn), n_micro_batches=2)
    gradient, _, _ = estimator(jnp.ones((1, 3), jnp.bfloat16), {}, {"inputs": jnp.ones((4, 3))}, key)
    assert gradient.dtype == jnp.bfloat16


def test_accumulated_gives_each_part_its_own_key(problem, key):
    def noisy(params, model_state, batch, key):
        return {"noise": jax.random.normal(key)}, {"noise": jax.random.normal(jax.random.fold_in(key, 7))}, model_state

    _, metrics, _ = gradients.accumulated(noisy, n_micro_batches=4)(*problem, key)
    single = [noisy(*problem, jax.random.fold_in(key, part))[1]["noise"] for part in range(4)]
    assert len({float(value) for value in single}) == 4
    assert np.isclose(metrics["noise"], np.mean(single), rtol=1e-6)


@pytest.mark.parametrize("n_devices", [1, 2])
@pytest.mark.parametrize("n_real", [None, 5, 8])
def test_sharded_equals_accumulated(problem, key, n_devices, n_real):
    def noisy(params, model_state, batch, key):
        loss, (metrics, model_state) = loss_fn(params, model_state, batch, key)
        return loss * (1 + 0.1 * jax.random.normal(key)), (metrics, model_state)

    params, model_state, batch = problem
    if n_real:  # of two parts one is padding alone, or weighs a third of the other
        batch = {**batch, "weights": (jnp.arange(12) < n_real).astype(jnp.float32)}
    parts = gradients.accumulated(gradients.plain(noisy), n_micro_batches=n_devices)
    over_devices = gradients.sharded(gradients.plain(noisy), n_devices=n_devices)
    expected, metrics, _ = parts(params, model_state, batch, key)
    gradient, its_metrics, its_state = jax.jit(over_devices)(params, model_state, batch, key)
    assert _close(gradient, expected) and _close(its_metrics, metrics)
    assert its_state["calls"] == 1


def test_sharded_joins_a_part_of_padding_alone(problem, key):
    params, model_state, batch = problem
    batch = {**batch, "weights": jnp.array([1.0] * 5 + [0.0] * 7)}
    gradient, _, _ = jax.jit(gradients.sharded(gradients.plain(loss_fn), n_devices=2))(params, model_state, batch, key)
    real = {name: values[:5] for name, values in batch.items()}
    assert _close(gradient, gradients.plain(loss_fn)(params, model_state, real, key)[0])


def test_sharded_averages_states_and_takes_the_largest_count(problem, key):
    def tracked(params, model_state, batch, key):
        mean = 0.9 * model_state["mean"] + 0.1 * batch["inputs"].mean(axis=0)
        return loss_fn(params, model_state, batch, key)[0], ({}, {"mean": mean, "calls": model_state["calls"] + 1})

    params, _, batch = problem
    model_state = {"mean": jnp.arange(3.0), "calls": jnp.array(4)}
    _, _, joined = jax.jit(gradients.sharded(gradients.plain(tracked), n_devices=2))(params, model_state, batch, key)
    assert np.abs(batch["inputs"][:6].mean(axis=0) - batch["inputs"][6:].mean(axis=0)).max() > 0.1
    assert _close(joined["mean"], 0.9 * jnp.arange(3.0) + 0.1 * batch["inputs"].mean(axis=0))
    assert joined["calls"] == 5 and joined["calls"].dtype == jnp.int32


def test_sharded_does_not_round_the_mean_of_counts(key):
    def counting(params, model_state, batch, key):
        metrics = {"count": batch["hits"].sum(), "any": batch["hits"].any(), "half": jnp.bfloat16(1)}
        return params * 1.0, metrics, model_state

    batch = {"hits": jnp.array([1, 1, 1, 0, 1, 1, 1, 1]), "weights": jnp.ones(8)}
    parts = gradients.accumulated(counting, n_micro_batches=2)(jnp.bfloat16(1), {}, batch, key)
    over_devices = jax.jit(gradients.sharded(counting, n_devices=2))(jnp.bfloat16(1), {}, batch, key)
    for gradient, metrics, _ in (parts, over_devices):
        assert gradient.dtype == jnp.bfloat16 and gradient == 1
        assert all(leaf.dtype == jnp.float32 for leaf in metrics.values())
        assert {name: float(leaf) for name, leaf in metrics.items()} == {"count": 3.5, "any": 1.0, "half": 1.0}


def test_sharded_merges_states_that_are_not_numbers(key):
    def stateful(params, model_state, batch, key):
        drawn = jax.random.uniform(jax.random.fold_in(model_state["key"], 0))
        state = {"key": jax.random.fold_in(model_state["key"], batch["inputs"][0]), "seen": batch["inputs"].any()}
        return params, {"drawn": drawn}, state

    state = {"key": jax.random.key(3), "seen": jnp.array(False)}
    batch = {"inputs": jnp.arange(4)}
    _, metrics, joined = jax.jit(gradients.sharded(stateful, n_devices=2))(jnp.ones(()), state, batch, key)
    assert joined["key"] == jax.random.fold_in(state["key"], 0) and joined["seen"]
    np.testing.assert_allclose(metrics["drawn"], jax.random.uniform(jax.random.fold_in(state["key"], 0)), rtol=1e-6)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
@pytest.mark.parametrize("transform", ["accumulated", "sharded"])
def test_typed_keys_pass_through_the_model_state(key, transform, impl):
    def stateful(params, model_state, batch, key):
        own, kept = jax.random.split(model_state["key"])
        return jnp.mean(params * batch["inputs"]) * jax.random.uniform(own), ({}, {"key": kept})

    joined = {
        "accumulated": gradients.accumulated(gradients.plain(stateful), n_micro_batches=2),
        "sharded": gradients.sharded(gradients.plain(stateful), n_devices=2),
    }[transform]
    state = {"key": jax.random.key(3, impl=impl)}
    _, _, made = jax.jit(joined)(jnp.float32(1), state, {"inputs": jnp.arange(4.0)}, key)
    expected = jax.random.key(3, impl=impl)
    for _ in range(2 if transform == "accumulated" else 1):  # parts run one after another, or start from the same key
        expected = jax.random.split(expected)[1]
    assert made["key"] == expected and jax.random.key_impl(made["key"]) == jax.random.key_impl(expected)


def test_sharded_trains_as_one_device_does(problem):
    params, model_state, batch = problem

    def trained(estimator):
        def step(carry, key):
            params, model_state = carry
            gradient, metrics, model_state = estimator(params, model_state, batch, key)
            return (jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), model_state), metrics["loss"]

        return jax.jit(lambda: jax.lax.scan(step, (params, model_state), sweeps.keys(range(20))))()

    one, two = trained(gradients.plain(loss_fn)), trained(gradients.sharded(gradients.plain(loss_fn)))
    assert _close(one[0][0], two[0][0]) and _close(one[1], two[1])
    assert len(two[0][0]["slope"].sharding.device_set) == len(jax.devices())


def test_sharded_reports_the_number_of_available_devices(problem, key):
    with pytest.raises(ValueError, match="n_devices must be between 1 and the number of devices, 2; got 3"):
        gradients.sharded(gradients.plain(loss_fn), n_devices=3)
    params, model_state, batch = problem
    odd = {name: values[:11] for name, values in batch.items()}
    with pytest.raises(ValueError, match="n_devices must divide the batch of 11 examples; got 2"):
        gradients.sharded(gradients.plain(loss_fn), n_devices=2)(params, model_state, odd, key)


def test_sharded_refuses_devices_that_a_sweep_uses_already(problem, key):
    swept = sweeps.sweep(lambda key: gradients.sharded(gradients.plain(loss_fn))(*problem, key)[0])
    with pytest.raises(ValueError, match="sharded must not be inside a sweep over devices .* Use accumulated instead"):
        swept(sweeps.keys([0, 1]))


@pytest.mark.parametrize("within", ["step", "sweep"])
def test_sharded_uses_the_axis_data_of_a_mesh(problem, key, within):
    def noisy(params, model_state, batch, key):
        loss, (metrics, model_state) = loss_fn(params, model_state, batch, key)
        return loss * (1 + 0.1 * jax.random.normal(key)), (metrics, model_state)

    def gradient_of(estimator, key):
        return estimator(*problem, key)[0]

    parts = gradients.accumulated(gradients.plain(noisy), n_micro_batches=2)
    ours = functools.partial(gradient_of, gradients.sharded(gradients.plain(noisy)))
    keys = sweeps.keys([0, 1, 2])
    with jax.set_mesh(devices.mesh(data=2)):
        found = jax.jit(ours)(key) if within == "step" else jax.jit(sweeps.sweep(ours))(keys)
    expected = gradient_of(parts, key) if within == "step" else jax.vmap(lambda key: gradient_of(parts, key))(keys)
    assert _close(found, expected)


def test_sharded_checks_its_devices_against_the_mesh(problem, key):
    params, model_state, batch = problem
    odd = {name: values[:11] for name, values in batch.items()}
    with jax.set_mesh(devices.mesh(data=2)):
        with pytest.raises(
            ValueError, match="n_devices must be 2, the size of data in the current mesh; got 1. Leave it"
        ):
            gradients.sharded(gradients.plain(loss_fn), n_devices=1)(*problem, key)
        with pytest.raises(ValueError, match="the mesh axis data must divide the batch of 11 examples; got 2"):
            gradients.sharded(gradients.plain(loss_fn))(params, model_state, odd, key)


@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd], ids=["reverse", "forward"])
@pytest.mark.parametrize("transform", ["accumulated", "sharded"])
def test_a_part_of_padding_alone_leaves_derivatives_finite(problem, key, transform, mode):
    params, model_state, batch = problem
    batch = {**batch, "weights": jnp.array([1.0] * 5 + [0.0] * 7)}  # the second of two parts is padding alone
    plain = gradients.plain(loss_fn)
    joined = {
        "accumulated": gradients.accumulated(plain, n_micro_batches=2),
        "sharded": gradients.sharded(plain, n_devices=2),
    }[transform]

    def derivative(estimator):
        return jax.jit(mode(lambda params: estimator(params, model_state, batch, key)[0]))(params)

    assert _close(derivative(joined), derivative(plain))


@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 1e3])
def test_clipped_equals_optax(problem, key, max_norm):
    whole, _, _ = gradients.plain(loss_fn)(*problem, key)
    expected, _ = optax.clip_by_global_norm(max_norm).update(whole, optax.EmptyState())
    clipped, metrics, _ = gradients.clipped(gradients.plain(loss_fn), max_norm=max_norm)(*problem, key)
    assert _close(clipped, expected)
    assert np.isclose(metrics["gradient_norm"], optax.tree.norm(whole), rtol=1e-6)


def test_clipped_leaves_a_zero_gradient_alone(problem, key):
    def flat(params, model_state, batch, key):
        return 0.0 * params["intercept"], ({}, model_state)

    gradient, _, _ = gradients.clipped(gradients.plain(flat), max_norm=1.0)(*problem, key)
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.all(leaf == 0)), gradient))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_clipped_measures_16_bits_in_float32(key, dtype):
    def bowl(params, model_state, batch, key):
        return jnp.sum(params.astype(jnp.float32) ** 2) / 2, ({}, model_state)

    gradient, metrics, _ = gradients.clipped(gradients.plain(bowl), max_norm=1.0)(
        jnp.array([300, 400], dtype), {}, {}, key
    )
    assert metrics["gradient_norm"] == 500 and gradient.dtype == dtype
    np.testing.assert_allclose(gradient.astype(jnp.float32), [0.6, 0.8], rtol=1e-2)  # 8 bits of bfloat16


@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd], ids=["reverse", "forward"])
def test_clipped_has_finite_derivatives_at_a_zero_gradient(key, mode):
    def bowl(params, model_state, batch, key):
        return jnp.sum(params**2) / 2, ({}, model_state)

    clipped = gradients.clipped(gradients.plain(bowl), max_norm=1.0)

    def made(params, max_norm):
        gradient, metrics, _ = gradients.clipped(gradients.plain(bowl), max_norm=max_norm)(params, {}, {}, key)
        return gradient, metrics["gradient_norm"]

    (by_params, by_norm), (norm_by_params, norm_by_norm) = mode(made, argnums=(0, 1))(jnp.zeros(3), 1.0)
    assert np.array_equal(by_params, np.eye(3)) and np.array_equal(
        by_norm, np.zeros(3)
    )  # the gradient of the bowl is its params
    assert np.array_equal(norm_by_params, np.zeros(3)) and norm_by_norm == 0
    hessian = mode(jax.grad(lambda params: clipped(params, {}, {}, key)[0].sum()))(jnp.zeros(3))
    assert np.array_equal(hessian, np.zeros((3, 3)))


@pytest.mark.parametrize("mode", [jax.jacrev, jax.jacfwd], ids=["reverse", "forward"])
def test_clipped_at_exactly_its_norm_has_unclipped_derivatives(key, mode):
    def bowl(params, model_state, batch, key):
        return jnp.sum(params**2) / 2, ({}, model_state)

    clipped = gradients.clipped(gradients.plain(bowl), max_norm=5.0)
    by_params = mode(lambda params: clipped(params, {}, {}, key)[0])
    assert np.array_equal(by_params(jnp.array([3.0, 4.0])), np.eye(2))
    # Beyond it the derivative of 5 g / |g|: 5 (|g|^2 I - g g^T) / |g|^3 = (100 I - g g^T) / 200 at g = (6, 8)
    expected = (100 * np.eye(2) - np.outer([6, 8], [6, 8])) / 200
    np.testing.assert_allclose(by_params(jnp.array([6.0, 8.0])), expected, atol=1e-6)  # float32


def test_clipped_derivatives_equal_finite_differences(problem, key):
    params, model_state, batch = problem

    def made(params, max_norm):
        gradient, metrics, _ = gradients.clipped(gradients.plain(loss_fn), max_norm=max_norm)(
            params, model_state, batch, key
        )
        return gradient, metrics["gradient_norm"]

    norm = float(gradients.clipped(gradients.plain(loss_fn), max_norm=1.0)(*problem, key)[1]["gradient_norm"])
    for max_norm in (0.5 * norm, 2 * norm):
        check_grads(jax.jit(made), (params, max_norm), order=1, rtol=1e-2, atol=1e-2)  # differences in float32


def test_clipped_can_be_swept(problem, key):
    def norm(max_norm):
        gradient, _, _ = gradients.clipped(gradients.plain(loss_fn), max_norm=max_norm)(*problem, key)
        return optax.tree.norm(gradient)

    assert np.allclose(jax.vmap(norm)(jnp.array([0.01, 0.02])), [0.01, 0.02], rtol=1e-5)


def test_estimators_exchange_and_compose(problem, key):
    plain = gradients.plain(loss_fn)
    composed = gradients.clipped(gradients.accumulated(plain, n_micro_batches=4), max_norm=0.1)
    for estimator in (plain, gradients.accumulated(plain, n_micro_batches=2), composed):
        assert list(inspect.signature(estimator).parameters) == ["params", "model_state", "batch", "key"]
        eager, compiled = estimator(*problem, key), jax.jit(estimator)(*problem, key)
        assert jax.tree.structure(eager) == jax.tree.structure(compiled)
        assert _close(eager[0], compiled[0])


@pytest.mark.raises
def test_accumulated_refuses_parts_that_do_not_divide_the_batch(problem, key):
    accumulated = gradients.accumulated(gradients.plain(loss_fn), n_micro_batches=5)
    with pytest.raises(ValueError, match="n_micro_batches must divide the batch of 12 examples; got 5"):
        accumulated(*problem, key)


@pytest.mark.raises
@pytest.mark.parametrize("n_micro_batches", [0, -2])
def test_accumulated_refuses_no_parts(n_micro_batches):
    with pytest.raises(ValueError, match=f"n_micro_batches must be at least 1; got {n_micro_batches}"):
        gradients.accumulated(gradients.plain(loss_fn), n_micro_batches=n_micro_batches)


@pytest.mark.raises
@pytest.mark.parametrize("max_norm", [0.0, -1.0, float("nan")])
def test_clipped_refuses_a_norm_that_is_not_positive(max_norm):
    with pytest.raises(ValueError, match="max_norm must be positive; got"):
        gradients.clipped(gradients.plain(loss_fn), max_norm=max_norm)

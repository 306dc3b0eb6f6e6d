"""Schedules: closed forms, Optax's values bit for bit, and traced peaks, knots and warm-ups."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from jaxresearch import schedules

COUNTS = jnp.arange(130)
N_STEPS = 110


def values(schedule, counts=COUNTS):
    return np.asarray(jax.jit(jax.vmap(schedule))(counts))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", lambda t: 1.0),
        ("linear", lambda t: 1 - t),
        ("cosine", lambda t: (1 + np.cos(np.pi * t)) / 2),
    ],
)
def test_named_is_its_closed_form(shape, expected):
    rates = [float(schedules.named(shape, 0.3, N_STEPS)(count)) for count in range(130)]
    closed = [0.3 * expected(min(count, N_STEPS) / N_STEPS) for count in range(130)]
    np.testing.assert_allclose(rates, closed, atol=1e-7)  # float32 of numbers below 1


def test_warmup_cosine_rises_and_falls_to_its_final_fraction():
    rates = values(schedules.warmup_cosine(2.0, N_STEPS, warmup=10, final=0.1))
    np.testing.assert_allclose(rates[:11], np.linspace(0, 2, 11), atol=1e-6)
    assert (np.diff(rates[10 : N_STEPS + 1]) < 0).all()
    np.testing.assert_allclose(rates[N_STEPS:], 0.2, rtol=1e-6)
    np.testing.assert_allclose(rates[60], 1.1, rtol=1e-6)  # halfway down


@pytest.mark.parametrize("n_steps", [1, 19, 20, 110])
def test_warmup_may_be_of_no_step(n_steps):
    rates = values(schedules.warmup_cosine(2.0, n_steps, warmup=n_steps // 20))
    assert np.isfinite(rates).all() and rates[n_steps // 20] == 2.0


def gradients(n):
    """Returns gradients of a few parameters at n steps; some of them are 0 at first."""
    keys = jax.random.split(jax.random.key(1), 2)
    weights = jax.random.normal(keys[0], (n, 6, 3)) * jnp.array([[[1e-4, 1.0, 1e3]]])
    return {"weights": weights.at[:5, 0].set(0), "bias": jax.random.normal(keys[1], (n, 3))}


PARAMS = {"weights": jnp.linspace(-1, 1, 18).reshape(6, 3), "bias": jnp.ones(3)}


def trained(optimizer_of):
    """Returns the parameters after each of 110 steps, for two peaks and weight decays side by side, in one program."""

    def run(peak, decay):
        optimizer = optimizer_of(peak, decay)

        def step(carry, gradient):
            params, state = carry
            updates, state = optimizer.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, updates)

        return jax.lax.scan(step, (PARAMS, optimizer.init(PARAMS)), gradients(N_STEPS))[1]

    return jax.jit(jax.vmap(run))(jnp.array([2e-3, 0.1]), jnp.array([0.01, 0.2]))


def by_optax(warmup, *final, b2=0.999, max_norm=None):
    """Returns AdamW written with Optax alone."""

    def of(peak, decay):
        unit = optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, N_STEPS, *final)
        adam = optax.adamw(lambda count: peak * unit(count), b2=b2, weight_decay=decay)
        return adam if max_norm is None else optax.chain(optax.clip_by_global_norm(max_norm), adam)

    return of


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"warmup": N_STEPS // 20}, by_optax(N_STEPS // 20)),
        ({"warmup": N_STEPS // 10, "max_norm": 1.0}, by_optax(N_STEPS // 10, max_norm=1.0)),
        (
            {"warmup": N_STEPS // 20, "final": 0.01, "b2": 0.99, "max_norm": 1.0},
            by_optax(N_STEPS // 20, 0.01, b2=0.99, max_norm=1.0),
        ),
        ({"warmup": 0}, by_optax(0)),
    ],
)
def test_adamw_is_optax_bit_for_bit(ours, theirs):
    made = trained(lambda peak, decay: schedules.adamw(peak, N_STEPS, weight_decay=decay, **ours))
    jax.tree.map(np.testing.assert_array_equal, made, trained(theirs))


@pytest.mark.parametrize(
    ("schedule", "unit"),
    [
        (lambda peak: schedules.named("constant", peak, N_STEPS), optax.constant_schedule(1.0)),
        (lambda peak: schedules.named("linear", peak, N_STEPS), optax.linear_schedule(1.0, 0.0, N_STEPS)),
        (lambda peak: schedules.named("cosine", peak, N_STEPS), optax.cosine_decay_schedule(1.0, N_STEPS)),
    ],
)
def test_named_in_adam_is_optax_bit_for_bit(schedule, unit):
    ours = trained(lambda peak, decay: optax.adam(schedule(peak), eps_root=1e-24))
    theirs = trained(lambda peak, decay: optax.adam(lambda count: peak * unit(count), eps_root=1e-24))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_piecewise_linear_is_interp_bit_for_bit():
    knots = (1.0, 0.3, 2.0, 0.0, 0.5)
    times = jnp.linspace(0.0, N_STEPS, 5)
    schedule = jax.jit(lambda knots: jax.vmap(schedules.piecewise_linear(3e-3, knots, N_STEPS))(COUNTS))
    expected = jax.jit(lambda knots: jax.vmap(lambda count: 3e-3 * jnp.interp(count, times, jnp.stack(knots)))(COUNTS))
    given = tuple(jnp.asarray(knot) for knot in knots)
    np.testing.assert_array_equal(schedule(given), expected(given))


@pytest.mark.long
@pytest.mark.parametrize("count", [0.0, 3.5, 60.0, 200.0])
def test_rates_are_differentiable_in_all_their_numbers(count):
    def rate(*numbers):
        peak, warmup, final, knots = jax.tree.map(jnp.asarray, numbers)  # finite differences pass NumPy arrays
        return schedules.warmup_cosine(peak, N_STEPS, warmup=warmup, final=final)(count) + schedules.piecewise_linear(
            peak, knots, N_STEPS
        )(count)

    with jax.enable_x64(True):
        arguments = (0.5, 10.0, 0.1, (1.0, 0.5, 2.0))
        check_grads(rate, jax.tree.map(jnp.float64, arguments), order=1, modes=["fwd", "rev"])


def test_traced_warmups_are_those_of_python_numbers():
    warmups = jnp.array([0, 1, 10, 109])
    of = jax.vmap(lambda warmup: jax.vmap(schedules.warmup_cosine(1.0, N_STEPS, warmup=warmup))(COUNTS))
    single = [values(schedules.warmup_cosine(1.0, N_STEPS, warmup=int(warmup))) for warmup in warmups]
    # Division by a traced number and by a constant differ in the last digit.
    np.testing.assert_allclose(jax.jit(of)(warmups), single, atol=2e-7)


def test_scale_body_scales_all_but_the_head_by_a_traced_rate():
    updates = {"embedding": jnp.ones((2, 3)), "block": {"head": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}

    def scaled(rate):
        scaling = schedules.scale_body(rate)
        return scaling.update(updates, scaling.init(updates))[0]

    rates = jnp.array([0.0, 0.25, 1.0])
    made = jax.jit(jax.vmap(scaled))(rates)
    np.testing.assert_array_equal(made["embedding"], np.broadcast_to(rates[:, None, None], (3, 2, 3)))
    np.testing.assert_array_equal(made["block"]["head"], np.broadcast_to(rates[:, None], (3, 2)))
    assert (made["head"]["kernel"] == 1).all()


@pytest.mark.raises
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.named("step", 1.0, 10), "shape must be one of constant, linear, cosine, got 'step'"),
        (lambda: schedules.named("linear", -1.0, 10), "peak must be a finite number of at least 0, got -1.0"),
        (lambda: schedules.named("linear", float("nan"), 10), "peak must be a finite number of at least 0, got nan"),
        (lambda: schedules.named("linear", 1.0, 0), "n_steps must be a Python integer of 1 or more, got 0"),
        (lambda: schedules.warmup_cosine(1.0, 10, warmup=10), "warmup must be from 0 to below the 10 steps .* got 10"),
        (lambda: schedules.warmup_cosine(1.0, 10, warmup=-1), "warmup must be from 0 to below the 10 steps .* got -1"),
        (lambda: schedules.warmup_cosine(1.0, 10, warmup=1, final=1.5), "final must be from 0 to 1, got 1.5"),
        (lambda: schedules.piecewise_linear(1.0, (), 10), "knots must hold at least one number, got none"),
        (lambda: schedules.piecewise_linear(1.0, (1.0, -2), 10), r"knots\[1\] must be a finite number .* got -2"),
        (lambda: schedules.scale_body(-1.0), "rate must be a finite number of at least 0, got -1.0"),
        (lambda: schedules.adamw(1.0, 10, warmup=1, weight_decay=-0.1), "weight_decay must be a finite number .* -0.1"),
        (lambda: schedules.adamw(1.0, 10, warmup=1, weight_decay=0, b2=1.0), "b2 must be from 0 to below 1, got 1.0"),
        (lambda: schedules.adamw(1.0, 10, warmup=1, weight_decay=0, max_norm=0), "max_norm must be above 0, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()

"""Hypergradients: the modes agree with each other, with differences in float64 and with closed forms."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import data, gradients, hypergradients, loading, losses, models, training
from jaxresearch import experiment as experiments
from jaxresearch.hypergradients import Unroll

N_STEPS = 40


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rates:
    learning_rate: float = 3e-2
    weight_decay: float = 1e-2


def network(dtype=jnp.float32, *, optimizer=lambda h: optax.adam(h.learning_rate, eps_root=1e-24)):
    """Returns a small network with dropout in the pieces of a run, and its two parts of data."""
    mlp = models.mlp(4, (8,), 3, dropout_rate=0.2)
    model = models.Model(lambda key: jax.tree.map(lambda leaf: leaf.astype(dtype), mlp.init(key)), mlp.apply)
    supervised = training.supervised(model, losses.softmax_cross_entropy_with_integer_labels)

    def decayed(h):
        def loss_fn(params, model_state, batch, key):
            loss, aux = supervised(params, model_state, batch, key)
            return loss + h.weight_decay / 2 * sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params)), aux

        return loss_fn

    def init(key, h, train):
        return training.init(key, model=model, optimizer=optimizer(h))

    def advance(key, h, state, train, n_steps):
        step = training.step(gradients.plain(decayed(h)), optimizer(h))
        return training.advance(key, state, train, step=step, batch_size=8, n_steps=n_steps)[0]

    def loss(h, state, validation):
        outputs, _ = model.apply(state.params, state.model_state, validation["inputs"])
        return losses.softmax_cross_entropy_with_integer_labels(outputs, validation["targets"]).mean()

    keys = jax.random.split(jax.random.key(7), 2)
    inputs = [jax.random.normal(key, (64, 4), dtype) for key in keys]
    train, validation = ({"inputs": x, "targets": (x[:, 0] > 0.5) * 1 + (x[:, 2] > 1)} for x in inputs)
    return Unroll(init, advance, loss), train, validation


@pytest.fixture
def steps_made_again():
    """Reverse mode makes segments again from the same keys, as it must: the one place where reuse is no mistake."""
    with jax.debug_key_reuse(False):
        yield


def relative(one, other):
    one, other = (np.array(jax.tree.leaves(tree)) for tree in (one, other))
    return np.max(np.abs(one - other)) / np.max(np.abs(other))


@pytest.mark.long
@pytest.mark.usefixtures("steps_made_again")
def test_forward_is_reverse(key):
    unroll, train, validation = network()
    made = [
        jax.jit(of)(key, Rates(), train, validation)
        for of in (
            hypergradients.forward(unroll, n_steps=N_STEPS),
            hypergradients.reverse(unroll, n_steps=N_STEPS),
            hypergradients.reverse(unroll, n_steps=N_STEPS, segment=7),  # with a rest
        )
    ]
    assert jnp.isfinite(jnp.stack(jax.tree.leaves(made[0]))).all()  # Adam at step 0 included
    for loss, gradient in made[1:]:
        assert float(loss) == pytest.approx(float(made[0][0]), rel=1e-6)  # the last bits: another fusion
        assert relative(gradient, made[0][1]) < 1e-5  # the promise


@pytest.mark.long
@pytest.mark.usefixtures("steps_made_again")
def test_both_modes_are_central_differences_in_float64(key):
    with jax.enable_x64(True):
        unroll, train, validation = network(jnp.float64)

        def value(h):
            state = unroll.advance(key, h, unroll.init(key, h, train), train, N_STEPS)
            return unroll.loss(h, state, validation)

        value, width = jax.jit(value), 1e-6
        differences = [
            (value(Rates(**{name: centre + width})) - value(Rates(**{name: centre - width}))) / (2 * width)
            for name, centre in dataclasses.asdict(Rates()).items()
        ]
        for mode in (hypergradients.forward, hypergradients.reverse):
            _, gradient = jax.jit(mode(unroll, n_steps=N_STEPS))(key, Rates(), train, validation)
            assert relative(gradient, differences) < 1e-3  # the promise


def ridge(l2_steps):
    """Returns ridge regression in the pieces of a run, its data, and the closed form of its hypergradient."""
    generator = np.random.default_rng(0)
    x, v = generator.normal(size=(2, 50, 5))
    truth = generator.normal(size=5)
    train = {"inputs": jnp.asarray(x), "targets": jnp.asarray(x @ truth + generator.normal(size=50))}
    validation = {"inputs": jnp.asarray(v), "targets": jnp.asarray(v @ truth + generator.normal(size=50))}

    def training_loss(params, h, state, part):
        return jnp.mean((part["inputs"] @ params - part["targets"]) ** 2) / 2 + h["l2"] / 2 * params @ params

    def advance(key, h, state, part, n_steps):
        slope = jax.grad(training_loss)
        params = jax.lax.fori_loop(0, n_steps, lambda _, p: p - 0.3 * slope(p, h, state, part), state.params)
        return state._replace(params=params)

    def loss(h, state, part):
        return jnp.mean((part["inputs"] @ state.params - part["targets"]) ** 2) / 2

    def init(key, h, part):
        return training.TrainState(jnp.int32(0), jnp.zeros(5), {}, ())

    def closed_form(l2):
        a = x.T @ x / 50 + l2 * np.eye(5)
        w = np.linalg.solve(a, x.T @ np.asarray(train["targets"]) / 50)
        slope = v.T @ (v @ w - np.asarray(validation["targets"])) / 50
        return -slope @ np.linalg.solve(a, w)

    return Unroll(init, advance, loss), training_loss, train, validation, closed_form


@pytest.mark.parametrize("solver", ["cg", "neumann"])
def test_implicit_is_the_closed_form_of_ridge_regression(key, solver):
    with jax.enable_x64(True):
        unroll, training_loss, train, validation, closed_form = ridge(0.3)
        hypergradient = hypergradients.implicit(
            unroll, training_loss, n_steps=500, solver=solver, n_terms=500, scale=0.3
        )
        _, gradient = jax.jit(hypergradient)(key, {"l2": 0.3}, train, validation)
        assert float(gradient["l2"]) == pytest.approx(closed_form(0.3), rel=1e-6)  # the promise


@pytest.mark.long
def test_truncated_comes_near_the_whole_run_where_the_loss_is_convex(key):
    with jax.enable_x64(True):
        unroll, _, train, validation, closed_form = ridge(0.3)
        errors = []
        for last in (2, 10, 40):
            hypergradient = hypergradients.truncated(unroll, n_steps=200, last=last)
            _, gradient = jax.jit(hypergradient)(key, {"l2": 0.3}, train, validation)
            errors.append(abs(float(gradient["l2"]) / closed_form(0.3) - 1))
        assert errors[0] > 10 * errors[1] > 100 * errors[2]  # geometric, at 1 - 0.3 (0.3 + least eigenvalue) a step
        whole = hypergradients.truncated(unroll, n_steps=200, last=200)(key, {"l2": 0.3}, train, validation)
        exact = hypergradients.reverse(unroll, n_steps=200)(key, {"l2": 0.3}, train, validation)
        assert relative(whole[1], exact[1]) < 1e-12


@pytest.mark.parametrize("n_segments", [1, 4])
def test_evolution_is_within_three_standard_errors_over_ten_thousand_draws(n_segments):
    with jax.enable_x64(True):
        unroll, _, train, validation, _ = ridge(0.3)
        n_steps, width = 8, 1e-5
        hypergradient = hypergradients.evolution(
            unroll, n_steps=n_steps, scale=0.01, n_pairs=100, n_segments=n_segments
        )
        keys = [jax.random.key(seed) for seed in range(100)]
        estimate = jax.jit(lambda key: hypergradient(key, {"l2": 0.3}, train, validation)[1]["l2"])
        estimates = jnp.stack([estimate(key) for key in keys])

        def mean_loss(l2):
            state, made = unroll.init(jax.random.key(0), {"l2": l2}, train), []
            for _ in range(n_segments):
                state = unroll.advance(jax.random.key(0), {"l2": l2}, state, train, n_steps // n_segments)
                made.append(unroll.loss({"l2": l2}, state, validation))
            return jnp.stack(made).mean()

        exact = (mean_loss(0.3 + width) - mean_loss(0.3 - width)) / (2 * width)
        error = estimates.std(ddof=1) / np.sqrt(len(estimates))
        assert abs(estimates.mean() - exact) < 3 * error
        assert error < 0.1 * abs(exact)  # else the line above could not fail


@pytest.mark.long
@pytest.mark.usefixtures("steps_made_again")
def test_memory_of_reverse_mode_grows_as_the_root_of_the_steps(key):
    unroll, train, validation = network()
    steps = np.array([64, 1024])

    def slope(made):
        sizes = [
            jax.jit(made(n)).lower(key, Rates(), train, validation).compile().memory_analysis().temp_size_in_bytes
            for n in steps.tolist()
        ]
        return np.polyfit(np.log(steps), np.log(sizes), 1)[0]

    assert slope(lambda n: hypergradients.reverse(unroll, n_steps=n)) < 0.6  # root: 0.5, and what does not grow
    assert slope(lambda n: hypergradients.reverse(unroll, n_steps=n, segment=n)) > 0.8  # nothing made again
    assert slope(lambda n: hypergradients.forward(unroll, n_steps=n)) < 0.05


def test_evolution_in_units_of_the_values_takes_one_for_a_zero():
    rates = {"a": 2.0, "b": 0.0}
    unroll = hypergradients.Unroll(
        init=lambda key, h, train: jnp.zeros(()),
        advance=lambda key, h, state, train, n: state + n * (10 * h["a"] + h["b"]),
        loss=lambda h, state, validation: state,
    )
    estimate = hypergradients.evolution(unroll, n_steps=3, scale=0.1, n_pairs=4_000, relative=True)
    _, gradient = jax.jit(estimate)(jax.random.key(0), rates, {}, {})
    # The spread of one pair's estimate of b: what a, in units of 0.2, adds to what b, in units of 0.1, is credited with.
    spread = 3 * np.sqrt(20**2 + 2) / np.sqrt(4_000)
    assert abs(float(gradient["b"]) - 3) < 3 * spread and abs(float(gradient["a"]) - 30) < 3


@pytest.mark.long
@pytest.mark.parametrize("n_segments", [1, 4])
def test_the_loss_of_evolution_is_that_of_the_same_run(key, n_segments):
    unroll, train, validation = network()
    forward = hypergradients.forward(unroll, n_steps=N_STEPS)
    evolution = hypergradients.evolution(unroll, n_steps=N_STEPS, scale=0.1, n_pairs=2, n_segments=n_segments)
    loss, _ = jax.jit(forward)(key, Rates(), train, validation)
    estimated, gradient = jax.jit(evolution)(key, Rates(), train, validation)
    assert float(estimated) == pytest.approx(float(loss), rel=1e-5)  # sums in another order
    assert np.isfinite(jax.tree.leaves(gradient)).all()


@pytest.mark.long
def test_a_hypergradient_takes_vmap_over_seeds():
    unroll, train, validation = network()
    hypergradient = hypergradients.forward(unroll, n_steps=10)
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    _, together = jax.jit(jax.vmap(hypergradient, (0, None, None, None)))(keys, Rates(), train, validation)
    _, alone = jax.jit(hypergradient)(keys[2], Rates(), train, validation)
    assert relative(jax.tree.map(lambda leaf: leaf[2], together), alone) < 1e-4  # sums in another order, amplified


@pytest.mark.long
def test_adam_without_eps_root_gives_nan_and_says_so_in_the_derivative(key):
    unroll, train, validation = network(optimizer=lambda h: optax.adam(h.learning_rate))
    train = {**train, "inputs": train["inputs"].at[:, 0].set(0)}  # a weight whose gradient is exactly zero
    _, gradient = hypergradients.forward(unroll, n_steps=2)(key, Rates(weight_decay=0.0), train, validation)
    assert not jnp.isfinite(gradient.learning_rate)


def test_unroll_of_the_main_job_gives_finite_derivatives(key):
    mnist = loading.load("mnist")
    dataset = data.encode_dataset(data.load("mnist"))
    part = {name: values[:640] for name, values in dataset.train.items()}
    settings = dataclasses.replace(mnist.hyperparameters, epochs=1)
    unroll = hypergradients.unroll_of(experiments.program(mnist, dataset.card), metric="log_loss")
    loss, gradient = jax.jit(hypergradients.forward(unroll, n_steps=20))(key, settings, part, part)
    assert np.isfinite(loss) and np.isfinite(gradient.learning_rate) and gradient.learning_rate != 0


@pytest.mark.raises
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda u: hypergradients.forward(u, n_steps=0), "n_steps must be positive; got 0"),
        (lambda u: hypergradients.reverse(u, n_steps=4, segment=0), "segment must be positive; got 0"),
        (lambda u: hypergradients.truncated(u, n_steps=4, last=5), "last must be at most n_steps = 4; got 5"),
        (lambda u: hypergradients.evolution(u, n_steps=4, scale=1.0, n_pairs=1, n_segments=3), "must divide n_steps"),
        (lambda u: hypergradients.evolution(u, n_steps=4, scale=0.0, n_pairs=1), "scale must be positive"),
        (lambda u: hypergradients.implicit(u, lambda *_: 0.0, n_steps=1, solver="lu"), "solver must be 'cg' or"),
    ],
)
def test_hypergradients_refuse_what_has_no_meaning(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(network()[0])


@pytest.mark.raises
def test_a_whole_number_has_no_derivative(key):
    unroll, train, validation = network()
    with pytest.raises(ValueError, match=r"hyperparameters.weight_decay must be a float to be differentiated; got 1"):
        hypergradients.forward(unroll, n_steps=2)(key, Rates(weight_decay=1), train, validation)
    mnist = loading.load("mnist")
    unroll = hypergradients.unroll_of(experiments.program(mnist, data.load("mnist").card), metric="acuracy")
    state = unroll.init(key, mnist.hyperparameters, {"targets": np.zeros(64)})
    part = {"inputs": np.zeros((8, 28, 28, 1), np.uint8), "targets": np.zeros(8, np.int32)}
    with pytest.raises(ValueError, match="metric must be one of accuracy, "):
        unroll.loss(mnist.hyperparameters, state, part)

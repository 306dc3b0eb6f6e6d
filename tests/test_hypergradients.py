"""Hypergradients: the modes agree with each other, with differences in float64 and with closed forms."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import experiment as experiments
from jaxresearch import hypergradients, losses, metrics, models, training
from jaxresearch.algorithms import averaged, stopped
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hypergradients import Unroll
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

N_STEPS = 40
CROSS_ENTROPY = losses.softmax_cross_entropy_with_integer_labels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rates:
    learning_rate: float = 3e-2
    weight_decay: float = 1e-2


def network(dtype=jnp.float32, *, optimizer=lambda h: optax.adam(h.learning_rate, eps_root=1e-24), look_every=0):
    """Returns a run of a small network with dropout in its parts, and its training and validation data.

    With evaluations on validation data, the averaged parameters of the best one count.
    """
    mlp = models.mlp(4, (8,), 3, dropout_rate=0.2)
    model = models.Model(lambda key: jax.tree.map(lambda leaf: leaf.astype(dtype), mlp.init(key)), mlp.apply)
    mean_loss = training.mean_loss(model, CROSS_ENTROPY)

    def algorithm(h):
        def loss_fn(params, model_state, batch, key):
            loss, aux = mean_loss(params, model_state, batch, key)
            return loss + h.weight_decay / 2 * sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(params)), aux

        chosen = {"log_loss": metrics.log_loss()}
        plain = training.gradient_based(model, loss_fn, optimizer=optimizer(h), metrics=chosen)
        return stopped(averaged(plain, decay=0.5), metric="log_loss", patience=2) if look_every else plain

    def init(key, h, train):
        return training.init(key, algorithm=algorithm(h))

    def advance(key, h, state, train, step, n_steps):
        return training.advance(key, state, train, step, algorithm=algorithm(h), batch_size=8, n_steps=n_steps)[0]

    def look(key, h, state, validation, step):
        return training.look(key, state, validation, step, algorithm=algorithm(h))[0]

    def loss(key, h, state, validation):  # in the precision of the run, unlike metrics
        outputs = algorithm(h).predict(algorithm(h).outcome(state), validation["inputs"])
        return CROSS_ENTROPY(outputs, validation["targets"]).mean()

    keys = jax.random.split(jax.random.key(7), 2)
    inputs = [jax.random.normal(key, (64, 4), dtype) for key in keys]
    train, validation = ({"inputs": x, "targets": (x[:, 0] > 0.5) * 1 + (x[:, 2] > 1)} for x in inputs)
    return Unroll(init, advance, loss, look if look_every else None, look_every), train, validation


@pytest.fixture
def recomputed_steps():
    """Reverse mode recomputes segments from the same keys, the one place where key reuse is correct."""
    with jax.debug_key_reuse(False):
        yield


def relative(one, other):
    one, other = (np.array(jax.tree.leaves(tree)) for tree in (one, other))
    return np.max(np.abs(one - other)) / np.max(np.abs(other))


@pytest.fixture(scope="module")
def exact():
    """Loss and hypergradient of the network by forward mode."""
    unroll, train, validation = network()
    forward = jax.jit(hypergradients.forward(unroll, n_steps=N_STEPS))
    return forward(jax.random.key(0), Rates(), train, validation)


@pytest.mark.usefixtures("recomputed_steps")
@pytest.mark.long
@pytest.mark.parametrize("segment", [None, 7])  # with a remainder
def test_forward_is_reverse(key, exact, segment):
    unroll, train, validation = network()
    reverse = hypergradients.reverse(unroll, n_steps=N_STEPS, segment=segment)
    loss, gradient = jax.jit(reverse)(key, Rates(), train, validation)
    assert jnp.isfinite(jnp.stack(jax.tree.leaves(exact))).all()  # Adam at step 0 included
    assert float(loss) == pytest.approx(float(exact[0]), rel=1e-6)  # the last bits: another fusion
    assert relative(gradient, exact[1]) < 1e-5  # the documented accuracy


@pytest.mark.long
@pytest.mark.usefixtures("recomputed_steps")
@pytest.mark.parametrize("look_every", [0, 15])
def test_both_modes_are_central_differences_in_float64(key, look_every):
    """Also for a run that keeps its best average, evaluated after 15, 30 and 40 steps."""
    with jax.enable_x64(True):
        unroll, train, validation = network(jnp.float64, look_every=look_every)

        def value(h):
            state, made = unroll.init(key, h, train), 0
            for n_steps in (15, 15, 10) if look_every else (N_STEPS,):
                state = unroll.advance(key, h, state, train, made, n_steps)
                made += n_steps
                state = unroll.look(key, h, state, validation, made) if look_every else state
            return unroll.loss(key, h, state, validation)

        value, width = jax.jit(value), 1e-6
        differences = [
            (value(Rates(**{name: centre + width})) - value(Rates(**{name: centre - width}))) / (2 * width)
            for name, centre in dataclasses.asdict(Rates()).items()
        ]
        made = [
            jax.jit(mode(unroll, n_steps=N_STEPS))(key, Rates(), train, validation)
            for mode in (hypergradients.forward, hypergradients.reverse)
        ]
        whole = float(value(Rates()))
    for loss, gradient in made:
        assert float(loss) == pytest.approx(whole, rel=1e-12)
        assert relative(gradient, differences) < 1e-3  # the documented accuracy
    assert relative(made[0][1], made[1][1]) < 1e-9  # float64: only the last digits


def ridge():
    """Returns a run of ridge regression in its parts, its data, and the closed form of its hypergradient."""
    generator = np.random.default_rng(0)
    x, v = generator.normal(size=(2, 50, 5))
    truth = generator.normal(size=5)
    train = {"inputs": jnp.asarray(x), "targets": jnp.asarray(x @ truth + generator.normal(size=50))}
    validation = {"inputs": jnp.asarray(v), "targets": jnp.asarray(v @ truth + generator.normal(size=50))}

    def training_loss(params, h, state, part):
        return jnp.mean((part["inputs"] @ params - part["targets"]) ** 2) / 2 + h["l2"] / 2 * params @ params

    def advance(key, h, state, part, step, n_steps):
        slope = jax.grad(training_loss)
        params = jax.lax.fori_loop(0, n_steps, lambda _, p: p - 0.3 * slope(p, h, state, part), state.params)
        return state._replace(params=params)

    def loss(key, h, state, part):
        return jnp.mean((part["inputs"] @ state.params - part["targets"]) ** 2) / 2

    def init(key, h, part):
        return training.TrainState(jnp.zeros(5), {}, ())

    def closed_form(l2):
        a = x.T @ x / 50 + l2 * np.eye(5)
        w = np.linalg.solve(a, x.T @ np.asarray(train["targets"]) / 50)
        slope = v.T @ (v @ w - np.asarray(validation["targets"])) / 50
        return -slope @ np.linalg.solve(a, w)

    return Unroll(init, advance, loss), training_loss, train, validation, closed_form


@pytest.mark.parametrize("solver", ["cg", "neumann"])
def test_implicit_is_the_closed_form_of_ridge_regression(key, solver):
    with jax.enable_x64(True):
        unroll, training_loss, train, validation, closed_form = ridge()
        hypergradient = hypergradients.implicit(
            unroll, training_loss, n_steps=500, solver=solver, n_terms=500, scale=0.3
        )
        _, gradient = jax.jit(hypergradient)(key, {"l2": 0.3}, train, validation)
        assert float(gradient["l2"]) == pytest.approx(closed_form(0.3), rel=1e-6)  # the documented accuracy


def test_truncated_converges_where_the_loss_is_convex(key):
    with jax.enable_x64(True):
        unroll, _, train, validation, closed_form = ridge()
        errors = []
        for last in (2, 10, 40):
            hypergradient = hypergradients.truncated(unroll, n_steps=200, last=last)
            _, gradient = jax.jit(hypergradient)(key, {"l2": 0.3}, train, validation)
            errors.append(abs(float(gradient["l2"]) / closed_form(0.3) - 1))
        assert errors[0] > 10 * errors[1] > 100 * errors[2]  # geometric, at 1 - 0.3 (0.3 + least eigenvalue) a step
        whole, exact = (
            jax.jit(hypergradient)(key, {"l2": 0.3}, train, validation)
            for hypergradient in (
                hypergradients.truncated(unroll, n_steps=200, last=200),
                hypergradients.reverse(unroll, n_steps=200),
            )
        )
        assert relative(whole[1], exact[1]) < 1e-12


@pytest.mark.parametrize("n_segments", [1, 4])
def test_evolution_is_unbiased(n_segments):
    """Over ten thousand draws, within three standard errors of a central difference."""
    with jax.enable_x64(True):
        unroll, _, train, validation, _ = ridge()
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
                state = unroll.advance(jax.random.key(0), {"l2": l2}, state, train, 0, n_steps // n_segments)
                made.append(unroll.loss(jax.random.key(0), {"l2": l2}, state, validation))
            return jnp.stack(made).mean()

        mean_loss = jax.jit(mean_loss)
        exact = (mean_loss(0.3 + width) - mean_loss(0.3 - width)) / (2 * width)
        error = estimates.std(ddof=1) / np.sqrt(len(estimates))
        assert abs(estimates.mean() - exact) < 3 * error
        assert error < 0.1 * abs(exact)  # otherwise the line above could not fail


@pytest.mark.usefixtures("recomputed_steps")
def test_reverse_takes_memory_of_the_root_of_the_steps(key):
    def advance(key, h, state, train, step, n_steps):
        return jax.lax.fori_loop(0, n_steps, lambda _, state: jnp.tanh(h["rate"] * state), state)

    unroll, steps = Unroll(lambda *_: jnp.ones(1000), advance, lambda key, h, state, _: state.sum()), (64, 1024)

    def slope(made):
        shapes = key, {"rate": 0.9}, {}, {}
        compiled = [jax.jit(made(n)).lower(*shapes).compile().memory_analysis() for n in steps]
        return np.polyfit(np.log(steps), np.log([memory.temp_size_in_bytes for memory in compiled]), 1)[0]

    assert slope(lambda n: hypergradients.reverse(unroll, n_steps=n)) < 0.6  # square root: 0.5, plus a constant
    assert slope(lambda n: hypergradients.reverse(unroll, n_steps=n, segment=n)) > 0.8  # without recomputation
    assert slope(lambda n: hypergradients.forward(unroll, n_steps=n)) < 0.05


def test_evolution_takes_one_as_the_unit_of_zero():
    rates = {"a": 2.0, "b": 0.0}
    unroll = hypergradients.Unroll(
        init=lambda key, h, train: jnp.zeros(()),
        advance=lambda key, h, state, train, step, n: state + n * (10 * h["a"] + h["b"]),
        loss=lambda key, h, state, validation: state,
    )
    estimate = hypergradients.evolution(unroll, n_steps=3, scale=0.1, n_pairs=4_000, relative=True)
    _, gradient = jax.jit(estimate)(jax.random.key(0), rates, {}, {})
    # The standard deviation of one pair's estimate of b, in units of 0.1, is due to a, in units of 0.2.
    spread = 3 * np.sqrt(20**2 + 2) / np.sqrt(4_000)
    assert abs(float(gradient["b"]) - 3) < 3 * spread and abs(float(gradient["a"]) - 30) < 3


@pytest.mark.long
@pytest.mark.parametrize("n_segments", [1, 2])
def test_loss_of_evolution_is_that_of_the_same_run(key, exact, n_segments):
    unroll, train, validation = network()
    evolution = hypergradients.evolution(unroll, n_steps=N_STEPS, scale=0.1, n_pairs=2, n_segments=n_segments)
    estimated, gradient = jax.jit(evolution)(key, Rates(), train, validation)
    assert float(estimated) == pytest.approx(float(exact[0]), rel=1e-5)  # different summation order
    assert np.isfinite(jax.tree.leaves(gradient)).all()


def test_hypergradient_vmaps_over_seeds(exact):
    unroll, train, validation = network()
    hypergradient = hypergradients.forward(unroll, n_steps=N_STEPS)
    keys = jax.vmap(jax.random.key)(jnp.array([3, 0, 5]))
    _, together = jax.jit(jax.vmap(hypergradient, (0, None, None, None)))(keys, Rates(), train, validation)
    one = jax.tree.map(lambda leaf: leaf[1], together)
    assert relative(one, exact[1]) < 1e-4  # different summation order, amplified


def test_adam_without_eps_root_gives_a_derivative_of_nan(key):
    unroll, train, validation = network(optimizer=lambda h: optax.adam(h.learning_rate))
    train = {**train, "inputs": train["inputs"].at[:, 0].set(0)}  # a weight whose gradient is exactly zero
    forward = jax.jit(hypergradients.forward(unroll, n_steps=2))
    _, gradient = forward(key, Rates(weight_decay=0.0), train, validation)
    assert not jnp.isfinite(gradient.learning_rate)


@hyperparameters
class Line:
    """Settings of a small experiment."""

    learning_rate: float = swept(0.1, "step size")
    batch_size: int = static(8, "examples per step")
    epochs: int = static(5, "passes")


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "stopped"])
def program(request):
    """The program of an experiment, which may stop early, and its data."""

    def algorithm(h, card, plan, fitted):
        optimizer, chosen = optax.adam(h.learning_rate, eps_root=1e-24), {"mse": metrics.mean_squared_error()}
        plain = training.supervised(models.linear(1, 1), losses.half_squared_error, optimizer=optimizer, metrics=chosen)
        return stopped(averaged(plain, decay=0.5), metric="mse", patience=2) if request.param else plain

    x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
    part = {"inputs": x, "targets": 2 * x}
    claim = Claim(text="", metric="test/mse", about="these examples", at_most=1.0)
    experiment = Experiment(question="?", claim=claim, hyperparameters=Line(), algorithm=algorithm)
    dataset = Dataset(part, part, part, DataCard(name="line", source=""))
    return experiments.program(experiment, dataset, evaluate_every=7 if request.param else None), part


@pytest.mark.long
def test_unroll_of_an_experiment_differentiates_its_run(program, key):
    """The final metric through all steps and evaluations: the derivative of the run as one function."""
    of, part = program
    every = of.plan(Line()).evaluate_every
    unroll = hypergradients.unroll_of(of, metric="mse", look_every=every)
    loss, gradient = jax.jit(hypergradients.forward(unroll, n_steps=20))(key, Line(), part, part)

    def whole(h):
        state, _ = of.run(key, h, part, part if every else None)
        return of.evaluate(key, h, state, part)["mse"]

    value, expected = jax.jit(jax.value_and_grad(whole))(Line())
    np.testing.assert_allclose(loss, value, rtol=1e-5)  # another program for the same sums
    np.testing.assert_allclose(gradient.learning_rate, expected.learning_rate, rtol=1e-4)
    assert gradient.learning_rate != 0


def test_unroll_of_refuses_a_metric_that_is_not_evaluated(program, key):
    unroll, part = hypergradients.unroll_of(program[0], metric="msq"), program[1]
    with pytest.raises(ValueError, match="metric must be one of mse, got 'msq'. Choose a smooth one"):
        jax.eval_shape(hypergradients.forward(unroll, n_steps=2), key, Line(), part, part)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("truncated", lambda u: hypergradients.truncated(u, n_steps=4, last=2)),
        ("implicit", lambda u: hypergradients.implicit(u, lambda *_: 0.0, n_steps=4)),
        ("evolution", lambda u: hypergradients.evolution(u, n_steps=4, scale=0.1, n_pairs=1)),
    ],
)
def test_modes_refuse_validation_during_training(name, make):
    looking = network(look_every=2)[0]
    message = f"unroll must not look at validation data for {name}, got look_every=2. Use forward."
    with pytest.raises(ValueError, match=re.escape(message)):
        make(looking)


@pytest.mark.raises
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda u: hypergradients.forward(u, n_steps=0), "n_steps must be positive; got 0"),
        (lambda u: hypergradients.reverse(u, n_steps=4, segment=0), "segment must be positive; got 0"),
        (lambda u: hypergradients.truncated(u, n_steps=4, last=5), "last must be at most n_steps = 4; got 5"),
        (lambda u: hypergradients.evolution(u, n_steps=4, scale=1.0, n_pairs=1, n_segments=3), "must divide n_steps"),
        (lambda u: hypergradients.evolution(u, n_steps=4, scale=0.0, n_pairs=1), "scale must be positive"),
        (
            lambda u: hypergradients.implicit(u, lambda *_: 0.0, n_steps=1, solver="lu"),
            "solver must be 'cg',",
        ),
    ],
)
def test_hypergradients_refuse_what_has_no_meaning(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(network()[0])


@pytest.mark.raises
def test_hypergradients_refuse_whole_numbers(key):
    unroll, train, validation = network()
    with pytest.raises(ValueError, match=r"hyperparameters.weight_decay must be a float to be differentiated; got 1"):
        hypergradients.forward(unroll, n_steps=2)(key, Rates(weight_decay=1), train, validation)

"""Influence of training examples: exact against differences and retraining, and what it is worth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import explain, hypergradients, losses, metrics, models, training
from jaxresearch.algorithms import averaged
from jaxresearch.hypergradients import Unroll

N_TRAIN, N_TEST, N_STEPS = 40, 6, 30
PENALTY = 0.1
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def recomputed_steps():
    """Reverse mode recomputes segments from the same keys, the one place where key reuse is correct."""
    with jax.debug_key_reuse(False):
        yield


def parts():
    """Returns training and test data of two overlapping classes."""
    random = np.random.default_rng(0)

    def part(n):
        targets = random.integers(0, 2, n).astype(np.int32)
        inputs = random.normal(size=(n, 3)) + targets[:, None]
        return {"inputs": jnp.asarray(inputs, jnp.float32), "targets": jnp.asarray(targets)}

    return part(N_TRAIN), part(N_TEST)


def network(batch_size=8):
    """Returns the run of a small smooth network with averaged parameters."""
    plain = training.supervised(
        models.mlp(3, (5,), 2, activation="tanh"),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=training.gradient_descent(0.3),
        metrics={"log_loss": metrics.log_loss()},
    )
    algorithm = averaged(plain, decay=0.8)

    def advance(key, h, state, train, step, n_steps):
        return training.advance(key, state, train, step, algorithm=algorithm, batch_size=batch_size, n_steps=n_steps)[0]

    def loss(key, h, state, test):
        return training.evaluate(key, state, test, algorithm=algorithm)["log_loss"]

    return Unroll(lambda key, h, train: training.init(key, algorithm=algorithm), advance, loss)


def penalised(params, weights, train):
    """Returns the training loss of logistic regression with a penalty on its squared parameters."""
    outputs = train["inputs"] @ params["w"] + params["b"][None]
    of_examples = losses.softmax_cross_entropy_with_integer_labels(outputs, train["targets"])
    return weights @ of_examples / N_TRAIN + PENALTY / 2 * sum(jnp.vdot(leaf, leaf) for leaf in params.values())


def logistic():
    """Returns full-batch gradient descent to the optimum of logistic regression, and its training loss."""

    def advance(key, h, state, train, step, n_steps):
        gradient = jax.grad(penalised)

        def descend(params, _):
            return jax.tree.map(lambda p, g: p - g, params, gradient(params, train["weights"], train)), None

        return state._replace(params=jax.lax.scan(descend, state.params, length=n_steps)[0])

    def loss(key, h, state, test):
        outputs = test["inputs"] @ state.params["w"] + state.params["b"][None]
        return losses.softmax_cross_entropy_with_integer_labels(outputs, test["targets"]).mean()

    start = training.TrainState({"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}, {}, ())
    unroll = Unroll(lambda key, h, train: start, advance, loss)
    return unroll, lambda params, weights, state, train: penalised(params, weights, train)


def influence(unroll, method, data, **keywords):
    return jax.jit(explain.influence(unroll, method, **keywords))(KEY, {}, *data)


@pytest.mark.long
def test_exact_influence_is_the_derivative_in_each_weight():
    data, run = parts(), network()
    found = influence(run, functools.partial(hypergradients.reverse, n_steps=N_STEPS), data)
    losses_of = jax.jit(functools.partial(explain.retrained(run, n_steps=N_STEPS), KEY, {}, *data))
    assert found.shape == (N_TEST, N_TRAIN)
    step = 0.05
    for j in range(0, N_TRAIN, 7):
        up, down = (losses_of(jnp.ones(N_TRAIN).at[j].add(sign * step)) for sign in (1, -1))
        np.testing.assert_allclose(found[:, j], (up - down) / (2 * step), rtol=0.02, atol=2e-5)


@pytest.mark.long
def test_groups_of_test_examples_change_nothing():
    data, run = parts(), network()
    method = functools.partial(hypergradients.reverse, n_steps=N_STEPS)
    whole, grouped = (influence(run, method, data, n_at_once=n) for n in (N_TEST, 4))
    np.testing.assert_allclose(whole, grouped, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_influence_through_the_last_steps_is_that_of_all_steps():
    data, run = parts(), network()
    methods = (functools.partial(hypergradients.truncated, n_steps=N_STEPS, last=last) for last in (N_STEPS, 5))
    found, partial = (influence(run, method, data) for method in methods)
    whole = influence(run, functools.partial(hypergradients.reverse, n_steps=N_STEPS), data)
    np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-6)
    assert np.abs(partial - whole).max() > 1e-3


@pytest.mark.parametrize("solver", ["direct", "cg"])
def test_influence_at_an_optimum_is_that_of_leaving_one_out(solver):
    data, (run, training_loss) = parts(), logistic()
    method = functools.partial(hypergradients.implicit, training_loss=training_loss, n_steps=400, solver=solver)
    found = influence(run, method, data)
    through = influence(run, functools.partial(hypergradients.reverse, n_steps=400), data)
    np.testing.assert_allclose(found, through, rtol=1e-3, atol=1e-6)
    losses_of = functools.partial(explain.retrained(run, n_steps=400), KEY, {}, *data)
    without = jax.jit(jax.vmap(losses_of))(1 - jnp.eye(N_TRAIN))
    changes = without - losses_of(jnp.ones(N_TRAIN))[None]
    assert np.corrcoef(-found.T.ravel(), np.ravel(changes))[0, 1] >= 0.99


def test_damping_makes_a_flat_direction_definite():
    data, (run, training_loss) = parts(), logistic()
    of = functools.partial(hypergradients.implicit, training_loss=training_loss, n_steps=400, solver="direct")
    plain, damped = influence(run, of, data), influence(run, functools.partial(of, damping=10.0), data)
    assert np.abs(damped).max() < np.abs(plain).max() / 10


def test_tracin_is_exact_for_losses_linear_in_parameters():
    data = tuple({"inputs": part["inputs"]} for part in parts())

    def training_loss(params, weights, state, train):
        return weights @ (train["inputs"] @ params) / N_TRAIN

    def advance(key, h, state, train, step, n_steps):
        gradient = jax.grad(training_loss)(state.params, train["weights"], state, train)
        return state._replace(params=state.params - 0.1 * n_steps * gradient)

    start = training.TrainState(jnp.zeros(3), {}, ())
    run = Unroll(lambda *_: start, advance, lambda key, h, state, test: (test["inputs"] @ state.params).mean())
    method = functools.partial(
        hypergradients.tracin, training_loss=training_loss, n_steps=6, n_checkpoints=3, rate=lambda step: 0.1
    )
    expected = -0.6 * data[1]["inputs"] @ data[0]["inputs"].T / N_TRAIN
    np.testing.assert_allclose(influence(run, method, data), expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        influence(run, functools.partial(hypergradients.reverse, n_steps=6), data), expected, rtol=1e-4, atol=1e-7
    )


@pytest.mark.long
def test_a_smooth_run_is_linear_in_few_examples_and_noise_is_not():
    data, run = parts(), network()
    found = influence(run, functools.partial(hypergradients.reverse, n_steps=N_STEPS), data)
    losses_of = functools.partial(explain.retrained(run, n_steps=N_STEPS), KEY, {}, *data)
    assert explain.linearity(KEY, found, losses_of) > 0.95
    noise = jax.random.normal(KEY, found.shape)
    assert explain.linearity(KEY, noise, losses_of) < 0.6


@pytest.mark.long
def test_self_influence_is_summed_and_marks_a_wrong_label():
    train, test = parts()
    wrong = int(np.argmax(train["inputs"].sum(axis=1) * train["targets"]))
    train = {**train, "targets": train["targets"].at[wrong].set(0), "index": jnp.arange(N_TRAIN)}
    model, loss = models.linear(3, 2), losses.softmax_cross_entropy_with_integer_labels
    plain = training.supervised(
        model, loss, optimizer=training.gradient_descent(0.3), metrics={"accuracy": metrics.accuracy()}
    )
    algorithm = averaged(explain.self_influenced(plain, training.mean_loss(model, loss), n_examples=N_TRAIN), decay=0.5)
    plan = training.plan_of(N_TRAIN, batch_size=8, epochs=5)
    state, _ = jax.jit(lambda key: training.run(key, train, algorithm=algorithm, plan=plan))(KEY)
    scores = state.inner.self_influence
    assert int(jnp.argmax(scores)) == wrong and bool((scores > 0).all())
    expected, _ = jax.jit(lambda key: training.run(key, train, algorithm=averaged(plain, decay=0.5), plan=plan))(KEY)
    jax.tree.map(np.testing.assert_array_equal, state.inner.inner, expected.inner)
    assert algorithm.evaluate(state, test, KEY) == averaged(plain, decay=0.5).evaluate(expected, test, KEY)


def test_examples_of_no_weight_have_no_self_influence():
    model = models.function(lambda key: jnp.zeros(()), lambda params, inputs: params + inputs)
    loss_fn = training.mean_loss(model, losses.half_squared_error)
    plain = training.gradient_based(model, loss_fn, optimizer=training.gradient_descent(0.1), metrics={})
    algorithm = explain.self_influenced(plain, loss_fn, n_examples=2)
    batch = {"inputs": jnp.zeros(2), "targets": jnp.array([3.0, jnp.inf]), "index": jnp.arange(2)}
    state, _ = algorithm.step(algorithm.init(KEY), {**batch, "weights": jnp.array([1.0, 0.0])}, KEY)
    assert state.self_influence.tolist() == [9.0, 0.0]
    with pytest.raises(ValueError, match="batch must name its examples in 'index', got none"):
        algorithm.step(algorithm.init(KEY), {"inputs": jnp.zeros(2), "targets": jnp.zeros(2)}, KEY)


def weighted():
    """Returns parts of which the first has weights."""
    train, test = parts()
    return {**train, "weights": jnp.ones(N_TRAIN)}, test


@pytest.mark.raises
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: explain.influence(network(), lambda unroll: None, n_at_once=0), "n_at_once must be 1 or more, got 0"),
        (
            lambda: explain.influence(network()._replace(look=lambda *_: None, look_every=5), lambda unroll: None),
            "unroll must not look at validation data for influence, got look_every=5",
        ),
        (
            lambda: explain.retrained(network()._replace(look=lambda *_: None, look_every=5), n_steps=5),
            "unroll must not look at validation data for influence, got look_every=5",
        ),
        (
            lambda: explain.subsets(KEY, n_examples=4, n_subsets=2, share=1.0),
            "share must be above 0 and below 1, got 1.0",
        ),
        (lambda: explain.linearity(KEY, jnp.ones((1, 4)), None, n_runs=2), "n_runs must be 3 or more, got 2"),
        (
            lambda: explain.datamodelling_score(jnp.ones((2, 4)), jnp.ones((3, 5)), jnp.ones((3, 2))),
            r"weights and losses must have shapes \(subsets, 4\) and \(subsets, 2\)",
        ),
        (lambda: explain.self_influenced(None, None, n_examples=0), "n_examples must be 1 or more, got 0"),
        (
            lambda: influence(
                network(),
                functools.partial(hypergradients.reverse, n_steps=2),
                weighted(),
            ),
            "train must have no weights of its own",
        ),
        (
            lambda: hypergradients.tracin(network(), None, n_steps=10, n_checkpoints=3, rate=0.1),
            "n_checkpoints must divide n_steps = 10, got 3",
        ),
        (
            lambda: hypergradients.implicit(network(), None, n_steps=1, damping=-1.0),
            "damping must be 0 or more, got -1.0",
        ),
    ],
)
def test_bad_input_is_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()

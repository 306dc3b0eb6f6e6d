"""Transformations of algorithms: what they change, what they leave alone, and how they compose."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import losses, metrics, models, sweeps, training
from jaxresearch.algorithms import averaged, best_look, skipping, stopped, warm_started
from jaxresearch.execution.compilation import compiler_options
from jaxresearch.training import Algorithm, Plan, TrainState

PLAN = Plan(8, 10, evaluate_every=4)  # evaluations after 4, 8 and 10 steps


def classes(n_examples, seed):
    """Returns two features and two classes that overlap."""
    generator = np.random.default_rng(seed)
    targets = np.arange(n_examples, dtype=np.int32) % 2
    inputs = generator.normal(size=(n_examples, 2)) + targets[:, None]
    return {"inputs": inputs.astype(np.float32), "targets": targets}


TRAIN, VALIDATION = classes(32, 0), classes(20, 1)


def _counting(module):
    """Returns a model whose state also counts its training batches."""

    def init(key):
        params, model_state = module.init(key)
        return params, {"statistics": model_state, "count": jnp.zeros((), jnp.int32)}

    def apply(params, model_state, inputs, key=None):
        outputs, statistics = module.apply(params, model_state["statistics"], inputs, key)
        return outputs, {"statistics": statistics, "count": model_state["count"] + (key is not None)}

    return models.Model(init, apply)


MODEL = _counting(models.mlp(2, (4,), 2, batch_norm=True))


def descent(learning_rate=0.1, model=MODEL):
    """Returns Adam on the mean cross entropy of a network with batch statistics."""
    return training.supervised(
        model,
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=optax.adam(learning_rate, eps_root=1e-24),
        metrics={"log_loss": metrics.log_loss()},
    )


LINEAR = descent(model=models.linear(2, 2))


def run(algorithm, *validation):
    """Returns state and history."""
    whole = jax.jit(lambda key, *data: training.run(key, *data, algorithm=algorithm, plan=PLAN))
    return whole(jax.random.key(0), TRAIN, *validation)


def bits(tree):
    """Returns the bytes of every array."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def all_close(one, other, **tolerance):
    """Compares every array of two trees."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


@pytest.fixture(scope="module")
def trajectory():
    """The states of plain training, stacked from the first to the last."""

    def body(state, step):
        after, _ = training.advance(jax.random.key(0), state, TRAIN, step, algorithm=descent(), batch_size=8, n_steps=1)
        return after, after

    def states():
        start = training.init(jax.random.key(0), algorithm=descent())
        _, later = jax.lax.scan(body, start, jnp.arange(10))
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, later)

    return jax.tree.map(np.asarray, jax.jit(states)())


@pytest.fixture(scope="module")
def smooth():
    """State and history of a run whose parameters are averaged."""
    return run(averaged(descent(), decay=0.8))


@pytest.fixture(scope="module")
def early():
    """State and history of a run that keeps its best average."""
    return run(stopped(averaged(descent(), decay=0.8), metric="log_loss", patience=2), VALIDATION)


def _loop(values, decay=0.8):
    """Returns the moving averages of an array over time, in float64: one for each step, the start included."""
    averages = [np.asarray(values[0], np.float64)]
    for value in values[1:]:
        averages.append(decay * averages[-1] + (1 - decay) * value)
    return np.stack(averages)


def test_averaged_equals_a_loop(smooth, trajectory):
    (part,) = smooth[0].average
    expected = jax.tree.map(lambda values: _loop(values)[-1], trajectory.params)
    all_close(part.params, expected, rtol=1e-5, atol=1e-6)  # ten sums in float32


def test_averaged_averages_statistics_and_leaves_counts(smooth, trajectory):
    outcome = averaged(descent(), decay=0.8).outcome(smooth[0])
    kept, of_steps = outcome.inner.model_state, trajectory.model_state
    expected = jax.tree.map(lambda values: _loop(values)[-1], of_steps["statistics"])
    all_close(kept["statistics"], expected, rtol=1e-5, atol=1e-6)  # ten sums in float32
    assert kept["count"].dtype == jnp.int32 and kept["count"] == 10
    assert len(jax.tree.leaves(kept["statistics"])) == 2  # mean and variance: the comparison is not empty


def test_averaged_keeps_small_changes_of_16_bits(key):
    """A decay of 0.999 moves the average by less than half a unit in the last place of bfloat16."""

    def init(key):
        return training.TrainState({"w": jnp.ones(3, jnp.bfloat16)}, {"n": jnp.zeros(2, jnp.float16)}, ())

    def step(state, batch, key):
        return state._replace(params={"w": jnp.full(3, 2, jnp.bfloat16)}), {}

    algorithm = averaged(training.Algorithm(init, step, lambda state, data, key: {}), decay=0.999)
    state = algorithm.init(key)
    for _ in range(20):
        state, _ = algorithm.step(state, {}, key)
    (average,) = state.average
    np.testing.assert_allclose(average.params["w"], 2 - 0.999**20, rtol=1e-6)
    held = algorithm.outcome(state).inner
    assert held.params["w"].dtype == jnp.bfloat16 and held.model_state["n"].dtype == jnp.float16


def test_averaged_evaluates_and_predicts_with_the_average(smooth):
    algorithm, plain, (state, _) = averaged(descent(), decay=0.8), descent(), smooth
    outcome = algorithm.outcome(state)
    inner = outcome.inner
    assert bits(inner.params) == bits(state.average[0].params) != bits(state.inner.params)
    expected = plain.evaluate(inner, VALIDATION, jax.random.key(1))
    for one in (state, outcome):
        assert bits(algorithm.evaluate(one, VALIDATION, jax.random.key(1))) == bits(expected)
        assert bits(algorithm.predict(one, VALIDATION["inputs"])) == bits(plain.predict(inner, VALIDATION["inputs"]))


def test_averaged_finds_every_part_of_a_state(key):
    """Two players in a tuple, another in a dict: the one without model_state is averaged as well."""

    def init(key):
        a = TrainState({"w": jnp.zeros(2)}, {"m": jnp.zeros(()), "n": jnp.zeros((), jnp.int32)}, ())
        b = TrainState(jnp.ones(3), (), (jnp.zeros(3),))
        return {"players": (a, b), "third": TrainState(jnp.zeros(()), {}, ()), "temperature": jnp.zeros(())}

    def step(state, batch, key):
        return jax.tree.map(lambda leaf: leaf + 1, state), {}

    algorithm = averaged(Algorithm(init, step, lambda state, data, key: {}), decay=0.5)
    state, _ = training.run(key, {}, algorithm=algorithm, plan=Plan(0, 2))
    seen = algorithm.outcome(state).inner
    # 0, 1, 2 give 0, 0.5, 1.25; anything else stays at its last value, 2.
    (a, b), third = seen["players"], seen["third"]
    assert a.params["w"].tolist() == [1.25] * 2 and b.params.tolist() == [2.25] * 3 and float(third.params) == 1.25
    assert float(a.model_state["m"]) == 1.25 and int(a.model_state["n"]) == 2
    assert b.opt_state[0].tolist() == [2.0] * 3 and float(seen["temperature"]) == 2.0


def test_averaged_keeps_the_type_of_parameters(key):
    def init(key):
        return TrainState(jnp.zeros(2, jnp.bfloat16), {}, ())

    algorithm = Algorithm(init, lambda s, batch, key: (s._replace(params=s.params + 1), {}), lambda s, data, key: {})
    smooth = averaged(algorithm, decay=jnp.float32(0.5))
    state, _ = training.run(key, {}, algorithm=smooth, plan=Plan(0, 2))
    seen = smooth.outcome(state).inner.params
    assert seen.dtype == jnp.bfloat16 and seen.tolist() == [1.25] * 2


def test_averaged_with_decay_0_is_the_last_state():
    state, _ = run(averaged(descent(), decay=0.0))
    assert bits(state.average[0].params) == bits(state.inner.params)


def _scripted(values):
    """Returns an algorithm whose metric at its n-th evaluation, one per step, is the n-th value; its state counts steps."""

    def evaluate(state, data, key):
        return {"value": values[state - 1], "vector": jnp.zeros(2)}

    return Algorithm(lambda key: jnp.zeros((), jnp.int32), lambda state, batch, key: (state + 1, {}), evaluate)


def _first_best(values, *, patience, higher):
    """Returns the best evaluation, their number and the end, by a plain loop."""
    best, best_value = 0, -np.inf if higher else np.inf
    for n_looks, value in enumerate(values, start=1):
        if np.isfinite(value) and (value > best_value if higher else value < best_value):
            best, best_value = n_looks, value
        if n_looks - best >= patience:
            return best, n_looks, True
    return best, len(values), False


@pytest.mark.parametrize("higher", [False, True])
def test_stopped_equals_a_loop_over_its_looks(higher):
    """Two hundred runs of ten evaluations side by side, with ties, nan, infinities, and improvements after the end."""
    generator = np.random.default_rng(0)
    values = np.round(generator.normal(size=(200, 10)), 1).astype(np.float32)
    unusual = generator.choice([np.nan, np.inf, -np.inf], values.shape)
    values = np.where(generator.random(values.shape) < 0.3, unusual, values).astype(np.float32)
    values[0], values[1] = np.nan, np.arange(10) * (1 if higher else -1)

    def outcome(values, key):
        early = stopped(_scripted(values), metric="value", patience=3, higher=higher)
        state, _ = training.run(key, {}, {}, algorithm=early, plan=Plan(0, 10, evaluate_every=1))
        return state, early.done(state), early.outcome(state).inner

    states, is_done, outcomes = jax.jit(jax.vmap(outcome))(values, sweeps.keys(range(200)))
    expected = [_first_best(row, patience=3, higher=higher) for row in values]
    np.testing.assert_array_equal(np.stack([states.best_look, states.n_looks, is_done], axis=1), expected)
    # The outcome is the state at the best evaluation, or the last state if there is none.
    np.testing.assert_array_equal(outcomes, [best or 10 for best, _, _ in expected])
    assert {best > 0 for best, _, _ in expected} == {ended for _, _, ended in expected} == {True, False}


def test_stopped_keeps_its_best_average(early, trajectory):
    algorithm, (state, history) = stopped(averaged(descent(), decay=0.8), metric="log_loss", patience=2), early
    values = np.asarray(history["validation/log_loss"])
    look = int(state.best_look)
    assert look == values.argmin() + 1 and float(state.best_value) == values.min()
    outcome = algorithm.outcome(state)
    steps = (4, 8, 10)[look - 1]
    expected = jax.tree.map(lambda leaf: _loop(leaf)[steps], trajectory.params)
    all_close(outcome.inner.inner.params, expected, rtol=1e-5, atol=1e-6)  # sums in float32
    again = training.evaluate(jax.random.key(0), state, VALIDATION, algorithm=algorithm)
    np.testing.assert_allclose(again["log_loss"], values.min(), rtol=1e-6)  # compiled by itself
    predicted = algorithm.predict(outcome, VALIDATION["inputs"])
    assert bits(predicted) == bits(descent().predict(outcome.inner.inner, VALIDATION["inputs"]))


def test_stopped_without_looks_gives_the_last_state(smooth):
    algorithm = stopped(averaged(descent(), decay=0.8), metric="log_loss", patience=2)
    state, _ = run(algorithm)
    assert int(state.best_look) == 0 and not algorithm.done(state)
    assert bits(algorithm.outcome(state).inner) == bits(averaged(descent(), decay=0.8).outcome(smooth[0]))


def test_best_look_of_several_runs(early):
    states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), early[0])
    assert best_look(states).shape == (2,)
    assert best_look({"wrapped": [early[0]]}) == early[0].best_look
    assert best_look(early[0].inner) is None


COMPOSITIONS = {
    "averaged": lambda algorithm: averaged(algorithm, decay=0.8),
    "stopped": functools.partial(stopped, metric="log_loss", patience=2),
    "skipping": skipping,
    "stopped(averaged)": lambda algorithm: stopped(averaged(algorithm, decay=0.8), metric="log_loss", patience=2),
    "skipping(stopped)": lambda algorithm: skipping(stopped(algorithm, metric="log_loss", patience=2)),
    "stopped(averaged(skipping))": lambda algorithm: stopped(
        averaged(skipping(algorithm), decay=0.8), metric="log_loss", patience=2
    ),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_outcome_twice_is_outcome_once(name):
    algorithm, key, batch = COMPOSITIONS[name](LINEAR), jax.random.key(0), jax.tree.map(jnp.asarray, TRAIN)

    @jax.jit
    def outcomes():
        state, _ = algorithm.step(algorithm.init(key), batch, key)
        state, _ = training.look(key, state, VALIDATION, 1, algorithm=algorithm)
        state, _ = algorithm.step(state, batch, key)
        return state, algorithm.outcome(state), algorithm.outcome(algorithm.outcome(state))

    state, once, twice = outcomes()
    assert bits(once) == bits(twice) and jax.tree.structure(once) == jax.tree.structure(state)


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_states_have_no_aliases(name):
    """The memory of a state is donated to the next one: an array that appears twice would be donated twice."""
    algorithm, key, batch = COMPOSITIONS[name](LINEAR), jax.random.key(0), jax.tree.map(jnp.asarray, TRAIN)
    donating = functools.partial(jax.jit, donate_argnums=0)
    step = donating(lambda state: algorithm.step(state, batch, key)[0])
    look = donating(lambda state: training.look(key, state, VALIDATION, 1, algorithm=algorithm)[0])
    outcome = donating(algorithm.outcome)
    for init in (training.init, jax.jit(training.init, static_argnames="algorithm")):
        state = init(key, algorithm=algorithm)
        for function in (lambda state: state, step, look, step, look, outcome, outcome):
            state = function(state)
            places = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
            assert len(set(places)) == len(places)


@pytest.mark.long
@pytest.mark.parametrize("name", ["averaged", "stopped(averaged(skipping))"])
def test_transformations_change_no_bit_of_training(name):
    """With the compiler options of execution."""
    loss, chosen = losses.softmax_cross_entropy_with_integer_labels, {"log_loss": metrics.log_loss()}
    plain = training.supervised(models.linear(2, 2), loss, optimizer=training.gradient_descent(0.1), metrics=chosen)

    def trained(algorithm):
        whole = functools.partial(training.run, algorithm=algorithm, plan=PLAN)
        args = jax.random.key(0), TRAIN, VALIDATION
        lowered = jax.jit(whole).lower(*args)
        state, history = lowered.compile(compiler_options(lowered))(*args)
        while not isinstance(state, TrainState):
            state = state.inner
        return bits(state), bits(history["loss"])

    assert trained(COMPOSITIONS[name](plain)) == trained(plain)


def transformed(learning_rate, decay, model):
    """Returns all transformations at once, with numbers that may be swept."""
    return skipping(stopped(averaged(descent(learning_rate, model), decay=decay), metric="log_loss", patience=1))


def test_transformed_runs_sweep_as_single_ones():
    """Swept rates and decays, spread over devices, equal single runs within a tolerance."""
    rates, decays, plan = jnp.array([0.05, 0.1, 0.2]), jnp.array([0.5, 0.8, 0.9]), Plan(8, 8, evaluate_every=4)

    def whole(key, learning_rate, decay):
        algorithm = transformed(learning_rate, decay, models.linear(2, 2))
        state, history = training.run(key, TRAIN, VALIDATION, algorithm=algorithm, plan=plan)
        return algorithm.outcome(state), history

    outcomes, history = jax.jit(sweeps.sweep(whole))(sweeps.keys([3, 0, 5]), rates, decays)
    single, of_single = jax.jit(whole)(jax.random.key(0), rates[1], decays[1])
    assert outcomes.best_look[1] == single.best_look
    # Batched matrix products sum in a different order, over eight steps of Adam.
    all_close(jax.tree.map(lambda leaf: leaf[1], history), of_single, rtol=1e-4, atol=1e-6)
    all_close(
        outcomes.inner.inner.params["Dense_0"]["kernel"][1], single.inner.inner.params["Dense_0"]["kernel"], rtol=1e-4
    )


def test_transformed_runs_keep_float64():
    """The validation loss of the outcome is differentiable in the decay: forward mode against a difference."""
    linear, plan = models.linear(2, 2), Plan(8, 8, evaluate_every=4)
    wide = linear._replace(init=lambda key: jax.tree.map(lambda leaf: leaf.astype(float), linear.init(key)))
    parts = [{**part, "inputs": part["inputs"].astype(np.float64)} for part in (TRAIN, VALIDATION)]

    def loss(decay):
        algorithm = transformed(0.1, decay, wide)
        state, _ = training.run(jax.random.key(0), *parts, algorithm=algorithm, plan=plan)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float64", "int32"}
        return training.evaluate(jax.random.key(0), state, parts[1], algorithm=algorithm)["log_loss"]

    with jax.enable_x64(True):
        both = jax.jit(lambda decay: (jax.vmap(loss)(decay), jax.jvp(loss, (decay[0],), (1.0,))[1]))
        (up, down), slope = jax.tree.map(np.asarray, both(0.8 + jnp.array([1e-5, -1e-5])))
    assert slope != 0
    np.testing.assert_allclose(slope, (up - down) / 2e-5, rtol=1e-3)  # metrics are summed in float32


def test_skipping_leaves_out_steps_that_break_the_state(key):
    """A step is skipped if a finite part of the state or the loss becomes non-finite; other metrics do not count."""
    growth = jnp.array([2.0, jnp.inf, 3.0, 1.0, 5.0])

    def step(state, batch, key):
        i = state["n_called"]
        after = {**state, "w": state["w"] * growth[i], "n_called": i + 1}
        loss = jnp.where(i == 3, jnp.nan, 0.0)
        return after, {"loss": loss, "other": jnp.float32(jnp.nan)}

    state = {"w": jnp.ones(2), "unbounded": jnp.float32(jnp.inf), "n_called": jnp.int32(0)}
    skips = []
    algorithm = skipping(Algorithm(lambda key: state, step, lambda state, data, key: {}))
    for i in range(5):
        before = state
        # A skipped step also restores the count of calls, so the count is set by hand.
        state, values = algorithm.step({**state, "n_called": jnp.int32(i)}, {}, key)
        skips.append(float(values["skipped"]))
        if skips[-1]:
            assert bits(state["w"]) == bits(before["w"]) and state["n_called"] == i
    assert skips == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert state["w"].tolist() == [30.0] * 2 and state["unbounded"] == jnp.inf


def test_skipping_without_a_loss_watches_the_state(key):
    algorithm = skipping(
        Algorithm(lambda key: jnp.ones(()), lambda s, batch, key: (s / 0.0, {"size": s}), lambda s, data, key: {})
    )
    state, values = algorithm.step(algorithm.init(key), {}, key)
    assert float(state) == 1.0 and float(values["skipped"]) == 1.0


@pytest.mark.long
def test_skipping_changes_no_bit_where_all_is_finite():
    batch = {name: jnp.asarray(values[:8]) for name, values in TRAIN.items()}
    start = descent().init(jax.random.key(0))
    # Operation by operation: in a program, XLA fuses the wrapped step otherwise, and different summation order.
    plain, skipped = (one.step(start, batch, jax.random.key(1)) for one in (descent(), skipping(descent())))
    assert bits(plain[0]) == bits(skipped[0])
    _, history = run(skipping(descent()))
    assert not history["skipped"].any() and history["skipped"].dtype == jnp.float32


def test_averaged_needs_no_validation_data():
    """A runner sees from the functions themselves what an algorithm needs."""
    plain, smooth = descent(), averaged(descent(), decay=0.8)
    assert smooth.observe is plain.observe and smooth.done is plain.done
    watched = averaged(plain._replace(observe=lambda state, metrics: state), decay=0.8)
    assert watched.observe is not plain.observe


def test_averaged_passes_observations_on(key):
    def init(key):
        return TrainState(jnp.zeros(()), {}, jnp.zeros((), jnp.int32))

    counting = Algorithm(
        init,
        lambda state, batch, key: (state._replace(params=state.params + 1), {}),
        lambda state, data, key: {"size": state.params},
        observe=lambda state, seen: state._replace(opt_state=state.opt_state + 1),
        done=lambda state: state.opt_state >= 2,
    )
    algorithm = averaged(counting, decay=0.5)
    state, history = training.run(key, {}, {}, algorithm=algorithm, plan=Plan(0, 2, evaluate_every=1))
    assert int(state.inner.opt_state) == 2 and bool(algorithm.done(state))
    assert history["validation/size"].tolist() == [0.5, 1.25]  # of the average


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_algorithms_without_predict_are_reported(name):
    assert COMPOSITIONS[name](descent()._replace(predict=None)).predict is None


@pytest.mark.raises
@pytest.mark.parametrize("decay", [1, 1.0, -0.1, 2])
def test_averaged_refuses_decays_out_of_range(decay):
    with pytest.raises(ValueError, match=f"decay must be at least 0 and below 1, got {decay}. Pass 0.999"):
        averaged(descent(), decay=decay)


def test_averaged_refuses_a_state_without_params(key):
    algorithm = averaged(_scripted(jnp.zeros(3)), decay=0.9)
    with pytest.raises(ValueError, match="averaged must wrap an algorithm whose state has params, got one without"):
        algorithm.init(key)


def test_averaged_refuses_stopped(key):
    algorithm = averaged(stopped(descent(), metric="log_loss", patience=1), decay=0.9)
    with pytest.raises(ValueError, match=r"averaged must come inside stopped, .* Write stopped\(averaged\(...\)\)"):
        algorithm.init(key)


@pytest.mark.raises
@pytest.mark.parametrize("patience", [0, -1])
def test_stopped_refuses_no_patience(patience):
    with pytest.raises(ValueError, match=f"patience must be 1 or more, got {patience}"):
        stopped(descent(), metric="log_loss", patience=patience)


@pytest.mark.parametrize("metric", ["vector", "valu"])
def test_stopped_refuses_unsuitable_metrics(key, metric):
    algorithm = stopped(_scripted(jnp.zeros(3)), metric=metric, patience=1)
    with pytest.raises(ValueError, match=f"metric must be one of value, got '{metric}'. Choose a scalar"):
        training.run(key, {}, {}, algorithm=algorithm, plan=Plan(0, 3, evaluate_every=1))


def test_warm_started_starts_the_first_of_two_networks():
    def twins(key):
        params = [{"w": jax.random.normal(own, (2,))} for own in jax.random.split(key)]
        return tuple(TrainState(one, {}, ()) for one in params)

    plain = Algorithm(twins, lambda state, batch, key: (state, {}), lambda state, data, key: {"x": jnp.zeros(())})
    fresh = plain.init(jax.random.key(0))
    other = {"w": jnp.array([7.0, 7.0])}
    wrapped = stopped(averaged(plain, decay=0.9), metric="x", patience=1)
    started = warm_started(wrapped, other).init(jax.random.key(0))
    for average in (started.inner, started.best):
        first, second = average.inner
        assert first.params["w"].tolist() == average.average[0].params["w"].tolist() == [7.0, 7.0]
        assert bits(second) == bits(fresh[1]) and bits(average.average[1].params) == bits(fresh[1].params)


WARM = {
    "plain": lambda algorithm: algorithm,
    "averaged": lambda algorithm: averaged(algorithm, decay=0.9),
    "stopped(averaged(skipping))": lambda algorithm: stopped(
        averaged(skipping(algorithm), decay=0.9), metric="log_loss", patience=2
    ),
}


@pytest.mark.parametrize("wrap", WARM.values(), ids=WARM)
@pytest.mark.parametrize("has_start", [True, False])
def test_warm_started_evaluates_as_what_it_starts_from(wrap, has_start):
    plain = descent()
    trained, _ = run(plain)
    algorithm = wrap(plain if has_start else plain._replace(start=None))
    state = jax.jit(warm_started(algorithm, trained).init)(jax.random.key(5))
    data, key = {name: jnp.asarray(leaf) for name, leaf in VALIDATION.items()}, jax.random.key(6)
    expected = plain.evaluate(trained, data, key)["log_loss"]
    assert expected != plain.evaluate(plain.init(jax.random.key(5)), data, key)["log_loss"]
    for seen in (state, algorithm.outcome(state)):
        np.testing.assert_allclose(algorithm.evaluate(seen, data, key)["log_loss"], expected, rtol=1e-6)
    for leaf, fresh in zip(jax.tree.leaves(state), jax.tree.leaves(algorithm.init(jax.random.key(5))), strict=True):
        assert leaf.shape == fresh.shape and leaf.dtype == fresh.dtype


def test_warm_started_takes_the_outcome_of_other_transformations():
    early = stopped(averaged(descent(), decay=0.9), metric="log_loss", patience=2)
    trained, _ = run(early, VALIDATION)
    outcome = early.outcome(trained)
    state = warm_started(descent(), outcome).init(jax.random.key(5))
    assert bits(state.params) == bits(outcome.inner.inner.params)
    assert bits(state.model_state) == bits(outcome.inner.inner.model_state)


def test_warm_started_averages_16_bits_in_32(key):
    """So that a state that was started from another has the types of one that was not, and steps of an average count."""
    part = TrainState({"w": jnp.ones(3, jnp.bfloat16)}, {"n": jnp.zeros(2, jnp.float16)}, ())
    plain = Algorithm(lambda key: part, lambda state, batch, key: (state, {}), lambda state, data, key: {})
    (average,) = warm_started(averaged(plain, decay=0.999), part).init(key).average
    assert average.params["w"].dtype == average.model_state["n"].dtype == jnp.float32
    assert average.params["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize("wrap", WARM.values(), ids=WARM)
def test_warm_started_optimizers_start_from_the_same_parameters(wrap):
    """Schedule-free SGD, lookahead and parameter averages each hold a copy of the parameters."""
    rules = {
        "schedule-free": optax.contrib.schedule_free_sgd(0.1),
        "ema of parameters": optax.chain(optax.sgd(0.1), _anchored()),
    }
    for name, optimizer in rules.items():
        plain = training.supervised(
            models.linear(2, 2), losses.softmax_cross_entropy_with_integer_labels, optimizer=optimizer, metrics={}
        )
        given = jax.tree.map(lambda leaf: leaf + 7, plain.init(jax.random.key(1)).params)
        state = warm_started(wrap(plain), given).init(jax.random.key(0))
        part = next(node for node in jax.tree.leaves(state, is_leaf=_is_train_state) if _is_train_state(node))
        assert (
            bits(part.opt_state)
            == bits(optimizer.init(given))
            != bits(optimizer.init(plain.init(jax.random.key(0)).params))
        )
        assert bits(part.params) == bits(given), name


def _is_train_state(node):
    return isinstance(node, TrainState)


def _anchored():
    """Returns an optimizer that keeps its initial parameters."""
    return optax.GradientTransformation(lambda params: params, lambda updates, state, params=None: (updates, state))


def test_warm_started_refuses_parameters_without_statistics():
    with pytest.raises(ValueError, match="must come with these; got parameters alone. Pass its whole state"):
        warm_started(descent(), descent().init(jax.random.key(1)).params).init(jax.random.key(0))


def test_warm_started_refuses_a_start_of_another_state():
    plain = descent(model=models.linear(2, 2))
    counted = plain._replace(init=lambda key: (plain.init(key), 0))
    with pytest.raises(
        ValueError, match="start must return a state of the same structure as init, got a different one"
    ):
        warm_started(counted, plain.init(jax.random.key(1))).init(jax.random.key(0))


def test_averaged_leaves_integers_of_params_alone():
    def step(state, batch, key):
        params = {"w": state.params["w"] + 1, "count": state.params["count"] + 1}
        return state._replace(params=params), {}

    start = TrainState({"w": jnp.zeros(()), "count": jnp.zeros((), jnp.int32)}, {}, ())
    smooth = averaged(Algorithm(lambda key: start, step, lambda state, data, key: {}), decay=0.5)
    state, _ = smooth.step(smooth.init(jax.random.key(0)), {}, jax.random.key(1))
    assert smooth.outcome(state).inner.params["w"] == 0.5 and smooth.outcome(state).inner.params["count"] == 1

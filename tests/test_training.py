"""Training as a pure function: one implementation for every algorithm, resumable bit for bit, compatible with every transform."""

import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from jaxresearch import losses, metrics, models, sampling, training
from jaxresearch.data import Streams
from jaxresearch.training import Algorithm, Plan

CROSS_ENTROPY = losses.softmax_cross_entropy_with_integer_labels
MODEL = models.mlp(2, (8,), 3)
NOISY = models.mlp(2, (8,), 3, dropout_rate=0.5, batch_norm=True)

PLAN = Plan(16, 12)  # two epochs of 96 examples
LOOKING = Plan(16, 12, evaluate_every=5)  # evaluations after 5, 10 and 12 steps


def classes(n_examples=96, seed=0):
    """Returns two features and three classes that a network can separate."""
    generator = np.random.default_rng(seed)
    targets = np.arange(n_examples) % 3
    inputs = generator.normal(size=(n_examples, 2)) + 4 * np.stack([np.cos(targets * 2.1), np.sin(targets * 2.1)], 1)
    return {"inputs": inputs.astype(np.float32), "targets": targets.astype(np.int32)}


TRAIN, VALIDATION = classes(), classes(50, seed=1)


def descent(learning_rate, *, model=MODEL, **options):
    """Returns Adam on the mean cross entropy; eps_root keeps its derivative finite where a second moment is zero."""
    optimizer = optax.adam(learning_rate, eps_root=1e-24)
    chosen = {"log_loss": metrics.log_loss(), "recall": metrics.recall(average=None)}
    of_steps = {"accuracy": metrics.accuracy()}
    return training.supervised(
        model, CROSS_ENTROPY, optimizer=optimizer, metrics=chosen, train_metrics=of_steps, **options
    )


def run(key, learning_rate, data, validation=None, *, model=MODEL, plan=PLAN):
    """Returns state and history: the pure function under test."""
    return training.run(key, data, validation, algorithm=descent(learning_rate, model=model), plan=plan)


def pieces(model):
    """Returns the compiled initialisation, steps and evaluation of the same run."""
    algorithm = descent(RATE, model=model)

    def advance(key, state, data, step, n_steps):
        return training.advance(key, state, data, step, algorithm=algorithm, batch_size=16, n_steps=n_steps)

    def look(key, state, validation, step):
        return training.look(key, state, validation, step, algorithm=algorithm)

    start = jax.jit(lambda key: training.init(key, algorithm=algorithm))
    return start, jax.jit(advance, static_argnames="n_steps"), jax.jit(look)


compiled = jax.jit(run, static_argnames=("model", "plan"))
RATE = jnp.float32(0.01)
PIECES, NOISY_PIECES = pieces(MODEL), pieces(NOISY)


@pytest.fixture(scope="module")
def plain():
    """State and history of a run without validation data."""
    return compiled(jax.random.key(0), RATE, TRAIN)


@pytest.fixture(scope="module")
def looking():
    """State and history of the same run with validation data."""
    return compiled(jax.random.key(0), RATE, TRAIN, VALIDATION, plan=LOOKING)


def bits(tree):
    """Returns the bytes of every array."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def all_close(one, other, **tolerance):
    """Compares every array of two trees."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


def test_run_learns():
    _, history = compiled(jax.random.key(0), 0.03, TRAIN, plan=Plan(16, 120))
    assert {name: values.shape for name, values in history.items()} == {"loss": (120,), "accuracy": (120,)}
    assert history["accuracy"][-6:].mean() > 0.95


def test_run_equals_a_loop_of_steps_bit_for_bit(plain):
    start, advance, _ = PIECES
    key = jax.random.key(0)
    state, seen = start(key), []
    for step in range(12):
        state, metric = advance(key, state, TRAIN, step, n_steps=1)
        seen.append(metric["loss"][0])
    assert bits(state) == bits(plain[0])
    assert bits(plain[1]["loss"]) == bits(jnp.stack(seen))


@pytest.mark.parametrize("lengths", [(6, 6), (1, 5, 6), (5, 1, 6), (6, 5, 1)])
def test_advance_in_chunks_equals_the_whole_bit_for_bit(lengths):
    """With dropout and batch statistics, cut within epochs and between them."""
    start, advance, _ = NOISY_PIECES
    key = jax.random.key(3)
    whole, history = advance(key, start(key), TRAIN, 0, n_steps=12)
    state, made, seen = start(key), 0, []
    for n_steps in lengths:
        state, of_chunk = advance(key, state, TRAIN, made, n_steps=n_steps)
        made += n_steps
        seen.append(of_chunk["loss"])
    assert bits(state) == bits(whole)
    assert bits(history["loss"]) == bits(jnp.concatenate(seen))


def test_run_looks_every_period_and_at_the_end(looking):
    _, history = looking
    shapes = {name: values.shape for name, values in history.items()}
    assert shapes == {"loss": (12,), "accuracy": (12,), "validation/log_loss": (3,), "validation/recall": (3, 3)}
    assert history["validation/log_loss"][2] < history["validation/log_loss"][0]


def test_run_with_looks_equals_its_pieces_bit_for_bit(looking):
    start, advance, look = PIECES
    key = jax.random.key(0)
    state, made, of_steps, of_looks = start(key), 0, [], []
    for n_steps in (2, 3, 5, 2):
        state, metric = advance(key, state, TRAIN, made, n_steps=n_steps)
        made += n_steps
        of_steps.append(metric["loss"])
        if made in (5, 10, 12):
            state, seen = look(key, state, VALIDATION, made)
            of_looks.append(seen)
    assert bits(state) == bits(looking[0])
    assert bits(looking[1]["loss"]) == bits(jnp.concatenate(of_steps))
    assert bits(looking[1]["validation/log_loss"]) == bits(jnp.stack([seen["log_loss"] for seen in of_looks]))
    assert bits(looking[1]["validation/recall"]) == bits(jnp.stack([seen["recall"] for seen in of_looks]))


def test_looks_change_nothing_of_training(plain, looking):
    assert bits(plain[0]) == bits(looking[0])
    assert all(bits(values) == bits(looking[1][name]) for name, values in plain[1].items())


@pytest.mark.parametrize(
    ("evaluate_every", "n_looks"), [(None, 2), (1, 12), (6, 2), (7, 2), (11, 2), (12, 1), (100, 1)]
)
def test_run_looks_as_often_as_planned(evaluate_every, n_looks):
    """Without a number in the plan, once per epoch, which is 6 steps here."""
    plan = Plan(16, 12, evaluate_every=evaluate_every)
    _, history = jax.eval_shape(lambda *args: run(*args, plan=plan), jax.random.key(0), 0.01, TRAIN, VALIDATION)
    assert history["validation/log_loss"].shape == (n_looks,) and history["loss"].shape == (12,)


def test_vmapped_seeds_equal_single_runs(looking):
    keys = jax.vmap(jax.random.key)(jnp.array([3, 0, 5]))
    over_seeds = jax.jit(jax.vmap(lambda *args: run(*args, plan=LOOKING), (0, None, None, None)))
    _require_close(over_seeds(keys, RATE, TRAIN, VALIDATION), looking)


def test_vmapped_rates_equal_single_runs(plain):
    over_rates = jax.jit(jax.vmap(run, (None, 0, None)))
    _require_close(over_rates(jax.random.key(0), jnp.array([0.003, 0.01, 0.1]), TRAIN), plain)


def _require_close(batched, single):
    """Compares the middle one of three runs: batched matrix products sum in a different order, over twelve steps."""
    state, history = jax.tree.map(lambda leaf: leaf[1], batched)
    all_close(history, single[1], rtol=1e-5)
    all_close(state.params, single[0].params, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_validation_loss_is_differentiable_through_the_run(looking):
    """Forward and reverse mode agree with each other and with a difference in float64."""
    plan = Plan(16, 10, evaluate_every=5)

    def last_look(learning_rate):
        return run(jax.random.key(0), learning_rate, TRAIN, VALIDATION, plan=plan)[1]["validation/log_loss"][-1]

    reverse = jax.jit(jax.grad(last_look))(0.01)
    value, forward = jax.jit(lambda rate: jax.jvp(last_look, (rate,), (1.0,)))(0.01)
    np.testing.assert_allclose(reverse, forward, rtol=1e-4)  # float32, other order of sums
    np.testing.assert_allclose(value, looking[1]["validation/log_loss"][1], rtol=1e-5)
    with jax.enable_x64(True):
        wide = [{**part, "inputs": part["inputs"].astype(np.float64)} for part in (TRAIN, VALIDATION)]
        model = MODEL._replace(init=lambda key: jax.tree.map(lambda leaf: leaf.astype(float), MODEL.init(key)))
        of_rate = jax.vmap(lambda rate: run(jax.random.key(0), rate, *wide, model=model, plan=plan)[1])
        values = jax.jit(of_rate)(jnp.array([0.01 + 1e-6, 0.01 - 1e-6]))["validation/log_loss"][:, -1]
        central = float(values[0] - values[1]) / 2e-6
    # The run itself rounds in float32 at this point: four digits remain after twelve steps.
    np.testing.assert_allclose(reverse, central, rtol=1e-3)


def test_run_is_lowered_for_cpu_cuda_and_tpu(looking):
    shapes = jax.tree.map(jax.typeof, (jax.random.key(0), RATE, TRAIN, VALIDATION))
    exported = export.export(jax.jit(lambda *args: run(*args, plan=LOOKING)), platforms=["cpu", "cuda", "tpu"])(*shapes)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    assert bits(exported.call(jax.random.key(0), RATE, TRAIN, VALIDATION)) == bits(looking)


@pytest.mark.long
def test_run_equals_eager():
    data, plan = classes(32), Plan(16, 2)
    with jax.disable_jit():
        eager, _ = run(jax.random.key(0), 0.01, data, plan=plan)
    whole, _ = compiled(jax.random.key(0), 0.01, data, plan=plan)
    # Two steps of Adam, whose first step divides by the size of the gradient: rounding affects the sixth digit.
    all_close(eager, whole, rtol=1e-4, atol=1e-6)


def test_run_compiles_once_over_learning_rates_and_seeds():
    traces = []

    @jax.jit
    def counted(key, learning_rate, data):
        traces.append(1)
        return run(key, learning_rate, data)

    for seed, rate in enumerate([0.1, 0.01, 0.001]):
        counted(jax.random.key(seed), rate, TRAIN)
    assert len(traces) == 1


def test_init_gives_strong_types_so_steps_compile_once():
    """With Python numbers in a state, the first and second step would be different programs."""
    traces = []

    def init(key):
        return {"size": jnp.ones((), jnp.float32) * 1.0, "rate": 0.5, "weak": jax.lax.full((), 2.0), "n": 3, "key": key}

    def step(state, batch, key):
        return {**state, "size": state["size"] * state["rate"]}, {"size": state["size"]}

    algorithm = Algorithm(init, step, lambda state, data, key: {})

    @jax.jit
    def advance(state, made):
        traces.append(1)
        return training.advance(jax.random.key(0), state, {}, made, algorithm=algorithm, batch_size=0, n_steps=2)

    state = training.init(jax.random.key(0), algorithm=algorithm)
    numbers = [leaf for name, leaf in state.items() if name != "key"]
    assert all(isinstance(leaf, jax.Array) and not leaf.weak_type for leaf in numbers)
    for made in (0, 2, 4):
        state, _ = advance(state, made)
    assert len(traces) == 1 and float(state["size"]) == 0.5**6


def test_vmapped_init_trains_as_the_single_one_bit_for_bit():
    start, advance, _ = PIECES
    key, together = jax.random.key(2), jax.jit(jax.vmap(start))(jax.vmap(jax.random.key)(jnp.arange(3)))
    one, single = jax.tree.map(lambda leaf: leaf[2], together), start(key)
    assert bits(one) == bits(single)
    assert bits(advance(key, one, TRAIN, 0, n_steps=5)) == bits(advance(key, single, TRAIN, 0, n_steps=5))


class Watching(NamedTuple):
    """A state that counts."""

    steps: jax.Array
    looks: jax.Array


def _seen(state, batch, key):
    """Counts a step, and returns its inputs."""
    arrays = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(batch)}
    return state._replace(steps=state.steps + 1), {"draw": jax.random.uniform(key), **arrays}


WATCHING = Algorithm(
    lambda key: Watching(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)),
    _seen,
    lambda state, data, key: {"draw": jax.random.uniform(key), "steps": state.steps},
    observe=lambda state, seen: state._replace(looks=state.looks + 1),
    outcome=lambda state: state._replace(steps=-state.steps),
)


def test_look_passes_the_metrics_to_observe(key):
    state, history = training.run(key, {}, {}, algorithm=WATCHING, plan=Plan(0, 8, evaluate_every=3))
    assert (int(state.steps), int(state.looks)) == (8, 3)
    assert history["validation/steps"].tolist() == [3, 6, 8]


def test_every_step_and_look_has_a_key_of_its_own(key):
    _, history = training.run(key, {}, {}, algorithm=WATCHING, plan=Plan(0, 8, evaluate_every=2))
    at_end = training.evaluate(key, training.init(key, algorithm=WATCHING), {}, algorithm=WATCHING)
    draws = [*history["draw"].tolist(), *history["validation/draw"].tolist(), float(at_end["draw"])]
    assert len(set(draws)) == 8 + 4 + 1


def test_evaluate_is_of_the_outcome(key):
    assert int(training.evaluate(key, Watching(jnp.int32(5), jnp.int32(0)), {}, algorithm=WATCHING)["steps"]) == -5


def test_run_without_data_looks_at_the_end(key):
    _, history = training.run(key, {}, {}, algorithm=WATCHING, plan=Plan(0, 8))
    assert history["validation/steps"].tolist() == [8] and "['inputs']" not in history


STREAMS = Streams(
    labelled={"inputs": np.arange(6)[:, None], "targets": np.arange(6)}, unlabelled={"inputs": np.arange(10)[:, None]}
)


def test_run_on_streams_resumes_bit_for_bit(key):
    """An epoch is one pass over the first stream, 3 steps; the run ends within an epoch of each."""

    def step(state, batch, key):
        both = jnp.concatenate([batch["labelled"]["inputs"], batch["unlabelled"]["inputs"]])
        return 0.9 * state + jax.random.normal(key) * both.sum(), {"seen": both.sum()}

    algorithm = Algorithm(lambda key: jnp.zeros(()), step, lambda state, data, key: {"state": state})

    @jax.jit
    def in_pieces(key, data):
        state, history = training.init(key, algorithm=algorithm), []
        for made, n_steps in ((0, 2), (2, 4), (6, 1)):
            state, of_steps = training.advance(
                key, state, data, made, algorithm=algorithm, batch_size=2, n_steps=n_steps
            )
            history.append(of_steps["seen"])
        return state, jnp.concatenate(history)

    @jax.jit
    def whole(key, data):
        return training.run(key, data, {}, algorithm=algorithm, plan=Plan(2, 7))

    state, history = whole(key, STREAMS)
    assert bits((state, history["seen"])) == bits(in_pieces(key, STREAMS))
    assert history["validation/state"].shape == (3,)  # after 3, 6 and 7 steps


@pytest.mark.long
def test_step_inputs_are_what_a_step_receives(key):
    state = training.init(key, algorithm=WATCHING)
    _, history = training.advance(key, state, STREAMS, 4, algorithm=WATCHING, batch_size=2, n_steps=3)
    batch, step_key = training.step_inputs(key, STREAMS, 6, batch_size=2)
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        np.testing.assert_array_equal(history[jax.tree_util.keystr(path)][2], leaf)
    assert {*batch} == {"labelled", "unlabelled"}
    assert jax.random.uniform(step_key) == history["draw"][2]


def test_advance_continues_into_the_next_epoch(key):
    """Twelve steps of an epoch of six see each example exactly twice."""
    data = {"inputs": jnp.arange(96)[:, None], "targets": jnp.zeros(96)}
    state = training.init(key, algorithm=WATCHING)
    _, history = training.advance(key, state, data, 0, algorithm=WATCHING, batch_size=16, n_steps=12)
    assert np.array_equal(np.bincount(np.asarray(history["['inputs']"]).ravel()), np.full(96, 2))
    assert sampling.steps_per_epoch(96, batch_size=16) == 6


def test_gradient_descent_follows_its_closed_form(key):
    """After n steps of full-batch descent on least squares, theta_n = theta* + (1 - alpha h)^n (theta_0 - theta*)."""
    inputs = jnp.array([[1.0], [2.0], [3.0], [4.0]])
    data = {"inputs": inputs, "targets": 2.5 * inputs}
    curvature, rate = float(jnp.mean(inputs**2)), 0.02

    def loss_fn(params, model_state, batch, key):
        return jnp.mean(losses.half_squared_error(batch["inputs"] * params, batch["targets"])), ({}, model_state)

    model = models.function(lambda key: jnp.zeros(()), lambda params, inputs: inputs * params)
    algorithm = training.gradient_based(model, loss_fn, optimizer=training.gradient_descent(rate), metrics={})
    state, _ = training.run(key, data, algorithm=algorithm, plan=Plan(4, 10))
    assert np.isclose(state.params, 2.5 * (1 - (1 - rate * curvature) ** 10), rtol=1e-5)


def test_gradient_descent_equals_optax_sgd():
    gradient, params = {"a": jnp.array([1.0, -2.0])}, {"a": jnp.array([3.0, 4.0])}
    ours, theirs = training.gradient_descent(0.1), optax.sgd(0.1)
    update, _ = ours.update(gradient, ours.init(params), params)
    expected, _ = theirs.update(gradient, theirs.init(params), params)
    assert bits(update) == bits(expected)


def evaluated(data, *, batch_sizes, **chosen):
    """Returns metrics of the untrained model, by the batch size of evaluation."""

    def evaluate(data, batch_size):
        optimizer = optax.sgd(0.1)
        algorithm = training.supervised(
            MODEL, CROSS_ENTROPY, optimizer=optimizer, metrics=chosen, evaluation_batch=batch_size
        )
        return algorithm.evaluate(algorithm.init(jax.random.key(0)), data, jax.random.key(1))

    return jax.jit(lambda data: {size: evaluate(data, size) for size in batch_sizes})(data)


@pytest.fixture(scope="module")
def outputs():
    """Outputs of the untrained model for the training data."""
    return jax.jit(lambda key: MODEL.apply(*MODEL.init(key), TRAIN["inputs"])[0])(jax.random.key(0))


@pytest.mark.long
def test_evaluate_does_not_depend_on_the_batch_size(outputs):
    chosen = {"accuracy": metrics.accuracy(), "f1": metrics.f1(average="macro"), "log_loss": metrics.log_loss()}
    expected = {name: metric(outputs, TRAIN["targets"]) for name, metric in chosen.items()}
    for values in evaluated(TRAIN, batch_sizes=(1, 7, 32, 96, 200), **chosen).values():
        all_close(values, expected, rtol=1e-5)  # different summation order


def test_evaluate_respects_weights():
    weights = (np.arange(96) < 40).astype(np.float32)
    masked = evaluated({**TRAIN, "weights": weights}, batch_sizes=(32,), log_loss=metrics.log_loss())
    cut = evaluated(jax.tree.map(lambda leaf: leaf[:40], TRAIN), batch_sizes=(32,), log_loss=metrics.log_loss())
    all_close(masked, cut, rtol=1e-5)  # different summation order


def test_evaluate_is_differentiable_in_weights(outputs):
    """The derivative of a weighted mean: each example's value minus the mean, over the sum of weights."""
    weights = np.random.default_rng(0).uniform(0.5, 2, 96).astype(np.float32)
    losses_ = CROSS_ENTROPY(outputs, jnp.asarray(TRAIN["targets"]))
    expected = (losses_ - np.average(losses_, weights=weights)) / weights.sum()

    def log_loss(weights):  # in batches of 32, and of 40, the last of which is padded
        return evaluated({**TRAIN, "weights": weights}, batch_sizes=(32, 40), log_loss=metrics.log_loss())

    slopes = jax.jit(jax.jacrev(log_loss))(weights)
    for size in (32, 40):  # differences of sums in float32
        np.testing.assert_allclose(slopes[size]["log_loss"], expected, rtol=1e-3, atol=1e-7)


def test_mean_loss_masks_padded_examples():
    """The gradient and the metrics of a batch with padding are those of the batch without it."""
    weights = np.array([1.0] * 5 + [0.0] * 3, np.float32)
    real = {name: values[:5] for name, values in TRAIN.items()}
    inputs, targets = np.full((8, 2), 1e6, np.float32), np.full(8, -1, np.int32)
    inputs[:5], targets[:5] = real["inputs"], real["targets"]
    loss_fn = training.mean_loss(MODEL, CROSS_ENTROPY, metrics={"accuracy": metrics.accuracy()})

    @jax.jit
    def gradient(batch):
        return jax.value_and_grad(loss_fn, has_aux=True)(*MODEL.init(jax.random.key(0)), batch, jax.random.key(1))

    of_padded, of_real = gradient({"inputs": inputs, "targets": targets, "weights": weights}), gradient(real)
    all_close(of_padded, of_real, rtol=1e-6, atol=1e-7)  # different summation order


def _mean_of(loss, outputs, targets, **batch):
    """Returns the mean loss of outputs as they are."""
    loss_fn = training.mean_loss(models.function(lambda key: {}, lambda params, inputs: inputs), loss)
    return loss_fn({}, {}, {"inputs": outputs, "targets": targets, **batch}, None)[0]


@pytest.mark.parametrize(
    ("outputs", "targets", "shape"),
    [((4, 1), (4,), "(4, 4)"), ((4,), (4, 1), "(4, 4)"), ((4, 3), (4, 3), "()"), ((4, 3), (4, 3), "(3,)")],
)
@pytest.mark.parametrize("is_weighted", [False, True])
def test_mean_loss_refuses_a_loss_that_is_not_of_single_examples(outputs, targets, shape, is_weighted):
    axis = {"()": (0, 1), "(3,)": 0}.get(shape, ())
    weights = {"weights": jnp.ones(4)} if is_weighted else {}
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError) as raised:
        _mean_of(lambda a, b: ((a - b) ** 2).mean(axis), jnp.ones(outputs), jnp.ones(targets), **weights)
    remedy = {
        "()": "It returned one number, such as a mean: return one value per example, and leave the mean to the algorithm.",
        "(3,)": "Give both the same shape, and leave the mean to the algorithm.",
        "(4, 4)": f"{outputs} and {targets} were broadcast inside the loss: give both the same shape.",
    }
    assert str(raised.value) == (
        f"loss must return one value for each of 4 examples, (4,) or with trailing axes; got {shape} for outputs "
        f"{outputs} and targets {targets}. {remedy[shape]}"
    )


def test_mean_loss_refuses_a_batch_that_broadcasts():
    """Four examples of four outputs fit targets (4,), but as columns; eight examples would not."""
    message = r"^loss must return one value per example for any batch size; with 8 examples in place of 4 it raised: "
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match=message):
        _mean_of(lambda a, b: (a - b) ** 2, jnp.ones((4, 4)), jnp.ones(4))


def test_mean_loss_averages_axes_of_outputs():
    outputs, targets = jnp.arange(12.0).reshape(4, 3), jnp.zeros((4, 3))
    weights = jnp.array([1.0, 2.0, 0.0, 1.0])
    for loss in (losses.squared_error, lambda a, b: losses.squared_error(a, b).mean(axis=1)):
        found = _mean_of(loss, outputs, targets, weights=weights)
        np.testing.assert_allclose(found, np.average(np.mean(outputs**2, axis=1), weights=weights), rtol=1e-6)


def test_state_holds_arrays_alone():
    state = training.init(jax.random.key(0), algorithm=descent(0.1))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert state._fields == ("params", "model_state", "opt_state")


def test_supervised_functions_have_the_signatures_of_algorithm():
    signatures = [[*inspect.signature(function).parameters] for function in descent(0.1)]
    assert signatures == [
        ["key"],
        ["state", "batch", "key"],
        ["state", "data", "key"],
        ["state", "inputs"],
        ["state", "metrics"],
        ["state"],
        ["state"],
        ["params", "model_state"],
    ]


def test_plan_of_counts_whole_batches():
    assert training.plan_of(100, batch_size=16, epochs=3) == Plan(16, 18)
    assert training.plan_of(100, batch_size=100, epochs=3, evaluate_every=2) == Plan(100, 3, 2)


@pytest.mark.raises
def test_run_refuses_arrays_that_differ_in_length():
    data = {**TRAIN, "targets": np.zeros(95, np.int32)}
    with pytest.raises(ValueError, match=r"data must hold arrays with equal leading axes, got .*96.*95"):
        run(jax.random.key(0), 0.1, data)


@pytest.mark.raises
@pytest.mark.parametrize("n", [0, -1])
def test_run_refuses_no_steps(n):
    with pytest.raises(ValueError, match=f"n_steps must be 1 or more, got {n}"):
        run(jax.random.key(0), 0.1, TRAIN, plan=Plan(16, n))
    with pytest.raises(ValueError, match=f"epochs must be 1 or more, got {n}"):
        training.plan_of(96, batch_size=16, epochs=n)


@pytest.mark.raises
def test_run_refuses_a_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="batch_size must be between 1 and 9, got 16"):
        run(jax.random.key(0), 0.1, classes(9))
    with pytest.raises(ValueError, match="batch_size must be between 1 and 9, got 16"):
        training.plan_of(9, batch_size=16, epochs=1)


@pytest.mark.raises
@pytest.mark.parametrize("size", [0, -3])
def test_supervised_refuses_empty_evaluation_batches(size):
    with pytest.raises(ValueError, match=f"evaluation_batch must be 1 or more, got {size}"):
        descent(0.1, evaluation_batch=size)

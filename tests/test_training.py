"""Training as a pure function: one code for every model, resumable bit for bit, open to every transform."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from jaxresearch import gradients, losses, metrics, models, sampling, training
from jaxresearch.fields import text
from jaxresearch.fields.text import masking


def _classes(n_examples=96, seed=0):
    """Returns two features and three classes that a network can tell apart."""
    generator = np.random.default_rng(seed)
    targets = np.arange(n_examples) % 3
    inputs = generator.normal(size=(n_examples, 2)) + 4 * np.stack([np.cos(targets * 2.1), np.sin(targets * 2.1)], 1)
    return {"inputs": inputs.astype(np.float32), "targets": targets.astype(np.int32)}


def _loss_fn(model):
    loss = losses.softmax_cross_entropy_with_integer_labels
    return training.supervised(model, loss, metrics={"accuracy": metrics.accuracy()})


MODEL = models.mlp(2, (8,), 3)


def run(key, learning_rate, data, *, model=MODEL, epochs=2):
    """The pure function under test: `key` and `learning_rate` in, state and history out."""
    return training.run(
        key,
        data,
        model=model,
        estimator=gradients.plain(_loss_fn(model)),
        # eps_root keeps the derivative of Adam finite where a second moment is zero
        optimizer=optax.adam(learning_rate, eps_root=1e-24),
        batch_size=16,
        epochs=epochs,
    )


def _bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def test_run_learns_and_counts_its_steps():
    state, history = jax.jit(lambda *args: run(*args, epochs=20))(jax.random.key(0), 0.03, _classes())
    assert state.step == 120
    assert {name: values.shape for name, values in history.items()} == {"loss": (120,), "accuracy": (120,)}
    assert history["accuracy"][-6:].mean() > 0.95


def test_run_equals_a_loop_of_steps_bit_for_bit():
    data, optimizer = _classes(), optax.adam(0.01, eps_root=1e-24)
    whole, history = jax.jit(run)(jax.random.key(0), 0.01, data)
    state = training.init(jax.random.key(0), model=MODEL, optimizer=optimizer)
    step = training.step(gradients.plain(_loss_fn(MODEL)), optimizer)

    @jax.jit
    def one(state, data):
        return training.advance(jax.random.key(0), state, data, step=step, batch_size=16, n_steps=1)

    seen = []
    for _ in range(12):
        state, metric = one(state, data)
        seen.append(metric["loss"][0])
    assert _bits(state) == _bits(whole)
    assert _bits(history["loss"]) == _bits(jnp.stack(seen))


@pytest.mark.long
@pytest.mark.parametrize("cut", [1, 5, 6, 11])
def test_advance_in_chunks_equals_the_whole_bit_for_bit(cut):
    data, optimizer, model = _classes(), optax.adam(0.01), models.mlp(2, (8,), 3, dropout_rate=0.5, batch_norm=True)
    step = training.step(gradients.plain(_loss_fn(model)), optimizer)

    def advance(state, data, n_steps):
        return training.advance(jax.random.key(3), state, data, step=step, batch_size=16, n_steps=n_steps)

    advance = jax.jit(advance, static_argnames="n_steps")
    start = training.init(jax.random.key(3), model=model, optimizer=optimizer)
    whole, history = advance(start, data, n_steps=12)
    middle, first = advance(start, data, n_steps=cut)
    end, second = advance(middle, data, n_steps=12 - cut)
    assert _bits(end) == _bits(whole)
    assert _bits(history["loss"]) == _bits(jnp.concatenate([first["loss"], second["loss"]]))


@pytest.mark.long
def test_one_run_takes_every_transform():
    data = _classes()
    single_state, single = jax.jit(run)(jax.random.key(1), 0.01, data)

    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    seeds_state, seeds = jax.jit(jax.vmap(run, (0, None, None)))(keys, 0.01, data)
    rates_state, rates = jax.jit(jax.vmap(run, (None, 0, None)))(jax.random.key(1), jnp.array([0.003, 0.01, 0.1]), data)
    for swept_state, swept in ((seeds_state, seeds), (rates_state, rates)):
        # Batched matrix products sum in another order: a unit in the last place a step, over twelve steps.
        np.testing.assert_allclose(swept["loss"][1], single["loss"], rtol=1e-5)
        one = jax.tree.map(lambda leaf: leaf[1], swept_state.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, single_state.params)

    def last_loss(learning_rate):
        return run(jax.random.key(1), learning_rate, data)[1]["loss"][-1]

    reverse = jax.jit(jax.grad(last_loss))(0.01)
    value, forward = jax.jit(lambda rate: jax.jvp(last_loss, (rate,), (1.0,)))(0.01)
    np.testing.assert_allclose(reverse, forward, rtol=1e-4)  # float32, other order of sums
    assert np.isclose(value, single["loss"][-1], rtol=1e-5)
    with jax.enable_x64(True):
        wide = {"inputs": data["inputs"].astype(np.float64), "targets": data["targets"]}
        model = MODEL._replace(init=lambda key: jax.tree.map(lambda leaf: leaf.astype(float), MODEL.init(key)))
        rates = jnp.array([0.01 + 1e-6, 0.01 - 1e-6])
        losses_ = jax.vmap(lambda rate: run(jax.random.key(1), rate, wide, model=model)[1]["loss"][-1])(rates)
        central = float(losses_[0] - losses_[1]) / 2e-6
    # The run itself rounds in float32 where the derivative is taken: four digits are left after twelve steps.
    np.testing.assert_allclose(reverse, central, rtol=1e-3)


def test_run_is_lowered_for_cpu_cuda_and_tpu():
    data = {name: jax.ShapeDtypeStruct(values.shape, values.dtype) for name, values in _classes().items()}
    key = jax.eval_shape(lambda: jax.random.key(0))
    exported = export.export(jax.jit(run), platforms=["cpu", "cuda", "tpu"])(key, jnp.float32(0.01), data)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    state, _ = exported.call(jax.random.key(0), jnp.float32(0.01), _classes())
    direct, _ = jax.jit(run)(jax.random.key(0), jnp.float32(0.01), _classes())
    assert _bits(state) == _bits(direct)


@pytest.mark.long
def test_run_equals_eager():
    data = _classes(32)
    with jax.disable_jit():
        eager, _ = run(jax.random.key(0), 0.01, data, epochs=1)
    compiled, _ = jax.jit(run, static_argnames="epochs")(jax.random.key(0), 0.01, data, epochs=1)
    # Two steps of Adam, whose first step divides by the size of the gradient: rounding shows in the sixth digit.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), eager, compiled)


def test_run_compiles_once_over_learning_rates_and_seeds():
    traces = []

    @jax.jit
    def counted(key, learning_rate, data):
        traces.append(1)
        return run(key, learning_rate, data)

    for seed, rate in enumerate([0.1, 0.01, 0.001]):
        counted(jax.random.key(seed), rate, _classes())
    assert len(traces) == 1


def test_gradient_descent_solves_least_squares_as_its_closed_form_says(key):
    """After n steps of full-batch descent, theta_n = theta* + (1 - alpha h)^n (theta_0 - theta*)."""
    inputs = jnp.array([[1.0], [2.0], [3.0], [4.0]])
    data = {"inputs": inputs, "targets": 2.5 * inputs}
    curvature, rate = float(jnp.mean(inputs**2)), 0.02

    def loss_fn(params, model_state, batch, key):
        return jnp.mean(losses.half_squared_error(batch["inputs"] * params, batch["targets"])), ({}, model_state)

    rule = training.gradient_descent(rate)
    model = models.function(lambda key: jnp.zeros(()), lambda params, inputs: inputs * params)
    state = training.init(key, model=model, optimizer=rule)
    step = training.step(gradients.plain(loss_fn), rule)
    state, _ = training.advance(key, state, data, step=step, batch_size=4, n_steps=10)
    assert np.isclose(state.params, 2.5 * (1 - (1 - rate * curvature) ** 10), rtol=1e-5)


def test_gradient_descent_equals_optax_sgd():
    gradient, params = {"a": jnp.array([1.0, -2.0])}, {"a": jnp.array([3.0, 4.0])}
    ours, theirs = training.gradient_descent(0.1), optax.sgd(0.1)
    update, _ = ours.update(gradient, ours.init(params), params)
    expected, _ = theirs.update(gradient, theirs.init(params), params)
    assert _bits(update) == _bits(expected)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 96, 200])
def test_evaluate_does_not_depend_on_the_batch_size(batch_size):
    data = _classes()
    state = training.init(jax.random.key(0), model=MODEL, optimizer=optax.adam(0.1))
    chosen = {"accuracy": metrics.accuracy(), "f1": metrics.f1(average="macro"), "log_loss": metrics.log_loss()}
    outputs, _ = MODEL.apply(state.params, state.model_state, data["inputs"])
    values = training.evaluate(state, data, model=MODEL, metrics=chosen, batch_size=batch_size)
    for name, metric in chosen.items():
        np.testing.assert_allclose(values[name], metric(outputs, data["targets"]), rtol=1e-5)  # sums in another order


def test_evaluate_respects_weights():
    data = _classes()
    weights = (np.arange(96) < 40).astype(np.float32)
    state = training.init(jax.random.key(0), model=MODEL, optimizer=optax.adam(0.1))
    chosen = {"log_loss": metrics.log_loss()}
    masked = training.evaluate(state, {**data, "weights": weights}, model=MODEL, metrics=chosen, batch_size=32)
    cut = {name: values[:40] for name, values in data.items()}
    kept = training.evaluate(state, cut, model=MODEL, metrics=chosen, batch_size=40)
    np.testing.assert_allclose(masked["log_loss"], kept["log_loss"], rtol=1e-5)  # sums in another order


@pytest.mark.long
def test_supervised_masks_padded_examples(key):
    data = jax.tree.map(jnp.asarray, _classes(8))
    params, model_state = MODEL.init(key)
    weights = jnp.array([1.0] * 5 + [0.0] * 3)
    padded = {"inputs": data["inputs"].at[5:].set(1e6), "targets": data["targets"].at[5:].set(-1), "weights": weights}
    gradient, figures, _ = gradients.plain(_loss_fn(MODEL))(params, model_state, padded, jax.random.key(1))
    real = {name: values[:5] for name, values in data.items()}
    expected, kept, _ = gradients.plain(_loss_fn(MODEL))(params, model_state, real, jax.random.key(1))
    np.testing.assert_allclose(figures["loss"], kept["loss"], rtol=1e-6)
    np.testing.assert_allclose(figures["accuracy"], kept["accuracy"], rtol=1e-6)


def test_state_holds_arrays_alone():
    state = training.init(jax.random.key(0), model=MODEL, optimizer=optax.adam(0.1))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert state._fields == ("step", "params", "model_state", "opt_state")


def test_step_has_the_signature_of_a_step():
    step = training.step(gradients.plain(_loss_fn(MODEL)), optax.adam(0.1))
    assert list(inspect.signature(step).parameters) == ["state", "batch", "key"]


def test_advance_goes_on_into_the_next_epoch(key):
    """Twelve steps of an epoch of six see each example exactly twice."""
    data = {"inputs": jnp.arange(96.0)[:, None], "targets": jnp.zeros(96)}

    def watching(params, model_state, batch, key):
        return jnp.zeros(()), {"inputs": batch["inputs"][:, 0]}, model_state

    model = models.function(lambda key: jnp.zeros(()), lambda params, inputs: inputs)
    state = training.init(key, model=model, optimizer=optax.sgd(0.1))
    step = training.step(watching, optax.sgd(0.1))
    _, history = training.advance(key, state, data, step=step, batch_size=16, n_steps=12)
    assert np.array_equal(np.bincount(np.asarray(history["inputs"], int).ravel()), np.full(96, 2))
    assert sampling.steps_per_epoch(96, batch_size=16) == 6


@pytest.mark.raises
def test_run_refuses_arrays_that_differ_in_length():
    data = {**_classes(), "targets": np.zeros(95, np.int32)}
    with pytest.raises(ValueError, match=r"data must hold arrays with equal leading axes; got .*96.*95"):
        run(jax.random.key(0), 0.1, data)


@pytest.mark.raises
@pytest.mark.parametrize("epochs", [0, -1])
def test_run_refuses_no_epochs(epochs):
    with pytest.raises(ValueError, match="n_steps must be 1 or more; got"):
        run(jax.random.key(0), 0.1, _classes(), epochs=epochs)


@pytest.mark.raises
def test_run_refuses_a_batch_larger_than_the_data():
    with pytest.raises(ValueError, match="batch_size must be from 1 to the number of examples, 9; got 16"):
        run(jax.random.key(0), 0.1, _classes(9))


@pytest.mark.raises
def test_evaluate_refuses_empty_batches():
    state = training.init(jax.random.key(0), model=MODEL, optimizer=optax.adam(0.1))
    with pytest.raises(ValueError, match="batch_size must be 1 or more; got 0"):
        training.evaluate(state, _classes(), model=MODEL, metrics={}, batch_size=0)


def _guess(params, tokens):
    return jax.nn.one_hot(tokens, 5) @ params


def _loss_of(params, batch, *key, **settings):
    model = models.function(lambda key: jnp.eye(5), _guess)
    loss_fn = text.masked_language_model(model, n_tokens=4, mask_token=4, **settings)
    return loss_fn(params, {}, batch, *key)[0]


def test_masked_language_model_is_the_mean_over_the_chosen_and_no_others(key):
    tokens = jax.random.randint(key, (6, 30), 0, 4)
    params, weights = jax.random.normal(jax.random.key(1), (5, 5)), jnp.array([1.0, 2.0, 0.0, 1.0, 0.5, 3.0])
    of_mask = jax.random.split(jax.random.key(2))[0]
    hidden, asked = masking.masked_tokens(of_mask, tokens, n_tokens=4, mask_token=4, rate=0.3)
    entropies = [
        [-jax.nn.log_softmax(params[there])[what] if what >= 0 else None for there, what in zip(*row, strict=True)]
        for row in zip(hidden.tolist(), asked.tolist(), strict=True)
    ]
    plain = np.mean([one for row in entropies for one in row if one is not None])
    pairs = [(w, one) for w, row in zip(weights, entropies, strict=True) for one in row if one is not None]
    weighted = sum(w * one for w, one in pairs) / sum(w for w, _ in pairs)
    for batch, expected in (({}, plain), ({"weights": weights}, weighted)):
        loss = _loss_of(params, {"inputs": tokens, **batch}, jax.random.key(2), rate=0.3)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_masked_language_model_learns_nothing_where_nothing_is_hidden(key):
    loss, gradient = jax.value_and_grad(_loss_of)(jnp.eye(5), {"inputs": jnp.zeros((2, 3), int)}, key, rate=0.0)
    assert loss == 0 and not gradient.any()


def test_masked_language_model_leaves_padding_out(key):
    tokens = jnp.where(jnp.arange(30) < 20, jax.random.randint(key, (6, 30), 0, 3), 3)  # 3 fills up
    params = jnp.zeros((5, 5)).at[:, 3].set(9.0)  # always guesses padding: wrong, but where padding is asked

    def loss(**settings):
        return _loss_of(params, {"inputs": tokens}, jax.random.key(1), rate=0.9, **settings)

    np.testing.assert_allclose(loss(maskable=lambda tokens: tokens != 3), np.log(4 + np.exp(9)), rtol=1e-6)
    assert loss() < 7
    assert loss(maskable=lambda tokens: tokens < 0) == 0  # none may be hidden


def test_masked_language_model_cannot_be_evaluated():
    message = r"^key must be given, for tokens are hidden at random; got None\. Evaluate by another loss\.$"
    for key in ((), (None,)):
        with pytest.raises(ValueError, match=message):
            _loss_of(jnp.eye(5), {"inputs": jnp.zeros((2, 3), int)}, *key)


@pytest.mark.raises
def test_masked_language_model_refuses_an_array_of_what_may_be_hidden(key):
    with pytest.raises(ValueError, match=r"^maskable must be a function of the tokens; got ndarray\. Pass lambda"):
        _loss_of(jnp.eye(5), {"inputs": jnp.zeros((2, 3), int)}, key, maskable=np.ones((2, 3), bool))
    with pytest.raises(ValueError, match=r"^maskable must be bool of shape \(2, 3\); got bool of shape \(3,\)"):
        _loss_of(jnp.eye(5), {"inputs": jnp.zeros((2, 3), int)}, key, maskable=lambda tokens: tokens[0] > 0)

"""Private runs: the batches, the gradient and the accountant of one mechanism, in any run."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import execution, experiment, losses, metrics, models, privacy, training
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.privacy import Mechanism


@hyperparameters
class Settings:
    learning_rate: float = swept(0.3, "step size", above=0)
    batch_size: int = static(16, "examples per step", at_least=1)
    n_steps: int = static(12, "steps", at_least=1)


def mechanism_of(plan, n, *, secret=None):
    return Mechanism(
        noise_multiplier=1.0,
        clip=1.0,
        n_examples=n,
        batch_size=plan.batch_size,
        n_steps=plan.n_steps,
        delta=1e-5,
        secret=secret,
    )


def algorithm(h, card, plan, fitted, *, estimator=None):
    return training.supervised(
        models.mlp(4, (6,), 3),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=optax.adam(h.learning_rate),
        metrics={"accuracy": metrics.accuracy()},
        estimator=plan.estimator if estimator is None else estimator,
    )


def dataset(n=96):
    random = np.random.default_rng(0)
    inputs = random.normal(size=(n, 4)).astype(np.float32)
    part = {"inputs": inputs, "targets": inputs[:, :3].argmax(axis=1)}
    return Dataset(part, part, None, DataCard(name="classes", source="", feature_shape=(4,)))


def declared(algorithm=algorithm):
    return Experiment(question="Private?", hyperparameters=Settings(), algorithm=algorithm, source="classes")


@functools.cache
def private(n_micro_batches=1, secret=None):
    of = functools.partial(mechanism_of, secret=secret)
    return privacy.private_experiment(declared(), of, n_micro_batches=n_micro_batches)


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def program_of(experiment_, **options):
    return experiment.program(experiment_, dataset(), **options)


def test_a_private_run_samples_by_its_mechanism():
    planned = program_of(private()).plan(Settings())
    assert planned.poisson == mechanism_of(planned, 96).sampling and planned.sampling == planned.poisson
    assert (planned.batch_size, planned.n_steps) == (16, 12)


@pytest.mark.long
def test_private_runs_are_resumed_bit_for_bit():
    program, data, key = program_of(private(secret=(5, 6))), dataset().train, jax.random.key(0)
    whole, history = jax.jit(program.run)(key, Settings(), data)
    advance = jax.jit(program.advance, static_argnums=5)
    state = jax.jit(program.init)(key, Settings())
    for start, n_steps in ((0, 5), (5, 7)):
        state, part = advance(key, Settings(), state, data, start, n_steps)
        np.testing.assert_array_equal(part["gradient_norm"], history["gradient_norm"][start : start + n_steps])
    for one, other in zip(leaves(state), leaves(whole), strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_two_steps_or_seeds_share_their_noise():
    program, data = program_of(private()), dataset().train
    data = {"inputs": data["inputs"] * 0, "targets": data["targets"]}  # all steps clip the same two gradients
    run = jax.jit(jax.vmap(program.run, (0, None, None)))
    _, history = run(jax.random.split(jax.random.key(0), 3), Settings(), data)
    assert len(np.unique(history["gradient_norm"])) == 3 * 12


@pytest.mark.long
def test_runs_side_by_side_equal_single_ones():
    program, data, keys = program_of(private()), dataset().train, jax.random.split(jax.random.key(0), 2)
    several, _ = jax.jit(jax.vmap(program.run, (0, None, None)))(keys, Settings(), data)
    single, _ = jax.jit(program.run)(keys[1], Settings(), data)
    for one, other in zip(leaves(several), leaves(single), strict=True):
        np.testing.assert_allclose(
            one[1], other, atol=1e-5
        )  # as all vmapped runs: the last bits, over 12 steps of Adam


def test_micro_batches_change_rounding_alone():
    data, key = dataset().train, jax.random.key(0)
    whole, parts = (jax.jit(program_of(private(n)).run)(key, Settings(), data)[0] for n in (1, 5))
    for one, other in zip(leaves(whole), leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)  # sums in another order, over 12 steps of Adam


def test_the_secret_changes_the_whole_run():
    data, key = dataset().train, jax.random.key(0)
    one, other = (jax.jit(program_of(private(1, s)).run)(key, Settings(), data)[1] for s in ((5, 6), (5, 7)))
    assert (one["gradient_norm"] != other["gradient_norm"]).all()


@pytest.mark.long
def test_a_private_run_learns_and_is_executed():
    outcome = execution.execute(
        private(), dataclasses.replace(Settings(), n_steps=150), dataset(), seeds=[0, 1], evaluate_every=None
    )
    assert outcome.metrics["accuracy"].mean() > 0.7  # 0.33 by chance


def test_a_private_run_is_checked_before_training():
    execution.preflight(private(), Settings(), dataset(), seeds=[0])


@pytest.mark.long
def test_the_transformer_is_trained_privately():
    sizes = models.TransformerSizes(context=8, width=16, n_layers=1, n_heads=2)
    tokens = np.random.default_rng(0).integers(0, 11, (32, 9))
    mechanism = Mechanism(noise_multiplier=0.5, clip=1.0, n_examples=32, batch_size=8, n_steps=3, delta=1e-5)
    lm = training.supervised(
        models.decoder(11, sizes),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=training.gradient_descent(0.1),
        metrics={},
        estimator=lambda loss_fn: privacy.private(loss_fn, mechanism, n_micro_batches=2),
    )
    data = {"inputs": tokens[:, :-1], "targets": tokens[:, 1:]}
    plan = training.Plan(8, 3, poisson=mechanism.sampling)
    state, history = jax.jit(functools.partial(training.run, algorithm=lm, plan=plan))(jax.random.key(0), data)
    assert np.isfinite(history["gradient_norm"]).all()
    assert all(np.isfinite(leaf).all() for leaf in leaves(state.params))


def unused(h, card, plan, fitted):
    return algorithm(h, card, plan, fitted, estimator=experiment.gradients.plain)


def twice(h, card, plan, fitted):
    one = algorithm(h, card, plan, fitted)
    return one._replace(step=lambda state, batch, key: one.step(one.step(state, batch, key)[0], batch, key))


def augmenting(h, card, plan, fitted):
    one = algorithm(h, card, plan, fitted)
    return one._replace(
        step=lambda state, batch, key: one.step(
            state, {**batch, "inputs": batch["inputs"] - jnp.mean(batch["inputs"])}, key
        )
    )


def mixing(h, card, plan, fitted):
    one = algorithm(h, card, plan, fitted)
    return one._replace(
        step=lambda state, batch, key: one.step(state, jax.tree.map(lambda leaf: leaf[::-1], batch), key)
    )


def outside(h, card, plan, fitted):
    one = algorithm(h, card, plan, fitted)
    return one._replace(init=lambda key: one.step(one.init(key), {"inputs": jnp.ones((1, 4))}, key)[0])


def of_one_key(h, card, plan, fitted):
    one = algorithm(h, card, plan, fitted)
    return one._replace(step=lambda state, batch, key: one.step(state, batch, jax.random.key(7)))


def in_a_loop(h, card, plan, fitted):
    one = algorithm(h, card, plan, fitted)

    def step(state, batch, key):
        states, reported = jax.lax.scan(lambda state, _: one.step(state, batch, key), state, length=3)
        return states, jax.tree.map(lambda leaf: leaf[-1], reported)

    return one._replace(step=step)


def side_by_side(h, card, plan, fitted):
    one = algorithm(h, card, plan, fitted)

    def step(state, batch, key):
        states, reported = jax.vmap(lambda _: one.step(state, batch, key))(jnp.arange(2))
        return jax.tree.map(lambda leaf: leaf[0], (states, reported))

    return one._replace(step=step)


def compiled_twice(h, card, plan, fitted):
    """Returns an algorithm whose second call finds the compiled function of the first one."""
    one = algorithm(h, card, plan, fitted)

    def step(state, batch, key):
        moved = jax.jit(lambda state: one.step(state, batch, key))
        return moved(moved(state)[0])

    return one._replace(step=step)


def peeking(h, card, plan, fitted):
    """Returns an algorithm whose metrics and state depend on its batch directly."""
    one = algorithm(h, card, plan, fitted)

    def step(state, batch, key):
        state, _ = one.step(state, batch, key)
        seen = jnp.abs(batch["inputs"]).sum() + batch["weights"].sum()
        return state._replace(params=jax.tree.map(lambda leaf: leaf + seen, state.params)), {"seen": seen}

    return one._replace(step=step)


def test_an_algorithm_sees_nothing_of_a_private_batch_itself():
    key, data = jax.random.key(0), dataset().train
    peeked = privacy.private_experiment(declared(peeking), mechanism_of)
    state, history = jax.jit(program_of(peeked).run)(key, Settings(), data)
    expected, _ = jax.jit(program_of(private()).run)(key, Settings(), data)
    assert not history["seen"].any()
    for one, other in zip(leaves(state.params), leaves(expected.params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)  # another program


@pytest.mark.parametrize(
    "algorithm, message",
    [
        (unused, "experiment must use plan.estimator for --private; got an algorithm that does not call it."),
        (twice, "experiment must compute one gradient per step for --private; got 2, of which each would spend"),
        (augmenting, "batch must reach plan.estimator unchanged for --private, got another"),
        (mixing, "batch must reach plan.estimator unchanged for --private, got another"),
        (outside, "plan.estimator must be called in a step for --private, got a call outside. Call it in step."),
        (
            of_one_key,
            "key must reach plan.estimator unchanged for --private, got another: two steps with one key would",
        ),
        (
            in_a_loop,
            "plan.estimator must be called in the step itself for --private, got a call in a loop, a condition",
        ),
        (
            side_by_side,
            "plan.estimator must be called in the step itself for --private, got a call in a loop, a condition",
        ),
        (compiled_twice, "plan.estimator must be called in the step itself for --private, got a call in a loop"),
    ],
)
def test_private_experiment_refuses_other_algorithms(algorithm, message):
    wrong = privacy.private_experiment(declared(algorithm), mechanism_of, name="--private")
    with pytest.raises(ValueError, match=re.escape(message)):
        execution.preflight(wrong, Settings(), dataset(), seeds=[0])


def test_private_experiment_refuses_too_few_accounted_steps():
    few = privacy.private_experiment(declared(), lambda plan, n: mechanism_of(plan._replace(n_steps=3), n))
    with pytest.raises(ValueError, match="n_steps of the mechanism must be at least the 12 steps of the run, got 3"):
        program_of(few).plan(Settings())


def test_private_experiment_refuses_runs_without_data():
    with pytest.raises(ValueError, match="experiment must train on examples for private, got one without data"):
        private().replan(training.Plan(0, 5), 0)


def test_private_batches_must_fit_the_data_of_the_run():
    program = program_of(private())
    many = {name: np.concatenate([leaf, leaf[:1]]) for name, leaf in dataset().train.items()}
    with pytest.raises(ValueError, match="data must hold exactly the 96 examples that Poisson sampling was set up for"):
        program.run(jax.random.key(0), Settings(), many)


def test_settings_with_equal_seeds_share_no_noise_and_no_batch():
    """Equal gradients and noise would cancel in the difference of two models."""
    settings = [dataclasses.replace(Settings(), learning_rate=rate) for rate in (0.3, 0.6, 0.6)]
    keys = execution.stages.keys_of(private(), settings, dataset(), seeds=[0, 0, 1])
    assert len({jax.random.key_data(one).tobytes() for one in keys}) == 3
    (static,) = execution.stages.keys_of(
        private(), [dataclasses.replace(settings[0], batch_size=8)], dataset(), seeds=[0]
    )
    assert not (static == keys).any()
    smaller = execution.stages.keys_of(private(), settings, dataset(80), seeds=[0, 0, 1])
    assert not (smaller == keys).any()
    shared = execution.stages.keys_of(declared(), settings, dataset(), seeds=[0, 0, 1])
    assert shared[0] == shared[1]


def test_execute_all_draws_each_setting_independently():
    norms = []
    execution.execute_all(
        private(secret=(5, 6)),
        [
            Settings(),
            dataclasses.replace(Settings(), learning_rate=1e-9),
            dataclasses.replace(Settings(), learning_rate=2e-9),
        ],
        dataset(),
        seeds=[0],
        observe=lambda progress: norms.append(progress.metrics["gradient_norm"]),
    )
    frozen = np.concatenate(norms, axis=1)[1:]  # two settings whose parameters hardly move
    assert (np.abs(frozen[0] - frozen[1]) > 1e-4 * frozen[0]).all()


def test_a_private_run_has_no_derivative():
    program, data = program_of(private()), dataset().train

    def last(rate):
        settings = dataclasses.replace(Settings(), learning_rate=rate)
        return program.run(jax.random.key(0), settings, data)[1]["gradient_norm"][-1]

    with pytest.raises(
        ValueError, match="a run must not be differentiated for private, got a derivative of its gradient"
    ):
        jax.jvp(last, (0.3,), (1.0,))

"""An audit of whole runs stays below the claim of a sound mechanism, is near it, and exceeds that of each planted bug."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxresearch import experiment, gradients, losses, models, privacy, training
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.privacy import audit, canaries

DELTA = 1e-5
N = 64
N_RUNS = 500


@hyperparameters
class Settings:
    learning_rate: float = swept(0.1, "step size", above=0)
    batch_size: int = static(N, "examples per step", at_least=1)
    n_steps: int = static(8, "steps", at_least=1)


def mechanism_of(plan, n, *, epsilon):
    sizes = {"n_examples": n, "batch_size": plan.batch_size, "n_steps": plan.n_steps}
    return privacy.for_epsilon(epsilon=epsilon, delta=DELTA, clip=0.5, **sizes)


def algorithm(h, card, plan, fitted):
    return training.supervised(
        models.linear(3, 1),
        losses.half_squared_error,
        optimizer=training.gradient_descent(h.learning_rate),
        metrics={},
        estimator=plan.estimator,
    )


def dataset():
    inputs = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
    part = {"inputs": inputs, "targets": inputs @ np.array([[1.0], [2.0], [3.0]], np.float32)}
    return Dataset(part, part, None, DataCard(name="line", source="", feature_shape=(3,)))


def program_of(epsilon, *, n_canaries=1, private_of=privacy.private, algorithm=algorithm):
    declared = Experiment(question="Private?", hyperparameters=Settings(), algorithm=algorithm, source="line")
    of = functools.partial(mechanism_of, epsilon=epsilon)
    changed = canaries.with_canaries(declared, of, n_canaries=n_canaries, private_of=private_of)
    return experiment.program(changed, dataset())


def observations(program, settings, *, seed=0, n_runs=N_RUNS, view: canaries.View = "states"):
    """Returns what runs without and with the canary reveal."""

    def one(key, state, data, included):
        observed = functools.partial(canaries.evidence, program=program, hyperparameters=settings, view=view)
        return observed(key, state, data, included)[0]

    init_key, key = jax.random.split(jax.random.key(seed))
    state, keys = program.init(init_key, settings), jax.random.split(key, 2 * n_runs)
    included = (jnp.arange(2 * n_runs) >= n_runs)[:, None]
    found = jax.jit(jax.vmap(one, (0, None, None, 0)))(keys, state, dataset().train, included)
    return np.asarray(found[:n_runs]), np.asarray(found[n_runs:])


def audited(epsilon, *, batch_size=N, seed=0, view: canaries.View = "states", private_of=privacy.private):
    """Returns the bound from runs that claim an epsilon."""
    settings = Settings(batch_size=batch_size)
    program = program_of(epsilon, private_of=private_of)
    mechanism = mechanism_of(program.plan(settings), N, epsilon=epsilon)
    without, included = (
        canaries.scores(one, mechanism) for one in observations(program, settings, seed=seed, view=view)
    )
    return audit.many_runs(included, without, delta=DELTA, is_gaussian=batch_size == N)


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [N, 16])
@pytest.mark.parametrize("epsilon, least", [(1, 0), (3, 1), (8, 4)])
def test_a_sound_mechanism_is_bounded_below_its_claim(epsilon, least, batch_size):
    bound = audited(epsilon, batch_size=batch_size).epsilon
    assert (least if batch_size == N else 0) <= bound < epsilon


@pytest.mark.long
def test_the_final_model_alone_can_be_observed():
    assert (
        2 < audited(8, view="final").epsilon < 8
    )  # nearly as much, as the sum of the noise hides one sum of gradients


def silent(loss_fn, mechanism):
    return privacy.private(loss_fn, dataclasses.replace(mechanism, noise_multiplier=0.0))


def divided_twice(loss_fn, mechanism):
    noise = mechanism.noise_multiplier / mechanism.batch_size
    return privacy.private(loss_fn, dataclasses.replace(mechanism, noise_multiplier=noise))


def clipped_after_averaging(loss_fn, mechanism):
    """Clips the mean gradient and adds the noise that hides one clipped example in a mean."""
    std = mechanism.noise_multiplier * mechanism.clip / mechanism.batch_size

    def estimator(params, model_state, batch, key):
        example_key, noise_key = jax.random.split(key)

        def of_example(example):
            alone = jax.tree.map(lambda leaf: leaf[None], example)
            return jax.grad(lambda p: loss_fn(p, model_state, alone, example_key)[0])(params)

        examples = {name: entry for name, entry in batch.items() if name != "weights"}
        weights = batch["weights"] / mechanism.batch_size
        mean = jax.tree.map(lambda g: jnp.tensordot(weights, g, 1), jax.vmap(of_example)(examples))
        of_mean = gradients.clipped(lambda *_: (mean, {}, model_state), max_norm=mechanism.clip)
        flat, unravel = ravel_pytree(of_mean(params, model_state, batch, None)[0])
        return unravel(flat + std * jax.random.normal(noise_key, flat.shape)), {}, model_state

    return estimator


def of_one_key(loss_fn, mechanism):
    estimator = privacy.private(loss_fn, mechanism)
    return lambda params, model_state, batch, key: estimator(params, model_state, batch, jax.random.key(7))


# At 500 runs a side, an attack without errors shows 4.2, and in a trade-off curve of a Gaussian mechanism more than 20.
@pytest.mark.long
@pytest.mark.parametrize("epsilon, batch_size", [(8, N), (3, 16)])
@pytest.mark.parametrize("bug", [silent, divided_twice, clipped_after_averaging, of_one_key])
def test_a_planted_bug_exceeds_the_claim(bug, epsilon, batch_size):
    assert audited(epsilon, batch_size=batch_size, private_of=bug).epsilon > epsilon


def test_noise_that_repeats_in_all_steps_is_seen_between_them():
    mechanism = privacy.Mechanism(noise_multiplier=1.0, clip=1.0, n_examples=64, batch_size=16, n_steps=40, delta=DELTA)
    random = np.random.default_rng(0)
    noise = random.normal(size=(2, N_RUNS, 1)) * np.ones((2, N_RUNS, 40))
    noise[1] += random.random((N_RUNS, 40)) < mechanism.rate  # the steps in which the canary takes part
    without, included = canaries.scores(noise, mechanism)
    found = audit.many_runs(included, without, delta=DELTA)
    assert found.column == 1 and found.epsilon == audit.largest_bound(N_RUNS, delta=DELTA)


@pytest.mark.parametrize("batch_size", [N, 16])
def test_evidence_is_what_a_canary_adds_to_the_noise(batch_size):
    settings, program = Settings(batch_size=batch_size), program_of(8, n_canaries=4, private_of=silent)
    included = jnp.array([True, False, True, False])
    observed = functools.partial(canaries.evidence, program=program, hyperparameters=settings)
    state, key = program.init(jax.random.key(0), settings), jax.random.key(1)
    found = np.asarray(jax.jit(observed)(key, state, dataset().train, included))
    assert found.shape == (4, 8)
    takes_part = np.abs(found) > 0.5
    assert takes_part[[0, 2]].all() if batch_size == N else takes_part[[0, 2]].any() and not takes_part[[0, 2]].all()
    # Norms have a margin of 2^-14; sums of 64 clipped gradients are rounded in float32.
    np.testing.assert_allclose(found, takes_part * np.asarray(included)[:, None], atol=1e-4)


def test_noise_in_the_evidence_is_what_the_mechanism_declares():
    settings, program = Settings(), program_of(3)
    without, included = observations(program, settings, n_runs=200)
    sigma = mechanism_of(program.plan(settings), N, epsilon=3).noise_multiplier
    for found, mean in ((without, 0.0), (included, 1.0)):
        assert found.std() == pytest.approx(sigma, rel=0.08)  # 1,600 draws: 4.5 standard errors
        assert found.mean() == pytest.approx(mean, abs=4.5 * sigma / np.sqrt(found.size))


@pytest.mark.long
def test_one_run_with_many_canaries_is_bounded_below_its_claim():
    settings = Settings()
    for epsilon, private_of in ((8, privacy.private), (2, silent)):
        program = program_of(epsilon, n_canaries=4, private_of=private_of)
        mechanism, included = (
            mechanism_of(program.plan(settings), N, epsilon=epsilon),
            jnp.arange(200).reshape(50, 4) % 3 > 0,
        )

        def one(key, state, data, included, program=program):
            return canaries.evidence(key, state, data, included, program=program, hyperparameters=settings)

        state, keys = program.init(jax.random.key(0), settings), jax.random.split(jax.random.key(1), 50)
        found = jax.jit(jax.vmap(one, (0, None, None, 0)))(keys, state, dataset().train, included)
        scores = canaries.scores(np.asarray(found), mechanism)[..., 0].ravel()
        bound = audit.one_run(scores, np.asarray(included).ravel(), n_guesses=100, delta=DELTA).epsilon
        assert 0 < bound < 8 if private_of is privacy.private else bound > 2


def dropping(h, card, plan, fitted):
    one = algorithm(h, card, plan, fitted)
    return one._replace(step=lambda state, batch, key: (one.step(state, batch, key)[0], {}))


def of_a_tuple(h, card, plan, fitted):
    one = algorithm(h, card, plan, fitted)
    return one._replace(
        init=lambda key: tuple(one.init(key)),
        step=lambda state, batch, key: (lambda done: (tuple(done[0]), done[1]))(
            one.step(training.TrainState(*state), batch, key)
        ),
    )


@pytest.mark.parametrize(
    "wrong, view, n_canaries, message",
    [
        (
            dropping,
            "states",
            1,
            "experiment must report the metrics of plan.estimator for an audit, got an algorithm that",
        ),
        (of_a_tuple, "final", 1, "state must have params to observe the final model, got none. Observe the states."),
        (algorithm, "states", 5, "n_canaries must be at most 4, the number of parameters, got 5. Pass 4."),
    ],
)
def test_evidence_needs_what_the_experiment_reveals(wrong, view, n_canaries, message):
    program = program_of(8, algorithm=wrong, n_canaries=n_canaries)
    state = program.init(jax.random.key(0), Settings())
    with pytest.raises(ValueError, match=re.escape(message)):
        canaries.evidence(
            jax.random.key(1),
            state,
            dataset().train,
            jnp.ones(n_canaries, bool),
            program=program,
            hyperparameters=Settings(),
            view=view,
        )

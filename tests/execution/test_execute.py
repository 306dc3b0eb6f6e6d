"""Running experiments: few compilations, chunks that equal the whole, the test part read at the end."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import data, execution, experiment, losses, metrics, models, sweeps, training
from jaxresearch.algorithms import best_look, stopped
from jaxresearch.data import Streams
from jaxresearch.execution import Keeping, Start, compilation, provenance
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim
from jaxresearch.training import Algorithm

pytestmark = pytest.mark.usefixtures("unoptimized")

SEEDS = (0, 4, 7)


def carried_out(task, *, seeds=SEEDS, **options):
    """Returns the outcome of a task, and its progress."""
    seen = []
    outcome = execution.execute(*task, seeds=seeds, observe=seen.append, **options)
    return outcome, seen


@pytest.fixture(scope="module")
def plain(task, unoptimized):
    """The task without evaluation on validation data."""
    return carried_out(task)


@pytest.fixture(scope="module")
def looking(task, unoptimized):
    """The task, evaluated after 8, 16, 24 and 30 steps."""
    return carried_out(task, evaluate_every=8)


@pytest.fixture(scope="module")
def stopped_early(stopping, unoptimized):
    """Runs that stop early, evaluated as often; their intermediate states are kept."""
    kept = {}
    keeping = Keeping(lambda: True, lambda step, state: kept.update({step: jax.tree.map(np.array, state)}))
    return *carried_out(stopping, evaluate_every=8, keeping=keeping), kept


def test_chunks_that_share_a_reading_of_the_clock_are_marked(task, plain, monkeypatch):
    """All chunks end before they are seen, so the last one has the seconds of the one before."""
    module = importlib.import_module("jaxresearch.execution.execute")
    chunks = module._chunks
    monkeypatch.setattr(
        module, "_chunks", lambda *given: (chunk for chunk in map(jax.block_until_ready, chunks(*given)))
    )
    _, seen = carried_out(task)
    assert [progress.is_timed for progress in seen] == [True] * (len(plain[1]) - 1) + [False]
    kept = Keeping(lambda: True, lambda step, state: None)
    assert [progress.is_timed for progress in carried_out(task, keeping=kept)[1]][:3] == [True, True, True]


def whole(task, *, seed=0, evaluate_every=None):
    """Returns last state and history of a run as one function, compiled with the options that execution uses."""
    program = experiment.program(task.experiment, task.dataset, evaluate_every=evaluate_every)
    data = [task.dataset.train, *([task.dataset.validation] if evaluate_every else [])]
    args = jax.random.key(seed), task.settings, *data
    lowered = jax.jit(program.run).lower(*args)
    return lowered.compile(compilation.compiler_options(lowered))(*args)


def joined(seen, name="loss"):
    """Returns a metric of all steps, ``(runs, steps)``."""
    return np.concatenate([progress.metrics[name] for progress in seen], axis=1)


def test_execute_equals_single_runs(task, looking):
    program = experiment.program(task.experiment, task.dataset, evaluate_every=8)

    @jax.jit
    def single(key, parts):
        state, history = program.run(key, task.settings, parts["train"], parts["validation"])
        values = program.evaluate(key, task.settings, state, parts["test"])
        return state.params, history["validation/log_loss"], values["log_loss"], values["recall"]

    outcome, seen = looking
    looks = np.stack([progress.validation["log_loss"] for progress in seen if progress.validation], axis=1)
    made = outcome.state.params, looks, outcome.metrics["log_loss"], outcome.metrics["recall"]
    for i, seed in enumerate(SEEDS):
        expected = single(jax.random.key(seed), task.dataset.parts())
        one = jax.tree.map(lambda leaf, i=i: leaf[i], made)
        # Batched products sum in a different order, over thirty steps of Adam.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), one, expected)


@pytest.mark.usefixtures("optimized")
@pytest.mark.long
@pytest.mark.parametrize("evaluate_every", [None, 8])
def test_chunks_equal_the_whole_bit_for_bit(task, bits, evaluate_every):
    """A sweep of one run is the run itself."""
    outcome, seen = carried_out(task, seeds=[0], evaluate_every=evaluate_every)
    state, history = whole(task, evaluate_every=evaluate_every)
    assert bits(jax.tree.map(lambda leaf: leaf[0], outcome.state)) == bits(state)
    assert bits(joined(seen)) == bits(history["loss"])
    for name in ("log_loss", "recall") if evaluate_every else ():
        looks = np.concatenate([progress.validation[name] for progress in seen if progress.validation])
        assert bits(looks) == bits(history[f"validation/{name}"])


def test_looks_change_nothing_of_plain_training(plain, looking, bits):
    assert bits(plain[0].state) == bits(looking[0].state)
    assert bits(joined(plain[1])) == bits(joined(looking[1]))
    assert bits(plain[0].metrics) == bits(looking[0].metrics)


def test_progress_reports_chunks_and_looks(plain, looking):
    ends = execution.chunk_ends(30)
    for (outcome, seen), n_compilations in ((plain, 3), (looking, 4)):
        assert [progress.step for progress in seen] == [*ends]
        assert all(progress.n_steps == 30 and progress.steps_per_epoch == 10 for progress in seen)
        assert all(progress.metrics["loss"].shape == (3, 2) for progress in seen)
        assert outcome.n_compilations == n_compilations, "each stage once, for all seeds and chunks"
        assert set(outcome.seconds) == {"compile", "train", "evaluate"}
        assert all(seconds > 0 for seconds in outcome.seconds.values())
        assert (outcome.step, outcome.resumed_from) == (30, 0)
    assert [progress.step for progress in looking[1] if progress.validation] == [8, 16, 24, 30]
    assert looking[1][3].validation["recall"].shape == (3, 3)
    assert not any(progress.validation for progress in plain[1])


def test_execute_counts_the_examples_of_a_whole_batch(task):
    settings = dataclasses.replace(task.settings, batch_size=0, epochs=7)
    outcome, seen = carried_out(task._replace(settings=settings), seeds=[0, 1])
    assert [progress.n_examples for progress in seen] == [2 * 160 * step for step in range(1, 8)]
    assert outcome.examples_per_second == pytest.approx(2 * 160 * 7 / outcome.seconds["train"], rel=1e-6)


class Watched(dict):
    """A part of the data that records when it is read."""

    events: list = []

    def items(self):
        self.events.append("test")
        return super().items()

    def __getitem__(self, name):
        self.events.append("test")
        return super().__getitem__(name)


jax.tree_util.register_pytree_node(
    Watched,
    lambda part: (part.events.append("test") or list(part.values()), tuple(part)),
    lambda names, leaves: dict(zip(names, leaves, strict=True)),
)


def test_test_part_is_read_after_the_state_was_kept(stopping):
    """A failure after training comes when the state is saved."""
    events = Watched.events = []
    dataset = stopping.dataset._replace(test=Watched(stopping.dataset.test))
    execution.execute(
        *stopping._replace(dataset=dataset),
        seeds=SEEDS,
        evaluate_every=8,
        observe=lambda progress: events.append(progress.step),
        keeping=Keeping(lambda: False, lambda step, state: None, lambda step, state: events.append("end")),
    )
    steps = [event for event in events if isinstance(event, int)]
    assert events[: len(steps) + 1] == [*steps, "end"] and {*events[len(steps) + 1 :]} == {"test"}


def test_end_gets_the_outcome_and_may_fail(stopping, stopped_early, bits):
    def end(step, state):
        raise OSError(f"{step} {len(bits(state))}" if bits(state) == bits(stopped_early[0].state) else "another state")

    keeping = Keeping(lambda: False, lambda step, state: None, end)
    outcome = stopped_early[0]
    with pytest.raises(OSError, match=f"^{outcome.step} {len(bits(outcome.state))}$"):
        execution.execute(*stopping, seeds=SEEDS, evaluate_every=8, keeping=keeping)


@pytest.fixture(scope="module")
def of_whole(stopping):
    """Last states, outcomes and validation losses of the same runs, continued to their last step, even if done."""
    program = experiment.program(stopping.experiment, stopping.dataset, evaluate_every=8)

    def run(key):
        state, history = program.run(key, stopping.settings, stopping.dataset.train, stopping.dataset.validation)
        return state, program.algorithm(stopping.settings).outcome(state), history["validation/log_loss"]

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(sweeps.keys(SEEDS)))


def test_execute_ends_once_every_run_is_done(stopped_early, of_whole):
    """A run is done at its first evaluation without improvement."""
    outcome, seen, _ = stopped_early
    done_at = [next(i for i in range(1, 4) if row[i] >= row[:i].min()) for row in of_whole[2]]
    assert sorted(done_at) == [1, 2, 2], "the runs should end at different evaluations, and before the last one"
    assert outcome.step == seen[-1].step == 24 < 30
    assert best_look(outcome.state).tolist() == done_at  # the preceding evaluation, counted from 1


def test_early_stopping_evaluates_the_best_state(stopping, stopped_early, of_whole):
    """Steps after the end of a run change no outcome."""
    outcome, (_, outcomes, looks) = stopped_early[0], of_whole
    # Batched products sum in a different order, over some steps of Adam.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        outcome.state.inner.inner.params,
        outcomes.inner.inner.params,
    )
    np.testing.assert_allclose(outcome.state.best_value, looks[range(3), best_look(outcome.state) - 1], rtol=1e-5)
    looked = stopping._replace(dataset=stopping.dataset._replace(test=stopping.dataset.validation))
    again = execution.execute(*looked, seeds=SEEDS, evaluate_every=8)
    # The validation loss of the outcome is the best one; computed in another program.
    np.testing.assert_allclose(again.metrics["log_loss"], outcome.state.best_value, rtol=1e-6)


@pytest.mark.long
@pytest.mark.usefixtures("optimized")
def test_run_that_ends_early_equals_the_whole_bit_for_bit(stopping, bits):
    """The whole run still takes its last steps, with the outcome of the stopped run."""
    outcome, _ = carried_out(stopping, seeds=[0], evaluate_every=8)
    state, _ = whole(stopping, evaluate_every=8)
    expected = experiment.program(stopping.experiment, stopping.dataset).algorithm(stopping.settings).outcome(state)
    assert outcome.step == 24
    kept, of_whole = (one.inner for one in (outcome.state, expected))
    assert bits(jax.tree.map(lambda leaf: leaf[0], kept)) == bits(of_whole)


@pytest.mark.long
def test_early_stopping_resumes_bit_for_bit(stopping, stopped_early, bits):
    outcome, seen, kept = stopped_early
    assert [*kept] == [progress.step for progress in seen][:-1]  # after the last chunk the outcome follows
    for step in (6, 8):  # between two evaluations, and at one
        again, rest = carried_out(stopping, evaluate_every=8, start=Start(step, kept[step]))
        assert bits(again.state) == bits(outcome.state) and bits(again.metrics) == bits(outcome.metrics)
        assert again.resumed_from == step and rest[0].step == step + 2


def test_execute_from_an_outcome_evaluates_it(stopping, stopped_early, bits):
    outcome, _, _ = stopped_early
    state = jax.tree.map(np.array, outcome.state)
    again, seen = carried_out(stopping, evaluate_every=8, start=Start(outcome.step, state, ended=True))
    assert not seen and again.step == outcome.step and again.n_compilations == 3
    assert bits(again.state) == bits(outcome.state) and bits(again.metrics) == bits(outcome.metrics)


def test_run_of_a_prime_number_of_steps_resumes(task, bits):
    dataset = task.dataset._replace(train=jax.tree.map(lambda leaf: leaf[:16], task.dataset.train))
    task = task._replace(dataset=dataset, settings=dataclasses.replace(task.settings, epochs=101))
    kept = {}
    keeping = Keeping(lambda: True, lambda step, state: kept.update({step: jax.tree.map(np.array, state)}))
    outcome, seen = carried_out(task, seeds=[0], keeping=keeping)
    assert [*kept] == [*range(6, 97, 6)]  # not after the last chunk: the outcome follows
    assert outcome.n_compilations == 4 and seen[-1].metrics["loss"].shape == (1, 5)
    again, _ = carried_out(task, seeds=[0], start=Start(60, kept[60]))
    assert bits(again.state) == bits(outcome.state)


def test_kept_states_wait_for_nothing_that_is_not_due(task):
    asked, kept = [], []
    keeping = Keeping(lambda: asked.append(1) or len(asked) % 5 == 0, lambda step, state: kept.append(step))
    carried_out(task, keeping=keeping)
    assert len(asked) == 14 and kept == [10, 20]  # 15 chunks of two steps


def test_settings_side_by_side_are_the_program_of_one(task, bits):
    """Numbers stay weakly typed, so that low precision stays low: the parameters here are of 16 bits."""

    def halved(h, card, plan, fitted):
        model = models.linear(card.n_features, card.n_classes)
        narrow = model._replace(init=lambda key: jax.tree.map(lambda leaf: leaf.astype("bfloat16"), model.init(key)))
        return training.supervised(
            narrow,
            losses.softmax_cross_entropy_with_integer_labels,
            optimizer=optax.sgd(h.learning_rate, momentum=h.learning_rate),
            metrics={"log_loss": metrics.log_loss(), "recall": metrics.recall(average=None)},
        )

    of = dataclasses.replace(task.experiment, algorithm=halved)
    one = execution.execute(of, task.settings, task.dataset, seeds=[0, 1])
    (trial,) = execution.execute_all(of, [task.settings], task.dataset, seeds=[0, 1])
    assert one.state.params["Dense_0"]["kernel"].dtype == jnp.bfloat16
    assert bits(trial.metrics) == bits(one.metrics)


def test_execute_all_groups_settings_by_program(task, plain, bits):
    rates, seeds = (0.03, 3e38, 0.01), [0, 4]
    settings = [
        dataclasses.replace(task.settings, learning_rate=rate, batch_size=size)
        for rate, size in ((rates[0], 16), (rates[1], 16), (rates[2], 32))
    ]
    trials = execution.execute_all(task.experiment, settings, task.dataset, seeds=seeds)
    assert [trial.hyperparameters for trial in trials] == settings
    assert [trial.diverged for trial in trials] == [False, True, False]
    assert trials[0].metrics["recall"].shape == (2, 3)
    # A diverging run does not affect others: up to the order of sums, they equal single runs.
    np.testing.assert_allclose(trials[0].metrics["log_loss"], plain[0].metrics["log_loss"][:2], rtol=1e-3)


def test_execute_all_takes_seeds_of_each_setting(task, plain):
    faster = dataclasses.replace(task.settings, learning_rate=0.1)
    settings, seeds = [task.settings, faster, task.settings], [[0, 1], [0, 1], [2, 3]]
    first, other, again = execution.execute_all(task.experiment, settings, task.dataset, seeds=seeds)
    alone = execution.execute(task.experiment, task.settings, task.dataset, seeds=[2, 3])
    # Up to the order of sums, equal to single runs of these seeds.
    np.testing.assert_allclose(again.metrics["log_loss"], alone.metrics["log_loss"], rtol=1e-3)
    np.testing.assert_allclose(first.metrics["log_loss"][0], plain[0].metrics["log_loss"][0], rtol=1e-3)
    assert not np.allclose(first.metrics["log_loss"], again.metrics["log_loss"], rtol=1e-2)
    digests = provenance.digests(task.experiment, settings, task.dataset, seeds=seeds)
    assert digests[:2] == provenance.digests(task.experiment, settings[:2], task.dataset, seeds=[0, 1])
    assert len({*digests}) == 3
    with pytest.raises(
        ValueError, match="seeds must be the same number for each of 3 settings, got lists of 1, 2, 1. Pass one list"
    ):
        execution.execute_all(task.experiment, settings, task.dataset, seeds=[[0], [0, 1], [2]])


@hyperparameters
class Script:
    """Settings of an algorithm that counts."""

    slope: float = swept(1.0, "what its metric grows by in each step")
    limit: float = swept(100.0, "steps after which its state is no number")
    n_steps: int = static(12, "steps", at_least=1)


def _counting(h, card, plan, fitted):
    """Returns a state that grows by one each step, until it is nan."""

    def step(state, batch, key):
        after = jnp.where(state + 1 < h.limit, state + 1, jnp.nan)
        return after, {"loss": after}

    counting = Algorithm(lambda key: jnp.zeros(()), step, lambda state, data, key: {"value": h.slope * state})
    return stopped(counting, metric="value", patience=2)


COUNTING = Experiment(
    question="?",
    claim=Claim(text="", metric="test/value", about="these examples", at_most=1.0),
    hyperparameters=Script(),
    algorithm=_counting,
)


def test_execute_without_data():
    outcome, seen = carried_out((COUNTING, Script(), experiment.without_data(COUNTING)), evaluate_every=2)
    assert outcome.step == 6 and outcome.metrics["value"].tolist() == [2.0] * 3  # two evaluations after the best one
    assert best_look(outcome.state).tolist() == [1] * 3
    assert {(progress.steps_per_epoch, progress.n_examples) for progress in seen} == {(0, 0)}
    assert outcome.examples_per_second == 0


def test_sweep_judges_divergence_by_the_outcome():
    """A run that becomes nan after it is done has not diverged, even if others keep it running."""
    settings = [Script(), Script(limit=8.0), Script(limit=1.0), Script(slope=-1.0)]
    dataset = experiment.without_data(COUNTING)
    trials = execution.execute_all(COUNTING, settings, dataset, seeds=[0, 1], evaluate_every=2)
    assert [trial.metrics["value"].tolist() for trial in trials[:2]] == [[2.0, 2.0]] * 2  # of the first evaluation
    assert trials[3].metrics["value"].tolist() == [-12.0, -12.0]  # the last one: it improves to the end
    assert [trial.diverged for trial in trials] == [False, False, True, False]


def test_sweep_from_the_last_step_is_evaluated(task, plain, bits):
    """Diverged runs are marked although no step is left."""
    outcome, _ = plain
    broken = jax.tree.map(lambda leaf: leaf.at[1].set(np.nan), outcome.state.params)
    for params, diverged in ((outcome.state.params, False), (broken, True)):
        start = Start(30, outcome.state._replace(params=params))
        (trial,) = execution.execute_all(task.experiment, [task.settings], task.dataset, seeds=SEEDS, start=start)
        # The outcome comes from another program, which also gives influences: the last digit may differ.
        np.testing.assert_allclose(trial.metrics["log_loss"][0], outcome.metrics["log_loss"][0], rtol=1e-6)
        assert trial.diverged == diverged


@pytest.mark.long
def test_execute_trains_each_run_on_its_own_fold(task):
    """With separate validation parts."""
    collected = task.dataset._replace(validation=None)
    folded = [data.with_validation(data.fold(collected, place, n_folds=3), fraction=0.2) for place in range(3)]
    stacked = data.stacked(folded)
    outcome, seen = carried_out(task._replace(dataset=stacked), seeds=range(3), evaluate_every=0)
    assert outcome.n_compilations == 4
    looks = np.stack([progress.validation["log_loss"] for progress in seen if progress.validation], axis=1)
    assert [len(one.test["targets"]) for one in folded] == [70, 69, 69]  # so the others are padded
    for place in (0, 2):
        # Side by side, training parts are cut to the shortest.
        one = folded[place]._replace(train=data.take(folded[place].train, np.arange(stacked.n_train)))
        alone, of_alone = carried_out(task._replace(dataset=one), seeds=[place], evaluate_every=0)
        # Batched products sum in a different order, over some steps of Adam.
        np.testing.assert_allclose(outcome.metrics["log_loss"][place], alone.metrics["log_loss"][0], rtol=1e-3)
        of_alone = [progress.validation["log_loss"][0] for progress in of_alone if progress.validation]
        np.testing.assert_allclose(looks[place], of_alone, rtol=1e-3)


def _semi_supervised(h, card, plan, fitted):
    """Returns a linear model of labelled examples, whose outputs for the others are pulled towards zero."""
    model = models.linear(2, 3)

    def loss_fn(params, model_state, batch, key):
        outputs, _ = model.apply(params, model_state, batch["labelled"]["inputs"])
        others, _ = model.apply(params, model_state, batch["unlabelled"]["inputs"])
        loss = losses.softmax_cross_entropy_with_integer_labels(outputs, batch["labelled"]["targets"])
        return loss.mean() + 0.1 * (others**2).mean(), ({}, model_state)

    return training.gradient_based(
        model, loss_fn, optimizer=optax.sgd(h.learning_rate), metrics={"log_loss": metrics.log_loss()}
    )


def test_execute_on_streams_resumes_bit_for_bit(task, bits):
    train = task.dataset.train
    streams = Streams(labelled=jax.tree.map(lambda leaf: leaf[:50], train), unlabelled={"inputs": train["inputs"][50:]})
    of = dataclasses.replace(task.experiment, algorithm=_semi_supervised)
    streamed = task._replace(experiment=of, dataset=task.dataset._replace(train=streams))
    kept = {}
    keeping = Keeping(lambda: True, lambda step, state: kept.update({step: jax.tree.map(np.array, state)}))
    outcome, seen = carried_out(streamed, seeds=[0], keeping=keeping, evaluate_every=0)
    assert [progress.step for progress in seen if progress.validation] == [3, 6, 9]  # epochs of the first stream
    again, _ = carried_out(streamed, seeds=[0], evaluate_every=0, start=Start(4, kept[4]))
    assert bits(again.state) == bits(outcome.state) and bits(again.metrics) == bits(outcome.metrics)


def test_execute_compiles_weak_states_once():
    """A state of Python numbers would need a second program from the second chunk on."""

    def algorithm(h, card, plan, fitted):
        return Algorithm(
            lambda key: {"sum": 0.0, "n": 0},
            lambda state, batch, key: ({"sum": state["sum"] + h.limit, "n": state["n"] + 1}, {"n": 1.0}),
            lambda state, data, key: {"mean": state["sum"] / state["n"]},
        )

    of = dataclasses.replace(COUNTING, algorithm=algorithm)
    outcome, seen = carried_out((of, Script(), experiment.without_data(of)))
    assert outcome.metrics["mean"].tolist() == [100.0] * 3 and outcome.n_compilations == 3 and len(seen) == 12


def test_execute_refuses_settings_out_of_bounds(task):
    for changes, message in (
        ({"epochs": 0}, r"epochs \(.*\) must be at least 1, got 0"),
        ({"batch_size": 161}, "batch_size must be between 1 and 160, got 161"),
    ):
        with pytest.raises(ValueError, match=message):
            carried_out(task._replace(settings=dataclasses.replace(task.settings, **changes)))


def test_execute_refuses_nothing_to_do(task):
    with pytest.raises(ValueError, match="seeds must hold at least one number, got none"):
        carried_out(task, seeds=[])
    with pytest.raises(ValueError, match="seeds must hold at least one number, got none"):
        execution.execute_all(task.experiment, [task.settings], task.dataset, seeds=[])
    with pytest.raises(ValueError, match="settings must hold at least one, got none"):
        execution.execute_all(task.experiment, [], task.dataset, seeds=[0])


def test_execute_refuses_a_start_within_a_chunk(task, plain):
    with pytest.raises(ValueError, match=r"start must be at the end of a chunk \(0, 2, 4, .*, 30\), got step 1\."):
        carried_out(task, start=Start(1, plain[0].state))


def test_execute_all_refuses_a_start_for_several_groups(task, plain):
    settings = [task.settings, dataclasses.replace(task.settings, batch_size=32)]
    with pytest.raises(
        ValueError, match="settings must be one group to keep or resume a state, got 2 groups. Pass one of `groups`"
    ):
        execution.execute_all(task.experiment, settings, task.dataset, seeds=[0], start=Start(30, plain[0].state))


def test_execute_refuses_seeds_that_are_not_one_per_fold(task):
    folds = data.stacked([data.fold(task.dataset, place, n_folds=3) for place in range(3)])
    with pytest.raises(ValueError, match="seeds must be 3, one for each of the folds, got 2"):
        carried_out(task._replace(dataset=folds), seeds=range(2))


def test_execute_refuses_early_stopping_without_looks(stopping):
    with pytest.raises(
        ValueError, match="validation data must be given to an algorithm that reacts to it .*, got none"
    ):
        carried_out(stopping)


def test_execute_refuses_looks_without_validation_data(task):
    with pytest.raises(
        ValueError, match="dataset must have a validation part for evaluate_every, got none. Split one off with"
    ):
        carried_out(task._replace(dataset=task.dataset._replace(validation=None)), evaluate_every=0)


def test_execute_all_refuses_folds(task):
    folds = data.stacked([data.fold(task.dataset, place, n_folds=4) for place in range(4)])
    with pytest.raises(ValueError, match="dataset must have no folds for several settings, got 4"):
        execution.execute_all(task.experiment, [task.settings], folds, seeds=(0, 1, 2, 3))

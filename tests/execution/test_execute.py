"""One experiment carried out: one compilation, chunks that agree with the whole, the test part read at the end."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, execution, experiment, loading

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def task():
    def part(n):
        targets = (np.arange(n) % 3).astype(np.int32)
        noise = np.random.default_rng(0).normal(size=(n, 2))
        inputs = noise + 3 * np.stack([np.cos(targets * 2.1), np.sin(targets * 2.1)], 1)
        return {"inputs": inputs.astype(np.float32), "targets": targets}

    card = data.DataCard(name="a", source="b", class_names=("x", "y", "z"), feature_shape=(2,))
    mnist = loading.load("mnist", directory=EXPERIMENTS)
    settings = dataclasses.replace(mnist.hyperparameters, batch_size=16, epochs=3, hidden=(8,))
    return mnist, settings, data.Dataset(part(160), part(48), None, card)


@pytest.mark.long
def test_execute_equals_single_runs_of_the_program(task):
    mnist, settings, dataset = task
    outcome = execution.execute(mnist, settings, dataset, seeds=[0, 4, 7])
    program = experiment.program(mnist, dataset.card)
    for i, seed in enumerate([0, 4, 7]):
        state, _ = jax.jit(program.run)(jax.random.key(seed), settings, dataset.train)
        values = program.evaluate(settings, state, dataset.test)
        one = jax.tree.map(lambda leaf, i=i: leaf[i], outcome.state.params)
        # Batched products sum in another order, over thirty steps of Adam.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), one, state.params)
        np.testing.assert_allclose(outcome.metrics["log_loss"][i], values["log_loss"], rtol=1e-3)
    assert outcome.metrics["accuracy"].shape == (3,)


def test_execute_tells_its_progress_and_its_time(task):
    mnist, settings, dataset = task
    seen = []
    outcome = execution.execute(mnist, settings, dataset, seeds=[0, 1], observe=seen.append)
    ends = execution.chunk_ends(30)
    assert [progress.step for progress in seen] == [*ends]
    assert all(progress.n_steps == 30 and progress.steps_per_epoch == 10 for progress in seen)
    assert all(progress.metrics["loss"].shape == (2, ends[0]) for progress in seen)
    assert outcome.n_compilations == 3, "init, advance and evaluate: once each, for all seeds and chunks"
    assert set(outcome.seconds) == {"compile", "train", "evaluate"}
    assert all(seconds > 0 for seconds in outcome.seconds.values())
    assert outcome.state.step.tolist() == [30, 30]


def test_execute_counts_the_examples_of_a_whole_batch():
    house = loading.load("house_prices", directory=EXPERIMENTS)
    settings, seen = dataclasses.replace(house.hyperparameters, epochs=7), []
    dataset = house.preprocess(house.collect(house.source))
    outcome = execution.execute(house, settings, dataset, seeds=[0, 1], observe=seen.append)
    assert [progress.n_examples for progress in seen] == [2 * 2930 * step for step in range(1, 8)]
    assert outcome.examples_per_second == pytest.approx(2 * 2930 * 7 / outcome.seconds["train"], rel=1e-6)


def test_execute_reads_the_test_part_after_the_last_step(task):
    mnist, settings, dataset = task
    events = []

    class Watched(dict):
        """A part that tells when it is read."""

        def items(self):
            events.append("test")
            return super().items()

        def __getitem__(self, name):
            events.append("test")
            return super().__getitem__(name)

    jax.tree_util.register_pytree_node(
        Watched,
        lambda part: (events.append("test") or list(part.values()), tuple(part)),
        lambda names, leaves: dict(zip(names, leaves, strict=True)),
    )
    dataset = dataset._replace(test=Watched(dataset.test))
    execution.execute(mnist, settings, dataset, seeds=[0], observe=lambda progress: events.append(progress.step))
    assert "test" in events
    assert events.index("test") > events.index(30)


def test_chunks_are_of_one_length_but_for_the_last_and_neither_few_nor_many():
    for n_steps in [*range(1, 400), 9375, 8435, 10_007, 99_991]:
        ends = execution.chunk_ends(n_steps)
        lengths = np.diff([0, *ends])
        assert ends[-1] == n_steps and min(n_steps, 5) <= len(ends) <= 20
        assert len(set(lengths[:-1].tolist())) <= 1 and 0 < lengths[-1] <= lengths[0]


@pytest.mark.long
def test_a_run_of_a_prime_number_of_steps_is_looked_at_on_the_way_and_goes_on(task):
    mnist, settings, dataset = task
    dataset = dataset._replace(train={name: values[:16] for name, values in dataset.train.items()})
    settings = dataclasses.replace(settings, epochs=101, batch_size=16)
    kept, seen = {}, []
    keeping = execution.Keeping(lambda: True, lambda step, state: kept.update({step: jax.tree.map(np.array, state)}))
    whole = execution.execute(mnist, settings, dataset, seeds=[0, 1], keeping=keeping, observe=seen.append)
    assert list(kept) == list(range(6, 97, 6))  # not after the last chunk: the outcome follows
    assert whole.n_compilations == 4 and seen[-1].metrics["loss"].shape == (2, 5)
    again = execution.execute(mnist, settings, dataset, seeds=[0, 1], start=(60, kept[60]))
    jax.tree.map(np.testing.assert_array_equal, again.state, whole.state)


def test_execute_refuses_settings_out_of_bounds(task):
    mnist, settings, dataset = task
    with pytest.raises(ValueError, match="epochs must be at least 1; got 0"):
        execution.execute(mnist, dataclasses.replace(settings, epochs=0), dataset, seeds=[0])
    with pytest.raises(ValueError, match="batch_size must be from 1 to the number of examples, 160; got 161"):
        execution.execute(mnist, dataclasses.replace(settings, batch_size=161), dataset, seeds=[0])


@pytest.mark.parametrize(("seeds", "epochs", "message"), [([], 1, "seeds must hold at"), ([0], 0, "epochs must be")])
def test_execute_refuses_nothing_to_do(task, seeds, epochs, message):
    mnist, settings, dataset = task
    with pytest.raises(ValueError, match=message):
        execution.execute(mnist, dataclasses.replace(settings, epochs=epochs), dataset, seeds=seeds)


@pytest.mark.long
def test_settings_side_by_side_are_the_program_of_one_setting(task):
    """Numbers stay weakly typed, so that low precision stays low: the parameters here are of 16 bits."""
    import optax

    of, setting, dataset = task
    halved = dataclasses.replace(of, model=lambda h, card: _in_bfloat16(of.model(h, card)))
    halved = dataclasses.replace(halved, optimizer=lambda h, n: optax.sgd(h.learning_rate, momentum=h.learning_rate))
    one = execution.execute(halved, setting, dataset, seeds=[0, 1])
    (trial,) = execution.execute_all(halved, [setting], dataset, seeds=[0, 1])
    for name, values in one.metrics.items():
        np.testing.assert_array_equal(trial.metrics[name], values)


def _in_bfloat16(model):
    def init(key):
        params, state = model.init(key)
        return jax.tree.map(lambda leaf: leaf.astype("bfloat16"), params), state

    return model._replace(init=init)


def test_a_start_that_is_no_end_of_a_chunk_is_refused(task):
    of, setting, dataset = task
    like = execution.execute(of, setting, dataset, seeds=[0]).state
    with pytest.raises(ValueError, match="start must be a state at the end of a chunk"):
        execution.execute(of, setting, dataset, seeds=[0], start=(1, like))


@pytest.mark.long
def test_execute_trains_and_tests_each_run_on_its_own_fold(task):
    mnist, settings, dataset = task
    folded = [data.fold(dataset, place, n_folds=3) for place in range(3)]
    outcome = execution.execute(mnist, settings, data.stacked(folded), seeds=range(3))
    assert outcome.n_compilations == 3
    for place, one in enumerate(folded):
        alone = execution.execute(mnist, settings, one, seeds=[place])
        # Batched products sum in another order, over some steps of Adam.
        np.testing.assert_allclose(outcome.metrics["log_loss"][place], alone.metrics["log_loss"][0], rtol=1e-3)
    logits = execution.predict(mnist, settings, data.stacked(folded), outcome.state)
    hits = (logits.argmax(-1) == np.stack([one.test["targets"] for one in folded[:1]])).mean(axis=1)
    np.testing.assert_allclose(hits[0], outcome.metrics["accuracy"][0], atol=1e-6)


def test_execute_refuses_seeds_that_are_not_one_a_fold(task):
    mnist, settings, dataset = task
    folds = data.stacked([data.fold(dataset, place, n_folds=3) for place in range(3)])
    with pytest.raises(ValueError, match="seeds must be as many as the folds, 3; got 2"):
        execution.execute(mnist, settings, folds, seeds=range(2))


def test_a_sweep_from_a_state_of_the_last_step_is_evaluated_and_tells_what_diverged(task):
    of, setting, dataset = task
    whole = execution.execute(of, setting, dataset, seeds=[0, 1])
    broken = jax.tree.map(lambda leaf: leaf.at[1].set(np.nan), whole.state.params)
    for params, diverged in ((whole.state.params, False), (broken, True)):
        start = (30, whole.state._replace(params=params))
        (trial,) = execution.execute_all(of, [setting], dataset, seeds=[0, 1], start=start)
        np.testing.assert_array_equal(trial.metrics["log_loss"][0], whole.metrics["log_loss"][0])
        assert trial.diverged == diverged

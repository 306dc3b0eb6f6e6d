"""A run over rows on disk equals the run over the same rows in memory, bit for bit."""

import dataclasses
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import data, execution, losses, metrics, models, training
from jaxresearch.data import Dataset, Rows, Streams
from jaxresearch.execution import Feed, Keeping, Start, diagnosis, divergence, preflight, provenance, reading
from jaxresearch.training import Algorithm

SEEDS = (0, 4, 7)
FEEDS = [Feed(1, 1), Feed(16 * 8 * 3 * 2, 3), Feed(16 * 8 * 3 * 5, 2), Feed()]


class Source:
    """An array read one example at a time; counts reads, and may fail."""

    def __init__(self, values, fails_at=None):
        self.values, self.fails_at, self.n_read, self.lock = values, fails_at, 0, threading.Lock()

    def __len__(self):
        return len(self.values)

    def __getitem__(self, place):
        with self.lock:
            self.n_read += 1
        if self.fails_at is not None and self.n_read > self.fails_at:
            raise OSError("the disk is gone")
        return self.values[place]


def on_disk(dataset, *names, wrap=Source):
    """Returns the data with the inputs of these parts, or of all, on disk."""
    parts = dataset.parts()
    held = {name: parts[name] | {"inputs": Rows(wrap(parts[name]["inputs"]))} for name in names or parts}
    return dataset._replace(**held)


def carried_out(task, dataset, *, seeds=SEEDS, **options):
    """Returns the state of a run and its metrics: final, of all steps, and of evaluations."""
    seen = []
    outcome = execution.execute(task.experiment, task.settings, dataset, seeds=seeds, observe=seen.append, **options)
    steps = np.concatenate([progress.metrics["loss"] for progress in seen], axis=1)
    return outcome.state, outcome.metrics, steps, [progress.validation for progress in seen]


@pytest.fixture(scope="module")
def resident(task):
    """The task in memory, evaluated every 8 steps, compiled with the options of users."""
    return carried_out(task, task.dataset, evaluate_every=8)


@pytest.mark.parametrize("feed", [*(pytest.param(feed, marks=pytest.mark.long) for feed in FEEDS[:3]), FEEDS[3]])
def test_a_fed_run_is_the_resident_one_bit_for_bit(task, resident, bits, feed):
    fed = carried_out(task, on_disk(task.dataset), evaluate_every=8, feed=feed)
    for made, expected in zip(fed, resident, strict=True):
        assert bits(made) == bits(expected)


@pytest.mark.long
@pytest.mark.parametrize("seeds", [(3,), (3, 3), (5, 3, 5, 1)])
def test_seeds_that_repeat_are_fed_alike(task, bits, seeds):
    made = carried_out(task, on_disk(task.dataset), seeds=seeds, feed=Feed(2000, 2))
    assert bits(made) == bits(carried_out(task, task.dataset, seeds=seeds))


@pytest.mark.parametrize("names", [("train",), ("test",), ("validation", "test")])
def test_each_part_may_be_on_disk(task, resident, bits, names):
    made = carried_out(task, on_disk(task.dataset, *names), evaluate_every=8, feed=Feed(4000, 2))
    assert bits(made) == bits(resident)


@pytest.mark.long
def test_an_evaluation_in_pieces_is_the_resident_one(task, bits):
    """2,500 test examples are three pieces, of which the last is padded."""
    test = {name: np.resize(values, (2500, *values.shape[1:])) for name, values in task.dataset.test.items()}
    test["weights"] = np.linspace(0.5, 1, 2500, dtype=np.float32)
    dataset = task.dataset._replace(test=test)
    assert bits(carried_out(task, on_disk(dataset))) == bits(carried_out(task, dataset))


@pytest.mark.long
def test_runs_that_stop_early_are_fed(stopping, bits):
    made, expected = (
        carried_out(stopping, given, evaluate_every=8) for given in (on_disk(stopping.dataset), stopping.dataset)
    )
    assert bits(made) == bits(expected)


def folded(dataset, carve=False):
    """Returns three folds, each prepared on its own."""
    wholes = [data.fold(dataset, place, n_folds=3) for place in range(3)]
    wholes = [data.with_validation(one, fraction=0.2) for one in wholes] if carve else wholes
    return data.stacked([data.prepare(data.standard, one) for one in wholes])


@pytest.mark.long
@pytest.mark.parametrize("feed", [Feed(3000, 2), Feed()])
@pytest.mark.parametrize("n", [160, 60_000])
def test_folds_are_fed_rows_of_their_own(task, bits, feed, n):
    """Folds of 60,000 examples are larger than a vmapped group on a CPU."""
    parts = {
        name: data.map_arrays(lambda leaf: np.resize(leaf, (n, *leaf.shape[1:])), part)
        for name, part in {"train": task.dataset.train, "test": task.dataset.test}.items()
    }
    parts["train"]["inputs"] = parts["train"]["inputs"] + np.arange(n, dtype=np.float32)[:, None] / n
    settings = dataclasses.replace(task.settings, batch_size=16 if n < 1000 else 4000)
    task = task._replace(settings=settings)
    dataset = task.dataset._replace(**parts, validation=None)
    made, expected = folded(on_disk(dataset), n < 1000), folded(dataset, n < 1000)
    options = {"evaluate_every": 8 if n < 1000 else None, "feed": feed}
    assert isinstance(made.train["inputs"], Rows)
    if made.fitted:  # means of rows are summed in pieces, so fitted values may differ in the last digit
        made = made._replace(fitted=expected.fitted)
    assert bits(carried_out(task, made, **options)) == bits(carried_out(task, expected, **options))


@pytest.mark.long
def test_settings_share_what_is_read_for_a_seed(task, bits):
    settings = [dataclasses.replace(task.settings, learning_rate=rate) for rate in (0.01, 0.03, 0.1)]

    def trials(dataset, **options):
        made = execution.execute_all(task.experiment, settings, dataset, seeds=SEEDS, **options)
        return [trial.metrics for trial in made]

    given = on_disk(task.dataset, "train")
    given.train["inputs"].source.n_read = 0
    assert bits(trials(given, feed=Feed(5000, 2))) == bits(trials(task.dataset))
    assert given.train["inputs"].source.n_read == 30 * 16 * 3, "once for each seed, not for each setting"


@pytest.mark.long
def test_a_resumed_run_is_the_whole_one(task, resident, bits):
    kept = {}
    keeping = Keeping(lambda: True, lambda step, state: kept.update({step: jax.tree.map(np.array, state)}))
    given = on_disk(task.dataset)
    carried_out(task, given, evaluate_every=8, keeping=keeping, feed=Feed(3000, 2))
    for step in (8, 24):
        start = Start(step, kept[step])
        made = carried_out(task, given, evaluate_every=8, start=start, feed=Feed(7000, 1))
        assert bits(made[:2]) == bits(resident[:2])


def streams_task(task):
    """Returns a task of two streams, of which one reads images and numbers from disk."""

    def algorithm(h, card, plan, fitted):
        made = training.supervised(
            models.linear(2, 3),
            losses.softmax_cross_entropy_with_integer_labels,
            optimizer=optax.adam(h.learning_rate),
            metrics={"log_loss": metrics.log_loss()},
        )

        def step(state, batch, key):
            shifted = batch["labelled"]["inputs"] + 0.1 * batch["unlabelled"]["inputs"]["b"].mean(0, keepdims=True)
            return made.step(state, {**batch["labelled"], "inputs": shifted}, key)

        return made._replace(step=step)

    unlabelled = {"inputs": {"a": np.zeros(50, np.float32), "b": np.random.default_rng(3).normal(size=(50, 2))}}
    train = Streams(labelled=task.dataset.train, unlabelled=unlabelled)
    experiment = dataclasses.replace(task.experiment, algorithm=algorithm)
    return task._replace(experiment=experiment, dataset=task.dataset._replace(train=train, validation=None))


@pytest.mark.long
def test_streams_are_fed_each_in_its_order(task, bits):
    task = streams_task(task)
    labelled, unlabelled = task.dataset.train["labelled"], task.dataset.train["unlabelled"]["inputs"]
    train = Streams(
        labelled={**labelled, "inputs": Rows(Source(labelled["inputs"]))},
        unlabelled={"inputs": {"a": unlabelled["a"], "b": Rows(Source(unlabelled["b"]))}},
    )
    made = carried_out(task, task.dataset._replace(train=train), feed=Feed(9000, 2))
    assert bits(made) == bits(carried_out(task, task.dataset))


@pytest.mark.long
@pytest.mark.parametrize("hidden", [(32,), (512, 512)])
def test_networks_on_pixels_are_fed(task, bits, hidden):
    def algorithm(h, card, plan, fitted):
        return training.supervised(
            models.mlp(64, hidden, 3, dropout_rate=0.1),
            losses.softmax_cross_entropy_with_integer_labels,
            optimizer=optax.adam(h.learning_rate),
            metrics={"log_loss": metrics.log_loss(), "accuracy": metrics.accuracy()},
        )

    generator = np.random.default_rng(0)
    sizes = {"train": 160, "validation": 40, "test": 1300}
    parts = {
        name: {
            "inputs": generator.integers(0, 256, (n, 8, 8, 1), np.uint8),
            "targets": generator.integers(0, 3, n).astype(np.int32),
        }
        for name, n in sizes.items()
    }
    task = task._replace(experiment=dataclasses.replace(task.experiment, algorithm=algorithm))
    dataset = task.dataset._replace(**parts)
    made = carried_out(task, on_disk(dataset), evaluate_every=8, feed=Feed(9000, 2))
    assert bits(made) == bits(carried_out(task, dataset, evaluate_every=8))


@pytest.mark.parametrize("n_workers", [1, 3])
def test_what_a_reader_raises_ends_the_run(task, n_workers):
    given = on_disk(task.dataset, wrap=lambda values: Source(values, fails_at=500))
    before = threading.active_count()
    with pytest.raises(OSError, match="the disk is gone"):
        carried_out(task, given, feed=Feed(2000, n_workers))
    assert threading.active_count() == before, "no thread remains"


def test_what_observe_raises_leaves_no_thread(task):
    before = threading.active_count()

    def observe(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execution.execute(
            task.experiment, task.settings, on_disk(task.dataset), seeds=SEEDS, observe=observe, feed=Feed(2000)
        )
    for _ in range(100):
        if threading.active_count() == before:
            return
        time.sleep(0.02)
    pytest.fail("a thread is left")


def test_rows_are_read_while_the_device_computes():
    """The second piece is read before the first is taken from the consumer."""
    began = [threading.Event() for _ in range(3)]
    jobs = [lambda threads, event=event: event.set() for event in began]
    made = reading.ahead(jobs, n_workers=1)
    next(made)
    assert began[1].wait(5) and not began[2].is_set()
    made.close()


def test_piece_bytes_bound_a_piece(task):
    given = on_disk(task.dataset)
    keys, _ = reading.places_of(jax.vmap(jax.random.key)(jnp.arange(3)), axis=None)
    feed = Feed(piece_bytes=3 * 16 * 12 * 4)
    most = reading.longest_piece(given.train, axis=None, n_keys=3, batch_size=16, feed=feed)
    read = next(iter(reading.batches(keys, given.train, [most], 0, axis=None, batch_size=16)))
    with reading.ThreadPoolExecutor(2) as threads:
        piece = read(threads)
    assert most == 4 and sum(leaf.nbytes for leaf in jax.tree.leaves(piece.batches)) == feed.piece_bytes


@pytest.mark.parametrize(("feed", "name"), [(Feed(0), "piece_bytes"), (Feed(n_workers=0), "n_workers")])
def test_a_feed_out_of_range_is_refused(task, feed, name):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, got 0. Leave it out"):
        carried_out(task, on_disk(task.dataset), feed=feed)


def checked(task, dataset, **options):
    preflight(task.experiment, task.settings, dataset, seeds=SEEDS, **options)


def test_preflight_digests_blank_state_and_predict_take_rows(task, bits):
    given = on_disk(task.dataset)
    checked(task, given, evaluate_every=8, collected=given)
    first, second = (
        provenance.digests(task.experiment, [task.settings], one, seeds=SEEDS) for one in (given, on_disk(task.dataset))
    )
    assert first == second
    changed = on_disk(task.dataset)
    changed.train["inputs"].source.values = changed.train["inputs"].source.values.copy()
    changed.train["inputs"].source.values[3] += 1
    assert provenance.digests(task.experiment, [task.settings], changed, seeds=SEEDS) != first
    blank = execution.blank_state(task.experiment, task.settings, given, n_runs=3)
    assert jax.tree.map(lambda leaf: leaf.shape, blank) == jax.tree.map(
        lambda leaf: leaf.shape, execution.blank_state(task.experiment, task.settings, task.dataset, n_runs=3)
    )
    state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), blank)
    made, expected = (
        execution.predict(task.experiment, task.settings, one, state, batch_size=13) for one in (given, task.dataset)
    )
    np.testing.assert_allclose(made, expected, rtol=1e-6)  # the pieces are compiled apart


def test_differentiate_refuses_rows(task):
    with pytest.raises(ValueError, match="data must be in memory to be differentiated through, got rows on disk"):
        execution.differentiate(
            task.experiment, task.settings, on_disk(task.dataset, "test"), seeds=SEEDS, metric="log_loss"
        )


def replaced(task, **functions):
    """Returns the task with some functions of its algorithm replaced."""
    inner = task.experiment.algorithm
    experiment = dataclasses.replace(task.experiment, algorithm=lambda *a: inner(*a)._replace(**functions))
    return task._replace(experiment=experiment)


def test_an_algorithm_without_predict_is_refused_before_training(task):
    blind = replaced(task, predict=None)
    checked(blind, on_disk(task.dataset, "train"))
    for refused in (checked, carried_out):
        with pytest.raises(ValueError, match="algorithm must have predict to be evaluated on rows on disk, got none"):
            refused(blind, on_disk(task.dataset))


def test_an_evaluation_that_reads_inputs_is_refused_in_one_line(task):
    reading_inputs = replaced(task, evaluate=lambda s, part, key: {"log_loss": part["inputs"].sum()})
    checked(reading_inputs, on_disk(task.dataset, "train"))
    with pytest.raises(ValueError, match="evaluate must take outputs in place of inputs if the test part is on disk"):
        checked(reading_inputs, on_disk(task.dataset, "test"))


def test_rows_in_place_of_weights_are_refused_in_evaluation(task):
    given = on_disk(task.dataset)
    given.test["weights"] = Rows(Source(np.ones(len(given.test["targets"]), np.float32)))
    with pytest.raises(ValueError, match="rows on disk must be the inputs of a part to evaluate, got inputs, weights"):
        checked(task, given)


def test_an_algorithm_without_data_is_not_fed():
    assert not reading.is_on_disk({}) and not reading.is_on_disk(None)


@pytest.mark.long
@pytest.mark.parametrize("evaluate_every", [None, 8])
def test_diagnose_reads_the_batch_of_the_step(task, evaluate_every):
    inputs = task.dataset.train["inputs"].copy()
    inputs[21] = np.nan
    bad = task.dataset._replace(train={**task.dataset.train, "inputs": inputs})
    steps = carried_out(task, on_disk(bad), evaluate_every=evaluate_every)[2]
    run, step, _ = divergence.in_metrics({"loss": steps})[0]
    made, expected = (
        diagnosis.diagnose(
            task.experiment, task.settings, one, seeds=SEEDS, run=run, step=step, evaluate_every=evaluate_every
        )
        for one in (on_disk(bad), bad)
    )
    assert (made.step, made.leaf) == (expected.step, expected.leaf) == (step, "batch['inputs']")
    for one, other in zip(jax.tree.leaves(made.inputs), jax.tree.leaves(expected.inputs), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_metrics_of_no_step_are_fed(task, bits):
    """An algorithm whose steps report nothing."""
    inner = task.experiment.algorithm

    def silent(h, card, plan, fitted):
        made = inner(h, card, plan, fitted)
        return made._replace(step=lambda *given: (made.step(*given)[0], {}))

    experiment = dataclasses.replace(task.experiment, algorithm=silent)
    outcomes = [
        execution.execute(experiment, task.settings, one, seeds=SEEDS, feed=Feed(4000))
        for one in (on_disk(task.dataset), task.dataset)
    ]
    assert bits(outcomes[0].state) == bits(outcomes[1].state)


def test_a_fed_algorithm_needs_no_targets(bits, task):
    def step(state, batch, key):
        return 0.9 * state + 0.1 * batch["inputs"].mean(0), {"loss": state.sum()}

    mean = Algorithm(
        lambda key: jnp.zeros(2), step, lambda s, part, key: {"log_loss": s.sum()}, lambda state, inputs: inputs @ state
    )
    experiment = dataclasses.replace(task.experiment, algorithm=lambda *a: mean)
    task = task._replace(experiment=experiment)
    part = {"inputs": task.dataset.train["inputs"]}
    dataset = Dataset(part, part, None, task.dataset.card)
    assert bits(carried_out(task, on_disk(dataset))) == bits(carried_out(task, dataset))


@pytest.mark.long
def test_folds_on_disk_pass_through_every_stage(task, bits):
    values = task.dataset.train["inputs"].copy()
    values[5] = np.nan
    train = {**task.dataset.train, "inputs": values}
    whole = task.dataset._replace(train=train, validation=None)
    made, expected = (
        data.stacked([data.fold(one, place, n_folds=3) for place in range(3)]) for one in (on_disk(whole), whole)
    )
    checked(task, made)
    digests = [provenance.digests(task.experiment, [task.settings], one, seeds=SEEDS) for one in (made, expected)]
    assert len(digests[0][0]) == 64 and digests[0] != digests[1]
    steps = carried_out(task, made)[2]
    run, step, _ = divergence.in_metrics({"loss": steps})[0]
    found, other = (
        diagnosis.diagnose(task.experiment, task.settings, one, seeds=SEEDS, run=run, step=step)
        for one in (made, expected)
    )
    assert found.leaf == other.leaf == "batch['inputs']" and bits(found.inputs["batch"]) == bits(other.inputs["batch"])
    state = carried_out(task, expected)[0]
    outputs = [execution.predict(task.experiment, task.settings, one, state) for one in (made, expected)]
    np.testing.assert_allclose(*outputs, rtol=1e-6, atol=1e-6)  # the pieces are compiled apart

"""``recording.record``: runs from a notebook are saved, interrupted, resumed and read back as on the command line."""

import dataclasses
import json
import os
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import algorithms, execution, losses, metrics, models, recording, records, training
from jaxresearch.data import DataCard, Dataset, Preprocessor
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.records import MismatchError
from jaxresearch.records.encryption import Cipher
from jaxresearch.statistics import Claim


@hyperparameters
class Settings:
    learning_rate: float = swept(0.05, "step size", above=0)
    width: int = static(8, "hidden units")
    batch_size: int = static(8, "examples per step")
    epochs: int = static(6, "passes over the data")


def supervised(h, card, plan, fitted):
    return training.supervised(
        models.mlp(4, (h.width,), 3, dropout_rate=0.2),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=optax.adam(h.learning_rate),
        metrics={"accuracy": metrics.accuracy(), "log_loss": metrics.log_loss()},
        estimator=plan.estimator,
    )


EXPERIMENT = Experiment(
    question="Which side?",
    claim=Claim(text="accuracy of 0.5", metric="test/accuracy", about="these examples", at_least=0.5),
    hyperparameters=Settings(),
    algorithm=supervised,
    source="",
)
STOPPED = dataclasses.replace(
    EXPERIMENT,
    algorithm=lambda *args: algorithms.stopped(supervised(*args), metric="log_loss", patience=3),
    hyperparameters=Settings(epochs=60, learning_rate=0.03),
)
WATCHED = dataclasses.replace(  # stops early where there are looks; its data is as collected
    EXPERIMENT,
    algorithm=lambda *args: STOPPED.algorithm(*args) if args[2].evaluate_every else supervised(*args),
    preprocess=Preprocessor(),
)


def part(n, seed):
    inputs = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    return {"inputs": inputs, "targets": (inputs[:, 0] > 0).astype(np.int32) + (inputs[:, 1] > 1).astype(np.int32)}


@pytest.fixture(scope="module")
def dataset():
    card = DataCard(name="points", source="", feature_shape=(4,), class_names=("left", "right", "none"))
    return Dataset(part(40, 0), part(30, 1), part(20, 2), card)


def lines_of(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def record(directory, dataset, experiment=EXPERIMENT, **options):
    asked = {"seeds": (0, 5), "directory": directory, "evaluate_every": 0, **options}
    return recording.record(experiment, asked.pop("settings", experiment.hyperparameters), dataset, **asked)


def assert_same_states(one, other, experiment, dataset):
    like = execution.blank_state(experiment, experiment.hyperparameters, dataset, n_runs=2)
    found = [records.Checkpoints(path).restore(like) for path in (one, other)]
    assert found[0].step == found[1].step and found[0].about["ended"]
    jax.tree.map(np.testing.assert_array_equal, found[0].state, found[1].state)


def test_record_writes_a_directory_and_returns_its_record(dataset, tmp_path):
    seen = []
    recorded = record(tmp_path / "run", dataset, observe=seen.append)
    assert recorded.path == tmp_path / "run" and recorded.result["seeds"] == [0, 5]
    assert recorded.config["experiment"] == "notebook" and recorded.environment["seeds"] == [0, 5]
    assert recorded.result["claim"]["because"].endswith(
        "over 2 seeds, these 30 test examples; at least 5 seeds are needed to decide a claim"
    )
    assert (recorded.result["steps"], recorded.result["steps_per_epoch"]) == (30, 5)
    looks = [line for line in recorded.lines if "validation/log_loss" in line]
    assert [line["step"] for line in looks] == [5, 10, 15, 20, 25, 30]
    assert [progress.step for progress in seen] == [line["step"] for line in recorded.lines if "train/loss" in line]
    outcome = execution.execute(EXPERIMENT, Settings(), dataset, seeds=(0, 5), evaluate_every=0)
    np.testing.assert_array_equal(
        recorded.result["metrics"]["test/log_loss"]["values"],
        [float(str(value)) for value in outcome.metrics["log_loss"]],
    )


def test_record_of_a_finished_run_reads_it_back(dataset, tmp_path):
    first = record(tmp_path, dataset)
    with mock.patch.object(execution, "execute", side_effect=AssertionError):
        again = record(tmp_path, dataset)
    assert again.result == first.result


@pytest.mark.long
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_record_predicts(dataset, tmp_path, is_encrypted):
    if is_encrypted:
        pytest.importorskip("cryptography", reason="needs the extra privacy")
    cipher = Cipher(os.urandom(32)) if is_encrypted else None
    first, again = (record(tmp_path / "run", dataset, WATCHED, cipher=cipher) for _ in range(2))
    rows = dataset.test["inputs"]
    predicted = first.predict(rows)
    accuracy = (predicted.by_seed.argmax(axis=-1) == dataset.test["targets"]).mean(axis=1)
    np.testing.assert_allclose(accuracy, [*first.values("test/accuracy").values()], atol=1e-6)  # of float32
    np.testing.assert_array_equal(again.predict(rows, seeds=[5]).by_seed, predicted.by_seed[1:])


def test_predictions_compile_once_and_ask_the_chosen_seeds_alone(dataset, tmp_path):
    traced, asked = [], []

    def algorithm(*args):
        made = supervised(*args)
        return made._replace(predict=lambda state, inputs: traced.append(1) or made.predict(state, inputs))

    model = record(tmp_path, dataset, dataclasses.replace(WATCHED, algorithm=algorithm)).model
    counted = model._replace(outputs_fn=lambda *args: asked.append(1) or model.outputs_fn(*args))
    traced.clear()
    for seeds, n_calls in ((None, 4), ([5], 2), ([0], 2)):
        asked.clear()
        counted.predict(np.zeros((200, 4), np.float32), seeds=seeds)  # in two pieces
        assert len(asked) == n_calls
    assert len(traced) == 1


@pytest.mark.long
@pytest.mark.parametrize("experiment", [EXPERIMENT, STOPPED], ids=["plain", "stopped"])
@pytest.mark.parametrize("n_chunks", [1, 4])
def test_record_resumes_bit_for_bit(dataset, tmp_path, experiment, n_chunks):
    left = [n_chunks]

    def interrupted():
        left[0] -= 1
        return left[0] < 0

    whole = record(tmp_path / "whole", dataset, experiment)
    with pytest.raises(recording.Interrupted):
        record(tmp_path / "cut", dataset, experiment, interrupted=interrupted)
    saved = records.Checkpoints(tmp_path / "cut").steps()
    cut = record(tmp_path / "cut", dataset, experiment)
    assert cut.result["resumed_from"] == saved[0] > 0
    for name in ("metrics", "steps", "best_step", "claim"):
        assert cut.result[name] == whole.result[name]
    plain = [{**line, "seconds": None} for line in lines_of(tmp_path / "cut")]
    assert plain == [{**line, "seconds": None} for line in lines_of(tmp_path / "whole")]
    assert_same_states(tmp_path / "cut", tmp_path / "whole", experiment, dataset)


@pytest.mark.long
def test_record_gives_the_best_step_of_each_seed(dataset, tmp_path):
    recorded = record(tmp_path, dataset, STOPPED, evaluate_every=7)
    looks = np.array([line["validation/log_loss"] for line in recorded.lines if "validation/log_loss" in line])
    assert recorded.result["steps"] == 7 * len(looks) < 300
    for seed, best in enumerate(recorded.result["best_step"]):
        assert looks[: best // 7 + 3, seed].argmin() == best // 7 - 1
    assert record(tmp_path / "plain", dataset).result["best_step"] is None


def test_the_outcome_is_on_disk_if_the_result_cannot_be_written(dataset, tmp_path):
    write = records.RunDirectory.write

    def failing(self, name, content):
        if name == "result.json":
            raise OSError(28, os.strerror(28))
        write(self, name, content)

    with mock.patch.object(records.RunDirectory, "write", failing):
        with pytest.raises(
            OSError, match="No space left on device.*; step 30 is safe; resume with: jaxresearch resume"
        ):
            record(tmp_path, dataset)
    seen = []
    recorded = record(tmp_path, dataset, observe=seen.append)
    assert seen == [] and recorded.result["resumed_from"] == 30


def test_a_result_is_not_lost_with_the_final_state(dataset, tmp_path):
    """The disk is full at the end: the error holds the results, which are also on disk, and the run can be resumed."""
    full = records.CheckpointError("step 30 could not be saved: No space left on device")
    with mock.patch.object(records.Checkpoints, "write", side_effect=full):
        with pytest.raises(recording.UnwrittenError) as caught:
            record(tmp_path, dataset)
    assert str(caught.value) == (
        f"{tmp_path} could not be read or written (step 30 could not be saved: No space left on device; the result is in "
        "result-unsaved.json); no step was saved"
    )
    assert not (tmp_path / "result.json").exists()
    unsaved = json.loads((tmp_path / "result-unsaved.json").read_text())
    whole = record(tmp_path, dataset)
    assert whole.result["metrics"] == unsaved["metrics"] and not (tmp_path / "result-unsaved.json").exists()
    values = caught.value.result["metrics"]["test/accuracy"]["values"]
    np.testing.assert_allclose(values, whole.result["metrics"]["test/accuracy"]["values"], rtol=1e-6)  # as written


def test_examples_that_cannot_be_written_cost_no_result(dataset, tmp_path):
    with mock.patch.object(records.RunDirectory, "write_arrays", side_effect=OSError(28, os.strerror(28))):
        with pytest.raises(recording.UnwrittenError, match="the result is in result-unsaved.json.; step 30 is safe"):
            record(tmp_path, dataset)
    assert record(tmp_path, dataset).examples()


def test_an_evaluation_may_be_fixed_before_the_run_is_resumed(dataset, tmp_path):
    with mock.patch.object(recording.notebook, "result_of", side_effect=RuntimeError("out of memory")):
        with pytest.raises(RuntimeError, match="out of memory"):
            record(tmp_path, dataset)

    def other(*args):
        made = supervised(*args)
        return made._replace(evaluate=lambda *args: {"accuracy": made.evaluate(*args)["accuracy"]})

    recorded = record(tmp_path, dataset, dataclasses.replace(EXPERIMENT, algorithm=other))
    assert recorded.result["metrics"].keys() == {"test/accuracy"} and recorded.result["resumed_from"] == 30


def test_another_program_is_refused_on_the_way(dataset, tmp_path):
    with pytest.raises(recording.Interrupted):
        record(tmp_path, dataset, interrupted=lambda: True)
    other = dataclasses.replace(EXPERIMENT, algorithm=lambda *args: algorithms.skipping(supervised(*args)))
    with pytest.raises(
        ValueError, match="the program of the experiment has changed since step [0-9]+ of .*Restore it, rerun"
    ):
        record(tmp_path, dataset, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"settings": Settings(width=9)},
            r"holds another run; these settings differ: --width \(8 on record, 9 now\)",
        ),
        (
            {"seeds": (0, 6)},
            r"these settings differ: --seeds \(\[0, 5\] on record, \[0, 6\] now\). Name another with",
        ),
        ({"evaluate_every": 3}, r"these settings differ: --evaluate-every \(0 on record, 3 now\)"),
        ({"name": "other"}, r"holds a run of notebook, not a run of other. Name another with --directory."),
        ({"cipher": Cipher(bytes(32))}, r"these settings differ: --encrypt-with \(None on record, cipher now\)"),
    ],
)
def test_a_directory_of_another_run_is_refused(dataset, tmp_path, changes, message):
    with pytest.raises(recording.Interrupted):
        record(tmp_path, dataset, interrupted=lambda: True)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(ValueError, match=message):
        record(tmp_path, dataset, **changes)
    assert (tmp_path / "config.json").read_text() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": Settings(learning_rate=-1.0)}, r"learning_rate \(.*\) must be above 0"),
        ({"settings": Settings(batch_size=41)}, "batch_size must be between 1 and 40, got 41"),
        ({"experiment": STOPPED, "evaluate_every": None}, "validation data must be given to an algorithm that reacts"),
        ({"init_from": "nowhere"}, "nowhere does not exist. Correct the path."),
        ({"track": ["paper"]}, "paper"),
    ],
)
def test_a_run_that_cannot_start_leaves_nothing_behind(dataset, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        record(tmp_path / "run", dataset, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_run_failing_before_its_first_chunk_leaves_nothing(dataset, tmp_path):
    with mock.patch.object(execution, "execute", side_effect=MemoryError("no room")):
        with pytest.raises(MemoryError):
            record(tmp_path / "run", dataset)
    assert list(tmp_path.iterdir()) == []
    assert record(tmp_path / "run", dataset).result["steps"] == 30  # and is not locked


@pytest.mark.long
def test_states_are_encrypted_with_a_cipher(dataset, tmp_path):
    pytest.importorskip("cryptography", reason="needs the extra privacy")
    cipher = Cipher(os.urandom(32))
    with pytest.raises(recording.Interrupted):
        record(tmp_path, dataset, cipher=cipher, interrupted=lambda: True)
    with pytest.raises(MismatchError, match="was encrypted with another key. Pass the key it was saved with."):
        record(tmp_path, dataset, cipher=Cipher(os.urandom(32)))
    recorded = record(tmp_path, dataset, cipher=cipher)
    assert recorded.result["resumed_from"] > 0
    assert {path.suffix for path in tmp_path.glob("checkpoints/*/arrays/*")} == {".sealed"}


def poisoned(*args):
    """Returns an algorithm whose loss is infinite for batches with a marked example."""
    made = supervised(*args)

    def step(state, batch, key):
        state, values = made.step(state, batch, key)
        is_marked = (batch["inputs"] == 0).any()
        return state, {**values, "loss": jnp.where(is_marked, jnp.inf, values["loss"])}

    return made._replace(step=step)


POISONED = dataclasses.replace(EXPERIMENT, algorithm=poisoned)


@pytest.fixture(scope="module")
def marked(dataset):
    train = {**dataset.train, "inputs": dataset.train["inputs"].copy()}
    train["inputs"][3] = 0
    return dataset._replace(train=train)


@pytest.mark.long
def test_a_loss_that_is_not_finite_is_explained(marked, tmp_path):
    message = (
        r"loss of seed [05] is not finite in step ([1-5]); the first bad array is metrics\['loss'\] in step \1, whose inputs "
        r"are in "
        r".*nonfinite.npz. Lower the learning rate, clip the gradient, or pass --on-nonfinite skip."
    )
    with pytest.raises(recording.NonFiniteError, match=message) as caught:
        record(tmp_path, marked, POISONED)
    with np.load(tmp_path / "nonfinite.npz", allow_pickle=False) as inputs:
        assert (inputs["['batch']['inputs']"] == 0).any()
    assert caught.value.metric == "loss" and caught.value.step < 5


@pytest.mark.long
def test_skipped_steps_are_events_of_each_seed(marked, tmp_path):
    recorded = record(tmp_path, marked, POISONED, on_nonfinite="skip", save_every=0)
    events = recorded.result["nonfinite"]
    assert {event["seed"] for event in events} == {0, 5} and {event["done"] for event in events} == {"skip"}
    assert sum(event["n_steps"] for event in events) == 2 * 6  # the example is seen once per epoch
    assert recorded.result["metrics"]["test/accuracy"]["mean"] > 0.4


@pytest.mark.long
def test_a_run_starts_from_the_first_seed_of_another(dataset, tmp_path):
    first = record(tmp_path / "first", dataset)
    still = dataclasses.replace(EXPERIMENT, hyperparameters=Settings(learning_rate=1e-30, epochs=1))
    second = record(tmp_path / "second", dataset, still, init_from=tmp_path / "first")
    values = first.result["metrics"]["test/log_loss"]["values"]
    assert second.result["metrics"]["test/log_loss"]["values"] == [values[0]] * 2
    assert second.result["claim"]["because"] == "the run started from the parameters of another"
    stopped = dataclasses.replace(STOPPED, hyperparameters=Settings(learning_rate=1e-30, epochs=2))
    third = record(tmp_path / "third", dataset, stopped, init_from=tmp_path / "first")
    assert third.result["metrics"]["test/log_loss"]["values"] == [values[0]] * 2
    fourth = record(tmp_path / "fourth", dataset, still, init_from=tmp_path / "third")  # whose params are nested
    assert fourth.result["metrics"]["test/log_loss"]["values"] == [values[0]] * 2
    wide = dataclasses.replace(EXPERIMENT, hyperparameters=Settings(width=4))
    with pytest.raises(ValueError, match="must fit the model; .* was run with --width 8. Pass the same.$"):
        record(tmp_path / "fifth", dataset, wide, init_from=tmp_path / "first")
    assert not (tmp_path / "fifth").exists()


def test_vector_metrics_are_nested_lists(dataset, tmp_path):
    def vectors(*args):
        made = supervised(*args)
        return made._replace(
            evaluate=lambda state, data, key: {**made.evaluate(state, data, key), "recall": jnp.arange(3.0) / 4}
        )

    recorded = record(tmp_path, dataset, dataclasses.replace(EXPERIMENT, algorithm=vectors))
    summary = recorded.result["metrics"]["test/recall"]
    assert summary["values"] == [[0.0, 0.25, 0.5]] * 2 and summary["mean"] == [0.0, 0.25, 0.5]
    assert recorded.lines[-1]["validation/recall"] == [[0.0, 0.25, 0.5]] * 2


def test_record_of_another_program_is_not_read_back(dataset, tmp_path):
    record(tmp_path, dataset)
    assert record(tmp_path, dataset).result["metrics"]  # the same run, read back
    other = dataset._replace(test={**dataset.test, "inputs": -dataset.test["inputs"]})
    with pytest.raises(ValueError, match="has ended with another program or other data. Name another directory"):
        record(tmp_path, other)

"""Declaring an experiment: its required parts, the length of its runs, and its program of pure functions."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import experiment, gradients, losses, metrics, models, training, variants
from jaxresearch.algorithms import stopped
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim
from jaxresearch.training import Algorithm, Plan


@hyperparameters
class Settings:
    """Settings of the tests."""

    learning_rate: float = swept(0.01, "step size", above=0)
    batch_size: int = static(8, "examples per step; 0 for all", at_least=0)
    epochs: int = static(2, "passes", at_least=1)


@hyperparameters
class Steps:
    """Settings that count steps, of an algorithm without data."""

    rate: float = swept(0.5, "what is added by each step")
    n_steps: int = static(7, "steps of the run", at_least=1)


def algorithm(h, card, plan, fitted):
    """Returns a small classifier that stops early if it is evaluated."""
    assert fitted == {}
    return stopped(
        training.supervised(
            models.mlp(card.n_features, (4,), card.n_classes, dropout_rate=0.1),
            losses.softmax_cross_entropy_with_integer_labels,
            optimizer=optax.adam(h.learning_rate * (1 - 1 / plan.n_steps), eps_root=1e-24),
            metrics={"accuracy": metrics.accuracy(), "log_loss": metrics.log_loss()},
            estimator=plan.estimator,
        ),
        metric="log_loss",
        patience=2,
    )


def counting(h, card, plan, fitted):
    """Returns an algorithm without data, whose state is a sum."""
    return Algorithm(
        lambda key: jnp.zeros(()),
        lambda state, batch, key: (state + h.rate, {"state": state}),
        lambda state, data, key: {"state": state},
    )


CLAIM = Claim(text="half", metric="test/accuracy", about="these examples", at_least=0.5)
DECLARED = Experiment(question="Classes?", claim=CLAIM, hyperparameters=Settings(), source="none", algorithm=algorithm)
COUNTING = Experiment(question="A sum?", claim=CLAIM, hyperparameters=Steps(), algorithm=counting)


def part(n, seed=0):
    """Returns examples of two classes."""
    targets = (np.arange(n) % 2).astype(np.int32)
    inputs = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32) + targets[:, None]
    return {"inputs": inputs, "targets": targets}


CARD = DataCard(name="a", source="b", class_names=("x", "y"), feature_shape=(3,))
DATASET = Dataset(part(32), part(20, 1), part(12, 2), CARD)


def bits(tree):
    """Returns the bytes of every array."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.long
def test_program_in_pieces_equals_the_whole_bit_for_bit():
    """With evaluations on validation data that decide the outcome."""
    program, h = experiment.program(DECLARED, DATASET, evaluate_every=3), Settings()
    plan = program.plan(h)
    assert (plan.batch_size, plan.n_steps, plan.evaluate_every) == (8, 8, 3)

    @jax.jit
    def whole(key, h, parts):
        return program.run(key, h, parts["train"], parts["validation"])

    @jax.jit
    def in_pieces(key, h, parts):
        state, history, looks = program.init(key, h), [], []
        for made, n_steps in ((0, 3), (3, 3), (6, 2)):
            state, of_steps = program.advance(key, h, state, parts["train"], made, n_steps)
            state, seen = program.look(key, h, state, parts["validation"], made + n_steps)
            history.append(of_steps["loss"])
            looks.append(seen["log_loss"])
        return state, jnp.concatenate(history), jnp.stack(looks)

    state, history = whole(jax.random.key(0), h, DATASET.parts())
    assert bits((state, history["loss"], history["validation/log_loss"])) == bits(
        in_pieces(jax.random.key(0), h, DATASET.parts())
    )
    values = program.evaluate(jax.random.key(0), h, state, DATASET.validation)
    np.testing.assert_allclose(values["log_loss"], history["validation/log_loss"].min(), rtol=1e-6)  # compiled apart
    assert set(values) == {"accuracy", "log_loss"}


def test_program_is_differentiable_in_hyperparameters():
    program = experiment.program(DECLARED, DATASET)

    def last_loss(h):
        return program.run(jax.random.key(0), h, DATASET.train)[1]["loss"][-1]

    gradient = jax.jit(jax.grad(last_loss))(Settings())
    assert np.isfinite(gradient.learning_rate) and gradient.learning_rate != 0


def test_program_passes_the_estimator_of_its_plan():
    seen = []

    def watched(loss_fn):
        seen.append(loss_fn)
        return gradients.plain(loss_fn)

    program = experiment.program(DECLARED, DATASET, estimator=watched)
    jax.eval_shape(program.run, jax.random.key(0), Settings(), DATASET.train)
    assert seen and program.plan(Settings()).estimator is watched


def test_batch_size_of_0_is_the_whole_data_bit_for_bit():
    program, made = experiment.program(DECLARED, DATASET), []
    for size in (0, 32):
        h = Settings(epochs=3, batch_size=size)
        state, history = jax.jit(program.run)(jax.random.key(0), h, DATASET.train)
        assert history["loss"].shape == (3,)
        made.append(bits((state, history)))
    assert made[0] == made[1]


def test_experiment_without_data_is_a_function_of_the_key():
    dataset = experiment.without_data(COUNTING)
    program = experiment.program(COUNTING, dataset, evaluate_every=3)
    state, history = jax.jit(program.run)(jax.random.key(0), Steps(), dataset.train, dataset.validation)
    assert float(state) == 3.5 and history["validation/state"].tolist() == [1.5, 3.0, 3.5]
    assert float(program.evaluate(jax.random.key(0), Steps(), state, dataset.test)["state"]) == 3.5
    assert (dataset.n_train, dataset.axis, sorted(dataset.parts())) == (0, None, ["test", "train", "validation"])
    gradient = jax.grad(lambda h: program.run(jax.random.key(0), h, {})[0])(Steps())
    assert float(gradient.rate) == 7


@pytest.mark.parametrize(
    ("h", "n_examples", "evaluate_every", "expected"),
    [
        (Settings(), 64, None, (8, 16, None)),
        (Settings(), 70, None, (8, 16, None)),  # the examples left over are drawn in another epoch
        (Settings(), 70, 0, (8, 16, 8)),  # once per epoch
        (Settings(), 64, 5, (8, 16, 5)),
        (Settings(), 64, 100, (8, 16, 16)),  # at the end
        (Settings(batch_size=0), 64, None, (64, 2, None)),
        (Settings(batch_size=64), 640, None, (64, 20, None)),  # 64 stays 64, whatever the data
        (Steps(), 0, None, (0, 7, None)),
        (Steps(), 0, 0, (0, 7, 7)),  # without data there are no epochs
        (Steps(), 0, 2, (0, 7, 2)),
        (Steps(), 64, 0, (64, 7, 1)),  # without a batch size, the whole data
    ],
)
def test_plan_counts_steps(h, n_examples, evaluate_every, expected):
    planned = experiment.plan(h, n_examples, evaluate_every=evaluate_every)
    assert planned == Plan(*expected)


def test_plan_of_n_steps_in_place_of_epochs():
    @hyperparameters
    class Both:
        n_steps: int = static(10, "steps", at_least=1)
        batch_size: int = static(16, "examples per step", at_least=1)

    assert experiment.plan(Both(), 70, evaluate_every=0) == Plan(16, 10, 4)
    declared = dataclasses.replace(DECLARED, hyperparameters=Both())
    assert experiment.program(declared, DATASET).plan(Both()).n_steps == 10


@pytest.mark.parametrize(("size", "n_examples"), [(-1, 64), (65, 64)])
def test_plan_refuses_a_batch_that_does_not_fit(size, n_examples):
    with pytest.raises(ValueError, match=f"batch_size must be between 1 and {n_examples}, got {size}"):
        experiment.plan(Settings(batch_size=size), n_examples)


@pytest.mark.parametrize(
    ("h", "evaluate_every", "message"),
    [
        (Settings(epochs=0), None, "epochs must be 1 or more, got 0"),
        (Steps(n_steps=0), None, "n_steps must be 1 or more, got 0"),
        (Settings(), -1, "evaluate_every must be 0 or more steps, got -1. Pass 0 for once per epoch"),
    ],
)
def test_plan_refuses_numbers_out_of_range(h, evaluate_every, message):
    with pytest.raises(ValueError, match=message):
        experiment.plan(h, 64, evaluate_every=evaluate_every)


def test_plan_refuses_epochs_without_data():
    with pytest.raises(
        ValueError, match="hyperparameters must have n_steps if there is no data to count epochs by. Write: n_steps"
    ):
        experiment.plan(Settings(), 0)


@dataclasses.dataclass
class Plain:
    """Settings that are not hyperparameters."""

    epochs: int = 1


@hyperparameters
class Swept:
    """Settings with a length that would need a program for each value."""

    batch_size: int = static(8, "examples per step")
    epochs: float = swept(2.0, "passes")


@pytest.mark.parametrize(
    ("h", "source", "name"),
    [(Plain(), None, "epochs"), (Swept(), "mnist", "epochs"), (Steps(), "mnist", "batch_size")],
)
def test_experiment_refuses_hyperparameters_without_a_length(h, source, name):
    with pytest.raises(ValueError, match=f"hyperparameters must have a static field '{name}'. Write: {name}: int ="):
        dataclasses.replace(DECLARED, hyperparameters=h, source=source)


def test_experiment_refuses_hyperparameters_without_fields():
    message = r"^hyperparameters must be an instance, got the class Settings\. Write: hyperparameters=Settings\(\)$"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(DECLARED, hyperparameters=Settings)
    with pytest.raises(ValueError, match="class decorated with @hyperparameters, got dict. Decorate the class."):
        dataclasses.replace(DECLARED, hyperparameters={"epochs": 3})


@pytest.mark.raises
def test_for_data_names_the_metric_to_compare_by():
    either = dataclasses.replace(DECLARED, claim=None, maximise=lambda card: "accuracy" if card.class_names else "r2")
    values = DATASET._replace(card=dataclasses.replace(CARD, class_names=()))
    assert either.for_data(DATASET).objective == experiment.Objective("accuracy", True)
    assert either.for_data(values).objective == experiment.Objective("r2", True)
    assert DECLARED.for_data(DATASET) is DECLARED
    lower = dataclasses.replace(either, maximise=None, minimise=lambda card: "log_loss").for_data(DATASET)
    assert lower.objective == experiment.Objective("log_loss", False)
    assert variants.without_claim(either, question="?").for_data(values).objective.metric == "r2"


def test_a_metric_that_depends_on_data_must_be_resolved():
    either = dataclasses.replace(DECLARED, claim=None, maximise=lambda card: "r2")
    with pytest.raises(ValueError, match=r"got a function of the data card. Write: experiment.for_data\(dataset\)"):
        _ = either.objective
    with pytest.raises(ValueError, match=r"maximise must take \(card\), got \(\). Change its arguments."):
        dataclasses.replace(either, maximise=lambda: "r2")


@pytest.mark.raises
def test_types_must_be_a_dict():
    wrong: Any = "id=drop"
    with pytest.raises(
        ValueError, match="^types must be a dict of columns and kinds, got str. Write: types={'id': 'drop'}$"
    ):
        Experiment(question="?", hyperparameters=Settings(), algorithm=algorithm, source="my.csv", types=wrong)


def test_at_once_must_be_positive():
    with pytest.raises(ValueError, match="^at_once must be 1 run or more, got 0. Leave it out to choose.$"):
        dataclasses.replace(DECLARED, at_once=0)


def test_experiment_takes_n_steps_in_place_of_epochs():
    assert dataclasses.replace(DECLARED, hyperparameters=Steps(), source=None).source is None


def test_accumulated_reports_the_loss_of_the_whole_batch(key):
    plain = dataclasses.replace(
        DECLARED,
        algorithm=lambda *args: training.supervised(
            models.linear(3, 2),
            losses.softmax_cross_entropy_with_integer_labels,
            metrics={},
            optimizer=optax.sgd(0.1),
            estimator=args[2].estimator,
        ),
    )
    parts = variants.accumulated(plain, n_micro_batches=4)
    (state, history), (other, others) = (
        experiment.program(each, DATASET).run(key, Settings(), DATASET.train) for each in (plain, parts)
    )
    np.testing.assert_allclose(others["loss"], history["loss"], rtol=1e-5)  # sums of eight terms in another order
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), other.params, state.params)
    assert bits(other.params) != bits(state.params)


def test_accumulated_takes_estimators_built_inside_a_step(key):
    """An algorithm may build its estimator in its step, not only when it is declared."""

    def late(h, card, plan, fitted):
        model = models.linear(3, 2)
        loss_fn = training.mean_loss(model, losses.softmax_cross_entropy_with_integer_labels)

        def step(state, batch, key):
            return state, plan.estimator(loss_fn)(state, {}, batch, key)[1]

        return Algorithm(lambda key: model.init(key)[0], step, lambda state, data, key: {})

    run = experiment.program(
        variants.accumulated(dataclasses.replace(DECLARED, algorithm=late), n_micro_batches=2), DATASET
    ).run
    assert jax.eval_shape(run, key, Settings(), DATASET.train)[1]["loss"].shape == (8,)


def test_accumulated_refuses_what_ignores_the_plans_estimator(key):
    parts = variants.accumulated(COUNTING, n_micro_batches=2)
    with pytest.raises(ValueError, match="experiment must use plan.estimator for accumulated; got an algorithm that"):
        jax.eval_shape(experiment.program(parts, DATASET).run, key, Steps(), {})


def test_accumulated_refuses_what_does_not_divide_the_batch(key):
    with pytest.raises(ValueError, match="n_micro_batches must be 1 or more; got 0. Pass a divisor"):
        variants.accumulated(DECLARED, n_micro_batches=0)
    parts = experiment.program(variants.accumulated(DECLARED, n_micro_batches=3), DATASET)
    with pytest.raises(ValueError, match="n_micro_batches must divide the batch of 8 examples; got 3."):
        jax.eval_shape(parts.run, key, Settings(), DATASET.train)


def test_with_estimator_composes(key):
    def named(name):
        def change(estimator):
            def build(loss_fn):
                inner = estimator(loss_fn)

                def reporting(*args):
                    gradient, values, model_state = inner(*args)
                    return gradient, {**values, name: jnp.float32(len(values))}, model_state

                return reporting

            return build

        return change

    both = variants.with_estimator(variants.with_estimator(DECLARED, named("a"), name="a"), named("b"), name="b")
    history = jax.eval_shape(experiment.program(both, DATASET).run, key, Settings(), DATASET.train, DATASET.validation)
    assert {"loss", "a", "b"} <= history[1].keys()

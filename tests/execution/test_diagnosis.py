"""Where a run stopped being finite: the step, the array, and the inputs that reproduce it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import execution, experiment, losses, metrics, models, training, variants
from jaxresearch.algorithms import skipping, stopped
from jaxresearch.data import DataCard, Dataset
from jaxresearch.execution import Keeping, Start, diagnosis, divergence
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim
from jaxresearch.training import Algorithm

pytestmark = pytest.mark.usefixtures("unoptimized")

SEEDS = (0, 1)
BAD = 10  # the example that the second run sees in its third step, and the first run later


@hyperparameters
class Line:
    learning_rate: float = swept(1e-2, "step size")
    batch_size: int = static(4, "examples per step")
    epochs: int = static(4, "passes")


def descent(h, card, plan, fitted):
    """Returns gradient descent on the squared error of a line."""
    return training.supervised(
        models.linear(card.n_features, 1),
        losses.half_squared_error,
        optimizer=training.gradient_descent(h.learning_rate),
        metrics={"r2": metrics.r2()},
        estimator=plan.estimator,
    )


LINE = Experiment(
    question="A line?",
    claim=Claim(text="R2", metric="test/r2", about="these examples", at_least=0.9),
    hyperparameters=Line(),
    source="",
    algorithm=descent,
)


def dataset(bad=None):
    """Returns twenty examples of a plane, the input of one of which may be nan."""
    inputs = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    targets = inputs[:, :1].copy()
    if bad is not None:
        inputs[bad] = np.nan
    part, good = {"inputs": inputs, "targets": targets}, {"inputs": np.nan_to_num(inputs), "targets": targets}
    return Dataset(part, good, good, DataCard(name="line", source="", feature_shape=(2,)))


def carried_out(declared, given, **options):
    """Returns the outcome, the training metrics of all steps, and the intermediate states."""
    seen, kept = [], {}
    keeping = Keeping(lambda: True, lambda step, state: kept.update({step: jax.tree.map(np.array, state)}))
    outcome = execution.execute(
        declared, Line(), given, seeds=SEEDS, observe=lambda p: seen.append(p.metrics), keeping=keeping, **options
    )
    return outcome, {name: np.concatenate([chunk[name] for chunk in seen], axis=1) for name in seen[0]}, kept


@pytest.fixture(scope="module")
def broken(unoptimized):
    """A run in which an example of the training part is nan."""
    return carried_out(LINE, dataset(bad=BAD))


def diagnosed(declared, given, *, run, step, **options):
    """Returns the diagnosis of a step."""
    return diagnosis.diagnose(declared, Line(), given, seeds=SEEDS, run=run, step=step, **options)


def test_is_finite_looks_at_floats_alone():
    assert diagnosis.is_finite({"n": jnp.int32(3), "key": jax.random.key(0), "x": jnp.ones(2, jnp.bfloat16)})
    assert not diagnosis.is_finite({"x": jnp.array([1, jnp.nan], jnp.bfloat16)})


@pytest.mark.parametrize("part", ["beginning", "middle", "step itself"])
def test_diagnose_finds_the_first_batch_with_a_bad_example(broken, part):
    _, history, kept = broken
    run, step, name = divergence.in_metrics(history)[0]
    assert (run, step, name) == (1, 2, "loss")
    made = {"beginning": 0, "middle": step // 2, "step itself": step}[part]
    start = Start(made, kept[made]) if made else None
    found = diagnosed(LINE, dataset(bad=BAD), run=run, step=step, start=start)
    assert found.step == step and found.leaf == "batch['inputs']"
    assert np.isnan(found.inputs["batch"]["inputs"]).any()
    for own, of_runs in zip(jax.tree.leaves(found.inputs["state"]), jax.tree.leaves(kept[step]), strict=True):
        np.testing.assert_array_equal(own, of_runs[run])


def test_diagnose_does_not_blame_the_best_value_before_a_look(broken):
    """It is infinite from the start, so also in the preceding step."""
    declared = dataclasses.replace(LINE, algorithm=lambda *args: stopped(descent(*args), metric="r2", patience=1))
    found = diagnosed(declared, dataset(bad=BAD), run=1, step=2, evaluate_every=100)
    assert (found.step, found.leaf) == (2, "batch['inputs']")


def test_inputs_reproduce_the_step(broken):
    _, history, kept = broken
    run, step, _ = divergence.in_metrics(history)[0]
    found = diagnosed(LINE, dataset(bad=BAD), run=run, step=step, start=Start(step, kept[step]))
    algorithm = experiment.program(LINE, dataset()).algorithm(Line())
    key = jax.random.wrap_key_data(jnp.asarray(found.inputs["key"]))
    state, values = algorithm.step(found.inputs["state"], found.inputs["batch"], key)
    assert not np.isfinite(values["loss"]) and not np.isfinite(state.params["Dense_0"]["kernel"]).all()


def _rooted(h, card, plan, fitted):
    """Returns descent on sqrt of zero: the loss is finite, but its derivative and the next state are not."""
    model = models.linear(card.n_features, 1)

    def loss_fn(params, model_state, batch, key):
        kernel = params["Dense_0"]["kernel"]
        return jnp.sqrt(jnp.sum((kernel - jax.lax.stop_gradient(kernel)) ** 2)), ({}, model_state)

    optimizer = training.gradient_descent(h.learning_rate)
    return training.gradient_based(model, loss_fn, optimizer=optimizer, metrics={}, estimator=plan.estimator)


def test_diagnose_blames_the_gradient_of_the_step_before():
    declared = dataclasses.replace(LINE, algorithm=_rooted)
    _, history, _ = carried_out(declared, dataset())
    run, step, _ = divergence.in_metrics(history)[0]
    assert step == 1  # step 0 had a loss
    found = diagnosed(declared, dataset(), run=run, step=step)
    assert found.step == 0 and found.leaf == "gradient['Dense_0']['kernel']"


def _scripted(*, breaks_at=3, looks=0):
    """Returns an algorithm without gradients: its state is nan from some step on."""

    def step(state, batch, key):
        after = {"n": state["n"] + 1, "looks": state["looks"], "w": state["w"]}
        after["w"] = jnp.where((after["n"] == breaks_at) & (state["looks"] == looks), jnp.nan, after["w"])
        return after, {"loss": state["w"], "other": jnp.zeros(())}

    def algorithm(h, card, plan, fitted):
        return Algorithm(
            lambda key: {"n": 0, "looks": 0, "w": 1.0},
            step,
            lambda state, data, key: {"looks": state["looks"]},
            observe=lambda state, seen: {**state, "looks": state["looks"] + 1},
        )

    return dataclasses.replace(LINE, algorithm=algorithm)


def test_diagnose_blames_the_new_state_without_a_gradient():
    declared = _scripted()
    found = diagnosed(declared, dataset(), run=1, step=3, evaluate_every=100)
    assert found.step == 2 and found.leaf == "new state['w']"


def test_diagnose_blames_the_state_it_starts_from():
    state = {"n": np.zeros(2, np.int32), "looks": np.zeros(2, np.int32), "w": np.array([1, np.nan], np.float32)}
    found = diagnosed(_scripted(), dataset(), run=1, step=5, start=Start(5, state), evaluate_every=100)
    assert found.step == 5 and found.leaf == "state['w']"


def test_diagnose_repeats_the_looks_before_the_step():
    """The state becomes nan only after two evaluations, after 2 and 4 steps."""
    declared = _scripted(breaks_at=5, looks=2)
    _, history, kept = carried_out(declared, dataset(), evaluate_every=2)
    run, step, _ = divergence.in_metrics(history)[0]
    assert (run, step) == (0, 5)
    for start in (None, Start(2, kept[2])):
        found = diagnosed(declared, dataset(), run=run, step=step, start=start, evaluate_every=2)
        assert found.step == 4 and found.leaf == "new state['w']"
        assert (found.inputs["state"]["n"], found.inputs["state"]["looks"]) == (4, 2)


def test_skipped_steps_change_nothing(broken):
    declared = dataclasses.replace(LINE, algorithm=lambda *args: skipping(descent(*args)))
    outcome, history, _ = carried_out(declared, dataset(bad=BAD))
    assert np.isfinite(outcome.state.params["Dense_0"]["kernel"]).all()
    assert history["skipped"].sum(axis=1).tolist() == [4, 4]  # once per epoch
    np.testing.assert_array_equal(~np.isfinite(history["loss"]), history["skipped"])
    # Up to the first of them, the steps are those of the plain run, bit for bit.
    _, of_plain, _ = broken
    np.testing.assert_array_equal(history["loss"][:, :2], of_plain["loss"][:, :2])


@pytest.mark.raises
def test_diagnose_refuses_a_step_before_the_start():
    with pytest.raises(ValueError, match="step must be 5 or more, where the run starts, got 3. Pass an earlier start."):
        diagnosed(LINE, dataset(), run=0, step=3, start=Start(5, None))


@pytest.mark.long
def test_diagnosis_sees_accumulated_gradients():
    """The loss is finite, its derivative not: the square root of 0 where an input is 0."""

    def rooted(h, card, plan, fitted):
        def loss(outputs, targets):
            return jnp.sqrt(jnp.abs(outputs[:, 0] * targets[:, 0]))

        return training.supervised(
            models.linear(card.n_features, 1),
            loss,
            optimizer=training.gradient_descent(h.learning_rate),
            metrics={"r2": metrics.r2()},
            estimator=plan.estimator,
        )

    given = dataset()
    given.train["targets"][BAD] = 0
    declared = variants.accumulated(dataclasses.replace(LINE, algorithm=rooted), n_micro_batches=2)
    found = diagnosed(declared, given, run=1, step=3)
    assert found.step == 2 and found.leaf.startswith("gradient['Dense_0']"), found

"""Where a run stops being finite is found again: the step, the array, the inputs that give it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import execution, experiment, gradients, losses, metrics, models, training
from jaxresearch.data import DataCard, Dataset
from jaxresearch.execution import compilation, diagnosis
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class Line:
    learning_rate: float = swept(1e-2, "step size")
    batch_size: int = static(4, "examples a step")
    epochs: int = static(5, "passes")


LINE = Experiment(
    question="A line?",
    claim=Claim(text="R2", metric="test/r2", at_least=0.9),
    hyperparameters=Line(),
    source="",
    model=lambda h, card: models.linear(card.n_features, 1),
    loss_fn=lambda model, h: training.supervised(model, losses.half_squared_error),
    optimizer=lambda h, n_steps: training.gradient_descent(h.learning_rate),
    metrics=lambda card: {"r2": metrics.r2()},
)


def dataset(bad=None):
    inputs = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    if bad is not None:
        inputs[bad] = np.nan
    part = {"inputs": inputs, "targets": inputs[:, :1]}
    return Dataset(part, part, None, DataCard(name="line", source="", feature_shape=(2,)))


def losses_of(declared, given, n_seeds=2):
    seen = []
    execution.execute(
        declared, declared.hyperparameters, given, seeds=range(n_seeds), observe=lambda p: seen.append(p.metrics)
    )
    return np.concatenate([chunk["loss"] for chunk in seen], axis=1)


@pytest.mark.long
def test_a_bad_example_is_found_in_the_first_batch_that_holds_it():
    declared, given = LINE, dataset(bad=7)
    run, step = diagnosis.first_nonfinite(losses_of(declared, given))
    for start in (0, step // 2, step):
        state = None
        if start:
            kept = {}
            keeping = execution.Keeping(
                lambda: True, lambda n, s, kept=kept: kept.update({n: jax.tree.map(np.array, s)})
            )
            execution.execute(declared, declared.hyperparameters, given, seeds=range(2), keeping=keeping)
            state = (start, kept[start])
        found = diagnosis.diagnose(
            declared, declared.hyperparameters, given, seeds=range(2), run=run, step=step, start=state
        )
        assert found.step == step and found.leaf == "batch['inputs']"
        assert np.isnan(found.inputs["batch"]["inputs"]).any() and found.inputs["state"].step == step


def test_the_inputs_give_the_step_again():
    given = dataset(bad=7)
    run, step = diagnosis.first_nonfinite(losses_of(LINE, given))
    found = diagnosis.diagnose(LINE, LINE.hyperparameters, given, seeds=range(2), run=run, step=step)
    model = LINE.model(LINE.hyperparameters, given.card)
    again = training.step(gradients.plain(LINE.loss_fn(model, Line())), LINE.optimizer(Line(), 1))
    key = jax.random.wrap_key_data(jnp.asarray(found.inputs["key"]))
    state, told = again(
        jax.tree.map(jnp.asarray, found.inputs["state"]), jax.tree.map(jnp.asarray, found.inputs["batch"]), key
    )
    assert not np.isfinite(told["loss"]) and not np.isfinite(state.params["Dense_0"]["kernel"]).all()


def test_an_update_that_overflows_is_told_by_its_gradient():
    """sqrt of a loss that is zero: the loss is finite, its derivative is not, and the state that follows is none."""

    def rooted(model, h):
        def loss_fn(params, model_state, batch, key):
            kernel = params["Dense_0"]["kernel"]
            return jnp.sqrt(jnp.sum((kernel - jax.lax.stop_gradient(kernel)) ** 2)), ({}, model_state)

        return loss_fn

    declared = dataclasses.replace(LINE, loss_fn=rooted)
    run, step = diagnosis.first_nonfinite(losses_of(declared, dataset()))
    assert step == 1  # step 0 had a loss
    found = diagnosis.diagnose(declared, Line(), dataset(), seeds=range(2), run=run, step=step)
    assert found.step == 0 and found.leaf == "gradient['Dense_0']['kernel']"


def test_skipped_steps_change_nothing_but_the_count():
    given = dataset(bad=7)
    skipping = dataclasses.replace(LINE, step=lambda e, o: training.skipping(training.step(e, o)))
    outcome = execution.execute(skipping, Line(), given, seeds=range(2))
    assert np.isfinite(outcome.state.params["Dense_0"]["kernel"]).all()
    assert outcome.state.step.tolist() == [25, 25]
    of_steps = losses_of(skipping, given)
    assert (~np.isfinite(of_steps)).sum(axis=1).tolist() == [5, 5]  # once an epoch
    # Where all is finite, skipping is the plain step, bit for bit.
    plain, same = (
        jax.jit(experiment.program(of, given.card).run, compiler_options=compilation.compiler_options())(
            jax.random.key(0), Line(), dataset().train
        )
        for of in (LINE, skipping)
    )
    jax.tree.map(np.testing.assert_array_equal, plain[0], same[0])


@pytest.mark.raises
def test_a_step_before_the_start_is_refused():
    with pytest.raises(ValueError, match="step must not lie before the start, 5; got 3"):
        diagnosis.diagnose(LINE, Line(), dataset(), seeds=[0], run=0, step=3, start=(5, None))

"""States of trained runs: their shapes without computation, their predictions, their dependence on settings."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxresearch import data, execution

pytestmark = pytest.mark.usefixtures("unoptimized")


@pytest.mark.parametrize("kind", ["task", "stopping"])
def test_blank_state_is_that_of_execute(request, kind):
    of = request.getfixturevalue(kind)
    blank = execution.blank_state(*of, n_runs=3)
    outcome = execution.execute(*of, seeds=(0, 4, 7), evaluate_every=8)
    assert jax.tree.structure(blank) == jax.tree.structure(outcome.state)
    kinds = [[(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)] for state in (blank, outcome.state)]
    assert kinds[0] == kinds[1]
    logits = execution.predict(*of, outcome.state)
    assert logits.shape == (3, 48, 3)
    entropy = -jax.nn.log_softmax(logits)[:, np.arange(48), of.dataset.test["targets"]].mean(axis=1)
    np.testing.assert_allclose(entropy, outcome.metrics["log_loss"], rtol=1e-5)  # different summation order


def test_predict_does_not_depend_on_the_batch_size(task):
    state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), execution.blank_state(*task, n_runs=2))
    whole = execution.predict(*task, state)
    np.testing.assert_allclose(execution.predict(*task, state, batch_size=7), whole, rtol=1e-6)


def test_predict_of_folds_sees_each_run_s_own_test_part(task):
    folds = data.stacked([data.fold(task.dataset, place, n_folds=2) for place in range(2)])
    state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), execution.blank_state(*task, n_runs=2))
    expected = folds.test["inputs"].sum(axis=-1, keepdims=True) + 1 + np.zeros(3)  # weights and biases are ones
    outputs = execution.predict(task.experiment, task.settings, folds, state)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_predict_builds_the_program_that_was_trained(task, stopping):
    """Which algorithm there is may depend on whether there are looks at validation data: so does its state."""

    def algorithm(h, card, plan, fitted):
        return (stopping if plan.evaluate_every else task).experiment.algorithm(h, card, plan, fitted)

    made = dataclasses.replace(task.experiment, algorithm=algorithm)
    blank = execution.blank_state(made, *task[1:], n_runs=2, evaluate_every=8)
    state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), blank)
    outputs = execution.predict(made, *task[1:], state, evaluate_every=8)
    expected = task.dataset.test["inputs"].sum(axis=-1, keepdims=True) + 1 + np.zeros((2, 48, 3))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


def test_predict_of_some_runs_is_that_of_all(task, bits):
    blank = execution.blank_state(*task, n_runs=3)
    state = jax.tree.map(lambda leaf: np.arange(leaf.size, dtype=leaf.dtype).reshape(leaf.shape), blank)
    outputs_fn = execution.outputs_fn_of(*task)
    whole, some = execution.predict(*task, state), execution.predict(*task, state, runs=[2, 0], outputs_fn=outputs_fn)
    assert bits(some) == bits(whole[[2, 0]]) != bits(whole[:2])


def test_predict_refuses_an_algorithm_that_does_not(task):
    def algorithm(*args):
        return task.experiment.algorithm(*args)._replace(predict=None)

    with pytest.raises(
        ValueError, match="algorithm must have predict to compute outputs, got none. Write: algorithm._replace"
    ):
        execution.predict(dataclasses.replace(task.experiment, algorithm=algorithm), *task[1:], None)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["task", "stopping"])
def test_differentiate_is_the_slope_of_the_outcome(request, kind):
    """For test metrics, while runs evaluate on the validation part; against a finite difference in float32."""
    of = request.getfixturevalue(kind)
    every = 8 if kind == "stopping" else None
    gradient = execution.differentiate(*of, seeds=(0, 4), metric="log_loss", evaluate_every=every)
    assert gradient.learning_rate.shape == (2,)
    rate, width = of.settings.learning_rate, 1e-3
    settings = [dataclasses.replace(of.settings, learning_rate=rate * factor) for factor in (1 + width, 1 - width)]
    up, down = execution.execute_all(of.experiment, settings, of.dataset, seeds=(0, 4), evaluate_every=every)
    central = (up.metrics["log_loss"] - down.metrics["log_loss"]) / (2 * width * rate)
    np.testing.assert_allclose(gradient.learning_rate, central, rtol=0.02)  # float32, at a step of a thousandth


def test_differentiate_refuses_what_has_no_slope(task):
    with pytest.raises(ValueError, match="seeds must hold at least one number, got none"):
        execution.differentiate(*task, seeds=[], metric="log_loss")
    with pytest.raises(ValueError, match="metric must be one of log_loss, recall, got 'los'"):
        execution.differentiate(*task, seeds=[0], metric="los")

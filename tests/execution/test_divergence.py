"""Diverged runs are detected, and do not affect others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import execution, experiment, training
from jaxresearch.algorithms import skipping, stopped
from jaxresearch.data import Dataset
from jaxresearch.execution import Divergence, Keeping, Start, divergence
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static
from jaxresearch.statistics import Claim
from jaxresearch.training import Algorithm

NEVER = 1e9

pytestmark = pytest.mark.usefixtures("unoptimized")


@hyperparameters
class Script:
    """Forty steps of an algorithm that counts."""

    n_steps: int = static(40, "steps", at_least=1)


def _drawn(seed):
    drawing = Algorithm(jax.random.uniform, lambda state, batch, key: (state, {}), lambda state, data, key: {})
    return training.init(jax.random.key(seed), algorithm=drawing)


DRAWS = jnp.stack([_drawn(seed) for seed in range(4)])  # by which a run knows its seed


def counting(breaks_at, *, keeps_state=False):
    """Returns runs that count, whose losses become nan at different steps; the third metric is undefined."""

    def algorithm(h, card, plan, fitted):
        def init(key):
            place = jnp.argmin(jnp.abs(DRAWS - jax.random.uniform(key)))  # the seed
            return {"n": jnp.zeros(()), "limit": jnp.asarray([*breaks_at, *[NEVER] * 4])[place], "best": jnp.inf}

        def step(state, batch, key):
            is_bad = state["n"] == state["limit"] if keeps_state else state["n"] >= state["limit"]
            loss = jnp.where(is_bad, jnp.nan, state["n"])
            n = state["n"] + 1 if keeps_state else loss + 1
            return {**state, "n": n}, {"loss": loss}

        def evaluate(state, data, key):
            constant = jnp.int32(1)  # like the accuracy of nan logits
            return {"value": state["n"], "constant": constant, "undefined": jnp.nan * jnp.ones(2)}

        return Algorithm(init, step, evaluate)

    return Experiment(
        question="?",
        claim=Claim(text="", metric="test/value", about="these examples", at_least=1),
        hyperparameters=Script(),
        algorithm=algorithm,
    )


def carried_out(declared, n=3, **options):
    seen = []
    dataset = experiment.without_data(declared)
    return execution.execute(declared, Script(), dataset, seeds=range(n), observe=seen.append, **options), seen


def test_in_metrics_has_the_first_bad_step_of_each_run():
    values = {"of_critic": np.zeros((3, 5)), "of_actor": np.zeros((3, 5))}
    assert divergence.in_metrics(values) == divergence.in_metrics({}) == ()
    values["of_critic"][2, 4] = np.nan
    assert divergence.in_metrics(values, start=10) == ((2, 14, "of_critic"),)
    values["of_actor"][1, 3] = -np.inf
    assert divergence.in_metrics(values) == ((1, 3, "of_actor"), (2, 4, "of_critic"))
    values["of_critic"][2, 3] = np.inf
    assert divergence.in_metrics(values) == ((2, 3, "of_critic"), (1, 3, "of_actor"))  # of one step, the first metric
    values["of_critic"][0, 3] = np.inf
    assert divergence.in_metrics(values)[0] == (0, 3, "of_critic")
    counted = np.array([False, True, False])
    assert divergence.in_metrics(values, counted=counted) == ((1, 3, "of_actor"),)
    assert divergence.in_metrics({**values, "skipped": np.ones((3, 5))}) == ()


def test_a_metric_beside_the_loss_may_be_undefined():
    """For example, the area under the ROC curve of a batch without positives."""
    values = {"loss": np.ones((2, 3)), "auc": np.full((2, 3), np.nan)}
    assert divergence.in_metrics(values) == ()
    values["loss"][1, 2] = np.inf
    assert divergence.in_metrics(values) == ((1, 2, "loss"),)


def test_in_outcome_is_about_params_where_there_are_any(task):
    outcome = execution.execute(task.experiment, task.settings, task.dataset, seeds=[0, 1])
    assert outcome.diverged == divergence.in_outcome(outcome.state, 30, counted=np.ones(2, bool)) == ()
    for bad in (np.nan, np.inf):
        params = jax.tree.map(lambda leaf, bad=bad: leaf.at[1].set(bad), outcome.state.params)
        for state in (outcome.state._replace(params=params), {"deep": [outcome.state._replace(params=params)]}):
            assert divergence.in_outcome(state, 30, counted=np.ones(2, bool)) == ((1, 29, "state"),)
            assert divergence.in_outcome(state, 30, counted=np.array([True, False])) == ()
    loose = {"n": jnp.arange(2), "best": jnp.array([jnp.inf, 1.0]), "w": jnp.array([[1, jnp.nan]] * 2, jnp.bfloat16)}
    assert len(divergence.in_outcome(loose, 30, counted=np.ones(2, bool))) == 2
    assert divergence.in_outcome({**loose, "w": jnp.ones(2)}, 30, counted=np.ones(2, bool)) == ()


def test_a_run_that_diverges_is_masked_and_stops_no_other():
    outcome, seen = carried_out(counting([NEVER, 11.0, NEVER]))
    assert outcome.diverged == (Divergence(1, 11, "loss"),) and outcome.step == 40
    np.testing.assert_array_equal(outcome.metrics["value"], [40, np.nan, 40])
    np.testing.assert_array_equal(outcome.metrics["constant"], [1, np.nan, 1])
    assert [len(progress.diverged) for progress in seen] == [progress.step > 11 for progress in seen]


def test_a_run_whose_loss_recovers_has_diverged_all_the_same():
    outcome, _ = carried_out(counting([NEVER, 11.0], keeps_state=True), n=2)
    assert outcome.diverged == ((1, 11, "loss"),) and outcome.state["n"].tolist() == [40, 40]
    np.testing.assert_array_equal(outcome.metrics["value"], [40, np.nan])


def test_an_undefined_metric_is_no_divergence():
    outcome, _ = carried_out(counting([NEVER, NEVER]), n=2)
    assert outcome.diverged == () and np.isnan(outcome.metrics["undefined"]).all()
    (trial,) = execution.execute_all(
        (declared := counting([NEVER, NEVER])), [Script()], experiment.without_data(declared), seeds=[0, 1]
    )
    assert trial.diverged is False and np.isnan(trial.metrics["undefined"]).all()


def test_a_resumed_run_masks_what_diverged_before(bits):
    declared, kept = counting([NEVER, 11.0], keeps_state=True), {}
    keeping = Keeping(lambda: True, lambda step, state: kept.update({step: jax.tree.map(np.array, state)}))
    whole, seen = carried_out(declared, n=2, keeping=keeping)
    for step in (10, 12, 20):
        known = next(progress.diverged for progress in seen if progress.step == step)
        again, rest = carried_out(declared, n=2, start=Start(step, kept[step], diverged=known))
        assert again.diverged == whole.diverged == rest[-1].diverged and bits(again.metrics) == bits(whole.metrics)


def test_a_run_that_was_skipping_has_not_diverged():
    declared = counting([NEVER, 11.0])
    plain = declared.algorithm
    outcome, _ = carried_out(dataclasses.replace(declared, algorithm=lambda *args: skipping(plain(*args))), n=2)
    assert outcome.diverged == () and outcome.metrics["value"].tolist() == [40, 11]


def test_a_run_that_is_done_and_then_diverges_keeps_its_outcome(bits):
    """The second run improves to the end and keeps the others running; the last diverges before it is done."""
    declared, kept = counting([30.0, NEVER, 25.0, 3.0]), {}
    plain = declared.algorithm

    def early(*args):
        """Returns an algorithm that keeps the smallest value, for the second run the largest."""
        made = stopped(plain(*args), metric="value", patience=2)

        def observe(state, metrics):
            sign = jnp.where(state.inner["limit"] == NEVER, -1, 1)
            return made.observe(state, {**metrics, "value": sign * metrics["value"]})

        return made._replace(observe=observe)

    declared = dataclasses.replace(declared, algorithm=early)
    keeping = Keeping(lambda: True, lambda step, state: kept.update({step: jax.tree.map(np.array, state)}))
    whole, seen = carried_out(declared, n=4, evaluate_every=8, keeping=keeping)
    assert whole.step == 40 and whole.diverged == ((3, 3, "loss"),)
    np.testing.assert_array_equal(whole.metrics["value"], [8, 40, 8, np.nan])
    assert np.isnan(seen[-1].metrics["loss"]).all(axis=1).tolist() == [True, False, True, True]
    assert seen[-1].done.tolist() == [True, False, True, True]
    for step in (24, 28, 32):  # two of them after the evaluation at which a run was done, one between evaluations
        known = next(progress.diverged for progress in seen if progress.step == step)
        again, _ = carried_out(declared, n=4, evaluate_every=8, start=Start(step, kept[step], diverged=known))
        assert again.diverged == whole.diverged and bits(again.metrics) == bits(whole.metrics)


def test_a_fold_that_diverges_stops_no_other(task):
    """One fold is trained on a nan."""
    inputs = np.stack([task.dataset.train["inputs"]] * 3)
    inputs[1, 5] = np.nan
    parts = [{"inputs": i, "targets": task.dataset.train["targets"]} for i in inputs]
    train = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    test = {name: np.stack([value] * 3) for name, value in task.dataset.test.items()}
    folds = Dataset(train, test, None, task.dataset.card, 3, ({},) * 3)
    outcome = execution.execute(task.experiment, task.settings, folds, seeds=range(3))
    assert [one.run for one in outcome.diverged] == [1]
    assert np.isnan(outcome.metrics["recall"]).all(axis=1).tolist() == [False, True, False]


def test_the_time_of_a_diagnosis_is_not_that_of_training(monkeypatch):
    """An observer may take time to inspect a diverged run."""
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    declared, seen = counting([NEVER, 11.0]), []

    def observe(progress):
        seen.append(progress)
        clock[0] += 100.0 if len(progress.diverged) == 1 and progress.step == 12 else 1.0

    outcome = execution.execute(declared, Script(), experiment.without_data(declared), seeds=[0, 1], observe=observe)
    assert outcome.seconds["train"] == len(seen) - 1 and seen[-1].seconds == len(seen) - 2

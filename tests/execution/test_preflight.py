"""Failures at the end of a run are found before its start, by tracing, and reported in one line."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import data, execution, experiment
from jaxresearch.algorithms import averaged, stopped
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim
from jaxresearch.training import Algorithm


@hyperparameters
class Settings:
    """A run of a million steps: none of it may be computed."""

    rate: float = swept(1.0, "what a step adds", above=0)
    batch_size: int = static(4, "examples per step", at_least=1)
    epochs: int = static(100_000, "passes", at_least=1)


INPUTS = np.arange(40, dtype=np.float32)[:, None]
PART = {"inputs": INPUTS, "targets": 2 * INPUTS}
DATASET = Dataset(PART, PART, PART, DataCard(name="a", source="b", feature_shape=(1,)))
CALLED: list[str] = []


def _counted(name: str, value: Any) -> Any:
    """Records that nothing may be computed, not only traced."""
    jax.debug.callback(lambda: CALLED.append(name))
    return value


def experiment_of(*, claim="test/mean", report=None, transform=lambda algorithm: algorithm, **functions):
    """Returns an experiment, some functions of whose algorithm are replaced."""

    def algorithm(h, card, plan, fitted):
        plain = Algorithm(
            lambda key: {"w": jnp.zeros(3), "n": 0},
            lambda state, batch, key: (
                _counted("step", {"w": state["w"] + h.rate, "n": state["n"] + 1}),
                {"loss": state["w"].sum(), "constant": 1.0},
            ),
            lambda state, data, key: _counted("evaluate", {"mean": state["w"].mean(), "all": state["w"]}),
        )
        return transform(plain._replace(**functions))

    return Experiment(
        question="?",
        claim=Claim(text="", metric=claim, about="these examples", at_least=0.0),
        hyperparameters=Settings(),
        source="b",
        algorithm=algorithm,
        report=report,
    )


def checked(declared, given=DATASET, *, seeds=(0, 1), **options):
    """Runs the check, which takes a second or two."""
    CALLED.clear()
    began = time.process_time()
    try:
        execution.preflight(declared, Settings(), given, seeds=seeds, collected=given, **options)
    finally:
        jax.effects_barrier()
        assert not CALLED, "nothing may be computed"
        assert time.process_time() - began < 2


@pytest.mark.parametrize("evaluate_every", [None, 0, 7])
def test_preflight_passes_what_is_right(evaluate_every):
    checked(experiment_of(), evaluate_every=evaluate_every)


def _grown(state, *_):
    return {"w": jnp.zeros(4), "n": state["n"]}


STATE = "must return a state of the same shapes as init, got state"
FAILURES = {
    "vector metric of a step": (
        {"step": lambda state, batch, key: (state, {"loss": batch["inputs"]})},
        r"^metrics of a step must be scalars, got loss of shape \(4, 1\)\. Report it by evaluate instead\.",
    ),
    "shape of the state": (
        {"step": lambda state, batch, key: (_grown(state), {})},
        rf"^step {STATE}\['w'\] changed from float32\[3\] to float32\[4\]\. Keep its shape and type\.",
    ),
    "type of the state": (
        {"step": lambda state, batch, key: ({"w": state["w"].astype(jnp.bfloat16), "n": state["n"]}, {})},
        rf"^step {STATE}\['w'\] changed from float32\[3\] to bfloat16\[3\]\.",
    ),
    "number of another type": (
        {"step": lambda state, batch, key: ({"w": state["w"], "n": 1.5}, {})},
        rf"^step {STATE}\['n'\] changed from int32\[\] to float32\[\]\.",
    ),
    "structure of the state": (
        {"step": lambda state, batch, key: ({"w": state["w"]}, {})},
        "^step must return a state of the same structure as init, got another. Return the same tuple or dict.",
    ),
    "observed state": (
        {"observe": _grown},
        rf"^observe {STATE}\['w'\] changed from float32\[3\] to float32\[4\]\.",
    ),
    "outcome": (
        {"outcome": _grown},
        rf"^outcome {STATE}\['w'\] changed from float32\[3\] to float32\[4\]\.",
    ),
    "missing metric": (
        {"claim": "test/man"},
        r"^claim must be about one of test/mean, got 'test/man'\. Correct its name\.",
    ),
    "vector claim": (
        {"claim": "test/all"},
        r"^claim must be about a scalar metric \(test/mean\), got 'test/all' of shape \(3,\)\. Choose one\.",
    ),
    "evaluation": (
        {"evaluate": lambda state, data, key: {"mean": data["inputs"] @ state["w"]}},
        "dot_general requires contracting dimensions to have the same shape",
    ),
    "misspelt criterion": (
        {"transform": lambda plain: stopped(plain, metric="man", patience=1)},
        "^metric must be one of mean, got 'man'. Choose a scalar validation metric.",
    ),
    "state without params": (
        {"transform": lambda plain: averaged(plain, decay=0.9)},
        "^averaged must wrap an algorithm whose state has params, got one without. Keep them in a TrainState.",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_preflight_refuses_at_once(name):
    functions, message = FAILURES[name]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        checked(experiment_of(**functions), evaluate_every=0)
    if isinstance(caught.value, ValueError):
        assert "\n" not in str(caught.value)


def test_preflight_accepts_python_numbers():
    """As metrics of a step or an evaluation, and in the state where `jax.lax.scan` accepts them."""
    checked(experiment_of(step=lambda state, batch, key: ({"w": state["w"], "n": 1}, {"loss": 0.5})))
    checked(experiment_of(evaluate=lambda state, data, key: {"mean": 0.5}))


def test_preflight_refuses_settings_and_data():
    stopping = experiment_of(transform=lambda plain: stopped(plain, metric="mean", patience=1))
    with pytest.raises(ValueError, match="^validation data must be given to an algorithm that reacts to it"):
        checked(stopping)
    with pytest.raises(ValueError, match="^dataset must have a validation part for evaluate_every, got none"):
        checked(stopping, DATASET._replace(validation=None), evaluate_every=0)
    with pytest.raises(ValueError, match=r"^rate \(.*\) must be above 0"):
        execution.preflight(stopping, Settings(rate=-1.0), DATASET, seeds=[0], evaluate_every=0)


def test_preflight_calls_the_report_on_initial_states():
    """With an axis of seeds, arrays on the host, and a few test examples of the data."""
    seen = []

    def report(h, state, collected, dataset):
        seen.append((h, state, collected, dataset))
        return "a text"

    many = jax.tree.map(lambda leaf: np.tile(leaf, (10, 1)), PART)
    given = DATASET._replace(test=many)
    checked(experiment_of(report=report), given, seeds=(3, 4, 5))
    ((h, state, collected, dataset),) = seen
    assert h == Settings() and isinstance(state["w"], np.ndarray)
    assert state["w"].shape == (3, 3) and state["n"].tolist() == [0, 0, 0]
    for one in (collected, dataset):
        np.testing.assert_array_equal(one.test["inputs"], many["inputs"][:100])
        assert len(one.train["inputs"]) == 40


@pytest.mark.parametrize(
    ("error", "message"),
    [(ValueError("the curve needs two points."), "^the curve needs two points.$"), (KeyError("w0"), "^'w0'$")],
)
def test_preflight_raises_what_the_report_raises(error, message):
    def report(h, state, collected, dataset):
        raise error

    with pytest.raises(type(error), match=message):
        checked(experiment_of(report=report))
    execution.preflight(experiment_of(report=report), Settings(), DATASET, seeds=[0])  # not without collected data


def test_preflight_sees_one_fold_of_many():
    seen = []
    folds = data.stacked([data.fold(DATASET._replace(validation=None), place, n_folds=2) for place in range(2)])

    def report(h, state, collected, dataset):
        seen.append(dataset.test["inputs"].shape)

    checked(experiment_of(report=report), folds)
    assert seen == [(2, 20, 1)]  # examples that are in both parts count once


def test_preflight_of_an_experiment_without_data():
    @hyperparameters
    class Steps:
        n_steps: int = static(1_000_000, "steps")

    def algorithm(h, card, plan, fitted):
        return Algorithm(lambda key: jnp.zeros(()), lambda s, batch, key: (s + 1, {}), lambda s, data, key: {"mean": s})

    declared = dataclasses.replace(experiment_of(), hyperparameters=Steps(), source=None, algorithm=algorithm)
    dataset = experiment.without_data(declared)
    execution.preflight(declared, Steps(), dataset, seeds=[0], evaluate_every=0, collected=dataset)
    broken = dataclasses.replace(declared, report=lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        execution.preflight(broken, Steps(), dataset, seeds=[0], collected=dataset)


def test_a_claim_about_new_examples_needs_a_metric_of_examples():
    """The metric has no influences, so new examples cannot be judged: reported before training."""
    of = experiment_of(evaluate=lambda state, data, key: {"mean": data["targets"].mean() * state["w"][0]})
    new = dataclasses.replace(of, claim=dataclasses.replace(of.claim, about="new examples"))
    with pytest.raises(
        ValueError, match=r"must have a metric that depends on data\['weights'\], got test/mean. Weight"
    ):
        checked(new)
    checked(of)

"""Survival after breast cancer: what is fitted, the comparison with Cox's model, and the report."""

import json
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxresearch import data, experiment, loading, metrics, models
from jaxresearch.fields import survival

SURVIVAL = loading.load("survival", directory=Path(__file__).parents[2] / "experiments")


@pytest.fixture(scope="module")
def dataset():
    return SURVIVAL.prepare(SURVIVAL.collect("rotterdam"))


def test_only_rotterdam_is_fitted_and_times_stay_as_they_are(dataset):
    collected = SURVIVAL.collect("rotterdam")
    nodes = np.log1p(collected.train["inputs"]["nodes"])
    place = dataset.card.feature_names.index("nodes")
    np.testing.assert_allclose(dataset.train["inputs"][:, place], (nodes - nodes.mean()) / nodes.std(), atol=1e-5)
    for part, prepared in ((collected.train, dataset.train), (collected.test, dataset.test)):
        np.testing.assert_array_equal(prepared["targets"], part["targets"].astype(np.float32))
    expected = survival.cox_regression(dataset.train["inputs"], dataset.train["targets"])
    np.testing.assert_allclose(dataset.fitted["coefficients"], expected, rtol=1e-5)


@pytest.mark.long
def test_the_gain_is_the_difference_to_coxs_model(dataset):
    program, h = experiment.program(SURVIVAL, dataset), SURVIVAL.hyperparameters
    state = program.init(jax.random.key(0), h)
    found = jax.jit(program.evaluate)(jax.random.key(1), h, state, dataset.test)
    cox = metrics.concordance()(dataset.test["inputs"] @ dataset.fitted["coefficients"], dataset.test["targets"])
    assert float(found["concordance_cox"]) == pytest.approx(float(cox), abs=1e-6)
    assert 0.6 < cox < 0.75  # published concordances of these data are about 0.65 to 0.68
    assert float(found["gain"]) == pytest.approx(float(found["concordance"] - cox), abs=1e-6)


@pytest.mark.long
def test_the_report_leaves_out_the_padding_of_a_fold(dataset):
    h, few, rest = SURVIVAL.hyperparameters, *(data.take(dataset.test, rows) for rows in (slice(50), slice(50, 90)))
    params, _ = models.mlp(dataset.card.n_features, h.hidden, 1).init(jax.random.key(0))
    state = types.SimpleNamespace(params=jax.tree.map(lambda leaf: leaf[None], params))
    padded = jax.tree.map(lambda *values: np.concatenate(values), few, rest) | {
        "weights": np.repeat([1.0, 0.0], [50, 40])
    }
    reports = [SURVIVAL.report(h, state, None, dataset._replace(test=part)) for part in (few, padded)]
    assert reports[0] == reports[1]


@pytest.mark.long
def test_a_smoke_run_reports_calibration(command, tmp_path):
    done = command("run", "survival", "--smoke", "--directory", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (
        result["report"].startswith("no event after five years: 0.") and "Cox's model predicted 0." in result["report"]
    )
    assert {"test/concordance", "test/concordance_cox", "test/gain"} <= set(result["metrics"])


def test_a_table_needs_a_time_and_an_event(command, tmp_path):
    (tmp_path / "my.csv").write_text("age,days,died\n" + "60,10,1\n70,-5,0\n" * 20)
    for target, message in (("days", "such as days,died, got 'days'"), ("days,died", "got -5 in row 2")):
        words = ("--data", tmp_path / "my.csv", "--target", target, "--directory", tmp_path / "run")
        done = command("run", "survival", *words)
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr

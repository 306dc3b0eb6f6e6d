"""pupil_growth: whole pupils are held out, and the maximum of the likelihood is that of other programs."""

import csv
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import experiment as experiments
from jaxresearch import loading

GROWTH = loading.load("pupil_growth", directory=Path(__file__).parents[2] / "experiments")


@pytest.fixture(scope="module")
def collected():
    return GROWTH.collect("pupils")


def test_the_last_score_of_a_pupil_is_the_target(collected):
    pupils = [part["groups"] for part in (collected.train, collected.test)]
    assert not {*pupils[0]} & {*pupils[1]} and sum(map(len, pupils)) == 1721
    for part in (collected.train, collected.test):
        years = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
        scores = np.stack([part["inputs"][f"score {year:g}"] for year in years], axis=1)
        assert np.isnan(scores[years[None] >= part["inputs"]["year"][:, None]]).all()  # nothing from the year or after
        assert (~np.isnan(scores)).any(axis=1).all()
    assert 0.18 < len(pupils[1]) / 1721 < 0.22 and len(collected.card.columns[0].levels) == 60


@pytest.mark.long
@pytest.mark.parametrize(("schools", "growth"), [(False, 0.747), (True, 0.76)])
def test_growth_of_all_pupils_is_the_published_one(schools, growth):
    dataset = GROWTH.prepare(GROWTH.collect("pupils:all"))
    h = GROWTH.hyperparameters.__class__(schools=schools)
    program, key = experiments.program(GROWTH, dataset), jax.random.key(0)
    state, history = jax.jit(program.run)(key, h, dataset.train)
    # Without schools: MixedLM of statsmodels. With schools: Raudenbush and Bryk (2002), table 8.3.
    np.testing.assert_allclose(state.params["mean"][1], growth, atol=5e-3)
    assert abs(history["loss"][-1] - history["loss"][-20]) < 1e-5  # it has converged
    shown = GROWTH.report(h, jax.tree.map(lambda leaf: np.asarray(leaf)[None], state), None, None)
    assert f"growth: {float(state.params['mean'][1]):.3f} logits a year (95 % interval 0.7" in shown


def test_support_is_recommended_as_the_metric_counts_it(collected):
    dataset, key = GROWTH.prepare(collected), jax.random.key(0)
    algorithm = experiments.program(GROWTH, dataset).algorithm(GROWTH.hyperparameters)
    state, inputs = algorithm.init(key), dataset.test["inputs"]
    # So that some pupils stand out from the mean line without training.
    state = state._replace(params={**state.params, "mean": jnp.array([0.0, 0.7]), "pupil": jnp.array([0.0, 0.0, -0.5])})
    found = algorithm.evaluate(state, dataset.test, key)
    score, low, high, slower = np.asarray(algorithm.predict(state, inputs)).T
    targets = dataset.test["targets"][:, 0]
    assert 0 < np.mean(slower > 0.975) < 1 and 0 < np.mean(slower < 0.025) < 1
    np.testing.assert_allclose(found["support"], np.mean(slower > 0.975), atol=1e-6)
    np.testing.assert_allclose(found["ahead"], np.mean(slower < 0.025), atol=1e-6)
    np.testing.assert_allclose(found["error"], np.abs(score - targets).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["covered"], np.mean((low < targets) & (targets < high)), atol=1e-6)


@pytest.mark.long
def test_predict_writes_limits_and_a_recommendation(command, tmp_path):
    done = command("run", "pupil_growth", "--seeds", "1", "--epochs", "50", "--directory", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    known = [f"score {year:g}" for year in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)]
    rows = [["pupil", "schoolid", "year", *known, "math"], ["a", "2020", 0.5, "", -2.0, -1.4, "", "", "", -0.5]]
    with open(tmp_path / "new.csv", "w", newline="") as file:
        csv.writer(file).writerows([*rows, ["b", "2040", 0.5, "", -1.0, "", "", "", "", 0.5]])
    done = command("predict", tmp_path / "run", tmp_path / "new.csv", "--output", tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    assert "mean_absolute_error" in done.stdout
    with open(tmp_path / "out.csv", newline="") as file:
        predicted = list(csv.DictReader(file))
    assert [*predicted[0]][:6] == ["pupil", "math", "prediction math", "low", "high", "slower"]
    for row in predicted:
        score, low, high, slower = (float(row[name]) for name in ("prediction math", "low", "high", "slower"))
        assert low < score < high and 0 <= slower <= 1

"""The change of lane: the baseline is tuned in training scenarios, policies start near it, and mistakes are one line."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import experiment, loading
from jaxresearch.fields import driving

FILE = Path(__file__).parents[2] / "experiments" / "lane_change.py"
LANE = loading.load(str(FILE))


@pytest.fixture(scope="module")
def dataset():
    """A few of the scenarios."""
    collected = LANE.collect("scenarios")
    assert collected.n_train == len(collected.test["inputs"]) == 1000
    assert not {*map(bytes, collected.train["inputs"])} & {*map(bytes, collected.test["inputs"])}
    train, test = ({"inputs": part["inputs"][:30]} for part in (collected.train, collected.test))
    return LANE.prepare(collected._replace(train=train, test=test))


@pytest.mark.long
def test_a_policy_without_corrections_is_pure_pursuit(dataset):
    h = LANE.hyperparameters.__class__(correction=0.0, batch_size=30)
    program = experiment.program(LANE, dataset)
    state = jax.jit(program.init)(jax.random.key(0), h)
    part = dataset.test | {"weights": jnp.arange(30.0) % 3}
    values = jax.jit(program.evaluate)(jax.random.key(1), h, state, part)
    for name in ("accident", "collision", "off_road", "skid", "tracking_error", "lateral_acceleration"):
        np.testing.assert_allclose(values[name], values[f"pursuit_{name}"], rtol=1e-5)
    assert values["gain_accident"] == 0

    def of_scenario(row):
        scenario = driving.Scenario(*row)
        return driving.outcomes(
            driving.drive(scenario, driving.pursuit(scenario, state.model_state), n_steps=80, dt=0.1), scenario
        )

    expected = jax.jit(jax.vmap(of_scenario))(part["inputs"])["tracking_error"]
    np.testing.assert_allclose(values["tracking_error"], np.average(expected, weights=part["weights"]), rtol=1e-4)


@pytest.mark.long
def test_pursuit_is_tuned_over_the_horizon_of_the_run(dataset, monkeypatch):
    monkeypatch.setitem(LANE.algorithm.__globals__, "LOOKAHEADS", [(4.0, 0.0), (5.0, 0.2)])
    for horizon, best in ((10, (5.0, 0.2)), (80, (4.0, 0.0))):  # 1 and 0 accidents in a second, 2 and 3 in eight
        h = LANE.hyperparameters.__class__(horizon=horizon, batch_size=30)
        state = jax.jit(experiment.program(LANE, dataset).init)(jax.random.key(0), h)
        np.testing.assert_allclose(state.model_state, best)


@pytest.mark.long
def test_padding_of_a_fold_does_not_change_the_tuning(dataset, monkeypatch):
    reverse = LANE.algorithm.__globals__["LOOKAHEADS"][::-1]  # of several without accidents, the first is not the best
    monkeypatch.setitem(LANE.algorithm.__globals__, "LOOKAHEADS", reverse)
    rows, h = dataset.train["inputs"], LANE.hyperparameters.__class__(batch_size=30)
    padded = {"scenarios": np.concatenate([rows, np.zeros_like(rows[:1])])}
    state = jax.jit(experiment.program(LANE, dataset, fitted=padded).init)(jax.random.key(0), h)
    np.testing.assert_allclose(state.model_state, (3.0, 0.1))


@pytest.mark.long
def test_training_lowers_the_cost(dataset):
    h = LANE.hyperparameters.__class__(batch_size=30, epochs=30)
    program = experiment.program(LANE, dataset)
    _, history = jax.jit(program.run)(jax.random.key(0), h, dataset.train)
    assert history["loss"][-1] < 0.9 * history["loss"][0]  # the tracking error of pursuit is left, and it is small


@pytest.mark.long
def test_a_run_reports_both_controllers_and_a_picture(command, tmp_path):
    rows = np.asarray(jax.tree.leaves(driving.scenarios(jax.random.key(3), n=15))).T
    lines = [",".join(driving.Scenario._fields), *(",".join(map(str, row)) for row in rows.tolist())]
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    words = ("--data", tmp_path / "mine.csv", "--batch-size", 4, "--seeds", 1, "--horizon", 20, "--smoke")
    done = command("run", FILE, *words, "--directory", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert {"test/accident", "test/pursuit_accident", "test/gain_accident"} < result["metrics"].keys()
    assert " accidents in 3 test scenarios, tracking error " in result["report"] and "=" * 90 in result["report"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--horizon", 0), "horizon (time steps of a tenth of a second) must be at least 1, got 0"),
        (("--target", "y"), "target must be left out with scenarios, got scenarios. They have no targets."),
        (("--data", "bad.csv"), "speed in row 2 of"),
        (("--data", "nowhere.csv"), "data must be scenarios or a CSV file of scenarios; "),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(command, words, message, tmp_path):
    (tmp_path / "bad.csv").write_text(",".join(driving.Scenario._fields) + "\n-9,0,0,20,45,3,30,0,55,3.5\n")
    words = [tmp_path / word if str(word).endswith(".csv") else word for word in words]
    done = command("run", FILE, *words, "--directory", tmp_path / "run")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()

"""Survival: Cox's model has the published coefficients, and estimates equal loops over the patients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import data, losses, models, training
from jaxresearch.fields import survival

# Weeks of remission of 21 patients on 6-mercaptopurine and of 21 on placebo, with + for the last visit (Freireich et al., 1963;
# Cox, 1972, table 1).
TREATED = "6+ 6 6 6 7 9+ 10+ 10 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def _targets(words):
    return [[float(word.strip("+")), float(not word.endswith("+"))] for word in words.split()]


@pytest.fixture(scope="module")
def leukaemia():
    """Returns whether each patient had placebo, and times and events."""
    targets = np.array(_targets(TREATED) + _targets(PLACEBO), np.float32)
    return np.repeat([[0.0], [1.0]], 21, axis=0).astype(np.float32), targets


@pytest.fixture(scope="module")
def patients():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(80, 3)).astype(np.float32)
    times = generator.exponential(np.exp(-inputs @ [1.0, -0.5, 0.0]) * 10).round()
    return inputs, np.stack([times, generator.random(80) < 0.7], axis=1).astype(np.float32)


@pytest.mark.parametrize(("ties", "published"), [("efron", 1.5721), ("breslow", 1.5092)])
def test_the_published_hazard_ratio_of_leukaemia(leukaemia, ties, published):
    """1.5721 and 1.5092 are what R's coxph reports by its two methods for ties."""
    placebo, targets = leukaemia
    slope = jax.jit(jax.grad(lambda coefficient: losses.cox_loss(coefficient * placebo, targets, ties=ties).mean()))
    low, high = 0.0, 3.0
    for _ in range(30):  # the likelihood is concave
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    assert low == pytest.approx(published, abs=1e-4)
    if ties == "efron":
        found = survival.cox_regression(placebo, targets)
        assert found.shape == (1, 1) and float(found[0, 0]) == pytest.approx(published, abs=1e-4)


def test_the_published_remissions_of_leukaemia(leukaemia):
    """Kaplan-Meier estimates of the treated patients: 0.8571 (0.0764) after 6 weeks, 0.4482 (0.1346) after 23."""
    treated = leukaemia[1][:21]
    for at, published in ((6, (0.8571, 0.0764)), (23, (0.4482, 0.1346))):
        np.testing.assert_allclose(survival.kaplan_meier(treated, at=at), published, atol=1e-4)
    assert str(survival.kaplan_meier(treated, at=6)) == "0.857 (0.707 to 1.000)"
    placebo = survival.kaplan_meier(leukaemia[1][21:], at=30)
    assert float(placebo.value) == float(placebo.error) == 0.0


def test_newtons_method_ends_where_the_gradient_vanishes(patients):
    inputs, targets = patients
    found = survival.cox_regression(inputs, targets)
    gradient = jax.grad(lambda coefficients: losses.cox_loss(inputs @ coefficients, targets).mean())(found)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)  # float32
    assert abs(float(found[0, 0]) - 1.0) < 0.4 and abs(float(found[1, 0]) + 0.5) < 0.4  # as drawn; errors are some 0.15


def test_newtons_method_allows_for_redundant_columns(patients):
    inputs, targets = patients
    is_high = inputs[:, :1] > 0
    both = np.concatenate([is_high, ~is_high], axis=1).astype(np.float32)
    found = survival.cox_regression(both, targets)
    single = survival.cox_regression(both[:, :1], targets)
    np.testing.assert_allclose(found[0] - found[1], single[0], rtol=1e-3)  # a pseudoinverse in float32
    np.testing.assert_allclose(found.sum(), 0, atol=1e-3)


@pytest.mark.long
def test_gradient_descent_of_a_linear_model_equals_newton(patients):
    inputs, targets = patients
    algorithm = training.supervised(
        models.linear(3, 1), losses.cox_loss, optimizer=training.gradient_descent(1.0), metrics={}
    )
    part = {"inputs": jnp.asarray(inputs), "targets": jnp.asarray(targets)}
    plan = training.plan_of(80, batch_size=80, epochs=300)
    state, _ = training.run(jax.random.key(0), part, algorithm=algorithm, plan=plan)
    expected = survival.cox_regression(inputs, targets)
    np.testing.assert_allclose(state.params["Dense_0"]["kernel"], expected, atol=1e-3)  # 300 steps of gradient descent


def test_estimates_equal_a_loop_over_the_patients(patients):
    inputs, targets = patients
    risks, at = inputs[:, :1], 8
    hazard, survived = 0.0, 1.0
    for time in sorted({time for time, event in targets if event and time <= at}):
        n_events = sum(event for one, event in targets if one == time)
        followed = targets[:, 0] >= time
        survived *= 1 - n_events / followed.sum()
        hazard += n_events / np.exp(risks[followed].astype(np.float64)).sum()
    # Float32 sums over 80 patients.
    np.testing.assert_allclose(survival.kaplan_meier(targets, at=at).value, survived, rtol=1e-5)
    np.testing.assert_allclose(survival.baseline_hazard(risks, targets, at=at), hazard, rtol=1e-5)


def test_calibration_groups_patients_by_prediction(patients):
    inputs, targets = patients
    predicted = 1 / (1 + np.exp(inputs[:, 0]))
    found = survival.calibration(predicted, targets, at=8, n_groups=4)
    order = np.argsort(predicted)
    for group in range(4):
        rows = order[20 * group : 20 * (group + 1)]
        np.testing.assert_allclose(found.predicted[group], predicted[rows].mean(), rtol=1e-5)
        np.testing.assert_allclose(found.observed[group], survival.kaplan_meier(targets[rows], at=8), rtol=1e-5)
    with pytest.raises(ValueError, match="n_groups must be from 1 to the 80 patients, got 0"):
        survival.calibration(predicted, targets, at=8, n_groups=0)
    with pytest.raises(ValueError, match="n_steps must be 1 or more, got 0"):
        survival.cox_regression(inputs, targets, n_steps=0)


def _table(folder, *rows, header="age,days,died"):
    path = folder / "patients.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


ROWS = [f"{50 + i % 9},{30 * i + 1},{i % 2}" for i in range(20)]


def test_load_reads_times_and_events_of_a_table(tmp_path):
    patients = survival.load(_table(tmp_path, *ROWS), target="days,died", split=data.Split(by="stretch"))
    assert patients.card.feature_names == ("age",) and not patients.card.class_names
    np.testing.assert_array_equal(patients.train["targets"], [[30 * i + 1, i % 2] for i in range(16)])
    assert patients.card.target.name == "log hazard of died"
    assert patients.card.target.note == "of the times in column days, column died marks those that ended in an event"


@pytest.mark.parametrize(
    ("changes", "target", "message"),
    [
        ({}, "days", "target must be the columns of the time and of the event, such as days,died, got 'days'"),
        ({}, None, "target must be a column of .*patients.csv, got 'time'"),
        ({}, "day,died", "got 'day'. Did you mean 'days'?"),
        ({}, "days,dead", "event must be a column of patients besides the time, got 'dead'"),
        ({}, "days,days", "event must be a column of patients besides the time, got 'days'"),
        ({4: "60,-3,1"}, "days,died", r"column days must hold times of at least 0, got -3 in row 5 \(1 in all\)"),
        ({4: "60,,1"}, "days,died", "target days must have a value in every row, got none in row 5"),
        ({4: "60,soon,1"}, "days,died", "column days must be numbers or words, got 19 of 20 .*'soon' in row 5"),
        ({4: "60,3,2"}, "days,died", r"died must be 1 for an event and 0 without one, got 2 in row 5 \(1 in all\)"),
        ({4: "60,3,"}, "days,died", "died must be 1 for an event and 0 without one, got no value in row 5"),
        (
            {i: f"60,{i},0" for i in range(20)},
            "days,died",
            "column died must have an event, 1, in some row, got 0 in all",
        ),
        ({i: f"60,{i},yes" for i in range(20)}, "days,died", "got the word 'yes' in row 1"),
        ({i: f"60,{i},{'1' if i else ''}yes" for i in range(3, 20)}, "days,died", r"'1yes' in row 4 \(17 in all\)"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_in_a_line(tmp_path, changes, target, message):
    rows = [changes.get(place, row) for place, row in enumerate(ROWS)]
    with pytest.raises(ValueError, match=message) as refused:
        survival.load(_table(tmp_path, *rows), target=target)
    assert len(str(refused.value).splitlines()) == 1


def test_events_may_be_read_as_words(tmp_path):
    found = survival.load(_table(tmp_path, *ROWS), target="days,died", types={"died": "category"})
    assert {*found.train["targets"][:, 1].tolist()} == {0.0, 1.0} and found.card.feature_names == ("age",)


def test_events_alone_are_no_features(tmp_path):
    rows = [row.partition(",")[2] for row in ROWS]
    with pytest.raises(ValueError, match="must hold a column besides days and died, got none"):
        survival.load(_table(tmp_path, *rows, header="days,died"), target="days,died")


def test_event_is_for_tables_alone():
    with pytest.raises(ValueError, match="event must come with a table .*got 'died' for mnist"):
        data.load("mnist", event="died")

"""The car against SciPy and closed forms, its limits, distances, controllers, plans and pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from jaxresearch.execution.compilation import compiler_options
from jaxresearch.fields import driving

CAR = driving.BMW_320I
ONE = driving.Scenario(*np.array([10.0, 0, 0, 20, 45, 3, 30, 0, 55, 3.5], np.float32))


def held(rate, acceleration):
    return lambda state, step: driving.Controls(rate, acceleration)


def test_rollout_agrees_with_scipy():
    rate, acceleration, seconds = 0.1, 1.5, 2.0

    def moving(time, state):
        x, y, steering, speed, heading = state
        slip = np.arctan(CAR.rear / CAR.wheelbase * np.tan(steering))
        turning = speed / CAR.wheelbase * np.cos(slip) * np.tan(steering)
        return [speed * np.cos(heading + slip), speed * np.sin(heading + slip), rate, acceleration, turning]

    exact = scipy.integrate.solve_ivp(moving, (0, seconds), [0, 1, 0, 5, 0.2], rtol=1e-10, atol=1e-10).y[:, -1]
    start = driving.start(speed=5.0, y=1.0, heading=0.2)
    states = driving.rollout(start, held(rate, acceleration), n_steps=20, dt=0.1)
    # float32 over 20 steps, and an error of order dt^4
    np.testing.assert_allclose([value[-1] for value in states], exact, rtol=1e-5)


def test_rollout_of_a_held_wheel_is_a_circle():
    angle, speed = 0.3, 4.0
    start = driving.start(speed=speed)._replace(steering=jnp.asarray(angle))
    states = driving.rollout(start, held(0.0, 0.0), n_steps=60, dt=0.1)
    slip = np.arctan(CAR.rear / CAR.wheelbase * np.tan(angle))
    radius = CAR.wheelbase / (np.cos(slip) * np.tan(angle))
    centre = -radius * np.sin(slip), radius * np.cos(slip)
    distances = np.hypot(states.x - centre[0], states.y - centre[1])
    np.testing.assert_allclose(distances, radius, rtol=1e-4)  # of float32, over one and a half turns
    np.testing.assert_allclose(driving.lateral_acceleration(start), speed**2 / radius, rtol=1e-5)


def test_step_keeps_the_limits_of_the_car():
    states = driving.rollout(driving.start(speed=49.0), held(9.0, 99.0), n_steps=100, dt=0.1)
    np.testing.assert_allclose(states.steering[0], CAR.steering_rate * 0.1, rtol=1e-5)
    np.testing.assert_allclose(states.speed[0] - 49, 0.1 * CAR.acceleration * CAR.switch_speed / 49, rtol=1e-3)
    assert states.steering.max() == np.float32(CAR.steering) and states.speed.max() == np.float32(CAR.speed)
    stopping = driving.rollout(driving.start(speed=2.0), held(0.0, -99.0), n_steps=5, dt=0.1)
    np.testing.assert_allclose(stopping.speed, [0.85, 0, 0, 0, 0], atol=1e-6)


def test_rollout_is_differentiable_through_time():
    def ending(rate):
        return driving.rollout(driving.start(speed=8.0), held(rate, 0.0), n_steps=20, dt=0.1).y[-1]

    slope = jax.grad(ending)(0.05)
    expected = (ending(0.06) - ending(0.04)) / 0.02
    np.testing.assert_allclose(slope, expected, rtol=0.01)  # a central difference of a smooth curve


def test_rollouts_of_scenarios_are_single_rollouts():
    drawn = driving.scenarios(jax.random.key(1), n=3)

    def driven(scenario):
        return driving.drive(scenario, driving.pursuit(scenario, (6.0, 0.0)), n_steps=30, dt=0.1)

    together = jax.jit(jax.vmap(driven))(drawn)
    alone = driven(jax.tree.map(lambda of: of[2], drawn))
    np.testing.assert_allclose(together.y[2], alone.y, atol=1e-4)  # float32 over 30 steps


def test_clearance_and_margin_are_distances():
    ahead = driving.start(
        speed=0.0, x=jnp.array([10.0, 30.0, 30.0]), y=jnp.array([0.0, 3.5, 0.5]), heading=jnp.zeros(3)
    )
    radius = np.hypot(CAR.length / 6, CAR.width / 2)
    found = driving.clearance(ahead, ONE)
    expected = [20 - CAR.length / 2 - CAR.length / 3 - radius, 3.5 - CAR.width / 2 - radius]
    np.testing.assert_allclose(found[:2], expected, rtol=1e-5)
    assert found[2] < 0  # inside the parked car
    across = driving.start(speed=0.0, y=1.75, heading=np.pi / 2)
    np.testing.assert_allclose(driving.road_margin(across), 3.5 - CAR.length / 2, rtol=1e-5)


def test_clearance_has_a_derivative_inside_and_outside():
    def distance(y):
        return driving.clearance(driving.start(speed=0.0, x=30.0, y=y), ONE)

    assert jax.grad(distance)(1.2) == pytest.approx(1.0, abs=1e-5) and np.isfinite(jax.grad(distance)(0.0))


@pytest.mark.long
def test_clearance_has_derivatives_along_a_drive():
    def mean_distance(lookahead, scenario):
        states = driving.drive(scenario, driving.pursuit(scenario, lookahead), n_steps=40, dt=0.1)
        return driving.clearance(states, scenario).mean()

    drawn = driving.scenarios(jax.random.key(0), n=30)
    slopes = jax.jit(jax.vmap(jax.grad(mean_distance), (None, 0)))(jnp.array([3.0, 0.1]), drawn)
    assert np.isfinite(slopes).all()


def test_cost_counts_the_first_change_of_the_steering():
    straight = driving.rollout(driving.start_of(ONE), lambda state, step: driving.Controls(0.0, 0.0), n_steps=4, dt=0.1)
    turned = straight._replace(steering=jnp.array([0.02, 0.02, 0.02, 0.05]))
    costs = [driving.cost(states, ONE, barrier=0.0, margin=0.3) for states in (turned, straight)]
    np.testing.assert_allclose(costs[0] - costs[1], 1e-3 * (2**2 + 3**2) / 4, rtol=1e-3)  # float32 sums


def test_pure_pursuit_is_the_arc_through_the_point():
    angles = np.linspace(-1.5, 1.5, 64).astype(np.float32)
    state = jax.vmap(lambda heading: driving.start(speed=5.0, heading=heading))(angles / 5)

    def steering(state):
        return jax.vmap(lambda one: driving.pure_pursuit(one, lambda x: 0.2 * x, lookahead=3.0))(state)

    aside = 0.2 * (3 - CAR.rear * np.cos(angles / 5)) + CAR.rear * np.sin(angles / 5)
    to_the_left = np.cos(angles / 5) * aside - 3 * np.sin(angles / 5)
    expected = np.arctan(2 * CAR.wheelbase * to_the_left / (9 + aside**2))
    lowered = jax.jit(steering).lower(state)
    compiled = lowered.compile(compiler_options(lowered))  # as runs compile it
    np.testing.assert_allclose(compiled(state), expected, atol=1e-5)
    np.testing.assert_allclose(steering(state), expected, atol=1e-5)


@pytest.mark.long
def test_tuned_lookahead_avoids_accidents_first():
    drawn = driving.scenarios(jax.random.key(2), n=20)
    choices = jnp.array([[3.0, 0.0], [5.0, 0.0], [40.0, 0.0]])
    best = driving.tuned_lookahead(drawn, choices, n_steps=80, dt=0.1)

    def accidents(lookahead):
        def of_scenario(one):
            return driving.outcomes(driving.drive(one, driving.pursuit(one, lookahead), n_steps=80, dt=0.1), one)

        return jax.vmap(of_scenario)(drawn)["accident"].mean()

    assert accidents(best) == min(map(accidents, choices)) < 0.5 < accidents(choices[2])


@pytest.mark.long
def test_plan_passes_where_the_path_collides():
    scenario = ONE._replace(out=np.float32(27.0))  # too late for exact tracking

    def cost(states):
        return driving.cost(states, scenario, barrier=30.0, margin=0.3)

    start = driving.start_of(scenario)
    followed = driving.drive(scenario, driving.pursuit(scenario, (5.0, 0.0)), n_steps=60, dt=0.1)
    _, states, costs = jax.jit(lambda: driving.plan(start, cost, guess=followed, dt=0.1))()
    assert (
        driving.outcomes(followed, scenario)["collision"] == 1 and driving.outcomes(states, scenario)["collision"] == 0
    )
    assert costs[-1] < 0.2 * costs[0]


def test_drawing_shows_cars_and_paths():
    x = np.arange(80.0)
    lines = driving.drawing({"o": (x, 0 * x), "x": (x, 0 * x + 1.75)}, ONE, n_columns=80).splitlines()
    assert len(lines) == 17 and {*map(len, lines)} == {80} and {*lines[0]} == {*lines[-1]} == {"="}
    assert lines[8] == "x" * 80 and lines[12] == "o" * 80
    assert lines[11].index("#") == 28 and lines[11].count("#") == 5  # 30 m, less half of 4.5 m


def test_read_scenarios_takes_columns_in_any_order(tmp_path):
    names = driving.Scenario._fields[::-1]
    text = ",".join(names) + "\n" + ",".join(map(str, range(10))) + "\n"
    (tmp_path / "mine.csv").write_text(text, encoding="utf-8-sig")  # as spreadsheets write it
    assert [value.tolist() for value in driving.read_scenarios(tmp_path / "mine.csv")] == [[9 - i] for i in range(10)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:1], "must have a row of names and a row for each scenario, got no scenario"),
        (
            lambda rows: [row.split(",", 1)[1] for row in rows],
            "must have the columns speed, y, .*, got no speed. Add it",
        ),
        (lambda rows: [*rows, "-2" + rows[1][1:]], "speed in row 3 of .* must be 0 or more, got -2. The car does not"),
        (lambda rows: [*rows, "x" + rows[1][1:]], "speed in row 3 of .* must be a finite number, got 'x'. Correct it"),
        (
            lambda rows: [*rows, rows[1].replace(",3,", ",0,", 1)],
            "scale in row 3 of .* must be above 0, got 0. Write metres",
        ),
        (lambda rows: [*rows, "9,1"], "heading in row 3 of .* must be a finite number, got None. Correct it"),
    ],
)
def test_read_scenarios_names_the_row_that_is_wrong(change, message, tmp_path):
    rows = [",".join(driving.Scenario._fields), "9,0,0,20,45,3,30,0,55,3.5"]
    (tmp_path / "bad.csv").write_text("\n".join(change(rows)) + "\n")
    with pytest.raises(ValueError, match=message):
        driving.read_scenarios(tmp_path / "bad.csv")


@pytest.mark.raises
@pytest.mark.parametrize(
    ("fun", "message"),
    [
        (lambda: driving.start(speed=-3.0), r"speed must be 0 or more, got -3\. The car does not reverse"),
        (lambda: driving.scenarios(jax.random.key(0), n=0), "n must be 1 scenario or more, got 0"),
        (lambda: driving.scenarios(jax.random.key(0), n=1, speeds=(-1, 5)), "speeds must be 0 or more, got -1"),
        (lambda: driving.scenarios(jax.random.key(0), n=1, speeds=(9, 5)), "a range from low to high, got 9 to 5"),
        (lambda: driving.rollout(driving.start(speed=1.0), held(0.0, 0.0), n_steps=0, dt=0.1), "n_steps must be 1 or"),
        (lambda: driving.step(driving.start(speed=1.0), driving.Controls(0.0, 0.0), dt=0.0), "dt must be above 0, got"),
        (lambda: driving.pure_pursuit(driving.start(speed=1.0), abs, lookahead=0.0), "lookahead must be above 0, got"),
        (lambda: driving.tuned_lookahead(ONE, jnp.zeros((0, 2)), n_steps=1, dt=0.1), "lookaheads must hold one or"),
        (
            lambda: driving.plan(ONE, sum, guess=ONE, dt=0.1, n_iterations=0),
            "n_iterations must be",
        ),
        (lambda: driving.drawing({}, ONE), "paths must have names of one character, got"),
        (lambda: driving.drawing({"o": ([0], [0])}, ONE, n_columns=1), "n_columns must be 2 or more, got 1"),
        (lambda: driving.load_scenarios(jax.random.key(0), "nowhere"), "a CSV file of scenarios; nowhere is no file"),
    ],
)
def test_mistakes_are_refused_by_name(fun, message):
    with pytest.raises(ValueError, match=message):
        fun()

"""What a driver sees of a scenario, and how good a motion through it is."""

import functools

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxresearch.fields.driving.roads import LANE_WIDTH, Scenario, clearance, reference, road_margin, start_of
from jaxresearch.fields.driving.vehicle import CarState, lateral_acceleration

_PREVIEWS = (0.0, 4.0, 8.0, 12.0, 16.0)  # m ahead, where the path is seen
_TYRES = 8.0  # m/s2, about what dry tyres hold
_COMFORT = 6.0  # m/s2, from where on the cost grows
_SIGHT = 30.0  # m, to which the place of a parked car is cut


def observation(state: CarState, scenario: Scenario) -> Float[Array, " 12"]:
    """Returns what a driver sees, as numbers of about 1: the path, its own motion, and the parked cars.

    Args:
        state: Of the car; a single one.
        scenario: One scenario.

    Returns:
        The path at the car and 4, 8, 12 and 16 m ahead, relative to the car's y, in units of a lane; heading and steering angle
        in tenths of a radian, speed in tens of m/s; where each parked car is, along and across, in tens of metres and in lanes.

    Example:
        >>> from jaxresearch.fields import driving
        >>> one = driving.Scenario(*jnp.array([10.0, 0, 0, 20, 45, 3, 30, 0, 55, 3.5]))
        >>> observation(driving.start(speed=10.0), one)[-4:].tolist()
        [3.0, 0.0, 3.0, 1.0]
    """
    ahead = state.x + jnp.array(_PREVIEWS)
    path = (reference(scenario, ahead) - state.y) / LANE_WIDTH
    own = jnp.stack([10 * state.heading, 10 * state.steering, state.speed / 10])
    parked = []
    for x, y in ((scenario.x_1, scenario.y_1), (scenario.x_2, scenario.y_2)):
        parked += [jnp.clip(x - state.x, -_SIGHT / 3, _SIGHT) / 10, (y - state.y) / LANE_WIDTH]
    return jnp.concatenate([path, own, jnp.stack(parked)])


def cost(states: CarState, scenario: Scenario, *, barrier: ArrayLike, margin: ArrayLike) -> Array:
    r"""Returns the cost of leaving the path, coming too near to a parked car or the edge, abrupt steering, speed changes.

    .. math:: \operatorname{E}_t \left[ (y - y_\text{path})^2 + b \max(0, m - d)^2 + b \max(0, m - e)^2
        + b \max\left(0, \frac{|a| - 6}{10}\right)^2 + 10^{-3} \left(\frac{\Delta\delta}{0.01}\right)^2 + 0.1 (v - v_0)^2 \right]

    The change :math:`\Delta\delta` of the steering angle is that from the state before, at first the start of the scenario.

    Args:
        states: With a leading axis of time.
        scenario: One scenario.
        barrier: The weight b of coming too near and of lateral accelerations a, 0 or more; may be traced.
        margin: The distance m below which the clearance d and the road margin e cost something; may be traced.

    Returns:
        A scalar, in square metres.

    Example:
        >>> from jaxresearch.fields import driving
        >>> one = driving.Scenario(*jnp.array([10.0, 0, 0, 200, 245, 3, 230, 0, 255, 3.5]))
        >>> straight = driving.rollout(
        ...     driving.start(speed=10.0, y=0.5), lambda state, step: driving.Controls(0.0, 0.0), n_steps=5, dt=0.1
        ... )
        >>> round(float(cost(straight, one, barrier=1.0, margin=0.3)), 3)
        0.25
    """
    error = states.y - reference(scenario, states.x)
    lacking = [jnp.maximum(margin - distance, 0) for distance in (clearance(states, scenario), road_margin(states))]
    skidding = jnp.maximum((abs(lateral_acceleration(states)) - _COMFORT) / 10, 0)
    turning = 1e-3 * (jnp.diff(states.steering, prepend=start_of(scenario).steering[None]) / 0.01) ** 2
    speeding = 0.1 * (states.speed - scenario.speed) ** 2
    return jnp.mean(error**2 + barrier * (lacking[0] ** 2 + lacking[1] ** 2 + skidding**2) + turning + speeding)


def outcomes(states: CarState, scenario: Scenario) -> dict[str, Array]:
    """Returns what counts about a motion, by name.

    Args:
        states: With a leading axis of time.
        scenario: One scenario.

    Returns:
        ``collision`` with a parked car, ``off_road``, ``skid`` (a lateral acceleration above 8 m/s2, about what dry tyres hold),
        and ``accident``, any of these; 0 or 1 each. ``tracking_error``, the root mean squared distance from the path
        across the road, in metres; ``lateral_acceleration``, the largest, in m/s2.

    Example:
        >>> from jaxresearch.fields import driving
        >>> one = driving.Scenario(*jnp.array([10.0, 0, 0, 20, 45, 3, 30, 0, 55, 3.5]))
        >>> straight = driving.rollout(
        ...     driving.start(speed=10.0), lambda state, step: driving.Controls(0.0, 0.0), n_steps=40, dt=0.1
        ... )
        >>> {name: round(float(value), 2) for name, value in outcomes(straight, one).items()}
        {'collision': 1.0, 'off_road': 0.0, 'skid': 0.0, 'accident': 1.0, 'tracking_error': 2.24, 'lateral_acceleration': 0.0}
    """
    error = states.y - reference(scenario, states.x)
    largest = abs(lateral_acceleration(states)).max()
    happened = {
        "collision": clearance(states, scenario).min() < 0,
        "off_road": road_margin(states).min() < 0,
        "skid": largest > _TYRES,
    }
    happened["accident"] = functools.reduce(jnp.logical_or, happened.values())
    measured = {"tracking_error": jnp.sqrt(jnp.mean(error**2)), "lateral_acceleration": largest}
    return {name: value.astype(float) for name, value in happened.items()} | measured

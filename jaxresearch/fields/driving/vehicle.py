"""The kinematic single-track model of a car, and its motion over time as a pure scan.

Angles are in radians, lengths in metres, times in seconds. Positions are those of the centre of gravity.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array


class Vehicle(NamedTuple):
    """The parameters of a car.

    Attributes:
        front: From the centre of gravity to the front axle.
        rear: From the centre of gravity to the rear axle.
        length: Of the body, a rectangle around the centre of gravity.
        width: Of the body.
        steering: The largest angle of the front wheels, to either side.
        steering_rate: How fast that angle changes at most.
        acceleration: The largest, forwards or braking.
        speed: The largest, forwards; the car does not reverse.
        switch_speed: The speed above which the power of the engine limits the acceleration.
    """

    front: float
    rear: float
    length: float
    width: float
    steering: float
    steering_rate: float
    acceleration: float
    speed: float
    switch_speed: float

    @property
    def wheelbase(self) -> float:
        """From axle to axle."""
        return self.front + self.rear


BMW_320I = Vehicle(
    front=1.1562,
    rear=1.4227,
    length=4.508,
    width=1.610,
    steering=1.066,
    steering_rate=0.4,
    acceleration=11.5,
    speed=50.8,
    switch_speed=7.319,
)
"""A BMW 320i, vehicle 2 of Althoff, Koschi and Manzinger (2017), CommonRoad: composable benchmarks for motion planning on roads,
IEEE Intelligent Vehicles Symposium, and of their package commonroad-vehicle-models."""


class CarState(NamedTuple):
    """Where a car is and how it moves; each entry an array with the same axes."""

    x: Any
    y: Any
    steering: Any
    speed: Any
    heading: Any


class Controls(NamedTuple):
    """What a driver does: the rate of the steering angle, in rad/s, and the acceleration, in m/s2."""

    steering_rate: Any
    acceleration: Any


def start(*, speed: ArrayLike, x: ArrayLike = 0.0, y: ArrayLike = 0.0, heading: ArrayLike = 0.0) -> CarState:
    """Returns the state of a car with straight wheels.

    Args:
        speed: In m/s, 0 or more; may be traced.
        x: Position along the road.
        y: Position across the road, positive to the left.
        heading: Angle to the road.

    Returns:
        The state.

    Raises:
        ValueError: If the speed is negative.

    Example:
        >>> start(speed=10.0).speed.tolist()
        10.0
    """
    if not isinstance(speed, jax.core.Tracer) and not np.all(np.asarray(speed) >= 0):
        raise ValueError(f"speed must be 0 or more, got {np.min(speed):g}. The car does not reverse.")
    speed, x, y, heading = (jnp.asarray(value, float) for value in (speed, x, y, heading))
    return CarState(x, y, jnp.zeros_like(speed), speed, heading)


def derivatives(state: CarState, controls: Controls, *, vehicle: Vehicle = BMW_320I) -> CarState:
    r"""Returns the derivatives of the kinematic single-track model in time.

    .. math:: \dot x = v \cos(\psi + \beta), \quad \dot y = v \sin(\psi + \beta), \quad \dot\delta = u_1, \quad \dot v = u_2,
        \quad \dot\psi = \frac{v}{a + b} \cos\beta \tan\delta, \quad \tan\beta = \frac{b}{a + b} \tan\delta

    The wheels do not slip, so the model holds for moderate lateral accelerations alone: see `lateral_acceleration`.

    Args:
        state: Position x and y, steering angle :math:`\delta`, speed v, heading :math:`\psi`.
        controls: Rate of the steering angle :math:`u_1`, acceleration :math:`u_2`; limits are those of `step`.
        vehicle: With the distances a and b from the centre of gravity to the front and rear axle.

    Returns:
        The derivatives, in the form of a state.

    Example:
        >>> moving = derivatives(start(speed=10.0), Controls(0.1, 2.0))
        >>> float(moving.x), float(moving.y), moving.steering, moving.speed, float(moving.heading)
        (10.0, 0.0, 0.1, 2.0, 0.0)

    References:
        Althoff, Koschi and Manzinger (2017), CommonRoad: composable benchmarks for motion planning on roads, IEEE Intelligent
        Vehicles Symposium; vehicle models, kinematic single-track model. https://commonroad.in.tum.de
    """
    tangent = jnp.tan(state.steering)
    slip = vehicle.rear / vehicle.wheelbase * tangent  # tan(beta)
    cosine = jax.lax.rsqrt(1 + slip**2)  # in place of cos(arctan(slip)), and the sine of the same angle
    sine = slip * cosine
    along, across = jnp.cos(state.heading), jnp.sin(state.heading)
    return CarState(
        x=state.speed * (along * cosine - across * sine),
        y=state.speed * (across * cosine + along * sine),
        steering=controls.steering_rate,
        speed=controls.acceleration,
        heading=state.speed * cosine * tangent / vehicle.wheelbase,
    )


def step(state: CarState, controls: Controls, *, dt: float, vehicle: Vehicle = BMW_320I) -> CarState:
    """Returns the state a moment later, by a Runge-Kutta step of order 4 with constant controls within their limits.

    Controls are cut to the limits of the vehicle, and so that neither the steering angle nor the speed leaves its own during
    the step. Above its switch speed v_s, the car accelerates by at most a v_s / v.

    Args:
        state: Now.
        controls: Until then.
        dt: Time of the step.
        vehicle: With its limits.

    Returns:
        The state after it.

    Raises:
        ValueError: If the time is not positive.

    Example:
        >>> later = step(start(speed=10.0), Controls(1.0, -200.0), dt=0.5)
        >>> round(float(later.steering), 6), float(later.speed)  # 0.4 rad/s and 11.5 m/s2
        (0.2, 4.25)
    """
    if not dt > 0:
        raise ValueError(f"dt must be above 0, got {dt}. Pass 0.1 for a tenth of a second.")
    limited = _limited(state, controls, dt, vehicle)

    def moved(by: CarState, time: float) -> CarState:
        return jax.tree.map(lambda value, rate: value + time * rate, state, by)

    first = derivatives(state, limited, vehicle=vehicle)
    second = derivatives(moved(first, dt / 2), limited, vehicle=vehicle)
    third = derivatives(moved(second, dt / 2), limited, vehicle=vehicle)
    fourth = derivatives(moved(third, dt), limited, vehicle=vehicle)
    mean = jax.tree.map(lambda k1, k2, k3, k4: (k1 + 2 * k2 + 2 * k3 + k4) / 6, first, second, third, fourth)
    later = moved(mean, dt)
    speed = jnp.clip(later.speed, 0.0, vehicle.speed)  # the limits hold but for rounding
    return later._replace(speed=speed, steering=jnp.clip(later.steering, -vehicle.steering, vehicle.steering))


def _limited(state: CarState, controls: Controls, dt: float, vehicle: Vehicle) -> Controls:
    """Returns the controls within the limits of the vehicle."""
    rate = jnp.clip(controls.steering_rate, -vehicle.steering_rate, vehicle.steering_rate)
    angle = jnp.clip(state.steering + dt * rate, -vehicle.steering, vehicle.steering)
    power = vehicle.acceleration * vehicle.switch_speed / jnp.maximum(state.speed, vehicle.switch_speed)
    acceleration = jnp.clip(controls.acceleration, -vehicle.acceleration, power)
    speed = jnp.clip(state.speed + dt * acceleration, 0.0, vehicle.speed)
    return Controls((angle - state.steering) / dt, (speed - state.speed) / dt)


def rollout(
    state: CarState,
    control_of: Callable[[CarState, Any], Controls],
    *,
    n_steps: int,
    dt: float,
    vehicle: Vehicle = BMW_320I,
) -> CarState:
    """Returns the motion of a car under a controller: a pure scan, to compile, map over scenarios or differentiate.

    Args:
        state: At the start.
        control_of: ``(state, step) -> controls``, from 0; an open-loop controller reads entry ``step`` of an array.
        n_steps: Time steps of the horizon, 1 or more.
        dt: Time of a step.
        vehicle: The car.

    Returns:
        The states after each step, with a leading axis of time.

    Raises:
        ValueError: If the horizon has no steps.

    Example:
        >>> braking = rollout(start(speed=10.0), lambda state, step: Controls(0.0, -5.0), n_steps=4, dt=1.0)
        >>> braking.speed.tolist(), braking.x.tolist()
        ([5.0, 0.0, 0.0, 0.0], [7.5, 10.0, 10.0, 10.0])
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be 1 or more, got {n_steps}. A horizon has at least one step.")

    def move(state: CarState, count: Array) -> tuple[CarState, CarState]:
        later = step(state, control_of(state, count), dt=dt, vehicle=vehicle)
        return later, later

    return jax.lax.scan(move, jax.tree.map(lambda value: jnp.asarray(value, float), state), jnp.arange(n_steps))[1]


def lateral_acceleration(state: CarState, *, vehicle: Vehicle = BMW_320I) -> Array:
    r"""Returns the acceleration across the direction of motion in m/s2, positive to the left.

    .. math:: a = v \dot\psi = \frac{v^2}{a + b} \cos\beta \tan\delta

    Tyres hold about 8 m/s2 on a dry road. The kinematic model does not know this limit, so look at it.

    Args:
        state: Of the car.
        vehicle: The car.

    Returns:
        The acceleration, for each entry of the state.

    Example:
        >>> float(lateral_acceleration(start(speed=30.0)))
        0.0
    """
    return state.speed * derivatives(state, Controls(0.0, 0.0), vehicle=vehicle).heading

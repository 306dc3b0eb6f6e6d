"""Controllers that follow a path."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxresearch.fields.driving.vehicle import BMW_320I, CarState, Controls, Vehicle


def pure_pursuit(
    state: CarState, path: Callable[[ArrayLike], Array], *, lookahead: ArrayLike, vehicle: Vehicle = BMW_320I
) -> Array:
    r"""Returns the steering angle of the arc from the rear axle to a point of the path ahead.

    .. math:: \tan\delta = \frac{2 (a + b)\, e}{\ell^2}

    Here :math:`e` is how far to the left of the car the point lies, and :math:`\ell` its distance.

    Args:
        state: Of the car.
        path: ``x -> y``.
        lookahead: How far ahead of the rear axle the point lies, along the road; above 0, may be traced.
        vehicle: The car, whose limits are not applied: `step` does.

    Returns:
        The angle of the front wheels, positive to the left.

    Raises:
        ValueError: If the distance is a number of 0 or less.

    Example:
        >>> from jaxresearch.fields import driving
        >>> float(pure_pursuit(driving.start(speed=10.0), lambda x: 0 * x, lookahead=8.0))
        0.0

    References:
        Coulter (1992), Implementation of the pure pursuit path tracking algorithm, Carnegie Mellon University,
        CMU-RI-TR-92-01, section 2.
    """
    if isinstance(lookahead, int | float) and not lookahead > 0:
        raise ValueError(f"lookahead must be above 0, got {lookahead}. Pass metres, such as 8.")
    along, across = jnp.cos(state.heading), jnp.sin(state.heading)
    x, y = state.x - vehicle.rear * along, state.y - vehicle.rear * across
    ahead, aside = lookahead, path(x + lookahead) - y
    to_the_left = along * aside - across * ahead
    return jnp.arctan2(2 * vehicle.wheelbase * to_the_left, ahead**2 + aside**2)


def steered(state: CarState, angle: ArrayLike, *, dt: float) -> Controls:
    """Returns the controls that turn the front wheels to an angle by the next step, at constant speed.

    Args:
        state: Of the car.
        angle: Wanted; if it is too far for the steering, the wheels turn as fast as they can.
        dt: Time of the step.

    Returns:
        The controls, before the limits that `step` applies.

    Example:
        >>> from jaxresearch.fields import driving
        >>> round(float(steered(driving.start(speed=10.0), 0.02, dt=0.1).steering_rate), 6)
        0.2
    """
    rate = (angle - state.steering) / dt
    return Controls(rate, jnp.zeros_like(rate))

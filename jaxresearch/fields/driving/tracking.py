"""Following the path of a scenario: drives under a controller, and pure pursuit with a tuned look-ahead."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxresearch.fields.driving.assessment import outcomes
from jaxresearch.fields.driving.control import pure_pursuit, steered
from jaxresearch.fields.driving.roads import Scenario, reference, start_of
from jaxresearch.fields.driving.vehicle import CarState, Controls, rollout

AngleOf = Callable[[CarState], Array]


def drive(scenario: Scenario, angle_of: AngleOf, *, n_steps: int, dt: float) -> CarState:
    """Returns the motion through a scenario at constant speed under a controller of the steering angle.

    Args:
        scenario: One scenario.
        angle_of: ``state -> steering angle``.
        n_steps: Time steps, 1 or more.
        dt: Time of a step.

    Returns:
        The states after each step.

    Raises:
        ValueError: If there is no time step.

    Example:
        >>> from jaxresearch.fields import driving
        >>> one = driving.Scenario(*jnp.array([10.0, 0, 0, 20, 45, 3, 30, 0, 55, 3.5]))
        >>> drive(one, lambda state: 0 * state.x, n_steps=3, dt=0.5).x.tolist()
        [5.0, 10.0, 15.0]
    """

    def control_of(state: CarState, count: Array) -> Controls:
        del count
        return steered(state, angle_of(state), dt=dt)

    return rollout(start_of(scenario), control_of, n_steps=n_steps, dt=dt)


def pursuit(scenario: Scenario, lookahead: Float[ArrayLike, "2"] | tuple[float, float]) -> AngleOf:
    """Returns pure pursuit of the path of a scenario, with a look-ahead that grows with the speed.

    Args:
        scenario: One scenario.
        lookahead: Metres, and seconds at the present speed; added.

    Returns:
        ``state -> steering angle``.

    Example:
        >>> from jaxresearch.fields import driving
        >>> one = driving.Scenario(*jnp.array([10.0, 0, 0, 20, 45, 3, 30, 0, 55, 3.5]))
        >>> states = drive(one, pursuit(one, jnp.array([6.0, 0.0])), n_steps=80, dt=0.1)
        >>> bool(abs(states.y - driving.reference(one, states.x)).max() < 0.5)
        True
    """
    least, seconds = jnp.asarray(lookahead)

    def angle_of(state: CarState) -> Array:
        return pure_pursuit(state, lambda x: reference(scenario, x), lookahead=least + seconds * state.speed)

    return angle_of


def tuned_lookahead(
    scenarios: Scenario, lookaheads: Float[Array, "choices 2"], *, n_steps: int, dt: float
) -> Float[Array, "2"]:
    """Returns the look-ahead of pure pursuit with the fewest accidents, and of those the smallest mean tracking error.

    Args:
        scenarios: Several; those of the training part.
        lookaheads: To choose from, as for `pursuit`.
        n_steps: As for `drive`.
        dt: As for `drive`.

    Returns:
        The best one.

    Raises:
        ValueError: If there is no look-ahead to choose from, or no time step.

    Example:
        >>> from jaxresearch.fields import driving
        >>> drawn = driving.scenarios(jax.random.key(0), n=4)
        >>> tuned_lookahead(drawn, jnp.array([[60.0, 0.0], [6.0, 0.0]]), n_steps=80, dt=0.1).tolist()
        [6.0, 0.0]
    """
    if not len(lookaheads):
        raise ValueError("lookaheads must hold one or more, got none. Pass [[6.0, 0.0]].")

    def of_scenario(lookahead: Array, scenario: Scenario) -> dict[str, Array]:
        return outcomes(drive(scenario, pursuit(scenario, lookahead), n_steps=n_steps, dt=dt), scenario)

    found = jax.vmap(jax.vmap(of_scenario, (None, 0)), (0, None))(lookaheads, scenarios)
    accidents = found["accident"].mean(axis=1)
    errors = jnp.where(accidents == accidents.min(), found["tracking_error"].mean(axis=1), jnp.inf)
    return lookaheads[jnp.argmin(errors)]

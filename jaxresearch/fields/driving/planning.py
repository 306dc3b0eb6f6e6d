"""Trajectories found by gradient descent through the motion of the car."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxresearch import schedules
from jaxresearch.fields.driving.vehicle import BMW_320I, CarState, Controls, Vehicle, rollout

_MOST = 0.99  # of the limits, in a guess: the inverse of tanh is infinite at 1


def plan(
    state: CarState,
    cost_of: Callable[[CarState], Array],
    *,
    guess: CarState,
    dt: float,
    n_iterations: int = 200,
    learning_rate: float = 0.002,
    vehicle: Vehicle = BMW_320I,
) -> tuple[Controls, CarState, Float[Array, " iterations"]]:
    r"""Returns controls that minimise a cost of the motion, by Adam with gradients through the rollout.

    .. math:: \min_\theta\; c(\text{rollout}(u_\text{max} \tanh\theta))

    Descent starts from the controls of a guess, such as the motion of a controller, and finds a local minimum near it: the guess
    has to say on which side to pass.

    Args:
        state: At the start; one, map over several with `jax.vmap`.
        cost_of: ``states -> cost``, a scalar; states have a leading axis of time.
        guess: The states after each time step of some motion from the same start.
        dt: Time of a step.
        n_iterations: Steps of Adam, 1 or more.
        learning_rate: Of Adam at the start, in units of :math:`\theta`; it falls linearly to zero.
        vehicle: The car, with the limits of the controls.

    Returns:
        The controls of each time step, the states that they lead to, and the cost before each step of Adam.

    Raises:
        ValueError: If there is no time step or no step of Adam.

    Example:
        >>> from jaxresearch.fields import driving
        >>> stop = lambda states: jnp.mean((states.speed - 5.0) ** 2)
        >>> start = driving.start(speed=6.0)
        >>> straight = driving.rollout(start, lambda state, step: driving.Controls(0.0, 0.0), n_steps=5, dt=0.2)
        >>> controls, states, costs = plan(start, stop, guess=straight, dt=0.2, learning_rate=0.02)
        >>> bool(costs[-1] < 0.5 * costs[0]), controls.acceleration.shape
        (True, (5,))
    """
    if n_iterations < 1:
        raise ValueError(f"n_iterations must be 1 or more, got {n_iterations}. Pass 200.")
    if not (n_steps := jnp.shape(guess.x)[0]):
        raise ValueError("guess must have 1 time step or more, got none. A horizon has at least one step.")
    limits = Controls(vehicle.steering_rate, vehicle.acceleration)
    adam = optax.adam(schedules.named("linear", learning_rate, n_iterations))

    def bounded(free: Controls) -> Controls:
        return jax.tree.map(lambda limit, values: limit * jnp.tanh(values), limits, free)

    def motion(free: Controls) -> CarState:
        controls = bounded(free)

        def control_of(state: CarState, count: Array) -> Controls:
            return jax.tree.map(lambda values: values[count], controls)

        return rollout(state, control_of, n_steps=n_steps, dt=dt, vehicle=vehicle)

    def descend(carry: tuple[Controls, Any], _: None) -> tuple[Any, Array]:
        free, opt_state = carry
        value, gradient = jax.value_and_grad(lambda free: cost_of(motion(free)))(free)
        updates, opt_state = adam.update(gradient, opt_state)
        return (optax.apply_updates(free, updates), opt_state), value

    changes = (
        jnp.diff(later, prepend=first[None]) / dt
        for later, first in ((guess.steering, state.steering), (guess.speed, state.speed))
    )
    free = jax.tree.map(
        lambda limit, rate: jnp.arctanh(jnp.clip(rate / limit, -_MOST, _MOST)), limits, Controls(*changes)
    )
    (free, _), costs = jax.lax.scan(descend, (free, adam.init(free)), length=n_iterations)
    return bounded(free), motion(free), costs

"""Does gradient through the dynamics teach a policy to keep a pendulum upright? There is no data."""

import jax
import jax.numpy as jnp
import optax

from jaxresearch import models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class Policy:
    learning_rate: float = swept(1e-2, "step size of Adam", above=0)
    n_steps: int = static(300, "steps of the run", at_least=1)
    n_episodes: int = static(32, "episodes per step", at_least=1)
    horizon: int = static(30, "moments of an episode, a twentieth of a second each", at_least=1)


def algorithm(h, card, plan, fitted):
    model = models.mlp(3, (32,), 1)

    def costs(params, key, n_episodes):
        """Returns the mean cost of each episode: the squared angle from upright, and a little for speed and torque."""

        def move(pendulum, _):
            angle, speed = pendulum
            seen = jnp.stack([jnp.cos(angle), jnp.sin(angle), speed], axis=1)
            torque = 2 * jnp.tanh(model.apply(params, {}, seen)[0][:, 0])
            speed = jnp.clip(speed + 0.05 * (15 * jnp.sin(angle) + 3 * torque), -8, 8)
            angle = angle + 0.05 * speed
            wrapped = (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi
            return (angle, speed), wrapped**2 + 0.1 * speed**2 + 0.001 * torque**2

        start = jax.random.uniform(key, (2, n_episodes), minval=-0.25, maxval=0.25)
        _, cost = jax.lax.scan(move, (start[0], start[1]), length=h.horizon)
        return cost.mean(axis=0)

    def loss_fn(params, model_state, batch, key):
        return costs(params, key, h.n_episodes).mean(), ({}, model_state)

    adam = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(h.learning_rate))
    descent = training.gradient_based(model, loss_fn, optimizer=adam, metrics={}, estimator=plan.estimator)
    return descent._replace(evaluate=lambda state, data, key: {"cost": costs(state.params, key, 1000).mean()})


experiment = Experiment(
    question="Does gradient through the dynamics teach a policy to keep a pendulum upright?",
    claim=Claim(text="a cost below 0.3", metric="test/cost", about="seeds", at_most=0.3),
    hyperparameters=Policy(),
    algorithm=algorithm,
)

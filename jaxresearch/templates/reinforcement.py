"""How well does a small network learn to act by trial and error?

    jaxresearch run FILE                                            five seeds on two CPU cores: seconds
    jaxresearch run FILE --n-steps 1000 --learning-rate 0.003       longer, with smaller steps

There is no data: each training step plays new episodes. As it stands, the file plays in a corridor with a reward at its end.
Change the lines marked CHANGE for your own problem.
"""

import jax
import jax.numpy as jnp
import optax

from jaxresearch import adjust, models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept

N_PLACES, N_ACTIONS = 8, 2  # CHANGE: sizes of your environment


@hyperparameters
class Reinforcement:
    """The default settings. Each is an option on the command line: --learning-rate 0.01."""

    learning_rate: float = swept(1e-2, "step size of Adam", above=0)
    discount: float = swept(0.95, "value of a reward one time step later, relative to now", above=0, at_most=1)
    n_steps: int = static(200, "steps of training", at_least=1)
    n_episodes: int = static(64, "episodes played in each step", at_least=2)
    horizon: int = static(20, "time steps of an episode", at_least=1)


def observed(place):
    """Returns the observation of a state. CHANGE."""
    return jax.nn.one_hot(place, N_PLACES)


def moved(place, action, key):
    """Returns the next state and the reward, which is 1 at the end; one move in ten goes the wrong way. CHANGE."""
    slips = jax.random.bernoulli(key, 0.1, place.shape)
    place = jnp.clip(place + jnp.where((action == 1) ^ slips, 1, -1), 0, N_PLACES - 1)
    return place, (place == N_PLACES - 1).astype(jnp.float32)


def algorithm(h, card, plan, fitted):
    """Returns the gradient of the expected return: Williams (1992), REINFORCE, with the mean return as its baseline."""
    model = models.mlp(N_PLACES, (32,), N_ACTIONS)

    def played(params, key, n_episodes):
        """Returns the log probability of each action and the reward after it, ``(time steps, episodes)``."""

        def move(place, key):
            of_action, of_place = jax.random.split(key)
            logits = jax.nn.log_softmax(model.apply(params, {}, observed(place))[0])
            action = jax.random.categorical(of_action, logits)
            place, reward = moved(place, action, of_place)
            return place, (jnp.take_along_axis(logits, action[:, None], axis=1)[:, 0], reward)

        start = jnp.zeros(n_episodes, int)
        return jax.lax.scan(move, start, jax.random.split(key, h.horizon))[1]

    def loss_fn(params, model_state, batch, key):
        chosen, rewards = played(params, key, h.n_episodes)

        def add(later, reward):
            return (total := reward + h.discount * later), total

        _, returns = jax.lax.scan(add, jnp.zeros(h.n_episodes), rewards, reverse=True)
        gains = jax.lax.stop_gradient(returns - returns.mean(axis=1, keepdims=True))
        return -(gains * chosen).mean(), ({"return": rewards.sum(axis=0).mean()}, model_state)

    adam = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(h.learning_rate))
    descent = training.gradient_based(model, loss_fn, optimizer=adam, metrics={}, estimator=plan.estimator)

    def evaluate(state, data, key):
        _, rewards = played(state.params, key, 1000)
        return {"return": rewards.sum(axis=0).mean()}

    return descent._replace(evaluate=evaluate)


experiment = Experiment(
    question="How much reward does a small network learn to collect in a corridor?",  # CHANGE
    hyperparameters=Reinforcement(),
    algorithm=algorithm,
    maximise="return",  # how sweeps and studies compare settings
    adjust=adjust.grid(learning_rate=[3e-3, 1e-2, 3e-2]),  # what a study tries
    # Once you know what you want to show, replace maximise by a claim; at least five seeds are needed to decide it:
    #     from jaxresearch.statistics import Claim
    #     claim=Claim(text="a return of 10", metric="test/return", about="seeds", at_least=10),
)

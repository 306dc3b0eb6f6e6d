"""Does a small GAN draw digits whose mean image is that of real ones?"""

import digits
import jax
import optax

from jaxresearch import models, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class Gan:
    learning_rate: float = swept(2e-3, "step size of both Adams")
    batch_size: int = static(64, "images per step")
    epochs: int = static(20, "passes over the data")


def algorithm(h, card, plan, fitted):
    generator, critic = models.mlp(8, (64,), card.n_features), models.mlp(card.n_features, (64,), 1)
    adam, softplus = optax.adam(h.learning_rate, b1=0.5), jax.nn.softplus

    def draw(params, key, n):
        return jax.nn.sigmoid(generator.apply(params, {}, jax.random.normal(key, (n, 8)))[0])

    def is_real(params, images):
        return critic.apply(params, {}, images)[0]

    def init(key):
        params = [model.init(own)[0] for model, own in zip((generator, critic), jax.random.split(key), strict=True)]
        return tuple(training.TrainState(one, {}, adam.init(one)) for one in params)

    def descend(player, loss):
        value, gradient = jax.value_and_grad(loss)(player.params)
        updates, opt_state = adam.update(gradient, player.opt_state)
        return training.TrainState(optax.apply_updates(player.params, updates), {}, opt_state), value

    def step(state, batch, key):
        (g, c), real = state, batch["inputs"]
        fake = draw(g.params, jax.random.fold_in(key, 0), len(real))
        c, of_critic = descend(c, lambda p: (softplus(-is_real(p, real)) + softplus(is_real(p, fake))).mean())
        g, of_generator = descend(g, lambda p: softplus(-is_real(c.params, draw(p, key, len(real)))).mean())
        return (g, c), {"generator": of_generator, "critic": of_critic}

    def evaluate(state, data, key):
        difference = draw(state[0].params, key, 500).mean(axis=0) - data["inputs"].mean(axis=0)
        return {"distance": (difference**2).mean() ** 0.5}

    return training.Algorithm(init, step, evaluate)


experiment = Experiment(
    question="Does a small GAN draw digits whose mean image is that of real ones?",
    claim=Claim(text="0.15 from the mean image", metric="test/distance", about="these examples", at_most=0.15),
    hyperparameters=Gan(),
    **digits.UNLABELLED,
    algorithm=algorithm,
)

"""Does a denoising diffusion model predict the noise in digits better than no model?"""

import digits
import jax
import jax.numpy as jnp
import optax

from jaxresearch import metrics, models, training
from jaxresearch.algorithms import averaged
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class Diffusion:
    learning_rate: float = swept(2e-3, "step size of Adam", above=0)
    decay: float = swept(0.99, "of the average of the parameters", at_least=0, below=1)
    batch_size: int = static(64, "images per step", at_least=1)
    epochs: int = static(20, "passes over the data", at_least=1)


def noised(key, images):
    """Returns images with noise of a random level, the level as a further entry; and the noise."""
    of_level, of_noise = jax.random.split(key)
    level = jax.random.randint(of_level, (len(images), 1), 0, 100)
    kept = jnp.cos((level + 0.5) / 100 * jnp.pi / 2) ** 2  # Nichol and Dhariwal (2021), equation 17, without offset
    noise = jax.random.normal(of_noise, images.shape)
    return jnp.concatenate([jnp.sqrt(kept) * images + jnp.sqrt(1 - kept) * noise, level / 100], axis=1), noise


def algorithm(h, card, plan, fitted):
    model = models.mlp(card.n_features + 1, (128, 128), card.n_features)

    def loss_fn(params, model_state, batch, key):
        noisy, noise = noised(key, 2 * batch["inputs"] - 1)
        guess, model_state = model.apply(params, model_state, noisy, key)
        return jnp.mean((guess - noise) ** 2), ({}, model_state)

    adam = optax.adam(h.learning_rate)
    descent = training.gradient_based(model, loss_fn, optimizer=adam, metrics={}, estimator=plan.estimator)

    def evaluate(state, data, key):  # a draw of noise for each test image, from the key of the run
        noisy, noise = noised(key, 2 * data["inputs"] - 1)
        return {"error": metrics.mean_squared_error()(descent.predict(state, noisy), noise)}

    return averaged(descent._replace(evaluate=evaluate), decay=h.decay)


experiment = Experiment(
    question="Does a denoising diffusion model predict the noise in digits better than no model?",
    claim=Claim(text="less than half of the noise is left", metric="test/error", about="these examples", at_most=0.5),
    hyperparameters=Diffusion(),
    **digits.UNLABELLED,
    algorithm=algorithm,
)

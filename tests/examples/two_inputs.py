"""Do two images show the same digit? A model with two inputs, read by one network."""

import digits
import jax.numpy as jnp
import numpy as np
import optax

from jaxresearch import losses, metrics, models, training
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim


@hyperparameters
class TwoInputs:
    learning_rate: float = swept(3e-3, "step size of Adam", above=0)
    batch_size: int = static(64, "pairs per step", at_least=1)
    epochs: int = static(10, "passes over the data", at_least=1)


def collect(source, *, target=None):
    """Returns pairs of images, half of them of the same digit; no image of the test part is in the training part."""
    images, classes = digits.images()
    rng, parts = np.random.default_rng(0), []
    for pool in (np.arange(1437), np.arange(1437, 1797)):
        left, right = rng.permutation(np.tile(pool, 4)), rng.permutation(np.tile(pool, 4))
        alike = np.flatnonzero(rng.random(len(left)) < 0.45)
        right[alike] = [rng.choice(pool[classes[pool] == classes[one]]) for one in left[alike]]
        inputs = {"left": images[left], "right": images[right]}
        parts.append({"inputs": inputs, "targets": (classes[left] == classes[right]).astype(np.int32)})
    return Dataset(*parts, None, DataCard(name="pairs", source="scikit-learn", class_names=("other", "same")))


def algorithm(h, card, plan, fitted):
    encoder = models.mlp(64, (64,), 32)

    def apply(params, model_state, inputs, key=None):
        left, right = (encoder.apply(params, {}, inputs[side].reshape(-1, 64))[0] for side in ("left", "right"))
        distance = jnp.mean((left - right) ** 2, axis=1)
        return jnp.stack([distance, 1 - distance], axis=1), model_state

    return training.supervised(
        models.Model(encoder.init, apply),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=optax.adam(h.learning_rate),
        metrics={"accuracy": metrics.accuracy(), "confusion": metrics.confusion_matrix()},
        estimator=plan.estimator,
    )


experiment = Experiment(
    question="Do two images show the same digit?",
    claim=Claim(text="85 % of pairs", metric="test/accuracy", about="new examples", at_least=0.85),
    hyperparameters=TwoInputs(),
    collect=collect,
    **digits.AS_IT_IS,
    algorithm=algorithm,
)

"""Does a network fit labels that are drawn at random, and how much longer does that take than fitting the true ones?

    jaxresearch run random_labels                       five levels of corruption, three networks each, 2,000 images of MNIST
    jaxresearch run random_labels --corruption 0,1      true and random labels alone

Zhang, Bengio, Hardt, Recht and Vinyals (2017, https://arxiv.org/abs/1611.03530): networks that generalise fit random labels, too,
so it is not for want of capacity that they generalise. A fraction of the training labels, the corruption, is replaced by random
classes, drawn from the key of the run: each seed has labels of its own. One compiled run sweeps the corruption without a
regulariser, with weight decay and with dropout, from the same initial parameters and on the same batches. Labels are fitted once
every training image was classified as labelled when it was last seen, just before the step that used it. Expect random labels
to take 4.3 times the steps of the true ones (3.8 to 4.8, five seeds), and a test accuracy of 0.10. Six minutes on two CPU cores.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxresearch import data, explain, losses, metrics, models, sweeps, training
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

N_EXAMPLES = 2_000  # training images


@hyperparameters
class RandomLabels:
    """A wide layer and Adam at a constant rate."""

    corruption: tuple[float, ...] = swept((0.0, 0.25, 0.5, 0.75, 1.0), "fractions replaced", at_least=0, at_most=1)
    learning_rate: float = swept(1e-3, "step size of Adam", above=0)
    weight_decay: float = swept(0.1, "fraction of the weights that a step of size 1 removes, if any", at_least=0)
    dropout_rate: float = static(0.5, "fraction of hidden units dropped in training, if any", at_least=0, below=1)
    batch_size: int = static(50, "images per step", at_least=1)
    epochs: int = static(100, "passes over the training images", at_least=1)
    hidden: tuple[int, ...] = static((256,), "width of each hidden layer", at_least=1)


def collect(source, *, target=None, **reading):
    """Returns the first training images and the whole test part."""
    dataset = data.load(source, target=target, **reading)
    data.require_images(dataset.train, or_rows=True)
    return dataset._replace(train=data.take(dataset.train, np.arange(min(N_EXAMPLES, dataset.n_train))))


def fit(train, card):
    """Returns the numbers of the training images."""
    return {"index": np.arange(len(train["targets"]), dtype=np.int32)}


def apply(fitted, part, *, training):
    """Returns a part, numbered if it is to train on."""
    return {**part, "index": fitted["index"]} if training else part


def algorithm(h, card, plan, fitted):
    """Returns the networks, trained side by side."""
    corruption, n = jnp.array(h.corruption), len(fitted["index"])

    def network(*, weight_decay=0.0, dropout_rate=0.0):
        adam = (optax.scale_by_adam(), optax.add_decayed_weights(weight_decay))
        return training.supervised(
            models.mlp(card.n_features, h.hidden, card.n_classes, dropout_rate=dropout_rate),
            losses.softmax_cross_entropy_with_integer_labels,
            optimizer=optax.chain(*adam, optax.scale_by_learning_rate(h.learning_rate)),
            metrics={"accuracy": metrics.accuracy()},
            estimator=plan.estimator,
        )

    decayed, dropped = network(weight_decay=h.weight_decay), network(dropout_rate=h.dropout_rate)
    networks = {"plain": network(), "weight_decay": decayed, "dropout": dropped}

    def each(call, states, key):
        """Returns what a function returns for each network, its state and the key, with an axis of corruption."""

        def at(network):
            def called(level, state):
                one = explain.memorised(network, corruption=level, n_examples=n, n_classes=card.n_classes)
                return call(one, state, jax.random.clone(key))  # the same key everywhere, on purpose

            return sweeps.sweep(called, layout="map")  # on the device of the seed

        return {name: at(one)(corruption, states[name]) for name, one in networks.items()}

    def init(key):
        return each(lambda one, _, key: one.init(key), dict.fromkeys(networks), key)

    def step(states, batch, key):
        made = each(lambda one, state, key: one.step(state, batch, key), states, key)
        fitted = made["plain"][1]["fitted"]
        loss = jnp.stack([values["loss"] for _, values in made.values()]).mean()
        values = {"loss": loss, "fitted_true": fitted[0], "fitted_random": fitted[-1]}
        return {name: state for name, (state, _) in made.items()}, values

    def evaluate(states, data, key):
        found = each(lambda one, state, key: one.evaluate(state, data, key), states, key)
        steps, is_claimed = found["plain"]["steps_to_fit"], (corruption[0] == 0) & (corruption[-1] == 1)
        named = {f"{metric}_{name}": value for name, of in found.items() for metric, value in of.items()}
        return {"slowdown": jnp.where(is_claimed, steps[-1] / steps[0], jnp.nan), **named}

    return training.Algorithm(init, step, evaluate)


experiment = Experiment(
    question="Does a network fit labels that are drawn at random, and how much longer does that take than true ones?",
    claim=Claim(
        text="random labels are all fitted, in less than ten times the steps that the true ones take",
        metric="test/slowdown",
        about="seeds",
        at_most=10,
    ),
    hyperparameters=RandomLabels(),
    source="mnist",
    task="classification",
    collect=collect,
    preprocess=data.Preprocessor(fit=fit, apply=apply),
    algorithm=algorithm,
)

"""Does self-influence find wrong labels?

    jaxresearch run mislabelled --seeds 5                       500 of 5,000 labels of MNIST are wrong
    jaxresearch run mislabelled --seeds 5 --epochs 2            ranked early in training
    jaxresearch run mislabelled --seeds 5 --epochs 40           once the network has learnt the wrong labels by heart

Seconds a seed on two CPU cores. The network is trained on the wrong labels as if they were right. The training examples are
then ranked by self-influence: the squared gradient of their own loss, summed over the steps that used them. A fifth of the
examples would contain a fifth of the wrong labels by chance. `found` is the fraction that it does contain. The wrong labels are
the same for every seed. An example keeps its number in MNIST's training part, also under `--train-examples`.
"""

import jax.numpy as jnp
import numpy as np
import optax

from jaxresearch import data, explain, losses, metrics, models, training
from jaxresearch.data import Preprocessor
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

N_EXAMPLES, SHARE_WRONG, SHARE_EXAMINED = 5_000, 0.1, 0.2


@hyperparameters
class Mislabelled:
    """A small network and plain gradient descent with momentum."""

    learning_rate: float = swept(0.02, "step size", above=0)
    momentum: float = swept(0.9, "weight of the past steps", at_least=0, at_most=0.999)
    batch_size: int = static(100, "examples per step", at_least=1)
    epochs: int = static(10, "passes over the training data", at_least=1)
    hidden: tuple[int, ...] = static((64,), "width of each hidden layer", at_least=1)


def collect(source, *, target=None, **reading):
    """Returns the first training examples, numbered, a tenth of them with another class; the test part is unchanged."""
    dataset = data.load(source, target=target, **reading)
    data.require_images(dataset.train, or_rows=True)
    n, n_classes = min(N_EXAMPLES, dataset.n_train), dataset.card.n_classes
    random = np.random.default_rng(0)
    is_wrong = random.permutation(n) < round(SHARE_WRONG * n)
    train = {name: entry[:n] for name, entry in dataset.train.items()}
    shifted = (train["targets"] + random.integers(1, n_classes, n)) % n_classes
    train["targets"] = np.where(is_wrong, shifted, train["targets"]).astype(np.int32)
    return dataset._replace(train={**train, "index": np.arange(n, dtype=np.int32), "is_wrong": is_wrong})


def fit(train, card):
    """Returns which labels are wrong, by the number of the example, and the numbers trained on: for the evaluation alone."""
    is_wrong = np.zeros(N_EXAMPLES, bool)
    is_wrong[train["index"]] = train["is_wrong"]
    return {"is_wrong": is_wrong, "index": train["index"]}


def apply(fitted, part, *, training):
    """Returns a part without that knowledge."""
    return {name: entry for name, entry in part.items() if name != "is_wrong"}


def algorithm(h, card, plan, fitted):
    """Returns the classifier, which also sums self-influence; its evaluation adds the fraction of wrong labels found."""
    model, loss = (
        models.mlp(card.n_features, h.hidden, card.n_classes),
        losses.softmax_cross_entropy_with_integer_labels,
    )
    classifier = training.supervised(
        model,
        loss,
        optimizer=optax.sgd(h.learning_rate, h.momentum),
        metrics=metrics.classification(card),
        estimator=plan.estimator,
    )
    traced = explain.self_influenced(classifier, training.mean_loss(model, loss), n_examples=N_EXAMPLES)

    def evaluate(state, data, key):
        examined = jnp.argsort(-state.self_influence)[: round(SHARE_EXAMINED * len(fitted["index"]))]
        found = fitted["is_wrong"][examined].sum() / fitted["is_wrong"].sum()
        return {**traced.evaluate(state, data, key), "found": found}

    return traced._replace(evaluate=evaluate)


experiment = Experiment(
    question="Does self-influence find wrong labels?",
    claim=Claim(
        text="80 % of the wrong labels are among the fifth of the examples with the largest self-influence",
        metric="test/found",
        about="seeds",
        at_least=0.8,
    ),
    hyperparameters=Mislabelled(),
    source="mnist",
    task="classification",
    collect=collect,
    preprocess=Preprocessor(fit=fit, apply=apply),
    algorithm=algorithm,
)

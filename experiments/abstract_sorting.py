"""Which branch of the Gene Ontology does a definition belong to: is a bag of words enough, or does word order help?

    jaxresearch run abstract_sorting --directory runs/bag                                  counts of words
    jaxresearch run abstract_sorting --reader encoder --epochs 2 --directory runs/encoder  a small BERT: words in order
    jaxresearch compare runs/bag runs/encoder

Two CPU cores, ten seconds for the bag of words, ten minutes for the encoder. Definitions are sorted into biological processes,
molecular functions and cellular components; a tenth is held out. Expect a macro F1 of 0.963 (0.955 to 0.972) from the bag of
words and 0.984 (0.979 to 0.988) from the encoder: word order adds 0.0205 (0.0137 to 0.0273, paired). The intervals are over
five seeds and the examples.
"""

from typing import Literal

import jax.numpy as jnp

from jaxresearch import losses, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import text
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

LENGTH, N_WORDS = 64, 5000  # words read per definition, and words in the vocabulary


@hyperparameters
class AbstractSorting:
    """A bag of words."""

    reader: Literal["bag", "encoder"] = static(
        "bag", "counts of words without stop words, or a BERT that sees their order"
    )
    learning_rate: float = swept(
        2e-3, "peak step size of AdamW for the encoder; the bag of words uses ten times as much", above=0
    )
    weight_decay: float = swept(0.01, "fraction of the weights that a step of size 1 removes", at_least=0)
    dropout_rate: float = static(0.2, "encoder: fraction of entries dropped in training", at_least=0, at_most=0.9)
    batch_size: int = static(64, "definitions per step", at_least=1)
    epochs: int = static(5, "passes over the training data", at_least=1)
    width: int = static(64, "encoder: entries of a word's vector", at_least=4)
    n_layers: int = static(2, "encoder: number of blocks", at_least=1)


def algorithm(h, card, plan, fitted):
    """Returns one of the two classifiers, trained by AdamW."""
    sizes = models.TransformerSizes(
        context=LENGTH,
        width=h.width,
        n_layers=h.n_layers,
        n_heads=4,
        dropout_rate=h.dropout_rate,
        padding=len(card.vocabulary) - 1,
    )
    is_bag = h.reader == "bag"
    return training.supervised(
        bag_of_words(card, fitted) if is_bag else models.classifier(len(card.vocabulary), card.n_classes, sizes),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=schedules.adamw(
            h.learning_rate * (10 if is_bag else 1),  # a single layer needs larger steps: macro F1 is 0.921 without
            plan.n_steps,
            warmup=plan.n_steps // 20,
            weight_decay=h.weight_decay,
        ),
        metrics={"macro_f1": metrics.f1(average="macro"), "accuracy": metrics.accuracy()},
        train_metrics={"accuracy": metrics.accuracy()},
        estimator=plan.estimator,
    )


def bag_of_words(card, fitted):
    """Returns a linear model whose logits are sums over the words except stop words, scaled by the root of their number."""
    counts = jnp.asarray(fitted["is_counted"], jnp.float32)

    def init(key):
        return {"weights": jnp.zeros((len(card.vocabulary), card.n_classes)), "bias": jnp.zeros(card.n_classes)}, {}

    def apply(params, model_state, inputs, key=None):
        is_counted = counts[inputs][..., None]
        n_counted = jnp.sqrt(jnp.maximum(is_counted.sum(axis=1), 1))
        return (params["weights"][inputs] * is_counted).sum(axis=1) / n_counted + params["bias"][None], model_state

    return models.Model(init, apply)


experiment = Experiment(
    question="Is a bag of words enough to sort definitions into the branches of the Gene Ontology?",
    claim=Claim(text="a macro F1 of 0.95", metric="test/macro_f1", about="new examples", at_least=0.95),
    hyperparameters=AbstractSorting(),
    source="gene_ontology",
    task="classification",
    preprocess=text.word_ids("definition", n_most=N_WORDS, length=LENGTH, uncounted=text.stop_words()),
    algorithm=algorithm,
)

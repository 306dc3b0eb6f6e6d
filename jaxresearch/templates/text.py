"""How well do the words of a text predict its class?

    jaxresearch run FILE                                                          five seeds on two CPU cores: seconds
    jaxresearch run FILE --data my.csv --target LABEL --types TEXT=text           your own texts, once COLUMN below is "TEXT"

As it stands, the file predicts the branch of definitions of the Gene Ontology. Change the lines marked CHANGE for your own texts.
"""

import jax
import jax.numpy as jnp

from jaxresearch import adjust, losses, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import text
from jaxresearch.hyperparameters import hyperparameters, static, swept

COLUMN = "definition"  # CHANGE: the name of your column of texts
LENGTH, N_WORDS = 64, 5000  # words read per text, and words in the vocabulary, which is learned from the training part


@hyperparameters
class Text:
    """The default settings. Each is an option on the command line: --learning-rate 0.01."""

    learning_rate: float = swept(1e-2, "peak step size of AdamW", above=0)
    weight_decay: float = swept(0.01, "fraction of the weights that a step of size 1 removes", at_least=0)
    batch_size: int = static(64, "texts per step", at_least=1)
    epochs: int = static(3, "passes over the training data", at_least=1)
    width: int = static(32, "dimension of the word vectors", at_least=1)


def algorithm(h, card, plan, fitted):
    """Returns a classifier of mean word vectors, trained by AdamW."""
    # To use word order, replace the model by a small transformer, which takes minutes instead of seconds:
    #     sizes = models.TransformerSizes(context=LENGTH, width=h.width, n_layers=2, n_heads=4,
    #                                     padding=len(card.vocabulary) - 1)
    #     model = models.classifier(len(card.vocabulary), card.n_classes, sizes)
    return training.supervised(
        mean_of_words(len(card.vocabulary), h.width, card.n_classes),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=schedules.adamw(
            h.learning_rate, plan.n_steps, warmup=plan.n_steps // 20, weight_decay=h.weight_decay
        ),
        metrics=metrics.classification(card),
        train_metrics={"accuracy": metrics.accuracy()},
        estimator=plan.estimator,
    )


def mean_of_words(n_words, width, n_classes):
    """Returns a model of word ids ``(batch, length)``; the last id of the vocabulary pads short texts."""
    padding = n_words - 1

    def init(key):
        vectors = jax.random.normal(key, (n_words, width)) / jnp.sqrt(width)
        return {"vectors": vectors, "weights": jnp.zeros((width, n_classes)), "bias": jnp.zeros(n_classes)}

    def apply(params, inputs):
        is_word = (inputs != padding)[..., None]
        n_read = jnp.maximum(is_word.sum(axis=1), 1)
        mean = (params["vectors"][inputs] * is_word).sum(axis=1) / n_read
        return mean @ params["weights"] + params["bias"][None]

    return models.function(init, apply)


experiment = Experiment(
    question="How well do words alone predict the Gene Ontology branch of a definition?",  # CHANGE
    source="gene_ontology",  # CHANGE: "my.csv" with a column of texts and a column of classes
    target=None,  # CHANGE: "label", the column of classes; the bundled definitions have their own
    task="classification",
    preprocess=text.word_ids(COLUMN, n_most=N_WORDS, length=LENGTH),
    hyperparameters=Text(),
    algorithm=algorithm,
    maximise="macro_f1",  # how sweeps and studies compare settings, on selection data
    adjust=adjust.grid(learning_rate=[3e-3, 1e-2, 3e-2]),  # what a study tries
    # Once you know what you want to show, replace maximise by a claim; at least five seeds are needed to decide it:
    #     from jaxresearch.statistics import Claim
    #     claim=Claim(text="a macro F1 of 0.95", metric="test/macro_f1", about="new examples", at_least=0.95),
)

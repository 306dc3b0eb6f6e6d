"""Do earlier answers say more about the next one to a recurrent network than to the models of psychometrics?

    jaxresearch run knowledge_tracing                                a fifth of 729 students held out
    jaxresearch sweep knowledge_tracing --learning-rate 1e-3,3e-3,1e-2 --dropout-rate 0,0.3 --seeds 3

A minute on two CPU cores. The answers to the 13 exercises of an exam in mathematics are predicted one by one, each from the
exercise and the answers before it: by the fraction of right answers to the exercise, by the Rasch model and the two-parameter
model of item response theory, by Bayesian knowledge tracing, and by gated units. All are fitted by gradient, side by side in one
compiled run. Log losses and areas under the ROC curve are those of the answers of new students; `gain_over` a model is how much
smaller the network's log loss is, paired by student.
"""

import dataclasses
import functools

import jax.numpy as jnp
import optax

from jaxresearch import data, metrics, models, schedules, training
from jaxresearch.experiment import Experiment
from jaxresearch.fields import education
from jaxresearch.hyperparameters import hyperparameters, static, swept
from jaxresearch.statistics import Claim

CLASSICAL_RATE = 0.05  # peak step size of the other models, which converge
NETWORK = 0  # the place of the network among the models


@hyperparameters
class KnowledgeTracing:
    """A small network; its rates were chosen by the sweep above, on held-out students of the training part."""

    learning_rate: float = swept(1e-3, "peak step size of the network's Adam, which falls linearly to zero", above=0)
    batch_size: int = static(64, "students per step", at_least=1)
    epochs: int = static(60, "passes over the training data", at_least=1)
    hidden: tuple[int, ...] = static((16,), "width of each recurrent layer", at_least=1)
    dropout_rate: float = static(0.0, "fraction of the network's memory dropped in training", at_least=0, below=1)


def collect(source, *, target=None, **reading):
    """Returns a row for each student: the exercises and the answers, in the order of the exam."""
    column = (reading.get("split") or data.Split()).column or "student"
    rule = dataclasses.replace(reading.pop("split", None) or data.Split(), by="group", column=column)
    return education.answer_sequences(data.load(source, target=target, split=rule, **reading))


def algorithm(h, card, plan, fitted):
    """Returns all models, trained side by side: their losses add up, and no parameter is in two of them."""
    n_items = len(card.vocabulary)
    network = models.rnn(3 * n_items, h.hidden, 1, dropout_rate=h.dropout_rate)
    named = {
        "network": education.deep_tracing(network, n_items),
        "items": education.item_rates(n_items),
        "rasch": education.item_response(n_items),
        "two_parameters": education.item_response(n_items, discriminations=True),
        "tracing": education.bayesian_tracing(n_items),
    }

    def loss(odds, answers):
        return jnp.stack([education.answer_losses(odds[..., place], answers) for place in range(len(named))]).sum(
            axis=0
        )

    rates = {"network": h.learning_rate, "classical": CLASSICAL_RATE}
    which = {name: "network" if name == "network" else "classical" for name in named}
    schedule = functools.partial(schedules.named, "linear", n_steps=plan.n_steps)
    optimizer = optax.multi_transform({name: optax.adam(schedule(peak=rate)) for name, rate in rates.items()}, which)
    model, scores = models.side_by_side(named), compared(list(named))
    together = training.supervised(model, loss, optimizer=optimizer, metrics=scores, estimator=plan.estimator)
    return together._replace(
        predict=lambda state, inputs: logits(model.apply(state.params, state.model_state, inputs)[0], NETWORK)
    )


def logits(odds, place):
    """Returns the log odds of one model as logits of the classes wrong and right."""
    return jnp.stack([jnp.zeros_like(odds[..., place]), odds[..., place]], axis=-1)


def compared(names):
    """Returns the log loss and the area under the ROC curve of each model, and the gains of the network."""

    def of(place, metric):
        def summarise(odds, answers, weights=None):
            return metric.summarise(logits(odds, place), answers, weights)

        return dataclasses.replace(metric, summarise=summarise)

    def gain(place):
        def values(odds, answers):
            own = education.answer_losses(odds[..., NETWORK], answers)
            return education.answer_losses(odds[..., place], answers) - own

        return metrics.mean_of(values)

    kinds = {"log_loss": metrics.log_loss(), "auc": metrics.roc_auc()}
    found = {
        f"{kind}_{name}": of(i, metrics.per_token(one)) for kind, one in kinds.items() for i, name in enumerate(names)
    }
    return found | {f"gain_over_{name}": gain(i) for i, name in enumerate(names) if i != NETWORK}


experiment = Experiment(
    question="Do earlier answers say more about the next one to a recurrent network than to the models of psychometrics?",
    claim=Claim(
        text="a recurrent network predicts the next answer better than the Rasch model",
        metric="test/gain_over_rasch",
        about="new examples",
        at_least=0.0,
    ),
    hyperparameters=KnowledgeTracing(),
    source="math_exam",
    task="classification",
    preprocess=data.Preprocessor(),
    collect=collect,
    algorithm=algorithm,
)

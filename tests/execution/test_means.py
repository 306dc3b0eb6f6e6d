"""A loss that is no mean over examples is refused: trained one example at a time, it would be another loss."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import execution, losses, models, privacy, training
from jaxresearch.data import DataCard, Dataset, Rows
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept

MODEL = models.mlp(3, (5,), 3)
LOSS = losses.softmax_cross_entropy_with_integer_labels


@hyperparameters
class Settings:
    learning_rate: float = swept(0.1, "step size", above=0)
    batch_size: int = static(4, "examples per step", at_least=1)
    n_steps: int = static(3, "steps", at_least=1)


def outputs_of(params, model_state, batch, key=None):
    return MODEL.apply(params, model_state, batch["inputs"], key)[0]


def mean(params, model_state, batch, key):
    return jnp.mean(LOSS(outputs_of(params, model_state, batch), batch["targets"])), ({}, model_state)


def weighted(params, model_state, batch, key):
    of_examples = LOSS(outputs_of(params, model_state, batch), batch["targets"])
    return losses.weighted_mean(of_examples, batch.get("weights")), ({}, model_state)


def regularised(params, model_state, batch, key):
    loss, rest = mean(params, model_state, batch, key)
    return loss + 0.1 * optax.tree.norm(params, squared=True), rest


def in_half_precision(params, model_state, batch, key):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, batch["inputs"]))
    loss, rest = mean(half[0], model_state, {**batch, "inputs": half[1]}, key)
    return loss, rest


def with_dropout(params, model_state, batch, key):
    kept = jax.random.bernoulli(key, 0.5, batch["inputs"].shape)
    return mean(params, model_state, {**batch, "inputs": batch["inputs"] * kept}, key)


def total(params, model_state, batch, key):
    return jnp.sum(LOSS(outputs_of(params, model_state, batch), batch["targets"])), ({}, model_state)


def contrastive(params, model_state, batch, key):
    """Returns a loss over pairs: each example is to be more similar to itself than to others."""
    outputs = outputs_of(params, model_state, batch)
    similar = outputs @ outputs.T
    return jnp.mean(jax.nn.logsumexp(similar, axis=1) - jnp.diagonal(similar)), ({}, model_state)


def of_pairs(params, model_state, batch, key):
    """Returns a mean over pairs of two examples, of which one example has none."""
    outputs, n = outputs_of(params, model_state, batch)[:, 0], len(batch["targets"])
    gaps = jnp.where(jnp.eye(n, dtype=bool), 0, jnp.square(outputs[:, None] - outputs[None, :]))
    return gaps.sum() / jnp.float32(n * (n - 1)), ({}, model_state)


def centred(params, model_state, batch, key):
    """Returns a loss of outputs from which their mean over the batch is subtracted."""
    outputs = outputs_of(params, model_state, batch)
    return jnp.mean(LOSS(outputs - outputs.mean(axis=0, keepdims=True), batch["targets"])), ({}, model_state)


def declared(loss_fn, model=MODEL):
    def algorithm(h, card, plan, fitted):
        optimizer = training.gradient_descent(h.learning_rate)
        return training.gradient_based(model, loss_fn, optimizer=optimizer, metrics={}, estimator=plan.estimator)

    return Experiment(question="A mean?", hyperparameters=Settings(), algorithm=algorithm, source="drawn")


def dataset(n=16):
    random = np.random.default_rng(0)
    part = {"inputs": random.normal(size=(n, 3)).astype(np.float32), "targets": random.integers(0, 3, n)}
    return Dataset(part, part, None, DataCard(name="drawn", source="", feature_shape=(3,)))


def in_units(dataset):
    groups = np.arange(dataset.n_train) // 3  # the last unit has one example
    return dataset._replace(train=privacy.by_unit({**dataset.train, "groups": groups}, per_unit=3))


def on_disk(dataset):
    return dataset._replace(train={**dataset.train, "inputs": Rows(list(dataset.train["inputs"]))})


@pytest.mark.parametrize("loss_fn", [mean, weighted, regularised, in_half_precision, with_dropout])
def test_require_mean_accepts_means(loss_fn):
    execution.require_mean(declared(loss_fn), Settings(), dataset())


@pytest.mark.parametrize("arranged", [in_units, on_disk])
def test_require_mean_reads_units_and_rows_on_disk(arranged):
    execution.require_mean(declared(weighted), Settings(), arranged(dataset()))
    with pytest.raises(ValueError, match="loss must be the mean of the losses of its examples for private, got "):
        execution.require_mean(declared(total), Settings(), arranged(dataset()))


def test_require_mean_asks_for_weights_in_units():
    with pytest.raises(ValueError, match=r"Return the mean \(the weighted one with weights\)"):
        execution.require_mean(declared(mean), Settings(), in_units(dataset()))


@pytest.mark.parametrize("loss_fn", [total, contrastive, of_pairs, centred])
def test_require_mean_refuses_other_losses(loss_fn):
    with pytest.raises(ValueError, match="loss must be the mean of the losses of its examples for private, got "):
        execution.require_mean(declared(loss_fn), Settings(), dataset())


def test_require_mean_shows_both_losses():
    def ones(params, model_state, batch, key):
        return jnp.sum(outputs_of(params, model_state, batch) * 0 + 0.5), ({}, model_state)

    line = "got 6 for 4 examples whose own losses have the mean 1.5."
    with pytest.raises(ValueError, match=re.escape(line)):
        execution.require_mean(declared(ones), Settings(), dataset())


def test_require_mean_takes_private_experiments():
    def mechanism_of(plan, n):
        sizes = {"n_examples": n, "batch_size": plan.batch_size, "n_steps": plan.n_steps}
        return privacy.Mechanism(noise_multiplier=1.0, clip=1.0, delta=1e-5, **sizes)

    execution.require_mean(privacy.private_experiment(declared(mean), mechanism_of), Settings(), dataset())
    with pytest.raises(ValueError, match="loss must be the mean of the losses of its examples for --private, got "):
        private = privacy.private_experiment(declared(total), mechanism_of)
        execution.require_mean(private, Settings(), dataset(), name="--private")

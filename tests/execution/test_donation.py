"""A state reuses the memory of the one before: JAX warns of donated buffers that cannot be reused, and warnings are errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import algorithms, execution, loading, losses, metrics, models, training
from jaxresearch.data import DataCard, Dataset
from jaxresearch.execution.compilation import CompiledFunction
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static, swept

EXAMPLES = Path(__file__).parents[1] / "examples"
PLATFORMS = ("cpu", "cuda", "tpu")
pytestmark = pytest.mark.usefixtures("unoptimized")


@hyperparameters
class Settings:
    """Two epochs of four steps."""

    learning_rate: float = swept(0.01, "step size of Adam", above=0)
    batch_size: int = static(8, "examples per step")
    epochs: int = static(2, "passes")


def supervised(model, per_token=False):
    """Returns the algorithm of an experiment: Adam on the mean cross entropy of a model."""

    def algorithm(h, card, plan, fitted):
        log_loss = metrics.per_token(metrics.log_loss()) if per_token else metrics.log_loss()
        return training.supervised(
            model,
            losses.softmax_cross_entropy_with_integer_labels,
            optimizer=optax.adam(h.learning_rate),
            metrics={"log_loss": log_loss},
            estimator=plan.estimator,
        )

    return algorithm


def early(h, card, plan, fitted):
    """Returns MNIST's network with averaged parameters, stopped early."""
    averaged = algorithms.averaged(supervised(models.mlp(784, (16,), 10))(h, card, plan, fitted), decay=0.9)
    return algorithms.stopped(averaged, metric="log_loss", patience=3)


def images_and_sentences():
    """Returns images with classes, and tokens with the next ones."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(32, 784)).astype(np.float32)
    tokens = generator.integers(0, 11, (32, 8)).astype(np.int32)
    classes = (np.arange(32) % 10).astype(np.int32)
    return {"inputs": images, "targets": classes}, {"inputs": tokens, "targets": np.roll(tokens, -1, axis=1)}


SIZES = models.TransformerSizes(context=8, width=8, n_layers=1, n_heads=2)
DECLARED = {
    "mnist": (supervised(models.mlp(784, (16,), 10)), 0),
    "encoder": (supervised(models.encoder(11, SIZES), per_token=True), 1),
    "decoder": (supervised(models.decoder(11, SIZES), per_token=True), 1),
    "stopped and averaged": (early, 0),
}


def task(name):
    """Returns an experiment, its settings, its data and the steps between evaluations."""
    if name == "gan":
        gan = loading.load(str(EXAMPLES / "gan.py"))
        dataset = gan.prepare(gan.collect(gan.source))
        few = dataset._replace(train=jax.tree.map(lambda leaf: leaf[:128], dataset.train))
        return gan, gan.hyperparameters.__class__(epochs=1), few, None
    algorithm, place = DECLARED[name]
    part = images_and_sentences()[place]
    card = DataCard(
        name="a", source="b", class_names=tuple(map(str, range(10))), feature_shape=part["inputs"].shape[1:]
    )
    declared = Experiment(question="?", hyperparameters=Settings(), algorithm=algorithm, minimise="log_loss")
    return declared, Settings(), Dataset(part, part, part, card), 4


@pytest.fixture
def lowered(monkeypatch):
    """Lowers each program of a run for every platform, and collects the numbers of arrays that it donates."""
    compile_, found = CompiledFunction._program, []

    def lowering(self, fun: Callable[..., Any], args: tuple) -> Any:
        traced = jax.jit(fun, donate_argnums=self._donated).trace(*args)
        for platform in PLATFORMS:
            text = traced.lower(lowering_platforms=(platform,)).as_text()
            found.append(text.count("tf.aliasing_output") + text.count("jax.buffer_donor"))
        return compile_(self, fun, args)

    monkeypatch.setattr(CompiledFunction, "_program", lowering)
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", [*DECLARED, "gan"])
def test_a_run_reuses_all_that_it_donates(name, lowered):
    experiment, h, dataset, every = task(name)
    outcome = execution.execute(experiment, h, dataset, seeds=(0, 1), evaluate_every=every)
    n_arrays = len(jax.tree.leaves(outcome.state))
    assert outcome.step > 0 and max(lowered) == n_arrays


@pytest.mark.parametrize("platform", PLATFORMS)
def test_jax_warns_of_what_it_cannot_reuse(platform):
    """Without this the test above could not fail."""
    traced = jax.jit(lambda state: state[:1], donate_argnums=0).trace(jnp.ones(3))
    with pytest.warns(UserWarning, match="Some donated buffers were not usable"):
        traced.lower(lowering_platforms=(platform,))

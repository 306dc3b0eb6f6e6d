"""Whether the training loss is a mean over examples, as the estimators that take examples one at a time assume."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxresearch import data, devices
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset, Rows
from jaxresearch.experiment import Experiment
from jaxresearch.gradients import Batch, GradientEstimator, LossFn, ModelState, Params

_EXAMPLES = 4
_TOLERANCE = 2e-3  # of the largest loss: rounding to bfloat16 within a model moves a loss by up to 1e-3
_NOTHING = 1e-5  # float32 rounding of losses around 1 that cancel


def require_mean(experiment: Experiment, hyperparameters: Any, dataset: Dataset, *, name: str = "private") -> None:
    """Raises unless the training loss of a batch is the mean of the losses of its examples, each alone.

    It compares both for the initial parameters and four training examples, or for the examples of four units. A loss that
    depends on the key, such as one with dropout, cannot be compared and is accepted.

    Args:
        experiment: As declared, or private. Its algorithm calls ``plan.estimator`` once, in the step itself.
        hyperparameters: The settings.
        dataset: Preprocessed data.
        name: The option that asks for it, for the error.

    Raises:
        ValueError: If they differ: a sum, or a loss in which examples depend on each other.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> require_mean(house, house.hyperparameters, house.prepare(house.collect(house.source)))
    """
    of_run, probed = dataset.of_run(0), dataclasses.replace(experiment, replan=None)  # it would replace the probe
    fitted, batch = data.numbers(of_run.fitted), _few(of_run.train)

    def losses(hyperparameters, fitted, batch):
        found = []

        def probe(loss_fn: LossFn) -> GradientEstimator:
            def estimator(params, model_state, batch, key):
                found.append(_losses(loss_fn, params, model_state, batch, key))
                return jax.tree.map(jnp.zeros_like, params), {"gradient_norm": jnp.zeros(())}, model_state

            return estimator

        program = experiments.program(probed, of_run, estimator=probe, fitted=fitted)
        init_key, step_key = jax.random.split(jax.random.key(0))
        program.algorithm(hyperparameters).step(program.init(init_key, hyperparameters), batch, step_key)
        return found[0]

    with jax.default_matmul_precision("highest"):
        whole, again, each = devices.fetch(jax.jit(losses)(hyperparameters, fitted, batch))
    tolerance = _TOLERANCE + float(jnp.finfo(whole.dtype).eps)
    whole, again, each = (np.asarray(one, np.float64) for one in (whole, again, each))
    mean, allowed = np.average(each, weights=batch.get("weights")), _NOTHING + tolerance * np.abs(each).max()
    is_comparable = np.isfinite(whole) and whole == again
    if is_comparable and not abs(whole - mean) <= allowed:  # also if a loss of one example is not finite
        raise ValueError(
            f"loss must be the mean of the losses of its examples for {name}, got {whole:.4g} for {len(each)} examples whose own "
            f"losses have the mean {mean:.4g}. Return the mean (the weighted one with weights), and let no example's loss depend "
            "on others."
        )


def _few(part: Any) -> Batch:
    """Returns a few examples, spread over a part, in memory; those of units one after another, with their weights."""
    n = data.n_examples(part)
    index = np.unique(np.linspace(0, n - 1, _EXAMPLES).astype(int))
    few = data.map_arrays(
        lambda entry: entry.read(index) if isinstance(entry, Rows) else np.asarray(entry[index]), part
    )
    if "unit_weights" not in few:
        return few
    flat = data.map_arrays(lambda entry: entry.reshape(-1, *entry.shape[2:]), few)
    return {**{name: entry for name, entry in flat.items() if name != "unit_weights"}, "weights": flat["unit_weights"]}


def _losses(
    loss_fn: LossFn, params: Params, model_state: ModelState, batch: Batch, key: Key[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, " examples"]]:
    """Returns the loss of a batch with two keys, and the losses of its examples, each alone."""
    one_key, other_key, each_key = jax.random.split(key, 3)

    def loss_of(batch, key):
        return loss_fn(params, model_state, batch, key)[0]

    def alone(example):
        return loss_of(jax.tree.map(lambda leaf: leaf[None], example), jax.random.clone(each_key))

    examples = {name: entry for name, entry in batch.items() if name != "weights"}
    return loss_of(batch, one_key), loss_of(batch, other_key), jax.vmap(alone)(examples)

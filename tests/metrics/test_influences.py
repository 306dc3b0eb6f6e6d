"""Influences: the derivative of every metric in the weights of examples, through `Algorithm.evaluate`, equals a difference."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import losses, metrics, models, training

pytestmark = pytest.mark.long

N = 20
# These are built from metrics.
NOT_METRICS = {"Metric", "classification", "decided", "error", "gain", "mean_of", "of_model", "per_token"}
OPTIONS = {
    "cost": {"costs": ((0, 5, 1), (1, 0, 2), (3, 1, 0))},
    "top_k_accuracy": {"k": 2},
    "bits_per_byte": {"n_bytes": np.array([1, 2, 3])},
    "expected_calibration_error": {"n_bins": 3},
}
AVERAGES = {"f1", "precision", "recall"}
JUMPS = {"sensitivity_at_specificity"}  # between the examples that may be the threshold


def _kinds():
    """Returns every public metric by name, and with each of its averages."""
    kinds = {}
    for name in sorted(set(metrics.__all__) - NOT_METRICS):
        make = functools.partial(getattr(metrics, name), **OPTIONS.get(name, {}))
        kinds[name] = make()
        if "average" in inspect.signature(make).parameters:
            kinds[f"{name} of each"] = make(average=None)
        if name in AVERAGES:
            kinds |= {f"{name} {average}": make(average=average) for average in ("micro", "weighted")}
    kinds["error"] = metrics.error(metrics.accuracy())
    kinds["per_token"] = metrics.per_token(metrics.log_loss())
    return kinds


KINDS = _kinds()


def _data(name, seed, n_classes=3):
    """Returns outputs and targets that suit a metric; half of the scores are tied."""
    generator = np.random.default_rng(seed)
    if name == "concordance":
        targets = np.stack([generator.integers(0, 9, N), generator.random(N) < 0.7], axis=1)
        return {"outputs": generator.normal(size=(N, 1)).round(1), "targets": targets * 1.0}
    n_classes = 2 if name in JUMPS else n_classes
    if name.startswith(("mean_", "r2", "root_")):
        targets = generator.normal(size=(N, 2))
        return {"outputs": targets + 0.3 * generator.normal(size=(N, 2)), "targets": targets}
    shape = {"bits_per_byte": (N, 5), "per_token": (N, 5), "dice": (N, 3, 4), "intersection_over_union": (N, 3, 4)}
    shape = shape.get(name.removesuffix(" of each"), (N,))
    logits = generator.normal(size=(*shape, n_classes)) * 2
    logits[: N // 2] = logits[: N // 2].round()
    return {"outputs": logits, "targets": generator.integers(0, n_classes, shape)}


def _evaluated(metric, data):
    """Returns the value as a function of the weights, in batches of 7, the last one padded."""
    algorithm = training.supervised(
        models.linear(1, 1),
        losses.squared_error,
        optimizer=training.gradient_descent(0.1),
        metrics={"value": metric},
        evaluation_batch=7,
    )
    data = {name: jnp.asarray(leaf) for name, leaf in data.items()}
    return lambda weights: algorithm.evaluate((), {**data, "weights": weights}, jax.random.key(0))["value"]


WEIGHTS = {
    "equal": np.ones(N),
    "unequal": np.tile([0.5, 1.0, 2.0, 1.5], N // 4),
    "some zero": np.tile([1.0, 1.0, 0.0, 1.0, 2.0], N // 5),
}


@pytest.mark.parametrize("name", [name for name in KINDS if name not in JUMPS])
def test_influences_through_evaluate_equal_finite_differences(name):
    step = 1e-4
    with jax.enable_x64(True):
        data = _data(name, 0)
        derivative = jax.jit(jax.jacrev(_evaluated(KINDS[name], data)))
        moved = jax.jit(jax.vmap(functools.partial(KINDS[name], data["outputs"], data["targets"])))
        for kind, weights in WEIGHTS.items():
            found = np.asarray(derivative(weights))
            above, below = (np.asarray(moved(weights + end * np.diag(weights))) for end in (step, -step))
            expected = np.moveaxis(above - below, 0, -1) / (2 * step)  # of the weight times the derivative
            # A central difference of float64 has an error of some step**2 and 1e-16 / step.
            np.testing.assert_allclose(found * weights, expected, atol=1e-7, err_msg=kind)
            assert np.any(found != 0) and np.all(np.isfinite(found)), kind
            assert np.all(found[..., weights == 0] == 0), kind


@pytest.mark.parametrize("name", KINDS)
def test_a_weight_below_zero_gives_nan(name):
    data, weights = _data(name, 3), np.ones(N, np.float32)
    weights[3] = -1.0
    assert np.all(np.isnan(KINDS[name](data["outputs"], data["targets"], weights)))

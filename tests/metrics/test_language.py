"""Metrics of language models: closed forms, masks and merged batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as peer

from jaxresearch import metrics

N_BYTES = np.array([1, 3, 0, 2, 7])


def _tokens(n=24, length=7, seed=0):
    """Returns logits, targets of which a third is not scored, and weights of which some are 0."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, length, len(N_BYTES))).astype(np.float32) * 2
    targets = generator.integers(0, len(N_BYTES), (n, length))
    targets = np.where(generator.random((n, length)) < 1 / 3, -1, targets).astype(np.int32)
    return logits, targets, (generator.integers(0, 3, n) / 2).astype(np.float32)


def _asked(logits, targets, weights):
    """Returns the scored tokens, one per row."""
    asked = targets >= 0
    return logits[asked], targets[asked], np.broadcast_to(weights[:, None], targets.shape)[asked]


METRICS = {
    "log_loss": metrics.per_token(metrics.log_loss()),
    "accuracy": metrics.per_token(metrics.accuracy()),
    "f1": metrics.per_token(metrics.f1(average="macro")),
    "bits_per_byte": metrics.bits_per_byte(N_BYTES),
}
compiled = {name: jax.jit(metric) for name, metric in METRICS.items()}


def test_per_token_equals_scikit_learn_over_scored_tokens():
    logits, targets, weights = _tokens()
    rows, classes, shares = _asked(logits, targets, weights)
    put, labels = rows.argmax(1), np.arange(len(N_BYTES))
    # float32 against float64.
    value = compiled["accuracy"](logits, targets, weights)
    np.testing.assert_allclose(value, peer.accuracy_score(classes, put, sample_weight=shares), rtol=1e-6)
    value = compiled["f1"](logits, targets, weights)
    theirs = peer.f1_score(classes, put, sample_weight=shares, average="macro", labels=labels)
    np.testing.assert_allclose(value, theirs, rtol=1e-6)
    value = compiled["log_loss"](logits, targets, weights)
    probabilities = np.asarray(jax.nn.softmax(rows), np.float64)
    probabilities /= probabilities.sum(1, keepdims=True)
    np.testing.assert_allclose(
        value, peer.log_loss(classes, probabilities, sample_weight=shares, labels=labels), rtol=1e-5
    )


def test_per_token_of_single_tokens_is_the_metric_itself():
    logits, targets, weights = _tokens(length=1)
    targets = np.maximum(targets, 0)
    whole = jax.jit(metrics.log_loss())(logits[:, 0], targets[:, 0], weights)
    np.testing.assert_allclose(compiled["log_loss"](logits, targets, weights), whole, rtol=1e-6)  # float32


def test_bits_per_byte_of_even_bytes_is_eight():
    targets = np.random.default_rng(0).integers(0, 256, (3, 50)).astype(np.int32)
    value = jax.jit(metrics.bits_per_byte(np.ones(256, int)))(np.zeros((3, 50, 256), np.float32), targets)
    np.testing.assert_allclose(value, 8, rtol=1e-6)  # float32


def test_bits_per_byte_equals_plain_loops():
    logits, targets, weights = _tokens()
    bits = size = 0.0
    for row, classes, weight in zip(logits.astype(np.float64), targets, weights, strict=True):
        for z, y in zip(row, classes, strict=True):
            if y >= 0:
                bits -= weight * np.log2(np.exp(z[y]) / np.exp(z).sum())
                size += weight * N_BYTES[y]
    np.testing.assert_allclose(compiled["bits_per_byte"](logits, targets, weights), bits / size, rtol=1e-5)  # float32


def test_bits_per_byte_of_a_token_without_text_adds_its_bits():
    n_bytes, logits = np.array([1, 0]), np.zeros((1, 4, 2), np.float32)
    value = jax.jit(metrics.bits_per_byte(n_bytes))
    assert value(logits, np.array([[0, 0, 0, 1]], np.int32)) == pytest.approx(4 / 3, rel=1e-6)  # float32
    assert value(logits, np.array([[0, 0, 0, -1]], np.int32)) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_batches_put_together_equal_the_whole(name):
    metric, data = METRICS[name], _tokens()
    batches = [jnp.asarray(leaf).reshape(6, 4, *leaf.shape[1:]) for leaf in data]
    merged = jax.jit(lambda *batches: metric.compute(metric.merge(jax.vmap(metric.summarise)(*batches))))(*batches)
    np.testing.assert_allclose(merged, compiled[name](*data), rtol=1e-6)  # float32 different summation order


@pytest.mark.parametrize("name", ["log_loss", "bits_per_byte"])
def test_jit_equals_eager(name):
    np.testing.assert_allclose(compiled[name](*_tokens()), METRICS[name](*_tokens()), rtol=1e-6)  # summation order


@pytest.mark.parametrize("name", METRICS)
def test_tokens_that_are_not_scored_change_nothing(name):
    logits, targets, weights = _tokens()
    value = compiled[name](logits, targets, weights)
    other = logits.copy()
    other[(targets < 0) | (weights[:, None] == 0)] = np.nan
    np.testing.assert_allclose(compiled[name](other, targets, weights), value, rtol=1e-6)  # float32


@pytest.mark.parametrize("name", ["f1", "bits_per_byte"])
def test_padding_of_sequences_and_batches_changes_nothing(name):
    logits, targets, weights = _tokens()
    longer = np.pad(logits, ((0, 2), (0, 3), (0, 0))), np.pad(targets, ((0, 2), (0, 3)), constant_values=-1)
    value = compiled[name](*longer, np.pad(weights, (0, 2)))
    np.testing.assert_allclose(value, compiled[name](logits, targets, weights), rtol=1e-6)  # different summation order


@pytest.mark.parametrize("name", METRICS)
def test_an_unknown_token_or_a_nan_gives_nan(name):
    logits, targets, _ = _tokens()
    weights = np.ones(len(targets), np.float32)
    wrong, diverged = targets.copy(), logits.copy()
    wrong[0, 0] = len(N_BYTES)
    diverged[targets >= 0] = np.nan
    assert np.isfinite(compiled[name](logits, targets, weights))
    assert np.isnan(compiled[name](logits, wrong, weights))
    assert np.isnan(compiled[name](logits, np.full_like(targets, -1), weights))
    assert np.isnan(compiled[name](diverged, targets, weights))


def test_bits_per_byte_of_a_million_tokens_keeps_its_digits():
    generator = np.random.default_rng(0)
    n_batches, shape = 1_024, (16, 64)
    logits = generator.normal(size=(n_batches, *shape, 3)).astype(np.float32) * 3
    targets = generator.integers(0, 3, (n_batches, *shape)).astype(np.int32)
    n_bytes = np.array([1, 3, 7])
    metric = metrics.bits_per_byte(n_bytes)
    exact = logits.astype(np.float64)
    exact = np.log(np.exp(exact).sum(-1)) - np.take_along_axis(exact, targets[..., None], -1)[..., 0]
    exact = exact.sum() / np.log(2) / n_bytes[targets].sum()
    merged = jax.jit(lambda data: metric.compute(metric.merge(jax.lax.map(lambda one: metric.summarise(*one), data))))
    np.testing.assert_allclose(merged((logits, targets)), exact, rtol=1e-5)  # as documented
    np.testing.assert_allclose(jax.jit(metric)(logits.reshape(-1, 64, 3), targets.reshape(-1, 64)), exact, rtol=1e-5)


@pytest.mark.raises
def test_bits_per_byte_refuses_invalid_sizes():
    with pytest.raises(ValueError, match=r"n_bytes must be integers of shape \(classes,\); got float64 \(2,\)"):
        metrics.bits_per_byte(np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"n_bytes must be integers of shape \(classes,\); got int64 \(1, 2\)"):
        metrics.bits_per_byte(np.array([[1, 2]]))


def test_bits_per_byte_refuses_sizes_below_0_and_of_other_tokens():
    with pytest.raises(ValueError, match="n_bytes must be 0 or more; got -1"):
        metrics.bits_per_byte(np.array([1, -1]))
    with pytest.raises(ValueError, match="n_bytes must have one entry for each of 3 classes; got 2"):
        metrics.bits_per_byte(np.array([1, 1]))(np.zeros((1, 2, 3)), np.zeros((1, 2), np.int32))


@pytest.mark.raises
@pytest.mark.parametrize("metric", [METRICS["log_loss"], METRICS["bits_per_byte"]], ids=["log_loss", "bits_per_byte"])
def test_tokens_must_come_with_their_logits(metric):
    logits, targets, weights = _tokens()
    with pytest.raises(ValueError, match=r"predictions must have shape \(batch, length, classes\); got \(24, 5\)"):
        metric(logits[:, 0], targets[:, 0])
    with pytest.raises(ValueError, match="targets must be integers; got float32"):
        metric(logits, targets.astype(np.float32))
    with pytest.raises(ValueError, match=r"targets must have shape \(24, 7\)"):
        metric(logits, targets[:, :3])
    with pytest.raises(ValueError, match=r"weights must have shape \(24,\); got \(24, 7\)"):
        metric(logits, targets, np.ones((24, 7)))

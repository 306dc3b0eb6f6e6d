"""Metrics equal scikit-learn's on 1,000 random cases (200 unless `slow`).

Among them: absent classes, ties, weights, constant predictions, and probabilities that float32 rounds to 0 and 1.
"""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax
from sklearn import metrics as peer

from jaxresearch import metrics

N_CASES, MOST = 1_000, 64
AVERAGES = ("micro", "macro", "weighted", None)


def _case(seed):
    """Returns logits, targets and weights of a random case: every third has ties, fourth certainty, fifth one row alone."""
    generator = np.random.default_rng(seed)
    n_classes, n = int(generator.choice([2, 3, 5, 8, 12])), int(generator.integers(2, MOST + 1))
    logits = generator.normal(size=(n, n_classes)) * 3
    if seed % 4 == 0:
        logits *= 10  # margins of some 30
    if seed % 3 == 0:
        logits = np.round(logits)
    if seed % 5 == 0:
        logits[:] = logits[0]
    n_present = int(generator.integers(1, n_classes + 1))
    targets = generator.choice(generator.permutation(n_classes)[:n_present], n)
    weights = generator.integers(0, 4, n) * 0.5 if seed % 2 else np.ones(n)
    weights[0] = 1.0
    return logits.astype(np.float32), targets.astype(np.int32), weights.astype(np.float32)


def _padded(case):
    """Returns the case at one size, so that one program serves all cases; the padding has weight 0."""
    return [np.pad(leaf, [(0, MOST - len(leaf))] + [(0, 0)] * (leaf.ndim - 1)) for leaf in case]


@jax.jit
def _ours(logits, targets, weights):
    n_classes = logits.shape[1]
    values = {
        "accuracy": metrics.accuracy(),
        "confusion": metrics.confusion_matrix(),
        "roc_auc": metrics.roc_auc(),
        "log_loss": metrics.log_loss(),
        "brier": metrics.brier_score(),
    }
    for average in AVERAGES + (("binary",) if n_classes == 2 else ()):
        values[f"precision {average}"] = metrics.precision(average=average)
        values[f"recall {average}"] = metrics.recall(average=average)
        values[f"f1 {average}"] = metrics.f1(average=average)
    if n_classes > 2:
        values["top_2"] = metrics.top_k_accuracy(k=2)
    return {name: metric(logits, targets, weights) for name, metric in values.items()}


def _log_odds(logits):
    """Returns the log odds of each class against the rest in float64, equal where they differ only by rounding."""
    classes = range(logits.shape[1])
    return np.stack([logits[:, k] - logsumexp(np.delete(logits, k, axis=1), axis=1) for k in classes], 1).round(10)


def _area(present, scores, weights):
    """Returns the area (nan without pairs) and the part of it due to scores that float32 may not distinguish."""
    if present.all() or not present.any():
        return np.nan, 0.0
    gaps, sizes = (np.abs(f(scores[present], scores[~present])) for f in (np.subtract.outer, np.add.outer))
    pairs = np.outer(weights[present], weights[~present])
    is_close = (gaps > 0) & (gaps < 2e-6 * (1 + sizes))
    return peer.roc_auc_score(present, scores, sample_weight=weights), (pairs * is_close).sum() / pairs.sum()


def _averages(targets, put, weights, n_classes):
    """Returns precision, recall and F1 by average; scikit-learn leaves out classes that do not occur unless they are listed."""
    values, occurs = {}, np.isin(np.arange(n_classes), np.union1d(targets, put))
    for average in AVERAGES + (("binary",) if n_classes == 2 else ()):
        options = {"labels": np.arange(n_classes)} if average is None else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of one class alone
            scored = peer.precision_recall_fscore_support(
                targets, put, average=average, sample_weight=weights, zero_division=0, **options
            )
        for name, value in zip(("precision", "recall", "f1"), scored, strict=False):
            if average is None:
                value = np.where(occurs, value, np.nan)
            values[f"{name} {average}"] = np.nan if average == "binary" and not occurs[1] else value
    return values


def _theirs(logits, targets, weights):
    """Returns the values, and the tolerance for those that depend on scores which float32 does not distinguish."""
    logits, targets, weights = (leaf[weights > 0] for leaf in (logits.astype(np.float64), targets, weights))
    n_classes = logits.shape[1]
    labels, put = np.arange(n_classes), logits.argmax(1)
    one_hot = targets[:, None] == labels[None]
    brier = np.average(((softmax(logits, 1) - one_hot) ** 2).sum(1), weights=weights)
    scores = _log_odds(logits)
    areas, close = zip(*(_area(one_hot[:, k], scores[:, k], weights) for k in labels[n_classes == 2 :]), strict=True)
    values = {
        "accuracy": peer.accuracy_score(targets, put, sample_weight=weights),
        "confusion": peer.confusion_matrix(targets, put, labels=labels, sample_weight=weights),
        "roc_auc": np.nan if np.isnan(areas).all() else np.nanmean(areas),
        # scikit-learn clips probabilities at 2e-16; the loss of more confident errors is the margin.
        "log_loss": -np.average(log_softmax(logits, 1)[one_hot], weights=weights),
        "brier": brier / 2 if n_classes == 2 else brier,
        **_averages(targets, put, weights, n_classes),
    }
    if np.abs(logits).max() < 15:
        of_peer = peer.log_loss(targets, softmax(logits, 1), labels=labels, sample_weight=weights)
        np.testing.assert_allclose(values["log_loss"], of_peer, rtol=1e-9)
    if n_classes == 2:
        of_peer = peer.brier_score_loss(targets == 1, softmax(logits, 1)[:, 1], sample_weight=weights)
        np.testing.assert_allclose(values["brier"], of_peer, rtol=1e-9, atol=1e-15)
    else:
        values["top_2"] = peer.top_k_accuracy_score(targets, logits, k=2, labels=labels, sample_weight=weights)
    return values, {"roc_auc": max(close)}


@pytest.mark.long
@pytest.mark.parametrize(
    "seeds", [range(N_CASES // 5), pytest.param(range(N_CASES // 5, N_CASES), marks=pytest.mark.slow)]
)
def test_classification_metrics_equal_scikit_learn_on_1000_cases(seeds):
    n_absent = 0
    for seed in seeds:
        case = _case(seed)
        n_absent += len(np.unique(case[1])) < case[0].shape[1]
        ours, (theirs, close) = jax.device_get(_ours(*_padded(case))), _theirs(*case)
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            # float32 sums of up to 64 terms against float64
            atol, message = 2e-6 + close.get(name, 0.0), f"{name}, case {seed}"
            np.testing.assert_allclose(ours[name], value, rtol=2e-5, atol=atol, err_msg=message)
    assert n_absent > len(seeds) / 4


@jax.jit
def _our_regression(predictions, targets, weights):
    values = {
        "mse": metrics.mean_squared_error(),
        "rmse": metrics.root_mean_squared_error(),
        "mae": metrics.mean_absolute_error(),
        "r2": metrics.r2(),
    }
    return {name: metric(predictions, targets, weights) for name, metric in values.items()}


@pytest.mark.long
def test_regression_metrics_equal_scikit_learn_on_1000_cases():
    for seed in range(N_CASES):
        generator = np.random.default_rng(seed)
        n = int(generator.integers(2, MOST + 1))
        targets = (generator.normal(size=n) + generator.choice([0, 3])).astype(np.float32)
        if seed % 10 == 0:
            targets[:] = 2.0  # rounding in the sum would make scikit-learn's own mean inexact
        predictions = (targets + generator.normal(size=n) * generator.choice([0.0, 0.1, 1.0])).astype(np.float32)
        weights = generator.integers(1, 4, n).astype(np.float32)
        ours = jax.device_get(_our_regression(*_padded((predictions, targets, weights))))
        theirs = {
            "mse": peer.mean_squared_error(targets, predictions, sample_weight=weights),
            "rmse": peer.root_mean_squared_error(targets, predictions, sample_weight=weights),
            "mae": peer.mean_absolute_error(targets, predictions, sample_weight=weights),
            "r2": peer.r2_score(targets, predictions, sample_weight=weights),
        }
        for name, value in theirs.items():
            # R2 subtracts from 1, and divides by the spread of as few as two targets: relative to its own size.
            np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-5, err_msg=f"{name}, case {seed}")


@pytest.mark.parametrize("n_classes", [3, 5])
def test_roc_auc_of_several_classes_equals_scikit_learn(n_classes):
    generator = np.random.default_rng(n_classes)
    logits = generator.normal(size=(200, n_classes)).astype(np.float32)
    targets = (np.arange(200) % n_classes).astype(np.int32)
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(logits)), np.float64)
    probabilities /= probabilities.sum(1, keepdims=True)
    expected = peer.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro")
    np.testing.assert_allclose(metrics.roc_auc()(jnp.asarray(logits), jnp.asarray(targets)), expected, rtol=1e-5)


def test_roc_auc_of_certain_scores_equals_float64_scikit_learn():
    """The probabilities are 1 in float32 from log odds of 17 on, but rank in float64."""
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 3, 300).astype(np.int32)
    logits = np.zeros((300, 3), np.float32)
    likeliest = np.where(generator.random(300) < 0.8, targets, generator.integers(0, 3, 300))
    logits[np.arange(300), likeliest] = generator.uniform(18, 30, 300)
    probabilities = softmax(logits.astype(np.float64), 1)
    expected = peer.roc_auc_score(targets, probabilities, multi_class="ovr")
    np.testing.assert_allclose(metrics.roc_auc()(jnp.asarray(logits), jnp.asarray(targets)), expected, atol=2e-4)

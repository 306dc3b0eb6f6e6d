"""Overlap of regions: against a loop over pixels, scikit-learn, and the table of edge cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from jaxresearch import metrics

BOTH = {"iou": metrics.intersection_over_union, "dice": metrics.dice}
N_CLASSES = 4


def _images(n=6, seed=0, *, n_present=N_CLASSES):
    """Returns logits, targets of the first ``n_present`` classes and weights of small images."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(n, 5, 7, N_CLASSES)) * 2
    targets = generator.integers(0, n_present, (n, 5, 7))
    arrays = logits.astype(np.float32), targets.astype(np.int32), generator.random(n).astype(np.float32)
    return tuple(map(jnp.asarray, arrays))


def _loop(name, logits, targets, weights):
    """Returns the overlap of each class in float64, pixel by pixel; a target below 0 is not scored."""
    hits, predicted, present = np.zeros((3, N_CLASSES))
    for image, weight in enumerate(np.asarray(weights, np.float64)):
        for place in np.ndindex(*targets.shape[1:]):
            target, likeliest = int(targets[image][place]), int(np.argmax(logits[image][place]))
            if target >= 0:
                hits[target] += weight * (target == likeliest)
                predicted[likeliest] += weight
                present[target] += weight
    union = predicted + present - hits
    above, below = (hits, union) if name == "iou" else (2 * hits, predicted + present)
    return np.array([a / b if b > 0 else np.nan for a, b in zip(above, below, strict=True)])


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("n_void", [0, 40])
def test_overlap_equals_a_loop_over_pixels(name, n_void):
    logits, targets, weights = _images()
    void = np.random.default_rng(1).permutation(targets.size)[:n_void]
    targets = jnp.asarray(np.where(np.isin(np.arange(targets.size).reshape(targets.shape), void), -1, targets))
    expected = _loop(name, *map(np.asarray, (logits, targets, weights)))
    # float32 sums of 210 weighted pixels against float64
    np.testing.assert_allclose(BOTH[name](average=None)(logits, targets, weights), expected, rtol=1e-5)
    np.testing.assert_allclose(BOTH[name]()(logits, targets, weights), expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("n_present", [2, N_CLASSES])
def test_overlap_equals_scikit_learn(n_present):
    logits, targets, _ = _images(n_present=n_present)
    logits = logits.at[..., n_present + 1 :].set(-10.0)  # with two classes present, the fourth is not predicted either
    flat = np.asarray(targets).ravel(), np.asarray(jnp.argmax(logits, -1)).ravel()
    occurs = np.isin(range(N_CLASSES), flat)
    for name, peer in (("iou", jaccard_score), ("dice", f1_score)):
        each = peer(*flat, labels=range(N_CLASSES), average=None, zero_division=0)
        np.testing.assert_allclose(
            BOTH[name](average=None)(logits, targets), np.where(occurs, each, np.nan), rtol=1e-6, err_msg=name
        )
        # Without given labels, it leaves out those that do not occur.
        np.testing.assert_allclose(BOTH[name]()(logits, targets), peer(*flat, average="macro"), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", BOTH)
def test_a_class_neither_predicted_nor_present_is_left_out(name):
    targets = jnp.asarray(np.arange(8).reshape(1, 2, 4) % 2)
    logits = 5 * jax.nn.one_hot(targets, 3)
    np.testing.assert_array_equal(BOTH[name](average=None)(logits, targets), [1.0, 1.0, np.nan])
    assert BOTH[name]()(logits, targets) == 1.0


@pytest.mark.parametrize("name", BOTH)
def test_merged_batches_equal_the_whole(name):
    metric, data = BOTH[name](average=None), _images()
    batches = [leaf.reshape(3, 2, *leaf.shape[1:]) for leaf in data]
    merged = metric.compute(metric.merge(jax.vmap(metric.summarise)(*batches)))
    np.testing.assert_allclose(merged, metric(*data), rtol=1e-5)  # float32 different summation order
    np.testing.assert_allclose(jax.jit(metric)(*data), metric(*data), rtol=1e-5)


@pytest.mark.parametrize("name", BOTH)
def test_unknown_pixels_give_nan_unless_the_image_has_no_weight(name):
    metric, (logits, targets, weights) = BOTH[name](average=None), _images()
    masked = weights.at[2].set(0)
    for broken in ((logits, targets.at[2, 1, 1].set(N_CLASSES)), (logits.at[2, 1, 1, 0].set(jnp.nan), targets)):
        assert np.all(np.isnan(metric(*broken, weights)))
        np.testing.assert_allclose(metric(*broken, masked), metric(logits, targets, masked), rtol=1e-6)
    void = targets.at[2, 1, 1].set(-1)
    value = metric(logits.at[2, 1, 1].set(jnp.nan), void, weights)
    np.testing.assert_allclose(value, metric(logits, void, weights), rtol=1e-6)


@pytest.mark.parametrize("name", BOTH)
def test_no_scored_pixel_gives_nan(name):
    logits, targets, weights = _images()
    assert np.all(np.isnan(BOTH[name](average=None)(logits, targets, jnp.zeros_like(weights))))
    assert np.isnan(BOTH[name]()(logits, jnp.full_like(targets, -1)))


@pytest.mark.long
def test_counts_beyond_float32_are_not_lost():
    """17 images of 1024 x 1024 pixels have more pixels than float32 counts one by one."""
    targets = jnp.zeros((17, 1024, 1024), jnp.int8)
    logits = jnp.broadcast_to(jnp.array([1.0, 0.0], jnp.float16), (*targets.shape, 2))
    hits = metrics.intersection_over_union().summarise(logits, targets)[0]
    assert hits.tolist() == [17 * 1024**2, 0]


@pytest.mark.raises
def test_segmentation_refuses_other_shapes_and_averages():
    logits, targets, _ = _images()
    with pytest.raises(ValueError, match="average must be 'macro' or None; got 'micro'. Use None for one value per"):
        metrics.dice(average="micro")
    with pytest.raises(ValueError, match=r"must have shape \(batch, height, width, classes\); got \(5, 7, 4\)"):
        metrics.dice()(logits[0], targets[0])
    with pytest.raises(ValueError, match=r"targets must have shape \(6, 5, 7\) .* got \(5, 5, 7\)"):
        metrics.dice()(logits, targets[1:])
    with pytest.raises(ValueError, match="targets must be integers; got float32. Pass the class of each pixel"):
        metrics.dice()(logits, logits[..., 0])

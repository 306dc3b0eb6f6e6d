"""Augmentations draw separately for each example, preserve what they should, and affect only training steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import augmentations, losses, metrics, models, training
from jaxresearch.models.model import from_pixels

IMAGES = np.random.default_rng(0).integers(1, 256, (64, 9, 7, 3)).astype(np.float32)
BATCH = {"inputs": IMAGES, "targets": np.arange(64) % 4, "weights": np.ones(64, np.float32)}
ALL = {
    "shifted": augmentations.shifted(2),
    "cropped": augmentations.cropped(2),
    "flipped": augmentations.flipped(),
    "cutout": augmentations.cutout(3),
    "mixup": augmentations.mixup(4, alpha=0.5),
    "chained": augmentations.chained(augmentations.flipped(), augmentations.shifted(1), augmentations.mixup(4)),
}


@pytest.fixture
def reused():
    """Lets a test reuse a key, to compare results."""
    with jax.debug_key_reuse(False):
        yield


@pytest.mark.long
@pytest.mark.usefixtures("reused")
@pytest.mark.parametrize("name", ALL)
def test_an_augmentation_is_the_same_compiled_and_vmapped(key, name):
    keys = jax.random.split(key, 3)
    eager, jitted = ALL[name](keys[1], BATCH), jax.jit(ALL[name])(keys[1], BATCH)
    vmapped = jax.jit(jax.vmap(ALL[name], (0, None)))(keys, BATCH)
    for field in BATCH:
        # A product and a sum may be fused into one operation.
        np.testing.assert_allclose(jitted[field], eager[field], rtol=1e-6)
        np.testing.assert_allclose(vmapped[field][1], eager[field], rtol=1e-6)
        assert not np.array_equal(vmapped["inputs"][0], vmapped["inputs"][1])
    assert eager["inputs"].shape == IMAGES.shape and eager["inputs"].dtype == IMAGES.dtype
    np.testing.assert_array_equal(eager["weights"], BATCH["weights"])


@pytest.mark.usefixtures("reused")
@pytest.mark.parametrize("name", ["shifted", "cropped", "flipped", "cutout"])
def test_pixels_of_8_bits_and_targets_stay_as_they_are(key, name):
    made = ALL[name](key, {**BATCH, "inputs": IMAGES.astype(np.uint8)})
    assert made["inputs"].dtype == np.uint8
    np.testing.assert_array_equal(made["inputs"], ALL[name](key, BATCH)["inputs"])
    np.testing.assert_array_equal(made["targets"], BATCH["targets"])


def shift(image, down, right):
    """Returns an image shifted by a loop over its pixels."""
    made = np.zeros_like(image)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            if 0 <= i - down < image.shape[0] and 0 <= j - right < image.shape[1]:
                made[i, j] = image[i - down, j - right]
    return made


def test_shifted_moves_each_image_by_whole_pixels(key):
    made = np.asarray(ALL["shifted"](key, BATCH)["inputs"])
    shifts = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    drawn = [
        [by for by in shifts if np.array_equal(shift(image, *by), one)] for image, one in zip(IMAGES, made, strict=True)
    ]
    assert all(len(by) == 1 for by in drawn)
    assert len({by[0] for by in drawn}) > 15, "of 25, in 64 draws"


def test_cropped_gives_pixels_of_the_image_alone(key):
    """A crop is a window of the reflected image: the middle of the window is in the image at its shift."""
    made = np.asarray(ALL["cropped"](key, BATCH)["inputs"])
    wide = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    for one, image in zip(made, wide, strict=True):
        windows = [image[i : i + 9, j : j + 7] for i in range(5) for j in range(5)]
        assert any(np.array_equal(one, window) for window in windows)
    assert made.min() > 0, "no border of zeros"


def test_flipped_mirrors_half_of_the_images(key):
    made = np.asarray(ALL["flipped"](key, BATCH)["inputs"])
    mirrored = [np.array_equal(one, image[:, ::-1]) for one, image in zip(made, IMAGES, strict=True)]
    same = [np.array_equal(one, image) for one, image in zip(made, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48, "four standard deviations around 32"


@pytest.mark.parametrize("size", [0, 1, 3, 4, 40])
def test_cutout_removes_a_square(key, size):
    made = np.asarray(augmentations.cutout(size)(key, BATCH)["inputs"])
    for one, image in zip(made, IMAGES, strict=True):
        gone = (one == 0).all(-1)
        np.testing.assert_array_equal(one[~gone], image[~gone])
        rows, columns = gone.any(1).sum(), gone.any(0).sum()
        assert gone.sum() == rows * columns and rows <= min(size, 9) and columns <= min(size, 7)
        assert size == 0 or gone.any(), "the centre is in the image"
    if size == 3:
        assert ((made == 0).all(-1).sum((1, 2)) == 9).any(), "a whole square"


def test_mixup_mixes_inputs_and_targets_alike(key):
    """Inputs that are their own one-hot classes stay equal to their targets."""
    batch = {"inputs": np.eye(4, dtype=np.float32)[BATCH["targets"]], "targets": BATCH["targets"]}
    made = augmentations.mixup(4, alpha=1.0)(key, batch)
    np.testing.assert_allclose(made["inputs"], made["targets"], rtol=1e-6)
    np.testing.assert_allclose(made["targets"].sum(1), 1, rtol=1e-6)
    largest = np.asarray(made["targets"]).max(1)
    assert len(np.unique(largest.round(4))) > 30, "each example has its own mixing weight"


def test_mixup_of_a_small_alpha_mixes_little(key):
    made = augmentations.mixup(4, alpha=1e-4)(key, BATCH)
    assert (np.asarray(made["targets"]).max(1) > 0.999).mean() > 0.95


@pytest.mark.usefixtures("reused")
def test_mixup_takes_pixels_as_models_see_them_and_probabilities(key):
    pixels = IMAGES.astype(np.uint8)
    made = ALL["mixup"](key, {"inputs": pixels, "targets": BATCH["targets"]})
    expected = ALL["mixup"](key, {"inputs": from_pixels(pixels), "targets": np.eye(4)[BATCH["targets"]]})
    np.testing.assert_allclose(made["inputs"], expected["inputs"], rtol=1e-6)
    np.testing.assert_allclose(made["targets"], expected["targets"], rtol=1e-6)


def test_chained_gives_each_a_key_of_its_own(key):
    twice = augmentations.chained(augmentations.flipped(), augmentations.flipped())(key, BATCH)["inputs"]
    assert not np.array_equal(twice, IMAGES), "with one key, two flips would undo each other"
    np.testing.assert_array_equal(augmentations.chained()(key, BATCH)["inputs"], IMAGES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augmentations.shifted(-1), "max_pixels must be 0 or more pixels, got -1"),
        (lambda: augmentations.cropped(-1), "padding must be 0 or more pixels, got -1"),
        (lambda: augmentations.cutout(-1), "size must be 0 or more pixels, got -1"),
        (lambda: augmentations.mixup(0), "n_classes must be 1 or more, got 0"),
        (lambda: augmentations.mixup(2, alpha=0.0), "alpha must be above 0, got 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["shifted", "cropped", "flipped", "cutout"])
def test_inputs_that_are_not_images_are_refused(key, name):
    with pytest.raises(ValueError, match=r"inputs must be images \(n, height, width, channels\), got shape \(4, 2\)"):
        ALL[name](key, {"inputs": jnp.zeros((4, 2))})


def test_sizes_that_do_not_fit_are_refused(key):
    with pytest.raises(ValueError, match="padding must be below height and width, 9 and 7, got 7"):
        augmentations.cropped(7)(key, BATCH)
    with pytest.raises(
        ValueError, match=r"targets must be classes \(n,\) or probabilities \(n, 4\), got float32 of shape"
    ):
        augmentations.mixup(4)(key, {**BATCH, "targets": jnp.zeros((64, 1))})


def classifier(augment=None, *, loss=losses.softmax_cross_entropy_with_integer_labels, dropout_rate=0.0):
    return training.supervised(
        models.mlp(9 * 7 * 3, (8,), 4, dropout_rate=dropout_rate),
        loss,
        optimizer=optax.sgd(0.01),
        metrics={"accuracy": metrics.accuracy()},
        augment=augment,
    )


@pytest.mark.long
def test_supervised_augments_steps_alone(key):
    seen = []

    def augment(own, batch):
        seen.append(own)
        return {**batch, "inputs": jnp.zeros_like(batch["inputs"])}

    plain, augmented = classifier(), classifier(augment)
    state, batch = plain.init(key), {**BATCH, "inputs": IMAGES.astype(np.uint8)}
    after, values = augmented.step(state, batch, key)
    expected, other = plain.step(state, {**batch, "inputs": jnp.zeros_like(batch["inputs"])}, key)
    jax.tree.map(np.testing.assert_array_equal, (after, values), (expected, other))
    assert len(seen) == 1 and not (jax.random.key_data(seen[0]) == jax.random.key_data(key)).all()
    for fun in ("evaluate", "predict"):
        given = (batch, key) if fun == "evaluate" else (batch["inputs"],)
        jax.tree.map(
            np.testing.assert_array_equal, getattr(augmented, fun)(state, *given), getattr(plain, fun)(state, *given)
        )
    assert len(seen) == 1


@pytest.mark.long
def test_an_augmented_run_learns_under_vmapped_seeds():
    """A bright square at one of four places, with mixup and flips that respect the place."""
    generator = np.random.default_rng(1)
    targets = generator.integers(0, 4, 256).astype(np.int32)
    images = generator.normal(size=(256, 8, 8, 1)).astype(np.float32)
    for i, target in enumerate(targets):
        row, column = 4 * (target // 2), 4 * (target % 2)
        images[i, row : row + 4, column : column + 4] += 2
    augment = augmentations.chained(augmentations.shifted(1), augmentations.cutout(2), augmentations.mixup(4))
    algorithm = training.supervised(
        models.mlp(64, (32,), 4),
        losses.softmax_cross_entropy,
        optimizer=optax.adam(1e-2),
        metrics={"accuracy": metrics.accuracy()},
        augment=augment,
    )
    data, plan = {"inputs": images, "targets": targets}, training.plan_of(256, batch_size=32, epochs=5)

    @jax.jit
    @jax.vmap
    def accuracy(key):
        state, _ = training.run(key, data, algorithm=algorithm, plan=plan)
        return algorithm.evaluate(state, data, key)["accuracy"]

    assert (accuracy(jax.vmap(jax.random.key)(jnp.arange(3))) > 0.9).all()

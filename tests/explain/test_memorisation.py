"""Random labels: how many are replaced, by what, and when all of them are fitted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxresearch import explain, losses, metrics, models, training

N, N_CLASSES = 400, 4
INPUTS = jnp.asarray(np.random.default_rng(0).normal(size=(N, 5)), jnp.float32)
DATA = {"inputs": INPUTS, "targets": jnp.zeros(N, jnp.int32), "index": jnp.arange(N)}


def _seeing():
    """Returns an algorithm whose state is the last targets that it was trained on; it predicts the class 1."""

    def step(state, batch, key):
        return state.at[batch["index"]].set(batch["targets"]), {"loss": jnp.zeros(())}

    def predict(state, inputs):
        return jnp.broadcast_to(jnp.eye(N_CLASSES)[1], (len(inputs), N_CLASSES))

    return training.Algorithm(lambda key: jnp.full(N, -1), step, lambda *_: {"other": jnp.ones(())}, predict)


def _labels(corruption, seed=0):
    key = jax.random.key(seed)
    algorithm = explain.memorised(_seeing(), corruption=corruption, n_examples=N, n_classes=N_CLASSES)
    return np.asarray(algorithm.step(algorithm.init(key), DATA, jax.random.key(1))[0].inner)


def test_labels_are_replaced_by_classes_drawn_uniformly():
    assert not _labels(0.0).any()
    counts = np.bincount(_labels(1.0), minlength=N_CLASSES)
    assert counts.sum() == N and (abs(counts - N / N_CLASSES) < 4 * np.sqrt(N * 0.25 * 0.75)).all()  # four deviations
    changed = (_labels(0.5) > 0).mean()
    assert abs(changed - 0.5 * 0.75) < 4 * np.sqrt(0.375 * 0.625 / N)  # a quarter of the replaced keep their class


def test_labels_come_from_the_key_and_stay():
    half, whole = _labels(0.5), _labels(1.0)
    assert set(np.flatnonzero(half)) < set(np.flatnonzero(whole)) and (half[half > 0] == whole[half > 0]).all()
    assert (_labels(1.0, seed=9) != whole).any()
    algorithm = explain.memorised(_seeing(), corruption=0.5, n_examples=N, n_classes=N_CLASSES)
    state = algorithm.init(jax.random.key(0))
    for _ in range(2):
        state, _ = algorithm.step(state, DATA, jax.random.key(3))
        np.testing.assert_array_equal(state.inner, half)


def test_corruption_may_be_swept():
    def labels_of(corruption):
        algorithm = explain.memorised(_seeing(), corruption=corruption, n_examples=N, n_classes=N_CLASSES)
        return algorithm.step(algorithm.init(jax.random.key(0)), DATA, jax.random.key(1))[0].inner

    swept = jax.vmap(labels_of)
    for labels, corruption in zip(swept(jnp.array([0.0, 0.5, 1.0])), (0.0, 0.5, 1.0), strict=True):
        np.testing.assert_array_equal(labels, _labels(corruption))


def test_labels_are_fitted_once_all_were_right_when_last_seen():
    algorithm = explain.memorised(_seeing(), corruption=0.0, n_examples=4, n_classes=N_CLASSES)
    state, right, wrong = algorithm.init(jax.random.key(0)), jnp.ones(2, int), jnp.zeros(2, int)
    first, last = jnp.array([0, 1]), jnp.array([2, 3])
    shares = []
    for index, targets in ((first, right), (last, wrong), (first, right), (last, right), (first, wrong)):
        batch = {"inputs": INPUTS[index], "targets": targets, "index": index}
        state, values = algorithm.step(state, batch, jax.random.key(1))
        shares.append((float(values["fitted"]), int(state.fitted_at)))
    assert shares == [(0.5, 0), (0.5, 0), (0.5, 0), (1.0, 4), (0.5, 4)]
    found = algorithm.evaluate(state, DATA, jax.random.key(1))
    assert (float(found["fitted"]), float(found["steps_to_fit"]), float(found["other"])) == (0.5, 4.0, 1.0)
    assert np.isnan(algorithm.evaluate(algorithm.init(jax.random.key(0)), DATA, jax.random.key(1))["steps_to_fit"])


@pytest.mark.long
def test_a_wide_network_fits_random_labels():
    model, loss = models.mlp(5, (64,), N_CLASSES), losses.softmax_cross_entropy_with_integer_labels
    plain = training.supervised(model, loss, optimizer=optax.adam(1e-2), metrics={"accuracy": metrics.accuracy()})
    few = jax.tree.map(lambda leaf: leaf[:60], DATA)
    algorithm = explain.memorised(plain, corruption=1.0, n_examples=60, n_classes=N_CLASSES)
    plan = training.plan_of(60, batch_size=20, epochs=300)
    state, history = jax.jit(lambda key: training.run(key, few, algorithm=algorithm, plan=plan))(jax.random.key(0))
    logits = np.asarray(algorithm.predict(state, few["inputs"]))
    np.testing.assert_array_equal(logits.argmax(axis=1), state.random_labels)
    at = int(state.fitted_at)
    assert history["fitted"][at - 1] == 1 and (history["fitted"][: at - 1] < 1).all()


@pytest.mark.raises
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"corruption": 1.5}, "corruption must be from 0 to 1, got 1.5. Pass 0.5"),
        ({"n_examples": 0}, "n_examples must be 1 or more, got 0"),
        ({"n_classes": 0}, "n_classes must be 1 or more, got 0"),
        ({"algorithm": _seeing()._replace(predict=None)}, "algorithm must predict classes, got one without predict"),
    ],
)
def test_memorised_refuses(changed, message):
    options = {"algorithm": _seeing(), "corruption": 0.5, "n_examples": N, "n_classes": N_CLASSES, **changed}
    with pytest.raises(ValueError, match=f"^{message}"):
        explain.memorised(options.pop("algorithm"), **options)


@pytest.mark.raises
def test_memorised_refuses_batches_without_numbers():
    algorithm = explain.memorised(_seeing(), corruption=0.5, n_examples=N, n_classes=N_CLASSES)
    with pytest.raises(ValueError, match="^batch must name its examples in 'index', got none"):
        algorithm.step(
            algorithm.init(jax.random.key(0)), {"inputs": INPUTS, "targets": DATA["targets"]}, jax.random.key(1)
        )

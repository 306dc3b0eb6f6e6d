"""The influence of an example on a metric: the effect of its weight, in any evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import losses, metrics, models, training
from jaxresearch.data import DataCard, Streams
from jaxresearch.execution.influences import examined

pytestmark = pytest.mark.long

N = 37  # evaluated in batches of 10, the last one padded


@pytest.fixture(scope="module")
def evaluation():
    """A classifier's evaluation of a part, and the part."""
    x, y = jax.random.normal(jax.random.key(0), (N, 4)), jax.random.randint(jax.random.key(1), (N,), 0, 3)
    card = DataCard(name="blobs", source="", feature_shape=(4,), class_names=("a", "b", "c"))
    algorithm = training.supervised(
        models.linear(4, 3),
        losses.softmax_cross_entropy_with_integer_labels,
        optimizer=training.gradient_descent(0.1),
        metrics={**metrics.classification(card), "recall": metrics.recall(average=None)},
        evaluation_batch=10,
    )
    state = algorithm.init(jax.random.key(2))
    return lambda data: algorithm.evaluate(state, data, jax.random.key(3)), {"inputs": x, "targets": y}


@pytest.mark.parametrize("weights", [None, "others"])
def test_influences_are_what_a_change_of_weight_does(evaluation, weights):
    evaluate, data = evaluation
    given = jnp.ones(N) if weights is None else jnp.arange(N) % 3.0  # a third of the examples have weight 0
    held = data if weights is None else {**data, "weights": given}
    found, influences = jax.jit(lambda data: examined(evaluate, data))(held)
    assert influences.keys() == found.keys() and influences["recall"].shape == (N, 3)
    n_counted = int((given != 0).sum())
    for name in found:
        for place in (0, 1, 2, 36):
            if given[place] == 0:
                assert not np.any(influences[name][place])
                continue
            more, less = (
                evaluate({**data, "weights": given.at[place].add(change)})[name].astype(jnp.float32)
                for change in (0.05, -0.05)
            )
            by_hand = (more - less) / 0.1 * n_counted * given[place]
            # Differences over a tenth of float32 numbers near 1, times the number of examples.
            np.testing.assert_allclose(influences[name][place], by_hand, atol=5e-3 * n_counted / 37, rtol=2e-2)


def test_influences_of_a_mean_are_what_examples_have_beyond_it(evaluation):
    evaluate, data = evaluation
    found, influences = examined(evaluate, data)
    hits = found["accuracy"] + influences["accuracy"]
    np.testing.assert_allclose(hits, np.round(hits), atol=1e-4)
    np.testing.assert_allclose(hits.mean(), found["accuracy"], rtol=1e-5)
    for name in found:
        np.testing.assert_allclose(influences[name].sum(axis=0), 0, atol=1e-3)


def test_what_does_not_depend_on_weights_has_no_influences():
    def evaluate(data):
        blind = data["targets"].mean()
        many = data["targets"] @ data["weights"] * jnp.ones((2, 2))
        return {"blind": blind, "count": data["weights"].sum().astype(jnp.int32), "many": many, "sum": many[0, 0]}

    found, influences = examined(evaluate, {"targets": jnp.arange(4.0)})
    assert found.keys() == {"blind", "count", "many", "sum"} and influences.keys() == {"sum"}
    drawn = {"steps": jnp.float32(3)}
    assert examined(lambda data: drawn, {}) == (drawn, {})
    assert examined(lambda data: drawn, Streams(a={"inputs": jnp.ones(2)}, b={"inputs": jnp.ones(3)})) == (drawn, {})


def test_an_evaluation_without_a_derivative_has_no_influences():
    def evaluate(data):
        def more(carry):
            return carry + data["weights"].sum()

        loop = jax.lax.while_loop(lambda carry: carry < 10, more, 0.0)
        return {"loop": loop, "mean": jnp.average(data["targets"], weights=data["weights"])}

    found, influences = examined(evaluate, {"targets": jnp.arange(4.0)})
    assert float(found["loop"]) == 12 and influences.keys() == {"mean"}  # the others have theirs
    np.testing.assert_allclose(influences["mean"], jnp.arange(4.0) - 1.5, atol=1e-6)

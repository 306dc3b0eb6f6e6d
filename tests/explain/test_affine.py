"""The affine first part of a function: its values, what it contains, and that integrated gradients are unchanged by it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import explain, models
from jaxresearch.explain.affine import affine_prefix, affine_slopes
from jaxresearch.explain.scores import Rows, baseline_of

X = jax.random.normal(jax.random.key(0), (3, 4))
W, V = jax.random.normal(jax.random.key(1), (4, 5)), jax.random.normal(jax.random.key(2), (5, 2))
KERNEL = jax.random.normal(jax.random.key(3), (3, 1, 2))


def residual(x):
    return jnp.tanh(x @ W) @ V + x[:, :2] ** 2


def convolution(x):
    hidden = jax.lax.conv_general_dilated(x[..., None], KERNEL, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))
    return jax.nn.relu(hidden + 0.1).sum(axis=2)


FUNCTIONS = {
    "dense": (lambda x: jnp.tanh(x @ W + 1.0) @ V, 1),
    "two dense layers": (lambda x: jnp.sin((x @ W - 0.5) @ V), 1),
    "linear": (lambda x: x @ W, 1),
    "residual": (residual, 2),
    "convolution": (convolution, 1),
    "scaled": (lambda x: jnp.exp((2 * x.reshape(-1)).reshape(3, 4) @ W), 1),
    "no product": (lambda x: jnp.tanh(x), 1),
    "square": (lambda x: jnp.tanh((x * x) @ W), 1),
    "product with itself": (lambda x: jnp.tanh(x @ x.T), 1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_affine_prefix_and_rest_make_the_function(name):
    fun, n_intermediates = FUNCTIONS[name]
    first, rest = affine_prefix(fun, X)
    np.testing.assert_allclose(rest(first(X + 1)), fun(X + 1), rtol=1e-5, atol=1e-6)
    assert len(first(X)) == n_intermediates
    middle = [(a + b) / 2 for a, b in zip(first(X), first(3 * X + 1), strict=True)]
    np.testing.assert_allclose(first(2 * X + 0.5)[0], middle[0], atol=1e-5)  # affine


@pytest.mark.parametrize(("name", "remaining"), [("dense", 1), ("two dense layers", 0), ("linear", 0), ("square", 1)])
def test_the_rest_has_no_affine_layer(name, remaining):
    fun, _ = FUNCTIONS[name]
    first, rest = affine_prefix(fun, X)
    assert str(jax.make_jaxpr(rest)(first(X))).count("dot_general") == remaining


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [None, 2, 11])
def test_integrated_gradients_equal_those_at_the_inputs(batch_size):
    """A sum over nodes of gradients at the inputs, for a convolutional network and embeddings of a transformer."""
    cnn = models.cnn((6, 6, 1), 3, channels=(2,), hidden=5)
    params, model_state = cnn.init(jax.random.key(4))
    images = jax.random.normal(jax.random.key(5), (3, 6, 6, 1))
    sizes = models.TransformerSizes(context=5, width=4, n_layers=1, n_heads=1, padding=0)
    text = models.classifier(7, 3, sizes)
    tokens = jnp.array([[3, 1, 4, 0, 0], [1, 5, 2, 6, 3], [2, 2, 2, 2, 0]])
    before, after = models.split_at(text, *text.init(jax.random.key(6)), layer="embedded")
    cases = (
        (lambda x, fixed: cnn.apply(params, model_state, x)[0], images, images),
        (after, before(tokens), tokens),
    )
    nodes, weights = np.polynomial.legendre.leggauss(5)
    for predict, inputs, fixed in cases:
        base = baseline_of(inputs, 0.1)
        slope = jax.jit(jax.grad(lambda x, predict=predict, fixed=fixed: predict(x, fixed)[:, 1].sum()))
        expected = sum(w / 2 * slope(base + (t + 1) / 2 * (inputs - base)) for t, w in zip(nodes, weights, strict=True))
        options = {"baseline": 0.1, "n_steps": 5, "target": 1, "fixed": fixed, "batch_size": batch_size}
        found, _ = jax.jit(lambda x, predict=predict, some=options: explain.integrated_gradients(predict, x, **some))(
            inputs
        )
        np.testing.assert_allclose(found, (inputs - base) * expected, atol=1e-5)  # float32


@pytest.mark.parametrize("name", ["dense", "two dense layers", "residual", "convolution"])
def test_slopes_are_derivatives_of_the_first_part(name):
    fun, n_intermediates = FUNCTIONS[name]
    slopes = affine_slopes(lambda rows: fun(rows.inputs).sum(axis=1), Rows(X))
    first, _ = affine_prefix(fun, X)
    jacobians = jax.jacobian(lambda x: [leaf[0] for leaf in first(X.at[0].set(x))])(X[0])
    assert len(slopes) == n_intermediates
    for slope, jacobian in zip(slopes, jacobians, strict=True):
        np.testing.assert_allclose(slope, jnp.moveaxis(jacobian, -1, 0), atol=1e-5)  # float32


def test_slopes_are_left_out_where_examples_may_differ():
    dense = lambda rows: jnp.tanh(rows.inputs @ W).sum(axis=1)  # noqa: E731
    assert affine_slopes(dense, Rows(X, fixed=X)) is None
    assert affine_slopes(lambda rows: jnp.tanh(rows.inputs["a"] @ W).sum(axis=1), Rows({"a": X})) is None
    assert affine_slopes(lambda rows: jnp.tanh(rows.inputs).sum(axis=1), Rows(X)) is None
    assert affine_slopes(lambda rows: jnp.tanh((rows.inputs @ W).T).sum(axis=0), Rows(X)) is None  # examples last
    wide = lambda rows: jnp.tanh(rows.inputs @ jnp.ones((2100, 1))).sum(axis=1)  # noqa: E731
    assert affine_slopes(wide, Rows(jnp.ones((1, 2100)))) is None  # 2,100 squared is above the limit


@pytest.mark.parametrize("batch_size", [None, 2, 7])
def test_occlusion_of_a_network_is_that_of_its_copies(batch_size):
    """With windows that overlap, reach over the edge, and one baseline for each example."""
    cnn = models.cnn((5, 5, 1), 3, channels=(2,), hidden=5)
    params, model_state = cnn.init(jax.random.key(4))
    images, classes = jax.random.normal(jax.random.key(5), (4, 5, 5, 1)), jnp.array([0, 2, 1, 1])
    base = jax.random.normal(jax.random.key(6), images.shape)
    predict = lambda x: cnn.apply(params, model_state, x)[0]  # noqa: E731
    assert affine_slopes(lambda rows: predict(rows.inputs)[:, 0], Rows(images)) is not None
    options = {"window": (3, 2), "stride": (2, 2), "baseline": base, "target": classes, "batch_size": batch_size}
    found = jax.jit(lambda x: explain.occlusion(predict, x, **options))(images)
    falls, counts = np.zeros(images.shape), np.zeros(images.shape)
    score = lambda x: np.asarray(predict(x))[np.arange(4), np.asarray(classes)]  # noqa: E731
    for row in (0, 2):
        for column in (0, 2, 4):
            place = (slice(None), slice(row, row + 3), slice(column, column + 2))
            falls[place] += (score(images) - score(images.at[place].set(base[place]))).reshape(4, 1, 1, 1)
            counts[place] += 1
    np.testing.assert_allclose(found, falls / np.maximum(counts, 1), atol=1e-5)  # float32


@pytest.mark.parametrize("batch_size", [None, 2, 7])
def test_sampled_values_of_a_network_are_those_of_its_copies(batch_size):
    groups = np.array([0, 1, 0, 2])
    predict = lambda x: jnp.tanh(x @ W + 1.0) @ V[:, 0]  # noqa: E731
    same = lambda x, fixed: predict(x) + 0 * fixed.sum(axis=1)  # noqa: E731
    options = {"groups": groups, "n_pairs": 3, "baseline": 0.3, "batch_size": batch_size}
    found = explain.sampled_shapley_values(jax.random.key(0), predict, X, **options)
    plain = explain.sampled_shapley_values(jax.random.key(0), same, X, fixed=X, **options)  # fixed: no slopes
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, plain)

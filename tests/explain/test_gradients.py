"""Attributions from gradients: axioms on random networks, exactness on linear models, memory, messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import explain, models
from jaxresearch.explain.scores import scored

N, FEATURES, CLASSES = 6, 8, 3


def network(seed, activation=jnp.tanh):
    """Returns a random network of two hidden layers without an influence of its last feature, and examples."""
    keys = jax.random.split(jax.random.key(seed), 5)
    widths = (FEATURES, 16, 16, CLASSES)
    weights = [
        jax.random.normal(key, (a, b)) / a**0.5 for key, a, b in zip(keys, widths[:-1], widths[1:], strict=False)
    ]
    weights[0] = weights[0].at[-1].set(0)
    biases = jax.random.normal(keys[3], (16,))

    def predict(x):
        hidden = activation(x @ weights[0] + biases[None])
        return activation(hidden @ weights[1]) @ weights[2]

    return predict, jax.random.normal(keys[4], (N, FEATURES))


def pairs(key, predict, inputs, **options):
    """Integrated, and the other methods whose attributions add up, by name."""
    return {
        "integrated": lambda: explain.integrated_gradients(predict, inputs, **options)[0],
        "shapley": lambda: explain.shapley_values(predict, inputs, **options),
        "sampled": lambda: explain.sampled_shapley_values(key, predict, inputs, n_pairs=4, **options)[0],
    }


# The integrand of ReLU networks jumps where a unit switches, which costs up to the jump over the number of nodes.
@pytest.mark.parametrize(("activation", "n_steps"), [(jnp.tanh, 64), (jax.nn.gelu, 64), (jax.nn.relu, 1024)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_integrated_gradients_are_complete(seed, activation, n_steps):
    predict, inputs = network(seed, activation)
    baseline = jnp.full(FEATURES, 0.1)
    attributions, delta = jax.jit(
        lambda x: explain.integrated_gradients(predict, x, target=1, baseline=baseline, n_steps=n_steps)
    )(inputs)
    change = predict(inputs)[:, 1] - predict(baseline[None])[:, 1]
    np.testing.assert_allclose(attributions.sum(axis=1), change, atol=1e-3)  # the promise
    np.testing.assert_allclose(delta, attributions.sum(axis=1) - change, atol=1e-5)  # float32


@pytest.mark.parametrize("method", ["integrated", "shapley", "sampled"])
def test_a_feature_without_influence_gets_nothing(method, key):
    predict, inputs = network(3)
    attributions = pairs(key, predict, inputs, target=0)[method]()
    np.testing.assert_allclose(attributions[:, -1], 0, atol=1e-6)  # float32; the others are about 0.3
    assert abs(attributions[:, :-1]).mean() > 0.01


@pytest.mark.parametrize("method", ["integrated", "shapley", "sampled"])
def test_attributions_are_linear_in_the_model(method, key):
    (first, inputs), (second, _) = network(4), network(5)
    both = pairs(key, lambda x: 2 * first(x) - second(x), inputs, target=2)[method]()
    one, other = (pairs(key, predict, inputs, target=2)[method]() for predict in (first, second))
    np.testing.assert_allclose(both, 2 * one - other, atol=1e-5)  # float32


@pytest.mark.parametrize("method", ["integrated", "shapley"])
def test_symmetric_features_get_the_same(method, key):
    predict, inputs = network(6)
    inputs = inputs.at[:, 1].set(inputs[:, 0])
    swapped = jnp.array([1, 0, *range(2, FEATURES)])

    def symmetric(x):
        return predict(x) + predict(x[:, swapped])

    attributions = pairs(key, symmetric, inputs, target=0)[method]()
    np.testing.assert_allclose(attributions[:, 0], attributions[:, 1], atol=1e-5)  # float32


@pytest.mark.parametrize("method", ["integrated", "shapley", "sampled"])
def test_attributions_depend_on_the_function_alone(method, key):
    """Two networks that compute the same function in different ways: units reordered, and a layer factored."""
    keys = jax.random.split(jax.random.key(7), 3)
    first, last = jax.random.normal(keys[0], (FEATURES, 16)) / 3, jax.random.normal(keys[1], (16, CLASSES)) / 4
    order, inputs = jnp.arange(16)[::-1], jax.random.normal(keys[2], (N, FEATURES))

    def plain(x):
        return jnp.tanh(x @ first) @ last

    def other(x):
        return (jnp.tanh((2 * x) @ (first[:, order] / 2)) @ (3 * last[order])) / 3

    one, two = (pairs(key, predict, inputs, target=1)[method]() for predict in (plain, other))
    np.testing.assert_allclose(one, two, atol=1e-5)  # float32


@pytest.mark.long
def test_all_methods_are_exact_on_a_linear_model(key):
    weights, inputs = jnp.array([[2.0, -1.0], [-3.0, 0.5], [0.0, 4.0]]), jnp.array([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]])
    predict, baseline = (lambda x: x @ weights), jnp.array([0.5, 1.0, 0.0])
    classes = jnp.array([0, 1])
    chosen = weights.T[classes]
    expected = chosen * (inputs - baseline[None])
    gradients = explain.saliency(predict, inputs, target=classes, absolute=False)
    np.testing.assert_array_equal(gradients, chosen)
    np.testing.assert_array_equal(explain.saliency(predict, inputs, target=classes), abs(chosen))
    np.testing.assert_array_equal(explain.input_x_gradient(predict, inputs, target=classes), inputs * chosen)
    smooth = explain.smoothgrad(key, predict, inputs, target=classes, noise_scale=0.3, n_samples=8)
    np.testing.assert_allclose(smooth, chosen, atol=1e-6)
    options = {"target": classes, "baseline": baseline}
    integrated, delta = explain.integrated_gradients(predict, inputs, n_steps=3, **options)
    np.testing.assert_allclose(integrated, expected, atol=1e-5)
    np.testing.assert_allclose(delta, 0, atol=1e-5)
    np.testing.assert_allclose(explain.shapley_values(predict, inputs, **options), expected, atol=1e-5)
    sampled, _ = explain.sampled_shapley_values(key, predict, inputs, n_pairs=2, **options)
    np.testing.assert_allclose(sampled, expected, atol=1e-5)
    np.testing.assert_allclose(explain.ablation(predict, inputs, **options), expected, atol=1e-5)
    np.testing.assert_allclose(explain.occlusion(predict, inputs, window=(1,), **options), expected, atol=1e-5)
    references = jnp.stack([baseline, 2 - baseline])  # of mean 1
    estimate, error = explain.expected_gradients(key, predict, inputs, references=references, target=classes)
    assert (abs(estimate - chosen * (inputs - 1)) <= 4 * error + 1e-5).all() and error.max() > 0


def test_integrated_gradients_take_trees_and_fixed_arrays():
    inputs = {"a": jnp.ones((4, 2)), "b": 2 * jnp.ones((4, 3, 1))}
    mask = jnp.array([1.0, 0.0, 2.0, 3.0])

    def predict(x, mask):
        return (x["a"].sum(axis=1) + (x["b"] ** 2).sum(axis=(1, 2))) * mask

    attributions, _ = explain.integrated_gradients(predict, inputs, fixed=mask, batch_size=3, n_steps=4)
    np.testing.assert_allclose(attributions["a"], jnp.outer(mask, jnp.ones(2)), atol=1e-5)
    np.testing.assert_allclose(attributions["b"][:, :, 0], jnp.outer(mask, 4 * jnp.ones(3)), atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [4, 15])
def test_batches_change_nothing(batch_size, key):
    predict, inputs = network(8)
    classes = jnp.array([0, 1, 2, 0, 1, 2])
    options = {"target": classes, "batch_size": batch_size}
    methods = {
        "integrated": lambda **options: explain.integrated_gradients(predict, inputs, n_steps=7, **options)[0],
        "smooth": lambda **options: explain.smoothgrad(key, predict, inputs, noise_scale=0.1, n_samples=5, **options),
        "expected": lambda **options: explain.expected_gradients(
            key, predict, inputs, references=inputs[:4], n_samples=5, **options
        )[0],
        "shapley": lambda **options: explain.shapley_values(predict, inputs, **options),
        "occlusion": lambda **options: explain.occlusion(predict, inputs, window=(3,), stride=(2,), **options),
    }
    for name, method in methods.items():
        whole, cut = (
            jax.jit(lambda method=method, some=some: method(**some))() for some in ({"target": classes}, options)
        )
        np.testing.assert_allclose(cut, whole, atol=1e-6, err_msg=name)  # float32


@pytest.mark.long
def test_integrated_gradients_compose_with_jit_vmap_and_grad():
    scales = jnp.array([0.5, 1.0, 2.0])
    predict, inputs = network(9)

    def concentration(scale):
        attributions, _ = explain.integrated_gradients(lambda x: predict(scale * x), inputs, target=0, n_steps=8)
        return (attributions**2).sum()

    single = jnp.stack([concentration(scale) for scale in scales])
    np.testing.assert_allclose(jax.jit(jax.vmap(concentration))(scales), single, rtol=1e-4)  # float32
    slope = jax.grad(concentration)(1.0)
    difference = (concentration(1.01) - concentration(0.99)) / 0.02
    np.testing.assert_allclose(slope, difference, rtol=1e-2)  # of a difference


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [None, 8])
def test_memory_does_not_grow_with_the_steps(batch_size):
    model = models.mlp(64, (32,), CLASSES)
    params, model_state = model.init(jax.random.key(0))

    def temp_bytes(n_steps):
        def attribute(params, x):
            return explain.integrated_gradients(
                lambda x: model.apply(params, model_state, x)[0], x, target=0, n_steps=n_steps, batch_size=batch_size
            )

        return jax.jit(attribute).lower(params, jnp.ones((16, 64))).compile().memory_analysis().temp_size_in_bytes

    few, many = temp_bytes(16), temp_bytes(1024)
    assert 0.9 * few <= many <= 1.1 * few, (few, many)


def test_targets_select_outputs():
    outputs = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])

    def predict(x):
        return x * outputs

    for target, expected in ((2, [3, 6]), (np.array([0, 1]), [1, 5]), (lambda z: z[:, 1] - z[:, 0], [1, 1])):
        function, rows = scored(predict, jnp.ones((2, 1)), target=target)
        assert function(rows).tolist() == expected
    traced = jax.jit(lambda target: explain.saliency(predict, jnp.ones((2, 1)), target=target))(jnp.array([1, 3]))
    assert traced.ravel().tolist()[0] == 2 and np.isnan(traced[1]).all()


@pytest.mark.raises
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 3}, r"target must be a class from 0 to 2, got 3: the outputs have 3 columns"),
        ({"target": jnp.array([0, 1, 2, -1, 0, 0])}, "target must be a class from 0 to 2, got -1"),
        ({"target": 1.5}, r"target must be a class, or one for each of the 6 examples, got float32 \(\)"),
        ({"target": jnp.zeros(5, int)}, r"one for each of the 6 examples, got int32 \(5,\)"),
        ({"target": None}, r"without a target, outputs must be one number per example, \(6,\), got shape \(6, 3\)"),
        ({"target": lambda z: z}, r"target must return one score per example, \(6,\), got shape \(6, 3\)"),
        (
            {"baseline": jnp.ones(7)},
            r"baseline must have the shape of one example, \(8,\), or of all, \(6, 8\), got \(7,\)",
        ),
        ({"baseline": {"x": jnp.ones(8)}}, "baseline must be a number, or arrays with the structure of the inputs"),
        ({"n_steps": 0}, "n_steps must be a whole number, 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size must be a whole number, 1 or more, got 0"),
        ({"fixed": jnp.ones(5)}, "the same number of examples along their first axis"),
    ],
)
def test_integrated_gradients_refuses_bad_arguments(options, message):
    predict, inputs = network(10)
    with pytest.raises(ValueError, match=message):
        explain.integrated_gradients(lambda x, fixed=None: predict(x), inputs, **{"target": 0, **options})


def test_a_class_of_sequence_outputs_is_refused():
    with pytest.raises(ValueError, match=r"a class needs outputs \(examples, classes\), got outputs \(2, 3, 4\)"):
        explain.saliency(lambda x: jnp.ones((2, 3, 4)) * x.sum(), jnp.ones((2, 3)), target=1)


def test_outputs_of_fewer_examples_are_refused():
    with pytest.raises(ValueError, match=r"a class needs outputs .* got outputs \(1, 3\) for 2 examples"):
        explain.saliency(lambda x: x.mean(axis=0, keepdims=True), jnp.ones((2, 3)), target=1)


def test_smoothgrad_takes_a_scale_for_each_example(key):
    scales, inputs, slope = jnp.array([0.0, 0.5]), jnp.ones((2, 3)), lambda x: (x**3).sum(axis=1)
    found = explain.smoothgrad(key, slope, inputs, noise_scale=scales, n_samples=8)
    for place, scale in enumerate(scales):
        expected = explain.smoothgrad(key, slope, inputs, noise_scale=scale, n_samples=8)[place]
        np.testing.assert_allclose(found[place], expected, rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"noise_scale must be a number, or one for each of the 2 examples, got shape \(3,\)"
    ):
        explain.smoothgrad(key, slope, inputs, noise_scale=jnp.ones(3))


@pytest.mark.parametrize("inputs", [np.ones((2, 3), np.uint8), np.ones((2, 3), np.int32)])
def test_integers_are_not_differentiated(inputs):
    with pytest.raises(ValueError, match=r"must be floating-point to be differentiated, got u?int.*models.split_at"):
        explain.saliency(lambda x: x.sum(axis=1), inputs)


@pytest.mark.raises
def test_references_of_another_shape_are_refused(key):
    with pytest.raises(
        ValueError, match=r"references must be examples as the inputs are, float32 \(3,\), got float32 \(4,\)"
    ):
        explain.expected_gradients(key, lambda x: x.sum(axis=1), jnp.ones((2, 3)), references=jnp.ones((5, 4)))

"""Attributions from gradients: saliency, input x gradient, SmoothGrad, integrated and expected gradients."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from jaxresearch.explain.affine import affine_prefix_of
from jaxresearch.explain.scores import (
    Inputs,
    Rows,
    Score,
    Target,
    baseline_of,
    expanded,
    n_examples,
    require_count,
    require_floating,
    scored,
    total,
)
from jaxresearch.explain.streaming import in_batches, items_at_once, over, reduced

Attributions = PyTree[Array]


def saliency(
    predict: Callable[..., Array],
    inputs: Inputs,
    *,
    target: Target = None,
    fixed: Any = None,
    absolute: bool = True,
    batch_size: int | None = None,
) -> Attributions:
    r"""Returns the absolute derivative of the score with respect to each entry of the inputs.

    .. math:: |\partial f(x) / \partial x_i|

    Args:
        predict: As in `integrated_gradients`, like all arguments of the same name.
        inputs: Floating-point.
        target: What is explained.
        fixed: What ``predict`` also takes.
        absolute: False returns the signed derivative.
        batch_size: Examples per call of ``predict``.

    Returns:
        Attributions in the shapes of the inputs.

    Example:
        >>> saliency(lambda x: x @ jnp.array([2.0, -3.0]), jnp.ones((1, 2))).tolist()
        [[2.0, 3.0]]

    References:
        Simonyan, Vedaldi and Zisserman (2014), Deep inside convolutional networks, ICLR workshop, section 3.
        https://arxiv.org/abs/1312.6034
    """
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    gradients = in_batches(lambda some: gradient(score, some), rows, batch_size=batch_size)
    return jax.tree.map(jnp.abs, gradients) if absolute else gradients


def input_x_gradient(
    predict: Callable[..., Array],
    inputs: Inputs,
    *,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Attributions:
    r"""Returns each entry of the inputs times the derivative of the score.

    .. math:: x_i \, \partial f(x) / \partial x_i

    Args:
        predict: As in `integrated_gradients`, like all arguments of the same name.
        inputs: Floating-point.
        target: What is explained.
        fixed: What ``predict`` also takes.
        batch_size: Examples per call of ``predict``.

    Returns:
        Attributions in the shapes of the inputs.

    Example:
        >>> input_x_gradient(lambda x: x @ jnp.array([2.0, -3.0]), jnp.array([[1.0, 2.0]])).tolist()
        [[2.0, -6.0]]

    References:
        Shrikumar, Greenside, Shcherbina and Kundaje (2016), Not just a black box. https://arxiv.org/abs/1605.01713
    """
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    gradients = in_batches(lambda some: gradient(score, some), rows, batch_size=batch_size)
    return jax.tree.map(jnp.multiply, rows.inputs, gradients)


def smoothgrad(
    key: Array,
    predict: Callable[..., Array],
    inputs: Inputs,
    *,
    noise_scale: ArrayLike,
    n_samples: int = 64,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Attributions:
    r"""Returns the mean gradient at noisy copies of each example; memory does not grow with the samples.

    .. math:: \frac{1}{n} \sum_{s=1}^n \nabla f(x + \sigma \epsilon_s), \quad \epsilon_s \sim N(0, I)

    Args:
        key: Random key. The noise of an example depends on the key and its place, not on ``batch_size``.
        predict: As in `integrated_gradients`, like all arguments of the same name.
        inputs: Floating-point.
        noise_scale: Standard deviation of the noise, in units of the inputs: a number, or one for each example.
        n_samples: Number of copies of each example.
        target: What is explained.
        fixed: What ``predict`` also takes.
        batch_size: Rows per call of ``predict``.

    Returns:
        Attributions in the shapes of the inputs, signed.

    Raises:
        ValueError: If ``n_samples`` is not positive, or ``noise_scale`` is neither a number nor one for each example.

    Example:
        >>> square = lambda x: (x**2).sum(axis=1)
        >>> attributions = smoothgrad(jax.random.key(0), square, jnp.ones((1, 2)), noise_scale=0.1, n_samples=1000)
        >>> bool((abs(attributions - 2) < 0.02).all())
        True

    References:
        Smilkov, Thorat, Kim, Viégas and Wattenberg (2017), SmoothGrad, section 3. https://arxiv.org/abs/1706.03825
    """
    require_count("n_samples", n_samples)
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    n = n_examples(rows)
    if jnp.shape(noise_scale) not in ((), (n,)):
        raise ValueError(
            f"noise_scale must be a number, or one for each of the {n} examples, got shape {jnp.shape(noise_scale)}. Pass a "
            "fraction of the range of each."
        )

    def contribution(examples: Any, index: Array) -> Attributions:
        some, places, scales = examples
        noisy = jax.vmap(with_noise)(sample_keys(key, index, places), some.inputs, scales)
        return jax.tree.map(lambda leaf: leaf / n_samples, gradient(score, some._replace(inputs=noisy)))

    examples = rows, jnp.arange(n), jnp.broadcast_to(noise_scale, (n,))
    return reduced(contribution, examples, n_items=n_samples, batch_size=batch_size)


def integrated_gradients(
    predict: Callable[..., Array],
    inputs: Inputs,
    *,
    baseline: Any = 0.0,
    n_steps: int = 64,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> tuple[Attributions, Float[Array, "examples"]]:
    r"""Returns integrated gradients, and by how much their sum misses the difference of the scores.

    .. math:: a_i = (x_i - b_i) \int_0^1 \frac{\partial f(b + t (x - b))}{\partial x_i} \, dt, \quad
        \delta = \sum_i a_i - (f(x) - f(b))

    The integral is a Gauss-Legendre sum over ``n_steps`` nodes, added up node by node: memory does not grow with them. A first
    layer that is affine is evaluated once, not at every node (`jaxresearch.explain.affine`).

    Attributions of tokens are those of their embeddings: split the model there, and explain the second half::

        before, after = models.split_at(model, params, model_state, layer="embedded")
        integrated_gradients(after, before(tokens), baseline=before(padding), fixed=tokens, target=1)

    Args:
        predict: ``inputs -> outputs``, or ``(inputs, fixed) -> outputs``: batches, example by example, with the parameters in
            a closure.
        inputs: Floating-point, an array or a pytree of arrays with the axis of examples first.
        baseline: What an example without information is: a number, one example, or one for each, as the inputs.
        n_steps: Number of nodes. Double them while ``delta`` is too large.
        target: A class, one class for each example, a function ``outputs -> scores``, or None if there is one output.
        fixed: Arrays with the axis of examples first, the second argument of ``predict``: not interpolated, not explained.
        batch_size: Rows per call of ``predict``. Below the number of examples, these are cut into batches; above it, several
            nodes are evaluated together. None is the number of examples, one node at a time.

    Returns:
        Attributions in the shapes of the inputs, and :math:`\delta` for each example.

    Raises:
        ValueError: If the inputs are not floating-point, the baseline or the target does not fit, or ``n_steps`` is not positive.

    Example:
        >>> product = lambda x: x[:, 0] * x[:, 1]
        >>> attributions, delta = integrated_gradients(product, jnp.array([[2.0, 3.0]]), n_steps=8)
        >>> [round(float(a), 4) for a in attributions[0]], bool(abs(delta[0]) < 1e-5)
        ([3.0, 3.0], True)

    References:
        Sundararajan, Taly and Yan (2017), Axiomatic attribution for deep networks, ICML, equation 1.
        https://arxiv.org/abs/1703.01365
    """
    require_count("n_steps", n_steps)
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    require_floating(rows.inputs)
    baseline = baseline_of(rows.inputs, baseline)
    at_once = items_at_once(n_examples(rows), n_steps, batch_size)
    nodes, weights = (jnp.asarray(array / 2, jnp.float32) for array in np.polynomial.legendre.leggauss(n_steps))
    nodes = nodes + 0.5  # from -1 to 1, to 0 to 1

    def attribute(examples: Any) -> Attributions:
        some, base = examples
        first, rest = affine_prefix_of(score, some)
        end, pull_back = jax.vjp(first, some.inputs)

        def contribution(line: Any, index: Array) -> list[Array]:
            start, end = line
            points = [a + nodes[index].astype(a.dtype) * (b - a) for a, b in zip(start, end, strict=True)]
            slopes = jax.grad(lambda points: rest(points).sum())(points)
            return [weights[index] * slope for slope in slopes]

        slopes = over(contribution, (first(base), end), n_items=n_steps, at_once=at_once)
        (mean,) = pull_back([slope.astype(leaf.dtype) for slope, leaf in zip(slopes, end, strict=True)])
        return jax.tree.map(lambda x, b, g: (x - b) * g, some.inputs, base, mean)

    examples = rows, baseline
    attributions = in_batches(attribute, examples, batch_size=batch_size)
    change = in_batches(lambda both: _change(score, *both), examples, batch_size=batch_size)
    return attributions, total(attributions) - change


def expected_gradients(
    key: Array,
    predict: Callable[..., Array],
    inputs: Inputs,
    *,
    references: Inputs,
    n_samples: int = 256,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> tuple[Attributions, Attributions]:
    r"""Returns expected gradients, which average integrated gradients over references as baselines, and their standard errors.

    .. math:: a_i = E_{b, t} \left[ (x_i - b_i) \frac{\partial f(b + t (x - b))}{\partial x_i} \right], \quad
        b \sim \text{references}, \; t \sim U(0, 1)

    Args:
        key: Random key. The draws of an example depend on the key and its place, not on ``batch_size``.
        predict: As in `integrated_gradients`, like all arguments of the same name.
        inputs: Floating-point.
        references: Examples to draw baselines from, such as training inputs; a pytree as the inputs.
        n_samples: Number of draws for each example, 2 or more.
        target: What is explained.
        fixed: What ``predict`` also takes.
        batch_size: Rows per call of ``predict``.

    Returns:
        Attributions in the shapes of the inputs, and their standard errors over the draws.

    Raises:
        ValueError: If the references do not fit the inputs, or ``n_samples`` is below 2.

    Example:
        >>> linear = lambda x: x @ jnp.array([2.0, -3.0])
        >>> references = jnp.array([[0.0, 0.0], [2.0, 0.0]])
        >>> attributions, error = expected_gradients(jax.random.key(0), linear, jnp.ones((1, 2)), references=references)
        >>> bool((abs(attributions - jnp.array([[0.0, -3.0]])) <= 3 * error + 1e-5).all())
        True

    References:
        Erion, Janizek, Sturmfels, Lundberg and Lee (2021), Improving performance of deep learning models with axiomatic
        attribution priors and expected gradients, Nature Machine Intelligence, equation 3. https://arxiv.org/abs/1906.10670
    """
    require_count("n_samples", n_samples, at_least=2)
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    references = jax.tree.map(jnp.asarray, references)
    _require_references(rows.inputs, references)
    n_references = n_examples(references)

    def draw(draw_key: Array) -> Any:
        node_key, reference_key = jax.random.split(draw_key)
        return jax.random.uniform(node_key), jax.random.randint(reference_key, (), 0, n_references)

    def contribution(examples: Any, index: Array) -> Any:
        some, places = examples
        node, place = jax.vmap(draw)(sample_keys(key, index, places))
        base = jax.tree.map(lambda leaf: leaf[place], references)
        gradients = gradient(score, some._replace(inputs=_between(base, some.inputs, node)))
        draws = jax.tree.map(lambda x, b, g: (x - b) * g, some.inputs, base, gradients)
        return draws, jax.tree.map(jnp.square, draws)

    examples = rows, jnp.arange(n_examples(rows))
    sums = reduced(contribution, examples, n_items=n_samples, batch_size=batch_size)
    return mean_and_standard_error(*sums, n=n_samples)


def gradient(score: Score, rows: Rows) -> Attributions:
    """Returns the derivative of each row's score with respect to its own inputs.

    Args:
        score: ``rows -> scores``, row by row.
        rows: Floating-point inputs.

    Returns:
        Arrays in the shapes of the inputs.

    Example:
        >>> gradient(lambda rows: rows.inputs[:, 0] ** 2, Rows(jnp.array([[3.0], [4.0]]))).tolist()
        [[6.0], [8.0]]
    """
    require_floating(rows.inputs)
    return jax.grad(lambda inputs: score(rows._replace(inputs=inputs)).sum())(rows.inputs)


def with_noise(key: Array, inputs: Inputs, scale: ArrayLike) -> Inputs:
    """Returns arrays with normal noise.

    Args:
        key: Random key.
        inputs: A pytree of floating-point arrays.
        scale: Standard deviation of the noise.

    Returns:
        The noisy arrays.

    Example:
        >>> noisy = with_noise(jax.random.key(0), {"x": jnp.zeros(1000)}, 0.1)
        >>> bool(abs(noisy["x"].std() - 0.1) < 0.01)
        True
    """
    leaves, structure = jax.tree.flatten(inputs)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.normal(one, leaf.shape, leaf.dtype) for one, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.map(
        lambda leaf, one: leaf + jnp.asarray(scale, leaf.dtype) * one, inputs, jax.tree.unflatten(structure, noise)
    )


def sample_keys(key: Array, index: ArrayLike, places: Array) -> Array:
    """Returns the keys of one sample for examples, which do not depend on the batch that they are in.

    Args:
        key: Random key.
        index: Number of the sample.
        places: Places of the examples among all.

    Returns:
        One key for each example.

    Example:
        >>> key = jax.random.key(0)
        >>> bool(sample_keys(key, 3, jnp.arange(5))[4] == sample_keys(key, 3, jnp.array([4]))[0])
        True
    """
    sample_key = jax.random.fold_in(key, index)
    return jax.vmap(lambda place: jax.random.fold_in(sample_key, place))(places)


def mean_and_standard_error(
    sums: PyTree[Array], sums_of_squares: PyTree[Array], *, n: int
) -> tuple[PyTree[Array], PyTree[Array]]:
    r"""Returns the mean of n independent draws, and its standard error, from streamed sums.

    .. math:: \bar y = \frac{1}{n} \sum y, \quad \sqrt{\frac{1}{n - 1} \left( \frac{1}{n} \sum y^2 - \bar y^2 \right)}

    Args:
        sums: Sums of the draws.
        sums_of_squares: Sums of their squares, as ``sums``.
        n: Number of draws, 2 or more.

    Returns:
        The means and the standard errors.

    Example:
        >>> mean, error = mean_and_standard_error(jnp.array(6.0), jnp.array(20.0), n=2)  # draws 2 and 4
        >>> float(mean), float(error)
        (3.0, 1.0)
    """
    mean = jax.tree.map(lambda leaf: leaf / n, sums)

    def error(mean: Array, squares: Array) -> Array:
        return jnp.sqrt(jnp.maximum(squares / n - mean**2, 0) / (n - 1))

    return mean, jax.tree.map(error, mean, sums_of_squares)


def _between(start: Inputs, end: Inputs, place: Float[Array, "rows"]) -> Inputs:
    """Returns points on the lines from start to end, at 0 to 1 of the way."""
    return jax.tree.map(lambda a, b: a + expanded(place.astype(a.dtype), a) * (b - a), start, end)


def _change(score: Score, rows: Rows, baseline: Inputs) -> Float[Array, "rows"]:
    """Returns the score of each row minus that of its baseline."""
    return score(rows) - score(rows._replace(inputs=baseline))


def _require_references(inputs: Inputs, references: Inputs) -> None:
    """Raises unless the references are examples as the inputs are."""
    shapes = [[(leaf.shape[1:], leaf.dtype) for leaf in jax.tree.leaves(tree)] for tree in (inputs, references)]
    if jax.tree.structure(inputs) != jax.tree.structure(references) or shapes[0] != shapes[1]:
        expected, got = ([str(dtype) + " " + str(shape) for shape, dtype in some] for some in shapes)
        raise ValueError(
            f"references must be examples as the inputs are, {', '.join(expected)}, got {', '.join(got)}. "
            "Pass inputs of the training part."
        )

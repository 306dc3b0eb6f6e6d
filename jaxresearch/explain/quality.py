"""How good attributions are: infidelity, sensitivity, deletion and insertion curves, and randomised weights."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree

from jaxresearch.explain.gradients import Attributions, sample_keys, with_noise
from jaxresearch.explain.scores import Inputs, Target, baseline_of, n_examples, require_count, scored, total
from jaxresearch.explain.streaming import in_batches, reduced, stacked


def infidelity(
    key: Array,
    predict: Callable[..., Array],
    inputs: Inputs,
    attributions: Attributions,
    *,
    noise_scale: ArrayLike = 0.1,
    perturb: Callable[[Array, Inputs], Inputs] | None = None,
    n_samples: int = 64,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Float[Array, "examples"]:
    r"""Returns the infidelity: the squared error with which attributions predict how the score falls under perturbations.

    .. math:: E_I \left[ \left( I \cdot a - (f(x) - f(x - I)) \right)^2 \right]

    The attributions :math:`a` have the unit of a gradient, as those of `saliency`. Divide those of methods that add up to the
    change of the score (integrated gradients, Shapley values) by ``inputs - baseline`` first.

    Args:
        key: Random key. The perturbations of an example depend on the key and its place, not on ``batch_size``.
        predict: As in `integrated_gradients`, like all arguments of the same name.
        inputs: Floating-point.
        attributions: In the shapes of the inputs.
        noise_scale: Standard deviation of normal perturbations, in units of the inputs.
        perturb: ``(key, example) -> perturbation`` of one example, in place of the noise.
        n_samples: Number of perturbations of each example.
        target: What is explained.
        fixed: What ``predict`` also takes.
        batch_size: Rows per call of ``predict``.

    Returns:
        One infidelity for each example; 0 is best.

    Raises:
        ValueError: If the attributions do not have the shapes of the inputs, or ``n_samples`` is not positive.

    Example:
        >>> linear, inputs = (lambda x: x @ jnp.array([2.0, -3.0])), jnp.ones((1, 2))
        >>> right = infidelity(jax.random.key(0), linear, inputs, jnp.array([[2.0, -3.0]]))
        >>> wrong = infidelity(jax.random.key(0), linear, inputs, jnp.array([[2.0, 3.0]]))
        >>> bool(right[0] < 1e-10), bool(wrong[0] > 0.1)
        (True, True)

    References:
        Yeh, Hsieh, Suggala, Inouye and Ravikumar (2019), On the (in)fidelity and sensitivity of explanations, NeurIPS,
        definition 2.1. https://arxiv.org/abs/1901.09392
    """
    require_count("n_samples", n_samples)
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    attributions = _fitting(attributions, rows.inputs)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), rows.inputs)

    def draw(sample_key: Array, example: Inputs) -> Inputs:
        return with_noise(sample_key, zeros, noise_scale) if perturb is None else perturb(sample_key, example)

    def contribution(examples: Any, index: Array) -> Array:
        some, attributed, full, places = examples
        changes = jax.vmap(draw)(sample_keys(key, index, places), some.inputs)
        fall = full - score(some._replace(inputs=jax.tree.map(jnp.subtract, some.inputs, changes)))
        return (total(jax.tree.map(jnp.multiply, changes, attributed)) - fall) ** 2 / n_samples

    full = in_batches(score, rows, batch_size=batch_size)
    examples = rows, attributions, full, jnp.arange(n_examples(rows))
    return reduced(contribution, examples, n_items=n_samples, batch_size=batch_size)


def sensitivity(
    key: Array,
    attribute: Callable[[Inputs], Attributions],
    inputs: Inputs,
    *,
    radius: ArrayLike = 0.02,
    n_samples: int = 16,
) -> Float[Array, "examples"]:
    r"""Returns the largest relative change of the attributions near each example.

    .. math:: \max_{\|x' - x\|_\infty \le r} \frac{\|a(x') - a(x)\|}{\|a(x)\|}

    The maximum is over uniform draws, one after another.

    Args:
        key: Random key.
        attribute: ``inputs -> attributions``: a method with all but its inputs in a closure.
        inputs: Floating-point.
        radius: Largest change of an entry, in units of the inputs.
        n_samples: Number of draws.

    Returns:
        One ratio for each example; 0 is best, infinite if attributions of 0 change, nan if any is nan.

    Raises:
        ValueError: If ``n_samples`` is not positive.

    Example:
        >>> from jaxresearch import explain
        >>> linear = lambda x: x @ jnp.array([2.0, -3.0])
        >>> sensitivity(jax.random.key(0), lambda x: explain.saliency(linear, x), jnp.ones((1, 2))).tolist()
        [0.0]

    References:
        Yeh, Hsieh, Suggala, Inouye and Ravikumar (2019), as in `infidelity`, definition 3.1, relative as in their section 5.
    """
    require_count("n_samples", n_samples)
    inputs = jax.tree.map(jnp.asarray, inputs)
    plain = attribute(inputs)
    length = jnp.sqrt(total(jax.tree.map(jnp.square, plain)))

    def ratio(inputs: Inputs, index: Array) -> Array:
        leaves, structure = jax.tree.flatten(inputs)
        keys = jax.random.split(jax.random.fold_in(key, index), len(leaves))
        draws = [jax.random.uniform(one, x.shape, x.dtype, -1, 1) for one, x in zip(keys, leaves, strict=True)]
        near = [x + jnp.asarray(radius, x.dtype) * draw for x, draw in zip(leaves, draws, strict=True)]
        moved = attribute(jax.tree.unflatten(structure, near))
        change = jnp.sqrt(total(jax.tree.map(lambda a, b: (a - b) ** 2, moved, plain)))
        return jnp.where(change == 0, 0, change / length)  # nan stays nan

    return reduced(ratio, inputs, n_items=n_samples, by="max")


def deletion_curve(
    predict: Callable[..., Array],
    inputs: Inputs,
    attributions: Attributions,
    *,
    baseline: Any = 0,
    n_steps: int = 20,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> tuple[Float[Array, "examples steps"], Float[Array, "examples"]]:
    """Returns the score as the entries of largest attribution are replaced by the baseline, and the area under this curve.

    Args:
        predict: As in `occlusion`, like all arguments of the same name.
        inputs: Any type; an array or a pytree of arrays.
        attributions: In the shapes of the inputs, or with trailing axes of length 1 (channels that go together).
        baseline: What replaces an entry.
        n_steps: Number of steps from none to all entries.
        target: What is explained.
        fixed: What ``predict`` also takes.
        batch_size: Rows per call of ``predict``.

    Returns:
        ``n_steps + 1`` scores from the whole example to the baseline, and the mean of the curve (by trapezoids); a smaller one is
        better.

    Raises:
        ValueError: If the attributions do not fit the inputs, or ``n_steps`` is not positive.

    Example:
        >>> curve, area = deletion_curve(
        ...     lambda x: x.sum(axis=1), jnp.array([[1.0, 4.0, 2.0]]), jnp.array([[1.0, 4.0, 2.0]]), n_steps=3
        ... )
        >>> curve.tolist()
        [[7.0, 3.0, 1.0, 0.0]]

    References:
        Petsiuk, Das and Saenko (2018), RISE, BMVC, section 4.2. https://arxiv.org/abs/1806.07421
    """
    ranks = jax.tree.map(jnp.negative, attributions)
    return _curve(predict, inputs, ranks, baseline, n_steps, target, fixed, batch_size)


def insertion_curve(
    predict: Callable[..., Array],
    inputs: Inputs,
    attributions: Attributions,
    *,
    baseline: Any = 0,
    n_steps: int = 20,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> tuple[Float[Array, "examples steps"], Float[Array, "examples"]]:
    """Returns the score as the entries of largest attribution enter the baseline, and the area under this curve.

    Args:
        predict: As in `deletion_curve`, like all arguments.
        inputs: Any type; an array or a pytree of arrays.
        attributions: In the shapes of the inputs.
        baseline: The start.
        n_steps: Number of steps from none to all entries.
        target: What is explained.
        fixed: What ``predict`` also takes.
        batch_size: Rows per call of ``predict``.

    Returns:
        ``n_steps + 1`` scores from the baseline to the whole example, and the mean of the curve; a larger one is better.

    Raises:
        ValueError: As in `deletion_curve`.

    Example:
        >>> curve, area = insertion_curve(
        ...     lambda x: x.sum(axis=1), jnp.array([[1.0, 4.0, 2.0]]), jnp.array([[1.0, 4.0, 2.0]]), n_steps=3
        ... )
        >>> curve.tolist()
        [[0.0, 4.0, 6.0, 7.0]]

    References:
        Petsiuk, Das and Saenko (2018), RISE, as in `deletion_curve`.
    """
    # The entries that enter first are those that would be deleted last.
    curve, area = _curve(predict, inputs, attributions, baseline, n_steps, target, fixed, batch_size)
    return curve[:, ::-1], area


def randomised_weights(
    key: Array,
    attribute: Callable[[PyTree[Array], Inputs], Attributions],
    params: dict[str, Any],
    inputs: Inputs,
    *,
    init: Callable[[Array], dict[str, Any]],
    layers: Sequence[str] | None = None,
) -> dict[str, Float[Array, "examples"]]:
    r"""Returns the rank correlation of attributions with those of the model when its layers are drawn anew, one after another.

    Attributions that stay the same do not depend on what was learnt. The correlation is Spearman's, of absolute values.

    Args:
        key: Random key.
        attribute: ``(params, inputs) -> attributions``.
        params: The trained parameters, by layer.
        inputs: Examples.
        init: ``key -> params``: fresh parameters, as ``lambda key: model.init(key)[0]``.
        layers: Names in ``params`` from the outputs down; each stays drawn anew while the next one is too. None draws all of
            them at once.

    Returns:
        One correlation for each example by the last layer that was drawn anew, ``"all"`` without layers.

    Raises:
        ValueError: If a layer is not among the parameters.

    Example:
        >>> from jaxresearch import explain, models
        >>> model = models.mlp(8, (16,), 3)
        >>> params, model_state = model.init(jax.random.key(1))
        >>> attribute = lambda params, x: explain.saliency(lambda x: model.apply(params, model_state, x)[0], x, target=0)
        >>> inputs = jax.random.normal(jax.random.key(2), (20, 8))
        >>> found = randomised_weights(
        ...     jax.random.key(3), attribute, params, inputs, init=lambda key: model.init(key)[0], layers=("Dense_1", "Dense_0")
        ... )
        >>> list(found), bool(abs(found["Dense_0"].mean()) < 0.3)
        (['Dense_1', 'Dense_0'], True)

    References:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt and Kim (2018), Sanity checks for saliency maps, NeurIPS, section 3.1.
        https://arxiv.org/abs/1810.03292
    """
    unknown = [layer for layer in layers or () if layer not in params]
    if unknown:
        raise ValueError(f"layers must be among {', '.join(params)}, got {unknown[0]!r}. Pass names of parameters.")

    def sizes(params: PyTree[Array]) -> Array:
        return abs(_flat(attribute(params, inputs)))

    plain, fresh = sizes(params), init(key)
    if layers is None:
        return {"all": _rank_correlation(plain, sizes(fresh))}
    found, mixed = {}, dict(params)
    for layer in layers:
        mixed = {**mixed, layer: fresh[layer]}
        found[layer] = _rank_correlation(plain, sizes(mixed))
    return found


def _curve(
    predict: Any, inputs: Any, ranked: Any, baseline: Any, n_steps: int, target: Any, fixed: Any, batch_size: Any
) -> tuple[Array, Array]:
    """Returns the scores as more and more entries are replaced by the baseline, the lowest first, and their mean."""
    require_count("n_steps", n_steps)
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    ranks, n_entries = _ranks_of_entries(_fitting(ranked, rows.inputs, may_broadcast=True))

    def value(examples: Any, index: Array) -> Array:
        some, base, ranks = examples

        def replaced(x: Array, b: Array, rank: Array) -> Array:
            return jnp.where(rank * n_steps < index * n_entries, b, x)

        return score(some._replace(inputs=jax.tree.map(replaced, some.inputs, base, ranks)))

    examples = rows, baseline_of(rows.inputs, baseline), ranks
    curve = stacked(value, examples, n_items=n_steps + 1, batch_size=batch_size)
    return curve, (curve.sum(axis=1) - (curve[:, 0] + curve[:, -1]) / 2) / n_steps


def _ranks_of_entries(values: Attributions) -> tuple[Attributions, int]:
    """Returns how many of an example's entries are lower than each, over all arrays together, and the number of entries."""
    leaves, structure = jax.tree.flatten(values)
    flat = _flat(values)
    ranks = jnp.argsort(jnp.argsort(flat, axis=1), axis=1)
    ends = np.cumsum([leaf[0].size for leaf in leaves])[:-1]
    parts = jnp.split(ranks, ends, axis=1)
    shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped), flat.shape[1]


def _rank_correlation(a: Float[Array, "examples entries"], b: Float[Array, "examples entries"]) -> Array:
    """Returns Spearman's correlation of each row, with mean ranks for ties; 0 for a row without variation."""

    def ranks(row: Array) -> Array:
        ordered = jnp.sort(row)
        return (jnp.searchsorted(ordered, row, side="left") + jnp.searchsorted(ordered, row, side="right")) / 2

    a, b = (jax.vmap(ranks)(array) for array in (a, b))
    a, b = (array - array.mean(axis=1, keepdims=True) for array in (a, b))
    scale = jnp.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return jnp.where(scale > 0, (a * b).sum(axis=1) / jnp.where(scale > 0, scale, 1), 0)


def _flat(attributions: Attributions) -> Float[Array, "examples entries"]:
    """Returns the entries of all arrays side by side."""
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in jax.tree.leaves(attributions)], axis=1)


def _fitting(attributions: Attributions, inputs: Inputs, *, may_broadcast: bool = False) -> Attributions:
    """Returns attributions as arrays; raises unless they have the shapes of the inputs, or where allowed axes of length 1."""
    attributions = jax.tree.map(jnp.asarray, attributions)
    expected, got = ([leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (inputs, attributions))

    def fits(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        shorter = may_broadcast and len(one) == len(other) and one[0] == other[0]
        return one == other or shorter and all(b in (a, 1) for a, b in zip(one, other, strict=True))

    same = jax.tree.structure(attributions) == jax.tree.structure(inputs)
    if not same or not all(map(fits, expected, got)):
        raise ValueError(
            f"attributions must have the shapes of the inputs, {', '.join(map(str, expected))}, got {', '.join(map(str, got))}. "
            "For values of groups, use explain.laid_out."
        )
    return attributions

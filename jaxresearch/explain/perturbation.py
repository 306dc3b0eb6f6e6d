"""Attributions from removed features: occlusion by sliding windows, ablation of groups, permutation importance."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxresearch.explain.affine import affine_prefix_of, affine_slopes
from jaxresearch.explain.groups import Groups, groups_of, masked
from jaxresearch.explain.scores import Inputs, Rows, Target, baseline_of, n_examples, require_count, scored
from jaxresearch.explain.streaming import in_batches, stacked


def occlusion(
    predict: Callable[..., Array],
    inputs: Array | np.ndarray,
    *,
    window: Sequence[int],
    stride: Sequence[int] | None = None,
    baseline: Any = 0,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Float[Array, "examples *shape"]:
    r"""Returns by how much the score falls when a window hides an entry, on average over the windows that do.

    .. math:: a_i = \frac{1}{|\{w \ni i\}|} \sum_{w \ni i} f(x) - f(x \text{ with } w \text{ replaced by the baseline})

    Args:
        predict: ``inputs -> outputs``, or ``(inputs, fixed) -> outputs``: batches, with the parameters in a closure.
        inputs: Images, sequences of tokens, rows of a table: any type, since nothing is differentiated.
        window: Extent of the window along the first axes of an example, such as ``(4, 4)`` for images, ``(3,)`` for tokens; all
            other axes are hidden whole.
        stride: Distance of neighbouring windows along each axis; the window by default, so that none overlap.
        baseline: What hides an entry: a number (of the mask token, for tokens), one example, or one for each.
        target: What is explained: a class, one for each example, or a function of the outputs.
        fixed: What ``predict`` also takes.
        batch_size: Rows per call of ``predict``. Below the number of examples, these are cut into batches; above it, several
            windows are evaluated together. None is the number of examples, one window at a time.

    Where the first layer is affine, a window costs the products of its own entries there (`jaxresearch.explain.affine`).

    Returns:
        Attributions in the shape of the inputs; 0 where no window reaches.

    Raises:
        ValueError: If a window is not positive or larger than the example, or ``stride`` has another length.

    Example:
        >>> occlusion(lambda x: x.sum(axis=1), jnp.array([[1.0, 2.0, 3.0, 4.0]]), window=(2,)).tolist()
        [[3.0, 3.0, 7.0, 7.0]]

    References:
        Zeiler and Fergus (2014), Visualizing and understanding convolutional networks, ECCV, section 4.2.
        https://arxiv.org/abs/1311.2901
    """
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    inputs, shape = rows.inputs, rows.inputs.shape[1:]
    window, stride = _windows(shape, window, stride)
    counts = [max(0, -(-(n - w) // s)) + 1 for n, w, s in zip(shape, window, stride, strict=True)]
    baseline = baseline_of(inputs, baseline)

    def start(index: Array) -> list[Array]:
        return [place * s for place, s in zip(jnp.unravel_index(index, counts), stride, strict=True)]

    slopes = affine_slopes(score, rows)

    def fall(examples: Any, index: Array) -> Array:
        some, base, full, _ = examples
        hidden = jnp.ones((1,) * len(shape), bool)
        for axis, (first, extent) in enumerate(zip(start(index), window, strict=True)):
            place = jax.lax.broadcasted_iota(jnp.int32, shape, axis)
            hidden = hidden & (place >= first) & (place < first + extent)
        return full - score(some._replace(inputs=jnp.where(hidden[None], base, some.inputs)))

    def fall_by_slopes(examples: Any, index: Array) -> Array:
        some, base, full, points = examples
        _, rest = affine_prefix_of(score, some)
        axes = [first + jnp.arange(extent) for first, extent in zip(start(index), window, strict=True)]
        places = jnp.meshgrid(*axes, indexing="ij")
        inside = functools.reduce(jnp.logical_and, [place < n for place, n in zip(places, shape, strict=True)]).ravel()
        entries = jnp.ravel_multi_index(places, shape, mode="clip").ravel()
        changes = (base - some.inputs).reshape(len(full), -1)[:, entries] * inside[None]
        moved = [x + jnp.tensordot(changes, slope[entries], 1) for x, slope in zip(points, slopes or [], strict=True)]
        return full - rest(moved)

    def whole(some: Rows) -> tuple[Array, list[Array]]:
        """Returns the scores of examples and, to change them by slopes, the intermediates of their first layer."""
        return score(some), affine_prefix_of(score, some)[0](some.inputs) if slopes else []

    full, points = in_batches(whole, rows, batch_size=batch_size)
    n_windows = math.prod(counts)
    examples = (rows, baseline, full, points)
    falls = stacked(fall_by_slopes if slopes else fall, examples, n_items=n_windows, batch_size=batch_size)
    padded = [(c - 1) * s + w for c, s, w in zip(counts, stride, window, strict=True)]

    def add(sums: Array, index: Array) -> tuple[Array, None]:
        """Adds the fall of one window to the entries in it, and one to their count, which is the last row."""
        corner = [0, *start(index)]
        new = jnp.append(falls[:, index], 1).reshape(-1, *[1] * len(shape))
        here = jax.lax.dynamic_slice(sums, corner, (len(sums), *window))
        return jax.lax.dynamic_update_slice(sums, here + new, corner), None

    empty = jnp.zeros((len(inputs) + 1, *padded), falls.dtype)
    sums = jax.lax.scan(add, empty, jnp.arange(n_windows))[0][(slice(None), *map(slice, shape))]
    return sums[:-1] / jnp.maximum(sums[-1:], 1)


def ablation(
    predict: Callable[..., Array],
    inputs: Inputs,
    *,
    groups: Groups | None = None,
    baseline: Any = 0,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Float[Array, "examples groups"]:
    r"""Returns by how much the score falls when a group of features is replaced by the baseline.

    .. math:: a_g = f(x) - f(x \text{ with } g \text{ replaced by the baseline})

    Args:
        predict: As in `occlusion`, like all arguments of the same name.
        inputs: Any type; an array or a pytree of arrays.
        groups: Integers in the shape of one example, 0, 1, ...: `patches`, `columns`. None makes each entry a group.
        baseline: What replaces a group.
        target: What is explained.
        fixed: What ``predict`` also takes.
        batch_size: Rows per call of ``predict``.

    Returns:
        One attribution for each group; `laid_out` shows them on the inputs.

    Raises:
        ValueError: If the groups do not fit the inputs.

    Example:
        >>> from jaxresearch import explain
        >>> ablation(lambda x: x.sum(axis=1), jnp.array([[1.0, 2.0, 3.0]]), groups=explain.columns(1, 2)).tolist()
        [[1.0, 5.0]]
    """
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    groups, n_groups = groups_of(rows.inputs, groups)
    baseline = baseline_of(rows.inputs, baseline)

    def fall(examples: Any, index: Array) -> Array:
        some, base, full = examples
        present = jnp.arange(n_groups) != index
        return full - score(some._replace(inputs=masked(some.inputs, base, present, groups)))

    full = in_batches(score, rows, batch_size=batch_size)
    return stacked(fall, (rows, baseline, full), n_items=n_groups, batch_size=batch_size)


def permutation_importance(
    key: Array,
    predict: Callable[[Any], Array],
    inputs: Inputs,
    targets: PyTree[Array | np.ndarray],
    *,
    loss: Callable[[Array, Any], Array],
    groups: Groups | None = None,
    n_permutations: int = 10,
    batch_size: int | None = None,
) -> tuple[Float[Array, "groups"], Float[Array, "groups"]]:
    r"""Returns by how much the loss rises when a group of features is permuted over the examples, and its standard error.

    .. math:: I_g = \frac{1}{n} \sum_{\pi} L(f(x_{\pi, g}), y) - L(f(x), y)

    Features that carry the same information share their importance: permute them as one group.

    Args:
        key: Random key.
        predict: ``inputs -> outputs``: batches, with the parameters in a closure.
        inputs: Test examples: rows of a table, or any pytree of arrays.
        targets: As the loss takes them.
        loss: ``(outputs, targets) -> losses`` (per example, the mean is taken) or a scalar metric; lower is better.
        groups: Integers in the shape of one example: `columns`. None makes each entry a group.
        n_permutations: Number of permutations of each group, 2 or more.
        batch_size: Rows per call of ``predict``. None is the number of examples.

    Returns:
        The mean rise of each group, and its standard error over the permutations (not over the examples).

    Raises:
        ValueError: If the groups do not fit the inputs, or ``n_permutations`` is below 2.

    Example:
        >>> from jaxresearch import losses
        >>> inputs = jax.random.normal(jax.random.key(1), (200, 2))
        >>> importance, error = permutation_importance(
        ...     jax.random.key(0), lambda x: x[:, 0], inputs, inputs[:, 0], loss=losses.squared_error
        ... )
        >>> bool(importance[0] > 1), importance[1].tolist()
        (True, 0.0)

    References:
        Breiman (2001), Random forests, Machine Learning 45, section 10. https://doi.org/10.1023/A:1010933404324
        Fisher, Rudin and Dominici (2019), All models are wrong, but many are useful, JMLR 20, equation 3.
        https://arxiv.org/abs/1801.01489
    """
    require_count("n_permutations", n_permutations, at_least=2)
    inputs, targets = jax.tree.map(jnp.asarray, (inputs, targets))
    groups, n_groups = groups_of(inputs, groups)
    n = n_examples((inputs, targets))

    def value(inputs: Any) -> Array:
        return jnp.mean(loss(in_batches(predict, inputs, batch_size=batch_size), targets))

    plain = value(inputs)

    def rise(index: Array) -> Array:
        order = jax.random.permutation(jax.random.fold_in(key, index), n)
        others = jax.tree.map(lambda leaf: leaf[order], inputs)
        return value(masked(inputs, others, jnp.arange(n_groups) != index % n_groups, groups)) - plain

    rises = jax.lax.map(rise, jnp.arange(n_permutations * n_groups)).reshape(n_permutations, n_groups)
    return rises.mean(axis=0), rises.std(axis=0, ddof=1) / math.sqrt(n_permutations)


def _windows(
    shape: tuple[int, ...], window: Sequence[int], stride: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the window and the stride along all axes of an example; axes that are left out are hidden whole."""
    stride = window if stride is None else stride
    if len(window) > len(shape) or len(stride) != len(window):
        raise ValueError(
            f"window and stride must have the same length, at most {len(shape)} for examples of shape {shape}, got "
            f"{tuple(window)} and {tuple(stride)}. Pass the extent along each axis."
        )
    for size, extent, step in zip(shape, window, stride, strict=False):
        require_count("stride", step)
        if not 1 <= extent <= size:
            raise ValueError(f"window must be from 1 to {shape} along each axis, got {tuple(window)}. Shrink it.")
    rest = shape[len(window) :]
    return (*window, *rest), (*stride, *rest)

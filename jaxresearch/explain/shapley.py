"""Shapley values of groups of features: exact over all coalitions, or sampled over permutations."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxresearch.explain.affine import affine_prefix_of, affine_slopes
from jaxresearch.explain.gradients import mean_and_standard_error
from jaxresearch.explain.groups import Groups, groups_of, masked
from jaxresearch.explain.scores import Inputs, Rows, Score, Target, baseline_of, require_count, scored
from jaxresearch.explain.streaming import in_batches, reduced

_MOST_GROUPS = 20  # a million coalitions
_MOST_ADDED = 2**24  # numbers that groups add to first layers, 64 MB


def shapley_values(
    predict: Callable[..., Array],
    inputs: Inputs,
    *,
    groups: Groups | None = None,
    baseline: Any = 0,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> Float[Array, "examples groups"]:
    r"""Returns the exact Shapley value of each group of features, from all :math:`2^n` coalitions.

    .. math:: \phi_g = \sum_{S \not\ni g} \frac{|S|! \, (n - |S| - 1)!}{n!} \left( v(S \cup g) - v(S) \right)

    where :math:`v(S)` is the score with the groups of :math:`S` present and all others replaced by the baseline. The values
    add up to the score less that of the baseline.

    Args:
        predict: As in `occlusion`, like all arguments of the same name.
        inputs: Any type; an array or a pytree of arrays.
        groups: Integers in the shape of one example, 0, 1, ...: `patches`, `columns`; at most 20 groups. None makes each entry a
            group.
        baseline: What replaces an absent group: a number, one example, or one for each.
        target: What is explained.
        fixed: What ``predict`` also takes.
        batch_size: Rows per call of ``predict``. Below the number of examples, these are cut into batches; above it, several
            coalitions are evaluated together. None is the number of examples, one coalition at a time.

    Returns:
        One value for each group; `laid_out` shows them on the inputs.

    Raises:
        ValueError: If there are more than 20 groups, or they do not fit the inputs.

    Example:
        >>> shapley_values(lambda x: x[:, 0] * x[:, 1] + x[:, 2], jnp.array([[2.0, 3.0, 5.0]])).tolist()
        [[3.0, 3.0, 5.0]]

    References:
        Shapley (1953), A value for n-person games, Contributions to the Theory of Games II, equation 12.
        https://doi.org/10.1515/9781400881970-018
    """
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    groups, n = groups_of(rows.inputs, groups)
    if n > _MOST_GROUPS:
        raise ValueError(
            f"shapley_values takes at most {_MOST_GROUPS} groups, 2^{_MOST_GROUPS} coalitions, got {n}. Pass larger groups, or "
            "use sampled_shapley_values."
        )
    # A coalition of size s counts for its members with factors[s - 1], and against all others with factors[s].
    factors = jnp.array([1 / (n * math.comb(n - 1, size)) for size in range(n)] + [0.0])

    def contribution(examples: Any, index: Array) -> Array:
        some, base = examples
        present = (index >> jnp.arange(n)) & 1 == 1
        size = present.sum()
        weights = jnp.where(present, factors[size - 1], -factors[size])
        return score(some._replace(inputs=masked(some.inputs, base, present, groups)))[:, None] * weights[None]

    examples = rows, baseline_of(rows.inputs, baseline)
    return reduced(contribution, examples, n_items=2**n, batch_size=batch_size)


def sampled_shapley_values(
    key: Array,
    predict: Callable[..., Array],
    inputs: Inputs,
    *,
    groups: Groups | None = None,
    n_pairs: int = 32,
    baseline: Any = 0,
    target: Target = None,
    fixed: Any = None,
    batch_size: int | None = None,
) -> tuple[Float[Array, "examples groups"], Float[Array, "examples groups"]]:
    r"""Returns estimates of the Shapley values from random permutations, and their standard errors.

    .. math:: \hat\phi_g = \frac{1}{n} \sum_{\pi} v(\text{up to } g \text{ in } \pi) - v(\text{before } g \text{ in } \pi)

    Permutations are drawn in antithetic pairs, each with its reverse, which reduces the variance: a pair is exact if the score
    has interactions of at most two groups. All examples share the permutations. The estimates of an example add up to its
    score less that of the baseline.

    Args:
        key: Random key.
        predict: As in `occlusion`, like all arguments of the same name.
        inputs: Any type; an array or a pytree of arrays.
        groups: Integers in the shape of one example, 0, 1, ...: `patches`, `columns`. None makes each entry a group.
        n_pairs: Number of pairs of permutations, 2 or more; each costs ``2 * (groups - 1)`` evaluations of every example.
        baseline: What replaces an absent group: a number, one example, or one for each.
        target: What is explained.
        fixed: What ``predict`` also takes.
        batch_size: Rows per call of ``predict``. Below the number of examples, these are cut into batches; above it, several
            pairs are evaluated together. None is the number of examples, one pair at a time.

    Returns:
        Values and their standard errors over the pairs.

    Raises:
        ValueError: If ``n_pairs`` is below 2, or the groups do not fit the inputs.

    Example:
        >>> product = lambda x: x[:, 0] * x[:, 1] + x[:, 2]
        >>> values, error = sampled_shapley_values(jax.random.key(0), product, jnp.array([[2.0, 3.0, 5.0]]))
        >>> values.tolist(), error.tolist()
        ([[3.0, 3.0, 5.0]], [[0.0, 0.0, 0.0]])

    References:
        Castro, Gómez and Tejada (2009), Polynomial calculation of the Shapley value based on sampling, Computers & Operations
        Research 36, section 3. https://doi.org/10.1016/j.cor.2008.04.004
        Mitchell, Cooper, Frank and Holmes (2022), Sampling permutations for Shapley value estimation, JMLR 23, section 2.2
        (antithetic pairs). https://arxiv.org/abs/2104.12199
    """
    require_count("n_pairs", n_pairs, at_least=2)
    score, rows = scored(predict, inputs, target=target, fixed=fixed)
    groups, n_groups = groups_of(rows.inputs, groups)
    baseline = baseline_of(rows.inputs, baseline)

    added = _added(score, rows, baseline, groups, n_groups)

    def between(examples: Any, places: Array) -> Float[Array, "n rows"]:
        """Returns the values after each group but the last, as they enter in the order of their places."""
        some, base, *_ = examples

        def value(place: Array) -> Array:
            return score(some._replace(inputs=masked(some.inputs, base, places <= place, groups)))

        return jax.lax.map(value, jnp.arange(n_groups - 1))

    def between_in_sums(examples: Any, places: Array) -> Float[Array, "n rows"]:
        """Returns the same from sums of what each group adds to the first layer."""
        some, base, *_, added = examples
        first, rest = affine_prefix_of(score, some)

        def enter(points: list[Array], group: Array) -> tuple[list[Array], Array]:
            points = [x + of_groups[:, group] for x, of_groups in zip(points, added, strict=True)]
            return points, rest(points)

        return jax.lax.scan(enter, first(base), jnp.argsort(places)[:-1], unroll=4)[1]

    def contribution(examples: Any, index: Array) -> Any:
        _, _, empty, full, _ = examples
        places = jax.random.permutation(jax.random.fold_in(key, index), n_groups)
        values = between_in_sums if added else between
        pair = (_marginals(values(examples, order), order, empty, full) for order in (places, n_groups - 1 - places))
        mean = sum(pair) / 2
        return mean, mean**2

    empty, full = (in_batches(score, rows._replace(inputs=x), batch_size=batch_size) for x in (baseline, rows.inputs))
    sums = reduced(contribution, (rows, baseline, empty, full, added), n_items=n_pairs, batch_size=batch_size)
    return mean_and_standard_error(*sums, n=n_pairs)


def _added(
    score: Score, rows: Rows, baseline: Any, groups: Groups, n_groups: int
) -> list[Float[Array, "rows groups ..."]]:
    """Returns what each group adds to the first layer of each example where it enters; nothing if that is not known or large."""
    slopes = affine_slopes(score, rows)
    if slopes is None or sum(slope[0].size for slope in slopes) * n_groups * len(rows.inputs) > _MOST_ADDED:
        return []
    changes, numbers = (rows.inputs - baseline).reshape(len(rows.inputs), -1), jnp.asarray(groups).ravel()

    def of_group(group: Array) -> list[Array]:
        return [jnp.tensordot(jnp.where(numbers == group, changes, 0), slope, 1) for slope in slopes]

    return [leaf.swapaxes(0, 1) for leaf in jax.lax.map(of_group, jnp.arange(n_groups))]


def _marginals(
    partial: Float[Array, "n rows"], places: Array, empty: Array, full: Array
) -> Float[Array, "rows groups"]:
    """Returns the change of the value with each group, as they enter in the order of their places."""
    values = jnp.concatenate([empty[None], partial, full[None]])
    return jnp.diff(values, axis=0)[places].T

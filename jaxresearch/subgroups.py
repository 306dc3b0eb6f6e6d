"""Metrics of subgroups: whom a model serves worse, and by how much."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jaxresearch.gradients import Batch
from jaxresearch.training import Algorithm


def by_subgroup(
    algorithm: Algorithm,
    members: Callable[[Batch], Mapping[str, Bool[Array, " n"]]],
    *,
    gap: tuple[str, str] | None = None,
) -> Algorithm:
    """Returns the algorithm that evaluates everyone and each subgroup, whose examples alone then have weights.

    A metric ``cost`` of everyone is followed by ``cost_young`` and so on. As every metric, it has influences of the examples,
    and so an interval. Subgroups may overlap.

    Args:
        algorithm: Evaluates data with ``weights``.
        members: ``data -> {name: whether each example is a member}``; it is traced.
        gap: Two subgroups: ``cost_gap`` is then the metric of the first minus that of the second.

    Returns:
        The algorithm with a different ``evaluate``. A metric of a subgroup without members is nan; `require_members` refuses
        such data in advance.

    Raises:
        ValueError: When it evaluates, if ``gap`` names other subgroups.

    Example:
        >>> from jaxresearch import losses, metrics, models, training
        >>> algorithm = training.supervised(models.linear(1, 1), losses.squared_error, optimizer=training.gradient_descent(0.1),
        ...                                 metrics={"error": metrics.mean_absolute_error()})
        >>> young = by_subgroup(algorithm, lambda data: {"young": data["inputs"][:, 0] < 30, "old": data["inputs"][:, 0] > 60})
        >>> data = {"inputs": jnp.array([[20.0], [70.0]]), "targets": jnp.array([[1.0], [2.0]])}
        >>> sorted(young.evaluate(young.init(jax.random.key(0)), data, jax.random.key(1)))
        ['error', 'error_old', 'error_young']
    """

    def evaluate(state, data, key):
        groups = members(data)
        if gap is not None and not {*gap} <= {*groups}:
            raise ValueError(f"gap must name two of {', '.join(groups)}; got {' and '.join(gap)}. Correct one of them.")
        everyone = jnp.ones_like(next(iter(groups.values())))
        kept = data.get("weights", jnp.ones(len(everyone)))
        weights = jnp.stack([everyone, *groups.values()]) * kept[None]
        found = jax.vmap(lambda weights: algorithm.evaluate(state, {**data, "weights": weights}, key))(weights)
        return {
            name: value for metric, of in found.items() for name, value in _by_name(metric, of, [*groups], gap).items()
        }

    return algorithm._replace(evaluate=evaluate)


def _by_name(metric: str, values: Array, groups: list[str], gap: tuple[str, str] | None) -> dict[str, Array]:
    """Returns a metric of everyone and of each subgroup by its name, and the gap."""
    names = [metric, *(f"{metric}_{group}" for group in groups)]
    named = {name: values[place] for place, name in enumerate(names)}
    if gap is not None:
        first, second = (named[f"{metric}_{group}"] for group in gap)
        named[f"{metric}_gap"] = first - second
    return named


def require_members(groups: Mapping[str, Bool[np.ndarray, " n"]]) -> None:
    """Raises if a subgroup has no member, so that it has no metric.

    Args:
        groups: Whether each example of a part, such as a fold, is a member, by the name of the subgroup.

    Raises:
        ValueError: If one has none.

    Example:
        >>> require_members({"young": np.array([True, False]), "old": np.array([False, False])})
        Traceback (most recent call last):
        ...
        ValueError: each part of the data must have a member of old, got none among 2 examples. Use fewer folds or a larger part.
    """
    for name, is_member in groups.items():
        if not np.any(is_member):
            raise ValueError(
                f"each part of the data must have a member of {name}, got none among {len(is_member)} examples. Use fewer folds "
                "or a larger part."
            )

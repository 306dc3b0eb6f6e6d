"""A metric as three pure functions, and what all metrics share."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric in three pure functions, so that it can be computed over batches and merged.

    ``summarise(predictions, targets, weights=None) -> summary`` (arrays), ``merge(summaries) -> summary`` (of several
    batches, stacked on a leading axis), ``compute(summary) -> value``. Calling the metric does it in one go.

    Example:
        >>> import jax.numpy as jnp
        >>> logits, targets = jnp.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]]), jnp.array([0, 1, 1])
        >>> from jaxresearch.metrics import accuracy
        >>> round(float(accuracy()(logits, targets)), 4)
        0.6667

    References:
        Chan, Golub and LeVeque (1979), Updating formulae and a pairwise algorithm for computing sample variances,
        Stanford STAN-CS-79-773. http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf
    """

    summarise: Callable[..., PyTree[Array]]
    merge: Callable[[PyTree[Array]], PyTree[Array]]
    compute: Callable[[PyTree[Array]], Array]

    def __call__(self, predictions: ArrayLike, targets: ArrayLike, weights: ArrayLike | None = None) -> Array:
        """Returns the value for whole data."""
        weights = None if weights is None else jnp.asarray(weights)
        return self.compute(self.summarise(jnp.asarray(predictions), jnp.asarray(targets), weights))


def summed(summaries: PyTree[Array]) -> PyTree[Array]:
    """Returns the merged summary of summaries that add.

    Args:
        summaries: Stacked on a leading axis.

    Returns:
        Their sum.

    Example:
        >>> summed(jnp.array([1.0, 2.0])).item()
        3.0

    References:
        Chan, Golub and LeVeque (1979), as for `Metric`.
    """
    return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), summaries)


def masked(weights: Array, values: Array) -> Array:
    """Returns the product, 0 where the weight is 0 whatever the value.

    Args:
        weights: At least 0.
        values: Any, nan where padding made them so.

    Returns:
        Weighted values, of the broadcast shape.

    Example:
        >>> masked(jnp.array([0.0, 2.0]), jnp.array([jnp.nan, 3.0])).tolist()
        [0.0, 6.0]

    References:
        JAX documentation, FAQ, gradients contain NaN where using where. https://docs.jax.dev/en/latest/faq.html
    """
    return jnp.where(weights > 0, weights * values, 0.0)


def checked_weights(
    predictions: Array, targets: Array, weights: Any, *, expected: tuple[int, ...]
) -> Float[Array, " batch"]:
    """Returns the weights, 1 unless given, after checking that the shapes fit.

    Args:
        predictions: Logits ``(batch, classes)``, or values ``(batch, ...)``.
        targets: Classes ``(batch,)``, or values of the shape of the predictions.
        weights: One an example, at least 0, or None.
        expected: The shape that the targets must have; only the metric knows whether they are classes or values.

    Returns:
        Weights ``(batch,)``, float32.

    Raises:
        ValueError: If a shape does not fit.

    Example:
        >>> checked_weights(jnp.zeros((2, 3)), jnp.array([0, 1]), None, expected=(2,)).tolist()
        [1.0, 1.0]

    References:
        Meyer (1992), Applying "design by contract", Computer 25(10). https://doi.org/10.1109/2.161279
    """
    if targets.shape != expected or targets.ndim < 1:
        raise ValueError(
            f"targets must have shape {expected} for predictions of shape {predictions.shape}; got {targets.shape}. "
            "Pass integer classes for logits (batch, classes), or values shaped as the predictions."
        )
    if weights is None:
        return jnp.ones(targets.shape[:1])
    if weights.shape != targets.shape[:1]:
        raise ValueError(
            f"weights must have shape {targets.shape[:1]}; got {weights.shape}. Pass one weight an example."
        )
    return weights.astype(jnp.float32)

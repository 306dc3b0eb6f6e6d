"""Ranks of features among the training examples, beside the features themselves."""

import dataclasses
from typing import Any

import numpy as np

from jaxresearch.data.dataset import DataCard, Fitted
from jaxresearch.data.parts import Part
from jaxresearch.data.preprocess import Preprocessor


def with_ranks(preprocessor: Preprocessor, *, n_quantiles: int = 101) -> Preprocessor:
    r"""Returns the preprocessor that also gives the rank of each feature among the training examples.

    .. math:: r = \sqrt{12} \left(\frac{q(x)}{n - 1} - \frac{1}{2}\right)

    Here :math:`q(x)` is the place of the value among n quantiles of the training part, from 0 to n - 1, interpolated between
    neighbours; a value that several quantiles share has their middle. Ranks of the training examples have mean 0 and
    variance 1 unless many values are equal. They do not depend on the units of a feature or on its outliers, which helps
    networks with skewed features.

    Args:
        preprocessor: Makes a matrix of numbers ``(n, features)``, as ``data.standard`` does of a table.
        n_quantiles: Number of quantiles n, 2 or more.

    Returns:
        A preprocessor whose inputs have the ranks after the features; quantiles are fitted to the training part alone.

    Raises:
        ValueError: If there are fewer than two quantiles; when fitted, if the inputs are no matrix.

    Example:
        >>> from jaxresearch import data
        >>> train = {"inputs": np.array([[1.0], [10.0], [1000.0]]), "targets": np.array([0, 1, 1])}
        >>> ranked = with_ranks(data.standard, n_quantiles=3)
        >>> fitted = ranked.fit(train, data.DataCard(name="mine", source="memory"))
        >>> ranked.apply(fitted, train, training=True)["inputs"][:, 1].astype(float).round(2).tolist()
        [-1.73, 0.0, 1.73]
    """
    if n_quantiles < 2:
        raise ValueError(f"n_quantiles must be 2 or more, got {n_quantiles}. Pass 101 for percentiles.")

    def fit(train: Part, card: DataCard) -> Fitted:
        fitted = preprocessor.fit(train, card)
        inputs = preprocessor.apply(fitted, train, training=True)["inputs"]
        if inputs.ndim != 2:
            raise ValueError(f"inputs must be a matrix to be ranked, got {inputs.shape}. Leave out with_ranks.")
        quantiles = np.quantile(inputs, np.linspace(0, 1, n_quantiles), axis=0)
        return {**fitted, "ranks": {"quantiles": quantiles.astype(np.float32)}}

    def apply(fitted: Fitted, part: Part, *, training: bool) -> Part:
        prepared = preprocessor.apply(fitted, part, training=training)
        inputs, quantiles = prepared["inputs"], fitted["ranks"]["quantiles"]
        xp = inputs.__array_namespace__()
        ranks = [_places(xp, inputs[:, place], quantiles[:, place]) for place in range(inputs.shape[1])]
        centred = 12**0.5 * (xp.stack(ranks, axis=1) / (len(quantiles) - 1) - 0.5)
        return {**prepared, "inputs": xp.concatenate([inputs, centred.astype(np.float32)], axis=1)}

    def describe(fitted: Fitted, card: DataCard) -> DataCard:
        described = preprocessor.describe(fitted, card)
        names = described.feature_names or tuple(map(str, range(fitted["ranks"]["quantiles"].shape[1])))
        return dataclasses.replace(described, feature_names=(*names, *(f"rank of {name}" for name in names)))

    return Preprocessor(fit, apply, preprocessor.invert, describe)


def _places(xp: Any, values: Any, quantiles: Any) -> Any:
    """Returns the place of each value among sorted quantiles, 0 to their number less one, in NumPy or in JAX."""
    quantiles = xp.asarray(quantiles)
    rounding = 1e-6 * (quantiles[-1] - quantiles[0])  # compiled programs standardise with other roundings, also of ties
    first = xp.searchsorted(quantiles, values - rounding, side="left")
    last = xp.searchsorted(quantiles, values + rounding, side="right")
    above = xp.clip(first, 1, len(quantiles) - 1)
    low, high = quantiles[above - 1], quantiles[above]
    between = above - 1 + (values - low) / xp.where(high > low, high - low, 1)
    between = xp.where(first == len(quantiles), len(quantiles) - 1, between)  # beyond the largest
    return xp.clip(xp.where(first < last, (first + last - 1) / 2, between), 0, len(quantiles) - 1)

"""The predictions of several seeds as an ensemble: mean, spread, and the scores of the ensemble and its members."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import metrics
from jaxresearch.data import DataCard
from jaxresearch.metrics import Metric


class Predictions(NamedTuple):
    """Predictions for ``n`` examples: class probabilities, or values in the target's own units.

    Attributes:
        by_seed: Predictions of each model, ``(seeds, n, outputs)``, float64.
        seeds: One for each model.
        class_names: Empty for values.
        columns: Columns passed through unchanged, as text by name.
        target: The name of the column that is predicted; empty if it has none.
        notes: Differences from the training data.
        notes_by_row: Missing cells and unknown categories of each example; no entries if there are none.
        scores: Of the ensemble and of each model alone, by metric; empty without targets.
        others: Names of the last outputs, which are not values of the target, such as the limits of an interval.
    """

    by_seed: np.ndarray
    seeds: tuple[int, ...]
    class_names: tuple[str, ...] = ()
    target: str = ""
    columns: Mapping[str, Sequence[str]] = {}
    notes: tuple[str, ...] = ()
    notes_by_row: tuple[str, ...] = ()
    scores: Mapping[str, Mapping[str, Any]] = {}
    others: tuple[str, ...] = ()

    @property
    def ensemble(self) -> np.ndarray:
        """The mean of probabilities or values over seeds, ``(n, outputs)``."""
        return self.by_seed.mean(axis=0)

    @property
    def spread(self) -> np.ndarray:
        """The standard deviation over seeds, ``(n, outputs)``; nan with one seed."""
        if len(self.by_seed) == 1:
            return np.full(self.by_seed.shape[1:], np.nan)
        return self.by_seed.std(axis=0, ddof=1)

    @property
    def labels(self) -> np.ndarray:
        """The name of the most probable class; without classes, the ensemble's values."""
        return np.array(self.class_names)[self.ensemble.argmax(axis=-1)] if self.class_names else self.ensemble


def predictions(
    outputs: np.ndarray, card: DataCard, *, seeds: Sequence[int], others: Sequence[str] = ()
) -> Predictions:
    """Returns the predictions in the outputs of models.

    Args:
        outputs: ``(seeds, n, outputs)``: logits if there are classes, else values in the target's own units.
        card: Names the classes.
        seeds: One for each model.
        others: Names of the last outputs, after the values of the target.

    Returns:
        Probabilities or values.

    Raises:
        ValueError: If there is not one logit per class, or no value before the named outputs.

    Example:
        >>> card = DataCard(name="coins", source="", class_names=("heads", "tails"))
        >>> ensemble = predictions(np.log([[[0.5, 0.5]], [[0.1, 0.9]]]), card, seeds=(0, 1))
        >>> ensemble.ensemble.round(3).tolist(), ensemble.labels.tolist(), ensemble.spread.round(3).tolist()
        ([[0.3, 0.7]], ['tails'], [[0.283, 0.283]])
    """
    outputs, target = np.asarray(outputs, np.float64), card.target.name if card.target else ""
    if not card.class_names:
        if others and (outputs.ndim < 3 or outputs.shape[-1] <= len(others)):
            raise ValueError(
                f"predict must return the target's value and then {', '.join(others)} for each example, got shape "
                f"{outputs.shape[1:]}. Correct predict, or outputs of the experiment."
            )
        return Predictions(outputs, tuple(seeds), target=target, others=tuple(others))
    n_classes = len(card.class_names)
    if outputs.ndim < 3 or outputs.shape[-1] != n_classes:
        raise ValueError(
            f"predict must return logits (n, ..., {n_classes}) for {n_classes} classes, got shape {outputs.shape[1:]}. "
            "For raw outputs, call run.model.outputs(rows)."
        )
    shifted = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    return Predictions(shifted / shifted.sum(axis=-1, keepdims=True), tuple(seeds), card.class_names, target)


def scored(predicted: Predictions, targets: np.ndarray | None, card: DataCard) -> Predictions:
    """Returns predictions with the scores of the ensemble and, separately, of its members.

    Args:
        predicted: The predictions.
        targets: Classes, or values ``(n, outputs)``; missing targets are -1 or nan. None if there are none.
        card: Of the training data.

    Returns:
        The predictions, with scores ``{"ensemble": {metric: value}, "seeds": {metric: [one per seed]}}``: accuracy, macro F1,
        macro recall and log loss of classes; R2, mean absolute and root mean squared error of values.

    Example:
        >>> card = DataCard(name="lengths", source="")
        >>> predicted = scored(Predictions(np.array([[[1.0], [2.0]], [[1.0], [4.0]]]), (0, 1)), np.array([[1.0], [3.0]]), card)
        >>> predicted.scores["ensemble"]["mean_absolute_error"], predicted.scores["seeds"]["mean_absolute_error"]
        (0.0, [0.5, 0.5])
    """
    if targets is None or targets.shape[:1] != predicted.by_seed.shape[1:2]:
        return predicted
    is_known = targets >= 0 if card.class_names else ~np.isnan(targets).any(axis=-1)
    targets, by_seed = targets[is_known], predicted.by_seed[:, is_known]
    by_seed = by_seed[..., : by_seed.shape[-1] - len(predicted.others)]
    if card.class_names:
        with np.errstate(divide="ignore"):
            logits = np.log(np.concatenate([by_seed.mean(axis=0)[None], by_seed]))
        found = _values(metrics.classification(card), logits, targets)
    else:
        centre = targets.mean(axis=0)  # scores do not depend on it, and float32 keeps the digits of differences
        values = np.concatenate([by_seed.mean(axis=0)[None], by_seed]) - centre
        found = _values(_OF_VALUES, values, targets - centre)
    scores = {
        "ensemble": {name: values[0] for name, values in found.items()},
        "seeds": {name: values[1:] for name, values in found.items()},
    }
    return predicted._replace(scores=scores)


_OF_VALUES = {
    "r2": metrics.r2(),
    "mean_absolute_error": metrics.mean_absolute_error(),
    "root_mean_squared_error": metrics.root_mean_squared_error(),
}


def _values(named: Mapping[str, Metric], of_models: np.ndarray, targets: np.ndarray) -> dict[str, list[float]]:
    """Returns the values of each metric, one per model."""
    targets = targets.astype(np.int32 if targets.dtype.kind == "i" else np.float32)
    single_precision = of_models.astype(np.float32)
    return {name: [float(metric(outputs, targets)) for outputs in single_precision] for name, metric in named.items()}

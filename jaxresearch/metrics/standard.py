"""The usual metrics of an experiment."""

import dataclasses
from typing import Any

from jaxresearch.metrics.classes import accuracy, f1, log_loss, recall
from jaxresearch.metrics.metric import Metric


def classification(card: Any) -> dict[str, Metric]:
    """Returns the usual metrics of a classifier: accuracy, macro F1, macro recall and log loss.

    Args:
        card: The data card; it must have classes.

    Returns:
        ``{"accuracy", "macro_f1", "macro_recall", "log_loss"}``, scalar metrics of logits and integer targets.

    Raises:
        ValueError: If the data has no classes; when computed, if there is not one logit per class.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> list(classification(DataCard(name="coins", source="", feature_shape=(1,), class_names=("heads", "tails"))))
        ['accuracy', 'macro_f1', 'macro_recall', 'log_loss']
    """
    if not card.class_names:
        raise ValueError(
            f"card must have class_names; that of {card.name} has none. Use metrics of values, such as metrics.r2()."
        )
    usual = {
        "accuracy": accuracy(),
        "macro_f1": f1(average="macro"),
        "macro_recall": recall(average="macro"),
        "log_loss": log_loss(),
    }
    return {name: _of_classes(metric, len(card.class_names)) for name, metric in usual.items()}


def _of_classes(metric: Metric, n_classes: int) -> Metric:
    """Returns the metric, which then refuses predictions without one logit per class."""

    def summarise(logits, targets, weights=None):
        if logits.ndim == 2 and logits.shape[1] != n_classes:
            raise ValueError(
                f"predictions must have one logit for each of {n_classes} classes, ({len(logits)}, {n_classes}); got "
                f"{logits.shape}. Give the model card.n_classes outputs."
            )
        return metric.summarise(logits, targets, weights)

    return dataclasses.replace(metric, summarise=summarise)

r"""Metrics: each is a `Metric(summarise, merge, compute)`, called on whole data or merged over batches.

Classification metrics take logits ``(batch, classes)`` and integer targets ``(batch,)``. For probabilities, pass their
logarithm (metrics that only use the likeliest class take either). Weights are per example, at least 0; a weight of 0
masks padding. Values are differentiable in the weights. For all metrics:

==========================================  =======================================================================
case                                        value
==========================================  =======================================================================
a target outside the classes                nan, unless its weight is 0; it never counts as another class
a nan or plus infinity among the logits,    nan, unless the weight is 0: a diverged run gets no score
or minus infinity for all classes
minus infinity for some classes             their probability is 0
a weight that is nan or below 0             nan
no examples, or all weights 0               nan
0 / 0 in precision, recall or F1            0, as in scikit-learn with ``zero_division=0``
a class neither target nor predicted        nan, left out of macro averages, as in scikit-learn
more than 2**24 examples                    counts are float32 and no longer exact
==========================================  =======================================================================
"""

from jaxresearch.metrics.classes import (
    accuracy,
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    f1,
    log_loss,
    precision,
    recall,
    roc_auc,
    top_k_accuracy,
)
from jaxresearch.metrics.decisions import cost, decided
from jaxresearch.metrics.language import bits_per_byte, per_token
from jaxresearch.metrics.metric import Metric, error, mean_of
from jaxresearch.metrics.operating_points import sensitivity_at_specificity
from jaxresearch.metrics.regression import mean_absolute_error, mean_squared_error, r2, root_mean_squared_error
from jaxresearch.metrics.segmentation import dice, intersection_over_union
from jaxresearch.metrics.side_by_side import gain, of_model
from jaxresearch.metrics.standard import classification
from jaxresearch.metrics.survival import concordance

__all__ = [
    "Metric",
    "accuracy",
    "bits_per_byte",
    "brier_score",
    "classification",
    "concordance",
    "confusion_matrix",
    "cost",
    "decided",
    "dice",
    "error",
    "expected_calibration_error",
    "f1",
    "gain",
    "intersection_over_union",
    "log_loss",
    "mean_absolute_error",
    "mean_of",
    "mean_squared_error",
    "of_model",
    "per_token",
    "precision",
    "r2",
    "recall",
    "roc_auc",
    "root_mean_squared_error",
    "sensitivity_at_specificity",
    "top_k_accuracy",
]

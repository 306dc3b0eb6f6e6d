"""Trials as records in JSON's types, and back: what a sweep and a study go on from."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxresearch.adjust import Trial
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import check


def as_record(trial: Trial) -> dict[str, Any]:
    """Returns a trial in JSON's types."""
    gradient = None if trial.gradient is None else dataclasses.asdict(trial.gradient)
    return {**trial._asdict(), "hyperparameters": dataclasses.asdict(trial.hyperparameters), "gradient": gradient}


def from_record(record: dict[str, Any], experiment: Experiment) -> Trial:
    """Returns the trial of a record; its hyperparameters are checked, and a metric that was not finite is so again."""
    setting = setting_of(record["hyperparameters"], experiment.hyperparameters)
    check(setting)
    exact = jax.dtypes.canonicalize_dtype(np.float64)  # the type that they were computed in
    metrics = {name: np.array(values, exact) for name, values in record["metrics"].items()}
    gradient = _gradient(setting, record["gradient"], exact)
    return Trial(setting, metrics, record["diverged"], gradient, record["digest"])


def setting_of(record: dict[str, Any], plain: Any) -> Any:
    """Returns the hyperparameters of a record; what it does not name is as in the plain ones."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    return dataclasses.replace(plain, **fields)


def _gradient(setting: Any, record: dict[str, Any] | None, exact: Any) -> Any:
    """Returns the gradient of a record, in the structure of its hyperparameters."""
    if record is None:
        return None
    slopes: dict[str, Any] = {}
    for field in dataclasses.fields(setting):
        if field.metadata.get("static"):
            continue
        slope = np.array(record[field.name], exact)  # of a tuple: one row an entry
        slopes[field.name] = tuple(slope) if isinstance(getattr(setting, field.name), tuple) else slope
    return dataclasses.replace(setting, **slopes)

"""How much the models of a run need each column of a table, and how small changes of the inputs deceive them."""

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxresearch import data, explain
from jaxresearch.cli.subject import BATCH, MOST_ROWS, Subject, column_groups, losses_of, short

_MOST_SHAPLEY = 200  # test examples, each with many evaluations
_MOST_ATTACKED = 500
_RADII = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # in standard deviations of the inputs


def importances(subject: Subject) -> dict[str, Any]:
    """Returns the importance of each column of a table, with 95 % intervals over models.

    Args:
        subject: What is explained.
    """
    if subject.kind != "columns":
        return {"why": f"The importance of columns is for tables; these inputs are {subject.kind}."}
    groups, names = column_groups(subject)
    method = subject.asked.method or "permutation_importance"
    is_permuted = method == "permutation_importance"
    most = MOST_ROWS if is_permuted else _MOST_SHAPLEY
    work = functools.partial(_permuted if is_permuted else _shared_out, subject, groups)
    found = subject.over_models(
        work,
        lambda place: subject.rows(place, "inputs", most),
        lambda place: subject.rows(place, "targets", most),
        lambda place: data.numbers(subject.of_run(place).fitted),
    )
    values = np.stack(found)
    kept = [place for place, name in enumerate(names) if name]
    summary = subject.summary(values[:, kept])
    n = len(subject.rows(subject.places[0], "targets", most))
    unit = "log loss" if subject.card.class_names else "root mean squared error"
    if method == "shapley_values":
        unit = "logit of the predicted class" if subject.card.class_names else "predicted value"
    return {"method": method, "unit": unit, "columns": [names[place] for place in kept], "n_examples": n, **summary}


def _permuted(subject: Subject, groups: Any, predict: Any, inputs: Any, targets: Any, fitted: Any) -> Any:
    """Returns by how much the loss rises when a column is permuted."""
    invert = functools.partial(subject.opened.experiment.preprocess.invert, fitted)

    def root_mean_squared_error(outputs: Any, targets: Any) -> Any:
        return jnp.sqrt(jnp.mean(jnp.square(invert(outputs) - invert(targets.reshape(outputs.shape)))))

    loss = losses_of(subject.card) if subject.card.class_names else root_mean_squared_error
    return explain.permutation_importance(
        subject.key, predict, inputs, targets, loss=loss, groups=groups, n_permutations=5, batch_size=BATCH
    )[0]


def _shared_out(subject: Subject, groups: Any, predict: Any, inputs: Any, targets: Any, fitted: Any) -> Any:
    """Returns the mean size of the Shapley value of each column, from the mean of the examples."""
    del targets
    is_class, invert = bool(subject.card.class_names), subject.opened.experiment.preprocess.invert
    target, baseline = predict(inputs).argmax(axis=1) if is_class else None, inputs.mean(axis=0)

    def in_units(inputs: Any) -> Any:
        return predict(inputs) if is_class else invert(fitted, predict(inputs))

    values, _ = explain.sampled_shapley_values(
        subject.key, in_units, inputs, groups=groups, n_pairs=8, baseline=baseline, target=target, batch_size=BATCH
    )
    return abs(values).mean(axis=0)


def attacked(subject: Subject) -> dict[str, Any]:
    """Returns the accuracy under attack against the size of the perturbation, with 95 % intervals over models.

    Args:
        subject: What is explained.
    """
    if not subject.card.class_names:
        return {"why": "Attacks change the predicted class; this run predicts values."}
    if subject.kind in ("tokens", "letters"):
        return {"why": f"Attacks change inputs a little, which {subject.kind} do not allow."}
    first = subject.floats(subject.of_run(subject.places[0]).test["inputs"])
    bounds = (float(first.min()), float(first.max())) if subject.kind == "images" else None
    radii = np.array(_RADII, np.float32) * np.float32(first.std())
    options: dict[str, Any] = {"norm": "linf", "n_steps": 20, "bounds": bounds}

    def work(predict: Any, inputs: Any, targets: Any) -> Any:
        return explain.adversarial_accuracy(
            subject.key, predict, inputs, target=targets, radii=radii, batch_size=BATCH, **options
        )

    found = subject.over_models(
        work,
        lambda place: subject.rows(place, "inputs", _MOST_ATTACKED),
        lambda place: subject.rows(place, "targets", _MOST_ATTACKED),
    )
    n = len(subject.rows(subject.places[0], "targets", _MOST_ATTACKED))
    return {**options, "radii": short(radii), "n_examples": n, **subject.summary(np.stack(found))}

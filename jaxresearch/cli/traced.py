"""The training examples that mattered most for the mistakes of a run: exactly, or by TracIn over its checkpoints."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxresearch import data, explain, hypergradients, records
from jaxresearch import experiment as experiments
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.session import job_of
from jaxresearch.cli.subject import BATCH, Subject, cells_of, described, losses_of, named, shown
from jaxresearch.execution.stages import keys_of, reacts

_MOST_MISTAKES = 2
_MOST_EXAMPLES = 4  # training examples of each sign
_MOST_WORK = 1_000_000_000  # parameters times steps, beyond which the exact derivative takes minutes


def influenced(subject: Subject, outputs: np.ndarray, mistakes: np.ndarray, *, columns: list[str]) -> dict[str, Any]:
    """Returns the training examples that mattered most for the gravest mistakes of the first model.

    Args:
        subject: What is explained.
        outputs: Of the first model.
        mistakes: Indices of test examples, the gravest first.
        columns: Whose cells stand for a row of a table.

    Raises:
        UsageError: If a method was asked for that the run does not allow.
    """
    asked, mistakes = subject.asked.influence, mistakes[:_MOST_MISTAKES]
    if asked == "none":
        return {"why": "Influence was left out (--influence none)."}
    if not len(mistakes):
        return {"why": "There is no mistake to trace: the model classifies every test example correctly."}
    if (why := _untraceable(subject)) is not None:
        if asked is not None:
            raise UsageError(f"--influence must be none for this run, got {asked}: {why} Leave it out.")
        return {"why": f"Training examples are not traced: {why}"}
    found, how = _influence(subject, mistakes)
    cells = cells_of(subject, columns)
    pairs = zip(mistakes, found, strict=True)
    return {**how, "mistakes": [_of_mistake(subject, outputs, *pair, cells) for pair in pairs]}


def _untraceable(subject: Subject) -> str | None:
    """Returns why no training example can be shown, as a sentence; None if they can be."""
    train = subject.of_run(subject.places[0]).train
    if subject.opened.options.private:
        return "the run keeps its training examples private."
    if isinstance(train, data.Streams):
        return "the run trains on several streams of data."
    return None if {"inputs", "targets"} <= {*train} else "its training examples have no targets."


def _influence(subject: Subject, mistakes: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Returns the influence of training examples on the mistakes, and how it was computed."""
    why = _inexact(subject)
    asked = subject.asked.influence
    if asked == "exact" and why is not None:
        raise UsageError(f"--influence must be tracin or none for this run, got exact: {why}. Pass --influence tracin.")
    too_long = None if asked == "exact" else _too_long(subject)
    if asked == "tracin":
        return _by_checkpoints(subject, mistakes, "as asked")
    if why or too_long:
        return _by_checkpoints(subject, mistakes, f"not exact, since {why or too_long}")
    found = _exactly(subject, mistakes)
    if np.isfinite(found).all() and np.any(found):
        return found, {"method": "exact", "note": "Through every step of the run.", "unit": "loss"}
    why = "its derivative is not finite (Adam has none where a gradient is zero)"
    why = why if np.any(found) else "its algorithm ignores the weights of examples"
    if asked == "exact":
        raise UsageError(f"--influence must be tracin or none for this run, got exact: {why}. Pass --influence tracin.")
    return _by_checkpoints(subject, mistakes, f"not exact, since {why}")


def _inexact(subject: Subject) -> str | None:
    """Returns why the run cannot be differentiated as a whole; None if it can be."""
    opened = subject.opened
    if records.command_of(opened.run.config) != "run":
        return "it is the result of a study"
    if opened.options.init_from is not None:
        return "it starts from the parameters of another run"
    if reacts(subject.models.algorithm(subject.places[0])):
        return "it reacts to validation data"
    return "its training examples have weights" if "weights" in subject.of_run(subject.places[0]).train else None


def _too_long(subject: Subject) -> str | None:
    """Returns why the exact derivative is not the default; None if it is."""
    n_steps = subject.models.step
    n_params = sum(leaf.size for leaf in explain.parameters_of(subject.state(subject.places[0]))[0])
    if n_params * n_steps <= _MOST_WORK:
        return None
    return f"{n_steps:,} steps of {n_params:,} parameters would take long (--influence exact does it all the same)"


def _exactly(subject: Subject, mistakes: np.ndarray) -> np.ndarray:
    """Returns the derivative of the loss on each mistake in the weight of each training example."""
    opened, place, settings = subject.opened, subject.places[0], subject.models.hyperparameters
    experiment, dataset = job_of(opened.experiment, opened.options, opened.loaded).experiment, subject.of_run(place)
    program = experiments.program(experiment, dataset, evaluate_every=subject.models.evaluate_every)
    method = functools.partial(hypergradients.reverse, n_steps=subject.models.step)
    influence = explain.influence(explain.unroll_with(program, losses_of(subject.card)), method)
    (key,) = keys_of(experiment, [settings], opened.loaded.dataset, seeds=[subject.models.seeds[place]])
    test = {name: np.asarray(dataset.test[name])[mistakes] for name in ("inputs", "targets")}
    with jax.debug_key_reuse(False):  # recomputed segments reuse their keys on purpose
        return np.asarray(jax.jit(influence)(key, settings, dataset.train, test))


def _by_checkpoints(subject: Subject, mistakes: np.ndarray, why: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Returns TracIn over the checkpoints of the run, and how it was computed."""
    place, dataset, opened = subject.places[0], subject.of_run(subject.places[0]), subject.opened
    checkpoints = records.read_checkpoints(opened.run.path, subject.models, cipher=opened.cipher)
    states = [jax.tree.map(lambda leaf: leaf[place], state) for _, state in checkpoints]
    loss = losses_of(subject.card)

    def influence(states: list[Any], train: Any, test: Any) -> Any:
        pairs = [explain.parameters_of(state) for state in states]

        def losses(params: Any, batch: Any) -> Any:
            return loss(subject.predict(place, pairs[0][1](params))(batch["inputs"]), batch["targets"])

        return explain.traced_influence(losses, [params for params, _ in pairs], train, test, batch_size=BATCH)

    needed = ("inputs", "targets", "weights")  # of weight 0 where a fold is padded
    train = {name: np.asarray(entry) for name, entry in dataset.train.items() if name in needed}
    test = {name: np.asarray(dataset.test[name])[mistakes] for name in ("inputs", "targets")}
    found = np.asarray(jax.jit(influence)(states, train, test))
    steps = " and ".join(f"{step:,}" for step, _ in reversed(checkpoints))
    what = (
        f"TracIn over the checkpoints of steps {steps}"
        if len(states) > 1
        else f"Similarity of gradients at step {steps}"
    )
    return found, {"method": "tracin", "note": f"{what} ({why}).", "unit": "loss per unit of step size"}


def _of_mistake(
    subject: Subject, outputs: np.ndarray, place: int, found: np.ndarray, cells: Callable[[str, int], Any]
) -> dict[str, Any]:
    """Returns a mistake with the training examples that raised and lowered its loss most."""
    order = np.argsort(found, kind="stable")
    raised = [row for row in order[::-1][:_MOST_EXAMPLES] if found[row] > 0]
    lowered = [row for row in order[:_MOST_EXAMPLES] if found[row] < 0]
    one = described(subject, outputs, place) | {"cells": cells("test", place)}
    sides = {"raised": raised, "lowered": lowered}
    return one | {
        name: [_trained_on(subject, row, float(found[row]), cells) for row in rows] for name, rows in sides.items()
    }


def _trained_on(subject: Subject, row: int, influence: float, cells: Callable[[str, int], Any]) -> dict[str, Any]:
    """Returns a training example as a page shows it."""
    dataset = subject.of_run(subject.places[0])
    target = dataset.train["targets"][row]
    if subject.card.class_names:
        label: Any = subject.card.class_names[int(target)]
    else:
        invert = subject.opened.experiment.preprocess.invert
        label = float(np.ravel(invert(dataset.fitted, np.asarray(target, np.float64).reshape(1, -1)))[0])
    image = shown(subject, dataset.train["inputs"][row])
    one = named(subject, "train", row) | {"shown": image, "cells": cells("train", row), "target": label}
    return one | {"influence": float(f"{influence:.4g}")}

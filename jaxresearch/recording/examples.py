"""The entries of ``result.json`` on data: numbers of examples, the test part, and how often it was read."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxresearch import records
from jaxresearch.data import Dataset
from jaxresearch.recording.runs import Job


def examples_of(job: Job, path: Path, *, smoke: bool = False, private: bool = False) -> dict[str, Any]:
    """Returns the entries of ``result.json`` on the training and test data of a job.

    ==============  ===========================================================================================
    ``runs_of``     folds, splits or subsets, if each run has its own data; else None
    ``resplit``     whether each seed had its own split of the data
    ``n_train``     number of training examples of each run
    ``n_test``      number of test examples of each run
    ``test_part``   `jaxresearch.records.digest_of_test_part`; None if no example is held out
    ``test_reads``  number of runs in the same folder whose results are about that part, this one included
    ``majority``    `majority_of`: the reference for an accuracy; None in a private run, whose training data it is read from
    ==============  ===========================================================================================

    Args:
        job: What was trained.
        path: Of the run's directory.
        smoke: Whether it is a smoke run, which tests on a few examples.
        private: Whether the training examples are kept private.
    """
    dataset, part = job.dataset, None
    n_train, n_test = (_of_each(job, name) for name in ("train", "test"))
    if dataset.train and not smoke:
        card = dataclasses.asdict(dataset.card)
        part = records.digest_of_test_part(card, n_folds=dataset.n_folds, is_resplit=dataset.is_resplit)
    n_reads = None if part is None else len(records.readers([path.parent], part) | {path.resolve()})
    runs_of = dataset.runs_of if dataset.n_runs else None
    about = {"runs_of": runs_of, "resplit": dataset.is_resplit, "n_train": n_train, "n_test": n_test}
    majority = None if private else majority_of(dataset)
    return {**about, "test_part": part, "test_reads": n_reads, "majority": majority}


def majority_of(dataset: Dataset) -> dict[str, Any] | None:
    """Returns what is reached on the test part by always predicting the most frequent class of the training part.

    Args:
        dataset: With one class per example; of several runs with their own data, the accuracy is the mean.

    Returns:
        The ``class``, None where runs differ in it, and its ``accuracy``; None for other data.

    Example:
        >>> from jaxresearch.data import DataCard
        >>> train, test = ({"inputs": np.zeros(len(few)), "targets": np.array(few)} for few in ([0, 1, 1], [0, 1, 1, 1]))
        >>> majority_of(Dataset(train, test, None, DataCard(name="a", source="b", class_names=("no", "yes"))))
        {'class': 'yes', 'accuracy': 0.75}
    """
    names, by_run = dataset.card.class_names, [dataset.of_run(place) for place in range(dataset.n_runs or 1)]
    if not names or not all(_has_classes(part) for one in by_run for part in (one.train, one.test)):
        return None
    largest = [int(np.argmax(np.bincount(one.train["targets"], _weights(one.train)))) for one in by_run]
    hits = [
        np.average(one.test["targets"] == place, weights=_weights(one.test))
        for one, place in zip(by_run, largest, strict=True)
    ]
    return {"class": names[largest[0]] if len({*largest}) == 1 else None, "accuracy": float(np.mean(hits))}


def _has_classes(part: Any) -> bool:
    """Returns whether each example of a part has one class."""
    targets = part.get("targets")
    return (
        isinstance(targets, np.ndarray)
        and targets.ndim == 1
        and targets.dtype.kind in "iu"
        and bool(targets.min() >= 0)
    )


def _weights(part: Any) -> np.ndarray:
    """Returns the weights of the examples of a part."""
    return np.asarray(part.get("weights", np.ones(len(part["targets"]))), np.float64)


def _of_each(job: Job, name: str) -> list[int]:
    """Returns the number of examples of a part in each run."""
    sizes = job.dataset.sizes(name)
    return list(sizes if job.dataset.n_runs else sizes * len(job.seeds))

"""The entries of ``result.json`` on data: numbers of examples, the test part, and how often it was read."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxresearch import records
from jaxresearch.recording.runs import Job


def examples_of(job: Job, path: Path, *, smoke: bool = False) -> dict[str, Any]:
    """Returns the entries of ``result.json`` on the training and test data of a job.

    ==============  ===========================================================================================
    ``runs_of``     folds, splits or subsets, if each run has its own data; else None
    ``resplit``     whether each seed had its own split of the data
    ``n_train``     number of training examples of each run
    ``n_test``      number of test examples of each run
    ``test_part``   `jaxresearch.records.digest_of_test_part`; None if no example is held out
    ``test_reads``  number of runs in the same folder whose results are about that part, this one included
    ==============  ===========================================================================================

    Args:
        job: What was trained.
        path: Of the run's directory.
        smoke: Whether it is a smoke run, which tests on a few examples.
    """
    dataset, part = job.dataset, None
    n_train, n_test = (_of_each(job, name) for name in ("train", "test"))
    if dataset.train and not smoke:
        card = dataclasses.asdict(dataset.card)
        part = records.digest_of_test_part(card, n_folds=dataset.n_folds, is_resplit=dataset.is_resplit)
    n_reads = None if part is None else len(records.readers([path.parent], part) | {path.resolve()})
    runs_of = dataset.runs_of if dataset.n_runs else None
    about = {"runs_of": runs_of, "resplit": dataset.is_resplit, "n_train": n_train, "n_test": n_test}
    return {**about, "test_part": part, "test_reads": n_reads}


def _of_each(job: Job, name: str) -> list[int]:
    """Returns the number of examples of a part in each run."""
    sizes = job.dataset.sizes(name)
    return list(sizes if job.dataset.n_runs else sizes * len(job.seeds))

"""What ``result.json`` says of the data of its runs: what they are, and how many examples each has."""

from typing import Any

from jaxresearch.recording.runs import Job


def examples_of(job: Job) -> dict[str, Any]:
    """Returns entries of ``result.json`` on the data that a job was trained and tested on.

    ==============  ===========================================================================================
    ``runs_of``     folds, splits or subsets, where each run has data of its own; else None
    ``resplit``     whether each seed divided the data anew
    ``n_train``     number of training examples of each run
    ``n_test``      number of test examples of each run
    ==============  ===========================================================================================

    Args:
        job: What was trained.
    """
    dataset = job.dataset
    n_train, n_test = (_of_each(job, name) for name in ("train", "test"))
    runs_of = dataset.runs_of if dataset.n_runs else None
    return {"runs_of": runs_of, "resplit": dataset.is_resplit, "n_train": n_train, "n_test": n_test}


def _of_each(job: Job, name: str) -> list[int]:
    """Returns the number of examples of a part in each run."""
    sizes = job.dataset.sizes(name)
    return list(sizes if job.dataset.n_runs else sizes * len(job.seeds))

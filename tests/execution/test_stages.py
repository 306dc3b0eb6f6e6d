"""When runs are observed: chunks of one length that end at every evaluation on validation data."""

import itertools

import numpy as np
import pytest

from jaxresearch import execution, sweeps
from jaxresearch.algorithms import averaged
from jaxresearch.execution import stages


def test_chunks_are_of_one_length_and_neither_few_nor_many():
    for n_steps in [*range(1, 400), 9375, 8435, 10_007, 99_991]:
        ends = execution.chunk_ends(n_steps)
        lengths = np.diff([0, *ends])
        assert ends[-1] == n_steps and min(n_steps, 5) <= len(ends) <= 20
        assert len(set(lengths[:-1].tolist())) <= 1 and 0 < lengths[-1] <= lengths[0]


def test_chunks_end_at_looks():
    """Few programs, and at least 5 chunks (if there are as many steps) and at most 20 plus one per evaluation."""
    sizes = [*range(1, 60), 843, 937, 9375, 10_007]
    for n_steps, every in itertools.product(sizes, sizes):
        if every > n_steps:
            continue
        ends = execution.chunk_ends(n_steps, evaluate_every=every)
        lengths, looks = np.diff([0, *ends]), {*range(every, n_steps, every), n_steps}
        assert looks <= {*ends} and ends[-1] == n_steps and min(lengths) > 0
        assert min(n_steps, 5) <= len(ends) <= 20 + len(looks), (n_steps, every)
        assert len({*lengths.tolist()}) <= 3, (n_steps, every)


def test_reacts_is_about_observe(task):
    program = stages.runs_of(task.experiment, task.settings, None, sweeps.keys([0]), task.dataset, None).program
    plain = program.algorithm(task.settings)
    assert not stages.reacts(plain) and not stages.reacts(averaged(plain, decay=0.9))
    assert stages.reacts(plain._replace(observe=lambda state, metrics: state))


def test_runs_of_refuses_looks_without_data(task):
    blind = task.dataset._replace(validation=None)
    with pytest.raises(ValueError, match="dataset must have a validation part for evaluate_every, got none"):
        stages.runs_of(task.experiment, task.settings, None, sweeps.keys([0]), blind, 0)

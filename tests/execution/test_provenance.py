"""The digest of a trial changes with its program, numbers, seeds and data, and with nothing else."""

import dataclasses

import pytest

from jaxresearch import data
from jaxresearch.execution import provenance


def digest(task, *, seeds=(0, 1), **options):
    """Returns the digest of a task."""
    return provenance.digests(task.experiment, [task.settings], task.dataset, seeds=seeds, **options)[0]


@pytest.fixture(scope="module")
def plain(task):
    return digest(task)


def test_digest_is_of_the_program_however_it_is_written(task, plain):
    def algorithm(h, card, plan, fitted):
        unread = plan.n_steps + 1
        del unread
        return task.experiment.algorithm(h, card, plan, fitted)

    renamed = dataclasses.replace(task.experiment, question="Another text?", algorithm=algorithm)
    assert digest(task._replace(experiment=renamed)) == plain
    card = dataclasses.replace(task.dataset.card, licence="another")
    assert digest(task._replace(dataset=task.dataset._replace(card=card))) == plain


def test_digest_changes_with_what_a_trial_is_made_from(task, stopping, plain):
    dataset = task.dataset
    changed = data.take(dataset.train, slice(None))
    changed["targets"] = (changed["targets"] + 1) % 3
    others = [
        digest(task, seeds=(0, 2)),
        digest(task, seeds=(1, 0)),
        digest(task._replace(settings=dataclasses.replace(task.settings, learning_rate=0.031))),
        digest(task._replace(settings=dataclasses.replace(task.settings, epochs=4))),
        digest(task._replace(dataset=dataset._replace(train=changed))),
        digest(task._replace(dataset=dataset._replace(test=dataset.validation))),
        digest(task, evaluate_every=8),
        digest(task, evaluate_every=10),
        digest(stopping, evaluate_every=8),
    ]
    assert len({plain, *others}) == len(others) + 1


def test_digest_counts_validation_data_where_it_is_looked_at(task, plain):
    blind = task._replace(dataset=task.dataset._replace(validation=task.dataset.test))
    assert digest(blind) == plain
    assert digest(blind, evaluate_every=8) != digest(task, evaluate_every=8)


def test_groups_are_of_settings_that_differ_in_leaves_alone(task):
    changes = [{"learning_rate": 0.1}, {"batch_size": 32}, {"learning_rate": 0.2}, {"batch_size": 32, "epochs": 1}]
    settings = [dataclasses.replace(task.settings, **change) for change in changes]
    assert provenance.groups(settings) == [[0, 2], [1], [3]]
    with pytest.raises(ValueError, match=r"learning_rate \(.*\) must be above 0"):
        provenance.groups([*settings, dataclasses.replace(task.settings, learning_rate=-1.0)])

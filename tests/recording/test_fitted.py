"""Fitted preprocessing is saved with the run, and a finished run is not evaluated with other scales."""

import numpy as np
import pytest

from jaxresearch import data, loading, recording, records
from jaxresearch.recording import Job, Recorder


@pytest.fixture
def job():
    """Returns the linear house-prices experiment with a few steps."""
    house = loading.load("house_prices")
    dataset = house.prepare(house.collect(house.source))
    return Job(experiment=house, hyperparameters=house.hyperparameters, dataset=dataset, seeds=(0, 1))


def trained(job, path):
    """Trains a job, or finishes it."""
    with records.open_directory(path, {"experiment": "house"}, {}) as directory:
        return recording.train(directory, job, Recorder())


@pytest.mark.long
def test_a_finished_run_keeps_its_fitted_preprocessing(job, tmp_path):
    outcome = trained(job, tmp_path / "run").outcome
    with np.load(tmp_path / "run" / records.FITTED) as arrays:
        before = {name: arrays[name] for name in arrays.files}
    assert data.digest(data.nested(before)) == data.digest(job.dataset.fitted)
    again = trained(job, tmp_path / "run").outcome
    assert again.resumed_from == outcome.step and (again.metrics["r2"] == outcome.metrics["r2"]).all()
    other = {**job.dataset.fitted, "targets": {"mean": np.zeros((1, 1)), "scale": np.ones((1, 1))}}
    changed = Job(
        experiment=job.experiment,
        hyperparameters=job.hyperparameters,
        dataset=job.dataset._replace(fitted=other),
        seeds=job.seeds,
    )
    with pytest.raises(
        ValueError,
        match="the fitted preprocessing has changed since step 100 of .*run, by its code or its training data",
    ):
        trained(changed, tmp_path / "run")
    with np.load(tmp_path / "run" / records.FITTED) as arrays:  # the record describes the saved weights
        assert all((arrays[name] == before[name]).all() for name in arrays.files)
    assert data.digest(records.fitted_arrays(job.dataset)) != data.digest(records.fitted_arrays(changed.dataset))

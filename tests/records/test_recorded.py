"""A run read back from its directory."""

import json
import math

import numpy as np
import pytest

from jaxresearch import records, statistics


@pytest.fixture
def directory(tmp_path):
    """Writes a run of three seeds, one of which diverged in the second chunk."""
    run = records.RunDirectory(tmp_path / "run")
    run.write("config.json", {"experiment": "line", "hyperparameters": {"rate": 0.1}, "data_card": {}})
    run.write("environment.json", {**records.environment(seeds=[0, 1, 2]), "command": ["jaxresearch", "run", "line"]})
    run.append_metrics({"step": 10, "seconds": 0.1, "train/loss": np.array([1.0, 2.0, 3.0])})
    run.append_metrics({"step": 20, "seconds": 0.2, "train/loss": np.array([0.5, math.nan, 1.5])})
    metrics = {"test/r2": statistics.summary([0.9, math.nan, 0.8])}
    claim = {"text": "a line", "verdict": "undecided", "because": "a seed diverged"}
    result = {"experiment": "line", "question": "A line?", "seeds": [0, 1, 2], "seconds": {}, "smoke": False}
    run.write("result.json", {**result, "metrics": metrics, "claim": claim})
    run.close()
    return run.path


def test_values_are_by_seed_and_nan_if_it_diverged(directory):
    run = records.read_run(directory)
    assert run.values("test/r2") == pytest.approx({0: 0.9, 1: math.nan, 2: 0.8}, nan_ok=True)
    assert run.hyperparameters == {"rate": 0.1} and run.command == ["jaxresearch", "run", "line"]


def test_read_run_takes_the_settings_and_seeds_of_a_study(directory):
    run = _read_with(directory, seeds=[3, 4, 5], hyperparameters={"rate": 0.2})
    assert run.values("test/r2") == pytest.approx({3: 0.9, 4: math.nan, 5: 0.8}, nan_ok=True)
    assert run.hyperparameters == {"rate": 0.2}


def _read_with(directory, **entries):
    """Returns the run with changed entries of its result; None removes an entry."""
    result = json.loads((directory / "result.json").read_text()) | entries
    kept = {name: entry for name, entry in result.items() if entry is not None}
    (directory / "result.json").write_text(json.dumps(kept))
    return records.read_run(directory)


def test_a_record_with_a_number_of_seeds_is_still_read(directory):
    run = _read_with(directory, seeds=None, n_seeds=3)
    assert (
        run.seeds == (0, 1, 2)
        and run.values("test/r2") == pytest.approx({0: 0.9, 1: math.nan, 2: 0.8}, nan_ok=True)
        and run.best_steps == {}
    )
    with pytest.raises(ValueError, match="result.json must be complete, got it without seeds. Restore it."):
        _read_with(directory, seeds=None, n_seeds=None)


def test_values_of_a_vector_and_a_matrix_are_by_entry(directory):
    vector, matrix = np.array([[1.0, 2], [3, math.nan], [5, 6]]), np.arange(12.0).reshape(3, 2, 2)
    metrics = {"test/recall": statistics.summary(vector), "test/confusion": statistics.summary(matrix)}
    run = _read_with(directory, metrics=metrics)
    assert run.values("test/recall", 1) == pytest.approx({0: 2.0, 1: math.nan, 2: 6.0}, nan_ok=True)
    assert run.values("test/confusion", 1, 0) == {0: 2.0, 1: 6.0, 2: 10.0}


def test_best_steps_are_by_seed(directory):
    assert _read_with(directory, best_step=[10, None, 20], seeds=[4, 5, 6]).best_steps == {4: 10, 6: 20}


def test_read_run_leaves_out_discarded_rounds_of_a_study(directory):
    run = records.RunDirectory.again(directory)
    rounds = [{"why": why, "set_aside": why == "old"} for why in ("plain", "old", "a grid")]
    run.write_checksummed("study.json", {"rounds": rounds, "under_way": []})
    run.close()
    assert [one["why"] for one in records.read_run(directory).rounds] == ["plain", "a grid"]
    (directory / "study.json").write_text((directory / "study.json").read_text().replace("a grid", "a crib"))
    with pytest.raises(ValueError, match="study.json was altered: its SHA-256 does not match"):
        records.read_run(directory)


def test_curves_are_means_with_intervals_and_a_gap_at_nan(directory):
    (curve,) = records.read_run(directory).curves().values()
    assert curve.steps == [10, 20] and curve.mean[0] == 2.0 and math.isnan(curve.mean[1])
    assert (curve.low[0], curve.high[0]) == statistics.t_interval([1.0, 2.0, 3.0]) and math.isnan(curve.low[1])


def test_curves_have_the_steps_of_their_own_lines_and_no_vectors(directory):
    with open(directory / "metrics.jsonl", "a") as file:
        for step, values in ((15, [1, 2, 3]), (20, [2, 3, 4])):
            looked = {"validation/loss": values, "validation/recall": [[1, None]] * 3}
            file.write(json.dumps({"step": step, "seconds": 0.3, **looked}) + "\n")
        file.write('{"step": 30, "seconds": 0.4, "train/loss": [1, null, 2], "nonfinite": [{"seed": 1}]}\n')
    curves = records.read_run(directory).curves()
    assert list(curves) == ["train/loss", "validation/loss"]
    assert curves["train/loss"].steps == [10, 20] and curves["validation/loss"].steps == [15, 20]
    assert curves["validation/loss"].mean == [2.0, 3.0]


def test_a_record_prints_in_one_short_line(directory):
    assert repr(records.read_run(directory)) == f"Recorded('{directory}', 3 seeds, claim 'a line': undecided)"


@pytest.mark.parametrize("name", ["config.json", "environment.json", "result.json"])
def test_read_run_names_a_missing_or_damaged_file(directory, name):
    (directory / name).write_text('{"half": ')
    with pytest.raises(ValueError, match=f"{name} must hold valid JSON, got an error"):
        records.read_run(directory)
    (directory / name).write_text("{}")
    with pytest.raises(ValueError, match=f"{name} must be complete, got it without "):
        records.read_run(directory)
    (directory / name).unlink()
    with pytest.raises(ValueError, match=f"without {name}"):
        records.read_run(directory)

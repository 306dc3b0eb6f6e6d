"""A run read back from its directory."""

import json
import math

import numpy as np
import pytest

from jaxresearch import records, statistics
from jaxresearch.reports.page import fragment


@pytest.fixture
def directory(tmp_path):
    """What a run of three seeds leaves, one of which was not finite in its second chunk and diverged."""
    run = records.RunDirectory(tmp_path / "run")
    run.write("config.json", {"experiment": "line", "hyperparameters": {"rate": 0.1}, "data_card": {}})
    run.write("environment.json", {**records.environment(seeds=[0, 1, 2]), "command": ["jaxresearch", "run", "line"]})
    run.append_metrics({"step": 10, "seconds": 0.1, "train/loss": np.array([1.0, 2.0, 3.0])})
    run.append_metrics({"step": 20, "seconds": 0.2, "train/loss": np.array([0.5, math.nan, 1.5])})
    metrics = {"test/r2": statistics.summary([0.9, math.nan, 0.8])}
    claim = {"text": "a line", "verdict": "undecided", "because": "a seed diverged"}
    told = {"experiment": "line", "question": "A <line>?", "n_seeds": 3, "seconds": {}, "smoke": False}
    run.write("result.json", {**told, "metrics": metrics, "claim": claim})
    run.close()
    return run.path


def test_read_run_gives_values_by_seed_without_the_one_that_diverged(directory):
    run = records.read_run(directory)
    assert run.values("test/r2") == {0: 0.9, 2: 0.8}
    assert run.hyperparameters == {"rate": 0.1} and run.command == ["jaxresearch", "run", "line"]


def test_read_run_takes_the_settings_and_seeds_of_a_study(directory):
    result = json.loads((directory / "result.json").read_text())
    told = {**result, "seeds": [3, 4, 5], "hyperparameters": {"rate": 0.2}}
    (directory / "result.json").write_text(json.dumps(told))
    run = records.read_run(directory)
    assert run.values("test/r2") == {3: 0.9, 5: 0.8} and run.hyperparameters == {"rate": 0.2}


def test_read_run_gives_the_rounds_of_a_study_but_for_those_set_aside_and_refuses_altered_ones(directory):
    run = records.RunDirectory.again(directory)
    made = [{"why": why, "set_aside": why == "old"} for why in ("plain", "old", "a grid")]
    run.write_sealed("study.json", {"rounds": made, "under_way": []})
    run.close()
    assert [one["why"] for one in records.read_run(directory).rounds] == ["plain", "a grid"]
    (directory / "study.json").write_text((directory / "study.json").read_text().replace("a grid", "a crib"))
    with pytest.raises(ValueError, match="study.json must have the SHA-256 that it holds; it was altered"):
        records.read_run(directory)


def test_curves_are_means_with_intervals_of_student_and_a_gap_where_a_seed_is_not_finite(directory):
    (curve,) = records.read_run(directory).curves().values()
    assert curve.steps == [10, 20] and curve.mean[0] == 2.0 and math.isnan(curve.mean[1])
    assert (curve.low[0], curve.high[0]) == statistics.t_interval([1.0, 2.0, 3.0]) and math.isnan(curve.low[1])


def test_a_notebook_shows_text_of_the_record_escaped(directory):
    run = records.read_run(directory)
    assert run._repr_html_() == fragment(run)
    assert "A &lt;line&gt;?" in fragment(run) and "<line>" not in fragment(run)


@pytest.mark.parametrize("name", ["config.json", "environment.json", "result.json"])
def test_read_run_names_the_file_that_is_missing_or_not_whole(directory, name):
    (directory / name).write_text('{"half": ')
    with pytest.raises(ValueError, match=f"{name} must be whole JSON"):
        records.read_run(directory)
    (directory / name).write_text("{}")
    with pytest.raises(ValueError, match=f"{name} must be that of a run; it holds no "):
        records.read_run(directory)
    (directory / name).unlink()
    with pytest.raises(ValueError, match=f"holds no {name}"):
        records.read_run(directory)

"""``--accumulate N``: micro batches whose gradients add up to that of the whole batch, in every command that trains."""

import json

import numpy as np
import pytest

FEW = ["--epochs", "2", "--seeds", "2"]


def result_of(folder, name):
    return json.loads((folder / name / "result.json").read_text())


@pytest.fixture
def accumulated(here):
    """A run in four micro batches a step, recorded in ``out``."""
    done = here("run", "line.py", *FEW, "--accumulate", "4", "--directory", "out")
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_accumulate_gives_the_numbers_of_the_whole_batch(here, folder, accumulated):
    done = here("run", "line.py", *FEW, "--directory", "plain")
    assert done.returncode == 0, done.stderr
    parts, whole = (result_of(folder, name)["metrics"]["test/r2"]["values"] for name in ("out", "plain"))
    np.testing.assert_allclose(parts, whole, rtol=1e-5)  # 20 steps: the sums of a batch in another order
    assert json.loads((folder / "out" / "config.json").read_text())["accumulate"] == 4


@pytest.mark.long
def test_accumulate_is_replayed_and_predicts(here, replayed, accumulated):
    replayed("out")
    done = here("predict", "out", "line.csv")
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_accumulate_is_resumed_bit_for_bit(here, interrupted_here, folder, accumulated):
    words = ["run", "line.py", *FEW, "--accumulate", "4", "--directory", "stopped"]
    assert interrupted_here(2, *words).returncode == 75
    config = json.loads((folder / "stopped" / "config.json").read_text())
    assert config["accumulate"] == 4
    done = here("resume", "stopped")
    assert done.returncode == 0, done.stderr
    assert result_of(folder, "stopped")["metrics"] == result_of(folder, "out")["metrics"]
    refused = here("run", "line.py", *FEW, "--accumulate", "2", "--directory", "out")
    assert refused.returncode == 2 and "accumulate (4 on record, 2 now)" in refused.stderr, refused.stderr


@pytest.mark.long
def test_accumulate_reaches_sweeps_and_studies(configs_with):
    assert [config["accumulate"] for config in configs_with("--accumulate", "4")] == [4, 4]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--accumulate", "0"], "accumulate must be 1 or more, got 0. Pass a divisor of the batch size."),
        (
            ["run", "--accumulate", "5"],
            "accumulate must divide the batch of 16 examples, got 5. Pass a divisor of 16.",
        ),
        (
            ["sweep", "--batch-size", "15,16", "--accumulate", "5"],
            "accumulate must divide the batch of 16 examples, got 5.",
        ),
        (
            ["study", "--batch-size", "12", "--accumulate", "5"],
            "accumulate must divide the batch of 12 examples, got 5.",
        ),
    ],
)
def test_accumulate_must_divide_the_batch(here, refused, words, message):
    refused(here(words[0], "line.py", *words[1:]), message)


@pytest.mark.parametrize("kind", ["run", "sweep", "study"])
def test_accumulate_needs_an_experiment_that_uses_the_plan(here, edit, refused, kind):
    edit("estimator=plan.estimator,", "")
    words = ["--learning-rate", "0.1,0.2"] if kind == "sweep" else []
    refused(
        here(kind, "line.py", *words, "--accumulate", "4"),
        "experiment must use plan.estimator for --accumulate; got an algorithm that does not call it. "
        "Pass estimator=plan.estimator to training.supervised.",
    )

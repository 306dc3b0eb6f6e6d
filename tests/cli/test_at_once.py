"""``--at-once N``: runs trained at a time on each of the two devices, in every command that trains."""

import json

import numpy as np
import pytest

FEW = ["--epochs", "2", "--seeds", "4"]


def config_of(folder, name):
    return json.loads((folder / name / "config.json").read_text())


def values_of(folder, name):
    return json.loads((folder / name / "result.json").read_text())["metrics"]["test/r2"]["values"]


@pytest.mark.long
def test_at_once_is_recorded_resumed_and_compared(here, interrupted_here, replayed, folder):
    assert here("run", "line.py", *FEW, "--directory", "plain").returncode == 0
    assert "at_once" not in config_of(folder, "plain")
    words = ["run", "line.py", *FEW, "--directory", "out"]
    assert interrupted_here(2, *words, "--at-once", "1").returncode == 75
    assert config_of(folder, "out")["at_once"] == 1
    refused = here(*words, "--at-once", "2")
    assert refused.returncode == 2 and "--at-once (1 on record, 2 now)" in refused.stderr, refused.stderr
    done = here("resume", "out")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(values_of(folder, "out"), values_of(folder, "plain"), rtol=1e-5)  # 20 steps, other sums
    replayed("out")
    compared = here("compare", "plain", "out")
    assert compared.returncode == 0 and "at_once" in compared.stdout, compared.stdout + compared.stderr


@pytest.mark.long
def test_at_once_reaches_sweeps_and_studies(configs_with):
    assert [config["at_once"] for config in configs_with("--at-once", "2")] == [2, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--at-once", "0"], "at_once must be 1 run or more, got 0. Leave it out to choose."),
        (
            ["run", *FEW, "--at-once", "3"],
            "at_once must be between 1 and 2, the runs of a device, got 3. Leave it out to",
        ),
        (
            ["sweep", *FEW, "--learning-rate", "0.05,0.2", "--degree", "1,2", "--at-once", "9"],
            "at_once must be between 1 and 8, the runs of a device, got 9.",  # two settings and the baseline twice
        ),
    ],
)
def test_at_once_must_be_among_the_runs_of_a_device(here, refused, words, message):
    refused(here(words[0], "line.py", *words[1:]), message)

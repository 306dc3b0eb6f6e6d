"""Commands whose devices split each run: checkpoints open on any mesh, and a mesh that does not fit is refused."""

import json

import numpy as np
import pytest

WORDS = ["run", "line.py", "--seeds", "2", "--data", "line.csv"]


@pytest.fixture
def network(edit):
    """Makes the experiment a network whose arrays a mesh splits."""
    edit("models.linear(card.n_features, 1)", "models.mlp(card.n_features, (8,), 1)")


def scores(path):
    """Returns the test metrics of all seeds."""
    metrics = json.loads((path / "result.json").read_text())["metrics"]
    return np.array([metrics[f"test/{name}"]["values"] for name in ("r2", "mse")])


@pytest.mark.long
def test_a_checkpoint_opens_on_any_mesh(here, interrupted_here, network, folder):
    words = [*WORDS, "--directory"]
    assert here(*words, "whole", "--mesh", "data=2").returncode == 0
    for mesh in ("data=2", "fsdp=2", "tensor=2", None):
        out = mesh or "one"
        done = interrupted_here(3, *words, out, "--mesh", "data=2")
        assert done.returncode == 75, done.stderr
        done = here(*words, out, *(("--mesh", mesh) if mesh else ()))
        assert done.returncode == 0, done.stderr
        if mesh == "data=2":
            np.testing.assert_array_equal(scores(folder / out), scores(folder / "whole"))
        # Float32 sums in another order: rounding of 1e-7, a hundred times in a contracting descent.
        np.testing.assert_allclose(scores(folder / out), scores(folder / "whole"), rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--mesh", "data=3"],
            "mesh must use all 2 devices, got data=3. Write -1 for an axis that takes those left, and sizes that divide 2. "
            "Set JAX_NUM_CPU_DEVICES=3 for 3 virtual devices.",
        ),
        (
            ["--mesh", "model=2"],
            "mesh must have axes among runs, data, fsdp, tensor, got 'model'. Write: data=2,fsdp=4",
        ),
        (
            ["--mesh", "data=-1,fsdp=-1"],
            "mesh must have at most one size of -1, got data=-1,fsdp=-1. Write the others.",
        ),
        (["--mesh", "data=-2"], "mesh must have positive sizes, or -1 for all devices left, got data=-2."),
        (["--mesh", "data"], "--mesh must be AXIS=N,..., got data. Write, for"),
        (["--mesh", "data=2,data=1"], "mesh must name each axis once, got data=2,data=1. Write: data=2,fsdp=4"),
        (
            ["--mesh", "runs=2", "--seeds", "1"],
            "mesh must have at most as many runs as are trained, 1, got runs=2. Train",
        ),
        (
            ["--mesh", "data=2", "--batch-size", "15"],
            "mesh must divide a batch of 15 examples, got data=2. Pass a batch",
        ),
        (["--process", "1"], "process needs --distributed, got 1 without it. Add --distributed."),
        (["--coordinator", "a:1"], "coordinator needs --distributed, got a:1 without it. Add --distributed."),
        (["--distributed"], "directory must be given with --distributed, so that a restarted job resumes, got none"),
        (["--hang-after", "0"], "hang_after must be positive and finite, got 0.0. Pass 60."),
    ],
)
def test_what_does_not_fit_is_refused(here, refused, words, message):
    refused(here(*WORDS, *words), message)


@pytest.mark.parametrize("name", ["study", "plan"])
def test_other_commands_are_not_distributed(here, refused, name):
    message = f"{name} has no option --distributed, which belongs to run and sweep. Leave it out."
    refused(here(name, "line.py", "--distributed"), message)


def test_a_rule_that_does_not_fit_is_refused(here, refused, edit, network):
    edit("adjust=adjust.grid", "rules=(('Dense_1/kernel', (None, 'tensor')),), adjust=adjust.grid")
    message = "mesh must divide the dimension 1 of params/Dense_1/kernel, whose shape is (8, 1), got tensor=2. Change"
    refused(here(*WORDS, "--mesh", "tensor=2"), message)

"""``--private epsilon=3,delta=1e-5,clip=1``: what is trained is what is stated, in config.json, result.json and on the screen."""

import json
import os
import re
import shutil
from types import SimpleNamespace
from unittest import mock

import pytest

from jaxresearch import privacy, records
from jaxresearch.cli import sweep
from jaxresearch.cli.private import _not_covered
from jaxresearch.cli.sweep import Swept
from jaxresearch.experiment import Objective

FEW = ["--epochs", "2", "--seeds", "2"]
PRIVATE = ["--private", "noise=1.5,delta=1e-5,clip=0.5"]


def read(folder, name, file="result.json"):
    return json.loads((folder / name / file).read_text())


@pytest.fixture(scope="module")
def whole(command, shared_folder):
    """A private run, recorded in ``out`` of the shared folder."""
    done = command("run", "line.py", *FEW, *PRIVATE, "--directory", "out", cwd=shared_folder)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def private(whole, shared_folder, folder):
    """The same, recorded in ``out``."""
    shutil.copytree(shared_folder / "out", folder / "out")
    return whole


@pytest.mark.long
def test_a_private_run_states_its_mechanism(private, folder):
    stated = read(folder, "out")["privacy"]
    assert stated == read(folder, "out", "config.json")["privacy"]
    sizes = {"n_examples": 160, "batch_size": 16, "n_steps": 20}
    mechanism = privacy.Mechanism(noise_multiplier=1.5, clip=0.5, delta=1e-5, **sizes, secret=(0, 0))
    assert stated["runs"] == [privacy.statement(mechanism, n_runs=2)]
    assert stated["all_runs"]["epsilon"] == privacy.epsilon(mechanism, n_runs=2).pld > privacy.epsilon(mechanism).pld
    assert "preprocessing fitted on the training part" in stated["not_covered"]
    lines = private.stdout.splitlines()
    assert any(line.startswith("privacy: epsilon ") and "for all 2 runs together" in line for line in lines)
    assert any(line.startswith("not private: noise.key, with which the noise can be subtracted;") for line in lines)


@pytest.mark.long
def test_a_private_run_reports_no_training_loss(private, folder):
    metrics = records.read_metrics(folder / "out" / "metrics.jsonl")
    assert {name for line in metrics for name in line} == {"step", "seconds", "train/gradient_norm"}


@pytest.mark.long
def test_a_private_run_keeps_its_secret(private, folder):
    file = folder / "out" / records.NOISE_KEY
    assert file.stat().st_mode & 0o777 == 0o600 or os.name == "nt"
    secret = records.noise_secret(folder / "out")
    for name in ("config.json", "result.json", "environment.json"):
        assert str(secret[0]) not in (folder / "out" / name).read_text()


@pytest.mark.long
def test_a_private_run_is_replayed_predicts_and_reports(private, here, replayed, folder):
    replayed("out")
    done = here("predict", "out", "line.csv")
    assert done.returncode == 0, done.stderr
    done = here("report", "out")
    assert done.returncode == 0, done.stderr
    (page,) = (folder / "out").glob("*.html")
    assert "for all 2 runs together" in page.read_text()


@pytest.mark.long
def test_private_runs_with_other_secrets_differ(private, here, folder):
    done = here("run", "line.py", *FEW, *PRIVATE, "--directory", "again")
    assert done.returncode == 0, done.stderr
    one, other = (read(folder, name)["metrics"]["test/mse"]["values"] for name in ("out", "again"))
    assert not {*one} & {*other}


@pytest.mark.long
def test_a_private_run_is_resumed_bit_for_bit(here, interrupted_here, folder):
    words = ["run", "line.py", *FEW, *PRIVATE, "--accumulate", "3", "--directory", "stopped"]
    assert interrupted_here(2, *words).returncode == 75
    secret = (folder / "stopped" / records.NOISE_KEY).read_bytes()
    done = here("resume", "stopped")
    assert done.returncode == 0, done.stderr
    assert (folder / "stopped" / records.NOISE_KEY).read_bytes() == secret
    assert here("verify", "stopped", "--replay", "100").returncode == 0


@pytest.mark.long
def test_a_lost_or_different_secret_is_refused(here, interrupted_here, folder):
    words = ["run", "line.py", *FEW, *PRIVATE, "--directory", "stopped"]
    assert interrupted_here(2, *words).returncode == 75
    file = folder / "stopped" / records.NOISE_KEY
    file.write_bytes(bytes(16))
    done = here("resume", "stopped")
    assert done.returncode == 2 and "must be the secret with which the run was started, " in done.stderr
    file.unlink()
    done = here("resume", "stopped")
    assert done.returncode == 2 and "must hold the secret of the noise, got no readable file" in done.stderr
    assert not file.exists()


@pytest.mark.long
def test_a_private_sweep_states_all_its_runs(here, folder):
    words = ["--learning-rate", "0.05,0.2", "--batch-size", "8,16", *FEW, *PRIVATE]
    done = here("sweep", "line.py", *words, "--directory", "swept")
    assert done.returncode == 0, done.stderr
    stated = read(folder, "swept", "config.json")["privacy"]
    # Two settings with batches of 8; two with batches of 16, and their baseline twice; each with two seeds.
    assert [one["n_runs"] for one in stated["runs"]] == [4, 8]
    assert stated["all_runs"]["n_runs"] == 12
    parts = [one["epsilon_of_all_runs"]["pld"] for one in stated["runs"]]
    assert stated["all_runs"]["delta"] == 1e-5 and max(parts) < stated["all_runs"]["epsilon"] < sum(parts)
    assert "selection part, held out of the training part" in stated["not_covered"]
    assert not any("test part" in line for line in stated["not_covered"])  # it was not read
    spends = "\nprivacy: that run spends more epsilon and delta, on top of the total of this sweep\n"
    assert (spends in done.stdout) == ("\nnext, on the test part: " in done.stdout)


@pytest.mark.parametrize("asked, n_lines", [((("noise", "1.5"),), 2), ((), 1)])
def test_a_private_sweep_says_that_the_next_run_spends_more(asked, n_lines):
    row = {"learning_rate": 0.2, "diverged": False}
    swept = Swept(rows=[row], best=0, baseline=None, again=None, comparison=None)
    session = SimpleNamespace(settings=[None], options=SimpleNamespace(private=asked))
    with mock.patch.object(sweep, "run_command", lambda session, setting: "jaxresearch run ..."):
        lines = sweep._next_lines(session, swept, "mse", Objective("mse", False))
    assert lines[0] == "next, on the test part: jaxresearch run ..." and len(lines) == n_lines


@pytest.mark.parametrize(
    "command, is_in_sample, metrics",
    [
        ("run", True, ["metrics of the training examples, which are the test part"]),
        ("study", True, ["metrics of the training examples, which are the test part"]),
        ("run", False, ["metrics of the test part"]),
        ("sweep", True, []),
        ("sweep", False, []),
    ],
)
def test_not_private_names_the_metrics_of_examples(command, is_in_sample, metrics):
    options = SimpleNamespace(command=command, validation=None, init_from=None)
    dataset = SimpleNamespace(of_run=lambda run: SimpleNamespace(fitted={}))
    found = _not_covered(options, SimpleNamespace(report=None), dataset, in_sample=is_in_sample)
    assert [line for line in found if line.startswith("metrics")] == metrics


@pytest.mark.long
def test_a_test_part_of_training_examples_is_named(here, edit, folder):
    edit('source="line.csv",', 'source="line.csv", collect=lambda *a, **k: data.in_sample(data.load(*a, **k)),')
    done = here("run", "line.py", "--epochs", "1", "--seeds", "1", *PRIVATE, "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert "; metrics of the training examples, which are the test part" in done.stdout
    assert "metrics of the test part" not in done.stdout


@pytest.mark.long
def test_private_finds_the_noise_for_epsilon(here, folder):
    done = here("run", "line.py", *FEW, "--private", "epsilon=1,delta=1e-5,clip=1", "--directory", "out")
    assert done.returncode == 0, done.stderr
    found = read(folder, "out")["privacy"]["runs"][0]["epsilon"]
    assert 0.99 < found["pld"] <= 1 < found["rdp"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("epsilon=3", "--private must have delta, clip and either epsilon or noise, got epsilon."),
        (
            "epsilon=3,noise=1,delta=1e-5,clip=1",
            "--private must have delta, clip and either epsilon or noise, got epsilon, noise, delta, clip.",
        ),
        ("epsilon=3,delta=1e-5,norm=1", "--private takes epsilon, noise, delta, clip, per_unit; got norm."),
        (
            "epsilon=0,delta=1e-5,clip=1",
            "epsilon of --private must be above 0 and at most 20, got 0. Write:",
        ),
        (
            "epsilon=inf,delta=1e-5,clip=1",
            "epsilon of --private must be above 0 and at most 20, got inf. Write:",
        ),
        (
            "epsilon=nan,delta=1e-5,clip=1",
            "epsilon of --private must be above 0 and at most 20, got nan. Write:",
        ),
        (
            "epsilon=three,delta=1e-5,clip=1",
            "epsilon of --private must be above 0 and at most 20, got three. Write:",
        ),
        ("noise=0,delta=1e-5,clip=1", "noise of --private must be positive and finite, got 0."),
        ("epsilon=3,delta=1e-5,clip=-1", "clip of --private must be positive and finite, got -1."),
        ("epsilon=3,delta=1,clip=1", "delta must be above 0 and below 1 / 160, got 1.0"),
        (
            "epsilon=30,delta=1e-5,clip=1",
            "epsilon of --private must be above 0 and at most 20, got 30. Write: --private",
        ),
        (
            "epsilon=3,delta=1e-5,clip=1,relation=add-or-remove",
            "--private must not set relation or n_examples, got one:",
        ),
        ("epsilon=3,delta=1e-5,clip=1,n_examples=160", "--private must not set relation or n_examples, got one:"),
        (
            "epsilon",
            "--private must be epsilon=E,delta=D,clip=C or none, got epsilon. Write, for instance: --private epsilon=3,"
            "delta=1e-5,clip=1",
        ),
    ],
)
def test_private_refuses_other_parameters(here, refused, text, message):
    refused(here("run", "line.py", "--private", text), message)


@pytest.mark.parametrize(
    "declared, message",
    [
        (
            '{"epsilon": 3, "delta": 1e-5}',
            "Experiment(private=...) must have delta, clip and either epsilon or noise, got epsilon, delta. Write: private={",
        ),
        (
            '{"epsilon": 50, "delta": 1e-5, "clip": 1}',
            "epsilon of Experiment(private=...) must be above 0 and at most 20, got 50. Write: private={",
        ),
    ],
)
def test_a_mistake_of_the_experiment_is_named_as_such(here, edit, refused, declared, message):
    edit("Experiment(", f"Experiment(private={declared},")
    refused(here("run", "line.py"), message)
    refused(here("run", "line.py", "--private", "epsilon=3"), "--private must have delta, clip and either epsilon")


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["--folds", "3"],
            "private and folds are mutually exclusive, got both: each example would be trained on by several",
        ),
        (["--train-examples", "50"], "private and train_examples are mutually exclusive, got both"),
        (["--resplit"], "private and resplit are mutually exclusive, got both"),
    ],
)
def test_private_refuses_options_that_break_the_guarantee(here, refused, words, message):
    refused(here("run", "line.py", *PRIVATE, *words), message)


def test_private_needs_an_experiment_that_uses_the_plan(here, edit, refused):
    edit("estimator=plan.estimator,", "")
    refused(
        here("run", "line.py", *FEW, *PRIVATE),
        "experiment must use plan.estimator for --private; got an algorithm that does not call it.",
    )


def test_private_refuses_augmentations(here, edit, refused):
    edit(
        "estimator=plan.estimator,",
        "estimator=plan.estimator, augment=lambda key, batch: {**batch, 'inputs': -batch['inputs']},",
    )
    refused(here("run", "line.py", *FEW, *PRIVATE), "batch must reach plan.estimator unchanged for --private")


@pytest.mark.parametrize("kind", ["run", "sweep", "audit"])
def test_private_refuses_a_loss_that_mixes_examples(here, edit, refused, kind):
    centred = (
        "lambda outputs, targets: losses.half_squared_error(outputs - outputs.mean(axis=0, keepdims=True), targets)"
    )
    edit("losses.half_squared_error", centred)
    words = ["--learning-rate", "0.1,0.2"] if kind == "sweep" else []
    refused(
        here(kind, "line.py", *PRIVATE, *words),
        "loss must be the mean of the losses of its examples for --private, got ",
    )


@pytest.mark.long
def test_a_private_study_counts_all_its_runs(here, folder):
    words = ["--epochs", "2", "--seeds", "2", "--fresh-seeds", "2"]
    done = here("study", "line.py", *words, *PRIVATE, "--directory", "studied")
    assert done.returncode == 0, done.stderr
    at_start = read(folder, "studied", "config.json")["privacy"]
    assert at_start["all_runs"]["n_runs"] == 2
    assert any("counted at the end of the study" in line for line in at_start["not_covered"])
    stated = read(folder, "studied")["privacy"]
    # Search: three settings, two seeds. Confirmation: the best and the baseline, ten seeds. Result: fresh seeds.
    is_kept = read(folder, "studied")["hyperparameters"]["learning_rate"] != 0.1
    n_confirmed = stated["runs"][0]["n_runs"] - 3 * 2
    assert n_confirmed in (0, 2 * 10) and (n_confirmed or not is_kept)
    assert [one["n_examples"] for one in stated["runs"]] == [144, 160]
    assert stated["runs"][1]["n_runs"] == (4 if is_kept else 2)
    assert stated["all_runs"]["n_runs"] == sum(one["n_runs"] for one in stated["runs"])
    parts = [one["epsilon_of_all_runs"]["pld"] for one in stated["runs"]]
    assert stated["all_runs"]["delta"] == 1e-5 and max(parts) < stated["all_runs"]["epsilon"] < sum(parts)
    assert f"at delta 1e-05 for all {stated['all_runs']['n_runs']} runs" in done.stdout
    assert "that runs were chosen by results of earlier ones: the total is that of runs fixed in advance" in done.stdout
    story = (folder / "studied" / "study.md").read_text()
    assert "\n## Privacy\n\n- privacy: epsilon " in story and "\n- not private: noise.key" in story
    assert f"at delta 1e-05 for all {stated['all_runs']['n_runs']} runs\n" in story
    assert here("report", "studied").returncode == 0
    page = (folder / "studied" / "report.html").read_text()
    assert re.findall(r"for all (\d+) runs(?! together)", page) == [str(stated["all_runs"]["n_runs"])]


@pytest.fixture
def users(folder):
    """Thirty users with one to five rows each; the file has a column that separates them."""
    rows = [(f"u{user}", user / 30 + k / 10) for user in range(30) for k in range(1 + user % 5)]
    (folder / "line.csv").write_text("user,x,y\n" + "".join(f"{user},{x},{3 * x + 0.5}\n" for user, x in rows))


UNITS = ["--private", "noise=1.5,delta=1e-3,clip=0.5,per_unit=3", "--unit", "user", "--batch-size", "8"]


@pytest.mark.long
def test_a_unit_is_stated_and_no_feature(users, here, interrupted_here, folder, replayed):
    assert interrupted_here(1, "run", "line.py", *FEW, *UNITS, "--directory", "out").returncode == 75
    done = here("resume", "out")
    assert done.returncode == 0, done.stderr
    config = read(folder, "out", "config.json")
    (stated,) = config["privacy"]["runs"]
    n_units = stated["n_examples"]
    assert n_units < 30 and stated["unit"] == f"one of {n_units} values of user, at most 3 examples of each"
    assert config["data_card"]["feature_names"] == ["x"]
    assert config["data_card"]["split"]["by"] == "group" and config["data_card"]["split"]["column"] == "user"
    assert f"for one of {n_units} values of user, at most 3 examples of each, zero-out" in done.stdout
    replayed("out")


@pytest.mark.parametrize(
    "words, message",
    [
        (UNITS[:2], "per_unit needs the column of the units, got per_unit=3 alone. Add --unit COLUMN."),
        (
            ["--unit", "user"],
            "--unit needs per_unit, the largest number of examples used of a unit, got user without it. Write: --private",
        ),
        (
            [*PRIVATE, "--unit", "user"],
            "--unit needs per_unit, the largest number of examples used of a unit, got user without it.",
        ),
        ([*UNITS, "--types", "user=drop"], "unit must name a column that is read, got user with the type drop. Leave"),
        (
            [*UNITS, "--group", "x"],
            "unit and group must name one column, got user and x: a unit must not be in two parts.",
        ),
        ([*UNITS, "--time", "x"], "unit and time are mutually exclusive, got both: a unit must not be in two parts."),
        (
            [*UNITS, "--unit", "usr"],
            "unit must be a column of line besides the target, got 'usr'. Did you mean 'user'?",
        ),
        (
            ["--unit", "user", "--private", "noise=1,delta=1e-3,clip=1,per_unit=2.5"],
            "per_unit of --private must be a whole number from 1, got 2.5. Write per_unit=8.",
        ),
        (
            ["--unit", "user", "--private", "noise=1,delta=1e-3,clip=1,per_unit=0"],
            "per_unit of --private must be a whole number from 1, got 0. Write per_unit=8.",
        ),
    ],
)
def test_private_refuses_other_units(users, here, refused, words, message):
    refused(here("run", "line.py", *words), message)

"""``jaxresearch audit`` compares what attacks prove with the claim, and records both."""

import dataclasses
import functools
import json
from unittest import mock

import numpy as np
import pytest

from jaxresearch import privacy
from jaxresearch.cli import audit as audits
from jaxresearch.privacy import audit, canaries

PRIVATE = ["--private", "epsilon=3,delta=1e-5,clip=1"]
FEW = ["--epochs", "2", "--runs", "40", "--batch-size", "160"]


def silent(loss_fn, mechanism):
    return privacy.private(loss_fn, dataclasses.replace(mechanism, noise_multiplier=0.0))


@pytest.mark.long
@pytest.mark.parametrize("options", [["--batch-size", "160"], ["--batch-size", "40"], ["--observe", "final"]])
def test_an_audit_of_a_sound_mechanism_does_not_refute_it(here, folder, options):
    done = here("audit", "line.py", *PRIVATE, *FEW, *options, "--directory", "out")
    assert done.returncode == 0, done.stderr
    recorded = json.loads((folder / "out" / "audit.json").read_text())
    claimed = recorded["privacy"]["epsilon"]["pld"]
    assert recorded["many_runs"]["epsilon"] <= claimed <= 3 and recorded["refuted"] is False
    lines = done.stdout.splitlines()
    assert lines[0] == f"claim: epsilon {claimed:.4g} at delta 1e-05, for one training example, zero-out"
    assert lines[1] == "training 40 runs with a canary and 40 without it, then one with 2 canaries"
    assert lines[2].startswith(f"many runs: epsilon of at least {recorded['many_runs']['epsilon']:.4g} (")
    assert ("trade-off curve of a Gaussian mechanism" in lines[2]) == ("40" not in options)
    assert "guesses right on whether a canary was trained on, for the clearest of 2 canaries; " in lines[3]
    assert lines[4] == "confidence: 0.95 that both bounds hold, 0.975 for each"
    assert lines[5].startswith("verdict: not refuted. ")
    assert ("So few runs could not have refuted the claim: without errors" in lines[5]) == ("40" in options)
    assert lines[6] == "run directory: out"
    assert (folder / "out" / "audit.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "found, most, text",
    [
        (
            0.0,
            0.6243,
            "not refuted. So few runs could not have refuted the claim: without errors, they show at most 0.6243.",
        ),
        (0.0, 8.0, "not refuted. So few runs could not have refuted the claim: without errors, they show at most 8."),
        (0.0, 8.1, "not refuted. This proves no smaller epsilon:"),
        (8.1, 8.1, "refuted. These runs reveal more than is claimed:"),
    ],
)
def test_the_verdict_says_if_the_runs_were_too_few(found, most, text):
    assert audits._verdict(8.0, found, most=most).startswith(f"verdict: {text}")


@pytest.mark.long
def test_the_bound_follows_from_the_recorded_scores(here, folder):
    for name in ("one", "other"):
        assert here("audit", "line.py", *PRIVATE, *FEW, "--audit-seed", "3", "--directory", name).returncode == 0
    with np.load(folder / "one" / "audit.npz") as one, np.load(folder / "other" / "audit.npz") as other:
        assert {*one} == {"with_canary", "without", "of_one_run", "included"}
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
        assert one["with_canary"].shape == one["without"].shape == (40, 2)
        found = audit.many_runs(one["with_canary"], one["without"], delta=1e-5, is_gaussian=True, confidence=0.975)
    recorded = json.loads((folder / "one" / "audit.json").read_text())
    assert recorded["many_runs"] == pytest.approx(found._asdict(), rel=1e-6)  # written in the precision of float32
    assert recorded["audit_seed"] == 3 and recorded["environment"]["seeds"] == [3]


@pytest.mark.long
def test_an_audit_of_a_mechanism_without_noise_refutes_it(here, folder):
    broken = functools.partial(canaries.with_canaries, private_of=silent)
    with mock.patch.object(canaries, "with_canaries", broken):
        done = here("audit", "line.py", *PRIVATE, *FEW, "--directory", "out")
    assert done.returncode == 1 and done.stderr == ""
    assert "verdict: refuted. These runs reveal more than is claimed" in done.stdout
    recorded = json.loads((folder / "out" / "audit.json").read_text())
    assert recorded["refuted"] is True and recorded["many_runs"]["epsilon"] > 3


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "audit needs a claim, got no --private. Write: --private epsilon=8,delta=1e-5,clip=1"),
        ([*PRIVATE, "--runs", "13"], "runs must be at least 14 for any bound, got 13. Pass --runs 500."),
        ([*PRIVATE, "--canaries", "0"], "canaries must be 1 or more, got 0. Leave it out to choose."),
        ([*PRIVATE, "--canaries", "3"], "canaries must be at most 2, the number of parameters, got 3. Leave it out."),
        (
            [*PRIVATE, "--canaries", "161"],
            "canaries must be at most 160, the number of examples, got 161. Leave it out.",
        ),
        ([*PRIVATE, "--guesses", "3"], "guesses must be at most 2, the number of canaries, got 3. Leave it out."),
        ([*PRIVATE, "--audit-seed", "-1"], "audit_seed must be between 0 and 4294967295, got -1. Pass 0."),
        (
            [*PRIVATE, "--directory", "line.csv"],
            "directory must be new or empty, got line.csv. Name another with --directory.",
        ),
        ([*PRIVATE, "--folds", "5"], "audit has no option --folds, which belongs to run. Leave it out."),
        ([*PRIVATE, "--stream"], "audit has no option --stream, which belongs to run, sweep, study, summary and plan."),
    ],
)
def test_an_audit_refuses_what_shows_nothing(here, refused, options, message):
    refused(here("audit", "line.py", *options), message)


def test_an_audit_needs_the_estimator_of_the_plan(here, edit, refused):
    edit("estimator=plan.estimator,", "")
    refused(here("audit", "line.py", *PRIVATE), "experiment must use plan.estimator for --private; got an algorithm")


def test_an_audit_needs_the_metrics_of_the_estimator(here, edit, refused):
    edit(
        "    return training.supervised(",
        "    drop = lambda one: one._replace(step=lambda *args: (one.step(*args)[0], {}))\n"
        "    return drop(training.supervised(",
    )
    edit("metrics.mean_squared_error()},\n    )", "metrics.mean_squared_error()},\n    ))")
    refused(here("audit", "line.py", *PRIVATE), "experiment must report the metrics of plan.estimator for an audit")


@pytest.mark.long
def test_an_audit_that_fails_leaves_nothing_behind(here, folder):
    with mock.patch.object(audit, "many_runs", side_effect=ValueError("scores must be finite, got one that is not.")):
        done = here("audit", "line.py", *PRIVATE, *FEW, "--directory", "out")
    assert (done.returncode, done.stderr) == (1, "jaxresearch: scores must be finite, got one that is not.\n")
    assert not (folder / "out").exists()

"""``jaxresearch summary`` and ``plan``: numbers of a step without training it."""

import importlib.util

import pytest


def test_summary_counts_the_state_and_the_work(command):
    done = command("summary", "mnist")
    assert done.returncode == 0 and not done.stderr
    assert "params/Dense_0/kernel" in done.stdout and "784 x 128" in done.stdout
    assert "parameters: 101,770\n" in done.stdout
    assert "(params 397.54 KiB, opt_state 795.09 KiB)" in done.stdout
    assert "FLOPs per step: " in done.stdout and "as XLA counts them" in done.stdout


def test_summary_notes_that_loops_count_once(command):
    done = command("summary", "mnist", "--accumulate", "4")
    assert "as XLA counts them in the compiled step; the work in" in done.stdout and "once" in done.stdout


def test_plan_splits_the_step_over_devices(command):
    done = command("plan", "mnist", "--mesh", "data=2", "--chip", "v5e")
    assert done.returncode == 0 and not done.stderr
    assert "step: 32 examples on 2 devices (data=2), compiled by XLA for CPUs\n" in done.stdout
    # Gradients of 101,770 parameters of 4 bytes, and a few scalars: a ring of two sends each once.
    assert "  sent to others: 397." in done.stdout and "all-reduce: " in done.stdout
    assert (
        "least time of a step on v5e: " in done.stdout and "https://docs.cloud.google.com/tpu/docs/v5e" in done.stdout
    )


def test_plan_does_not_cover_privacy_and_says_so(command):
    words = ("--private", "epsilon=3,delta=1e-5,clip=1")
    done = command("plan", "private_credit", *words)
    assert (
        done.returncode == 2
        and "plan has no option --private, which belongs to run, sweep, study and audit" in done.stderr
    )
    done = command("plan", "private_credit")
    assert done.returncode == 0 and "note: the step is planned without --private" in done.stdout, done.stderr


def test_plan_without_a_chip_names_the_chips(command):
    done = command("plan", "mnist")
    hint = "least time of a step: unknown without a chip. Pass --chip v4, v5e, v5p, a100, h100, h200 or b200\n"
    assert done.returncode == 0 and hint in done.stdout, done.stderr
    shown = command("plan", "mnist", "--help").stdout
    assert "--chip v4|v5e|v5p|a100|h100|h200|b200" in shown and "None" not in shown


@pytest.mark.long
def test_plan_needs_no_hardware(jaxresearch):
    done = jaxresearch("plan", "mnist", "--mesh", "data=8,fsdp=4", "--hbm", "16GiB")
    assert done.returncode == 0, done.stderr
    assert "on 32 devices (data=8,fsdp=4)" in done.stdout


def test_plan_that_does_not_fit_fails_with_one_line(command):
    done = command("plan", "mnist", "--hbm", "1MB")
    assert done.returncode == 1
    assert done.stderr.startswith("jaxresearch: the step must fit into 976.56 KiB per device, got ")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_plan_finds_the_largest_batch(command):
    done = command("plan", "mnist", "--mesh", "data=2", "--hbm", "1TiB", "--largest-batch")
    assert done.returncode == 0
    assert "largest batch that fits into 1.00 TiB per device:" in done.stdout
    assert "60,000 (all examples)" in done.stdout


@pytest.mark.long
def test_plan_finds_the_largest_batch_of_micro_batches(command):
    done = command("plan", "mnist", "--accumulate", "4", "--hbm", "1TiB", "--largest-batch")
    assert done.returncode == 0, done.stderr
    assert "60,000 (all examples)" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mesh", "runs=2"], "mesh must split one run in a plan, got runs=2. Leave runs out."),
        (["--mesh", "data=-1"], "mesh must have positive sizes in a plan, got -1 without --topology. Write all sizes."),
        (["--largest-batch"], "largest_batch needs the memory of a device, got none. Pass --chip h100 or --hbm 80GB."),
        (["--hbm", "much"], "--hbm must be NGiB or NGB, got much."),
        (["--chip", "h1"], "--chip must be v4, v5e, v5p, a100, h100, h200, b200 or None, got h1."),
        (["--mesh", "data=2", "--batch-size", "33"], "mesh must divide a batch of 33 examples, got data=2."),
        (["--batch-size", "70000"], "batch_size must be between 1 and 60000, got 70000."),
        (["--seeds", "3"], "plan has no option --seeds, which belongs to run, sweep and study. Leave it out."),
    ],
)
def test_plan_refuses_what_it_cannot_plan(command, words, message):
    done = command("plan", "mnist", *words)
    assert done.returncode == 2 and done.stderr.startswith(f"jaxresearch: {message}"), done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_plan_for_a_topology_needs_libtpu(command):
    done = command("plan", "mnist", "--topology", "v5e:2x2")
    expected = "jaxresearch: topology needs libtpu, got none. Install the extra tpu: pip install 'jaxresearch[tpu]'\n"
    assert (done.returncode, done.stderr) == (2, expected)


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_plan_for_a_topology_is_compiled_for_it(jaxresearch):
    done = jaxresearch("plan", "mnist", "--topology", "v5e:2x2", "--mesh", "data=2,fsdp=2", "--chip", "v5e")
    assert done.returncode == 0, done.stderr
    assert "compiled by libtpu for v5e:2x2" in done.stdout


@pytest.mark.parametrize("name", ["plan", "summary"])
def test_help_names_the_command(command, name):
    done = command(name, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: jaxresearch {name} EXPERIMENT")
    assert f"  {name} EXPERIMENT" in command("--help").stdout
    assert "--accumulate" in command(name, "mnist", "--help").stdout

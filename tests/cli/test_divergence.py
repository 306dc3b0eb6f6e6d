"""Seeds that diverge: masked and reported, while the others train on."""

import json
import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

# Run k of this experiment sees an infinite target in step AT[k], and no other step is disturbed by it.
BREAKS = """
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax

AT = []

class Run(NamedTuple):
    inner: Any
    limit: Any
    n: Any

def draw(key):
    return jax.random.uniform(jax.random.fold_in(key, 1))

def drawn(seed):
    return training.init(jax.random.key(seed), algorithm=training.Algorithm(draw, None, None))

plain = algorithm
def algorithm(h, card, plan, fitted):
    made, known = plain(h, card, plan, fitted), jnp.stack([drawn(seed) for seed in range(5)])
    def init(key):
        place = jnp.argmin(jnp.abs(known - draw(key)))
        limit = jnp.asarray([*AT, *[1e9] * (5 - len(AT))])[place]
        return Run(made.init(jax.random.fold_in(key, 2)), limit, jnp.zeros(()))
    def step(state, batch, key):
        targets = jnp.where(state.n == state.limit, jnp.inf, batch["targets"])
        inner, metrics = made.step(state.inner, {**batch, "targets": targets}, key)
        return Run(inner, state.limit, state.n + 1), metrics
    def evaluate(state, data, key):
        return {**made.evaluate(state.inner, data, key), "constant": jnp.ones(()), "falling": -state.n}
    return training.Algorithm(init, step, evaluate)
"""
NEVER = 1e9

pytestmark = pytest.mark.long
REST = dict.fromkeys(("seconds", "examples_per_second", "n_compilations", "resumed_from", "test_reads"))


def read(path):
    return json.loads(path.read_text())


def lines_of(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def breaks(edit):
    """Makes the runs diverge at these steps."""

    def change(*steps):
        edit(BREAKS.replace("AT = []", f"AT = {list(steps)}"))

    return change


@pytest.fixture
def warned(here):
    """Runs a command, and returns its result and warnings."""

    def carry_out(*words, by=here):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            done = by(*words)
        return done, [str(one.message) for one in caught]

    return carry_out


def test_a_seed_that_diverges_is_masked_and_stops_no_other(warned, here, breaks, folder):
    breaks(NEVER, NEVER, NEVER, 123)
    done, said = warned("run", "line.py", "--validation", "0.2", "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert said == [
        "loss of seed 3 is not finite in step 124; the first bad array is gradient['Dense_0']['bias'] in step 124, whose inputs "
        "are in out/nonfinite.npz. The results of seed 3 are undefined; the other 4 seeds are not affected."
    ] or re.search(r"loss of seed 3 is not finite in step 124; the first bad array is \S+ in step 124, ", said[0]), said
    with np.load(folder / "out" / "nonfinite.npz", allow_pickle=False) as inputs:
        assert inputs["['state'].n"] == 123
    result, lines = read(folder / "out" / "result.json"), lines_of(folder / "out")
    assert result["nonfinite"] == [{"seed": 3, "step": 123, "done": "masked"}] and result["diverged"] == [3]
    assert result["steps"] == lines[-1]["step"] == 160
    for summary in result["metrics"].values():  # also for metrics that stay finite
        assert [value is None for value in summary["values"]] == [False, False, False, True, False]
        assert summary["mean"] is None
    assert result["claim"]["verdict"] == "undecided" and result["claim"]["because"] == "seed 3 diverged at step 124"
    for name in ("train/loss", "validation/mse", "validation/constant"):
        masked = {line["step"]: [value is None for value in line[name]] for line in lines if name in line}
        assert masked == {step: [False] * 3 + [step > 123, False] for step in masked}
    shown = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert ["1 of 5 seeds diverged" in line for line in shown] == [int(line[6:8].strip("/")) > 15 for line in shown]
    assert "nan" not in "".join(shown)

    assert here("report", "out").returncode == 0 and "seed 3 diverged" in (folder / "out" / "report.html").read_text()
    (folder / "line.py").write_text((folder / "line.py").read_text().replace("123]", "1e9]"))
    plain = here("run", "line.py", "--validation", "0.2", "--directory", "plain")
    assert plain.returncode == 0, plain.stderr
    ours, others = (one["metrics"]["test/mse"]["values"] for one in (result, read(folder / "plain" / "result.json")))
    assert ours == [*others[:3], None, others[4]]


def test_a_resumed_run_masks_the_same_seeds(warned, interrupted_here, breaks, folder):
    """Interrupted before any seed, after one and after two have diverged; a chunk has ten steps."""
    breaks(NEVER, 123, NEVER, 165)
    whole, said = warned("run", "line.py", "--directory", "whole")
    assert whole.returncode == 0 and len(said) == 2 and "first bad array" not in said[1], said
    expected = read(folder / "whole" / "result.json")
    assert expected["diverged"] == [1, 3]
    for n_chunks, n_after in ((5, 2), (13, 1), (18, 0)):
        cut, before = warned(n_chunks, "run", "line.py", "--directory", f"out-{n_chunks}", by=interrupted_here)
        assert cut.returncode == 75, cut.stderr
        done, after = warned("resume", f"out-{n_chunks}")
        assert done.returncode == 0 and (len(before), len(after)) == (2 - n_after, n_after), done.stderr
        assert {**read(folder / f"out-{n_chunks}" / "result.json"), **REST} == {**expected, **REST}
        assert [{**line, "seconds": 0} for line in lines_of(folder / f"out-{n_chunks}")] == [
            {**line, "seconds": 0} for line in lines_of(folder / "whole")
        ]


def test_a_process_that_is_killed_masks_the_same_seeds(folder, breaks, edit):
    """Killed after the last step, before the result is written; its record of the seed is then lost as well."""
    breaks(NEVER, NEVER, 123)
    edit(
        "def report(h, state, collected, dataset):\n"
        "    if Path('out/checkpoints/200').exists() and not Path('again').exists():\n"
        "        os.kill(os.getpid(), 9)\n    return 'fine'\n"
    )

    def process(*words):
        command = [sys.executable, "-m", "jaxresearch", *words]
        return subprocess.run(command, cwd=folder, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True)

    done = process("run", "line.py", "--directory", "out")
    assert done.returncode == -9 and not (folder / "out" / "result.json").exists()
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith(
        "jaxresearch: warning: loss of seed 2 is not finite in step 124; the first bad array is "
    )
    (folder / "again").touch()
    text, results = (folder / "out" / "metrics.jsonl").read_text(), []
    for lines in (text, ""):
        (folder / "out" / "metrics.jsonl").write_text(lines)
        done = process("resume", "out")
        assert done.returncode == 0 and done.stderr == "", done.stderr
        results.append({**read(folder / "out" / "result.json"), **REST})
        (folder / "out" / "result.json").unlink()
    assert results[0] == results[1] and results[0]["nonfinite"] == [{"seed": 2, "step": 123, "done": "masked"}]
    assert results[0]["claim"]["because"] == "seed 2 diverged at step 124" and results[0]["report"] == "fine"


def test_a_fold_that_diverges_is_masked(warned, breaks, folder):
    breaks(NEVER, NEVER, 30)
    done, (said,) = warned("run", "line.py", "--folds", "4", "--directory", "out")
    assert done.returncode == 0, done.stderr
    assert "loss of fold 2 is not finite in step 31;" in said and "the other 3 folds are not affected" in said
    assert "1 of 4 folds diverged" in done.stdout
    values = read(folder / "out" / "result.json")["metrics"]["test/r2"]["values"]
    assert [value is None for value in values] == [False, False, True, False]


def test_a_run_stops_once_all_seeds_have_diverged(warned, breaks, folder):
    breaks(60, 30)
    words = ("run", "line.py", "--seeds", "2", "--directory", "out")
    done, (said,) = warned(*words)
    assert said.endswith("The results of seed 1 are undefined; the other seed is not affected.")
    message = "loss of seed 0 is not finite in step 61; all 2 seeds have diverged. Lower the learning rate, clip the gradient, or"
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    assert not (folder / "out" / "result.json").exists()
    with np.load(folder / "out" / "nonfinite.npz", allow_pickle=False) as inputs:
        assert inputs["['state'].n"] == 30  # of the first seed that diverged
    events = [event for line in lines_of(folder / "out") for event in line.get("nonfinite", ())]
    assert events == [{"seed": 1, "step": 30, "done": "masked"}, {"seed": 0, "step": 60, "done": "stop"}]
    again, _ = warned("resume", "out")
    assert again.returncode == 1 and message in again.stderr


def test_a_seed_that_is_done_and_then_diverges_counts(warned, breaks, edit, folder):
    """The metric of seed 0 falls to the end; the others are done at the third evaluation, and seed 2 diverges before."""
    edit(
        "breaking = algorithm\n"
        "def algorithm(*args):\n"
        '    made = algorithms.stopped(breaking(*args), metric="falling", patience=2)\n'
        "    def observe(state, seen):\n"
        '        sign = jnp.where(state.inner.limit > 1e8, 1, -1)\n        falling = seen["falling"] * sign\n'
        '        return made.observe(state, {**seen, "falling": falling})\n'
        "    return made._replace(observe=observe)\n"
    )
    breaks(NEVER, 101, 11)  # is printed before the lines above
    done, said = warned("run", "line.py", "--seeds", "3", "--validation", "0.2", "--directory", "out")
    assert done.returncode == 0 and "loss of seed 2 is not finite in step 12;" in said[0] and len(said) == 1, (
        said,
        done.stderr,
    )
    result = read(folder / "out" / "result.json")
    assert result["diverged"] == [2] and result["steps"] == 160 and result["best_step"][:2] == [160, 8]
    assert result["metrics"]["test/falling"]["values"] == [-160, -8, None]
    assert "nan" not in "".join(line for line in done.stdout.splitlines() if line.startswith("epoch"))
    assert [event["seed"] for event in result["nonfinite"]] == [2]


def test_an_undefined_metric_is_not_called_divergence(here, edit, folder):
    edit(
        "plain = algorithm\n"
        "def algorithm(*args):\n"
        "    made = plain(*args)\n"
        "    def evaluate(state, data, key):\n"
        '        return {**made.evaluate(state, data, key), "r2": jnp.nan}\n'
        "    return made._replace(evaluate=evaluate)\n"
    )  # like an AUC without positives
    done = here("sweep", "line.py", "--learning-rate", "0.1,0.2", "--seeds", "2", "--directory", "swept")
    assert done.returncode == 0, done.stderr
    assert "best: none, since r2 is undefined for every setting\n" in done.stdout
    assert "diverged" not in done.stdout and len(re.findall("undefined +│", done.stdout)) == 2
    assert [row["diverged"] for row in read(folder / "swept" / "sweep.json")["rows"]] == [False, False]
    done = here("run", "line.py", "--seeds", "3", "--directory", "out")
    assert done.returncode == 0, done.stderr
    result = read(folder / "out" / "result.json")
    assert result["diverged"] == [] and result["claim"]["verdict"] == "undecided"
    assert result["claim"]["because"] == "test/r2 is undefined for seeds 0, 1, 2"
    assert "diverged" not in done.stdout and result["metrics"]["test/mse"]["mean"] is not None


def test_fail_fast_ends_the_run_at_the_first_seed_that_diverges(here, breaks, folder):
    breaks(NEVER, 30)
    words = ["run", "line.py", "--seeds", "3", "--directory", "out"]
    done = here(*words, "--fail-fast")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "jaxresearch: loss of seed 1 is not finite in step 31; the first bad array is " in done.stderr
    assert "or leave out --fail-fast to train the others." in done.stderr
    *_, last = lines_of(folder / "out")
    assert last["nonfinite"] == [{"seed": 1, "step": 30, "done": "stop"}] and last["step"] < 60
    assert not (folder / "out/result.json").exists()
    with pytest.warns(UserWarning, match="the other 2 seeds are not affected"):
        done = here(*words)  # the option changes no result
    assert done.returncode == 0 and read(folder / "out/result.json")["diverged"] == [1], done.stderr


def test_fail_fast_counts_an_outcome_that_is_not_finite(here, edit):
    """The last step makes the parameters infinite, after its own loss."""
    edit(
        "optimizer=training.gradient_descent(h.learning_rate)",
        "optimizer=optax.sgd(lambda n: jnp.where(n < 19, 0.1, jnp.inf))",
    )
    words = ["run", "line.py", "--seeds", "2", "--batch-size", "160", "--directory"]
    done = here(*words, "out", "--fail-fast")
    assert done.returncode == 1 and "state of seed 0 is not finite in step 20; the first bad" in done.stderr, (
        done.stderr
    )

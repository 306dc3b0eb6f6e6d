"""Five kinds of algorithms, each one screen long: transformed, swept, recorded and resumed."""

import dataclasses
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxresearch import adjust, execution, loading, recording, records, statistics
from jaxresearch import experiment as experiments
from jaxresearch.execution import compilation

HERE = Path(__file__).parent
NAMES = ("gan", "diffusion", "policy", "segmentation", "two_inputs")
LONG = [pytest.param(name, marks=pytest.mark.long) for name in NAMES[1:]]
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module", params=[NAMES[0], *LONG])
def example(request):
    """An experiment and its data."""
    experiment = loading.load(str(HERE / f"{request.param}.py"))
    if experiment.source is None:
        return experiment, experiments.without_data(experiment)
    return experiment, experiment.prepare(experiment.collect(experiment.source))


@pytest.fixture(scope="module")
def outcome(example):
    """The outcome of three seeds, side by side."""
    experiment, dataset = example
    return execution.execute(experiment, experiment.hyperparameters, dataset, seeds=SEEDS)


def short(experiment):
    """Returns hyperparameters of a short run."""
    h = experiment.hyperparameters
    return dataclasses.replace(h, **({"n_steps": 12} if hasattr(h, "n_steps") else {"epochs": 1}))


def bits(tree):
    """Returns the bytes of every array."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", NAMES)
def test_example_fits_on_a_screen(name):
    assert len((HERE / f"{name}.py").read_text().splitlines()) < 60


def test_example_supports_its_claim(example, outcome):
    experiment, _ = example
    values = outcome.metrics[experiment.claim.evaluated]
    # Student's interval of three seeds.
    assert statistics.verdict(statistics.t_interval(values), experiment.claim) == "supported", values


@pytest.mark.long
def test_jitted_step_equals_the_eager_one(example):
    experiment, dataset = example
    algorithm = experiments.program(experiment, dataset).algorithm(experiment.hyperparameters)
    state = algorithm.init(jax.random.key(0))
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf[:8]), dataset.train)
    eager, jitted = (step(state, batch, jax.random.key(1)) for step in (algorithm.step, jax.jit(algorithm.step)))
    # One step in float32: different summation order, and Adam's first step is the sign of a gradient near zero.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4), eager[1], jitted[1])


@pytest.mark.long
def test_whole_run_is_a_function(example):
    experiment, dataset = example
    program, h = experiments.program(experiment, dataset), short(experiment)
    args = jax.random.key(0), h, dataset.train
    lowered = jax.jit(program.run).lower(*args)
    state, history = lowered.compile(compilation.compiler_options(lowered))(*args)
    chunked = execution.execute(experiment, h, dataset, seeds=[0])
    # The same run: its chunks agree bit for bit, and a sweep of one run is not batched.
    assert bits(program.algorithm(h).outcome(state)) == bits(jax.tree.map(lambda leaf: leaf[0], chunked.state))
    assert all(np.isfinite(values).all() for values in history.values())


@pytest.mark.long
def test_sweep_compares_rates(example):
    experiment, dataset = example
    settings = adjust.combinations(short(experiment), {"learning_rate": [1e-4, 1e-3]})
    slow, fast = execution.execute_all(experiment, settings, dataset, seeds=SEEDS[:2])
    name = experiment.claim.evaluated
    assert slow.metrics[name].shape == (2,) and not (slow.metrics[name] == fast.metrics[name]).any()


@pytest.mark.long
def test_record_resumes_bit_for_bit(example, tmp_path):
    experiment, dataset = example
    h, looks = short(experiment), itertools.count()

    def interrupted():
        return next(looks) == 2  # at the third chunk, as by a signal

    asked = {"seeds": SEEDS[:2], "save_every": 0}
    with pytest.raises(recording.Interrupted):
        recording.record(experiment, h, dataset, directory=tmp_path / "cut", interrupted=interrupted, **asked)
    cut = recording.record(experiment, h, dataset, directory=tmp_path / "cut", **asked)
    whole = recording.record(experiment, h, dataset, directory=tmp_path / "whole", **asked)
    assert cut.result["resumed_from"] > 0 and cut.result["metrics"] == whole.result["metrics"]
    like = execution.blank_state(experiment, h, dataset, n_runs=2)
    states = [records.Checkpoints(path).restore(like).state for path in (cut.path, whole.path)]
    assert bits(states[0]) == bits(states[1])

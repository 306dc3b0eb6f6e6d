"""What a step needs on a mesh: against published sizes, closed forms and what an executed step holds."""

import dataclasses
import json
import math
import subprocess
import sys
import typing
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax.experimental.pallas import tpu

from jaxresearch import devices, losses, models, training
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment
from jaxresearch.hyperparameters import hyperparameters, static
from jaxresearch.models.rematerialisation import Remat
from jaxresearch.scale import chips
from jaxresearch.scale.plan import largest_batch, largest_below, remat_policies, step_cost
from jaxresearch.scale.summary import summary, summary_of

ROOT = Path(__file__).parents[2]

# Llama 3 8B has three matrices of hidden width 14,336 in a block; two of 21,504 have as many entries.
GPT2 = models.TransformerSizes(context=1024, width=768, n_layers=12, n_heads=12, positions="learnt")
LLAMA3 = models.TransformerSizes(
    context=8192, width=4096, n_layers=32, n_heads=32, n_kv_heads=8, hidden=21_504, biases=False, tied=False
)


@pytest.mark.parametrize(
    ("n_tokens", "sizes", "published"),
    [(50_257, GPT2, 124_439_808), (128_256, LLAMA3, 8_030_261_248)],
    ids=["GPT-2 small", "Llama 3 8B"],
)
def test_decoders_have_the_published_number_of_parameters(n_tokens, sizes, published):
    params, _ = jax.eval_shape(models.decoder(n_tokens, sizes).init, jax.random.key(0))
    assert summary_of({"params": params}).n_parameters == published


@hyperparameters
class Sizes:
    context: int = static(32, "tokens per example")
    width: int = static(256, "width of a token's vector")
    n_layers: int = static(2, "number of blocks")
    n_heads: int = static(4, "number of heads")
    n_micro_batches: int = static(1, "micro batches")
    dropout_rate: float = static(0.1, "dropout rate")
    biases: bool = static(False, "whether layers have biases")
    remat: Remat = static("none", "what the backward pass recomputes")
    batch_size: int = static(8, "examples per step")
    n_steps: int = static(1, "steps")


def algorithm(h, card, plan, fitted):
    model = models.decoder(512, models.TransformerSizes.of(h))
    loss = losses.softmax_cross_entropy_with_integer_labels
    return training.supervised(model, loss, optimizer=optax.adam(1e-3), metrics={}, estimator=plan.estimator)


TOKENS = np.zeros((64, 32), np.int32)
DATASET = Dataset({"inputs": TOKENS, "targets": TOKENS}, {}, None, DataCard(name="zeros", source="zeros"))
EXPERIMENT = Experiment(question="Does it fit?", hyperparameters=Sizes(), algorithm=algorithm)


def held():
    """Prints the bytes on each device of the arguments of an executed step, and those of its plan."""
    from jaxresearch import experiment as experiments
    from jaxresearch.execution.lowering import step_shapes

    def n_bytes(tree):
        shards = [jax.random.key_data(x) if "key" in str(x.dtype) else x for x in jax.tree.leaves(tree)]
        return sum(leaf.addressable_shards[0].data.nbytes for leaf in shards)

    with jax.set_mesh(devices.mesh(fsdp=8)):
        shapes, cost = step_shapes(EXPERIMENT, Sizes(), DATASET), step_cost(EXPERIMENT, Sizes(), DATASET)
        program = experiments.program(EXPERIMENT, DATASET)
        places = jax.tree.map(lambda leaf: leaf.sharding, shapes)
        state = jax.jit(lambda key: program.init(key, Sizes()), out_shardings=places.state)(jax.random.key(0))
        batch = jax.device_put({"inputs": TOKENS[:8], "targets": TOKENS[:8]}, places.batch)
        key = jax.device_put(jax.random.key(1), places.key)
        before = n_bytes((state, batch, key))
        params = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
        new, metrics = jax.jit(program.algorithm(Sizes()).step)(state, batch, key)
        after, loss = n_bytes((new, batch, key)), float(metrics["loss"])
    print(json.dumps({"plan": cost.arguments, "before": before, "after": after, "params": params, "loss": loss}))


@pytest.mark.long
def test_step_cost_has_the_bytes_of_an_executed_step():
    code = (
        "import jax; jax.config.update('jax_num_cpu_devices', 8); from tests.scale import test_plan; test_plan.held()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(done.stdout)
    assert found["before"] == found["after"] == found["plan"]
    assert math.isfinite(found["loss"])
    # Parameters and both moments of Adam, over 8 devices; scales of normalisations are whole on each.
    assert found["plan"] == pytest.approx(3 * found["params"] / 8, rel=0.01)


@pytest.mark.long
def test_step_cost_falls_with_rematerialisation():
    costs = {policy: step_cost(EXPERIMENT, Sizes(remat=policy), DATASET) for policy in remat_policies(Sizes())}
    assert costs["all"].temporaries < costs["dots"].temporaries < costs["none"].temporaries
    assert costs["all"].flops > costs["dots"].flops >= costs["none"].flops
    assert len({cost.arguments for cost in costs.values()}) == 1


@pytest.mark.long
def test_largest_batch_is_the_largest_that_fits():
    def network(h, card, plan, fitted):
        model, loss = models.mlp(32, (64,), 1), losses.half_squared_error
        return training.supervised(model, loss, optimizer=optax.adam(1e-3), metrics={})

    part = {"inputs": np.zeros((64, 32), np.float32), "targets": np.zeros((64, 1), np.float32)}
    of_network, dataset = dataclasses.replace(EXPERIMENT, algorithm=network), DATASET._replace(train=part)
    with jax.set_mesh(devices.mesh(fsdp=2)):
        limit = step_cost(of_network, Sizes(batch_size=20), dataset).memory
        size, cost = largest_batch(of_network, Sizes(), dataset, n_bytes=limit)
        assert size >= 20 and size % 2 == 0 and cost is not None and cost.memory <= limit
        assert step_cost(of_network, Sizes(batch_size=size + 2), dataset).memory > limit
        assert largest_batch(of_network, Sizes(), dataset, n_bytes=1000) == (0, None)
        assert largest_batch(of_network, Sizes(), dataset, n_bytes=1e12)[0] == 64  # all examples


def test_largest_batch_needs_a_batch_size():
    without = Dataset({}, {}, None, DataCard(name="none", source=""))
    with pytest.raises(ValueError, match="hyperparameters must have batch_size to plan a batch, got none"):
        largest_batch(EXPERIMENT, Sizes(), without, n_bytes=1)


@pytest.mark.parametrize("limit", [0, 1, 7, 99, 1000, 12_345, 10**9])
@pytest.mark.parametrize(
    "size_of",
    [lambda n: n, lambda n: 5 + n**2, lambda n: 100 * math.ceil(n / 7), lambda n: 50.0, lambda n: n + 600 * (n > 90)],
    ids=["line", "square", "steps", "constant", "jump"],
)
def test_largest_below_equals_a_search(size_of, limit):
    expected = max((n for n in range(1, 201) if size_of(n) <= limit), default=0)
    assert largest_below(size_of, limit, most=200) == expected


def test_chips_are_those_of_the_command_line_with_a_source():
    assert (*chips.CHIPS,) == typing.get_args(chips.ChipName)
    assert all("https://" in chip.source for chip in chips.CHIPS.values())


@pytest.mark.parametrize(("name", "version", "n_cores"), [("v4", "V4", 2), ("v5e", "V5E", 1), ("v5p", "V5P", 2)])
def test_chips_of_google_are_those_that_jax_knows(name, version, n_cores):
    core = tpu.get_tpu_info_for_chip(tpu.ChipVersion[f"TPU_{version}"], n_cores)
    chip = chips.CHIPS[name]
    assert chip.flops == pytest.approx(n_cores * core.bf16_ops_per_second)
    assert chip.memory == pytest.approx(n_cores * core.hbm_capacity_bytes, rel=0.011)  # JAX has 96 GiB for v5p


def test_step_time_is_the_longest_part():
    chip = chips.Chip(flops=100.0, memory=1.0, memory_rate=10.0, network_rate=5.0, source="")
    time = chips.step_time(flops=300, accessed=20, sent=25, chip=chip)
    assert time == (3.0, 2.0, 5.0) and time.seconds == 5.0 and time.bound == "network"


def test_remat_policies_need_a_static_field():
    @hyperparameters
    class Plain:
        batch_size: int = static(8, "examples per step")

    assert remat_policies(Plain()) == () and remat_policies(Sizes()) == ("none", "dots", "all")


def test_summary_has_the_parts_of_the_state():
    sizes = summary(EXPERIMENT, Sizes(), DATASET)
    n = sizes.n_parameters
    assert {part: total.n for part, total in sizes.totals.items()} == {"params": n, "opt_state": 2 * n + 1}
    assert sizes.n_bytes == 4 * (3 * n + 1)
    blocks = 2 * (2 * 256 + 4 * 256 * 256 + 2 * 256 * 1024)  # scales, attention and network
    assert n == 512 * 256 + blocks + 256


def test_summary_finds_the_parts_of_a_nested_state():
    state = {"train": {"params": {"w": np.zeros(3)}, "opt_state": np.zeros(2)}, "best": np.zeros(1)}
    totals = summary_of(state).totals
    assert {part: total.n for part, total in totals.items()} == {"best": 1, "train/opt_state": 2, "train/params": 3}
    assert summary_of(state).n_parameters == 3 and summary_of(np.zeros(2)).totals["state"].n == 2

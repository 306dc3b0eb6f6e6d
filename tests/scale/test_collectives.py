"""The communication of a compiled program: kinds, sizes of groups, and loops."""

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxresearch import devices, losses, models, partitioning, training
from jaxresearch.scale.collectives import Collective, communication, n_loops


def program(line):
    return f"ENTRY %main (x: f32[64]) -> f32[64] {{\n  %x = f32[64] parameter(0)\n  ROOT {line}\n}}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%a = f32[64] all-reduce(%x), replica_groups={{0,1,2,3}}, to_apply=%add", ("all-reduce", 1, 384)),
        ("%a = f32[64]{0} all-gather(%x), replica_groups=[2,4]<=[8]", ("all-gather", 1, 192)),
        ("%a = bf16[64] reduce-scatter(%x), replica_groups=[4,2]<=[8]", ("reduce-scatter", 1, 128)),
        ("%a = s8[64] all-to-all(%x), replica_groups={}", ("all-to-all", 1, 56)),
        ("%a = pred[64] collective-permute(%x), source_target_pairs={{0,1}}", ("collective-permute", 1, 64)),
        (
            "%a = f32[64] all-gather(%x), replica_groups=mesh['a'=2,'b'=4] {'b'}, dimensions={0}",
            ("all-gather", 1, 192),
        ),
        ("%a = (f32[16], f32[64]) all-gather-start(%x), replica_groups={{0,1,2,3}}", ("all-gather", 1, 192)),
        (
            "%a = (f32[64], f32[64], u32[], u32[]) collective-permute-start(%x), source_target_pairs={{0,1}}",
            ("collective-permute", 1, 256),
        ),
        ("%a = (f32[64], f32[32]) all-reduce(%x, %y), replica_groups={{0,1}}", ("all-reduce", 1, 384)),
    ],
)
def test_communication_is_that_of_a_ring(line, expected):
    assert communication(program(line), n_devices=8).collectives == (Collective(*expected),)


BODY = """\
%body (t: (s32[], f32[64])) -> (s32[], f32[64]) {
  %t = (s32[], f32[64]) parameter(0)
  %r = f32[64] all-reduce(%g), replica_groups={{0,1}}, to_apply=%add
}

"""


def test_communication_in_a_loop_counts_every_pass():
    loop = '%w = (s32[], f32[64]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"5"}}'
    of_step = communication(BODY + program(loop), n_devices=2)
    assert of_step.collectives == (Collective("all-reduce", 5, 5 * 256),) and of_step.n_unknown_loops == 0
    assert of_step.n_bytes == 1280


def test_communication_reads_the_length_from_a_condition():
    condition = """\
%c (t: (s32[], f32[64])) -> pred[] {
  %bound = u32[]{:T(128)} constant(4), metadata={op_name="dot"}
  %count = u32[]{:T(128)} get-tuple-element(%t), index=0
  ROOT %compare.1 = pred[]{:T(512)} compare(%count, %bound), direction=LT
}

"""
    loop = "%w = (s32[], f32[64]) while(%t), condition=%c, body=%body"
    of_step = communication(BODY + condition + program(loop), n_devices=2)
    assert (of_step.collectives[0].number, of_step.n_unknown_loops) == (4, 0)


def test_communication_reports_loops_of_unknown_length():
    of_step = communication(BODY + program("%w = (s32[]) while(%t), condition=%c, body=%body"), n_devices=2)
    assert (of_step.collectives[0].number, of_step.n_unknown_loops) == (1, 1)


def test_communication_of_a_compiled_loop():
    mesh = devices.mesh(data=2)
    split = NamedSharding(mesh, PartitionSpec("data"))

    def total(x):
        def step(carry, _):
            return carry * 1.5, jnp.tanh(x * carry).sum()

        return jax.lax.scan(step, 1.0, length=3)[1]

    text = jax.jit(total).lower(jax.ShapeDtypeStruct((64,), "float32", sharding=split)).compile().as_text()
    of_sum = communication(text, n_devices=2)
    assert n_loops(text) == 1 and of_sum.n_unknown_loops == 0
    assert of_sum.collectives in (
        (Collective("all-reduce", 3, 3 * 4),),  # one scalar in each pass
        (Collective("all-reduce", 1, 3 * 4),),  # all three after the loop
    )


def test_the_order_of_the_examples_is_not_exchanged():
    """Each device walks the permutation of all examples itself: a step of a data-parallel run is one sum of the gradient."""
    network = models.linear(4, 2)
    plain = training.supervised(
        network, losses.softmax_cross_entropy_with_integer_labels, optimizer=optax.sgd(0.1), metrics={}
    )
    algorithm, part = partitioning.partitioned(plain), {"inputs": jnp.ones((90, 4)), "targets": jnp.zeros(90, int)}

    def steps(state, part):
        key = jax.random.key(0)
        return training.advance(key, state, part, 0, algorithm=algorithm, batch_size=8, n_steps=5)

    with jax.set_mesh(devices.mesh(data=2)):
        state, part = jax.jit(algorithm.init)(jax.random.key(0)), devices.place(part, n_runs=1)
        text = jax.jit(steps).lower(state, part).compile().as_text()
    assert [(one.kind, one.number) for one in communication(text, n_devices=2).collectives] == [("all-reduce", 5)]

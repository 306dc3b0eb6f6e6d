"""One training step, compiled from shapes alone: nothing is allocated, and its devices need not exist."""

from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec, get_abstract_mesh, get_mesh
from jax.stages import Compiled
from jaxtyping import PyTree

from jaxresearch import devices, partitioning
from jaxresearch import experiment as experiments
from jaxresearch.data import Dataset
from jaxresearch.execution.reading import blank
from jaxresearch.experiment import Experiment
from jaxresearch.training import step_inputs

# LLVM's optimisation changes no buffer and takes most of the time on CPUs. The pass left out merges what the backward pass
# recomputes with the first computation, on CPUs alone, so that rematerialisation would save nothing.
_ON_CPU = {"xla_backend_optimization_level": 0, "xla_disable_hlo_passes": "cse_barrier_expander"}


class StepShapes(NamedTuple):
    """The arguments of a training step as `jax.ShapeDtypeStruct`, each with its sharding on the current mesh."""

    state: PyTree
    batch: PyTree
    key: Any


def step_shapes(experiment: Experiment, hyperparameters: Any, dataset: Dataset) -> StepShapes:
    """Returns the shapes of the arguments of a training step on the current mesh.

    Args:
        experiment: As declared.
        hyperparameters: The settings.
        dataset: Preprocessed data, of which only shapes and fitted numbers are used.

    Returns:
        The shapes.

    Raises:
        ValueError: If the hyperparameters do not fit the data, or the mesh does not divide the batch.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> shapes = step_shapes(house, house.hyperparameters, house.prepare(house.collect(house.source)))
        >>> shapes.batch["targets"].shape, shapes.key.shape
        ((2930, 1), ())
    """
    of_run = dataset.of_run(0)
    program, part = experiments.program(experiment, of_run), blank(of_run.train)
    size = program.plan(hyperparameters).batch_size

    def inputs(key: Any, part: Any) -> Any:
        return step_inputs(key, part, 0, batch_size=size)

    with devices.no_mesh():
        key = jax.eval_shape(lambda: jax.random.key(0))
        batch, key = jax.eval_shape(inputs, key, part)
    state = jax.eval_shape(lambda key: program.init(key, hyperparameters), key)
    jax.eval_shape(devices.spread, batch)
    if get_abstract_mesh().empty:
        return StepShapes(state, batch, key)

    axes = devices.free_axes(*devices.OF_BATCH)
    return StepShapes(
        jax.tree.map(_placed, state, partitioning.specs(state, rules=experiment.rules)),
        jax.tree.map(lambda leaf: _placed(leaf, PartitionSpec(axes or None)), batch),
        _placed(key, PartitionSpec()),
    )


def _placed(leaf: Any, spec: PartitionSpec) -> jax.ShapeDtypeStruct:
    """Returns a shape on the current mesh."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(get_mesh(), spec))


def compiled_step(experiment: Experiment, hyperparameters: Any, dataset: Dataset) -> Compiled:
    """Returns the compiled training step ``(state, batch, key) -> (state, metrics)`` on the current mesh.

    The state is donated. No array is allocated, so the model may be larger than the memory of this machine, and the mesh may
    consist of the devices of a description (`jaxresearch.scale.topology.tpu_devices`).

    Args:
        experiment: As for `step_shapes`.
        hyperparameters: As for `step_shapes`.
        dataset: As for `step_shapes`.

    Returns:
        The program, for its ``memory_analysis()``, ``cost_analysis()`` and ``as_text()``.

    Raises:
        ValueError: As `step_shapes`.

    Example:
        >>> from jaxresearch import loading
        >>> house = loading.load("house_prices")
        >>> step = compiled_step(house, house.hyperparameters, house.prepare(house.collect(house.source)))
        >>> step.memory_analysis().argument_size_in_bytes > 2930 * 4
        True
    """
    shapes = step_shapes(experiment, hyperparameters, dataset)
    program = experiments.program(experiment, dataset.of_run(0))

    def step(state: Any, batch: Any, key: Any) -> Any:
        return program.algorithm(hyperparameters).step(state, batch, key)

    current = get_mesh()
    if current.empty:
        kind, placed = jax.default_backend(), None
    else:
        kind = current.devices.flat[0].platform
        placed = jax.tree.map(lambda leaf: leaf.sharding, shapes.state), None
    options = _ON_CPU if kind == "cpu" else {}
    jitted = jax.jit(step, donate_argnums=0, keep_unused=True, out_shardings=placed, compiler_options=options)
    return jitted.lower(*shapes).compile()

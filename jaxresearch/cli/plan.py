"""``jaxresearch plan``: memory, work and communication of a training step on devices that need not exist."""

import contextlib
import dataclasses
import math
import re
from typing import Any

import jax
from rich.table import Table

from jaxresearch import devices
from jaxresearch.cli import compiled, display
from jaxresearch.cli.errors import CommandError
from jaxresearch.cli.loaded import meshed
from jaxresearch.cli.options import Options
from jaxresearch.cli.session import one_line, untrained
from jaxresearch.cli.spelling import pairs_text
from jaxresearch.cli.summary import note_on_loops, size_text, totals
from jaxresearch.cli.supervised import value_of
from jaxresearch.recording import Job
from jaxresearch.scale import plan as plans
from jaxresearch.scale import summary as summaries
from jaxresearch.scale import topology
from jaxresearch.scale.chips import CHIPS
from jaxresearch.scale.plan import StepCost


def plan(name: str, words: list[str]) -> int:
    """Carries out ``jaxresearch plan NAME WORDS...``; returns the exit code.

    Raises:
        CommandError: If the step does not fit into the memory (1), or after a user's mistake (2).
    """
    sizes = map(int, re.findall(r"=(\d+)", value_of(words, "--mesh") or ""))
    is_virtual = value_of(words, "--topology") is None
    configure(math.prod(sizes) if is_virtual else 1, keeps_programs=is_virtual)
    with one_line(name, code=2):
        options, job = untrained("plan", name, words)
        of_job = job.experiment, options.hyperparameters, job.dataset
        limit = options.hbm or (CHIPS[options.chip].memory if options.chip else None)
        with _meshed(options):
            if job.experiment.private:
                print(
                    "note: the step is planned without --private, which needs more memory, for the gradient of each example"
                )
            for line in totals(summaries.summary(*of_job)):
                print(line)
            cost = plans.step_cost(*of_job)
            _print_cost(cost, options, job)
            if options.largest_batch and limit is not None:
                _print_largest(options, job, limit)
    if limit is not None and cost.memory > limit:
        raise CommandError(
            f"the step must fit into {size_text(limit)} per device, got {size_text(cost.memory)}. Use more devices, a smaller "
            "batch, --accumulate or remat.",
            code=1,
        )
    return 0


def configure(n_devices: int, *, keeps_programs: bool) -> None:
    """Sets JAX up for a plan: virtual CPU devices in any number, which are never given an array to hold."""
    jax.config.update("jax_platforms", "cpu")
    devices.split_cpu(n_devices)
    if keeps_programs:
        compiled.keep()
    else:  # a program for devices that do not exist is written to the cache, but cannot be read
        jax.config.update("jax_enable_compilation_cache", False)
        # At full effort, libtpu takes four times as long; the memory differs by a few per cent.
        if jax.__version_info__ < (0, 12):  # later versions have no such option
            jax.config.update("jax_exec_time_optimization_effort", -1.0)


def _meshed(options: Options) -> contextlib.AbstractContextManager[Any]:
    """Returns the context in which the options' mesh is current."""
    sizes = dict(options.mesh)
    if options.topology is not None:
        return jax.set_mesh(devices.mesh_over(topology.tpu_devices(options.topology), **(sizes or {"data": -1})))
    return meshed(options)


def _print_cost(cost: StepCost, options: Options, job: Job) -> None:
    """Prints what one step needs."""
    batch = getattr(options.hyperparameters, "batch_size", 0) or job.dataset.n_train
    mesh = jax.sharding.get_mesh()
    n, axes = (1, "") if mesh.empty else (mesh.size, f" ({_axes(mesh)})")
    compiler = f"libtpu for {options.topology}" if options.topology else "XLA for CPUs"
    print(
        f"step: {f'{batch:,} examples' if batch else 'no data'} on {n:,} device{'s' * (n > 1)}{axes}, compiled by {compiler}"
    )
    print("on each device:")
    held = {"arguments": cost.arguments, "outputs": cost.outputs, "temporaries": cost.temporaries}
    parts = ", ".join(f"{name} {size_text(n_bytes)}" for name, n_bytes in held.items())
    print(f"  memory: {size_text(cost.memory)} ({parts})")
    print(f"  FLOPs: {cost.flops:.4g}, as XLA counts them{note_on_loops(cost.n_loops)}")
    print(f"  memory traffic: {size_text(cost.accessed)}, as XLA counts it")
    n_unknown = cost.communication.n_unknown_loops
    unknown = f"; {n_unknown} loops of unknown length count as one pass" if n_unknown else ""
    print(f"  sent to others: {size_text(cost.communication.n_bytes)}{unknown}")
    for kind, number, n_bytes in cost.communication.collectives:
        print(f"    {kind}: {number:,}, {size_text(n_bytes)}")
    if options.chip is not None:
        chip = CHIPS[options.chip]
        time = cost.time_on(chip)
        parts = ", ".join(f"{name} {_seconds(part)}" for name, part in time._asdict().items())
        print(f"least time of a step on {options.chip}: {_seconds(time.seconds)}, bound by {time.bound} ({parts})")
        print(f"peaks of {options.chip}: {chip.source}")
    else:
        print(f"least time of a step: unknown without a chip. Pass --chip {', '.join([*CHIPS][:-1])} or {[*CHIPS][-1]}")


def _print_largest(options: Options, job: Job, limit: float) -> None:
    """Prints the largest batch that fits, for each choice of remat."""
    chosen, policies = options.hyperparameters, plans.remat_policies(options.hyperparameters)
    table = Table(box=None, pad_edge=False)
    for name in (*(["remat"] if policies else []), "largest batch", "memory", *(["time"] if options.chip else [])):
        table.add_column(name, justify="left" if name == "remat" else "right")
    for policy in policies or (None,):
        settings = chosen if policy is None else dataclasses.replace(chosen, remat=policy)
        n_micro_batches = options.accumulate or 1
        size, cost = plans.largest_batch(
            job.experiment, settings, job.dataset, n_bytes=limit, n_micro_batches=n_micro_batches
        )
        is_all = size == job.dataset.n_train
        row = [f"{size:,}{' (all examples)' * is_all}" if cost else "none", size_text(cost.memory) if cost else ""]
        if options.chip is not None:
            row.append(_seconds(cost.time_on(CHIPS[options.chip]).seconds) if cost else "")
        table.add_row(*([] if policy is None else [policy]), *row)
    print(f"largest batch that fits into {size_text(limit)} per device:")
    display.console().print(table)


def _axes(mesh: Any) -> str:
    """Returns the axes of a mesh that split something, as on the command line."""
    return pairs_text([(name, size) for name, size in mesh.shape.items() if size > 1]) or "no axis"


def _seconds(seconds: float) -> str:
    """Returns a time with three significant digits."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"

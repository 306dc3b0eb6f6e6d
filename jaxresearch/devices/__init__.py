"""Devices as a mesh, and the placement of arrays on them.

Without a mesh of your own, runs are split over all devices. A mesh from `mesh`, made current with `jax.set_mesh`, also splits
each run: its batches over ``data`` and ``fsdp``, its state over ``fsdp`` and ``tensor`` (`jaxresearch.partitioning`).
"""

from jaxresearch.devices.batches import batch_sharding, n_shards, padded_size, spread, whole
from jaxresearch.devices.cpu import split_cpu
from jaxresearch.devices.lapack import factor_one_by_one
from jaxresearch.devices.meshes import AXES, AXIS, OF_BATCH, available, free_axes, mesh, mesh_of, mesh_over, no_mesh
from jaxresearch.devices.placement import fetch, gathered, place, put
from jaxresearch.devices.runs import axis_of_runs, mesh_for, runs_per_device

__all__ = [
    "AXES",
    "AXIS",
    "OF_BATCH",
    "available",
    "axis_of_runs",
    "batch_sharding",
    "factor_one_by_one",
    "fetch",
    "free_axes",
    "gathered",
    "mesh",
    "mesh_for",
    "mesh_of",
    "mesh_over",
    "n_shards",
    "no_mesh",
    "padded_size",
    "place",
    "put",
    "runs_per_device",
    "split_cpu",
    "spread",
    "whole",
]

factor_one_by_one()

"""Run directories: the only code that writes files."""

from jaxresearch.records.checkpoints import CheckpointError, Checkpoints, Keep, verify
from jaxresearch.records.environment import environment
from jaxresearch.records.plots import plot_sweep
from jaxresearch.records.run_directory import RunDirectory, read_json

__all__ = ["CheckpointError", "Checkpoints", "Keep", "RunDirectory", "environment", "plot_sweep", "read_json", "verify"]

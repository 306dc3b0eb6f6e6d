"""Run directories: the only code that writes files."""

from jaxresearch.records.checkpoints import save_checkpoint
from jaxresearch.records.environment import environment
from jaxresearch.records.plots import plot_sweep
from jaxresearch.records.run_directory import RunDirectory

__all__ = ["RunDirectory", "environment", "plot_sweep", "save_checkpoint"]

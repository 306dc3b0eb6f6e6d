"""Run directories: the only code that writes files."""

from jaxresearch.records.checkpoints import CheckpointError, Checkpoints, Keep, verify
from jaxresearch.records.environment import environment
from jaxresearch.records.initial import (
    INITIAL,
    INITIAL_DIGEST,
    digest_of,
    keep_params,
    kept_params,
    kept_state,
    read_params,
    vocabulary_of,
)
from jaxresearch.records.recorded import Recorded, read_run
from jaxresearch.records.run_directory import RunDirectory, command_of, differences, read_json, read_sealed, write_file
from jaxresearch.records.trackers import Tracking, tracking

__all__ = [
    "INITIAL",
    "INITIAL_DIGEST",
    "CheckpointError",
    "Checkpoints",
    "Keep",
    "Recorded",
    "RunDirectory",
    "Tracking",
    "command_of",
    "differences",
    "digest_of",
    "environment",
    "keep_params",
    "kept_params",
    "kept_state",
    "read_json",
    "read_params",
    "read_run",
    "read_sealed",
    "tracking",
    "verify",
    "vocabulary_of",
    "write_file",
]

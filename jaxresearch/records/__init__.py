"""Run directories: the only code that writes files."""

from jaxresearch.records.checkpoints import CheckpointError, Checkpoints, MismatchError, verify
from jaxresearch.records.commands import flag, resume_command, value_text, words_of
from jaxresearch.records.environment import environment, jax_settings
from jaxresearch.records.exported import FORMATS, Export, safetensors, stablehlo, write_export
from jaxresearch.records.files import json_types, read_checksummed, read_json, require_exists, write_file, written_table
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
from jaxresearch.records.noise import NOISE_ID, NOISE_KEY, noise_secret
from jaxresearch.records.predictions import ENDINGS, written_predictions
from jaxresearch.records.reads import digest_of_test_part, readers, recorded_test_part
from jaxresearch.records.recorded import EXPLANATIONS, Recorded, read_run
from jaxresearch.records.run_directory import (
    FITTED,
    SWEEP_TABLE,
    EndedError,
    RunDirectory,
    command_of,
    differences,
    last_file,
    open_directory,
    read_metrics,
    require_same_files,
    require_unfinished,
)
from jaxresearch.records.sources import (
    SOURCE,
    digests_of,
    experiment_of,
    folder_of,
    keep_sources,
    require_outside,
    sealed,
)
from jaxresearch.records.trackers import Tracking, tracking
from jaxresearch.records.trained import Ensemble, card_of, fitted_arrays, read_checkpoints, read_ensemble
from jaxresearch.records.trials import StudyFile, TrialsFile, round_as_record, settings_from_record

__all__ = [
    "ENDINGS",
    "EXPLANATIONS",
    "FORMATS",
    "FITTED",
    "INITIAL",
    "INITIAL_DIGEST",
    "NOISE_ID",
    "NOISE_KEY",
    "SOURCE",
    "SWEEP_TABLE",
    "CheckpointError",
    "Checkpoints",
    "EndedError",
    "Export",
    "Ensemble",
    "MismatchError",
    "Recorded",
    "RunDirectory",
    "StudyFile",
    "Tracking",
    "TrialsFile",
    "card_of",
    "command_of",
    "differences",
    "digest_of",
    "digest_of_test_part",
    "digests_of",
    "environment",
    "experiment_of",
    "jax_settings",
    "json_types",
    "fitted_arrays",
    "flag",
    "folder_of",
    "keep_params",
    "keep_sources",
    "kept_params",
    "kept_state",
    "noise_secret",
    "open_directory",
    "read_checkpoints",
    "read_checksummed",
    "read_ensemble",
    "read_json",
    "read_metrics",
    "last_file",
    "require_unfinished",
    "read_params",
    "read_run",
    "readers",
    "recorded_test_part",
    "require_exists",
    "require_same_files",
    "require_outside",
    "resume_command",
    "round_as_record",
    "safetensors",
    "sealed",
    "settings_from_record",
    "stablehlo",
    "tracking",
    "value_text",
    "verify",
    "vocabulary_of",
    "words_of",
    "write_export",
    "write_file",
    "written_predictions",
    "written_table",
]

"""``jaxresearch verify DIR --replay STEPS``: repeat the first steps of a run and compare them with its record."""

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxresearch import execution, loading, records
from jaxresearch.cli import resume, session
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.flags import taken
from jaxresearch.cli.loaded import cipher_of, load_data, meshed, shortened
from jaxresearch.cli.options import Options
from jaxresearch.cli.parsing import parse
from jaxresearch.cli.private import by_unit
from jaxresearch.execution import Outcome, Progress
from jaxresearch.recording import Job, runs
from jaxresearch.recording.lines import values_of
from jaxresearch.records.files import json_types

_REPLAY = "--replay"


class _EnoughError(Exception):
    """The requested number of steps has been repeated."""


class _DiffersError(Exception):
    """A value differs from the record; the message is one line."""


def verify(words: list[str]) -> int:
    """Carries out ``jaxresearch verify WORDS...``; returns the exit code, 1 if a file or a step differs from the record."""
    with session.one_line(words[0], code=2):
        rest = [*words]
        text = taken(rest, _REPLAY, "a number of steps", "100")
        experiment = taken(rest, "--experiment", "a file", "my.py")
        if len(rest) != 1 or rest[0].startswith("-"):
            raise UsageError(
                f"verify takes one directory and {_REPLAY} STEPS, got {' '.join(words)}. Write: jaxresearch verify DIR"
            )
        n_steps = 0 if text is None else int(text) if text.isdecimal() else -1
        if n_steps < (text is not None):
            raise UsageError(f"{_REPLAY} must be 1 step or more, got {text}. Write: {_REPLAY} 100")
    path = Path(rest[0])
    failed = resume.verify(path)
    return failed or (replay(path, n_steps, experiment=experiment) if n_steps else 0)


def replay(path: Path, n_steps: int, *, experiment: str | None = None) -> int:
    """Repeats the first steps of a run and prints the comparison; returns 1 at the first difference, else 0.

    Args:
        path: The run's directory.
        n_steps: Number of steps, rounded up to whole chunks.
        experiment: The experiment's file, in place of the recorded one.
    """
    session.configure()
    with contextlib.ExitStack() as held, session.one_line(str(path), code=2):
        config = resume.config_in(path)
        if records.command_of(config) != "run" or config.get("init_from") is not None:
            raise UsageError(
                f"{_REPLAY} needs a run, not a sweep or study, that started without --init-from, got {path}. Leave it out."
            )
        resume.set_up_as_before(path)
        file, line = records.experiment_of(path, config, named=experiment)
        path = Path(os.path.abspath(path))
        held.enter_context(contextlib.chdir(records.folder_of(config)))
        job, options = _job(file, config, path)
        held.enter_context(meshed(options))
        checked = _Recorded(path, len(job.seeds), n_steps)
        try:
            outcome = _repeated(job, checked)
            checked.step = outcome.step
            n_arrays = _require_same_state(path, job, options, outcome)
            final = f"; the {n_arrays} arrays of the final state match checkpoints/{outcome.step}"
        except _EnoughError:
            final = ""
        except _DiffersError as difference:
            print(f"replayed: {difference}")
            return 1
    if line is not None:
        print(line)
    whole = ", since chunks are replayed whole" if checked.step > n_steps else ""
    print(
        f"replayed steps 1 to {checked.step}{whole}: {checked.n_values:,} values match metrics.jsonl bit for bit{final}"
    )
    return 0


def _job(file: str, config: dict[str, Any], path: Path) -> tuple[Job, Options]:
    """Returns the job of a run from its configuration."""
    experiment = loading.load(file)
    options = parse(experiment, resume.words_in(config, path))
    options = shortened(options) if options.smoke else options
    experiment = dataclasses.replace(by_unit(experiment, options), hyperparameters=options.hyperparameters)
    loaded = load_data(experiment, options, cipher_of(options))
    records.require_same_files(path, config, {"data_card": dataclasses.asdict(loaded.dataset.card)})
    of_run = runs.skipping(experiment) if options.on_nonfinite == "skip" else experiment
    secret = records.noise_secret(path, cipher=cipher_of(options)) if options.private else None
    return session.job_of(of_run, options, loaded, secret=secret), options


def _repeated(job: Job, checked: "_Recorded") -> Outcome:
    """Returns the outcome of the whole run; each chunk is compared as soon as it is computed."""
    return execution.execute(
        job.experiment,
        job.hyperparameters,
        job.dataset,
        seeds=job.seeds,
        evaluate_every=job.evaluate_every,
        observe=checked.compare,
    )


class _Recorded:
    """The lines of ``metrics.jsonl``, compared with chunks up to a number of steps."""

    def __init__(self, path: Path, n_runs: int, n_steps: int):
        self._lines: dict[int, dict[str, Any]] = {}
        for line in records.read_metrics(path / "metrics.jsonl"):
            self._lines.setdefault(line["step"], {}).update(line)
        self._n_runs, self._n_steps = n_runs, n_steps
        self.step = self.n_values = 0

    def compare(self, progress: Progress) -> None:
        """Raises `_DiffersError` at the first value that differs from the record, and `_EnoughError` after the last step."""
        line = self._lines.get(progress.step)
        if line is None:
            raise _DiffersError(f"step {progress.step} is missing from metrics.jsonl.")
        trained, validated = values_of(progress, self._n_runs)
        for name, values in json.loads(json.dumps(json_types(trained | validated))).items():
            if line.get(name) != values:
                raise _DiffersError(f"step {progress.step}: {name} is {line.get(name)} on record and {values} now.")
            self.n_values += int(np.size(values))
        self.step = progress.step
        if self._n_steps <= progress.step < progress.n_steps:
            raise _EnoughError


def _require_same_state(path: Path, job: Job, options: Options, outcome: Outcome) -> int:
    """Returns the number of arrays of the final state; raises `_DiffersError` if one differs from the checkpoint."""
    found = records.Checkpoints(path, cipher=cipher_of(options)).restore(job.blank_state)
    if found is None or found.step != outcome.step:
        raise _DiffersError(f"the run ended after step {outcome.step}, whose state is not in {path / 'checkpoints'}.")
    recorded = jax.tree_util.tree_leaves_with_path(found.state)
    for (place, before), now in zip(recorded, jax.tree.leaves(outcome.state), strict=True):
        if np.asarray(_bits(before)).tobytes() != np.asarray(_bits(now)).tobytes():
            name = jax.tree_util.keystr(place).lstrip(".")
            raise _DiffersError(f"{name} of the final state differs from that of checkpoints/{outcome.step}.")
    return len(recorded)


def _bits(leaf: Any) -> Any:
    """Returns an array; for typed random keys, their key data."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

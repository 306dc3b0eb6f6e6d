"""Trials and rounds in JSON's types, and the files from which a sweep or a study resumes."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxresearch.adjust import History, Round, Trial
from jaxresearch.hyperparameters import check
from jaxresearch.records.files import read_checksummed
from jaxresearch.records.run_directory import STUDY, TRIALS, RunDirectory


def settings_from_record(record: dict[str, Any], default: Any) -> Any:
    """Returns the hyperparameters of a record; missing fields have the default values."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in record.items()}
    return dataclasses.replace(default, **fields)


class TrialsFile:
    """``trials.json`` of a sweep: its trials by digest.

    Args:
        directory: Of the sweep.
        default: Hyperparameters of the experiment.
    """

    def __init__(self, directory: RunDirectory, default: Any):
        path = directory.path / TRIALS
        records = read_checksummed(path)["trials"] if path.is_file() else []
        self._directory = directory
        self.known = {record["digest"]: _trial_from_record(record, default) for record in records}

    def add(self, trials: Sequence[Trial]) -> None:
        """Writes further trials, each with its digest."""
        self.known |= {trial.digest: trial for trial in trials}
        content = {"trials": [_as_record(trial) for trial in self.known.values()]}
        self._directory.write_checksummed(TRIALS, content)


class StudyFile:
    """``study.json`` of a study: its rounds, those set aside, the trials of the current round, and the outcome.

    Args:
        directory: Of the study.
        default: Hyperparameters of the experiment.

    Attributes:
        history: The rounds to resume from.
        known: Other trials, which need not be retrained.
        why: Why the search ended; None until then.
        best: The chosen settings; None until then.
    """

    def __init__(self, directory: RunDirectory, default: Any):
        path = directory.path / STUDY
        content = read_checksummed(path) if path.is_file() else {}
        self._directory = directory
        self._rounds, self._loose = content.get("rounds", []), content.get("under_way", [])
        self._end = {name: content[name] for name in ("why", "best") if name in content}
        set_aside = [trial for record in self._rounds if record["set_aside"] for trial in record["trials"]]
        self.history = tuple(_round_from_record(record, default) for record in self._rounds if not record["set_aside"])
        self.known = [_trial_from_record(record, default) for record in (*set_aside, *self._loose)]
        self.why: str | None = self._end.get("why")
        self.best = settings_from_record(self._end["best"], default) if self._end else None

    def add(self, trials: Sequence[Trial]) -> None:
        """Writes trials of the current round."""
        self._loose = [*self._loose, *map(_as_record, trials)]
        self._write()

    def keep(self, history: History) -> None:
        """Writes the rounds; recorded ones that were rerun differently are set aside, so nothing is lost."""

        def identity(record: dict[str, Any]) -> tuple[Any, ...]:
            return record["differentiate"], *(trial["digest"] for trial in record["trials"])

        rounds = [round_as_record(one) for one in history]
        current = [identity(record) for record in rounds]
        others = [{**record, "set_aside": True} for record in self._rounds if identity(record) not in current]
        self._rounds = rounds + others
        in_rounds = {trial["digest"] for record in self._rounds for trial in record["trials"]}
        self._loose = [trial for trial in self._loose if trial["digest"] not in in_rounds]
        self._write()

    def close(self, history: History, why: str, best: Any) -> None:
        """Writes how the search ended."""
        self._end = {"why": why, "best": dataclasses.asdict(best)}
        self.keep(history)

    def _write(self) -> None:
        content = {"rounds": self._rounds, "under_way": self._loose, **self._end}
        self._directory.write_checksummed(STUDY, content)


def round_as_record(one: Round) -> dict[str, Any]:
    """Returns a round in JSON's types."""
    trials = [_as_record(trial) for trial in one.trials]
    return {**one._asdict(), "trials": trials, "scores": list(one.scores), "set_aside": False}


def _round_from_record(record: dict[str, Any], default: Any) -> Round:
    """Returns the round of a record."""
    trials = tuple(_trial_from_record(trial, default) for trial in record["trials"])
    scores = tuple(-np.inf if value is None else value for value in record["scores"])
    return Round(record["why"], trials, scores, record["differentiate"], record["replayable"], record["seconds"])


def _as_record(trial: Trial) -> dict[str, Any]:
    """Returns a trial in JSON's types."""
    gradient = None if trial.gradient is None else dataclasses.asdict(trial.gradient)
    return {**trial._asdict(), "hyperparameters": dataclasses.asdict(trial.hyperparameters), "gradient": gradient}


def _trial_from_record(record: dict[str, Any], default: Any) -> Trial:
    """Returns the trial of a record with checked hyperparameters; null is a metric that was not finite."""
    settings = settings_from_record(record["hyperparameters"], default)
    check(settings)
    exact = jax.dtypes.canonicalize_dtype(np.float64)  # the type in which they were computed
    metrics = {name: np.array(values, exact) for name, values in record["metrics"].items()}
    gradient = _gradient(settings, record["gradient"], exact)
    return Trial(settings, metrics, record["diverged"], gradient, record["digest"])


def _gradient(settings: Any, record: dict[str, Any] | None, exact: Any) -> Any:
    """Returns the gradient of a record, in the structure of its hyperparameters."""
    if record is None:
        return None
    slopes: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        if field.metadata.get("static"):
            continue
        slope = np.array(record[field.name], exact)  # of a tuple: one row per entry
        slopes[field.name] = tuple(slope) if isinstance(getattr(settings, field.name), tuple) else slope
    return dataclasses.replace(settings, **slopes)

"""A finished run with the data that it was trained and tested on, for the commands that look at its models again."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxresearch import loading, records
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.loaded import Loaded, as_trained_on, cipher_of, load_data, shortened
from jaxresearch.cli.options import Options
from jaxresearch.cli.parsing import parse
from jaxresearch.cli.resume import words_in
from jaxresearch.data import DataCard, Dataset
from jaxresearch.experiment import Experiment


class Reopened(NamedTuple):
    """A run with its data, read again.

    Attributes:
        run: Its record.
        experiment: From its file.
        options: Of the command, with the settings and the seeds of the result.
        cipher: Decrypts its states; None if they are not encrypted.
        loaded: Its data, as for the command itself.
        collected: As collected, with the same examples as ``loaded.dataset`` (of the first run, if they differ).
        line: A line to print if the experiment's file has changed since, or None.
    """

    run: records.Recorded
    experiment: Experiment
    options: Options
    cipher: Any
    loaded: Loaded
    collected: Dataset
    line: str | None

    def models(self) -> records.Ensemble:
        """Returns the trained models, after checking that the data are those of the run."""
        models = records.read_ensemble(self.run.path, cipher=self.cipher, experiment=self.experiment)
        if _identity(self.loaded.dataset.card) != _identity(models.dataset.card):
            raise UsageError(f"the data of {self.run.path} must be those of the run, got changed ones. Restore them.")
        return models


def reopened(run: records.Recorded, named: str | None) -> Reopened:
    """Returns a finished run with its data; call it in the folder of the run, within `there`.

    Args:
        run: Its record, with an absolute path.
        named: The experiment's file, if it is not that of the run.

    Raises:
        ValueError: If the data or the experiment are missing or do not fit.
    """
    file, line = records.experiment_of(run.path, run.config, named=named)
    experiment = loading.load(file)
    words, command = words_in(run.config, run.path), records.command_of(run.config)
    options = _as_chosen(parse(experiment, words, command=command), run.result)
    cipher = cipher_of(options)
    loaded = load_data(experiment, options, cipher)
    return Reopened(run, experiment, options, cipher, loaded, as_trained_on(options, loaded.collected), line)


@contextlib.contextmanager
def there(run: records.Recorded) -> Iterator[records.Recorded]:
    """Works in the folder of a run, from which its experiment may read data, and yields the run with an absolute path."""
    absolute = dataclasses.replace(run, path=Path(os.path.abspath(run.path)))
    with contextlib.chdir(records.folder_of(run.config)):
        yield absolute


def _identity(card: DataCard) -> DataCard:
    """Returns a card without the type of the features, which an earlier version lacked, and notes, which it worded otherwise."""
    columns = tuple(dataclasses.replace(column, note="") for column in card.columns)
    target = card.target and dataclasses.replace(card.target, note="")
    return dataclasses.replace(card, feature_dtype="", notes=(), columns=columns, target=target)


def _as_chosen(options: Options, result: dict[str, Any]) -> Options:
    """Returns the options with the settings and the seeds of the result."""
    options = shortened(options) if options.smoke else options
    settings = records.settings_from_record(result.get("hyperparameters", {}), options.hyperparameters)
    seeds = tuple(result.get("seeds") or range(result["n_seeds"]))  # version 0.1 recorded their number
    return dataclasses.replace(options, seeds=seeds, hyperparameters=settings)

"""A finished run with the data that it was trained and tested on, for the commands that look at its models again."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxresearch import data, loading, records
from jaxresearch.cli.errors import UsageError
from jaxresearch.cli.loaded import Loaded, as_trained_on, cipher_of, load_data, shortened
from jaxresearch.cli.options import Options
from jaxresearch.cli.parsing import parse
from jaxresearch.cli.resume import words_in
from jaxresearch.data import DataCard, Dataset
from jaxresearch.data.parts import Part
from jaxresearch.experiment import Experiment

_PARTS = {"train": "training"}  # as a page names them


class Reopened(NamedTuple):
    """A run with its data, read again.

    Attributes:
        run: Its record.
        experiment: From its file.
        options: Of the command, with the settings and the seeds of the result.
        cipher: Decrypts its states; None if they are not encrypted.
        loaded: Its data, as for the command itself.
        collected: As collected, with the same examples as ``loaded.dataset`` (of the first run, if they differ).
        numbered: ``loaded.dataset`` with the number of each example in its source, if known: `jaxresearch.data.numbered`.
        whole: ``loaded.whole`` with these numbers.
        line: A line to print if the experiment's file has changed since, or None.
    """

    run: records.Recorded
    experiment: Experiment
    options: Options
    cipher: Any
    loaded: Loaded
    collected: Dataset
    numbered: Dataset
    whole: Dataset
    line: str | None

    def models(self) -> records.Ensemble:
        """Returns the trained models, after checking that the data are those of the run."""
        models = records.read_ensemble(self.run.path, cipher=self.cipher, experiment=self.experiment)
        if _identity(self.loaded.dataset.card) != _identity(models.dataset.card):
            raise UsageError(f"the data of {self.run.path} must be those of the run, got changed ones. Restore them.")
        return models

    def name(self, part: str, place: int, *, run: int = 0) -> str:
        """Returns the name of an example: its row in the user's data if that is known, else its place in the part.

        Args:
            part: Such as ``"test"``.
            place: Its index in that part.
            run: The index of the run, if each has its own data.
        """
        number, card, shown = self._number(part, place, run), self.loaded.dataset.card, _PARTS.get(part, part)
        if number is None:
            return f"example {place} of the {shown} part"
        if card.split.fraction is None and not self.options.test:
            return f"example {number} of the {shown} part"  # as in the source
        second = f" of {Path(self.options.test).name}" if self.options.test and part == "test" else ""
        return f"row {number + 1}{second}"

    def row(self, part: str, place: int, *, run: int = 0) -> tuple[Part, int] | None:
        """Returns the part of the collected data that has an example, and its index there; None if that is not known.

        Args:
            part: As for `name`.
            place: As for `name`.
            run: As for `name`.
        """
        number, parts = self._number(part, place, run), self.whole.parts()
        is_own = self.loaded.dataset.card.split.fraction is None  # then each part has its own numbers
        for held in () if number is None else [parts[part]] if is_own else parts.values():
            found = np.flatnonzero(held.get(data.NUMBERS, np.zeros(0)) == number)
            if len(found) == 1:
                return held, int(found[0])
        return None

    def _number(self, part: str, place: int, run: int) -> int | None:
        """Returns the number of an example in its source; None if it is not known, or the parts of a source were joined."""
        numbers = self.numbered.of_run(run).parts()[part].get(data.NUMBERS)
        card = self.loaded.dataset.card
        is_joined = card.in_sample or self.options.folds > 0
        return None if numbers is None or (card.split.fraction is None and is_joined) else int(numbers[place])


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
    with data.numbered():
        found = load_data(experiment, options, cipher)
    plain = {name: data.without_numbers(getattr(found, name)) for name in ("collected", "dataset", "whole")}
    loaded = found._replace(**plain)
    collected = as_trained_on(options, loaded.collected)
    return Reopened(run, experiment, options, cipher, loaded, collected, found.dataset, found.whole, line)


@contextlib.contextmanager
def there(run: records.Recorded) -> Iterator[records.Recorded]:
    """Works in the folder of a run, from which its experiment may read data, and yields the run with an absolute path."""
    absolute = dataclasses.replace(run, path=Path(os.path.abspath(run.path)))
    with contextlib.chdir(records.folder_of(run.config)):
        yield absolute


def _identity(card: DataCard) -> DataCard:
    """Returns a card without the form of the features, which earlier versions lacked, and notes, which they worded otherwise."""
    columns = tuple(dataclasses.replace(column, note="") for column in card.columns)
    target = card.target and dataclasses.replace(card.target, note="")
    return dataclasses.replace(card, feature_dtype="", feature_arrays=(), notes=(), columns=columns, target=target)


def _as_chosen(options: Options, result: dict[str, Any]) -> Options:
    """Returns the options with the settings and the seeds of the result."""
    options = shortened(options) if options.smoke else options
    settings = records.settings_from_record(result.get("hyperparameters", {}), options.hyperparameters)
    seeds = tuple(result.get("seeds") or range(result["n_seeds"]))  # version 0.1 recorded their number
    return dataclasses.replace(options, seeds=seeds, hyperparameters=settings)

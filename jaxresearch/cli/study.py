"""``jaxresearch study``: the research loop, from the plain settings to a decided claim."""

import dataclasses
import shlex
import sys
import time
from typing import Any

import numpy as np
from rich.table import Table

from jaxresearch import data, loading, records, statistics, studies
from jaxresearch.adjust import History, Round, Trial
from jaxresearch.cli import display
from jaxresearch.cli.interrupts import EXIT_CODE, Interrupted, interruptible
from jaxresearch.cli.options import Options, UsageError, parse_study
from jaxresearch.cli.run import (
    collected_and_preprocessed,
    configure,
    held_out,
    named_directory,
    opened_directory,
    report,
    result_of,
    told,
    write_outcome,
)
from jaxresearch.cli.saving import cipher_of
from jaxresearch.cli.trials import as_record, from_record, setting_of
from jaxresearch.data import Dataset
from jaxresearch.execution import provenance
from jaxresearch.experiment import Experiment
from jaxresearch.reports import wording
from jaxresearch.reports.wording import words_of
from jaxresearch.studies import Budget, Conclusion, Search


def study(name: str, words: list[str]) -> int:
    """Carries out ``jaxresearch study NAME WORDS...``; returns the exit code."""
    configure()
    try:
        experiment = loading.load(name)
        if experiment.adjust is None:
            raise UsageError(
                f"experiment must declare adjust to be studied; {name} does not. Write: adjust=adjust.grid(...)"
            )
        options, budget = parse_study(experiment, words, prog=f"jaxresearch study {name}")
        declared = experiment
        experiment = dataclasses.replace(experiment, hyperparameters=options.hyperparameters)
        cipher, start = cipher_of(options), time.perf_counter()
        collected, dataset = collected_and_preprocessed(experiment, options, cipher)
        load_seconds = time.perf_counter() - start
        held_out(dataset, [options.hyperparameters])
        asked = {"experiment": name, "study": budget._asdict()}
        path = named_directory(options, name, kind="-study")
        directory = opened_directory(path, asked, options, dataset)
        record = _Record.of(directory, experiment)
        searched = record.closed(dataset, budget)
    except Exception as error:
        return told(error, name, code=2)
    try:
        with interruptible() as came, display.Display(display.console()) as shown:

            def observe(progress: Any) -> None:
                if came:
                    raise Interrupted
                shown.show(progress)

            if searched is None:
                searched = studies.search(
                    experiment,
                    dataset,
                    budget=budget,
                    history=record.history,
                    known=record.known,
                    observe=observe,
                    on_trials=record.add,
                    on_round=record.keep,
                )
                record.close(searched)  # from here on the test part is read: nothing is adjusted any more
            conclusion = studies.conclude(experiment, dataset, searched, budget=budget, observe=observe)
            options = dataclasses.replace(options, seeds=budget.fresh_seeds, hyperparameters=conclusion.best)
            result = result_of(name, experiment, options, conclusion.outcome, load_seconds, (collected, dataset))
            result["hyperparameters"] = dataclasses.asdict(conclusion.best)
            result["seeds"] = list(range(budget.seeds, budget.seeds + budget.fresh_seeds))
            result["gain"] = _gain(experiment, conclusion)
            directory.write_text_file("study.md", _story(declared, conclusion, result, name, options, dataset))
            checkpoints = records.Checkpoints(path, cipher=cipher)
            write_outcome(
                directory, checkpoints, result, conclusion.outcome
            )  # last: a result says that the study has ended
    except Interrupted:
        if directory.is_new and not record.is_there:
            directory.discard()
            raise
        print(f"jaxresearch: interrupted; go on with: {wording.resume_command(path)}", file=sys.stderr)
        return EXIT_CODE
    except Exception as error:
        return told(error, name, code=1)
    table = Table(*wording.round_headings(experiment.claim.evaluated))
    for line in _rounds(experiment, conclusion):
        table.add_row(*line)
    display.console().print(table)
    if result["gain"] is not None:
        display.console().print(f"gain: {wording.gain_line(result['gain'])}", soft_wrap=True)
    report(result, directory)
    return 0


def _gain(experiment: Experiment, conclusion: Conclusion) -> dict[str, Any] | None:
    """Returns how far the chosen setting lies from the plain ones on the test part, in pairs of the same seed."""
    if conclusion.plain is None:
        return None
    metric = experiment.claim.evaluated
    pair = (conclusion.outcome.metrics[metric], conclusion.plain.metrics[metric])
    if not np.isfinite(pair).all():
        return None
    difference = statistics.paired_difference(*pair)
    return {"metric": f"test/{metric}", "mean": difference.mean, "ci95": [difference.low, difference.high]}


class _Record:
    """``study.json``: the rounds, those that were set aside, the trials of a round under way, and how the search ended."""

    _NAME = "study.json"

    def __init__(self, directory: records.RunDirectory, experiment: Experiment, content: dict[str, Any]):
        self._directory, self._experiment = directory, experiment
        self._rounds, self._loose = content.get("rounds", []), content.get("under_way", [])
        self._end = {name: content[name] for name in ("why", "best") if name in content}
        self.history = tuple(_from_record(made, experiment) for made in self._rounds if not made["set_aside"])
        set_aside = [trial for made in self._rounds if made["set_aside"] for trial in made["trials"]]
        self.known = [from_record(trial, experiment) for trial in (*set_aside, *self._loose)]

    @classmethod
    def of(cls, directory: records.RunDirectory, experiment: Experiment) -> "_Record":
        """Returns what a directory holds, or an empty record."""
        made = cls(directory, experiment, {})
        return cls(directory, experiment, records.read_sealed(directory.path / cls._NAME)) if made.is_there else made

    @property
    def is_there(self) -> bool:
        """Whether anything was recorded."""
        return (self._directory.path / self._NAME).is_file()

    def closed(self, dataset: Dataset, budget: Budget) -> Search | None:
        """Returns how the search ended, if it did: then the test part may have been read, and nothing is adjusted."""
        if not self._end:
            return None
        best, development = setting_of(self._end["best"], self._experiment.hyperparameters), data.development(dataset)
        (now,) = provenance.digests(self._experiment, [best], development, seeds=range(budget.seeds))
        if now not in {trial.digest for made in self.history for trial in made.trials}:
            raise UsageError(
                f"experiment must be as it was when the search in {self._directory.path} ended, since the test part may have "
                "been read; its program is another. Restore it, or name another --directory."
            )
        return Search(self.history, self._end["why"], best)

    def add(self, trials: tuple[Trial, ...]) -> None:
        """Keeps the trials of a round under way."""
        self._loose = [*self._loose, *map(as_record, trials)]
        self._write()

    def keep(self, history: History) -> None:
        """Keeps the rounds, and, set aside, those of earlier ones that were made again: nothing is lost."""

        def of(record: dict[str, Any]) -> tuple[Any, ...]:
            return record["differentiate"], *(trial["digest"] for trial in record["trials"])

        rounds = [_as_record(made) for made in history]
        made = [of(record) for record in rounds]
        self._rounds = rounds + [{**record, "set_aside": True} for record in self._rounds if of(record) not in made]
        of_rounds = {trial["digest"] for record in self._rounds for trial in record["trials"]}
        self._loose = [trial for trial in self._loose if trial["digest"] not in of_rounds]
        self._write()

    def close(self, searched: Search) -> None:
        """Keeps how the search ended."""
        self._end = {"why": searched.why, "best": dataclasses.asdict(searched.best)}
        self.keep(searched.history)

    def _write(self) -> None:
        self._directory.write_sealed(self._NAME, {"rounds": self._rounds, "under_way": self._loose, **self._end})


def _as_record(made: Round) -> dict[str, Any]:
    """Returns a round in JSON's types."""
    return {
        **made._asdict(),
        "trials": [as_record(trial) for trial in made.trials],
        "scores": list(made.scores),
        "set_aside": False,
    }


def _from_record(record: dict[str, Any], experiment: Experiment) -> Round:
    """Returns the round of a record."""
    trials = tuple(from_record(trial, experiment) for trial in record["trials"])
    scores = tuple(-np.inf if value is None else value for value in record["scores"])
    return Round(record["why"], trials, scores, record["differentiate"], record["replayable"], record["seconds"])


def _rounds(experiment: Experiment, conclusion: Conclusion) -> list[tuple[str, ...]]:
    """Returns one line a round, told against the plain settings of the experiment."""
    plain, chosen = (dataclasses.asdict(setting) for setting in (experiment.hyperparameters, conclusion.best))
    made = [_as_record(one) for one in conclusion.history]
    return wording.round_rows(made, experiment.claim.evaluated, plain=plain, chosen=chosen)


def _story(
    experiment: Experiment,
    conclusion: Conclusion,
    result: dict[str, Any],
    name: str,
    options: Options,
    dataset: Dataset,
) -> str:
    """Returns ``study.md``: what was asked, tried, chosen and decided; the experiment is as its file declares it."""
    has_own = dataset.validation is not None
    is_same = data.digest(dataset.train) == data.digest(dataset.test)
    unread = (
        "holds the training part's examples: it describes them, and forecasts nothing" if is_same else "was not read"
    )
    validation = "the data's own validation part" if has_own else "validation data held out of the training part"
    n, trained_on = options.train_examples, "the training data" if has_own else "all training data"
    if n is not None:
        trained_on = f"{n:,} training examples, drawn at random,"
    of_source = {
        "data": (options.data, experiment.source),
        "target": (options.target, experiment.target),
        "train_examples": (n, None),
    }
    source = words_of({option: asked for option, (asked, plain) in of_source.items() if asked != plain})
    plain, best = (dataclasses.asdict(setting) for setting in (experiment.hyperparameters, conclusion.best))
    changes = words_of({name: value for name, value in best.items() if value != plain[name]})
    lines = [
        f"# {experiment.question}",
        "",
        f"Claim: {experiment.claim.text}. Verdict: **{result['claim']['verdict']}** ({result['claim']['because']}).",
        "",
        "## What was tried",
        "",
        f"Settings were compared on {validation}. The test part {unread}.",
        "",
        f"| {' | '.join(wording.round_headings(experiment.claim.evaluated))} |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(line)} |" for line in _rounds(experiment, conclusion)),
        "",
        f"Adjusting ended since {conclusion.why}.",
        "",
        "## What was chosen and decided",
        "",
        f"Chosen: {f'`{shlex.join(changes)}`' if changes else 'the plain settings'}, trained anew on {trained_on} with "
        f"{result['n_seeds']} fresh seeds ({result['seeds'][0]} to {result['seeds'][-1]}); the test part was read after the "
        "last adjustment.",
        "",
        *([f"Gain: {wording.gain_line(result['gain'])}.", ""] if result["gain"] is not None else []),
        "| metric | mean | 95 % interval | n |",
        "|---|---|---|---|",
    ]
    for metric, summary in result["metrics"].items():
        mean, interval = wording.mean_text(summary["mean"]), wording.interval_text(*summary["ci95"])
        lines.append(f"| {metric} | {mean} | {interval} | {len(summary['values'])} |")
    if result["report"] is not None:
        lines += ["", f"With the first of these seeds: {result['report']}"]
    again = shlex.join(["jaxresearch", "run", name, "--seeds", str(result["n_seeds"]), *source, *changes])
    return "\n".join([*lines, "", f"Again with seeds 0 to {result['n_seeds'] - 1}: `{again}`", ""])

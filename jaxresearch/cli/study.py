"""``jaxresearch study``: the research loop, from the plain settings to a decided claim."""

import dataclasses
import sys
import time
from typing import Any

import numpy as np
from rich.table import Table

from jaxresearch import experiment as experiments
from jaxresearch import records, statistics, studies
from jaxresearch.adjust import History, Round
from jaxresearch.cli import display
from jaxresearch.cli.interrupts import EXIT_CODE, Interrupted, interruptible
from jaxresearch.cli.options import UsageError, as_words, options_among, parse
from jaxresearch.cli.run import (
    collected_and_preprocessed,
    configure,
    held_out,
    named_directory,
    opened_directory,
    report,
    result_of,
    resume_command,
    told,
    write_outcome,
)
from jaxresearch.cli.saving import cipher_of
from jaxresearch.cli.trials import as_record, from_record
from jaxresearch.experiment import Experiment
from jaxresearch.studies import Budget, Conclusion


def study(name: str, words: list[str]) -> int:
    """Carries out ``jaxresearch study NAME WORDS...``; returns the exit code."""
    configure()
    try:
        experiment = experiments.load(name)
        if experiment.adjust is None:
            raise UsageError(
                f"experiment must declare adjust to be studied; {name} does not. Write: adjust=adjust.grid(...)"
            )
        budget, rest = _budget(words)
        options = dataclasses.replace(parse(experiment, rest, prog=f"jaxresearch study {name}"), seeds=budget.seeds)
        if options.smoke:
            raise UsageError("a study must be whole; got --smoke. Try the experiment by run --smoke.")
        experiment = dataclasses.replace(experiment, hyperparameters=options.hyperparameters)
        start = time.perf_counter()
        collected, dataset = collected_and_preprocessed(experiment, options)
        load_seconds = time.perf_counter() - start
        held_out(options, dataset, [options.hyperparameters])
        asked = {"experiment": name, "study": budget._asdict()}
        path, cipher = named_directory(options, name, kind="-study"), cipher_of(options)
        directory = opened_directory(path, asked, options, dataset, what="study")
        recorded = _recorded(directory)
        history = tuple(_from_record(made, experiment) for made in recorded if not made["set_aside"])
    except Exception as error:
        return told(error, name, code=2)
    try:
        with interruptible() as came, display.Display(display.console()) as shown:

            def keep(history: History) -> None:
                directory.write("study.json", {"rounds": _records(history, recorded)})

            def observe(progress: Any) -> None:
                if came:
                    raise Interrupted
                shown.show(progress)

            conclusion = studies.study(
                experiment, dataset, budget=budget, history=history, observe=observe, on_round=keep
            )
        options = dataclasses.replace(options, seeds=budget.fresh_seeds, hyperparameters=conclusion.best)
        result = result_of(name, experiment, options, conclusion.outcome, load_seconds, (collected, dataset))
        result["hyperparameters"] = dataclasses.asdict(conclusion.best)
        result["seeds"] = list(range(budget.seeds, budget.seeds + budget.fresh_seeds))
        result["gain"] = _gain(experiment, conclusion)
        rounds = _records(conclusion.history, recorded)
        directory.write("study.json", {"rounds": rounds, "why": conclusion.why, "best": result["hyperparameters"]})
        directory.write_text_file("study.md", _story(experiment, conclusion, result, name))
        checkpoints = records.Checkpoints(path, cipher=cipher)
        write_outcome(
            directory, checkpoints, result, conclusion.outcome
        )  # last: a result says that the study has ended
    except Interrupted:
        print(f"jaxresearch: interrupted; go on with: {resume_command(path)}", file=sys.stderr)
        return EXIT_CODE
    except Exception as error:
        return told(error, name, code=1)
    display.console().print(_rounds_table(experiment, conclusion))
    if result["gain"] is not None:
        display.console().print(f"gain: {_gain_line(result['gain'])}", soft_wrap=True)
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


def _gain_line(gain: dict[str, Any]) -> str:
    """Returns the gain in a few words."""
    mean, low, high = (f"{value:+.4f}" for value in (gain["mean"], *gain["ci95"]))
    return f"{gain['metric']} {mean} against the plain settings (95 % interval {low} to {high}, paired by seed)"


def _budget(words: list[str]) -> tuple[Budget, list[str]]:
    """Returns the budget that the words give, and the other words."""
    values: dict[str, Any] = {}
    rest = []
    for field, word, value in options_among(words, Budget._fields):
        if field is None:
            rest.append(word)
            continue
        default = Budget._field_defaults[field]
        try:
            values[field] = type(default)(value)
        except ValueError:
            raise UsageError(f"{field} must be a number; got {value!r}. Write: {word} {default}") from None
        if not values[field] > 0:
            raise UsageError(f"{field} must be positive; got {value}. Write: {word} {default}")
    return Budget(**values), rest


def _recorded(directory: records.RunDirectory) -> list[dict[str, Any]]:
    """Returns the records of the rounds that a directory holds."""
    return directory.read("study.json")["rounds"] if (directory.path / "study.json").is_file() else []


def _records(history: History, before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the records of the rounds, and, set aside, those of earlier ones that were made again: nothing is lost."""

    def of(record: dict[str, Any]) -> list[str]:
        return [trial["digest"] for trial in record["trials"]]

    rounds = [_as_record(made) for made in history]
    made = [of(record) for record in rounds]
    return rounds + [{**record, "set_aside": True} for record in before if of(record) not in made]


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
    return Round(record["why"], trials, scores, record["differentiate"], record["replayable"])


def _lines(experiment: Experiment, conclusion: Conclusion) -> list[tuple[str, ...]]:
    """Returns one line a round: what was tried, the best of it and its interval on validation data."""
    metric, made = experiment.claim.evaluated, []
    for number, one in enumerate(conclusion.history, start=1):
        n_diverged = sum(trial.diverged for trial in one.trials)
        summary = statistics.summary(one.best.metrics[metric])
        low, high = summary["ci95"]
        mean, interval = display.mean_text(summary["mean"], missing="diverged"), display.interval_text(low, high)
        tried = f"{one.why}: {len(one.trials)}" + (f", {n_diverged} diverged" if n_diverged else "")
        made.append((str(number), tried, _changes(experiment, one.best.hyperparameters) or "plain", mean, interval))
    return made


def _rounds_table(experiment: Experiment, conclusion: Conclusion) -> Table:
    """Returns the rounds as a table."""
    table = Table("round", "tried", "best", f"validation {experiment.claim.evaluated}", "95 % interval")
    for line in _lines(experiment, conclusion):
        table.add_row(*line)
    return table


def _changes(experiment: Experiment, setting: Any) -> str:
    """Returns the options that make a setting of the plain ones."""
    plain = experiment.hyperparameters
    values = {field.name: getattr(setting, field.name) for field in dataclasses.fields(setting)}
    return as_words({name: value for name, value in values.items() if value != getattr(plain, name)})


def _story(experiment: Experiment, conclusion: Conclusion, result: dict[str, Any], name: str) -> str:
    """Returns ``study.md``: what was asked, tried, chosen and decided."""
    changes = _changes(experiment, conclusion.best)
    lines = [
        f"# {experiment.question}",
        "",
        f"Claim: {experiment.claim.text}. Verdict: **{result['claim']['verdict']}** ({result['claim']['because']}).",
        "",
        "## What was tried",
        "",
        "Settings were compared on validation data held out of the training part. The test part was not read.",
        "",
        "| round | tried | best | validation | 95 % interval |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(line)} |" for line in _lines(experiment, conclusion)),
        "",
        f"Adjusting ended since {conclusion.why}.",
        "",
        "## What was chosen and decided",
        "",
        f"Chosen: {f'`{changes}`' if changes else 'the plain settings'}, trained anew on all training data with "
        f"{result['n_seeds']} fresh seeds ({result['seeds'][0]} to {result['seeds'][-1]}); the test part was read after the "
        "last adjustment.",
        "",
        *([f"Gain: {_gain_line(result['gain'])}.", ""] if result["gain"] is not None else []),
        "| metric | mean | 95 % interval | n |",
        "|---|---|---|---|",
    ]
    for metric, summary in result["metrics"].items():
        mean, interval = display.mean_text(summary["mean"]), display.interval_text(*summary["ci95"])
        lines.append(f"| {metric} | {mean} | {interval} | {len(summary['values'])} |")
    again = f"jaxresearch run {name} --seeds {result['n_seeds']} {changes}".strip()
    return "\n".join([*lines, "", f"Again with seeds 0 to {result['n_seeds'] - 1}: `{again}`", ""])

"""``study.md``: the question, trials, choice and verdict of a study, and the command that reproduces it."""

import dataclasses
import shlex
from collections.abc import Sequence
from typing import Any

from jaxresearch import data, records, studies
from jaxresearch.cli.options import DECLARED, OF_PROCESSES, names_of, private_default
from jaxresearch.cli.session import Session
from jaxresearch.cli.spelling import pairs_text, private_text, seeds_text
from jaxresearch.experiment import Experiment
from jaxresearch.reports import wording
from jaxresearch.reports.schema import privacy_lines
from jaxresearch.studies import Conclusion

_NOT_OF_TRAINING = ("seeds", "directory", "save_every", "track", "fail_fast", "smoke", *OF_PROCESSES)


def round_lines(experiment: Experiment, conclusion: Conclusion) -> list[tuple[str, ...]]:
    """Returns a line per round, with the changes from the baseline."""
    baseline, chosen = (dataclasses.asdict(settings) for settings in (experiment.hyperparameters, conclusion.best))
    rounds = [records.round_as_record(one) for one in conclusion.history]
    metric = studies.objective_of(experiment).metric
    return wording.round_rows(rounds, metric, baseline=baseline, chosen=chosen)


def story(session: Session, conclusion: Conclusion, result: dict[str, Any]) -> str:
    """Returns ``study.md``.

    Args:
        session: Of the study.
        conclusion: How it ended.
        result: Its ``result.json``.
    """
    experiment, seeds, n_seeds = session.job.experiment, result["seeds"], len(result["seeds"])
    changes = _changes(session, conclusion.best)
    reads = wording.reads_line(result["test_reads"], [str(session.path.parent)])
    chosen = f"`{shlex.join(changes)}`" if changes else "the default settings"
    chosen = f"the baseline ({chosen})" if conclusion.best == experiment.hyperparameters else chosen
    lines = [
        f"# {experiment.question}",
        "",
        *_claimed(result),
        "## Search",
        "",
        f"Settings were compared by {result['compared_by']} on {_selection(session)}.{_unread(session)} {_baseline(session)}",
        "",
        *_markdown(wording.round_headings(result["compared_by"]), round_lines(experiment, conclusion)),
        "",
        f"The search ended because {conclusion.why}.",
        "",
        "## Result",
        "",
        f"Chosen: {chosen}. These settings were trained "
        f"on {_training(session)} with {n_seeds} fresh seeds ({wording.seeds_text(seeds)}). Only then was the test part read.",
        "",
        *([f"{reads[0].upper()}{reads[1:]}.", ""] if reads is not None else []),
        *([f"Gain: {wording.gain_line(result['gain'])}.", ""] if result["gain"] is not None else []),
        *_markdown(
            wording.metric_headings(result),
            wording.metric_rows(result, session.job.dataset.card.class_names),
        ),
    ]
    if (majority := wording.majority_line(result)) is not None:
        lines += ["", f"For comparison, {majority}."]
    if result["report"] is not None:
        lines += ["", f"With the first of these seeds: {wording.printable(result['report'])}"]
    if "privacy" in result:
        stated = [f"- {name}: {line}" for name, line in privacy_lines(result["privacy"])]
        lines += ["", "## Privacy", "", *stated]
    command = run_command(session, conclusion.best, seeds=seeds)
    return "\n".join([*lines, "", f"To reproduce the final training: `{command}`", ""])


def run_command(session: Session, settings: Any, *, seeds: Sequence[int] = ()) -> str:
    """Returns the command that trains settings of a sweep or study on the whole training part, and evaluates them.

    Args:
        session: Of the sweep or study.
        settings: Hyperparameters.
        seeds: By default those of `run`.
    """
    of_seeds = ["--seeds", seeds_text(seeds)] if seeds else []
    return shlex.join(["jaxresearch", "run", session.name, *of_seeds, *_asked(session), *_changes(session, settings)])


def _claimed(result: dict[str, Any]) -> list[str]:
    """Returns the claim with its verdict; without one, why it was left out, or the metric used instead."""
    claim = result["claim"]
    if claim is None:
        return [result["unclaimed"] or f"No claim: settings were compared by {result['compared_by']}.", ""]
    return [f"Claim: {claim['text']}. Verdict: **{claim['verdict']}** ({wording.verdict_reason(claim)}).", ""]


def _markdown(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Returns the lines of a table."""
    return [f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows)]


def _selection(session: Session) -> str:
    """Returns the data on which settings were compared."""
    is_own = session.loaded.collected.validation is not None
    return wording.selection_text(data.n_examples(session.job.dataset.test), is_own=is_own)


def _unread(session: Session) -> str:
    """Returns the role of the test part while settings are compared, as a sentence; none without data."""
    if not session.job.dataset.train:
        return ""
    if session.loaded.collected.card.in_sample:
        return " The test part is the training examples: its metrics describe them and predict nothing."
    return " The test part was not read."


def _baseline(session: Session) -> str:
    """Returns the settings from which the search started, as a sentence."""
    changes = _changes(session, session.options.hyperparameters)
    defaults = "the default settings of the experiment"
    return f"The baseline is {defaults}{f' with `{shlex.join(changes)}`' if changes else ''}."


def _training(session: Session) -> str:
    """Returns the data on which the chosen settings were trained."""
    if session.options.train_examples is not None:
        return f"{session.options.train_examples:,} training examples, drawn at random for each seed,"
    return "the training part" if session.loaded.dataset.validation is not None else "all training data"


def _asked(session: Session) -> list[str]:
    """Returns the options of the data and of the looks that were asked for, as `run` takes them."""
    options, declared = session.options, session.declared
    own = {"data": declared.source, "target": declared.target, "private": private_default(declared)}
    texts = {"types": pairs_text, "mesh": pairs_text, "private": private_text}
    asked = {}
    for name in names_of("run"):
        default = own.get(name, DECLARED[name].metadata["default"])
        if name not in _NOT_OF_TRAINING and (value := getattr(options, name)) != default:
            asked[name] = texts[name](value) if name in texts else value
    return records.words_of(asked)


def _changes(session: Session, settings: Any) -> list[str]:
    """Returns the settings that differ from the experiment's defaults."""
    default, chosen = map(dataclasses.asdict, (session.declared.hyperparameters, settings))
    return records.words_of({name: value for name, value in chosen.items() if value != default[name]})
